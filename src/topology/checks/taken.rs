//! A port that is written is free on this machine.

use crate::diagnostics::{Diagnostic, codes};
use crate::roles::Kind;
use crate::topology::facts::Holder;
use crate::topology::{Instance, Topology, Why};

pub(super) fn check(topology: &Topology, found: &mut Vec<Diagnostic>) {
    // Who has the port of a node that somebody else starts is that node, as far as anybody knows.
    let is_ours = |it: &&Instance| topology.nodes[it.node].kind != Kind::External;
    for instance in topology.instances.iter().filter(is_ours) {
        for number in &instance.numbers {
            let by = match &number.holder {
                None | Some(Holder::Ours) => continue,
                Some(Holder::Process { pid, name }) => format!("`{name}` (pid {pid})"),
                Some(Holder::Unknown) => "a process of another user".to_owned(),
            };
            let at = match &number.why {
                Why::Written(at) => at.clone(),
                Why::Pinned | Why::Chosen | Why::Without | Why::Exhausted => instance.at.clone(),
            };
            let message = format!(
                "port {} of `{}` is taken by {by}",
                number.port, instance.name
            );
            found.push(
                Diagnostic::error(codes::PORT_TAKEN, message)
                    .at_value(at, "this port")
                    .help("end that process, or write another `port`"),
            );
        }
    }
}
