//! Rules that a resolved topology must keep. One rule a file, one row in [`CHECKS`]; what
//! `zmqnet explain` says of each is in `diagnostics::codes`.
//!
//! A rule only looks; it never changes the topology, and a fault of one hides no other.

mod after;
mod backend;
mod curve;
mod environment;
mod expressions;
mod far_ports;
mod feedback;
mod going_round;
mod here;
mod hosts;
mod instance_names;
mod ipc_path;
mod kept;
mod limits;
mod listen;
mod no_time;
mod port_clash;
mod port_range;
mod probe;
mod programs;
mod references;
mod replays;
mod shared_sockets;
mod size;
mod stands;
mod stores;
mod taken;
mod topics;
mod transport;
mod twice;
mod via;
mod written_ports;

use super::Topology;
use crate::diagnostics::{At, Diagnostic, has_errors};
use crate::source::path::{Path, Step};

/// A rule: it adds a diagnostic for each place where it is broken.
pub type Check = fn(&Topology, &mut Vec<Diagnostic>);

/// Every rule about the manifest alone.
pub const CHECKS: &[Check] = &[
    references::check,
    twice::check,
    instance_names::check,
    environment::check,
    stands::check,
    via::check,
    listen::check,
    topics::check,
    transport::check,
    shared_sockets::check,
    backend::check,
    going_round::check,
    replays::check,
    feedback::check,
    probe::check,
    no_time::check,
    limits::check,
    hosts::check,
    port_clash::check,
    port_range::check,
    written_ports::check,
    far_ports::check,
    curve::check,
    ipc_path::check,
    after::check,
    expressions::check,
    stores::check,
];

/// Every rule about this machine at this moment: what `plan` and `apply` ask beside [`CHECKS`].
pub const HINDRANCES: &[Check] = &[here::check, taken::check, programs::check, kept::check];

/// Runs every rule about the manifest. One that is too large is looked at no further.
pub fn all(topology: &Topology) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    size::check(topology, &mut found);
    if !has_errors(&found) {
        run(CHECKS, topology, &mut found);
    }
    found
}

/// Runs every rule about this machine.
pub fn hindrances(topology: &Topology) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    run(HINDRANCES, topology, &mut found);
    found
}

fn run(checks: &[Check], topology: &Topology, found: &mut Vec<Diagnostic>) {
    for check in checks {
        check(topology, found);
    }
}

/// The place of an end of a link: a key where it is written with its topics, else a value.
fn end_place(at: &Path) -> At {
    // `links.X.to.NODE` is a key; `links.X.to` and `links.X.to[0]` are values.
    match at.steps.as_slice() {
        [_, _, Step::Key(_), Step::Key(_)] => At::Key(at.clone()),
        _ => At::Value(at.clone()),
    }
}

/// The place of an `after`: a key where it is written with its condition, else a value.
fn after_place(at: &Path) -> At {
    // `nodes.X.after.NODE` is a key; `nodes.X.after` and `nodes.X.after[0]` are values.
    end_place(at)
}
