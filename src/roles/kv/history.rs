//! The last writes, for whoever watches from a revision: bounded by number and by bytes.

use std::collections::VecDeque;

use crate::model::limits::kv::{HISTORY_BYTES_MAX, HISTORY_MAX};

use super::state::Write;

/// The last writes, without a gap.
#[derive(Debug, Default)]
pub(super) struct History {
    writes: VecDeque<Write>,
    bytes: usize,
    /// The revision before the oldest.
    floor: u64,
}

impl History {
    /// Begins after a revision, without a write.
    pub(super) fn begin(&mut self, revision: u64) {
        *self = Self::default();
        self.floor = revision;
    }

    /// Adds the next write; the oldest make room.
    pub(super) fn push(&mut self, write: Write) {
        if self.next() != write.revision {
            // What lies between is not known: nothing before it may be watched from.
            self.begin(write.revision - 1);
        }
        self.bytes += write.bytes();
        self.writes.push_back(write);
        while self.writes.len() > HISTORY_MAX || self.bytes > HISTORY_BYTES_MAX {
            let Some(oldest) = self.writes.pop_front() else {
                return;
            };
            self.bytes -= oldest.bytes();
            self.floor = oldest.revision;
        }
    }

    /// The revision that the next write has.
    fn next(&self) -> u64 {
        self.floor + self.writes.len() as u64 + 1
    }

    /// The oldest revision to watch from.
    pub(super) fn floor(&self) -> u64 {
        self.floor
    }

    /// What it costs.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The writes after a revision; nothing where they are no longer kept.
    pub(super) fn after(&self, revision: u64) -> Option<impl Iterator<Item = &Write>> {
        let skipped = revision.checked_sub(self.floor)?;
        let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
        Some(self.writes.iter().skip(skipped))
    }
}
