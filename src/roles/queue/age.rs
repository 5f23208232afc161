//! How long the oldest task of a service has waited for a worker: the age of a queue.
//!
//! A task waits from when it could be given to somebody: from when it was accepted, its delay or its rest
//! was over, it was taken back from a worker, or it was tried again. So each that begins to wait is the
//! youngest, and the oldest is the first of a list that nothing is ever put into before its end. What has
//! ended its wait stays in the list until it is the first, or the list is swept: a step costs the same
//! however many wait.

use std::collections::VecDeque;

use super::Machine;
use super::tasks::{Key, State, Task, Tasks};

/// A list of fewer is not swept.
const SWEPT_MIN: usize = 64;

/// Since when each task of a service waits, the oldest first; some have ended their wait.
#[derive(Debug, Default)]
pub(super) struct Waits {
    since: VecDeque<(u64, Key)>,
}

impl Waits {
    /// A task begins to wait, at a time in milliseconds that is none before the last one's.
    pub(super) fn begin(&mut self, at_ms: u64, key: Key) {
        self.since.push_back((at_ms, key));
    }

    /// Lets go of what has ended its wait, where it is before all that have not; and of all of it once it
    /// is most of what is there.
    pub(super) fn trim(&mut self, ready: usize, waits: impl Fn(u64, Key) -> bool) {
        while let Some((at_ms, key)) = self.since.front()
            && !waits(*at_ms, *key)
        {
            self.since.pop_front();
        }
        if self.since.len() > SWEPT_MIN.max(2 * ready) {
            self.since.retain(|(at_ms, key)| waits(*at_ms, *key));
        }
    }

    /// Puts what was begun in another order into its own.
    pub(super) fn sort(&mut self) {
        self.since
            .make_contiguous()
            .sort_by_key(|(at_ms, _)| *at_ms);
    }

    /// How many there are, with those that have ended their wait.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.since.len()
    }

    /// Since when the oldest waits.
    pub(super) fn oldest_ms(&self, waits: impl Fn(u64, Key) -> bool) -> Option<u64> {
        let mut all = self.since.iter();
        let oldest = all.find(|(at_ms, key)| waits(*at_ms, *key));
        oldest.map(|(at_ms, _)| *at_ms)
    }
}

/// Whether a task waits since that time, in the list of that service.
fn waits(tasks: &Tasks, service: usize, (at_ms, key): (u64, Key)) -> bool {
    let is_it = |task: &Task| {
        let is_queued = matches!(task.state, State::Queued);
        is_queued && task.service == service && task.ready_ms == at_ms
    };
    tasks.get(key).is_some_and(is_it)
}

impl Machine {
    /// A task waits for a worker from now on: the last of its priority, or the first where it had its
    /// turn.
    pub(super) fn wait(&mut self, key: Key, is_first: bool) {
        let now_ms = self.wall_ms(self.now);
        let task = self.tasks.of(key);
        task.state = State::Queued;
        task.ready_ms = now_ms;
        self.line_up(key, is_first);
    }

    /// Puts a task that waits into the list of its service.
    pub(super) fn line_up(&mut self, key: Key, is_first: bool) {
        let task = self.tasks.of(key);
        let (service, priority, at_ms) = (task.service, task.priority, task.ready_ms);
        let list = self.services.of(service);
        match is_first {
            true => list.push_first(priority, key),
            false => list.push(priority, key),
        }
        list.waits.begin(at_ms, key);
        self.trim_waits(service);
    }

    /// Tasks were put into their lists in another order than that in which they began to wait.
    pub(super) fn sort_waits(&mut self) {
        let services: Vec<usize> = self.services.iter().map(|(number, _)| number).collect();
        for service in services {
            self.services.of(service).waits.sort();
        }
    }

    /// Lets go of what does not wait any more.
    pub(super) fn trim_waits(&mut self, service: usize) {
        let tasks = &self.tasks;
        let list = self.services.of(service);
        let ready = list.ready();
        list.waits
            .trim(ready, |at_ms, key| waits(tasks, service, (at_ms, key)));
    }

    /// How long the oldest task in the list of a service has waited, in milliseconds; 0 where none waits.
    pub(super) fn age_ms(&self, service: usize) -> u64 {
        let list = self.services.at(service);
        let waits = |at_ms, key| waits(&self.tasks, service, (at_ms, key));
        let oldest_ms = list.waits.oldest_ms(waits);
        let now_ms = self.wall_ms(self.now);
        oldest_ms.map_or(0, |at_ms| now_ms.saturating_sub(at_ms))
    }
}
