//! Instance names are unique in a topology: they name processes, logs and sockets.

use std::collections::HashMap;

use crate::diagnostics::{At, Diagnostic, codes};
use crate::source::path::Step;
use crate::topology::{Instance, Topology};

pub(super) fn check(topology: &Topology, found: &mut Vec<Diagnostic>) {
    let mut known: HashMap<&str, &Instance> = HashMap::new();
    for instance in &topology.instances {
        let Some(first) = known.insert(instance.name.as_str(), instance) else {
            continue;
        };
        known.insert(first.name.as_str(), first);
        let node = |instance: &Instance| &topology.nodes[instance.node].name;
        found.push(
            Diagnostic::error(
                codes::NAME_CLASH,
                format!("two instances are named `{}`", instance.name),
            )
            .mark(place(instance), format!("`{}` has one", node(instance)))
            .mark(place(first), format!("`{}` has one too", node(first)))
            .help("rename one of them"),
        );
    }
    gates(topology, &known, found);
}

/// A gate is named after its program.
fn gates(topology: &Topology, known: &HashMap<&str, &Instance>, found: &mut Vec<Diagnostic>) {
    for gate in &topology.gates {
        let program = &topology.instances[gate.instance];
        let Some(first) = known.get(gate.name.as_str()) else {
            continue;
        };
        found.push(
            Diagnostic::error(
                codes::NAME_CLASH,
                format!("`{}` is the name of a gate", gate.name),
            )
            .mark(place(first), "this instance has it too")
            .mark(place(program), "the gate beside this one has it")
            .help("rename one of them, or leave out `gate: true`"),
        );
    }
}

fn place(instance: &Instance) -> At {
    match instance.at.steps.last() {
        Some(Step::Index(_)) => At::Value(instance.at.clone()),
        Some(Step::Key(_)) | None => At::Key(instance.at.clone()),
    }
}
