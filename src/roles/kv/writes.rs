//! How a write comes about: it waits, flies with others, is stored, and only then is done.
//!
//! One flight is under way at a time. Its requests are looked at in their order, as if those before
//! them were done; where the store does not keep it, none of it was, and nobody saw any of it.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;

use crate::model::limits::kv::{
    FLIGHT_BYTES_MAX, FLIGHT_WRITES_MAX, WAITING_BYTES_MAX, WAITING_MAX,
};
use crate::model::store::{StoreFault, Stored};
use crate::protocol::clone::About;
use crate::protocol::zn1::{self, Reply};
use crate::roles::machine::{Action, Caller, Conn};

use super::Machine;
use super::known::Done;
use super::staging::{Op, Refusal, Staged, Wish};
use super::state::{Change, Write};

/// Keys that end in one flight.
const ENDED_MAX: usize = 1_024;
/// How long the clock rests after a flight that was not kept.
const REST: Duration = Duration::from_secs(1);

/// Who wants something written.
#[derive(Debug)]
pub(super) enum Who {
    /// A caller, who is answered.
    Caller(Caller, Bytes),
    /// A mirror, who is not, and what it said beside.
    Mirror(About),
    /// Keys whose time is over; each stands for itself.
    Clock,
}

/// A request to write.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) who: Who,
    pub(super) ops: Vec<Op>,
    pub(super) once: Option<Bytes>,
    /// It names one key, which has to be there to be deleted.
    pub(super) is_of_one: bool,
}

impl Job {
    fn bytes(&self) -> usize {
        self.ops.iter().map(Op::bytes).sum()
    }
}

type Answer = Result<Done, Refusal>;

/// Requests that are being stored together.
#[derive(Debug, Default)]
pub(super) struct Flight {
    pub(super) writes: Vec<Write>,
    answers: Vec<(Who, Answer)>,
    pub(super) once: Vec<(Bytes, Done)>,
    /// What mirrors said beside their updates, by revision.
    abouts: HashMap<u64, About>,
}

/// What waits, and what flies.
#[derive(Debug, Default)]
pub(super) struct Writes {
    waiting: VecDeque<Job>,
    bytes: usize,
    pub(super) flight: Option<Flight>,
    /// Mirrors that are not read until there is room.
    paused: BTreeSet<Conn>,
    /// The clock's request waits or flies.
    is_expiring: bool,
    /// The clock asks for nothing before.
    rests_until: Duration,
}

impl Writes {
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.flight.is_none()
    }

    pub(super) fn closed(&mut self, conn: Conn) {
        self.paused.remove(&conn);
    }

    fn is_full(&self, bytes: usize) -> bool {
        self.waiting.len() >= WAITING_MAX || self.bytes + bytes > WAITING_BYTES_MAX
    }

    /// A mirror is read no further while half of what may wait does.
    fn pause(&mut self, conn: Conn, actions: &mut Vec<Action>) {
        let is_much = self.waiting.len() > WAITING_MAX / 2 || self.bytes > WAITING_BYTES_MAX / 2;
        if is_much && self.paused.insert(conn) {
            actions.push(Action::Pause { conn });
        }
    }

    fn resume(&mut self, actions: &mut Vec<Action>) {
        if self.waiting.len() <= WAITING_MAX / 4 && self.bytes <= WAITING_BYTES_MAX / 4 {
            let paused = std::mem::take(&mut self.paused).into_iter();
            actions.extend(paused.map(|conn| Action::Resume { conn }));
        }
    }

    fn push(&mut self, job: Job) {
        self.bytes += job.bytes();
        self.waiting.push_back(job);
    }

    fn pop(&mut self) -> Option<Job> {
        let job = self.waiting.pop_front()?;
        self.bytes -= job.bytes();
        Some(job)
    }
}

impl Machine {
    /// Takes a request of a caller; what cannot be taken is answered.
    pub(super) fn write(
        &mut self,
        caller: Caller,
        id: Bytes,
        job: Wanted,
        actions: &mut Vec<Action>,
    ) {
        let Wanted {
            ops,
            once,
            is_of_one,
        } = job;
        let bytes = ops.iter().map(Op::bytes).sum();
        let refusal = if self.is_draining {
            Some((zn1::UNAVAILABLE, "it is ending"))
        } else if self.writes.is_full(bytes) {
            Some((zn1::BACK_PRESSURE, "too much is waiting to be written"))
        } else {
            None
        };
        if let Some((status, words)) = refusal {
            self.counters.refused += 1;
            return actions.push(caller.reply(&Reply::failure(status, id, words)));
        }
        if let Some(why) = self.kept.unknown() {
            self.counters.unkept += 1;
            return actions.push(caller.reply(&Reply::failure(zn1::UNAVAILABLE, id, why)));
        }
        let who = Who::Caller(caller, id);
        self.writes.push(Job {
            who,
            ops,
            once,
            is_of_one,
        });
        self.take_off(actions);
    }

    /// Takes an update of a mirror.
    pub(super) fn update(
        &mut self,
        conn: Conn,
        (op, about): (Op, About),
        actions: &mut Vec<Action>,
    ) {
        if self.writes.is_full(op.bytes()) || self.is_draining || self.kept.is_unknown() {
            self.counters.dropped += 1;
            return;
        }
        self.writes.pause(conn, actions);
        let who = Who::Mirror(about);
        self.writes.push(Job {
            who,
            ops: vec![op],
            once: None,
            is_of_one: false,
        });
        self.take_off(actions);
    }

    /// When keys end next, as far as that is known.
    pub(super) fn next_expiry(&self) -> Option<Duration> {
        if self.writes.is_expiring || self.is_draining || self.kept.is_unknown() {
            return None;
        }
        let (at_ms, _) = self.state.next_end()?;
        let due = Duration::from_millis(at_ms.saturating_sub(self.began_ms));
        Some(due.max(self.writes.rests_until))
    }

    /// Asks for the end of the keys whose time is over.
    pub(super) fn expire(&mut self, actions: &mut Vec<Action>) {
        if self.next_expiry().is_none_or(|due| due > self.now) {
            return;
        }
        let ended = self.state.ended(self.now_ms()).take(ENDED_MAX);
        let op = |key| Op {
            key: Arc::clone(key),
            wish: Wish::Expire,
            revision: self.state.get(key).map(|item| item.revision),
        };
        let ops: Vec<Op> = ended.map(op).collect();
        self.writes.is_expiring = true;
        self.writes.push(Job {
            who: Who::Clock,
            ops,
            once: None,
            is_of_one: false,
        });
        self.take_off(actions);
    }

    /// Has what waits fly, unless something does.
    pub(super) fn take_off(&mut self, actions: &mut Vec<Action>) {
        while self.writes.flight.is_none() && !self.writes.waiting.is_empty() {
            let flight = self.board();
            self.writes.resume(actions);
            if flight.writes.is_empty() || !self.kept.is_durable() {
                self.land(flight, Ok(None), actions);
            } else {
                actions.push(self.kept.store(&flight));
                self.writes.flight = Some(flight);
            }
        }
    }

    /// Makes a flight of what waits.
    fn board(&mut self) -> Flight {
        let mut staged = Staged::default();
        let mut flight = Flight::default();
        let bytes_max = self.config.bytes_max;
        while staged.writes().len() < FLIGHT_WRITES_MAX && staged.bytes() < FLIGHT_BYTES_MAX {
            let Some(job) = self.writes.pop() else {
                break;
            };
            let Job {
                who,
                ops,
                once,
                is_of_one,
            } = job;
            let before = once.as_ref().and_then(|id| {
                let flying = flight.once.iter().find(|(known, _)| known == id);
                self.known.get(id).or(flying.map(|(_, done)| *done))
            });
            if let Some(done) = before {
                self.counters.repeated += 1;
                flight.answers.push((who, Ok(done)));
                continue;
            }
            if matches!(who, Who::Clock) {
                for op in ops {
                    // A key that was written meanwhile has another time.
                    staged.add(&self.state, vec![op], bytes_max).ok();
                }
                let done = Done {
                    revision: 0,
                    writes: 0,
                };
                flight.answers.push((who, Ok(done)));
                continue;
            }
            let answer = staged.add(&self.state, ops, bytes_max).map(|writes| Done {
                revision: self.state.revision() + staged.writes().len() as u64,
                writes: u32::try_from(writes).expect("a batch is bounded"),
            });
            let answer = match answer {
                Ok(Done { writes: 0, .. }) if is_of_one => Err(Refusal::Absent),
                answer => answer,
            };
            if let (Ok(done), Some(id)) = (&answer, once)
                && done.writes > 0
            {
                flight.once.push((id, *done));
            }
            if let (Ok(done), Who::Mirror(about)) = (&answer, &who)
                && done.writes > 0
            {
                flight.abouts.insert(done.revision, about.clone());
            }
            flight.answers.push((who, answer));
        }
        flight.writes = staged.into_writes();
        flight
    }

    /// What became of what flew; without a store it is done at once.
    pub(super) fn land(
        &mut self,
        mut flight: Flight,
        result: Result<Option<(Stored, usize)>, StoreFault>,
        actions: &mut Vec<Action>,
    ) {
        match result {
            Ok(stored) => {
                self.kept.was_stored(stored);
                self.commit(&mut flight, actions);
                for (who, answer) in flight.answers {
                    self.answer(who, answer, actions);
                }
            }
            Err(fault) => {
                self.kept.failed(&fault);
                for (who, _) in flight.answers {
                    self.unkept(who, &fault, actions);
                }
            }
        }
    }

    fn commit(&mut self, flight: &mut Flight, actions: &mut Vec<Action>) {
        let before = self.state.revision();
        for write in flight.writes.drain(..) {
            let about = flight.abouts.remove(&write.revision);
            self.publish(&write, about, actions);
            self.counters.writes += 1;
            self.counters.expired += u64::from(write.change == Change::Expire);
            self.state.apply(&write);
            self.history.push(write);
        }
        for (id, done) in flight.once.drain(..) {
            self.known.add(id, done);
        }
        if self.state.revision() > before {
            self.wake_watches(before, actions);
        }
    }

    fn answer(&mut self, who: Who, answer: Answer, actions: &mut Vec<Action>) {
        let (caller, id) = match who {
            Who::Caller(caller, id) => (caller, id),
            Who::Mirror(_) => {
                self.counters.refused += u64::from(answer.is_err());
                return;
            }
            Who::Clock => {
                self.writes.is_expiring = false;
                return;
            }
        };
        let reply = match answer {
            Ok(Done { revision, writes }) => {
                Reply::new(zn1::OK, id, json!({"revision": revision, "writes": writes}))
            }
            Err(refusal) => self.refused(id, &refusal),
        };
        actions.push(caller.reply(&reply));
    }

    fn refused(&mut self, id: Bytes, refusal: &Refusal) -> Reply {
        match refusal {
            Refusal::Conflict(key, revision) => {
                self.counters.conflicts += 1;
                let words = refusal.to_string();
                let told = json!({"error": words, "key": **key, "revision": revision});
                Reply::new(zn1::CONFLICT, id, told)
            }
            Refusal::Absent => Reply::failure(zn1::NOT_FOUND, id, refusal),
            Refusal::Full(_) => {
                self.counters.refused += 1;
                Reply::failure(zn1::TOO_LARGE, id, refusal)
            }
        }
    }

    /// Somebody whose request was not kept.
    fn unkept(&mut self, who: Who, fault: &StoreFault, actions: &mut Vec<Action>) {
        self.counters.unkept += 1;
        match who {
            Who::Caller(caller, id) => {
                let status = match fault {
                    StoreFault::Busy => zn1::BACK_PRESSURE,
                    StoreFault::TooLarge | StoreFault::AtMax => zn1::TOO_LARGE,
                    StoreFault::NoSpace
                    | StoreFault::Begun
                    | StoreFault::ReadOnly(_)
                    | StoreFault::Failed(_)
                    | StoreFault::Gone(_)
                    | StoreFault::Damaged(..) => zn1::UNAVAILABLE,
                };
                actions.push(caller.reply(&Reply::failure(status, id, fault)));
            }
            Who::Mirror(_) => {}
            Who::Clock => {
                self.writes.is_expiring = false;
                self.writes.rests_until = self.now + REST;
            }
        }
    }
}

/// What a caller wants written.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) ops: Vec<Op>,
    pub(super) once: Option<Bytes>,
    /// It names one key, and no batch of them.
    pub(super) is_of_one: bool,
}
