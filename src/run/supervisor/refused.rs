//! Who was refused by whom and why, as the roles tell it, in words for `why` and `status`.
//!
//! A role knows the names of its ports and whose keys are in the key directory; where its ports are
//! dialled and whose keys the manifest holds is added here.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::report::Facts;
use crate::model::name::InstanceName;
use crate::plan::{Plan, Wire};
use crate::run::node::HEALTH;
use crate::run::status::{NodeStatus, RefusedStatus};

/// What the plan knows of ports and keys, and the roles do not.
pub(super) struct Known {
    /// Where each port of an instance is dialled.
    ports: BTreeMap<InstanceName, Vec<(String, String)>>,
    /// Whose the keys are that the manifest holds.
    written: BTreeMap<String, String>,
}

impl Known {
    pub(super) fn of(plan: &Plan) -> Self {
        let ports = plan.instances.iter().map(|instance| {
            let ports = instance.ports.iter();
            let ports = ports.map(|port| (port.port.clone(), port.address.to_string()));
            (instance.name.clone(), ports.collect())
        });
        let written = plan.written_keys();
        Self {
            ports: ports.collect(),
            written: written
                .map(|(who, key)| (key.to_string(), who.to_string()))
                .collect(),
        }
    }

    /// Adds to each refusal that a role tells where its port is dialled and whose a written key is.
    pub(super) fn complete(&self, facts: &mut Facts) {
        for (name, facts) in facts {
            let ports = self.ports.get(name).map_or(&[][..], Vec::as_slice);
            let refused = facts.get_mut("refused").and_then(Value::as_array_mut);
            for refused in refused.into_iter().flatten() {
                let port = refused["port"].as_str().unwrap_or_default();
                let at = ports.iter().filter(|(name, _)| name == port);
                let at: Vec<&str> = at.map(|(_, address)| address.as_str()).collect();
                let key = refused["key"].as_str();
                let who = key.and_then(|key| self.written.get(key)).cloned();
                if refused["who"].is_null()
                    && let Some(who) = who
                {
                    refused["who"] = who.into();
                }
                if !at.is_empty() {
                    refused["at"] = json!(at);
                }
            }
        }
    }
}

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

/// Why a listening role refused the other end of a wire, as far as it can be told: at the port of the
/// wire, with its key, or with none where that may have been the other end.
pub(super) fn why(wire: &Wire, listener: &InstanceName, facts: &Facts) -> Option<String> {
    let dialler = wire.dialler.as_str();
    let endpoint = wire.endpoint.to_string();
    let is_there = |refused: &RefusedStatus| {
        refused.port != HEALTH && (refused.at.is_empty() || refused.at.contains(&endpoint))
    };
    let mut hint = None;
    for refused in by(facts, listener.as_str()).filter(is_there) {
        if refused.who.as_deref() == Some(dialler) {
            return Some(format!("{listener} refused {dialler}: {}", words(&refused)));
        }
        if refused.who.is_none() && hint.is_none() {
            let (from, words) = (from(&refused), words(&refused));
            hint = Some(match refused.key {
                Some(_) => format!(
                    "{dialler} has not come; {listener} refused a stranger, {from}: {words}"
                ),
                None => format!("{listener} refused {from}: {words}"),
            });
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
