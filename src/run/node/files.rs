//! Descriptors: as many as a role may need.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::model::limits::WireLimits;

/// Descriptors that are kept for everything but the connections of others: listeners, diallers, keys,
/// the log, and whoever asks by the health socket.
const FILES_KEPT: usize = 64;

/// The limits that can be kept with the descriptors there may be, where each connection takes so many:
/// one more is refused with a reason rather than left waiting for a descriptor.
pub fn affordable(limits: &WireLimits, files_each: usize) -> WireLimits {
    let connections_max = raise_files().saturating_sub(FILES_KEPT) / files_each;
    WireLimits {
        connections_max: limits.connections_max.min(connections_max.max(1)),
        ..limits.clone()
    }
}

/// A descriptor for each connection that may be there: as many as the hard limit gives. Gives how
/// many that is.
fn raise_files() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    let in_force = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(errno) => {
            tracing::warn!(%errno, "cannot raise the limit of open files");
            limit.current
        }
    };
    let in_force = in_force.and_then(|files| usize::try_from(files).ok());
    in_force.unwrap_or(usize::MAX)
}
