//! Who is dialled from another host, or started by somebody else, has its port written: neither can
//! be told a number that is chosen here.

use crate::diagnostics::{Diagnostic, codes};
use crate::roles::Kind;
use crate::topology::{Topology, Why};

pub(super) fn check(topology: &Topology, found: &mut Vec<Diagnostic>) {
    for (index, node) in topology.nodes.iter().enumerate() {
        let is_external = node.kind == Kind::External;
        let mut numbers = topology
            .instances_of(index)
            .iter()
            .flat_map(|instance| node.listens.iter().zip(&instance.numbers));
        let missing = numbers.find(|(listen, number)| {
            let is_asked = listen.is_beyond || is_external;
            is_asked && matches!(number.why, Why::Chosen | Why::Pinned)
        });
        let Some((listen, _)) = missing else { continue };
        let reason = if is_external {
            "somebody else starts it"
        } else {
            "it is dialled from another host"
        };
        let mut fault = Diagnostic::error(
            codes::PORT_MISSING,
            format!("`{}` needs a written port", node.name),
        )
        .at_key(node.at.clone(), reason)
        .help("write `port: N`");
        if let Some(leg) = listen
            .legs
            .iter()
            .find(|leg| topology.legs[**leg].is_beyond)
        {
            let link = &topology.links[topology.legs[*leg].link];
            fault = fault.at_key(link.at.clone(), "by this link");
        }
        found.push(fault);
    }
}
