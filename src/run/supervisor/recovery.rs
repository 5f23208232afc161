//! What a supervisor leaves for its successor: which life each instance is in, what people wished,
//! and who is at rest and why. Which processes live is not in it: the keeper's list says that.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::SupervisorError;
use super::member::Wish;
use super::network::Network;
use crate::lifecycle::{End, State};
use crate::model::layout::Layout;
use crate::model::name::InstanceName;
use crate::plan::Plan;
use crate::run::ledger::Entry;
use crate::run::private;

/// The record of one instance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// The number of its last life.
    pub(super) generation: u64,
    /// Lives started without being asked to.
    pub(super) restarts: u64,
    /// When it was restarted lately, as far as that counts against the limit: milliseconds since 1970.
    #[serde(default)]
    pub(super) recent_ms: Vec<u64>,
    /// Whether somebody started it by hand.
    #[serde(default)]
    pub(super) is_wanted: bool,
    /// Whether somebody stopped it by hand.
    #[serde(default)]
    pub(super) is_held: bool,
    /// Whether that life was ever Ready.
    #[serde(default)]
    pub(super) was_ready: bool,
    /// How it rests, where it does.
    #[serde(default)]
    pub(super) rest: Option<Rest>,
    /// How its last life ended.
    #[serde(default)]
    pub(super) end: Option<End>,
    /// When it entered its state, in milliseconds since 1970.
    #[serde(default)]
    pub(super) since_ms: u64,
}

impl Record {
    /// The same in the light of the ledger, which is written before each start and may know of a
    /// later life: one that was begun was neither at rest nor held.
    pub(super) fn overtaken_by(self, started: Option<&Entry>) -> Self {
        match started {
            Some(entry) if entry.generation > self.generation => {
                let restarts = u64::from(entry.restarts);
                let mut recent_ms = self.recent_ms;
                if restarts > self.restarts {
                    recent_ms.push(entry.started_at_ms);
                }
                Self {
                    generation: entry.generation,
                    restarts,
                    recent_ms,
                    is_wanted: self.is_wanted,
                    ..Self::default()
                }
            }
            Some(_) | None => self,
        }
    }
}

/// How an instance rests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Rest {
    /// It ended with exit code 0.
    Done,
    /// It was stopped, or never started.
    Stopped,
    /// It is Failed, and why.
    Failed(String),
}

pub(super) type Records = BTreeMap<InstanceName, Record>;

/// What a successor needs to know of a network now.
pub(super) fn records(network: &Network) -> Records {
    let record = |(name, member): (&InstanceName, &super::member::Member)| {
        let child = &member.child;
        let rest = match child.state() {
            State::Stopped { is_done: true } => Some(Rest::Done),
            State::Stopped { is_done: false } => Some(Rest::Stopped),
            State::Failed => Some(Rest::Failed(child.reason().unwrap_or_default().to_owned())),
            State::Waiting { .. }
            | State::Starting
            | State::Probing(_)
            | State::Ready(_)
            | State::Suspect(_)
            | State::Stopping { .. }
            | State::BackingOff { .. } => None,
        };
        let record = Record {
            generation: child.generation(),
            restarts: child.restarts(),
            recent_ms: child.recent().map(millis).collect(),
            is_wanted: member.wish == Wish::Wanted,
            is_held: member.wish == Wish::Held,
            was_ready: member.was_ready,
            rest,
            end: child.end(),
            since_ms: millis(child.since()),
        };
        (name.clone(), record)
    };
    network.members.iter().map(record).collect()
}

fn millis(at: Duration) -> u64 {
    u64::try_from(at.as_millis()).unwrap_or(u64::MAX)
}

/// Leaves a plan, and what its programs get of the environment, for the supervisor that starts next.
pub fn leave_plan(
    layout: &Layout,
    base_env: &BTreeMap<String, String>,
    plan: &Plan,
) -> io::Result<()> {
    save(&layout.base_env_file(), base_env)?;
    save(&layout.plan_file(), plan)
}

/// Writes a file of the state directory, whole or not at all.
pub(super) fn save(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_vec(value).expect("what we keep has only text keys");
    private::write(path, &text)
}

/// Reads a file of the state directory; absent is nothing, unreadable an error.
pub(super) fn load<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, SupervisorError> {
    let fault = |message: String| SupervisorError::State {
        path: path.to_owned(),
        message,
    };
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fault(error.to_string())),
    };
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(|error| fault(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_begun_after_the_record_was_written_is_neither_at_rest_nor_held() {
        let record = Record {
            generation: 2,
            recent_ms: vec![3],
            is_held: true,
            rest: Some(Rest::Done),
            ..Record::default()
        };
        let entry = |generation| Entry {
            generation,
            restarts: 5,
            started_at_ms: 7,
            ..Entry::default()
        };
        assert_eq!(record.clone().overtaken_by(None), record);
        assert_eq!(record.clone().overtaken_by(Some(&entry(2))), record);
        let later = record.overtaken_by(Some(&entry(3)));
        assert_eq!((later.generation, later.restarts), (3, 5));
        assert_eq!(later.recent_ms, [3, 7]);
        assert_eq!((later.is_held, later.rest), (false, None));
    }
}
