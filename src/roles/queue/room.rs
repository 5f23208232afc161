//! What there is room for: tasks within the bound in bytes, dead letters within their part of it.
//!
//! All that a task has counts: its frames, who waits for it, and why it failed; and the answers that
//! are kept until they are fetched.

use std::sync::Arc;

use crate::model::limits::queue::{DEAD_MAX, TASKS_MAX};

use super::Machine;
use super::tasks::{Failure, Key};

/// The part of all bytes that dead letters may take.
const DEAD_SHARE: usize = 4;
/// A task that is stored has at most so much, which leaves room for what is stored with it.
pub(super) const STORED_BYTES_MAX: usize = 72 * 1024 * 1024;
/// At most so much of the word for a failure, where there is no room for all that was said.
const KIND_BYTES_MAX: usize = 64;

impl Machine {
    /// What a task may count at most: all there is, and what is stored at once.
    pub(super) fn task_bytes_max(&self) -> usize {
        match self.tasks.is_watched() {
            true => self.config.bytes_max.min(STORED_BYTES_MAX),
            false => self.config.bytes_max,
        }
    }

    /// Whether a task that counts so many bytes may be taken now. Dead letters keep their part, but for
    /// a task that fits beside them at no time: the oldest make room for it as soon as that is enough.
    pub(super) fn make_room(&mut self, bytes: usize) -> bool {
        let max = self.config.bytes_max;
        let alive = self.tasks.bytes() - self.dead_bytes + self.results.bytes();
        let is_beside = self.dead_bytes.saturating_add(bytes) <= max;
        if !is_beside && alive.saturating_add(bytes) <= max {
            while !self.has_room(bytes) && self.forget_oldest() {}
        }
        self.has_room(bytes)
    }

    fn has_room(&self, bytes: usize) -> bool {
        let held = self.tasks.bytes() + self.results.bytes();
        let fits = held.saturating_add(bytes) <= self.config.bytes_max;
        self.tasks.len() < TASKS_MAX && fits && self.stalled.is_none()
    }

    /// Dead letters are as many as they may be; the oldest go.
    pub(super) fn trim_letters(&mut self) {
        let (max, all_max) = (self.config.bytes_max / DEAD_SHARE, self.config.bytes_max);
        while self.dead.len() > DEAD_MAX
            || self.dead_bytes > max
            || (self.dead_bytes > 0 && self.tasks.bytes() > all_max)
        {
            if !self.forget_oldest() {
                return;
            }
        }
    }

    /// Forgets the oldest dead letter, if there is one.
    fn forget_oldest(&mut self) -> bool {
        let Some(oldest) = self.dead.pop_front() else {
            return false;
        };
        self.counters.forgotten += 1;
        self.forget_dead(oldest);
        true
    }

    /// Keeps why an attempt came to nothing.
    pub(super) fn note(&mut self, key: Key, failure: Failure) {
        self.tasks.of(key).failure = Some(failure.into());
        self.tasks.recount(key);
    }

    /// Of a task that is tried again, a worker's words are kept only as far as there is room.
    pub(super) fn shorten(&mut self, key: Key) {
        if self.tasks.bytes() <= self.config.bytes_max {
            return;
        }
        if let Some(failure) = &mut self.tasks.of(key).failure {
            let kind = failure.kind.chars().scan(0, |bytes, letter| {
                *bytes += letter.len_utf8();
                (*bytes <= KIND_BYTES_MAX).then_some(letter)
            });
            *failure = Arc::new(Failure {
                kind: kind.collect(),
                message: "there was no room for its words".to_owned(),
                trace: String::new(),
            });
        }
        self.tasks.recount(key);
    }
}
