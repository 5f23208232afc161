//! Topics are written once: beside each subscriber, or for all of them.

use crate::diagnostics::{Diagnostic, codes};
use crate::manifest::link::ToDecl;
use crate::topology::Topology;

pub(super) fn check(topology: &Topology, found: &mut Vec<Diagnostic>) {
    for link in &topology.links {
        if link.decl.topics.is_none() || !matches!(link.decl.to, Some(ToDecl::Topics(_))) {
            continue;
        }
        found.push(
            Diagnostic::error(
                codes::MISPLACED_KEY,
                format!("`topics` of `{}` are written twice", link.name),
            )
            .at_key(link.at.key("topics"), "here for every subscriber")
            .at_key(link.at.key("to"), "here for each")
            .help("leave `topics` out, or write `to` as a list of nodes"),
        );
    }
}
