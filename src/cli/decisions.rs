//! `plan --explain`: every decision of the planner in words, with its reason.

use std::collections::BTreeMap;

use crate::manifest::link::Transport;
use crate::manifest::topology::CurveMode;
use crate::model::socket::{Pattern, Side};
use crate::plan::Plan;
use crate::topology::gates::Way;
use crate::topology::{End, Leg, Topology, Why};

/// The decisions, one a line, grouped.
pub fn of(topology: &Topology, plan: &Plan) -> Vec<String> {
    let mut lines = vec!["where:".to_owned()];
    lines.push(match &topology.host {
        Some(host) => format!("  this machine is `{host}`"),
        None => "  everything runs on this machine".to_owned(),
    });
    for place in topology.places.iter().filter(|place| !place.is_here) {
        let name = place.host.as_ref().unwrap_or(&place.address);
        lines.push(format!(
            "  `{name}` is another machine: planned, not started here"
        ));
    }
    lines.push("who binds, and by which transport:".to_owned());
    for leg in &topology.legs {
        lines.push(format!("  {}", binder(topology, leg)));
        lines.push(format!("    {}", transport(topology, leg)));
    }
    lines.push("ports:".to_owned());
    lines.extend(ports(topology));
    lines.extend(admissions(topology, plan));
    if !topology.gates.is_empty() {
        lines.push("gates, since a link says `gate: true`:".to_owned());
        lines.extend(gates(topology));
    }
    lines.push("start order (stop is the reverse):".to_owned());
    let mut ranks: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
    for instance in &plan.instances {
        if let Some(process) = &instance.process {
            ranks
                .entry(process.rank)
                .or_default()
                .push(instance.name.as_str());
        }
    }
    for (rank, names) in ranks {
        lines.push(format!("  {rank}: {}", names.join(" ")));
    }
    lines
}

/// Who is admitted to each encrypted listener; nothing where there is none.
fn admissions(topology: &Topology, plan: &Plan) -> Vec<String> {
    let Some(keys) = &plan.keys else {
        return Vec::new();
    };
    let mut lines = vec![format!(
        "keys: in {}; each listener admits exactly",
        keys.display()
    )];
    for instance in &plan.instances {
        let mut ports: Vec<&str> = Vec::new();
        for port in &instance.ports {
            let Some(guarded) = &port.guarded else {
                continue;
            };
            // One that listens in two ways is one listener.
            if std::mem::replace(&mut ports, vec![&port.port]).contains(&port.port.as_str()) {
                continue;
            }
            let mut who: Vec<&str> = guarded.allow.iter().map(|it| it.who.as_str()).collect();
            if guarded.admits_operator {
                who.push("and zmqnet's own commands");
            }
            let who = if who.is_empty() {
                "nobody".to_owned()
            } else {
                who.join(" ")
            };
            lines.push(format!("  {} {}: {who}", instance.name, port.port));
        }
    }
    for link in encrypted_by_another(topology) {
        lines.push(format!("  `{link}` shares a socket with an encrypted link"));
    }
    lines
}

/// The links that are encrypted only since a socket of theirs is.
fn encrypted_by_another(topology: &Topology) -> Vec<&str> {
    let legs = topology.legs.iter().filter(|leg| leg.is_curve);
    let spread = legs.filter(|leg| match topology.curve_mode(leg.link) {
        CurveMode::Auto => !leg.is_beyond,
        CurveMode::Always => false,
        CurveMode::Never => true,
    });
    let mut names: Vec<&str> = spread
        .map(|leg| topology.links[leg.link].name.as_str())
        .collect();
    names.dedup();
    names
}

fn names(topology: &Topology, ends: &[End]) -> String {
    let names = ends
        .iter()
        .map(|end| topology.nodes[end.node].name.as_str());
    names.collect::<Vec<_>>().join(", ")
}

fn binder(topology: &Topology, leg: &Leg) -> String {
    let link = &topology.links[leg.link];
    let ends = leg.ends(leg.binds);
    let is_program = |end: &End| topology.nodes[end.node].is_program();
    let why = match leg.pattern {
        Pattern::Mesh => "each member of a mesh listens and dials every other",
        Pattern::Gossip => "each member of a gossip link listens",
        _ if !ends.iter().all(is_program) => "a role of zmqnet's own always listens",
        _ if !leg.from.iter().chain(&leg.to).all(is_program) => "who subscribes for a store dials",
        _ if link.decl.listen.is_some() => "`listen` says so",
        Pattern::Request => "who answers a request listens",
        Pattern::Pubsub | Pattern::Pipeline => {
            let alone = |side: Side| {
                let ends = leg.ends(side);
                ends.len() == 1 && topology.nodes[ends[0].node].is_single()
            };
            if alone(Side::From) == alone(Side::To) {
                "both sides are written alike, so the pattern decides"
            } else {
                "it is written as one node without `replicas`"
            }
        }
    };
    format!("`{}`: {} binds: {why}", link.name, names(topology, ends))
}

fn transport(topology: &Topology, leg: &Leg) -> String {
    let link = &topology.links[leg.link];
    let is_written = !matches!(link.decl.transport, None | Some(Transport::Auto));
    let mut words = match (leg.is_ipc, leg.is_beyond) {
        (_, _) if is_written => "as is written".to_owned(),
        (true, _) => "ipc: all its ends are ours and on one machine".to_owned(),
        (false, true) => "tcp on the host's address: it leaves the machine".to_owned(),
        (false, false) => "tcp on loopback: all its ends are on one machine".to_owned(),
    };
    if leg.is_curve {
        words.push_str(", encrypted by CURVE");
    }
    words
}

fn gates(topology: &Topology) -> Vec<String> {
    let mut lines = Vec::new();
    for gate in &topology.gates {
        let program = &topology.instances[gate.instance].name;
        for door in &gate.doors {
            let inner = topology.inner(gate, door);
            lines.push(match door.way {
                Way::Listens(_) => format!(
                    "  {} listens on `{}` for {program}, which listens on {inner}",
                    gate.name, door.port
                ),
                Way::Dials(peer) => format!(
                    "  {} dials {} for {program}, which dials {inner}",
                    gate.name, topology.instances[peer].name
                ),
            });
        }
    }
    lines
}

fn ports(topology: &Topology) -> Vec<String> {
    let mut lines = Vec::new();
    for instance in &topology.instances {
        let listens = &topology.nodes[instance.node].listens;
        for (listen, number) in listens.iter().zip(&instance.numbers) {
            let why = match &number.why {
                Why::Written(at) => format!("written in `{at}`"),
                Why::Pinned => "it had this one before".to_owned(),
                Why::Chosen => {
                    let range = topology.ports_of(instance.node);
                    format!("the lowest of {range} that nobody has")
                }
                Why::Without | Why::Exhausted => continue,
            };
            let port = number.port;
            lines.push(format!(
                "  {} {}: {port}: {why}",
                instance.name, listen.port
            ));
        }
    }
    lines
}
