//! A list of nodes names each of them once: named twice, it would be wired twice.

use std::collections::HashMap;

use crate::diagnostics::{At, Diagnostic, codes};
use crate::topology::Topology;

pub(super) fn check(topology: &Topology, found: &mut Vec<Diagnostic>) {
    for link in &topology.links {
        // The members of a mesh stand on both sides.
        let to = (!link.decl.pattern.is_symmetric()).then_some(&link.to);
        for ends in std::iter::once(&link.from).chain(to) {
            let places = ends.iter().map(|end| (end.node, super::end_place(&end.at)));
            once(topology, places, found);
        }
    }
    for node in &topology.nodes {
        let after = node.after.iter();
        let places = after.map(|after| (after.node, super::after_place(&after.at)));
        once(topology, places, found);
    }
}

fn once(
    topology: &Topology,
    places: impl Iterator<Item = (usize, At)>,
    found: &mut Vec<Diagnostic>,
) {
    let mut first: HashMap<usize, At> = HashMap::new();
    for (node, at) in places {
        let Some(before) = first.get(&node) else {
            first.insert(node, at);
            continue;
        };
        let name = &topology.nodes[node].name;
        found.push(
            Diagnostic::error(codes::NAMED_TWICE, format!("`{name}` is named twice"))
                .mark(at, "here again")
                .mark(before.clone(), "here first")
                .help("take one of them out"),
        );
    }
}
