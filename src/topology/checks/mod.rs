//! Rules that a resolved topology must keep. One rule a file, one row in [`CHECKS`].

use super::Topology;
use crate::diagnostics::Diagnostic;

/// A rule: it adds a diagnostic for each place where it is broken.
pub type Check = fn(&Topology, &mut Vec<Diagnostic>);

/// Every rule, in the order that its faults are listed in.
pub const CHECKS: &[Check] = &[];

/// Runs every rule; a fault of one does not hide those of another.
pub fn all(topology: &Topology) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for check in CHECKS {
        check(topology, &mut found);
    }
    found
}
