//! A queue made from what is stored: at a start, and when the disk did not take what it had done.
//!
//! A lease by `take` lives on under its token. What a plain or a Majordomo worker had was its
//! connection's: it was lost with that, and what it had not begun costs no attempt.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::protocol::zn1;
use crate::protocol::zn1::Reply;
use crate::roles::machine::{Action, Conn};
use crate::roles::queue::clients::Held;
use crate::roles::queue::flow::{lost, ours};
use crate::roles::queue::pins::UNPINNED;
use crate::roles::queue::services::Hand;
use crate::roles::queue::tasks::{Deadline, Key, Lease, NOBODY, State, Task, Tasks};
use crate::roles::queue::timers::Timer;
use crate::roles::queue::{Config, Machine, Peer};

use super::changes::{Kept, Place};
use super::refused::Undone;
use super::shadow::Shadow;

impl Machine {
    /// A queue with what is stored.
    pub(super) fn restored(
        config: &Config,
        (began_ms, now): (u64, Duration),
        shadow: &Shadow,
    ) -> Self {
        let mut queue = Self::new(config, shadow.epoch);
        (queue.began_ms, queue.now) = (began_ms, now);
        let mut kept: Vec<(&Key, &Kept)> = shadow.tasks.iter().collect();
        // What was tried goes before what never had a worker.
        kept.sort_by_key(|(_, kept)| (kept.facet.given == 0, kept.order));
        let tasks = kept.iter().map(|(key, kept)| (**key, queue.task(kept)));
        let tasks: Vec<(Key, Task)> = tasks.collect();
        queue.tasks = Tasks::restored(shadow.generation, tasks);
        for (id, done) in shadow.ids.all_done() {
            queue
                .ids
                .was_done(id.clone(), done.attempts, done.body.clone());
        }
        for (id, answer) in &shadow.results {
            let until = queue.clock(answer.until_ms.unwrap_or_default());
            let body = answer.body.clone().unwrap_or_default();
            queue.results.keep(id.clone(), until, body);
        }
        queue.counters.completed = shadow.completed;
        // Those that are here are counted as they are put into their places.
        let dead = |(_, kept): &&(&Key, &Kept)| kept.facet.place == Place::Dead;
        queue.counters.dead = shadow.dead - kept.iter().filter(dead).count() as u64;
        for (key, kept) in kept {
            queue.put_back(*key, kept);
        }
        queue.sort_waits();
        let counters = &mut queue.counters;
        counters.accepted = counters.completed + counters.dead + counters.queued + counters.leased;
        queue
    }

    fn task(&mut self, kept: &Kept) -> Task {
        let facet = &kept.facet;
        let service = self.services.restore(&kept.service);
        let mut task = Task {
            service,
            body: kept.body.clone(),
            bytes: 0,
            priority: kept.priority,
            id: kept.id.clone(),
            trace_id: kept.trace_id.clone(),
            deadline: None,
            given: facet.given,
            attempt: facet.attempt,
            attempts_max: facet.attempts_max,
            state: State::Queued,
            waiters: Vec::new(),
            failure: facet.failure.clone(),
            accepted_ms: kept.accepted_ms,
            ready_ms: 0,
            order: kept.order,
            is_kept: facet.is_kept,
            noted: Some(facet.clone()),
        };
        task.bytes = task.counted();
        task
    }

    /// Puts a task where it was.
    fn put_back(&mut self, key: Key, kept: &Kept) {
        let service = self.tasks.of(key).service;
        self.services.of(service).tasks += 1;
        if let Some(id) = &kept.id {
            self.ids.here(id.clone(), key);
        }
        if let Some(at_ms) = kept.facet.deadline_ms {
            let at = self.clock(at_ms);
            let timer = self.timers.set(at, Timer::Deadline(key));
            self.tasks.of(key).deadline = Some(Deadline { at, timer });
        }
        match kept.facet.place {
            // No connection comes back, and nobody else was to do it.
            Place::Queued(_)
            | Place::Delayed(_)
            | Place::Taken(_)
            | Place::Taking(_)
            | Place::Given
            | Place::Ahead
                if kept.facet.is_pinned =>
            {
                self.counters.queued += 1;
                self.note(key, ours("lost", UNPINNED));
                self.bury(key, &mut Vec::new());
            }
            Place::Queued(at_ms) => {
                // Those who wrote no time there wrote 0.
                let at_ms = if at_ms == 0 { kept.accepted_ms } else { at_ms };
                self.queue(key, at_ms);
            }
            Place::Delayed(at_ms) => {
                let timer = self.timers.set(self.clock(at_ms), Timer::Delay(key));
                self.tasks.of(key).state = State::Delayed(timer);
                self.counters.queued += 1;
            }
            Place::Taken(_) | Place::Taking(_) => {
                let lease = self.lease_of(key, kept.facet.place);
                self.tasks.of(key).state = State::Leased(lease);
                self.counters.leased += 1;
            }
            Place::Ahead => {
                self.counters.unbegun += 1;
                self.tasks.of(key).attempt -= 1;
                self.queue(key, u64::MAX);
            }
            Place::Given => {
                self.counters.lost += 1;
                self.note(key, lost());
                let task = self.tasks.of(key);
                match task.attempt >= task.attempts_max {
                    true => {
                        self.counters.queued += 1;
                        self.bury(key, &mut Vec::new());
                    }
                    false => self.queue(key, u64::MAX),
                }
            }
            Place::Dead => {
                let task = self.tasks.of(key);
                task.state = State::Dead;
                self.dead_bytes += task.bytes;
                self.dead.push_back(key);
                self.counters.dead += 1;
            }
        }
    }

    /// The lease of whoever took a task by a token.
    fn lease_of(&mut self, key: Key, place: Place) -> Lease {
        let Place::Taken(at_ms) = place.stored(self.wall_ms(self.now)) else {
            unreachable!("{place:?} is no lease");
        };
        let at = self.clock(at_ms);
        let lasts = at.saturating_sub(self.now);
        Lease {
            conn: NOBODY,
            timer: Some(self.timers.set(at, Timer::Lease(key))),
            // What is left of it is not what the worker asks for when it extends it.
            lasts: lasts.max(Duration::from_millis(self.config.lease_ms)),
            is_told: true,
        }
    }

    /// Puts a task into the list of its service, since a time that is not after now.
    fn queue(&mut self, key: Key, since_ms: u64) {
        let now_ms = self.wall_ms(self.now);
        self.tasks.of(key).ready_ms = since_ms.min(now_ms);
        self.counters.queued += 1;
        self.line_up(key, false);
    }

    /// Whoever shows the token of an earlier life has that lease from now on, as any other.
    pub(in crate::roles::queue) fn adopt_lease(&mut self, key: Key, conn: Conn) {
        let State::Leased(lease) = &mut self.tasks.of(key).state else {
            return;
        };
        if lease.conn == NOBODY
            && let Some(peer) = self.peers.get_mut(&conn)
        {
            lease.conn = conn;
            peer.leases.push(key);
        }
    }

    /// The disk did not take what was done: it is undone, and nothing changes any more before
    /// [`Machine::go_on`]. Who waits for something that is stored waits on, and who asked for something
    /// that was not and has no words for a refusal; workers are to begin anew; who can be told is.
    pub(super) fn undo(
        &mut self,
        shadow: &Shadow,
        (why, undone): (String, Undone),
        actions: &mut Vec<Action>,
    ) {
        let next = Self::restored(&self.config, (self.began_ms, self.now), shadow);
        let mut last = std::mem::replace(self, next);
        self.stalled = Some(why);
        self.is_draining = last.is_draining;
        self.rng = last.rng.clone();
        let is = self.counters.clone();
        self.counters = super::super::Counters {
            accepted: is.accepted,
            completed: is.completed,
            dead: is.dead,
            queued: is.queued,
            leased: is.leased,
            ..last.counters.clone()
        };
        let mut told = Vec::new();
        for number in last
            .services
            .iter()
            .map(|(number, _)| number)
            .collect::<Vec<_>>()
        {
            for hand in last.services.of(number).idle.drain(..) {
                if let Hand::Take(take) = hand {
                    told.push((take.caller, take.id));
                }
            }
        }
        let peers = last.peers.iter();
        let works = peers.filter(|(_, peer)| peer.takes > 0 || !peer.leases.is_empty());
        let works: HashSet<Conn> = works.map(|(conn, _)| *conn).collect();
        let waiters = last.tasks.drain_waiters();
        self.carry(last, actions);
        let waited = self.wait_on(waiters, undone, actions);
        told.extend(waited.told);
        for (caller, id) in told {
            let why = self.stalled.as_deref().unwrap_or_default();
            let reply = Reply::failure(zn1::UNAVAILABLE, id, why);
            actions.push(caller.reply(&reply));
        }
        self.hold_anew(waited.held, &works, actions);
    }

    /// Takes over the connections of an earlier life, but for workers, and who waits for room.
    fn carry(&mut self, last: Self, actions: &mut Vec<Action>) {
        for (conn, peer) in last.peers {
            if peer.worker.is_some() {
                actions.push(Action::Close { conn });
                continue;
            }
            let held = peer.held;
            self.peers.insert(
                conn,
                Peer {
                    held,
                    ..Peer::default()
                },
            );
        }
        let names: HashMap<usize, _> = last.services.iter().collect();
        for Held {
            conn,
            mut offer,
            bytes,
        } in last.held
        {
            let name = &names[&offer.service].name;
            offer.service = self.services.restore(name);
            self.services.of(offer.service).held += 1;
            self.held.push_back(Held { conn, offer, bytes });
        }
    }

    /// What is done is stored again.
    pub(super) fn go_on(&mut self, actions: &mut Vec<Action>) {
        self.stalled = None;
        let services: Vec<usize> = self.services.iter().map(|(number, _)| number).collect();
        for service in services {
            self.dispatch(service, actions);
        }
        self.admit(actions);
    }

    /// Why nothing may change now.
    pub(super) fn stalled(&self) -> Option<&str> {
        self.stalled.as_deref()
    }

    /// Whether a client is not read since its task waits for room.
    pub(super) fn is_held(&self, conn: Conn) -> bool {
        self.peers.get(&conn).is_some_and(|peer| peer.held > 0)
    }
}

#[cfg(test)]
impl Machine {
    /// When the lease of a token ends, in milliseconds since 1970.
    pub(super) fn lease_end_ms(&self, token: &str) -> Option<u64> {
        let token = crate::roles::queue::tasks::Token::from_text(token)?;
        let task = self.tasks.get(token.key);
        match &task.filter(|task| task.given == token.given)?.state {
            State::Leased(lease) => lease.timer.map(|timer| self.wall_ms(timer.at())),
            State::Queued | State::Delayed(_) | State::Dead => None,
        }
    }
}
