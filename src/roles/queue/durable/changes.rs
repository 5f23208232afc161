//! What changed in a step, as it is to be kept: found by looking at every task that was touched, so
//! that no way of a task can forget to say so.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::roles::machine::Conn;
use crate::roles::queue::Machine;
use crate::roles::queue::compact;
use crate::roles::queue::known;
use crate::roles::queue::room::STORED_BYTES_MAX;
use crate::roles::queue::tasks::{Failure, Key, Lease, NOBODY, State, Task, Waiter, bytes_of};
use crate::roles::queue::timers::Timer;

/// Frames that keep no more alive than themselves.
fn owned(frames: &[Bytes]) -> Vec<Bytes> {
    let mut frames = frames.to_vec();
    compact(&mut frames);
    frames
}

/// Where a task is, as far as it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::roles::queue) enum Place {
    /// It waits for a worker, since a time in milliseconds since 1970.
    Queued(u64),
    /// It waits for its time, in milliseconds since 1970.
    Delayed(u64),
    /// Somebody takes it by a token that is good for so many milliseconds from when that is stored.
    Taking(u64),
    /// Somebody took it by a token that is good until a time, on any connection after a restart.
    Taken(u64),
    /// A worker has it that is lost with its connection.
    Given,
    /// The same, and has others to do first.
    Ahead,
    /// Given up.
    Dead,
}

impl Place {
    /// Where it is once that was stored, at a time in milliseconds since 1970.
    pub(super) fn stored(self, at_ms: u64) -> Self {
        match self {
            Self::Taking(lasts_ms) => Self::Taken(at_ms.saturating_add(lasts_ms)),
            Self::Queued(_)
            | Self::Delayed(_)
            | Self::Taken(_)
            | Self::Given
            | Self::Ahead
            | Self::Dead => self,
        }
    }
}

/// What of a task may change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::roles::queue) struct Facet {
    pub(super) place: Place,
    pub(super) given: u32,
    pub(super) attempt: u32,
    pub(super) attempts_max: u32,
    /// In milliseconds since 1970.
    pub(super) deadline_ms: Option<u64>,
    pub(super) is_kept: bool,
    /// One worker alone is to do it.
    pub(super) is_pinned: bool,
    pub(super) failure: Option<Arc<Failure>>,
}

/// A task as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) order: u64,
    /// In milliseconds since 1970.
    pub(super) accepted_ms: u64,
    pub(super) priority: i16,
    pub(super) service: Bytes,
    pub(super) id: Option<Bytes>,
    pub(super) trace_id: Option<Bytes>,
    pub(super) body: Vec<Bytes>,
    pub(super) facet: Facet,
}

/// What came of a task that was done, as far as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) attempts: u32,
    /// Until when it waits to be closed, in milliseconds since 1970.
    pub(super) until_ms: Option<u64>,
    pub(super) body: Option<Vec<Bytes>>,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    Accepted(Key, Box<Kept>),
    Moved(Key, Facet),
    Done(Key, Answer),
    /// It is gone and was not done.
    Gone(Key),
    /// An answer that was kept is gone.
    Closed(Bytes),
}

impl Kept {
    /// About how many bytes it takes.
    pub(super) fn bytes(&self) -> usize {
        bytes_of(&self.body) + self.facet.words()
    }
}

impl Answer {
    /// About how many bytes it takes.
    pub(super) fn bytes(&self) -> usize {
        bytes_of(self.body.as_deref().unwrap_or_default())
    }
}

impl Facet {
    /// The bytes of the words for why it failed.
    fn words(&self) -> usize {
        self.failure.as_ref().map_or(0, |failure| {
            failure.kind.len() + failure.message.len() + failure.trace.len()
        })
    }
}

impl Change {
    /// About how many bytes it takes.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Accepted(_, kept) => kept.bytes(),
            Self::Moved(_, facet) => 128 + facet.words(),
            Self::Done(_, answer) => answer.bytes(),
            Self::Gone(_) | Self::Closed(_) => 128,
        }
    }
}

/// What ended in a step, where somebody wants to know.
#[derive(Debug, Default)]
pub(in crate::roles::queue) struct Ended {
    done: Vec<(Key, Answer)>,
    /// Those without words for a refusal who waited for it: they wait on where it is not stored.
    left: Vec<(Key, Waiter)>,
    pub(in crate::roles::queue) results: Vec<Bytes>,
}

impl Machine {
    /// A time as it is kept.
    pub(in crate::roles::queue) fn wall_ms(&self, at: Duration) -> u64 {
        let since = u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
        self.began_ms.saturating_add(since)
    }

    /// The time of our clock that a kept one is; the past is now.
    pub(super) fn clock(&self, at_ms: u64) -> Duration {
        Duration::from_millis(at_ms.saturating_sub(self.began_ms))
    }

    /// A task was done.
    pub(in crate::roles::queue) fn note_done(
        &mut self,
        key: Key,
        attempts: u32,
        until: Option<Duration>,
        body: Option<&[Bytes]>,
    ) {
        if !self.tasks.is_watched() {
            return;
        }
        let max = match until {
            Some(_) => STORED_BYTES_MAX,
            None => known::ANSWER_BYTES_MAX,
        };
        let body = body.filter(|body| body.iter().map(Bytes::len).sum::<usize>() <= max);
        let answer = Answer {
            attempts,
            until_ms: until.map(|until| self.wall_ms(until)),
            body: body.map(owned),
        };
        self.ended.done.push((key, answer));
    }

    /// Somebody is told what came of a task.
    pub(in crate::roles::queue) fn note_left(&mut self, key: Key, waiters: &[Waiter]) {
        if !self.tasks.is_watched() || self.stalled.is_some() {
            return;
        }
        let wordless = waiters.iter().filter(|it| it.is_wordless()).cloned();
        self.ended.left.extend(wordless.map(|waiter| (key, waiter)));
    }

    /// Who was told what came of a task, by what changed last.
    pub(super) fn left(&mut self) -> Vec<(Key, Waiter)> {
        std::mem::take(&mut self.ended.left)
    }

    /// What changed since this was asked last.
    pub(super) fn changes(&mut self) -> Vec<Change> {
        let done = std::mem::take(&mut self.ended.done);
        let mut changes = Vec::new();
        let mut gone = Vec::new();
        for key in self.tasks.touched() {
            let Some(task) = self.tasks.get(key) else {
                let is_done = done.iter().any(|(other, _)| *other == key);
                if !is_done && gone.last() != Some(&key) {
                    gone.push(key);
                }
                continue;
            };
            let facet = self.facet(task);
            if task.noted.as_ref() == Some(&facet) {
                continue;
            }
            changes.push(match task.noted {
                Some(_) => Change::Moved(key, facet.clone()),
                None => Change::Accepted(key, Box::new(self.kept(task, facet.clone()))),
            });
            self.tasks.of(key).noted = Some(facet);
        }
        // Noting it was touching it.
        self.tasks.touched();
        changes.extend(
            done.into_iter()
                .map(|(key, answer)| Change::Done(key, answer)),
        );
        changes.extend(gone.into_iter().map(Change::Gone));
        let closed = std::mem::take(&mut self.ended.results);
        changes.extend(closed.into_iter().map(Change::Closed));
        changes
    }

    fn facet(&self, task: &Task) -> Facet {
        let place = match &task.state {
            State::Queued => Place::Queued(task.ready_ms),
            State::Delayed(timer) => Place::Delayed(self.wall_ms(timer.at())),
            State::Leased(lease) => self.place_of(lease),
            State::Dead => Place::Dead,
        };
        Facet {
            place,
            given: task.given,
            attempt: task.attempt,
            attempts_max: task.attempts_max,
            deadline_ms: task.deadline.map(|deadline| self.wall_ms(deadline.at)),
            is_kept: task.is_kept,
            is_pinned: self.services.main(task.service) != task.service,
            failure: task.failure.clone(),
        }
    }

    fn place_of(&self, lease: &Lease) -> Place {
        let is_worker = |conn: Conn| self.peers.get(&conn).is_some_and(|it| it.worker.is_some());
        match lease.timer {
            None => Place::Ahead,
            Some(_) if lease.conn != NOBODY && is_worker(lease.conn) => Place::Given,
            Some(_) if !lease.is_told => {
                Place::Taking(u64::try_from(lease.lasts.as_millis()).unwrap_or(u64::MAX))
            }
            Some(timer) => Place::Taken(self.wall_ms(timer.at())),
        }
    }

    /// That a worker was given a task, or has it for longer, is stored: its lease begins.
    pub(super) fn begin_stored(&mut self, change: &Change) {
        let (key, facet) = match change {
            Change::Accepted(key, kept) => (*key, &kept.facet),
            Change::Moved(key, facet) => (*key, facet),
            Change::Done(..) | Change::Gone(_) | Change::Closed(_) => return,
        };
        let is_given = matches!(facet.place, Place::Taking(_) | Place::Given | Place::Ahead);
        let (now, now_ms) = (self.now, self.wall_ms(self.now));
        let task = self.tasks.get_mut(key).filter(|_| is_given);
        let Some(task) = task.filter(|task| task.given == facet.given) else {
            return;
        };
        let State::Leased(lease) = &mut task.state else {
            return;
        };
        if lease.is_told {
            return;
        }
        lease.is_told = true;
        if let Some(timer) = lease.timer.take() {
            self.timers.clear(timer);
            lease.timer = Some(self.timers.set(now + lease.lasts, Timer::Lease(key)));
        }
        // What is stored says the same.
        if let Some(noted) = &mut task.noted {
            noted.place = noted.place.stored(now_ms);
        }
    }

    fn kept(&self, task: &Task, facet: Facet) -> Kept {
        Kept {
            order: task.order,
            accepted_ms: task.accepted_ms,
            priority: task.priority,
            service: self.services.name(task.service).clone(),
            id: task.id.clone(),
            trace_id: task.trace_id.clone(),
            body: owned(&task.body),
            facet,
        }
    }
}
