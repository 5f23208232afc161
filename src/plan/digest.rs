//! One text that stands for a whole plan, and one for what a single process was started as.

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{Exec, Instance, Plan, Process, Socket};

/// The SHA-256 of a plan's JSON without its digest, in hexadecimal digits. Mappings in a plan are
/// sorted and lists are in the order of the manifest, so the same plan has the same bytes.
pub fn digest(plan: &Plan) -> String {
    let bare = Plan {
        digest: String::new(),
        ..plan.clone()
    };
    of(&bare)
}

/// The same of what only a restart can change in a process, so that whoever finds it alive knows
/// whether it is the one the plan wants. What a role is told stays out: it can be told anew.
pub fn life(instance: &Instance, process: &Process) -> String {
    let program = match &process.exec {
        Exec::Program { program, args } => Some((program, args)),
        Exec::Role(_) => None,
    };
    let ports = instance.ports.iter();
    // Where a port is written may move; that it listens elsewhere is a change.
    let ports: Vec<_> = ports
        .map(|port| (&port.port, &port.bind, &port.address))
        .collect();
    // Who is admitted may change while it runs.
    let sockets: Vec<_> = instance.sockets.iter().map(Socket::fixed).collect();
    of(&(
        (instance.kind, program, &process.cwd, process.run),
        (&process.env, &process.env_files, &process.limits),
        (sockets, ports),
    ))
}

fn of(value: &impl Serialize) -> String {
    let json = serde_json::to_vec(value).expect("a plan has only text keys");
    Sha256::digest(&json)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
