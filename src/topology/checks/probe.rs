//! A request probe asks a link on which its node answers.

use crate::diagnostics::suggest::did_you_mean;
use crate::diagnostics::{Diagnostic, codes};
use crate::model::socket::{Pattern, Side};
use crate::topology::{Topology, sockets};

pub(super) fn check(topology: &Topology, found: &mut Vec<Diagnostic>) {
    for (index, node) in topology.nodes.iter().enumerate() {
        let asked = node
            .decl
            .probe
            .as_ref()
            .and_then(|probe| probe.request.as_ref());
        let Some(asked) = asked else { continue };
        let at = node.at.key("probe").key("request");
        let prefix = &topology.units[node.unit].prefix;
        let leg = sockets::probed_leg(topology, index);
        if leg.is_some_and(|leg| answers(topology.legs[leg].pattern)) {
            continue;
        }
        let answered = node
            .ends
            .iter()
            .filter(|(leg, side)| *side == Side::To && answers(topology.legs[*leg].pattern))
            .map(|(leg, _)| topology.links[topology.legs[*leg].link].name.as_str())
            .map(|name| name.strip_prefix(prefix.as_str()).unwrap_or(name));
        let answered: Vec<&str> = answered.collect();
        let link = topology.link_named(&format!("{prefix}{asked}"));
        let fault = match link {
            None => Diagnostic::error(codes::UNKNOWN_NAME, format!("unknown link `{asked}`"))
                .at_value(at, "no link has this name"),
            Some(link) => Diagnostic::error(
                codes::WRONG_PROBE,
                format!("`{}` does not answer requests on `{asked}`", node.name),
            )
            .at_value(at, "it cannot be asked here")
            .at_key(topology.links[link].at.clone(), "the link"),
        };
        let near = did_you_mean(asked, answered.iter().copied());
        found.push(
            fault.help(near.unwrap_or_else(|| match answered.as_slice() {
                [] => "it answers on no link: use another probe, or none".to_owned(),
                links => format!("it answers on `{}`", links.join("`, `")),
            })),
        );
    }
}

fn answers(pattern: Pattern) -> bool {
    match pattern {
        Pattern::Request | Pattern::Mesh => true,
        Pattern::Pubsub | Pattern::Pipeline | Pattern::Gossip => false,
    }
}
