//! The oldest messages that wait, in memory beside the disk: whoever takes one after the other reads
//! no disk. It holds so many and no more; what is behind them is read when they are taken.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::model::limits::spool::{WINDOW_BYTES_MAX, WINDOW_MAX};

use super::Place;
use super::known::Kept;

/// Messages without a gap.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// The offset of the first.
    at: u64,
    kept: VecDeque<Kept>,
    bytes: usize,
}

impl Window {
    /// Adds a message, where it is the next one and there is room.
    pub(super) fn add(&mut self, offset: u64, kept: Kept) {
        if self.kept.is_empty() {
            self.at = offset;
        }
        let is_next = self.at + self.kept.len() as u64 == offset;
        let is_full = self.kept.len() >= WINDOW_MAX
            || !self.kept.is_empty() && self.bytes + kept.data.len() > WINDOW_BYTES_MAX;
        if is_next && !is_full {
            self.bytes += kept.data.len();
            self.kept.push_back(kept);
        }
    }

    /// Forgets what is before an offset.
    pub(super) fn forget(&mut self, before: u64) {
        while self.at < before
            && let Some(kept) = self.kept.pop_front()
        {
            self.bytes -= kept.data.len();
            self.at += 1;
        }
    }

    /// The messages from an offset on; none where that is not among them.
    pub(super) fn from(&self, offset: u64) -> impl Iterator<Item = &Kept> {
        let skipped = offset.checked_sub(self.at);
        let skipped = skipped.and_then(|it| usize::try_from(it).ok());
        self.kept.iter().skip(skipped.unwrap_or(usize::MAX))
    }

    /// The place behind a message, where it is here.
    pub(super) fn behind(&self, offset: u64) -> Option<Place> {
        let kept = self.from(offset).next()?;
        Some(kept.behind(offset))
    }
}

/// A message's data, whoever has it.
pub(super) fn data_of(kept: &Kept) -> Bytes {
    kept.data.clone()
}
