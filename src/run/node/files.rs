//! Descriptors: as many as a role may need.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// A descriptor for each connection that may be there: as many as the hard limit gives. Gives how
/// many that is.
pub fn raise_files() -> usize {
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
