//! The difference between two plans, step by step: what `plan` prints and `apply` does.
//!
//! Starting from nothing is the difference from the empty plan, so start, apply, scale and stop are
//! one path. What is gone goes before what is new comes.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::change::{Change, Class, Op};
use super::{Exec, Instance, Plan, Process, Run, Socket, Wire, admitted, mesh};
use crate::model::endpoint::Endpoint;
use crate::model::name::{InstanceName, LinkName};

/// The steps from one plan to another, in an order in which they can be done one after the other.
pub fn diff(old: &Plan, new: &Plan) -> Vec<Change> {
    let before = by_name(old);
    let after = by_name(new);
    let mut changes = Vec::new();
    let gone = old.instances.iter().rev().filter_map(|instance| {
        let process = instance.process.as_ref()?;
        let is_gone = after
            .get(&instance.name)
            .is_none_or(|now| now.process.is_none());
        is_gone.then_some((process.rank, instance))
    });
    let mut gone: Vec<(u16, &Instance)> = gone.collect();
    gone.sort_by_key(|(rank, _)| std::cmp::Reverse(*rank));
    for (_, instance) in gone {
        let cause = match after.get(&instance.name) {
            None => format!("`nodes.{}` no longer has it", instance.node),
            Some(_) => "it is no longer started here".to_owned(),
        };
        changes.push(step(Op::Stop, instance, Class::Restart, cause));
    }
    let mut rest: Vec<&Instance> = new.instances.iter().collect();
    rest.sort_by_key(|instance| instance.process.as_ref().map(|process| process.rank));
    for now in rest {
        let Some(process) = &now.process else {
            continue;
        };
        let Some((was, was_process)) = before
            .get(&now.name)
            .and_then(|was| Some((*was, was.process.as_ref()?)))
        else {
            let by_hand = match process.run {
                Run::Manual => format!(", waits for `zmqnet start {}`", now.name),
                Run::Always | Run::Once => String::new(),
            };
            let cause = format!("new in `nodes.{}`{by_hand}", now.node);
            changes.push(step(Op::Start, now, Class::Live, cause));
            continue;
        };
        let harsh = restart_causes((was, was_process), (now, process));
        let gentle = live_causes((was, was_process), (now, process));
        if !harsh.is_empty() {
            changes.push(step(Op::Restart, now, Class::Restart, harsh.join(", ")));
        } else if !gentle.is_empty() {
            changes.push(step(Op::Update, now, Class::Live, gentle.join(", ")));
        }
    }
    finish(&mut changes, old, new);
    changes
}

fn by_name(plan: &Plan) -> HashMap<&InstanceName, &Instance> {
    plan.instances
        .iter()
        .map(|instance| (&instance.name, instance))
        .collect()
}

fn step(op: Op, instance: &Instance, class: Class, cause: String) -> Change {
    Change {
        n: 0,
        needs: Vec::new(),
        op,
        node: instance.name.clone(),
        class,
        cause,
        wires: Vec::new(),
    }
}

/// Why an instance cannot go on as it is, in the words of the manifest.
fn restart_causes(
    (was, was_process): (&Instance, &Process),
    (now, now_process): (&Instance, &Process),
) -> Vec<String> {
    let mut causes = Vec::new();
    match (&was_process.exec, &now_process.exec) {
        (
            Exec::Program { program, args },
            Exec::Program {
                program: now_program,
                args: now_args,
            },
        ) => {
            if args != now_args {
                causes.push("`command` changed".to_owned());
            } else if program != now_program {
                causes.push(format!("`command` is now {}", now_program.display()));
            }
        }
        (Exec::Role(was_role), Exec::Role(now_role)) => {
            let fixed = was_role.fixed_change(now_role);
            // That it listens elsewhere is said of its ports.
            causes.extend(
                fixed
                    .filter(|_| ports(was) == ports(now))
                    .map(|what| format!("{what} changed")),
            );
        }
        (Exec::Program { .. }, Exec::Role(_)) | (Exec::Role(_), Exec::Program { .. }) => {
            causes.push("`kind` changed".to_owned());
        }
    }
    if was_process.cwd != now_process.cwd {
        causes.push("`cwd` changed".to_owned());
    }
    if was_process.run != now_process.run {
        causes.push("`run` changed".to_owned());
    }
    if was_process.limits != now_process.limits {
        causes.push("`limits` changed".to_owned());
    }
    causes.extend(port_cause(was, now));
    causes.extend(socket_causes(&was.sockets, &now.sockets));
    causes.extend(env_causes(was_process, now_process));
    causes
}

fn ports(instance: &Instance) -> Vec<(&str, &Endpoint, &Endpoint)> {
    let ports = instance.ports.iter();
    ports
        .map(|port| (port.port.as_str(), &port.bind, &port.address))
        .collect()
}

fn port_cause(was: &Instance, now: &Instance) -> Option<String> {
    if ports(was) == ports(now) {
        return None;
    }
    let shown = |instance: &Instance| {
        let addresses = instance.ports.iter().map(|port| port.address.to_string());
        addresses.collect::<Vec<_>>().join(" ")
    };
    Some(format!("`port`: {} -> {}", shown(was), shown(now)))
}

fn socket_causes(was: &[Socket], now: &[Socket]) -> Vec<String> {
    let by_env = |sockets: &[Socket]| -> HashMap<String, Socket> {
        let named = |socket: &Socket| (socket.env.clone(), socket.fixed());
        sockets.iter().map(named).collect()
    };
    let (was, now) = (by_env(was), by_env(now));
    let names: BTreeSet<&String> = was.keys().chain(now.keys()).collect();
    names
        .into_iter()
        .filter(|name| was.get(*name) != now.get(*name))
        .map(|name| {
            let socket = now.get(name).or_else(|| was.get(name));
            let links = socket.map_or(&[][..], |socket| &socket.links);
            let links: Vec<String> = links.iter().map(|link| format!("`links.{link}`")).collect();
            let what = match (was.get(name), now.get(name)) {
                (None, _) => "is new for it",
                (_, None) => "is gone for it",
                (Some(_), Some(_)) => "changed for it",
            };
            format!("{} {what}", links.join(" "))
        })
        .collect()
}

/// Keys of `env`; what zmqnet sets itself has changed with a socket.
fn env_causes(was: &Process, now: &Process) -> Vec<String> {
    let is_told = |key: &str| key.starts_with("ZMQNET_") || key == "PEERS_PATH";
    let keys = |process: &Process| -> BTreeSet<String> {
        let written = process.env.keys().chain(process.env_files.keys());
        written.filter(|key| !is_told(key)).cloned().collect()
    };
    keys(was)
        .union(&keys(now))
        .filter(|key| {
            was.env.get(*key) != now.env.get(*key)
                || was.env_files.get(*key) != now.env_files.get(*key)
        })
        .map(|key| format!("`env.{key}` changed"))
        .collect()
}

/// What an instance takes while it runs: other members of its mesh, whom it admits, and how it is
/// watched over.
fn live_causes(
    (was_instance, was): (&Instance, &Process),
    (now_instance, now): (&Instance, &Process),
) -> Vec<String> {
    let members = match (&was.exec, &now.exec) {
        (Exec::Role(was), Exec::Role(now)) => mesh::causes(was, now),
        (Exec::Program { .. } | Exec::Role(_), _) => Vec::new(),
    };
    let watched = [
        ("probe", was.probe != now.probe),
        ("restart", was.restart != now.restart),
        ("stop", was.stop != now.stop),
        ("logs", was.logs != now.logs),
        ("after", was.after != now.after),
        ("late", was.late_ms != now.late_ms),
        ("start order", was.rank != now.rank),
    ]
    .into_iter()
    .filter(|(_, is_changed)| *is_changed)
    .map(|(key, _)| format!("`{key}` changed"));
    // Whoever joins a mesh is admitted by it, and that is said already.
    let admitted = match members.is_empty() {
        true => admitted::cause(was_instance, now_instance),
        false => None,
    };
    let settings = match (&was.exec, &now.exec) {
        (Exec::Role(was), Exec::Role(now)) => was.live_changes(now),
        (Exec::Program { .. } | Exec::Role(_), _) => Vec::new(),
    };
    let settings = settings.into_iter().map(|what| format!("{what} changed"));
    let told = members.into_iter().chain(admitted).chain(settings);
    told.chain(watched).collect()
}

/// Numbers the steps, says what each needs and which wires it touches.
fn finish(changes: &mut [Change], old: &Plan, new: &Plan) {
    let mut numbers: HashMap<InstanceName, (u32, Op)> = HashMap::new();
    for (index, change) in changes.iter_mut().enumerate() {
        change.n = u32::try_from(index + 1).unwrap_or(u32::MAX);
        numbers.insert(change.node.clone(), (change.n, change.op));
    }
    let held: HashMap<&Endpoint, u32> = old
        .instances
        .iter()
        .filter_map(|instance| Some((instance, numbers.get(&instance.name)?)))
        .filter(|(_, (_, op))| *op != Op::Update)
        .flat_map(|(instance, (n, _))| instance.ports.iter().map(|port| (&port.bind, *n)))
        .collect();
    let now = by_name(new);
    let mut interrupted = interrupted(old, &numbers);
    let is_updated = changes.iter().any(|change| change.op == Op::Update);
    let mut come_or_go = match is_updated {
        true => come_or_go(old, new),
        false => HashMap::new(),
    };
    for change in changes {
        let wires = match change.op {
            Op::Start => None,
            Op::Stop | Op::Restart => interrupted.remove(&change.node),
            Op::Update => come_or_go.remove(&change.node),
        };
        change.wires = wires.unwrap_or_default();
        let Some(instance) = now.get(&change.node) else {
            continue;
        };
        let holders = instance
            .ports
            .iter()
            .filter_map(|port| held.get(&port.bind));
        let waited = instance.process.iter().flat_map(|process| &process.after);
        let waited = waited
            .flat_map(|after| &after.instances)
            .filter_map(|name| numbers.get(name))
            .filter(|(_, op)| *op != Op::Update)
            .map(|(n, _)| n);
        let needs: BTreeSet<u32> = holders.chain(waited).copied().collect();
        change.needs = needs.into_iter().filter(|n| *n < change.n).collect();
    }
}

/// The wires of the old plan, by each of their ends that stops or restarts.
fn interrupted(
    old: &Plan,
    numbers: &HashMap<InstanceName, (u32, Op)>,
) -> HashMap<InstanceName, Vec<String>> {
    let mut found: HashMap<InstanceName, Vec<String>> = HashMap::new();
    let is_cut = |name: &InstanceName| {
        let op = numbers.get(name).map(|(_, op)| *op);
        matches!(op, Some(Op::Stop | Op::Restart))
    };
    for wire in &old.wires {
        for end in [&wire.from, &wire.to] {
            if is_cut(end) {
                found.entry(end.clone()).or_default().push(text(wire));
            }
        }
    }
    found
}

/// The wires that only one of the plans has, those of the old one first, by each of their ends.
fn come_or_go(old: &Plan, new: &Plan) -> HashMap<InstanceName, Vec<String>> {
    let (was, now) = (ways(old), ways(new));
    let gone = old.wires.iter().filter(|wire| !now.contains(&way(wire)));
    let come = new.wires.iter().filter(|wire| !was.contains(&way(wire)));
    let mut found: HashMap<InstanceName, Vec<String>> = HashMap::new();
    for wire in gone.chain(come) {
        for end in [&wire.from, &wire.to] {
            let wires = found.entry(end.clone()).or_default();
            let text = text(wire);
            // One that moved goes and comes by the same name.
            if !wires.contains(&text) {
                wires.push(text);
            }
        }
    }
    found
}

/// What makes a wire the same one in both plans.
type Way<'a> = (&'a LinkName, [&'a InstanceName; 3], &'a Endpoint);

fn way(wire: &Wire) -> Way<'_> {
    let ends = [&wire.from, &wire.to, &wire.dialler];
    (&wire.link, ends, &wire.endpoint)
}

fn ways(plan: &Plan) -> HashSet<Way<'_>> {
    plan.wires.iter().map(way).collect()
}

fn text(wire: &Wire) -> String {
    format!("{} {} > {}", wire.link, wire.from, wire.to)
}

#[cfg(test)]
#[path = "diff_tests.rs"]
mod tests;
