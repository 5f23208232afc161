//! Who was refused by whom and why, as the roles tell it, in words for `why` and `status`.

use serde_json::Value;

use super::report::Facts;
use crate::model::name::InstanceName;
use crate::plan::Wire;
use crate::run::node::HEALTH;
use crate::run::status::{NodeStatus, RefusedStatus};

/// Everybody who was refused, in the order of the instances, last refused first.
pub(super) fn of(nodes: &[NodeStatus], facts: &Facts) -> Vec<RefusedStatus> {
    let told = nodes.iter().flat_map(|node| {
        by(facts, &node.name).map(|refused| RefusedStatus {
            node: node.name.clone(),
            ..refused
        })
    });
    told.collect()
}

fn by<'a>(facts: &'a Facts, name: &str) -> impl Iterator<Item = RefusedStatus> + 'a {
    let told = facts
        .get(name)
        .and_then(|facts| facts["refused"].as_array());
    told.into_iter()
        .flatten()
        .filter_map(|refused| serde_json::from_value(refused.clone()).ok())
}

/// What a listening role says of a wire: whether the other end was admitted, and why not. Nothing
/// where it cannot tell.
pub(super) enum Heard {
    /// The other end is there, by its key.
    Admitted,
    /// It was refused, in words.
    Refused(String),
    /// Nobody with its key is there.
    Absent,
}

/// What the listening role of a wire knows of it.
pub(super) fn heard(wire: &Wire, listener: &InstanceName, facts: &Facts) -> Option<Heard> {
    let connections = facts.get(listener)?["connections"].as_array()?;
    let is_open =
        |connection: &&Value| connection["handshake_done"] == true && connection["port"] != HEALTH;
    let mut open = connections.iter().filter(is_open);
    if wire.mechanism == "CURVE" {
        let dialler = wire.dialler.as_str();
        if open.any(|connection| connection["who"] == dialler) {
            return Some(Heard::Admitted);
        }
        return Some(match why(wire, listener, facts) {
            Some(words) => Heard::Refused(words),
            None => Heard::Absent,
        });
    }
    // In clear text nobody is told from anybody else: only where nobody at all got in.
    match open.next() {
        Some(_) => None,
        None => why(wire, listener, facts).map(Heard::Refused),
    }
}

/// Why a listening role refused the other end of a wire, as far as it can be told.
pub(super) fn why(wire: &Wire, listener: &InstanceName, facts: &Facts) -> Option<String> {
    let dialler = wire.dialler.as_str();
    let mut hint = None;
    for refused in by(facts, listener.as_str()) {
        if refused.who.as_deref() == Some(dialler) {
            return Some(format!("{listener} refused {dialler}: {}", words(&refused)));
        }
        if refused.who.is_none() && hint.is_none() {
            let from = from(&refused);
            hint = Some(format!("{listener} refused {from}: {}", words(&refused)));
        }
    }
    hint
}

fn from(refused: &RefusedStatus) -> &str {
    match refused.address.as_str() {
        "" => "somebody on this machine",
        address => address,
    }
}

/// The reason, and the key where one was shown.
fn words(refused: &RefusedStatus) -> String {
    match &refused.key {
        Some(key) => format!("{} ({key})", refused.reason),
        None => refused.reason.clone(),
    }
}
