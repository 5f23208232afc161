//! Each variable of a program's environment is set once.

use std::collections::{HashMap, HashSet};

use crate::diagnostics::{Diagnostic, codes};
use crate::model::socket::Side;
use crate::source::path::Path;
use crate::topology::expand::Scope;
use crate::topology::{Node, Topology, sockets};

pub(super) fn check(topology: &Topology, found: &mut Vec<Diagnostic>) {
    let mut said = HashSet::new();
    for (index, node) in topology.nodes.iter().enumerate() {
        if node.is_program() {
            sockets_apart(topology, index, &mut said, found);
            written_apart(topology, node, found);
        }
    }
}

/// Two links of one node whose names differ and whose environment forms do not; said once, however
/// many nodes stand on both.
fn sockets_apart(
    topology: &Topology,
    node: usize,
    said: &mut HashSet<(String, String)>,
    found: &mut Vec<Diagnostic>,
) {
    let mut known: HashMap<String, (String, Side, usize)> = HashMap::new();
    for (env, leg, side) in sockets::names(topology, node) {
        let name = topology.socket_name(node, leg);
        let (first, first_side, first_leg) = known
            .entry(env.clone())
            .or_insert_with(|| (name.clone(), side, leg));
        let is_same = *first == name && *first_side == side;
        if is_same || !said.insert((first.clone(), name.clone())) {
            continue;
        }
        let link = |leg: usize| topology.links[topology.legs[leg].link].at.clone();
        found.push(
            Diagnostic::error(
                codes::ENVIRONMENT_CLASH,
                format!(
                    "`{first}` and `{name}` have the same variables in `{}`",
                    topology.nodes[node].name
                ),
            )
            .at_key(link(leg), format!("gives `ZMQNET_{env}_ENDPOINT`"))
            .at_key(link(*first_leg), "gives it too")
            .help("rename one of them: `-` becomes `_` and letters upper case"),
        );
    }
}

/// A variable that a person writes and zmqnet sets.
fn written_apart(topology: &Topology, node: &Node, found: &mut Vec<Diagnostic>) {
    let own = node
        .decl
        .env
        .iter()
        .map(|(key, _)| (key, node.at.key("env").key(key)));
    let of_instances = topology.instances[node.instances.clone()]
        .iter()
        .flat_map(|instance| {
            let keys = instance.env.iter();
            keys.map(|(key, _)| (key, instance.at.key("env").key(key)))
        });
    let suspicious: Vec<(&str, Path)> = own
        .chain(of_instances)
        .filter(|(key, _)| key.starts_with("ZMQNET_") || SET_TOO.contains(key))
        .collect();
    let Some(instance) = topology.instances.get(node.instances.start) else {
        return;
    };
    if suspicious.is_empty() {
        return;
    }
    let told = Scope::new(topology, instance).env();
    let told: HashSet<&str> = told.iter().map(|(key, _)| key.as_str()).collect();
    for (key, at) in suspicious {
        if SET_TOO.contains(&key) || told.contains(key) {
            found.push(
                Diagnostic::error(
                    codes::ENVIRONMENT_CLASH,
                    format!("`{key}` is set by zmqnet"),
                )
                .at_key(at, "this would be a second value")
                .help("choose another name"),
            );
        }
    }
}

/// What the runner sets beside the sockets.
const SET_TOO: [&str; 5] = [
    "ZMQNET_SOCKETS",
    "ZMQNET_KEYS",
    "ZMQNET_TAG",
    "NOTIFY_SOCKET",
    "PEERS_PATH",
];
