//! A topology has at most so many instances and wires.

use crate::diagnostics::{Diagnostic, codes};
use crate::model::limits::source::{INSTANCES_MAX, WIRES_MAX};
use crate::topology::{End, Topology};

pub(super) fn check(topology: &Topology, found: &mut Vec<Diagnostic>) {
    if topology.instances.len() > INSTANCES_MAX {
        let last = topology.nodes.iter().rev();
        let at = last
            .map(|node| &node.at)
            .next()
            .expect("instances have nodes");
        let message = format!("the topology has more than {INSTANCES_MAX} instances");
        found.push(
            Diagnostic::error(codes::TOO_LARGE_TOPOLOGY, message)
                .at_key(at.clone(), "from here on they are too many"),
        );
    }
    let count = |ends: &[End]| -> usize {
        let instances = ends.iter().map(|end| topology.instances_of(end.node).len());
        instances.sum()
    };
    let mut wires = 0_usize;
    for leg in &topology.legs {
        wires = wires.saturating_add(count(&leg.from).saturating_mul(count(&leg.to)));
        if wires > WIRES_MAX {
            let link = &topology.links[leg.link];
            let message = format!("the links make more than {WIRES_MAX} connections");
            found.push(
                Diagnostic::error(codes::TOO_LARGE_TOPOLOGY, message)
                    .at_key(link.at.clone(), format!("with `{}` they do", link.name))
                    .help(match link.decl.pattern.is_symmetric() {
                        true => "make several smaller groups of it",
                        false => "put a broker between them with `via`",
                    }),
            );
            return;
        }
    }
}
