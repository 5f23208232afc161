//! What a feedback watches and scales: its keys, resolved.

use super::{Node, Topology};
use crate::manifest::node::ReplicasDecl;
use crate::model::quantity::{CountRange, Duration, Size};

use serde_json::Value;

/// What a feedback does, resolved.
#[derive(Debug, Clone, PartialEq)]
pub struct Feedback {
    /// The node whose facts it reads, an index into `Topology::nodes`.
    pub watched: usize,
    /// The way to the value in them.
    pub fact: Vec<String>,
    /// The value it holds: a number, milliseconds or bytes.
    pub target: f64,
    /// The node it scales, an index into `Topology::nodes`.
    pub scaled: usize,
    /// How many instances that may have.
    pub range: CountRange,
}

/// Why a feedback cannot work: the key that is wrong, what is wrong with it, and what to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// `watch`, `scale` or `target`.
    pub key: &'static str,
    /// Whether the key is there.
    pub is_written: bool,
    /// What is wrong.
    pub label: String,
    /// What to write instead.
    pub help: String,
}

type Found<T> = Result<T, Fault>;

/// What a feedback watches, scales and holds, or everything that is wrong with that.
pub fn of(topology: &Topology, node: &Node) -> Result<Feedback, Vec<Fault>> {
    let watched = watched(topology, node);
    let scaled = scaled(topology, node);
    let target = target(node);
    match (watched, scaled, target) {
        (Ok((watched, fact)), Ok((scaled, range)), Ok(target)) => Ok(Feedback {
            watched,
            fact,
            target,
            scaled,
            range,
        }),
        (watched, scaled, target) => {
            let faults = [watched.err(), scaled.err(), target.err()];
            Err(faults.into_iter().flatten().collect())
        }
    }
}

fn missing(key: &'static str, help: &str) -> Fault {
    Fault {
        key,
        is_written: false,
        label: format!("it has no `{key}`"),
        help: help.to_owned(),
    }
}

fn wrong(key: &'static str, label: String, help: &str) -> Fault {
    Fault {
        key,
        is_written: true,
        label,
        help: help.to_owned(),
    }
}

/// The node and the fact: the longest name of a node that `watch` begins with, and the rest.
fn watched(topology: &Topology, node: &Node) -> Found<(usize, Vec<String>)> {
    const HELP: &str =
        "write `watch: NODE.FACT`, such as `jobs.queued`; `zmqnet status -o json` shows facts";
    let Some(written) = &node.decl.role.watch else {
        return Err(missing("watch", HELP));
    };
    let prefix = &topology.units[node.unit].prefix;
    let splits = written.match_indices('.').map(|(at, _)| at).rev();
    let mut named = splits.filter_map(|at| {
        let found = topology.node_named(&format!("{prefix}{}", &written[..at]))?;
        Some((found, &written[at + 1..]))
    });
    let Some((found, fact)) = named.next() else {
        return Err(wrong(
            "watch",
            format!("`{written}` begins with no node's name"),
            HELP,
        ));
    };
    let watched = &topology.nodes[found];
    if watched.is_program() {
        let label = format!("`{}` is a program, which has no facts", watched.name);
        let help =
            "watch a node of a kind of zmqnet's own, such as the queue that the program works for";
        return Err(wrong("watch", label, help));
    }
    // Its facts are asked for on this machine's own sockets.
    let is_elsewhere = |instance: &super::Instance| !topology.place_of(instance).is_here;
    if is_here(topology, node) && topology.instances_of(found).iter().all(is_elsewhere) {
        let label = format!("`{}` runs on another host", watched.name);
        return Err(wrong(
            "watch",
            label,
            "a feedback watches what runs beside it",
        ));
    }
    Ok((found, fact.split('.').map(str::to_owned).collect()))
}

fn is_here(topology: &Topology, node: &Node) -> bool {
    let mut instances = topology.instances[node.instances.clone()].iter();
    instances.any(|instance| topology.place_of(instance).is_here)
}

fn scaled(topology: &Topology, node: &Node) -> Found<(usize, CountRange)> {
    const HELP: &str =
        "write `scale: NODE` with a node whose `replicas` are a range, such as `1..8`";
    let Some(written) = &node.decl.role.scale else {
        return Err(missing("scale", HELP));
    };
    let prefix = &topology.units[node.unit].prefix;
    let Some(found) = topology.node_named(&format!("{prefix}{written}")) else {
        return Err(wrong("scale", format!("no node `{written}`"), HELP));
    };
    match &topology.nodes[found].decl.replicas {
        Some(ReplicasDecl::Range(range)) => Ok((found, *range)),
        Some(
            ReplicasDecl::Count(_)
            | ReplicasDecl::Names(_)
            | ReplicasDecl::Import(_)
            | ReplicasDecl::Named(_),
        )
        | None => Err(wrong(
            "scale",
            format!("`{written}` has no range to scale in"),
            HELP,
        )),
    }
}

fn target(node: &Node) -> Found<f64> {
    const HELP: &str = "write `target` as a number, a duration (`2s`) or a size (`1MiB`), above 0; facts are in milliseconds and bytes";
    let Some(written) = &node.decl.role.target else {
        return Err(missing("target", HELP));
    };
    let value = match written {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => quantity(text),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    match value {
        Some(value) if value.is_finite() && value > 0.0 => Ok(value),
        Some(_) | None => Err(wrong("target", "this can be no set point".to_owned(), HELP)),
    }
}

fn quantity(text: &str) -> Option<f64> {
    let duration = text.parse::<Duration>().map(|it| it.as_millis() as f64);
    duration
        .or_else(|_| text.parse::<Size>().map(|it| it.0 as f64))
        .ok()
}
