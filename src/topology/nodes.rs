//! Spreads nodes out into instances: their names, their places, who starts late.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::resolve::Given;
use super::{Dangling, Instance, Named, Node, Place, Unit, policies};
use crate::diagnostics::At;
use crate::manifest::link::OneOrMany;
use crate::manifest::node::{EnvDecl, LateDecl, NodeDecl, ReplicasDecl, WhenDecl};
use crate::manifest::peers::Member;
use crate::manifest::topology::Ordered;
use crate::model::endpoint::is_loopback;
use crate::model::limits::source::INSTANCES_MAX;
use crate::model::name::{InstanceName, NodeName};
use crate::roles::Kind;
use crate::source::path::Path;

/// What comes of the nodes of all files.
#[derive(Default)]
pub(super) struct Spread {
    pub(super) nodes: Vec<Node>,
    pub(super) instances: Vec<Instance>,
    pub(super) places: Vec<Place>,
    pub(super) dangling: Vec<Dangling>,
    /// Nodes whose `when` does not hold: as unwritten, and no fault to name.
    pub(super) absent: HashSet<String>,
    /// Where a host is named that is none.
    lost: HashSet<Path>,
}

/// An instance before its place is known.
struct Seat {
    name: String,
    host: Option<String>,
    address: Option<String>,
    port: Option<(u16, Path)>,
    env: Ordered<EnvDecl>,
    at: Path,
}

/// The nodes and instances of all files, in written order.
pub(super) fn spread(given: &Given<'_>, host: Option<&str>) -> Spread {
    let mut spread = Spread {
        places: places(&given.units, host),
        ..Spread::default()
    };
    let by_host: HashMap<String, usize> = spread
        .places
        .iter()
        .enumerate()
        .filter_map(|(index, place)| Some((place.host.clone()?, index)))
        .collect();
    let mut literal = HashMap::new();
    for (index, unit) in given.units.iter().enumerate() {
        for (name, decl) in unit.decl.nodes.iter() {
            let full = format!("{}{name}", unit.prefix);
            if !holds(&decl.when, unit) {
                spread.absent.insert(full);
                continue;
            }
            let at = unit.top.key("nodes").key(name);
            let count = given
                .facts
                .and_then(|facts| facts.counts.get(&full))
                .copied();
            let seats = seats(unit, decl, &full, &at, count);
            let first = spread.instances.len();
            let late = late_from(decl.late.as_ref(), seats.len());
            for (position, seat) in seats.into_iter().enumerate() {
                if spread.instances.len() > INSTANCES_MAX {
                    break;
                }
                let place = match &seat.address {
                    Some(address) => literal_place(&mut spread, &mut literal, given, address),
                    None => seat_place(
                        &mut spread,
                        &by_host,
                        (index, unit),
                        decl,
                        (&seat, position),
                    ),
                };
                let late_ms = decl.late.as_ref().filter(|_| position >= late);
                spread.instances.push(Instance {
                    name: InstanceName::new(seat.name),
                    node: spread.nodes.len(),
                    index: u32::try_from(position).unwrap_or(u32::MAX),
                    place,
                    at: seat.at,
                    port: seat.port,
                    env: seat.env,
                    late_ms: late_ms.map(|late| late.delay.as_millis()),
                    numbers: Vec::new(),
                    gate: None,
                });
            }
            let instances = first..spread.instances.len();
            spread.nodes.push(Node {
                name: NodeName::new(full),
                kind: decl.kind.unwrap_or(Kind::Command),
                at,
                unit: index,
                policies: policies::of(decl, &unit.decl.defaults),
                decl: decl.clone(),
                instances,
                after: Vec::new(),
                ends: Vec::new(),
                listens: Vec::new(),
            });
        }
    }
    spread
}

/// Whether every variable of `when` has a value that is written there.
fn holds(when: &Ordered<WhenDecl>, unit: &Unit) -> bool {
    when.iter().all(|(name, wanted)| {
        unit.vars.get(name).is_some_and(|value| match wanted {
            WhenDecl::Many(values) => values.iter().any(|wanted| same(wanted, value)),
            WhenDecl::One(wanted) => same(wanted, value),
        })
    })
}

/// Values are compared by what they say: `--var n=3` and `3` are one.
fn same(a: &Value, b: &Value) -> bool {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    a == b || text(a) == text(b)
}

/// The hosts of all files, or this machine where no file has any.
fn places(units: &[Unit], host: Option<&str>) -> Vec<Place> {
    let mut places: Vec<Place> = Vec::new();
    for unit in units {
        for (name, decl) in unit.decl.hosts.iter() {
            let full = format!("{}{name}", unit.prefix);
            places.push(Place {
                is_here: host == Some(full.as_str()),
                host: Some(full),
                bind: decl.bind.clone().unwrap_or_else(|| decl.address.clone()),
                address: decl.address.clone(),
                machine: places.len(),
                is_literal: false,
            });
        }
    }
    if places.is_empty() {
        places.push(Place {
            host: None,
            address: "127.0.0.1".to_owned(),
            bind: "127.0.0.1".to_owned(),
            is_here: true,
            machine: 0,
            is_literal: false,
        });
    }
    places
}

/// The place of an address that a `peers.json` gives.
fn literal_place(
    spread: &mut Spread,
    known: &mut HashMap<String, usize>,
    given: &Given<'_>,
    address: &str,
) -> usize {
    if let Some(index) = known.get(address) {
        return *index;
    }
    let index = spread.places.len();
    let is_own = |facts: &super::facts::Facts| {
        address
            .parse()
            .is_ok_and(|ip| facts.addresses.contains(&ip))
    };
    let is_loopback = is_loopback(address);
    let is_here = is_loopback || given.facts.is_some_and(is_own);
    spread.places.push(Place {
        host: None,
        address: address.to_owned(),
        bind: address.to_owned(),
        is_here,
        machine: if is_loopback { 0 } else { index },
        is_literal: true,
    });
    known.insert(address.to_owned(), index);
    index
}

/// The place of an instance: its own host, its node's in turn, or the only one.
fn seat_place(
    spread: &mut Spread,
    by_host: &HashMap<String, usize>,
    (unit_index, unit): (usize, &Unit),
    decl: &NodeDecl,
    (seat, position): (&Seat, usize),
) -> usize {
    let (name, at) = match (&seat.host, &decl.host) {
        (Some(host), _) => (host, seat.at.key("host")),
        (None, Some(OneOrMany::One(host))) => (host, node_path(unit, &seat.at).key("host")),
        (None, Some(OneOrMany::Many(hosts))) if !hosts.is_empty() => {
            let turn = position % hosts.len();
            (
                &hosts[turn],
                node_path(unit, &seat.at).key("host").index(turn),
            )
        }
        (None, Some(OneOrMany::Many(_)) | None) => return 0,
    };
    let found = by_host
        .get(&format!("{}{name}", unit.prefix))
        .or_else(|| by_host.get(name));
    if let Some(place) = found {
        return *place;
    }
    // All instances of a node stumble over the same word.
    if spread.lost.insert(at.clone()) {
        spread.dangling.push(Dangling {
            name: name.clone(),
            of: Named::Host,
            at: At::Value(at),
            unit: unit_index,
        });
    }
    0
}

/// The path of the node that an instance is written in.
fn node_path(unit: &Unit, at: &Path) -> Path {
    let mut path = at.clone();
    path.steps.truncate(unit.top.steps.len() + 2);
    path
}

/// From which position on instances start late: the last round(n x P), half up.
fn late_from(late: Option<&LateDecl>, count: usize) -> usize {
    let Some(late) = late else { return count };
    let share = late.fraction.map_or(100.0, |percent| percent.0) / 100.0;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share of at most 20,000 instances"
    )]
    let late = (count as f64 * share + 0.5).floor() as usize;
    count - late.min(count)
}

/// The instances of a node: names, and what is written for each alone.
fn seats(unit: &Unit, decl: &NodeDecl, full: &str, at: &Path, running: Option<u32>) -> Vec<Seat> {
    let seat = |name: String, at: Path| Seat {
        name,
        host: None,
        address: None,
        port: None,
        env: Ordered::default(),
        at,
    };
    let counted = |count: u32| {
        (0..count)
            .map(|index| seat(format!("{full}-{index}"), at.clone()))
            .collect()
    };
    let named = |name: &str| format!("{}{name}", unit.prefix);
    let written = at.key("replicas");
    match &decl.replicas {
        None => vec![seat(full.to_owned(), at.clone())],
        Some(ReplicasDecl::Count(count)) => counted(*count),
        Some(ReplicasDecl::Range(range)) => {
            counted(running.unwrap_or(range.min).clamp(range.min, range.max))
        }
        Some(ReplicasDecl::Names(names)) => names
            .iter()
            .enumerate()
            .map(|(index, name)| seat(named(name), written.index(index)))
            .collect(),
        Some(ReplicasDecl::Named(replicas)) => replicas
            .iter()
            .map(|(name, own)| Seat {
                host: own.host.clone(),
                port: own.port.map(|port| (port, written.key(name).key("port"))),
                env: own.env.clone(),
                ..seat(named(name), written.key(name))
            })
            .collect(),
        Some(ReplicasDecl::Import(import)) => unit
            .imports
            .get(&import.import)
            .map_or(&[][..], Vec::as_slice)
            .iter()
            .map(|member: &Member| Seat {
                address: Some(member.address.clone()),
                port: Some((member.port, member.at.key("port"))),
                ..seat(named(&member.name), member.at.clone())
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_late_share_is_rounded_half_up() {
        let late = |text: &str| serde_yaml::from_str::<LateDecl>(text).unwrap();
        let quarter = late("{delay: 5s, fraction: 25%}");
        assert_eq!(late_from(Some(&quarter), 4), 3);
        assert_eq!(late_from(Some(&quarter), 2), 1, "0.5 is one");
        assert_eq!(late_from(Some(&quarter), 1), 1, "0.25 is none");
        assert_eq!(late_from(Some(&late("{delay: 5s}")), 3), 0);
        assert_eq!(late_from(None, 3), 3);
    }
}
