//! The local gates: which instances have one, and the inner endpoints that stand between a gate and
//! its program.
//!
//! A program that listens on a socket with a gated link listens inside, and its gate at the planned
//! address; one that dials is given an inner endpoint for each instance it would dial. Roles of our
//! own need no gate, and what somebody else starts has none.

use std::collections::HashMap;

use super::{Number, Topology, Why, other, sockets};
use crate::manifest::link::Transport;
use crate::model::endpoint::Endpoint;
use crate::model::name::InstanceName;
use crate::model::socket::{Mode, Side};
use crate::roles::Kind;

/// What the name of an inner port that a program binds ends with.
const INNER: &str = ".inner";
/// Where inner TCP endpoints are.
pub const INNER_ADDRESS: &str = "127.0.0.1";

/// A gate beside an instance of a program.
#[derive(Debug, Clone)]
pub struct Gate {
    /// The instance, an index into `Topology::instances`.
    pub instance: usize,
    /// Its own name, `NAME-gate`.
    pub name: InstanceName,
    /// What it lets through.
    pub doors: Vec<Door>,
}

/// One inner endpoint.
#[derive(Debug, Clone)]
pub struct Door {
    /// The name of its port, unique in the gate.
    pub port: String,
    /// The legs it carries; one, unless several share a socket that listens.
    pub legs: Vec<usize>,
    /// The side of the legs on which the program stands.
    pub side: Side,
    /// Who is behind it.
    pub way: Way,
    /// Whether the inner endpoint is a unix socket.
    pub is_ipc: bool,
    /// The number of the inner port, where it has one.
    pub number: Number,
}

/// Who is behind a door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Whoever dials the node's listening socket, an index into its `listens`.
    Listens(usize),
    /// One instance that listens, an index into `Topology::instances`.
    Dials(usize),
}

/// Where the doors of a topology are, by what passes through them.
#[derive(Debug, Clone, Default)]
pub(super) struct Doors {
    /// Of an instance that listens: by its index and that of the node's listening socket.
    listens: HashMap<(usize, usize), (usize, usize)>,
    /// Of an instance that dials: by its index, the leg and the index of whom it dials.
    dials: HashMap<(usize, usize, usize), (usize, usize)>,
}

/// What an instance's gate is called.
pub fn name_of(instance: &InstanceName) -> InstanceName {
    InstanceName::new(format!("{instance}-gate"))
}

/// Puts a gate beside each instance of a program that is on a gated link.
pub(super) fn place(topology: &mut Topology) {
    if !topology
        .links
        .iter()
        .any(|link| link.decl.gate == Some(true))
    {
        return;
    }
    let mut gates = Vec::new();
    let mut doors = Doors::default();
    for node in 0..topology.nodes.len() {
        if topology.nodes[node].kind != Kind::Command {
            continue;
        }
        for instance in topology.nodes[node].instances.clone() {
            let own = doors_of(topology, instance);
            if own.is_empty() {
                continue;
            }
            for (position, door) in own.iter().enumerate() {
                let at = (gates.len(), position);
                match door.way {
                    Way::Listens(listen) => {
                        doors.listens.insert((instance, listen), at);
                    }
                    Way::Dials(peer) => {
                        doors.dials.insert((instance, door.legs[0], peer), at);
                    }
                }
            }
            topology.instances[instance].gate = Some(gates.len());
            gates.push(Gate {
                instance,
                name: name_of(&topology.instances[instance].name),
                doors: own,
            });
        }
    }
    topology.gates = gates;
    topology.doors = doors;
}

fn doors_of(topology: &Topology, instance: usize) -> Vec<Door> {
    let node = topology.instances[instance].node;
    let mut found: Vec<Door> = Vec::new();
    for (leg_index, side) in &topology.nodes[node].ends {
        let leg = &topology.legs[*leg_index];
        let is_gated = |leg: usize| topology.links[topology.legs[leg].link].decl.gate == Some(true);
        let is_ipc = topology.links[leg.link].decl.transport == Some(Transport::Ipc);
        let door = |port: String, way: Way| Door {
            port,
            legs: vec![*leg_index],
            side: *side,
            way,
            is_ipc,
            number: Number::without(),
        };
        match leg.mode(*side) {
            Mode::Bind => {
                let position = topology.listen_index[&(node, *leg_index)];
                let listen = &topology.nodes[node].listens[position];
                if !listen.legs.iter().any(|leg| is_gated(*leg)) {
                    continue;
                }
                match found
                    .iter_mut()
                    .find(|door| door.way == Way::Listens(position))
                {
                    Some(door) => door.legs.push(*leg_index),
                    None => found.push(door(listen.port.clone(), Way::Listens(position))),
                }
            }
            Mode::Connect if is_gated(*leg_index) => {
                let socket = topology.socket_name(node, *leg_index);
                let ends = leg.ends(other(*side)).iter();
                let peers = ends.flat_map(|end| topology.nodes[end.node].instances.clone());
                found.extend(peers.filter(|peer| *peer != instance).map(|peer| {
                    let port = format!("{socket}.{}", topology.instances[peer].name);
                    door(port, Way::Dials(peer))
                }));
            }
            Mode::Connect => {}
        }
    }
    found
}

impl Door {
    /// What the port is called at whoever binds it.
    pub fn inner_port(&self) -> String {
        match self.way {
            Way::Listens(_) => format!("{}{INNER}", self.port),
            Way::Dials(_) => self.port.clone(),
        }
    }

    /// Whether the port has no number although it needs one.
    pub fn is_without_number(&self) -> bool {
        self.number.why == Why::Exhausted
    }
}

impl Topology {
    /// The gate of an instance.
    pub fn gate_of(&self, instance: usize) -> Option<&Gate> {
        Some(&self.gates[self.instances[instance].gate?])
    }

    /// The inner endpoint of a door.
    pub fn inner(&self, gate: &Gate, door: &Door) -> Endpoint {
        if door.is_ipc {
            self.layout.ipc(gate.name.as_str(), &door.inner_port())
        } else {
            Endpoint::tcp(INNER_ADDRESS, door.number.port)
        }
    }

    /// Where an instance listens inside, if its listening socket is behind a gate.
    pub fn inner_listening(&self, instance: usize, listen: usize) -> Option<Endpoint> {
        self.endpoint_at(*self.doors.listens.get(&(instance, listen))?)
    }

    /// Where an instance dials inside to reach another, if the leg is gated.
    pub fn inner_dialled(&self, instance: usize, leg: usize, peer: usize) -> Option<Endpoint> {
        self.endpoint_at(*self.doors.dials.get(&(instance, leg, peer))?)
    }

    /// Which gate a wire of a leg passes at an instance on a side of it.
    pub fn gate_on(
        &self,
        (instance, side): (usize, Side),
        leg: usize,
        peer: usize,
    ) -> Option<&Gate> {
        let (gate, _) = match self.legs[leg].mode(side) {
            Mode::Bind => {
                let listen = self.listen_index[&(self.instances[instance].node, leg)];
                self.doors.listens.get(&(instance, listen))?
            }
            Mode::Connect => self.doors.dials.get(&(instance, leg, peer))?,
        };
        Some(&self.gates[*gate])
    }

    fn endpoint_at(&self, (gate, door): (usize, usize)) -> Option<Endpoint> {
        let gate = &self.gates[gate];
        Some(self.inner(gate, &gate.doors[door]))
    }
}

/// What a gate listens on outside, and what others dial.
pub fn outer_listening(
    topology: &Topology,
    gate: &Gate,
    listen: usize,
) -> (Vec<Endpoint>, Vec<Endpoint>) {
    sockets::endpoints(topology, &topology.instances[gate.instance], listen)
}
