//! Derives listening sockets from legs and numbers their TCP ports: written, else pinned, else the
//! lowest of `defaults.ports` that nobody holds.

mod free;

use std::collections::{BTreeMap, HashMap, HashSet};

use super::facts::Facts;
use super::{Instance, Leg, Listen, Node, Number, Place, Policies, Topology, Why, legs, policies};
use crate::manifest::node::{NodeDecl, PortDecl};
use crate::manifest::topology::CurveMode;
use crate::model::endpoint::is_loopback;
use crate::model::quantity::PortRange;
use crate::model::socket::{Mode, SocketType};
use free::Free;

/// Says of each leg what carries it.
pub(super) fn carry(topology: &mut Topology) {
    let legs: Vec<Leg> = topology
        .legs
        .iter()
        .map(|leg| {
            let link = &topology.links[leg.link];
            let is_beyond = is_beyond(topology, leg);
            let ends = || leg.from.iter().chain(&leg.to);
            let is_all_ours = ends().all(|end| !topology.nodes[end.node].is_program());
            let mode = topology.curve_mode(leg.link);
            Leg {
                is_beyond,
                is_ipc: legs::is_ipc(link.decl.transport, is_beyond, is_all_ours),
                is_curve: legs::is_curve(mode, is_beyond),
                ..leg.clone()
            }
        })
        .collect();
    topology.legs = legs;
}

/// Whether a leg leaves a machine, or listens at an address that a `peers.json` gives.
fn is_beyond(topology: &Topology, leg: &Leg) -> bool {
    let places: HashSet<usize> = leg
        .from
        .iter()
        .chain(&leg.to)
        .flat_map(|end| topology.instances_of(end.node))
        .map(|instance| instance.place)
        .collect();
    let machines: HashSet<usize> = places.iter().map(|p| topology.places[*p].machine).collect();
    machines.len() > 1
        || places
            .iter()
            .any(|p| topology.places[*p].is_literal && !is_loopback(&topology.places[*p].bind))
}

/// Gives each node its listening sockets, in the order that ports are numbered.
pub(super) fn listen(topology: &mut Topology) {
    let mut listens: Vec<Vec<Listen>> = topology.nodes.iter().map(role_listens).collect();
    let mut index: HashMap<(usize, String), usize> = HashMap::new();
    for (node, own) in listens.iter().enumerate() {
        for (position, listen) in own.iter().enumerate() {
            index.insert((node, listen.port.clone()), position);
        }
    }
    for (leg_index, leg) in topology.legs.iter().enumerate() {
        for end in leg.ends(leg.binds) {
            let node = &topology.nodes[end.node];
            let port = if node.is_program() {
                topology.socket_name(end.node, leg_index)
            } else {
                legs::port_of(topology, leg, end.node)
            };
            let own = &mut listens[end.node];
            let position = *index.entry((end.node, port.clone())).or_insert_with(|| {
                own.push(Listen::new(port));
                own.len() - 1
            });
            let listen = &mut own[position];
            if listen.legs.is_empty() {
                listen.ty = legs::socket_type(leg, leg.binds, node);
            }
            listen.legs.push(leg_index);
            // A person can reach every port of a role.
            listen.is_tcp |= !leg.is_ipc || !node.is_program();
            listen.is_ipc |= leg.is_ipc;
            listen.is_beyond |= leg.is_beyond;
            topology
                .listen_index
                .insert((end.node, leg_index), position);
        }
    }
    for (node, own) in topology.nodes.iter_mut().zip(listens) {
        node.listens = own;
    }
    spread_curve(topology);
}

/// One encrypted wire of a socket encrypts all its wires, and so on through their other ends. A port
/// of a role that no wire reaches is encrypted where everything is.
fn spread_curve(topology: &mut Topology) {
    let always: Vec<bool> = (0..topology.units.len())
        .map(|unit| topology.curve_mode_of_unit(unit) == CurveMode::Always)
        .collect();
    let shared = shared_diallers(topology);
    loop {
        let mut changed = false;
        for node in &mut topology.nodes {
            let is_always = always[node.unit];
            for listen in &mut node.listens {
                let mut legs = listen.legs.iter();
                let is_curve = match listen.legs.is_empty() {
                    true => is_always,
                    false => legs.any(|leg| topology.legs[*leg].is_curve),
                };
                listen.is_curve = is_curve;
                if is_curve {
                    changed |= encrypt(&mut topology.legs, &listen.legs);
                }
            }
        }
        for legs in &shared {
            if legs.iter().any(|leg| topology.legs[*leg].is_curve) {
                changed |= encrypt(&mut topology.legs, legs);
            }
        }
        if !changed {
            return;
        }
    }
}

/// Encrypts legs; whether one was not.
fn encrypt(legs: &mut [Leg], which: &[usize]) -> bool {
    let mut changed = false;
    for leg in which {
        changed |= !std::mem::replace(&mut legs[*leg].is_curve, true);
    }
    changed
}

/// The legs that one dialling socket of a program carries, where it carries several.
fn shared_diallers(topology: &Topology) -> Vec<Vec<usize>> {
    let mut shared: BTreeMap<(usize, String), Vec<usize>> = BTreeMap::new();
    for (index, node) in topology.nodes.iter().enumerate() {
        if !node.is_program() || node.decl.sockets.is_empty() {
            continue;
        }
        for (leg, side) in &node.ends {
            if topology.legs[*leg].mode(*side) == Mode::Connect {
                let name = topology.socket_name(index, *leg);
                shared.entry((index, name)).or_default().push(*leg);
            }
        }
    }
    shared.into_values().filter(|legs| legs.len() > 1).collect()
}

/// A built-in role listens on all its ports, linked or not, so that a person can reach it.
fn role_listens(node: &Node) -> Vec<Listen> {
    node.role()
        .ports
        .iter()
        .map(|port| Listen {
            is_tcp: true,
            ty: legs::port_type(node.kind, port),
            ..Listen::new((*port).to_owned())
        })
        .collect()
}

impl Listen {
    fn new(port: String) -> Self {
        Self {
            port,
            ty: SocketType::Router,
            legs: Vec::new(),
            is_tcp: false,
            is_ipc: false,
            is_beyond: false,
            is_curve: false,
        }
    }
}

impl Topology {
    /// Whether any instance that runs on this machine, or its gate, listens on a TCP port.
    pub fn needs_ports_here(&self) -> bool {
        let is_here = |instance: &Instance| self.place_of(instance).is_here;
        let mut here = self.instances.iter().filter(|instance| is_here(instance));
        let mut gates = self.gates.iter();
        here.any(|instance| {
            let listens = &self.nodes[instance.node].listens;
            listens.iter().any(|listen| listen.is_tcp)
        }) || gates.any(|gate| {
            let has_tcp = gate.doors.iter().any(|door| !door.is_ipc);
            has_tcp && is_here(&self.instances[gate.instance])
        })
    }

    /// What is written about the encryption of a link, for it or for all.
    pub fn curve_mode(&self, link: usize) -> CurveMode {
        let link = &self.links[link];
        self.curve_override
            .or(link.decl.curve)
            .unwrap_or_else(|| self.curve_mode_of_unit(link.unit))
    }

    /// The policies of what stands beside a node: those that its file gives to every node.
    pub fn default_policies(&self, node: usize) -> Policies {
        let unit = &self.units[self.nodes[node].unit];
        policies::of(&NodeDecl::default(), &unit.decl.defaults)
    }

    /// The range that a node's unwritten ports are taken from.
    pub fn ports_of(&self, node: usize) -> PortRange {
        let unit = &self.units[self.nodes[node].unit];
        let root = &self.units[0];
        let written = unit.decl.defaults.ports.or(root.decl.defaults.ports);
        written.unwrap_or(policies::PORTS)
    }
}

/// The address that a socket of an instance at a place listens on.
pub fn bind_address<'a>(place: &'a Place, listen: &Listen) -> &'a str {
    if place.is_literal || listen.is_beyond || is_loopback(&place.bind) {
        &place.bind
    } else {
        "127.0.0.1"
    }
}

/// Numbers every TCP port.
pub fn number(topology: &mut Topology, facts: Option<&Facts>) {
    let mut numbers: Vec<Vec<Option<Number>>> = topology
        .instances
        .iter()
        .map(|instance| written(topology, instance, facts))
        .collect();
    let mut taken: HashSet<(usize, u16)> = HashSet::new();
    let claims = topology.instances.iter().zip(&numbers);
    for (instance, own) in claims {
        let machine = topology.place_of(instance).machine;
        taken.extend(own.iter().flatten().map(|number| (machine, number.port)));
    }
    let mut free = Free {
        facts,
        taken,
        next: HashMap::new(),
    };
    for step in [Free::pinned, Free::lowest] {
        for (instance, own) in topology.instances.iter().zip(&mut numbers) {
            for (position, number) in own.iter_mut().enumerate() {
                if number.is_none() {
                    *number = step(&mut free, topology, instance, position);
                }
            }
        }
    }
    // After all others, so that a gate that comes moves nobody's port.
    let inner = free::inner(topology, &mut free);
    for (instance, own) in topology.instances.iter_mut().zip(numbers) {
        instance.numbers = own.into_iter().flatten().collect();
    }
    for (gate, numbers) in topology.gates.iter_mut().zip(inner) {
        for (door, number) in gate.doors.iter_mut().zip(numbers) {
            door.number = number;
        }
    }
}

/// What is written about an instance's ports; `None` where a number is still to be found.
fn written(topology: &Topology, instance: &Instance, facts: Option<&Facts>) -> Vec<Option<Number>> {
    let node = &topology.nodes[instance.node];
    let each = node.listens.iter().filter(|listen| listen.is_tcp).count();
    let prefix = &topology.units[node.unit].prefix;
    let place = topology.place_of(instance);
    let mut nth = 0;
    node.listens
        .iter()
        .map(|listen| {
            if !listen.is_tcp {
                return Some(Number::without());
            }
            let at = node.at.key("port");
            let first = |port: u16, offset: usize| usize::from(port) + offset;
            let index = instance.index as usize;
            let (port, at) = match (&instance.port, &node.decl.port) {
                (Some((port, at)), _) => (first(*port, nth), at.clone()),
                (None, Some(PortDecl::First(port))) => (first(*port, index * each + nth), at),
                (None, Some(PortDecl::Each(ports))) => {
                    let name = listen
                        .port
                        .strip_prefix(prefix.as_str())
                        .unwrap_or(&listen.port);
                    let port = ports.get(name)?;
                    (first(port.0, index), at.key(name))
                }
                (None, None) => return None,
            };
            nth += 1;
            let Ok(port) = u16::try_from(port) else {
                return Some(Number::exhausted());
            };
            let is_here = place.is_here;
            let held = facts.filter(|_| is_here);
            Some(Number {
                port,
                why: Why::Written(at),
                holder: held
                    .and_then(|facts| facts.hindrance(bind_address(place, listen), port))
                    .cloned(),
            })
        })
        .collect()
}

impl Number {
    pub(super) fn without() -> Self {
        Self {
            port: 0,
            why: Why::Without,
            holder: None,
        }
    }

    fn exhausted() -> Self {
        Self {
            why: Why::Exhausted,
            ..Self::without()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::model::layout::Layout;
    use crate::topology::facts::{Held, Holder, Pins};
    use crate::topology::sample::{topology_of, unit};

    fn facts() -> Facts {
        Facts {
            layout: Layout {
                state: "/s".into(),
                runtime: "/r".into(),
            },
            addresses: BTreeSet::new(),
            holders: Vec::new(),
            pins: Pins::default(),
            foreign_pins: BTreeMap::new(),
            counts: BTreeMap::new(),
        }
    }

    fn numbers(text: &str, facts: &Facts) -> Vec<(String, u16)> {
        let topology = topology_of(vec![unit(text)], Some(facts));
        let instances = topology.instances.iter();
        instances
            .map(|instance| (instance.name.to_string(), instance.numbers[0].port))
            .collect()
    }

    fn ports_only(text: &str, facts: &Facts) -> Vec<u16> {
        let numbers = numbers(text, facts).into_iter();
        numbers.map(|(_, port)| port).collect()
    }

    const THREE: &str =
        "{zmqnet: 1, defaults: {ports: 7000..7009}, nodes: {a: {kind: replica, replicas: 3}}}";

    #[test]
    fn what_others_have_is_left_out_and_what_we_had_is_kept() {
        let mut facts = facts();
        facts.foreign_pins.insert(7000, "other".to_owned());
        facts.holders.push(Held {
            address: "0.0.0.0".parse().unwrap(),
            port: 7001,
            by: Holder::Unknown,
        });
        assert_eq!(ports_only(THREE, &facts), [7002, 7003, 7004]);
        facts.pins.set("a-1", "main", 7007);
        assert_eq!(ports_only(THREE, &facts), [7002, 7007, 7003]);
        facts.pins.set("a-1", "main", 9000);
        assert_eq!(
            ports_only(THREE, &facts),
            [7002, 7003, 7004],
            "a pin outside the range is an old one"
        );
    }

    #[test]
    fn a_pin_gives_way_to_a_written_port_and_to_a_stranger() {
        let mut facts = facts();
        facts.pins.set("a-0", "main", 7000);
        let written =
            "{zmqnet: 1, nodes: {a: {kind: replica, replicas: 1}, b: {kind: replica, port: 7000}}}";
        assert_eq!(ports_only(written, &facts), [7001, 7000]);
        facts.holders.push(Held {
            address: "127.0.0.1".parse().unwrap(),
            port: 7000,
            by: Holder::Unknown,
        });
        assert_eq!(ports_only(THREE, &facts), [7001, 7002, 7003]);
        facts.holders[0].by = Holder::Ours;
        assert_eq!(ports_only(THREE, &facts), [7000, 7001, 7002]);
    }

    #[test]
    fn a_range_of_replicas_keeps_the_count_that_runs_within_its_bounds() {
        let text = "{zmqnet: 1, nodes: {a: {kind: replica, replicas: 2..4}}}";
        let mut facts = facts();
        assert_eq!(numbers(text, &facts).len(), 2);
        for (running, planned) in [(3, 3), (9, 4), (1, 2)] {
            facts.counts.insert("a".to_owned(), running);
            assert_eq!(numbers(text, &facts).len(), planned, "{running} run");
        }
    }
}
