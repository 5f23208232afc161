//! The lines of a ledger, and what they come to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::name::InstanceName;
use crate::run::keeper::protocol::Ended;

/// A process that no other is ever taken for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The process.
    pub pid: u32,
    /// When it started, in clock ticks since boot.
    pub start_time: u64,
    /// Which boot.
    pub boot_id: String,
}

/// Whether a person wants an instance to run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wanted {
    /// As the plan says.
    #[default]
    Planned,
    /// Started by hand.
    Running,
    /// Stopped by hand.
    Stopped,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Record {
    /// A process is about to be started; written before it is.
    Intent {
        /// The instance.
        instance: InstanceName,
        /// Which life of it.
        generation: u64,
        /// A digest of what is started.
        digest: String,
        /// How often it was restarted since a person last asked for it.
        restarts: u32,
        /// When, in milliseconds since 1970.
        at_ms: u64,
    },
    /// It was started.
    Spawned {
        /// The instance.
        instance: InstanceName,
        /// Which life of it.
        generation: u64,
        /// Its process.
        process: Identity,
    },
    /// It ended.
    Ended {
        /// The instance.
        instance: InstanceName,
        /// Which life of it.
        generation: u64,
        /// How.
        ended: Ended,
    },
    /// A person decided.
    Wanted {
        /// The instance.
        instance: InstanceName,
        /// What they want.
        wanted: Wanted,
    },
    /// The instance is no longer planned, and nothing of it lives.
    Forgotten {
        /// The instance.
        instance: InstanceName,
    },
}

/// What is known of one instance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// Its latest life; 0 before its first.
    pub generation: u64,
    /// A digest of what was started.
    pub digest: String,
    /// How often it was restarted since a person last asked for it.
    pub restarts: u32,
    /// When it was last started, in milliseconds since 1970.
    pub started_at_ms: u64,
    /// Its process; absent between intent and start.
    pub process: Option<Identity>,
    /// How it ended, once it has.
    pub ended: Option<Ended>,
    /// Whether a person wants it to run.
    pub wanted: Wanted,
}

/// What is known of each instance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entries(BTreeMap<InstanceName, Entry>);

impl Entries {
    /// What is known of an instance.
    pub fn get(&self, instance: &InstanceName) -> Option<&Entry> {
        self.0.get(instance)
    }

    /// Every instance, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&InstanceName, &Entry)> {
        self.0.iter()
    }

    /// How many instances are known.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes a line into account. A line about an earlier life changes nothing.
    pub(in crate::run) fn apply(&mut self, record: Record) {
        match record {
            Record::Intent {
                instance,
                generation,
                digest,
                restarts,
                at_ms,
            } => {
                let entry = self.0.entry(instance).or_default();
                if generation >= entry.generation {
                    *entry = Entry {
                        generation,
                        digest,
                        restarts,
                        started_at_ms: at_ms,
                        process: None,
                        ended: None,
                        wanted: entry.wanted,
                    };
                }
            }
            Record::Spawned {
                instance,
                generation,
                process,
            } => {
                let entry = self.0.entry(instance).or_default();
                if generation >= entry.generation {
                    entry.generation = generation;
                    entry.process = Some(process);
                    entry.ended = None;
                }
            }
            Record::Ended {
                instance,
                generation,
                ended,
            } => {
                let entry = self.0.entry(instance).or_default();
                if generation >= entry.generation {
                    entry.ended = Some(ended);
                }
            }
            Record::Wanted { instance, wanted } => {
                self.0.entry(instance).or_default().wanted = wanted
            }
            Record::Forgotten { instance } => drop(self.0.remove(&instance)),
        }
    }

    /// The lines that say the same with no history.
    pub(super) fn records(&self) -> Vec<Record> {
        let mut records = Vec::new();
        for (instance, entry) in &self.0 {
            if entry.generation > 0 {
                records.push(Record::Intent {
                    instance: instance.clone(),
                    generation: entry.generation,
                    digest: entry.digest.clone(),
                    restarts: entry.restarts,
                    at_ms: entry.started_at_ms,
                });
            }
            if let Some(process) = entry.process.clone() {
                records.push(Record::Spawned {
                    instance: instance.clone(),
                    generation: entry.generation,
                    process,
                });
            }
            if let Some(ended) = entry.ended {
                records.push(Record::Ended {
                    instance: instance.clone(),
                    generation: entry.generation,
                    ended,
                });
            }
            if entry.wanted != Wanted::Planned {
                records.push(Record::Wanted {
                    instance: instance.clone(),
                    wanted: entry.wanted,
                });
            }
        }
        records
    }
}
