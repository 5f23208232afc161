//! A proxy or cache has one backend to hand requests on to.

use crate::diagnostics::{Diagnostic, codes};
use crate::model::socket::{Pattern, Side};
use crate::roles::Kind;
use crate::topology::{Node, Topology};

pub(super) fn check(topology: &Topology, found: &mut Vec<Diagnostic>) {
    for (index, node) in topology.nodes.iter().enumerate() {
        if !matches!(node.kind, Kind::Proxy | Kind::Cache) || topology.backend_of(index).is_some() {
            continue;
        }
        found.push(fault(topology, node));
    }
}

fn fault(topology: &Topology, node: &Node) -> Diagnostic {
    let legs = node
        .ends
        .iter()
        .map(|(leg, side)| (&topology.legs[*leg], side));
    let asked = legs.filter(|(leg, side)| leg.pattern == Pattern::Request && **side == Side::From);
    let links: Vec<&str> = asked
        .map(|(leg, _)| topology.links[leg.link].name.as_str())
        .collect();
    let kind = node.kind.as_str();
    let no_one = Diagnostic::error(
        codes::NO_BACKEND,
        format!("the {kind} `{}` has no backend", node.name),
    );
    let several = |help: &str| format!("{help}: `{}`", links.join("`, `"));
    match (&node.decl.role.backend, links.is_empty()) {
        (_, true) => no_one
            .at_key(node.at.clone(), "it hands requests on, to nobody")
            .help(format!(
                "add a link: `{{pattern: request, from: {}, to: BACKEND}}`",
                node.name
            )),
        (Some(name), false) => no_one
            .at_value(
                node.at.key("backend"),
                format!("it does not ask by a link `{name}`"),
            )
            .help(several("it asks by")),
        (None, false) => no_one
            .at_key(
                node.at.clone(),
                "it could hand requests on by several links",
            )
            .help(several("write `backend` with one of")),
    }
}
