//! With several hosts, every instance says on which of them it is.

use crate::diagnostics::{Diagnostic, codes};
use crate::manifest::node::ReplicasDecl;
use crate::topology::{Node, Topology};

pub(super) fn check(topology: &Topology, found: &mut Vec<Diagnostic>) {
    let hosts: Vec<&str> = topology
        .places
        .iter()
        .filter_map(|place| place.host.as_deref())
        .collect();
    if hosts.len() < 2 {
        return;
    }
    for node in topology.nodes.iter().filter(|node| !is_placed(node)) {
        found.push(
            Diagnostic::error(codes::NO_HOST, format!("`{}` names no host", node.name))
                .at_key(
                    node.at.clone(),
                    "there are several hosts, and it could be on any",
                )
                .help(format!(
                    "write `host: {}`",
                    hosts.first().copied().unwrap_or("HOST")
                )),
        );
    }
}

fn is_placed(node: &Node) -> bool {
    if node.decl.host.is_some() {
        return true;
    }
    match &node.decl.replicas {
        Some(ReplicasDecl::Named(replicas)) => replicas.iter().all(|(_, own)| own.host.is_some()),
        Some(ReplicasDecl::Import(_)) => true,
        None | Some(ReplicasDecl::Count(_) | ReplicasDecl::Range(_) | ReplicasDecl::Names(_)) => {
            false
        }
    }
}
