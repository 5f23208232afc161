//! A feedback watches a value that there is, and scales what can be scaled.

use crate::diagnostics::{Diagnostic, codes};
use crate::roles::Kind;
use crate::topology::{Topology, feedback};

pub(super) fn check(topology: &Topology, found: &mut Vec<Diagnostic>) {
    let nodes = topology.nodes.iter();
    for node in nodes.filter(|node| node.kind == Kind::Feedback) {
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
