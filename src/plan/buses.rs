//! What a bus is told: how it treats its subscribers, and which of them are buses.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::policy::Overflow;
use crate::model::socket::{Pattern, Side};
use crate::roles::Kind;
use crate::roles::bus::{Config, ORIGIN_MARK};
use crate::roles::machine::Common;
use crate::topology::{Instance, Link, Topology, sockets};

/// The links whose subscribers a node serves as a bus: between others, or from itself.
pub(super) fn served(topology: &Topology, node: usize) -> impl Iterator<Item = &Link> {
    topology.links.iter().filter(move |link| {
        let is_via = link.via.as_ref().is_some_and(|via| via.node == node);
        let is_from = link.via.is_none() && link.from.iter().any(|end| end.node == node);
        link.decl.pattern == Pattern::Pubsub && (is_via || is_from)
    })
}

/// What a dial of a role for a leg is called: never as a port is.
pub(super) fn dial_name(topology: &Topology, leg: usize) -> String {
    format!("to {}", topology.links[topology.legs[leg].link].name)
}

/// A way by which a bus gets what was published first at one that it does not dial itself.
pub(super) struct Relayed<'a> {
    /// By whose dial of which leg.
    pub(super) leg: usize,
    pub(super) peer: &'a Instance,
    /// What that dial is called.
    pub(super) dial: String,
    topics: Vec<String>,
}

/// A bus that gets messages from another.
struct Edge<'a> {
    from: &'a Instance,
    to: &'a Instance,
    leg: usize,
    topics: Vec<String>,
    /// It asks for them whether anybody is subscribed to them or not.
    is_written: bool,
}

fn edges(topology: &Topology) -> Vec<Edge<'_>> {
    let is_bus = |instance: &Instance| topology.nodes[instance.node].kind == Kind::Bus;
    let mut edges = Vec::new();
    for to in topology.instances.iter().filter(|it| is_bus(it)) {
        let ends = &topology.nodes[to.node].ends;
        for (leg, _) in ends.iter().filter(|(_, side)| *side == Side::To) {
            let topics = asked(topology, to, *leg);
            let is_written = is_written(topology, to, *leg);
            let peers = sockets::peers(topology, to, *leg, Side::To);
            edges.extend(peers.filter(|it| is_bus(it)).map(|from| Edge {
                from,
                to,
                leg: *leg,
                topics: topics.clone(),
                is_written,
            }));
        }
    }
    edges
}

/// What a subscriber of ours asks for by a leg.
pub(super) fn asked(topology: &Topology, instance: &Instance, leg: usize) -> Vec<String> {
    let ends = topology.legs[leg].ends(Side::To).iter();
    let own = ends.filter(|end| end.node == instance.node);
    let topics: Vec<String> = own.flat_map(|it| it.topics.clone()).collect();
    match topics.is_empty() {
        true => vec![String::new()],
        false => topics,
    }
}

/// Whether a bus asks by a leg for the same whoever is subscribed: for what is written there, and for all
/// where it keeps what came last for those who come later.
fn is_written(topology: &Topology, instance: &Instance, leg: usize) -> bool {
    let ends = topology.legs[leg].ends(Side::To).iter();
    let mut own = ends.filter(|end| end.node == instance.node);
    let keys = &topology.nodes[instance.node].decl.role;
    keys.retain == Some(true) || own.any(|end| !end.topics.is_empty())
}

/// What is asked for by a way: nothing stands for what is subscribed to.
fn wanted(topics: Vec<String>, is_written: bool) -> Vec<String> {
    match topics.as_slice() {
        [all] if all.is_empty() && !is_written => Vec::new(),
        _ => topics,
    }
}

/// The topics that begin with one of both, each once.
fn common(some: &[String], others: &[String]) -> Vec<String> {
    let longer =
        |a: &String, b: &String| match (a.starts_with(b.as_str()), b.starts_with(a.as_str())) {
            (true, _) => Some(a.clone()),
            (false, true) => Some(b.clone()),
            (false, false) => None,
        };
    let pairs = some.iter().flat_map(|a| others.iter().map(move |b| (a, b)));
    let all: BTreeSet<String> = pairs.filter_map(|(a, b)| longer(a, b)).collect();
    let is_covered = |it: &String| all.iter().any(|by| by != it && it.starts_with(by.as_str()));
    all.iter().filter(|it| !is_covered(it)).cloned().collect()
}

/// How a bus gets what was published first at those that it does not dial: from each by the shortest way
/// there is, of equally short ones by the bus whose name comes first. Whoever is dialled hands on what
/// came to it by its own shortest way, so that a message comes once, whatever circles there are.
pub(super) fn relayed<'a>(topology: &'a Topology, instance: &Instance) -> Vec<Relayed<'a>> {
    let edges = edges(topology);
    let mut found = Vec::new();
    let origins: BTreeSet<&str> = edges.iter().map(|edge| edge.from.name.as_str()).collect();
    for origin in origins
        .into_iter()
        .filter(|it| *it != instance.name.as_str())
    {
        // What each bus gets of it, as far as ways of this length lead.
        let mut gets = BTreeMap::from([(origin, vec![String::new()])]);
        while !gets.contains_key(instance.name.as_str()) {
            let mut next: BTreeMap<&str, Vec<(&Edge<'_>, Vec<String>)>> = BTreeMap::new();
            let mut ways: Vec<&Edge<'_>> = edges.iter().collect();
            ways.sort_by_key(|edge| (edge.from.name.as_str(), edge.leg));
            for edge in ways {
                let (from, to) = (edge.from.name.as_str(), edge.to.name.as_str());
                let Some(topics) = gets.get(from).filter(|_| !gets.contains_key(to)) else {
                    continue;
                };
                let topics = common(topics, &edge.topics);
                let ways = next.entry(to).or_default();
                let is_same = ways
                    .first()
                    .is_none_or(|(way, _)| way.from.name == edge.from.name);
                if !topics.is_empty() && is_same {
                    ways.push((edge, topics));
                }
            }
            next.retain(|_, ways| !ways.is_empty());
            if next.is_empty() {
                break;
            }
            for (to, ways) in next {
                if to == instance.name.as_str() {
                    let indirect = ways
                        .iter()
                        .filter(|(way, _)| way.from.name.as_str() != origin);
                    found.extend(indirect.map(|(way, topics)| Relayed {
                        leg: way.leg,
                        peer: way.from,
                        dial: format!("{}{ORIGIN_MARK}{origin}", dial_name(topology, way.leg)),
                        topics: wanted(topics.clone(), way.is_written),
                    }));
                }
                let all = ways.into_iter().flat_map(|(_, topics)| topics).collect();
                gets.insert(to, all);
            }
        }
    }
    found
}

/// The configuration of a bus.
pub(super) fn config(topology: &Topology, instance: &Instance, common: Common) -> Config {
    let node = &topology.nodes[instance.node];
    let keys = &node.decl.role;
    // Those that differ are not built.
    let mut decls = served(topology, instance.node).map(|link| &link.decl);
    let first = decls.find(|decl| decl.overflow.is_some() || decl.hwm.is_some());
    let mut buses = BTreeSet::new();
    let mut topics = BTreeMap::new();
    for (index, side) in &node.ends {
        for peer in sockets::peers(topology, instance, *index, *side) {
            let is_bus = topology.nodes[peer.node].kind == Kind::Bus;
            match side {
                Side::From if is_bus => {
                    buses.insert(peer.name.to_string());
                }
                Side::To if is_bus => {
                    let asked = asked(topology, instance, *index);
                    let asked = wanted(asked, is_written(topology, instance, *index));
                    topics.insert(dial_name(topology, *index), asked);
                }
                Side::From | Side::To => {}
            }
        }
    }
    for way in relayed(topology, instance) {
        topics.insert(way.dial, way.topics);
    }
    Config {
        buffer_bytes: keys
            .buffer
            .map_or(common.limits.peer_bytes_max as u64, |buffer| buffer.0),
        messages_max: first.and_then(|decl| decl.hwm).map(u64::from),
        overflow: first
            .and_then(|decl| decl.overflow)
            .unwrap_or(Overflow::DropNewest),
        welcome: keys.welcome.clone(),
        retain: keys.retain == Some(true),
        sequence: keys.sequence == Some(true),
        buses,
        topics,
        common,
    }
}
