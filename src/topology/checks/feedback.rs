//! A feedback watches a value that there is, and scales what can be scaled and nobody else scales.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::diagnostics::{Diagnostic, codes};
use crate::manifest::node::ReplicasDecl;
use crate::roles::Kind;
use crate::topology::{Node, Topology, feedback};

pub(super) fn check(topology: &Topology, found: &mut Vec<Diagnostic>) {
    let nodes = topology.nodes.iter();
    let mut hands: HashMap<usize, &Node> = HashMap::new();
    for node in nodes.filter(|node| node.kind == Kind::Feedback) {
        alone(topology, node, &mut hands, found);
        for fault in feedback::of(topology, node).err().into_iter().flatten() {
            let diagnostic = Diagnostic::error(
                codes::NO_LOOP,
                format!("the feedback `{}` closes no loop", node.name),
            );
            let marked = match fault.is_written {
                true => diagnostic.at_value(node.at.key(fault.key), fault.label),
                false => diagnostic.at_key(node.at.clone(), fault.label),
            };
            found.push(marked.help(fault.help));
        }
    }
}

/// Two that scale one node undo what each other does, whatever they watch.
fn alone<'a>(
    topology: &'a Topology,
    node: &'a Node,
    hands: &mut HashMap<usize, &'a Node>,
    found: &mut Vec<Diagnostic>,
) {
    const HELP: &str = "one feedback scales a node, and is one instance";
    let name = &node.name;
    let is_ranged = matches!(node.decl.replicas, Some(ReplicasDecl::Range(_)));
    if node.instances.len() > 1 || is_ranged {
        found.push(
            Diagnostic::error(
                codes::NO_LOOP,
                format!("several instances of the feedback `{name}` would scale one node"),
            )
            .at_key(node.at.key("replicas"), "each would undo what another does")
            .help(HELP),
        );
    }
    let Ok(told) = feedback::of(topology, node) else {
        return;
    };
    match hands.entry(told.scaled) {
        Entry::Vacant(free) => {
            free.insert(node);
        }
        Entry::Occupied(first) => {
            let (first, scaled) = (first.get(), &topology.nodes[told.scaled].name);
            found.push(
                Diagnostic::error(
                    codes::NO_LOOP,
                    format!(
                        "two feedbacks would scale `{scaled}`: `{}` and `{name}`",
                        first.name
                    ),
                )
                .at_value(node.at.key("scale"), "it would undo what the other does")
                .at_value(first.at.key("scale"), format!("`{}` scales it", first.name))
                .help(HELP),
            );
        }
    }
}
