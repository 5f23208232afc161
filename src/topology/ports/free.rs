//! Finding ports that nobody holds: what a socket had before, else the lowest of its range.

use std::collections::{HashMap, HashSet};

use super::bind_address;
use crate::model::name::InstanceName;
use crate::model::quantity::PortRange;
use crate::topology::facts::Facts;
use crate::topology::gates::{self, INNER_ADDRESS, Way};
use crate::topology::{Instance, Number, Place, Topology, Why};

/// The ports that are still to be had.
pub(super) struct Free<'a> {
    pub(super) facts: Option<&'a Facts>,
    /// Machine and port of what is given away.
    pub(super) taken: HashSet<(usize, u16)>,
    /// Where the search goes on, by machine and range; what is before it is taken.
    pub(super) next: HashMap<(usize, u16, u16), u32>,
}

/// A port that is looked for.
struct Wanted<'a> {
    place: &'a Place,
    range: PortRange,
    bind: &'a str,
}

impl<'a> Wanted<'a> {
    fn of(topology: &'a Topology, instance: &Instance, at: usize) -> Self {
        let place = topology.place_of(instance);
        Self {
            place,
            range: topology.ports_of(instance.node),
            bind: bind_address(place, &topology.nodes[instance.node].listens[at]),
        }
    }
}

impl Free<'_> {
    /// The port this socket had, where it is still in the range and nobody else has it. With a gate
    /// that came or went, somebody else of its instance had it.
    pub(super) fn pinned(
        &mut self,
        topology: &Topology,
        instance: &Instance,
        at: usize,
    ) -> Option<Number> {
        let port = &topology.nodes[instance.node].listens[at].port;
        let gate = gates::name_of(&instance.name);
        let by = match instance.gate {
            Some(_) => [&gate, &instance.name],
            None => [&instance.name, &gate],
        };
        let had = by.map(|name| (name, port.as_str()));
        self.had(&Wanted::of(topology, instance, at), &had)
    }

    /// The first pin of these that still holds.
    fn had(&mut self, wanted: &Wanted<'_>, had: &[(&InstanceName, &str)]) -> Option<Number> {
        let facts = self.facts.filter(|_| wanted.place.is_here)?;
        let mut pins = had
            .iter()
            .filter_map(|(name, port)| facts.pins.get(name.as_str(), port));
        let port = pins.next()?;
        let is_ours = (wanted.range.first..=wanted.range.last).contains(&port)
            && facts.hindrance(wanted.bind, port).is_none()
            && self.taken.insert((wanted.place.machine, port));
        is_ours.then_some(Number {
            port,
            why: Why::Pinned,
            holder: None,
        })
    }

    #[expect(clippy::unnecessary_wraps, reason = "it is a step beside `pinned`")]
    pub(super) fn lowest(
        &mut self,
        topology: &Topology,
        instance: &Instance,
        at: usize,
    ) -> Option<Number> {
        Some(self.least(&Wanted::of(topology, instance, at)))
    }

    /// The lowest port of the range that nobody has.
    fn least(&mut self, wanted: &Wanted<'_>) -> Number {
        let Wanted { place, range, bind } = wanted;
        let facts = self.facts.filter(|_| place.is_here);
        let key = (place.machine, range.first, range.last);
        let next = self.next.entry(key).or_insert(u32::from(range.first));
        while let Ok(port) = u16::try_from(*next) {
            if port > range.last {
                break;
            }
            *next += 1;
            let is_free = facts.is_none_or(|facts| {
                !facts.foreign_pins.contains_key(&port) && facts.hindrance(bind, port).is_none()
            });
            if is_free && self.taken.insert((place.machine, port)) {
                return Number {
                    port,
                    why: Why::Chosen,
                    holder: None,
                };
            }
        }
        Number::exhausted()
    }
}

/// The numbers of the ports between gates and their programs.
pub(super) fn inner(topology: &Topology, free: &mut Free<'_>) -> Vec<Vec<Number>> {
    let mut numbers: Vec<Vec<Option<Number>>> = topology
        .gates
        .iter()
        .map(|gate| {
            let doors = gate.doors.iter();
            doors
                .map(|door| door.is_ipc.then(Number::without))
                .collect()
        })
        .collect();
    for is_pinned in [true, false] {
        for (gate, own) in topology.gates.iter().zip(&mut numbers) {
            let instance = &topology.instances[gate.instance];
            for (door, number) in gate.doors.iter().zip(own) {
                let binder = match door.way {
                    Way::Listens(_) => &instance.name,
                    Way::Dials(_) => &gate.name,
                };
                let wanted = Wanted {
                    place: topology.place_of(instance),
                    range: topology.ports_of(instance.node),
                    bind: INNER_ADDRESS,
                };
                if number.is_none() {
                    *number = match is_pinned {
                        true => free.had(&wanted, &[(binder, &door.inner_port())]),
                        false => Some(free.least(&wanted)),
                    };
                }
            }
        }
    }
    numbers
        .into_iter()
        .map(|own| own.into_iter().flatten().collect())
        .collect()
}
