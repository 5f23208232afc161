//! Every socket has a port number.

use crate::diagnostics::{Diagnostic, codes};
use crate::topology::gates::{Door, Gate};
use crate::topology::{Instance, Topology, Why};

pub(super) fn check(topology: &Topology, found: &mut Vec<Diagnostic>) {
    gates(topology, found);
    for (index, node) in topology.nodes.iter().enumerate() {
        let is_without = |instance: &&Instance| {
            let mut numbers = instance.numbers.iter();
            numbers.any(|number| number.why == Why::Exhausted)
        };
        let Some(first) = topology.instances_of(index).iter().find(is_without) else {
            continue;
        };
        let name = &first.name;
        if node.decl.port.is_some() || first.port.is_some() {
            let at = match &first.port {
                Some((_, at)) => at.clone(),
                None => node.at.key("port"),
            };
            found.push(
                Diagnostic::error(
                    codes::PORTS_EXHAUSTED,
                    format!("the ports of `{}` run past 65535", node.name),
                )
                .at_value(at, format!("`{name}` is left without one"))
                .help("start lower, or have fewer replicas"),
            );
            continue;
        }
        let range = topology.ports_of(index);
        let unit = &topology.units[node.unit];
        let message = format!("no port of {range} is left for `{name}`");
        let fault = Diagnostic::error(codes::PORTS_EXHAUSTED, message)
            .help("write a wider range as `defaults: {ports: 7000..7999}`");
        found.push(if unit.decl.defaults.ports.is_some() {
            let at = unit.top.key("defaults").key("ports");
            fault
                .at_value(at, "all of these are given away")
                .at_key(node.at.clone(), "this node needs more")
        } else {
            fault.at_key(node.at.clone(), "this node needs more")
        });
    }
}

/// Between a gate and its program are ports too.
fn gates(topology: &Topology, found: &mut Vec<Diagnostic>) {
    let is_without = |gate: &&Gate| gate.doors.iter().any(Door::is_without_number);
    if let Some(gate) = topology.gates.iter().find(is_without) {
        let instance = &topology.instances[gate.instance];
        let node = &topology.nodes[instance.node];
        let range = topology.ports_of(instance.node);
        let message = format!("no port of {range} is left for `{}`", gate.name);
        found.push(
            Diagnostic::error(codes::PORTS_EXHAUSTED, message)
                .at_key(
                    node.at.clone(),
                    "its gate needs one for each endpoint it is given",
                )
                .help("write a wider range as `defaults: {ports: 7000..7999}`"),
        );
    }
}
