//! The host that is acted for is one of the hosts.

use crate::diagnostics::suggest::did_you_mean;
use crate::diagnostics::{Diagnostic, codes};
use crate::topology::Topology;

pub(super) fn check(topology: &Topology, found: &mut Vec<Diagnostic>) {
    let hosts: Vec<&str> = topology
        .places
        .iter()
        .filter_map(|place| place.host.as_deref())
        .collect();
    let at = topology.units[0].top.key("hosts");
    match topology.host.as_deref() {
        Some(host) if topology.is_host_assumed => found.push(
            Diagnostic::error(codes::WHICH_HOST, format!("is this machine `{host}`?"))
                .at_key(at, "no address in it is one of this machine")
                .help(format!("say so with `--host {host}`, or correct `address`")),
        ),
        Some(host) if hosts.contains(&host) => {}
        Some(host) => {
            let fault = Diagnostic::error(codes::UNKNOWN_NAME, format!("unknown host `{host}`"));
            let fault = match hosts.as_slice() {
                [] => fault.help("the manifest has no `hosts`: leave `--host` out"),
                _ => fault.at_key(at, "it is none of these").help(
                    did_you_mean(host, hosts.iter().copied())
                        .unwrap_or_else(|| format!("the hosts are `{}`", hosts.join("`, `"))),
                ),
            };
            found.push(fault);
        }
        None if hosts.is_empty() => {}
        None => found.push(
            Diagnostic::error(codes::WHICH_HOST, "which of the hosts is this machine?")
                .at_key(at, "none, or several, have an address of this machine")
                .help(format!("say it with `--host {}`", hosts[0])),
        ),
    }
}
