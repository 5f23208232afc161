//! Every program that is to be started here exists.

use std::collections::HashSet;

use crate::diagnostics::{Diagnostic, codes};
use crate::roles::Kind;
use crate::topology::Topology;

pub(super) fn check(topology: &Topology, found: &mut Vec<Diagnostic>) {
    let mut said = HashSet::new();
    for instance in &topology.instances {
        let node = &topology.nodes[instance.node];
        if node.kind != Kind::Command || !topology.place_of(instance).is_here {
            continue;
        }
        let Some((wanted, written)) = topology.wanted_program(instance) else {
            continue;
        };
        if topology.programs.contains_key(&wanted) || !said.insert((instance.node, wanted.clone()))
        {
            continue;
        }
        let help = if written.contains('/') {
            format!("it is looked for at {}", wanted.display())
        } else {
            "it is looked for in `PATH`; a program beside the manifest is written `./NAME`"
                .to_owned()
        };
        found.push(
            Diagnostic::error(codes::NO_PROGRAM, format!("no program `{written}`"))
                .at_value(
                    node.at.key("command").index(0),
                    "it is not there or cannot be executed",
                )
                .help(help),
        );
    }
}
