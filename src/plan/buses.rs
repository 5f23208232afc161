//! What a bus is told: how it treats its subscribers, and which of them are buses.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::policy::Overflow;
use crate::model::socket::{Pattern, Side};
use crate::roles::Kind;
use crate::roles::bus::Config;
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
        let leg = &topology.legs[*index];
        for peer in sockets::peers(topology, instance, *index, *side) {
            let is_bus = topology.nodes[peer.node].kind == Kind::Bus;
            match side {
                Side::From if is_bus => {
                    buses.insert(peer.name.to_string());
                }
                Side::To if is_bus => {
                    let ends = leg.ends(Side::To).iter();
                    let own = ends.filter(|end| end.node == instance.node);
                    let mut asked: Vec<String> = own.flat_map(|it| it.topics.clone()).collect();
                    if asked.is_empty() {
                        asked.push(String::new());
                    }
                    topics.insert(dial_name(topology, *index), asked);
                }
                Side::From | Side::To => {}
            }
        }
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
