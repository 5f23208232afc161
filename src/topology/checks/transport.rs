//! A unix socket does not reach another host.

use crate::diagnostics::{Diagnostic, codes};
use crate::manifest::link::Transport;
use crate::topology::Topology;

pub(super) fn check(topology: &Topology, found: &mut Vec<Diagnostic>) {
    for leg in topology.legs.iter().filter(|leg| leg.is_beyond) {
        let link = &topology.links[leg.link];
        if link.decl.transport == Some(Transport::Ipc) {
            found.push(
                Diagnostic::error(
                    codes::WRONG_TRANSPORT,
                    format!("`{}` leaves its host, which `ipc` cannot", link.name),
                )
                .at_value(link.at.key("transport"), "unix sockets stay on one host")
                .help("leave `transport` out"),
            );
        }
    }
}
