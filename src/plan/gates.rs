//! The plan of the local gates: each is an instance of its own beside its program.
//!
//! Gates start before every program and end after all of them, like brokers, and are always
//! restarted: a program must not lose its network because somebody killed its gate.

use std::collections::BTreeMap;

use super::{Exec, Instance, Origin, Port, Process, Run};
use crate::model::endpoint::Endpoint;
use crate::model::name::NodeName;
use crate::model::policy::{Overflow, Probe, ProbeHow, ProcessLimits, Restart, RestartWhen, Stop};
use crate::model::socket::Pattern;
use crate::roles::gate::{self, Outer};
use crate::roles::{self, Kind};
use crate::source::path::Path;
use crate::topology::gates::{Door, Gate, Way, outer_listening};
use crate::topology::{Topology, Why, guards, sockets};

/// The instance of a gate.
pub(super) fn instance(
    topology: &Topology,
    gate: &Gate,
    origin: &dyn Fn(&Path) -> Origin,
) -> Instance {
    let program = &topology.instances[gate.instance];
    let node = &topology.nodes[program.node];
    Instance {
        name: gate.name.clone(),
        node: NodeName::new(format!("{}-gate", node.name)),
        kind: Kind::Gate,
        index: program.index,
        origin: origin(&program.at),
        process: topology
            .place_of(program)
            .is_here
            .then(|| process(topology, gate)),
        ports: gate
            .doors
            .iter()
            .flat_map(|door| ports(topology, gate, door, origin))
            .collect(),
        sockets: Vec::new(),
    }
}

/// What a gate binds for a door: the planned address, or the inner one.
fn ports(
    topology: &Topology,
    gate: &Gate,
    door: &Door,
    origin: &dyn Fn(&Path) -> Origin,
) -> Vec<Port> {
    let program = &topology.instances[gate.instance];
    match door.way {
        Way::Listens(listen) => {
            let origin = match &program.numbers[listen].why {
                Why::Written(at) => origin(at),
                Why::Pinned | Why::Chosen | Why::Without | Why::Exhausted => origin(&program.at),
            };
            let (bind, address) = outer_listening(topology, gate, listen);
            let guarded = guards::listener(topology, program, listen);
            let both = bind.into_iter().zip(address);
            both.map(|(bind, address)| Port {
                port: door.port.clone(),
                bind,
                address,
                origin: origin.clone(),
                guarded: guarded.clone(),
            })
            .collect()
        }
        Way::Dials(_) => {
            let inner = topology.inner(gate, door);
            vec![Port {
                port: door.inner_port(),
                bind: inner.clone(),
                address: inner,
                origin: origin(&program.at),
                guarded: None,
            }]
        }
    }
}

/// What the program itself binds in the place of one of its listening sockets, if a gate listens
/// for it.
pub(super) fn inner_port(
    topology: &Topology,
    instance: usize,
    listen: usize,
) -> Option<(String, Endpoint)> {
    let gate = topology.gate_of(instance)?;
    let door = gate
        .doors
        .iter()
        .find(|door| door.way == Way::Listens(listen))?;
    Some((door.inner_port(), topology.inner(gate, door)))
}

fn process(topology: &Topology, gate: &Gate) -> Process {
    let program = &topology.instances[gate.instance];
    let node = &topology.nodes[program.node];
    // Not the program's own: how a program is stopped says nothing of its gate.
    let policies = topology.default_policies(program.node);
    let health = topology.layout.health(gate.name.as_str());
    let config = gate::Config {
        name: gate.name.clone(),
        program: program.name.clone(),
        doors: gate
            .doors
            .iter()
            .map(|door| door_config(topology, gate, door))
            .collect(),
        limits: Box::new(node.policies.wire.clone()),
        keys: topology.needs_key(program).then(|| topology.keys_dir()),
        health: health.clone(),
    };
    Process {
        exec: Exec::Role(roles::Config::Gate(config)),
        cwd: topology.units[node.unit].dir.clone(),
        env: BTreeMap::new(),
        env_files: BTreeMap::new(),
        run: Run::Always,
        rank: Kind::Gate.role().rank,
        after: Vec::new(),
        late_ms: None,
        probe: Probe {
            how: ProbeHow::Health { endpoint: health },
            ..policies.probe
        },
        restart: Restart {
            when: RestartWhen::Always,
            ..policies.restart
        },
        stop: Stop {
            signal: "TERM".to_owned(),
            ..policies.stop
        },
        logs: policies.logs,
        limits: ProcessLimits::default(),
    }
}

fn door_config(topology: &Topology, gate: &Gate, door: &Door) -> gate::Door {
    let leg_index = door.legs[0];
    let leg = &topology.legs[leg_index];
    let link = &topology.links[leg.link];
    let instance = &topology.instances[gate.instance];
    let node = instance.node;
    let default = match leg.pattern {
        Pattern::Pubsub | Pattern::Gossip => Overflow::DropNewest,
        Pattern::Request | Pattern::Pipeline | Pattern::Mesh => Overflow::Block,
    };
    gate::Door {
        name: door.port.clone(),
        links: door
            .legs
            .iter()
            .map(|leg| topology.links[topology.legs[*leg].link].name.clone())
            .collect(),
        pattern: leg.pattern,
        side: door.side,
        socket: sockets::type_of(topology, leg_index, door.side, node),
        inner: topology.inner(gate, door),
        outer: match door.way {
            Way::Listens(listen) => Outer::Listens {
                at: outer_listening(topology, gate, listen).0,
                guarded: guards::listener(topology, instance, listen),
            },
            Way::Dials(peer) => {
                let peer = &topology.instances[peer];
                Outer::Dials {
                    at: sockets::dial(topology, peer, leg_index),
                    peer: peer.name.clone(),
                    server: leg.is_curve.then(|| topology.admitted(peer)),
                }
            }
        },
        overflow: link.decl.overflow.unwrap_or(default),
        messages_max: link.decl.hwm,
    }
}
