//! A broker fits the pattern of its link.

use crate::diagnostics::{Diagnostic, codes};
use crate::model::socket::Pattern;
use crate::roles::Kind;
use crate::topology::Topology;

pub(super) fn check(topology: &Topology, found: &mut Vec<Diagnostic>) {
    for link in &topology.links {
        let Some(via) = &link.via else { continue };
        let node = &topology.nodes[via.node];
        let pattern = link.decl.pattern;
        let wanted = broker(pattern);
        if wanted == Some(node.kind) {
            continue;
        }
        let help = match wanted {
            Some(kind) => format!("a `{pattern}` link goes via a `{}`", kind.as_str()),
            None => format!("leave `via` out: a `{pattern}` link has no broker"),
        };
        found.push(
            Diagnostic::error(
                codes::WRONG_BROKER,
                format!(
                    "a `{pattern}` link cannot go via a `{}`",
                    node.kind.as_str()
                ),
            )
            .at_value(
                via.at.clone(),
                format!("`{}` is a `{}`", node.name, node.kind.as_str()),
            )
            .at_key(node.at.clone(), "it is written here")
            .help(help),
        );
    }
}

fn broker(pattern: Pattern) -> Option<Kind> {
    match pattern {
        Pattern::Request => Some(Kind::Queue),
        Pattern::Pubsub => Some(Kind::Bus),
        Pattern::Gossip => Some(Kind::Lighthouse),
        Pattern::Pipeline | Pattern::Mesh => None,
    }
}
