//! What is to happen at a time: leases that end, tasks that were delayed, workers that wait no longer.
//!
//! A timer that is not wanted any more is cleared, so there are never more than there is to wait for.

use std::collections::BTreeMap;
use std::time::Duration;

use super::tasks::Key;

/// A timer, to clear it by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TimerKey(Duration, u64);

impl TimerKey {
    /// When it is due.
    pub(super) fn at(self) -> Duration {
        self.0
    }
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Timer {
    /// A task's lease ends.
    Lease(Key),
    /// A task may be given to a worker.
    Delay(Key),
    /// A worker waits no longer for a task of a service: the number of its wait.
    Take(usize, u64),
    /// Nobody waits for a task any more.
    Deadline(Key),
    /// There may be other room than there was.
    Room,
    /// Workers that are slow with what they do are looked for.
    Watch,
    /// Majordomo workers are told that we live, and those that have been silent are given up.
    Beat,
}

/// All timers.
#[derive(Debug, Default)]
pub(super) struct Timers {
    due: BTreeMap<TimerKey, Timer>,
    last: u64,
}

impl Timers {
    pub(super) fn set(&mut self, at: Duration, timer: Timer) -> TimerKey {
        self.last += 1;
        let key = TimerKey(at, self.last);
        self.due.insert(key, timer);
        key
    }

    pub(super) fn clear(&mut self, key: TimerKey) {
        self.due.remove(&key);
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<Duration> {
        self.due.first_key_value().map(|(key, _)| key.0)
    }

    /// The next one, if it is due.
    pub(super) fn pop(&mut self, now: Duration) -> Option<Timer> {
        let first = self.due.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }
}
