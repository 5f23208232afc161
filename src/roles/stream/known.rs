//! What a stream knows beside its records, as it is kept: notes in the log, and a checkpoint of all of
//! them.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::model::store::Batch;

use super::Machine;
use super::groups::KeptGroup;
use super::producers::KeptProducer;

/// What is kept beside records, or in their place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Note {
    /// The records are those of a producer's number.
    #[serde(rename = "p")]
    Producer(String, u64),
    /// A group has another owner.
    #[serde(rename = "t")]
    Take {
        /// The group.
        group: String,
        /// Its owner.
        consumer: String,
        /// The number of the ownership.
        generation: u64,
    },
    /// A group is at another offset.
    #[serde(rename = "c")]
    Commit {
        /// The group.
        group: String,
        /// Where it goes on.
        offset: u64,
    },
    /// A group is no more.
    #[serde(rename = "f")]
    Forget {
        /// The group.
        group: String,
    },
}

/// A checkpoint.
#[derive(Serialize, Deserialize)]
struct Known {
    last_seq: u64,
    producers: Vec<KeptProducer>,
    groups: Vec<KeptGroup>,
    /// The highest number of an ownership. A checkpoint that does not say has had fewer than batches.
    #[serde(default)]
    highest: Option<u64>,
}

impl Note {
    pub(super) fn encode(&self) -> Bytes {
        let text = serde_json::to_vec(self);
        text.expect("a note has only text keys").into()
    }
}

impl Machine {
    /// All it knows, for a checkpoint.
    pub(super) fn known(&self) -> Bytes {
        let known = Known {
            last_seq: self.last_seq.unwrap_or_default(),
            producers: self.producers.kept(),
            groups: self.groups.kept(),
            highest: Some(self.groups.highest()),
        };
        let text = serde_json::to_vec(&known);
        text.expect("what is known has only text keys").into()
    }

    pub(super) fn restore(&mut self, data: &[u8]) {
        // Its checksum was right: what is not understood is another kind's.
        let Ok(known) = serde_json::from_slice::<Known>(data) else {
            self.is_foreign = true;
            return;
        };
        self.last_seq = Some(known.last_seq);
        self.producers.restore(known.producers);
        let highest = known.highest.unwrap_or(known.last_seq + 1);
        self.groups.restore(known.groups, highest);
    }

    /// A batch that was stored after the checkpoint.
    pub(super) fn replay(&mut self, batch: &Batch) {
        self.last_seq = Some(batch.seq);
        if batch.note.is_empty() {
            return;
        }
        let Ok(note) = serde_json::from_slice(&batch.note) else {
            self.is_foreign = true;
            return;
        };
        match note {
            Note::Producer(producer, sequence) => {
                let at = (batch.first_offset, batch.records.len() as u64);
                self.producers.keep(producer, sequence, at);
            }
            note => self.groups.apply(&note),
        }
    }
}
