//! A probe is not repeated without a pause, nobody waits no time at all for an answer, and what a role does
//! for a while it does for some time.

use crate::diagnostics::{Diagnostic, codes};
use crate::model::quantity::Duration;
use crate::source::path::Path;
use crate::topology::Topology;

pub(super) fn check(topology: &Topology, found: &mut Vec<Diagnostic>) {
    let mut positive = |written: Option<Duration>, at: Path, key: &str| {
        if written.is_some_and(|duration| duration.as_std().is_zero()) {
            found.push(
                Diagnostic::error(
                    codes::OUT_OF_BOUNDS,
                    format!("`{key}` must be longer than nothing"),
                )
                .at_value(at.key(key), "no time at all"),
            );
        }
    };
    for unit in &topology.units {
        if let Some(probe) = &unit.decl.defaults.probe {
            let at = unit.top.key("defaults").key("probe");
            positive(probe.every, at.clone(), "every");
            positive(probe.timeout, at, "timeout");
        }
    }
    for node in &topology.nodes {
        let role = &node.decl.role;
        positive(role.lease, node.at.clone(), "lease");
        positive(role.every, node.at.clone(), "every");
        positive(role.ttl, node.at.clone(), "ttl");
        if let Some(probe) = &node.decl.probe {
            let at = node.at.key("probe");
            positive(probe.every, at.clone(), "every");
            positive(probe.timeout, at, "timeout");
        }
    }
    for link in &topology.links {
        positive(link.decl.timeout, link.at.clone(), "timeout");
    }
}
