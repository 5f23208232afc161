//! The ways of a task: accepted, given to a worker, completed; or taken back, tried again, given up.
//!
//! Every way keeps `accepted = completed + dead + queued + leased`, and none gives out a task that a
//! worker has.

use std::time::Duration;

use bytes::Bytes;
use serde_json::json;

use crate::protocol::mdp;
use crate::protocol::zn1::{self, Reply};
use crate::roles::machine::{Action, Caller, Conn};

use super::Machine;
use super::services::Hand;
use super::tasks::{Failure, Key, Lease, NOBODY, State, Task, Token, Waiter, bytes_of};
use super::timers::Timer;

/// The first rest before a task is tried again that failed, and the longest.
const REST_MIN: Duration = Duration::from_millis(100);
const REST_MAX: Duration = Duration::from_secs(10);

/// What somebody wants to be done.
#[derive(Debug)]
pub(super) struct Offer {
    pub(super) service: usize,
    pub(super) body: Vec<Bytes>,
    pub(super) priority: i16,
    pub(super) delay: Duration,
    pub(super) id: Option<Bytes>,
    /// What it is called in the logs of those who call each other.
    pub(super) trace_id: Option<Bytes>,
    /// After so long nobody waits for it, and it is begun no more.
    pub(super) deadline: Option<Duration>,
    pub(super) waiter: Option<Waiter>,
    /// Its answer is kept until it is closed.
    pub(super) is_kept: bool,
}

impl Offer {
    /// What it counts against the bound in bytes.
    pub(super) fn bytes(&self) -> usize {
        bytes_of(&self.body) + self.waiter.as_ref().map_or(0, Waiter::bytes)
    }
}

/// Its worker's connection ended.
pub(super) fn lost() -> Failure {
    ours("lost", "its worker was lost")
}

pub(super) fn ours(kind: &str, message: &str) -> Failure {
    Failure {
        kind: kind.to_owned(),
        message: message.to_owned(),
        trace: String::new(),
    }
}

impl Machine {
    /// Takes a task for which there is room.
    pub(super) fn accept(&mut self, offer: Offer, actions: &mut Vec<Action>) -> Key {
        self.counters.accepted += 1;
        self.counters.queued += 1;
        let id = offer.id.as_deref().map(Bytes::copy_from_slice);
        let key = self.tasks.insert(Task {
            service: offer.service,
            bytes: offer.bytes(),
            body: offer.body,
            priority: offer.priority,
            id: id.clone(),
            trace_id: offer.trace_id,
            deadline: None,
            given: 0,
            attempt: 0,
            attempts_max: self.config.attempts,
            state: State::Queued,
            waiters: offer.waiter.into_iter().collect(),
            failure: None,
            accepted_ms: self.wall_ms(self.now),
            ready_ms: 0,
            order: self.counters.accepted,
            is_kept: offer.is_kept,
            noted: None,
        });
        self.services.of(offer.service).tasks += 1;
        if let Some(id) = id {
            self.ids.here(id, key);
        }
        if let Some(deadline) = offer.deadline {
            self.until(key, deadline);
        }
        if offer.delay.is_zero() {
            self.begin(key, actions);
        } else {
            let timer = self.timers.set(self.now + offer.delay, Timer::Delay(key));
            self.tasks.of(key).state = State::Delayed(timer);
        }
        let task = self.tasks.of(key);
        if !matches!(task.state, State::Leased(_)) {
            task.compact();
        }
        key
    }

    /// The time of a task has come.
    pub(super) fn begin(&mut self, key: Key, actions: &mut Vec<Action>) {
        self.wait(key, false);
        let service = self.tasks.of(key).service;
        self.dispatch(service, actions);
    }

    /// Gives tasks of a service to workers as long as there are both.
    pub(super) fn dispatch(&mut self, service: usize, actions: &mut Vec<Action>) {
        if self.is_draining || self.stalled.is_some() {
            return;
        }
        while let Some(key) = self.first(service) {
            if let Some(hand) = self.services.hand(service) {
                self.services.of(service).pop();
                self.lease(key, hand, actions);
            } else if !self.hand_ahead(service, actions) {
                break;
            }
        }
        self.trim_waits(service);
    }

    /// The next task of a service; what has gone out of turn meanwhile is passed over.
    fn first(&mut self, service: usize) -> Option<Key> {
        let list = self.services.of(service);
        while let Some(key) = list.first() {
            if self.tasks.get(key).is_some() {
                return Some(key);
            }
            list.pop();
            list.stale -= 1;
        }
        None
    }

    /// Gives a task to a worker that waits for one.
    fn lease(&mut self, key: Key, hand: Hand, actions: &mut Vec<Action>) {
        match hand {
            Hand::Worker(conn) => {
                let worker = self.peers.get_mut(&conn);
                let worker = worker.and_then(|peer| peer.worker.as_mut());
                worker.expect("an idle worker is one").is_idle = false;
                self.give(key, conn, actions);
                self.stand_in_turn(conn);
            }
            Hand::Take(take) => {
                let token = self.begin_attempt(key, take.caller.conn, take.lease);
                let peer = self.peers.get_mut(&take.caller.conn);
                peer.expect("who takes is connected").takes -= 1;
                self.timers.clear(take.timer);
                let task = self.tasks.get(key).expect("found above");
                let millis = |it: Duration| u64::try_from(it.as_millis()).unwrap_or(u64::MAX);
                let mut result = json!({
                    "task": self.name_of(key, task),
                    "service": String::from_utf8_lossy(self.services.name(task.service)),
                    "attempt": task.attempt,
                    "token": token.text(),
                    "lease_ms": millis(take.lease),
                });
                if let Some(deadline) = &task.deadline {
                    let left = deadline.at.saturating_sub(self.now);
                    result["deadline_ms"] = millis(left).into();
                }
                if let Some(trace_id) = &task.trace_id {
                    result["trace_id"] = String::from_utf8_lossy(trace_id).into();
                }
                let mut reply = Reply::new(zn1::OK, take.id, result);
                reply.body = task.body.clone();
                actions.push(take.caller.reply(&reply));
            }
        }
    }

    /// Gives a task to a connection that is a worker.
    pub(super) fn give(&mut self, key: Key, conn: Conn, actions: &mut Vec<Action>) {
        let lasts = Duration::from_millis(self.config.lease_ms);
        let token = self.begin_attempt(key, conn, lasts);
        let peer = self.peers.get_mut(&conn);
        let peer = peer.expect("a worker is connected");
        let is_first = peer.leases.len() == 1;
        let worker = peer.worker.as_mut().expect("it is a worker");
        worker.owes += 1;
        if is_first {
            worker.pace.begin(self.now);
        }
        let body = &self.tasks.of(key).body;
        let frames = worker.dialect.request(token.encode(), body);
        actions.push(Action::Send { conn, frames });
    }

    /// Begins a lease; it counts from now, but for a worker that has others to do first.
    fn begin_attempt(&mut self, key: Key, conn: Conn, lasts: Duration) -> Token {
        self.counters.queued -= 1;
        self.counters.leased += 1;
        self.counters.attempts += 1;
        let peer = self.peers.get_mut(&conn);
        let peer = peer.expect("a worker is connected");
        let is_ahead = peer.worker.is_some() && !peer.leases.is_empty();
        peer.leases.push(key);
        let timer = (!is_ahead).then(|| self.timers.set(self.now + lasts, Timer::Lease(key)));
        let is_told = !self.tasks.is_watched();
        let task = self.tasks.of(key);
        assert!(!matches!(task.state, State::Leased(_)), "one lease a task");
        task.given += 1;
        task.attempt += 1;
        task.state = State::Leased(Lease {
            conn,
            timer,
            lasts,
            is_told,
        });
        Token {
            key,
            given: task.given,
            epoch: self.epoch,
        }
    }

    /// The task that a token fits while that worker has it; nothing where the attempt has ended.
    pub(super) fn live(&self, token: Token, conn: Conn) -> Option<Key> {
        let task = self.tasks.get(token.key)?;
        let is_its =
            matches!(task.state, State::Leased(lease) if [conn, NOBODY].contains(&lease.conn));
        let is_live = token.epoch == self.epoch && task.given == token.given && is_its;
        (is_live && self.stalled.is_none()).then_some(token.key)
    }

    /// Ends the attempt that is under way; what its worker has besides is begun.
    pub(super) fn end_attempt(&mut self, key: Key) {
        let task = self.tasks.of(key);
        let State::Leased(lease) = task.state else {
            unreachable!("only what a worker has is taken back");
        };
        task.state = State::Queued;
        if let Some(timer) = lease.timer {
            self.timers.clear(timer);
        }
        self.counters.leased -= 1;
        if let Some(peer) = self.peers.get_mut(&lease.conn) {
            peer.leases.retain(|it| *it != key);
            self.begin_lease(lease.conn);
        }
    }

    /// A worker has done a task.
    pub(super) fn complete(&mut self, key: Key, body: Vec<Bytes>, actions: &mut Vec<Action>) {
        self.end_attempt(key);
        self.counters.completed += 1;
        let mut task = self.tasks.remove(key).expect("its attempt ended just now");
        self.clear_deadline(&task);
        self.services.of(task.service).tasks -= 1;
        let waiters = std::mem::take(&mut task.waiters);
        self.note_left(key, &waiters);
        let last = waiters.len().saturating_sub(1);
        let mut left = Some(body);
        for (n, waiter) in waiters.into_iter().enumerate() {
            let body = match n == last && task.id.is_none() {
                true => left.take().unwrap_or_default(),
                false => left.clone().unwrap_or_default(),
            };
            self.deliver((key, &task), waiter, body, actions);
        }
        self.answered_for(key, &mut task, left.unwrap_or_default());
        self.admit(actions);
    }

    /// What a task is called by those who speak ZN1.
    pub(super) fn name_of(&self, key: Key, task: &Task) -> String {
        match &task.id {
            Some(id) => String::from_utf8_lossy(id).into_owned(),
            None => key.name(self.epoch),
        }
    }

    /// Whether a waiter is still there; it is counted where it is not.
    pub(super) fn is_there(&mut self, caller: &Caller) -> bool {
        let is_there = self.peers.contains_key(&caller.conn);
        self.counters.unclaimed += u64::from(!is_there);
        is_there
    }

    /// Gives one waiter the answer.
    fn deliver(
        &mut self,
        (key, task): (Key, &Task),
        waiter: Waiter,
        body: Vec<Bytes>,
        actions: &mut Vec<Action>,
    ) {
        match waiter {
            Waiter::Zn1(caller, id) => {
                if self.is_there(&caller) {
                    let name = self.name_of(key, task);
                    actions.push(caller.reply(&done(id, &name, task.attempt, body)));
                }
            }
            waiter @ (Waiter::Plain(_) | Waiter::Majordomo(_)) => {
                self.deliver_plain(task.service, waiter, body, actions);
            }
        }
    }

    /// Gives an answer to a waiter that has no words but the answer's.
    pub(super) fn deliver_plain(
        &mut self,
        service: usize,
        waiter: Waiter,
        body: Vec<Bytes>,
        actions: &mut Vec<Action>,
    ) {
        let (Waiter::Plain(caller) | Waiter::Majordomo(caller) | Waiter::Zn1(caller, _)) = &waiter;
        if !self.is_there(caller) {
            return;
        }
        actions.push(match waiter {
            Waiter::Plain(caller) | Waiter::Zn1(caller, _) => caller.send(body),
            Waiter::Majordomo(caller) => {
                let service = self.services.name(service).clone();
                caller.send(mdp::to_client(service, body))
            }
        });
    }

    /// The lease of a task is over: its worker hangs, or is cut off.
    pub(super) fn expired(&mut self, key: Key, actions: &mut Vec<Action>) {
        if let State::Leased(lease) = &mut self.tasks.of(key).state
            && !lease.is_told
        {
            // Nobody has it before it is stored that somebody has: its time has not begun.
            lease.timer = Some(self.timers.set(self.now + lease.lasts, Timer::Lease(key)));
            return;
        }
        self.counters.expired += 1;
        let failure = ours(
            "expired",
            "its worker did not answer before its lease was over",
        );
        let task = self.tasks.of(key);
        let service = task.service;
        if let State::Leased(lease) = task.state {
            self.take_back_ahead(lease.conn);
        }
        self.release(key, failure, actions);
        self.dispatch(service, actions);
    }

    /// Takes back all that a worker had that is lost, the last first: so each waits in its place again.
    pub(super) fn take_back(&mut self, leases: &[Key], actions: &mut Vec<Action>) {
        let mut services = Vec::new();
        for key in leases.iter().rev() {
            services.push(self.tasks.of(*key).service);
            match self.is_ahead(*key) {
                true => self.take_back_unbegun(*key),
                false => {
                    self.counters.lost += 1;
                    self.release(*key, lost(), actions);
                }
            }
        }
        services.dedup();
        for service in services {
            self.dispatch(service, actions);
        }
    }

    /// Takes a task back whose worker was lost or kept silent: it is tried again, or given up.
    fn release(&mut self, key: Key, failure: Failure, actions: &mut Vec<Action>) {
        self.end_attempt(key);
        self.counters.queued += 1;
        self.note(key, failure);
        let task = self.tasks.of(key);
        if task.is_overdue(self.now) {
            return self.give_up_overdue(key, actions);
        }
        if task.attempt >= task.attempts_max {
            return self.bury(key, actions);
        }
        task.compact();
        self.wait(key, true);
    }

    /// Takes a task back that its worker could not do: it is tried again after a rest, or given up.
    /// Says whether it is tried again.
    pub(super) fn failed(&mut self, key: Key, failure: Failure, actions: &mut Vec<Action>) -> bool {
        self.end_attempt(key);
        self.counters.failed += 1;
        self.counters.queued += 1;
        self.note(key, failure);
        let now = self.now;
        let task = self.tasks.of(key);
        if task.attempt >= task.attempts_max {
            self.bury(key, actions);
            return false;
        }
        if task.is_overdue(now) {
            self.give_up_overdue(key, actions);
            return false;
        }
        let doubled = 1_u32.checked_shl(task.attempt - 1).unwrap_or(u32::MAX);
        let rest = REST_MIN.saturating_mul(doubled).min(REST_MAX);
        let timer = self.timers.set(now + rest, Timer::Delay(key));
        task.state = State::Delayed(timer);
        task.compact();
        self.shorten(key);
        true
    }

    /// Moves the end of a lease: its worker is busy with it.
    pub(super) fn extend(&mut self, key: Key, lasts: Option<Duration>) -> Duration {
        let now = self.now;
        let is_told = !self.tasks.is_watched();
        let task = self.tasks.of(key);
        let State::Leased(lease) = &mut task.state else {
            unreachable!("only a live token extends");
        };
        lease.lasts = lasts.unwrap_or(lease.lasts);
        lease.is_told = is_told;
        if let Some(timer) = lease.timer {
            self.timers.clear(timer);
        }
        let timer = self.timers.set(now + lease.lasts, Timer::Lease(key));
        lease.timer = Some(timer);
        lease.lasts
    }
}

/// What answers whoever waited for a task that is done.
pub(super) fn done(id: Bytes, task: &str, attempts: u32, body: Vec<Bytes>) -> Reply {
    let result = json!({ "task": task, "attempts": attempts });
    let mut reply = Reply::new(zn1::OK, id, result);
    reply.body = body;
    reply
}
