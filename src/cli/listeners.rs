//! What `status --wires` says of listening sockets: how full they are, what they refused, and which
//! limits are in force.

use comfy_table::{Table, presets};

use super::status::trimmed;
use crate::model::limits::WireLimits;
use crate::model::quantity::{Duration, Rate, Size};
use crate::run::status::{ListenersStatus, Status};

/// The table, and the limits of each instance, those with the same ones together.
pub(super) fn text(status: &Status) -> Option<String> {
    let nodes = status.nodes.iter();
    let listening: Vec<(&str, &ListenersStatus)> = nodes
        .filter_map(|node| Some((node.name.as_str(), node.listeners.as_ref()?)))
        .collect();
    if listening.is_empty() {
        return None;
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["LISTENER", "OPEN", "PENDING", "ACCEPTED", "REFUSED"]);
    for (name, listeners) in &listening {
        table.add_row([
            (*name).to_owned(),
            listeners.open.to_string(),
            listeners.pending.to_string(),
            listeners.accepted.to_string(),
            refused(listeners),
        ]);
    }
    let mut text = trimmed(&table);
    let mut groups: Vec<(&WireLimits, Vec<&str>)> = Vec::new();
    for (name, listeners) in &listening {
        let limits = &listeners.limits;
        match groups.iter_mut().find(|(known, _)| *known == limits) {
            Some((_, names)) => names.push(name),
            None => groups.push((limits, vec![name])),
        }
    }
    for (limits, names) in &groups {
        let whose = match groups.len() {
            1 => "limits".to_owned(),
            _ => format!("limits of {}", names.join(", ")),
        };
        text.push_str(&format!("\n{whose}: {}", words(limits)));
    }
    Some(text)
}

fn refused(listeners: &ListenersStatus) -> String {
    let counts = listeners.rejected.iter();
    let refused: Vec<String> = counts
        .filter(|(_, count)| count.as_u64() != Some(0))
        .map(|(limit, count)| format!("{limit} {count}"))
        .collect();
    match refused.is_empty() {
        true => "-".to_owned(),
        false => refused.join(", "),
    }
}

/// The limits, by the keys that set them.
fn words(limits: &WireLimits) -> String {
    let size = |bytes: usize| Size(bytes as u64);
    let message = size(limits.message_bytes_max);
    let message = match limits.message_far_bytes_max {
        far if far == limits.message_bytes_max => message.to_string(),
        far => format!("{message} ({} from afar in the clear)", size(far)),
    };
    let pings = Rate {
        count: limits.pings_max,
        period: Duration::from_millis(limits.pings_period_ms),
    };
    format!(
        "handshake {}, pending {}, connections {}, message {message}, parts {}, metadata {}, \
         topic {}, subscriptions {}, pings {pings}, peer_bytes {}",
        Duration::from_millis(limits.handshake_ms),
        limits.pending_max,
        limits.connections_max,
        limits.parts_max,
        size(limits.metadata_bytes_max),
        size(limits.topic_bytes_max),
        limits.subscriptions_max,
        size(limits.peer_bytes_max),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_said_by_the_keys_and_in_the_units_that_set_them() {
        assert_eq!(
            words(&WireLimits::default()),
            "handshake 5s, pending 1024, connections 10000, message 64MiB (4MiB from afar in the \
             clear), parts 64, metadata 4KiB, topic 1KiB, subscriptions 10000, pings 100/1s, \
             peer_bytes 64MiB"
        );
        let limits = WireLimits {
            message_bytes_max: 1_000,
            message_far_bytes_max: 1_000,
            ..WireLimits::default()
        };
        assert!(
            words(&limits).contains("message 1000B, "),
            "{}",
            words(&limits)
        );
    }
}
