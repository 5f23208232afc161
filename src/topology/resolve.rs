//! From what is written to what is meant: the one function that makes a [`Topology`].

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;

use super::facts::Facts;
use super::{
    After, Leg, Link, Node, Topology, Unit, gates,
    legs::{self, Names},
    nodes, ports,
};
use crate::diagnostics::At;
use crate::manifest::link::OneOrMany;
use crate::manifest::node::{AfterCondition, AfterDecl, RunDecl};
use crate::manifest::topology::CurveMode;
use crate::model::endpoint::is_loopback;
use crate::model::layout::Layout;
use crate::model::name::{LinkName, TopologyName};
use crate::model::socket::Side;

/// What a topology is resolved from.
#[derive(Debug)]
pub struct Given<'a> {
    /// The identity of the network.
    pub name: TopologyName,
    /// The manifest, absolute.
    pub manifest: PathBuf,
    /// Its files, the manifest itself first.
    pub units: Vec<Unit>,
    /// The host that is asked for, by `--host` or `$ZMQNET_HOST`.
    pub host: Option<String>,
    /// `--curve`, where it is given.
    pub curve: Option<CurveMode>,
    /// What is known of this machine; `check` goes without.
    pub facts: Option<&'a Facts>,
}

/// Resolves names, spreads instances, derives sockets. Their ports are numbered by
/// [`ports::number`], which asks more of the machine.
pub fn resolve(given: Given<'_>) -> Topology {
    let own = given.host.clone().or_else(|| this_host(&given));
    let is_host_assumed = own.is_none();
    let host = own.or_else(|| only_host(&given));
    let spread = nodes::spread(&given, host.as_deref());
    let layout = given
        .facts
        .map_or_else(|| unknown_layout(&given.name), |facts| facts.layout.clone());
    let node_index = index(spread.nodes.iter().map(|node| node.name.as_str()));
    let mut topology = Topology {
        name: given.name,
        manifest: given.manifest,
        units: given.units,
        layout,
        places: spread.places,
        is_host_assumed: is_host_assumed && host.is_some(),
        host,
        nodes: spread.nodes,
        instances: spread.instances,
        links: Vec::new(),
        legs: Vec::new(),
        gates: Vec::new(),
        dangling: spread.dangling,
        curve_override: given.curve,
        programs: BTreeMap::new(),
        kept: BTreeMap::new(),
        node_index,
        link_index: HashMap::new(),
        listen_index: HashMap::new(),
        doors: gates::Doors::default(),
    };
    name_ends(&mut topology, &spread.absent);
    topology.link_index = index(topology.links.iter().map(|link| link.name.as_str()));
    topology.legs = topology
        .links
        .iter()
        .enumerate()
        .flat_map(|(index, link)| legs::of(link, index, &topology.nodes))
        .filter(|leg| !leg.from.is_empty() && !leg.to.is_empty())
        .collect();
    stand(&mut topology.nodes, &topology.legs);
    ports::carry(&mut topology);
    ports::listen(&mut topology);
    gates::place(&mut topology);
    topology
}

/// The first of equal names wins; `checks::names` reports the others.
fn index<'a>(names: impl Iterator<Item = &'a str>) -> HashMap<String, usize> {
    let mut index = HashMap::new();
    for (position, name) in names.enumerate() {
        index.entry(name.to_owned()).or_insert(position);
    }
    index
}

/// The directories `check` plans with: it reads files only, and starts nothing in them.
fn unknown_layout(name: &TopologyName) -> Layout {
    Layout {
        state: PathBuf::from("/var/lib/zmqnet").join(name.as_str()),
        runtime: PathBuf::from("/run/zmqnet").join(name.as_str()),
    }
}

/// The entry of `hosts` that is this machine, where there is exactly one.
fn this_host(given: &Given<'_>) -> Option<String> {
    let facts = given.facts?;
    let is_own = |address: &str| {
        is_loopback(address)
            || address
                .parse()
                .is_ok_and(|ip| facts.addresses.contains(&ip))
    };
    let mut own = given.units.iter().flat_map(|unit| {
        unit.decl
            .hosts
            .iter()
            .filter(|(_, host)| is_own(&host.address))
            .map(|(name, _)| format!("{}{name}", unit.prefix))
    });
    let first = own.next()?;
    own.next().is_none().then_some(first)
}

/// The entry of `hosts` where it is the only one: a plan is made for it, wherever that is asked.
fn only_host(given: &Given<'_>) -> Option<String> {
    given.facts?;
    let mut all = given.units.iter().flat_map(|unit| {
        let names = unit.decl.hosts.iter().map(|(name, _)| name);
        names.map(|name| format!("{}{name}", unit.prefix))
    });
    let first = all.next()?;
    all.next().is_none().then_some(first)
}

/// Resolves the node names of links and of `after`.
fn name_ends(topology: &mut Topology, absent: &HashSet<String>) {
    let mut dangling = std::mem::take(&mut topology.dangling);
    let mut links = Vec::new();
    let mut afters: Vec<(usize, Vec<After>)> = Vec::new();
    let by_unit = nodes_by_unit(&topology.nodes, topology.units.len());
    for (unit_index, unit) in topology.units.iter().enumerate() {
        let mut names = Names {
            find: &|name| topology.node_named(name),
            absent,
            unit_index,
            unit,
            dangling: &mut dangling,
        };
        for (name, decl) in unit.decl.links.iter() {
            links.push(link(&mut names, name, decl));
        }
        for node in &by_unit[unit_index] {
            afters.push((*node, after(&mut names, &topology.nodes, *node)));
        }
    }
    for (node, after) in afters {
        topology.nodes[node].after = after;
    }
    topology.links = links;
    topology.dangling = dangling;
}

fn nodes_by_unit(nodes: &[Node], units: usize) -> Vec<Vec<usize>> {
    let mut by_unit = vec![Vec::new(); units];
    for (index, node) in nodes.iter().enumerate() {
        by_unit[node.unit].push(index);
    }
    by_unit
}

fn link(names: &mut Names<'_>, name: &str, decl: &crate::manifest::link::LinkDecl) -> Link {
    let at = names.unit.top.key("links").key(name);
    let topics = decl.topics.clone().unwrap_or_default();
    let among = decl
        .among
        .as_ref()
        .map(|among| names.ends(among, &at.key("among"), &[]));
    let from = decl
        .from
        .as_ref()
        .map(|from| names.ends(from, &at.key("from"), &[]));
    let to = decl
        .to
        .as_ref()
        .map(|to| names.to(to, &at.key("to"), &topics));
    let via = decl.via.as_ref().and_then(|via| {
        let one = OneOrMany::One(via.clone());
        names.ends(&one, &at.key("via"), &[]).pop()
    });
    Link {
        name: LinkName::new(format!("{}{name}", names.unit.prefix)),
        unit: names.unit_index,
        decl: decl.clone(),
        from: among.clone().or(from).unwrap_or_default(),
        to: among.or(to).unwrap_or_default(),
        via,
        at,
    }
}

fn after(names: &mut Names<'_>, nodes: &[Node], node: usize) -> Vec<After> {
    let at = nodes[node].at.key("after");
    let alone = |node: usize| match nodes[node].decl.run {
        Some(RunDecl::Once) => AfterCondition::Done,
        None | Some(RunDecl::Always | RunDecl::Manual) => AfterCondition::Ready,
    };
    let mut find = |name: &str, at: At| names.node(name, at);
    match &nodes[node].decl.after {
        None => Vec::new(),
        Some(AfterDecl::One(name)) => find(name, At::Value(at.clone()))
            .map(|node| After {
                node,
                condition: alone(node),
                at,
            })
            .into_iter()
            .collect(),
        Some(AfterDecl::Many(many)) => many
            .iter()
            .enumerate()
            .filter_map(|(index, name)| {
                let at = at.index(index);
                let node = find(name, At::Value(at.clone()))?;
                Some(After {
                    node,
                    condition: alone(node),
                    at,
                })
            })
            .collect(),
        Some(AfterDecl::Each(each)) => each
            .iter()
            .filter_map(|(name, condition)| {
                let at = at.key(name);
                let node = find(name, At::Key(at.clone()))?;
                Some(After {
                    node,
                    condition: *condition,
                    at,
                })
            })
            .collect(),
    }
}

/// Tells each node the legs it stands on.
fn stand(nodes: &mut [Node], legs: &[Leg]) {
    for (index, leg) in legs.iter().enumerate() {
        for side in [Side::From, Side::To] {
            for end in leg.ends(side) {
                nodes[end.node].ends.push((index, side));
            }
        }
    }
}
