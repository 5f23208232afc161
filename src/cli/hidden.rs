//! The hidden entry points: what the binary does when it was started by itself.
//!
//! They are told apart before the command line is parsed, which keeps a role's and a keeper's start
//! fast and their memory small.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use crate::run::{keeper, logs, node, supervisor};

/// An entry point, given what follows its name.
type Entry = fn(&[OsString]) -> ExitCode;

/// One row an entry point.
const ENTRIES: &[(&str, Entry)] = &[
    ("__role", role),
    (supervisor::SUPERVISOR_ENTRY, supervise),
    (keeper::KEEPER_ENTRY, keeper::main),
    (keeper::LIMITED_ENTRY, keeper::limited),
    (logs::ROTATE_ENTRY, logs::rotate_main),
];

/// Runs the hidden entry point that the first argument names, if it names one.
pub(super) fn dispatch() -> Option<ExitCode> {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let (name, rest) = args.split_first()?;
    let (_, run) = ENTRIES.iter().find(|(known, _)| name == *known)?;
    Some(run(rest))
}

fn role(args: &[OsString]) -> ExitCode {
    match args {
        [told, ..] => node::main(Path::new(told)),
        [] => ExitCode::FAILURE,
    }
}

fn supervise(args: &[OsString]) -> ExitCode {
    match args {
        [state, ..] => supervisor::main(Path::new(state)),
        [] => ExitCode::FAILURE,
    }
}
