//! What a spool keeps: messages as records, its position and what its filters know as notes and in a
//! checkpoint. `docs/formats.md` has the bytes.

use std::collections::VecDeque;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::model::limits::spool::ONCE_MAX;
use crate::model::store::{Ask, Batch, Record};
use crate::protocol::parts;
use crate::roles::machine::Action;

use super::{KeptFilter, Machine, Place};

/// The version of a record.
const VERSION: u8 = 1;
/// The bytes of a record before its message.
const HEAD_BYTES: usize = 9;

/// A message as it is kept.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    /// When it was stored, in nanoseconds since 1970.
    pub(super) time_ns: u64,
    /// Its record.
    pub(super) data: Bytes,
}

impl Kept {
    /// Its frames. What is no record of ours is a message of one frame: nothing is hidden.
    pub(super) fn frames(&self) -> Vec<Bytes> {
        let message = self
            .data
            .get(HEAD_BYTES..)
            .map(|_| self.data.slice(HEAD_BYTES..));
        let frames = message.and_then(parts::read);
        frames.unwrap_or_else(|| vec![self.data.clone()])
    }

    /// Whether it is a record of a spool.
    fn is_ours(&self) -> bool {
        let is_version = self.data.first() == Some(&VERSION) && self.data.len() >= HEAD_BYTES;
        is_version && parts::read(self.data.slice(HEAD_BYTES..)).is_some()
    }

    /// The bytes of all messages before it.
    pub(super) fn bytes_before(&self) -> u64 {
        let word = self.data.get(1..HEAD_BYTES).map(|word| word.try_into());
        match word {
            Some(Ok(word)) => u64::from_le_bytes(word),
            Some(Err(_)) | None => 0,
        }
    }

    /// The place behind it, where it is at an offset.
    pub(super) fn behind(&self, offset: u64) -> Place {
        Place {
            offset: offset + 1,
            bytes: self.bytes_before() + self.data.len() as u64,
        }
    }
}

impl From<Record> for Kept {
    fn from(record: Record) -> Self {
        Self {
            time_ns: record.time_ns,
            data: record.data,
        }
    }
}

/// A message as a record, which says how many bytes all before it have.
pub(super) fn record(bytes_before: u64, frames: &[Bytes]) -> Bytes {
    let mut data = Vec::with_capacity(HEAD_BYTES + parts::bytes_of(frames));
    data.push(VERSION);
    data.extend_from_slice(&bytes_before.to_le_bytes());
    parts::put(&mut data, frames);
    data.into()
}

/// What is kept beside messages, or in their place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Note {
    /// What the filters know.
    #[serde(rename = "f")]
    Filters(Vec<KeptFilter>),
    /// The oldest message that was not taken, and the bytes of all before it.
    #[serde(rename = "p")]
    Position(u64, u64),
    /// The messages are those of a request that said `once`.
    #[serde(rename = "o")]
    Once(String),
}

impl Note {
    pub(super) fn encode(&self) -> Bytes {
        let text = serde_json::to_vec(self);
        text.expect("a note has only text keys").into()
    }
}

/// The last requests that said `once`, and where their messages are.
#[derive(Debug, Default)]
pub(super) struct Once(VecDeque<(String, u64, u64)>);

impl Once {
    /// Where the messages of a request are, and how many.
    pub(super) fn find(&self, id: &str) -> Option<(u64, u64)> {
        let mut known = self.0.iter();
        let found = known.find(|(known, ..)| known == id);
        found.map(|(_, first, count)| (*first, *count))
    }

    /// Remembers one; the oldest makes room.
    pub(super) fn add(&mut self, id: String, (first, count): (u64, u64)) {
        self.0.push_back((id, first, count));
        if self.0.len() > ONCE_MAX {
            self.0.pop_front();
        }
    }
}

/// A checkpoint.
#[derive(Serialize, Deserialize)]
struct Known {
    last_seq: u64,
    head: (u64, u64),
    end: (u64, u64),
    filters: Vec<KeptFilter>,
    once: Vec<(String, u64, u64)>,
}

impl Machine {
    /// Has all that it knows kept, so that the log need not be read from its beginning.
    pub(super) fn checkpoint(&mut self, actions: &mut Vec<Action>) {
        let Some(through) = self.last_seq else {
            return;
        };
        let known = Known {
            last_seq: through,
            head: (self.head.offset, self.head.bytes),
            end: (self.end.offset, self.end.bytes),
            filters: self.filters.kept(),
            once: self.once.0.iter().cloned().collect(),
        };
        let text = serde_json::to_vec(&known);
        let data = text.expect("what is known has only text keys").into();
        actions.push(Action::Disk(Ask::Checkpoint { through, data }));
    }

    pub(super) fn restore(&mut self, data: &[u8]) {
        // Its checksum was right: what is not understood is another kind's.
        let Ok(known) = serde_json::from_slice::<Known>(data) else {
            self.is_foreign = true;
            return;
        };
        self.last_seq = Some(known.last_seq);
        let place = |(offset, bytes)| Place { offset, bytes };
        (self.head, self.end) = (place(known.head), place(known.end));
        self.filters.restore(&known.filters, self.began_ns);
        self.once = Once(known.once.into());
    }

    /// A batch that was stored after the checkpoint.
    pub(super) fn replay(&mut self, batch: Batch) {
        self.last_seq = Some(batch.seq);
        let (first, count) = (batch.first_offset, batch.records.len() as u64);
        if !batch.note.is_empty() {
            match serde_json::from_slice(&batch.note) {
                Ok(Note::Filters(kept)) => self.filters.restore(&kept, self.began_ns),
                Ok(Note::Position(offset, bytes)) => self.head = Place { offset, bytes },
                Ok(Note::Once(id)) => self.once.add(id, (first, count)),
                Err(_) => self.is_foreign = true,
            }
        }
        for (offset, record) in (first..).zip(batch.records) {
            let kept = Kept::from(record);
            self.is_foreign |= !kept.is_ours();
            self.is_at_end(offset, &kept);
        }
    }

    /// A message is the newest.
    pub(super) fn is_at_end(&mut self, offset: u64, kept: &Kept) {
        self.end = kept.behind(offset);
        if self.is_latest() {
            self.head = Place {
                offset,
                bytes: kept.bytes_before(),
            };
            self.is_new = true;
        }
    }

    /// All is told that was kept.
    pub(super) fn recovered(&mut self, (start, end): (u64, u64), actions: &mut Vec<Action>) {
        if self.is_foreign {
            return;
        }
        self.end.offset = end;
        // It held all of them before, perhaps, and holds only the newest now.
        let newest = end.saturating_sub(1);
        if self.is_latest() && self.head.offset < newest {
            self.head.offset = newest;
        }
        self.is_new = self.head.offset < end;
        self.asked_bytes = self.end.bytes;
        self.trimmed_bytes = self.head.bytes;
        self.begins_at(start, actions);
        self.ask_oldest(actions);
    }
}
