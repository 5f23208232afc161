//! The sockets that a program is given: type, mode, endpoints, topics, by the name they have in its
//! environment.

use std::collections::HashMap;

use super::{Instance, Leg, Topology, guards, legs, other, ports};
use crate::model::endpoint::Endpoint;
use crate::model::name::{InstanceName, LinkName, env_form};
use crate::model::security::{Admitted, Guarded, OPERATOR, Server};
use crate::model::socket::{Mode, Pattern, Side, SocketType};

/// A socket that a program is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Socket {
    /// The name in environment form: `TASKS`, `TASKS_IN`, `VOTES_OUT`.
    pub env: String,
    /// The links it carries.
    pub links: Vec<LinkName>,
    /// Its type.
    pub ty: SocketType,
    /// Whether it binds or connects.
    pub mode: Mode,
    /// What it binds or connects to.
    pub endpoints: Vec<Endpoint>,
    /// The topic prefixes it asks for; empty is everything.
    pub topics: Vec<String>,
    /// For a mesh: the other members by name.
    pub peers: Vec<(InstanceName, Endpoint)>,
    /// Who is admitted, where it listens and is encrypted.
    pub guarded: Option<Guarded>,
    /// Whose key is at which endpoint, where it dials and is encrypted.
    pub servers: Vec<Server>,
}

/// The names of a node's sockets: one for each leg and side it stands on, several legs of one
/// socket under one name.
pub fn names(topology: &Topology, node: usize) -> Vec<(String, usize, Side)> {
    let ends = &topology.nodes[node].ends;
    let mut sides: HashMap<String, (bool, bool)> = HashMap::new();
    let mut found = Vec::new();
    for (leg, side) in ends {
        let name = topology.socket_name(node, *leg);
        let seen = sides.entry(name.clone()).or_default();
        match side {
            Side::From => seen.0 = true,
            Side::To => seen.1 = true,
        }
        found.push((name, *leg, *side));
    }
    for (name, _, side) in &mut found {
        let is_both = sides[name.as_str()] == (true, true);
        let suffix = match (is_both, side) {
            (false, _) => "",
            (true, Side::From) => "_OUT",
            (true, Side::To) => "_IN",
        };
        *name = format!("{}{suffix}", env_form(name));
    }
    found
}

/// The sockets of an instance of a program.
pub fn of(topology: &Topology, instance: &Instance) -> Vec<Socket> {
    let mut sockets: Vec<Socket> = Vec::new();
    let mut index: HashMap<String, usize> = HashMap::new();
    for (env, leg_index, side) in names(topology, instance.node) {
        let leg = &topology.legs[leg_index];
        let at = *index.entry(env.clone()).or_insert_with(|| {
            sockets.push(Socket {
                env,
                links: Vec::new(),
                ty: legs::socket_type(leg, side, &topology.nodes[instance.node]),
                mode: leg.mode(side),
                endpoints: Vec::new(),
                topics: Vec::new(),
                peers: Vec::new(),
                guarded: None,
                servers: Vec::new(),
            });
            sockets.len() - 1
        });
        add(topology, instance, (leg_index, side), &mut sockets[at]);
        if is_probed_by_dialling(topology, instance.node, leg_index, side) {
            let prober = topology.layout.prober(instance.name.as_str());
            if topology.legs[leg_index].is_curve {
                sockets[at].servers.push(Server {
                    endpoint: prober.clone(),
                    is: Admitted {
                        who: InstanceName::new(OPERATOR),
                        key: None,
                    },
                });
            }
            sockets[at].endpoints.push(prober);
        }
    }
    sockets
}

/// Whether this end answers the node's request probe and only dials: the prober then listens, and
/// is one more endpoint.
fn is_probed_by_dialling(topology: &Topology, node: usize, leg: usize, side: Side) -> bool {
    side == Side::To
        && topology.legs[leg].mode(side) == Mode::Connect
        && probed_leg(topology, node) == Some(leg)
}

/// The leg on whose answering side a node's request probe asks.
pub fn probed_leg(topology: &Topology, node: usize) -> Option<usize> {
    let node = &topology.nodes[node];
    let link = node.decl.probe.as_ref()?.request.as_ref()?;
    let full = format!("{}{link}", topology.units[node.unit].prefix);
    let link = topology.link_named(&full)?;
    node.ends
        .iter()
        .find(|(leg, side)| *side == Side::To && topology.legs[*leg].link == link)
        .map(|(leg, _)| *leg)
}

fn add(
    topology: &Topology,
    instance: &Instance,
    (leg_index, side): (usize, Side),
    to: &mut Socket,
) {
    let leg = &topology.legs[leg_index];
    to.links.push(topology.links[leg.link].name.clone());
    for end in leg
        .ends(side)
        .iter()
        .filter(|end| end.node == instance.node)
    {
        to.topics.extend(end.topics.iter().cloned());
    }
    match leg.mode(side) {
        Mode::Bind => {
            let position = topology.listen_index[&(instance.node, leg_index)];
            if topology
                .inner_listening(topology.index_of(instance), position)
                .is_none()
            {
                to.guarded = guards::listener(topology, instance, position);
            }
            for endpoint in bound(topology, instance, leg_index) {
                if !to.endpoints.contains(&endpoint) {
                    to.endpoints.push(endpoint);
                }
            }
        }
        Mode::Connect => {
            for peer in peers(topology, instance, leg_index, side) {
                let endpoint = dialled(topology, instance, peer, leg_index);
                let is_gated = topology
                    .inner_dialled(
                        topology.index_of(instance),
                        leg_index,
                        topology.index_of(peer),
                    )
                    .is_some();
                if leg.is_curve && !is_gated {
                    to.servers.push(Server {
                        endpoint: endpoint.clone(),
                        is: topology.admitted(peer),
                    });
                }
                if leg.pattern == Pattern::Mesh {
                    to.peers.push((peer.name.clone(), endpoint.clone()));
                }
                to.endpoints.push(endpoint);
            }
        }
    }
}

/// The instances that an instance on a side of a leg talks to.
pub fn peers<'a>(
    topology: &'a Topology,
    instance: &'a Instance,
    leg: usize,
    side: Side,
) -> impl Iterator<Item = &'a Instance> {
    let leg: &'a Leg = &topology.legs[leg];
    leg.ends(other(side))
        .iter()
        .flat_map(|end| topology.instances_of(end.node))
        .filter(|peer| peer.name != instance.name)
}

/// What a program itself binds for a leg: inside, where a gate listens for it.
fn bound(topology: &Topology, instance: &Instance, leg: usize) -> Vec<Endpoint> {
    let position = topology.listen_index[&(instance.node, leg)];
    match topology.inner_listening(topology.index_of(instance), position) {
        Some(inner) => vec![inner],
        None => endpoints(topology, instance, position).0,
    }
}

/// What a program itself dials to reach an instance: inside, where a gate dials for it.
fn dialled(topology: &Topology, instance: &Instance, peer: &Instance, leg: usize) -> Endpoint {
    let (own, peer_index) = (topology.index_of(instance), topology.index_of(peer));
    let inner = topology.inner_dialled(own, leg, peer_index);
    inner.unwrap_or_else(|| dial(topology, peer, leg))
}

/// Whether the socket that a program listens on for a leg is behind its gate.
pub fn is_behind_gate(topology: &Topology, instance: &Instance, leg: usize) -> bool {
    let position = topology.listen_index[&(instance.node, leg)];
    let inner = topology.inner_listening(topology.index_of(instance), position);
    inner.is_some()
}

/// Where a prober on the same machine reaches the socket of a program itself.
pub fn probed(topology: &Topology, instance: &Instance, leg: usize) -> Endpoint {
    let position = topology.listen_index[&(instance.node, leg)];
    let inner = topology.inner_listening(topology.index_of(instance), position);
    inner.unwrap_or_else(|| dial(topology, instance, leg))
}

/// What an instance that listens for a leg binds, and what others dial; TCP first.
pub fn listening(
    topology: &Topology,
    instance: &Instance,
    leg: usize,
) -> (Vec<Endpoint>, Vec<Endpoint>) {
    let position = topology.listen_index[&(instance.node, leg)];
    endpoints(topology, instance, position)
}

/// What an instance binds at one of its node's listening sockets, and what others dial.
pub fn endpoints(
    topology: &Topology,
    instance: &Instance,
    position: usize,
) -> (Vec<Endpoint>, Vec<Endpoint>) {
    let listen = &topology.nodes[instance.node].listens[position];
    let place = topology.place_of(instance);
    let port = instance.numbers[position].port;
    let (mut bind, mut address) = (Vec::new(), Vec::new());
    if listen.is_tcp {
        let bound = ports::bind_address(place, listen);
        let dialled = if listen.is_beyond {
            place.address.as_str()
        } else {
            bound
        };
        bind.push(Endpoint::tcp(bound, port));
        address.push(Endpoint::tcp(dialled, port));
    }
    if listen.is_ipc {
        let ipc = topology.layout.ipc(instance.name.as_str(), &listen.port);
        bind.push(ipc.clone());
        address.push(ipc);
    }
    (bind, address)
}

/// What is dialled to reach an instance through a leg.
pub fn dial(topology: &Topology, instance: &Instance, leg: usize) -> Endpoint {
    let (_, addresses) = listening(topology, instance, leg);
    let is_ipc = topology.legs[leg].is_ipc;
    let wanted = addresses.iter().find(|a| a.path().is_some() == is_ipc);
    wanted
        .or(addresses.first())
        .expect("a socket that listens has an address")
        .clone()
}

/// The type of a node's socket on a side of a leg.
pub fn type_of(topology: &Topology, leg: usize, side: Side, node: usize) -> SocketType {
    legs::socket_type(&topology.legs[leg], side, &topology.nodes[node])
}
