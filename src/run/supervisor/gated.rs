//! Wires that pass a gate: their gates know whether they are there, what passed and what did not.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::refused;
use super::report::Facts;
use crate::model::name::InstanceName;
use crate::plan::Wire;
use crate::run::status::InOut;

/// The gates of a wire, and who is behind them.
struct Gates<'a> {
    /// The gate that dials outside.
    dials: Option<&'a InstanceName>,
    /// The gate that listens outside.
    listens: Option<&'a InstanceName>,
    listener: &'a InstanceName,
}

fn gates(wire: &Wire) -> Gates<'_> {
    let (from, to) = (wire.from_gate.as_ref(), wire.to_gate.as_ref());
    if wire.dialler == wire.from {
        Gates {
            dials: from,
            listens: to,
            listener: &wire.to,
        }
    } else {
        Gates {
            dials: to,
            listens: from,
            listener: &wire.from,
        }
    }
}

/// Whether it is there; an error says in words why not. Nothing where no gate can tell.
pub(super) fn judge(wire: &Wire, facts: &Facts) -> Option<Result<(), String>> {
    let gates = gates(wire);
    for gate in [gates.dials, gates.listens].into_iter().flatten() {
        if !facts.contains_key(gate) {
            return Some(Err(format!("{gate} does not answer")));
        }
    }
    let listening = gates.listens.and_then(|gate| door(facts, gate, wire, None));
    let hindered = listening.and_then(|door| door["hindrance"].as_str());
    // Its subscribers stay connected, and there is nobody whom they could hear.
    if let Some(hindered) = hindered
        && listening.is_some_and(|door| door["has_publisher"] == false)
    {
        return Some(Err(hindered.to_owned()));
    }
    if let Some(gate) = gates.dials {
        let door = door(facts, gate, wire, Some(gates.listener))?;
        if door["wires"].as_u64() > Some(0) {
            return Some(Ok(()));
        }
        // The end that is nearer to the cause knows it better.
        let refused = gates.listens.and_then(|by| refused::why(wire, by, facts));
        let why = refused.or_else(|| hindered.map(str::to_owned));
        let why = why.or_else(|| door["hindrance"].as_str().map(str::to_owned));
        return Some(Err(why.unwrap_or_else(|| match door["waiting"].as_u64() {
            Some(0) => format!("{} has not dialled {gate}", wire.dialler),
            _ => "no handshake yet".to_owned(),
        })));
    }
    let gate = gates.listens?;
    match (accepted(facts, gate, wire), hindered) {
        (Some(_), _) => Some(Ok(())),
        (None, Some(hindered)) => Some(Err(hindered.to_owned())),
        (None, None) => {
            let refused = refused::why(wire, gate, facts);
            Some(Err(refused.unwrap_or_else(|| "never dialled".to_owned())))
        }
    }
}

/// The wire of a listening gate whose other end is the dialler, which is no gate's.
fn accepted<'a>(facts: &'a Facts, gate: &InstanceName, wire: &Wire) -> Option<&'a Value> {
    let pairs = facts.get(gate)?["pairs"].as_array()?;
    let mut own = pairs
        .iter()
        .filter(|pair| pair["link"] == wire.link.as_str());
    match wire.mechanism.as_str() {
        "CURVE" => own.find(|pair| pair["peer"] == wire.dialler.as_str()),
        // In clear text nobody is told from anybody else.
        _ => own.next(),
    }
}

/// The door of a gate for a link, and for a peer where the gate dials.
fn door<'a>(
    facts: &'a Facts,
    gate: &InstanceName,
    wire: &Wire,
    peer: Option<&InstanceName>,
) -> Option<&'a Value> {
    let doors = facts.get(gate)?["doors"].as_array()?;
    doors.iter().find(|door| {
        let is_link = door["links"]
            .as_array()
            .is_some_and(|links| links.iter().any(|link| link == wire.link.as_str()));
        is_link && door["peer"].as_str() == peer.map(InstanceName::as_str)
    })
}

/// What passed over a wire and what did not, connections that are gone included where one gate saw
/// them all.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) messages: Option<InOut>,
    pub(super) bytes: Option<InOut>,
    pub(super) queued: Option<u64>,
    pub(super) dropped: Map<String, Value>,
}

/// What the gates of a wire count of it.
pub(super) fn counts(wire: &Wire, facts: &Facts) -> Option<Counts> {
    let gates = gates(wire);
    let dialling = gates
        .dials
        .and_then(|gate| door(facts, gate, wire, Some(gates.listener)));
    let others = match (gates.listens, gates.dials) {
        (Some(gate), Some(dials)) => across(facts, (gate, dials), wire),
        (Some(gate), None) => accepted(facts, gate, wire).into_iter().collect(),
        (None, _) => Vec::new(),
    };
    // What leaves the gate that dials comes to the listener.
    let (seen, to_listener, from_listener) = match (dialling, others.first()) {
        (Some(door), _) => (door, "out", "in"),
        (None, Some(pair)) => (*pair, "in", "out"),
        (None, None) => return None,
    };
    let in_out = |what: &str| {
        Some(InOut {
            r#in: seen[to_listener][what].as_u64()?,
            out: seen[from_listener][what].as_u64()?,
        })
    };
    let all = dialling.into_iter().chain(others);
    let ways = all.flat_map(|seen| [&seen["out"], &seen["in"]]);
    let mut counts = Counts {
        messages: in_out("sent"),
        bytes: in_out("sent_bytes"),
        queued: Some(0),
        dropped: Map::new(),
    };
    for way in ways {
        let queued = way["queued_bytes"].as_u64().unwrap_or(0);
        counts.queued = counts.queued.map(|sum| sum + queued);
        for (reason, count) in way["dropped"].as_object().into_iter().flatten() {
            let sum = counts.dropped.entry(reason.clone()).or_insert(0.into());
            *sum = (sum.as_u64().unwrap_or(0) + count.as_u64().unwrap_or(0)).into();
        }
    }
    Some(counts)
}

/// The listening gate's side of the wire that the dialling gate has, and of those it had before: the
/// same connections, by the address of the end that dialled.
fn across<'a>(
    facts: &'a Facts,
    (listens, dials): (&InstanceName, &InstanceName),
    wire: &Wire,
) -> Vec<&'a Value> {
    let listener = gates(wire).listener.as_str();
    let own = sides(facts, dials)
        .filter(|side| side["link"] == wire.link.as_str() && side["peer"] == listener);
    let locals: HashSet<&str> = own
        .filter_map(|side| side["local"].as_str().filter(|local| !local.is_empty()))
        .collect();
    let is_other = |side: &&Value| {
        let address = side["address"].as_str();
        address.is_some_and(|address| locals.contains(address))
    };
    sides(facts, listens).filter(is_other).collect()
}

/// The wires of a gate, and the last ones that are gone.
fn sides<'a>(facts: &'a Facts, gate: &InstanceName) -> impl Iterator<Item = &'a Value> {
    let told = facts.get(gate);
    let lists = ["pairs", "gone"].map(|list| told.and_then(|told| told[list].as_array()));
    lists.into_iter().flatten().flatten()
}
