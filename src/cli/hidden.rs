//! The hidden entry points: what the binary does when it was started by itself.
//!
//! They are told apart before the command line is parsed, which keeps a role's start fast and its
//! memory small.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use crate::run::node;

/// Runs the hidden entry point that the first argument names, if it names one.
pub(super) fn dispatch() -> Option<ExitCode> {
    let args: Vec<OsString> = std::env::args_os().skip(1).take(2).collect();
    match (args.first()?.to_str()?, args.get(1)) {
        ("__role", Some(told)) => Some(node::main(Path::new(told))),
        _ => None,
    }
}
