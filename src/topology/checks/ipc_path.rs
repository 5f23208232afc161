//! The path of a unix socket has at most 107 bytes.

use crate::diagnostics::{Diagnostic, codes};
use crate::model::endpoint::{Endpoint, IPC_PATH_BYTES_MAX};
use crate::topology::Topology;

pub(super) fn check(topology: &Topology, found: &mut Vec<Diagnostic>) {
    let Some(instance) = topology.instances.first() else {
        return;
    };
    // Long names are hashed, so all are short enough once the directory is.
    let health = topology.layout.health(instance.name.as_str());
    let path = Endpoint::path(&health).expect("a health socket is a unix socket");
    let bytes = path.as_os_str().len();
    if bytes > IPC_PATH_BYTES_MAX {
        let message =
            format!("the path of its sockets has {bytes} bytes, {IPC_PATH_BYTES_MAX} is the most");
        found.push(
            Diagnostic::error(codes::IPC_PATH, message)
                .at_key(instance.at.clone(), "the first that has one")
                .help("set `XDG_RUNTIME_DIR` to a shorter directory, or give a shorter `name`"),
        );
    }
}
