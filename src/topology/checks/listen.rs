//! `listen` does not contradict a kind that always listens, or never does.

use crate::diagnostics::{Diagnostic, codes};
use crate::model::socket::Side;
use crate::topology::{Topology, legs};

pub(super) fn check(topology: &Topology, found: &mut Vec<Diagnostic>) {
    for leg in &topology.legs {
        let link = &topology.links[leg.link];
        let (Some(written), None) = (link.decl.listen, &link.via) else {
            continue;
        };
        let forced = legs::forced(leg.pattern, &leg.from, &leg.to, &topology.nodes);
        let Some(forced) = forced.filter(|forced| *forced != written) else {
            continue;
        };
        let ours = leg.from.iter().chain(&leg.to);
        let ours = ours
            .map(|end| &topology.nodes[end.node])
            .find(|node| !node.is_program());
        let side = match forced {
            Side::From => "from",
            Side::To => "to",
        };
        let mut fault = Diagnostic::error(
            codes::WRONG_LISTENER,
            format!("here the `{side}` side always listens"),
        )
        .at_value(link.at.key("listen"), "this cannot be")
        .help(format!("leave `listen` out, or write `listen: {side}`"));
        if let Some(node) = ours {
            let label = format!("because this is a `{}`", node.kind.as_str());
            fault = fault.at_key(node.at.clone(), label);
        }
        found.push(fault);
    }
}
