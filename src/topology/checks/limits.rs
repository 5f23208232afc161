//! Limits of listening sockets let somebody in, and stand where a socket of ours listens.

use crate::diagnostics::{Diagnostic, codes};
use crate::manifest::policy::LimitsDecl;
use crate::model::quantity::{Duration, Rate, Size};
use crate::roles::Kind;
use crate::source::path::Path;
use crate::topology::Topology;

/// The smallest and the largest of each size, in bytes, and what a smaller one would mean.
const SIZES: [(&str, Written<Size>, u64, u64, &str); 4] = [
    (
        "message",
        |it| it.message,
        1,
        4 << 30,
        "no message at all could be sent",
    ),
    (
        "topic",
        |it| it.topic,
        1,
        1 << 20,
        "only everything could be subscribed to",
    ),
    (
        "metadata",
        |it| it.metadata,
        256,
        128 << 10,
        "a peer could not say who it is",
    ),
    (
        "peer_bytes",
        |it| it.peer_bytes,
        1 << 10,
        1 << 40,
        "one message at a time could be sent",
    ),
];
/// The shortest and the longest handshake, in milliseconds.
const HANDSHAKE_MS: (u64, u64) = (10, 600_000);

type Written<T> = fn(&LimitsDecl) -> Option<T>;

pub(super) fn check(topology: &Topology, found: &mut Vec<Diagnostic>) {
    for unit in &topology.units {
        if let Some(limits) = &unit.decl.defaults.limits {
            sizes(limits, &unit.top.key("defaults").key("limits"), found);
        }
    }
    for node in &topology.nodes {
        let Some(limits) = &node.decl.limits else {
            continue;
        };
        let at = node.at.key("limits");
        sizes(limits, &at, found);
        let mut links = node.ends.iter().map(|(leg, _)| topology.legs[*leg].link);
        let has_gate = links.any(|link| topology.links[link].decl.gate == Some(true));
        if has_gate || !matches!(node.kind, Kind::Command | Kind::External) {
            continue;
        }
        let written = limits.of_listeners();
        if let Some((key, _)) = written.iter().find(|(_, is_written)| *is_written) {
            let message = format!(
                "`limits.{key}` limits nothing: `{}` is a program",
                node.name
            );
            found.push(
                Diagnostic::warning(codes::LIMITS_NOTHING, message)
                    .at_key(at.key(*key), "its sockets are its own")
                    .help(
                        "`gate: true` on its links puts a socket of ours, with limits, before it",
                    ),
            );
        }
    }
}

fn sizes(limits: &LimitsDecl, at: &Path, found: &mut Vec<Diagnostic>) {
    let mut fault = |key: &str, message: String, label: String| {
        found.push(Diagnostic::error(codes::OUT_OF_BOUNDS, message).at_value(at.key(key), label));
    };
    for (key, written, min, max, or_else) in SIZES {
        let Some(size) = written(limits) else {
            continue;
        };
        if size.0 < min {
            let least = Size(min);
            fault(
                key,
                format!("`{key}` must be at least {least}"),
                or_else.to_owned(),
            );
        } else if size.0 > max {
            let most = Size(max);
            fault(
                key,
                format!("`{key}` must be at most {most}"),
                "too much".to_owned(),
            );
        }
    }
    if let Some(handshake) = limits.handshake {
        let (min, max) = HANDSHAKE_MS;
        let ms = handshake.as_millis();
        if ms < min {
            let message = format!(
                "`handshake` must be at least {}",
                Duration::from_millis(min)
            );
            fault("handshake", message, "nobody could finish it".to_owned());
        } else if ms > max {
            let message = format!("`handshake` must be at most {}", Duration::from_millis(max));
            fault(
                "handshake",
                message,
                "strangers could stay that long".to_owned(),
            );
        }
    }
    if let Some(Rate { count, period }) = limits.pings
        && (count == 0 || period.as_millis() == 0)
    {
        let message = "`pings` must allow a heartbeat in some time".to_owned();
        fault(
            "pings",
            message,
            "peers that heartbeat could not stay".to_owned(),
        );
    }
}
