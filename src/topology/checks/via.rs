//! A broker fits the pattern of its link.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::diagnostics::{Diagnostic, codes};
use crate::model::socket::Pattern;
use crate::roles::Kind;
use crate::topology::{Link, Topology};

pub(super) fn check(topology: &Topology, found: &mut Vec<Diagnostic>) {
    one_link_a_queue(topology, found);
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

/// Plain programs do not say which service they mean, so a queue that carries a link carries no other.
fn one_link_a_queue(topology: &Topology, found: &mut Vec<Diagnostic>) {
    let mut carried: HashMap<usize, &Link> = HashMap::new();
    for link in &topology.links {
        let Some(via) = &link.via else { continue };
        let node = &topology.nodes[via.node];
        if node.kind != Kind::Queue {
            continue;
        }
        match carried.entry(via.node) {
            Entry::Vacant(free) => {
                free.insert(link);
            }
            Entry::Occupied(first) => {
                let message = format!("`{}` carries one link, and this is another", node.name);
                let label = "plain programs do not say which of the links they mean";
                let other = format!("it carries `{}`", first.get().name);
                let first_via = first.get().via.as_ref().map(|via| via.at.clone());
                found.push(
                    Diagnostic::error(codes::WRONG_BROKER, message)
                        .at_value(via.at.clone(), label)
                        .at_value(first_via.unwrap_or_else(|| node.at.clone()), other)
                        .help("give each link a queue of its own, or let the programs name their services: Majordomo"),
                );
            }
        }
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
