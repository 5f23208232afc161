//! Who works: plain REP sockets by the back port, Majordomo workers, and whoever asks by `take`.
//!
//! A worker has one task at a time, or a few where it is fast (`ahead`). Its answer counts while its lease is live; one that comes later
//! is dropped and counted, and the worker is free again. A Majordomo worker that waits shows that it
//! lives by heartbeats; one that works sends none, so that only its lease or the end of its
//! connection ends it (RFC 7).

use std::time::Duration;

use bytes::Bytes;

use crate::protocol::mdp::{self, FromWorker};
use crate::protocol::zn1::{self, Reply};
use crate::roles::machine::{Action, Conn};

use super::ahead::Pace;
use super::services::Hand;
use super::tasks::Token;
use super::timers::Timer;
use super::{Machine, Peer};

/// How often Majordomo workers that wait are told that we live: as often as in the RFC's example.
const BEAT_EVERY: Duration = Duration::from_millis(2_500);
/// How long such a worker may be silent: four beats, one more than it gives us.
const SILENT_MAX: Duration = Duration::from_millis(10_000);

/// What a worker speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// A REP socket: what stands before the empty frame comes back with the answer.
    Plain,
    /// Majordomo 0.1.
    Majordomo,
}

impl Dialect {
    /// A task for such a worker.
    pub(super) fn request(self, token: Bytes, body: &[Bytes]) -> Vec<Bytes> {
        match self {
            Self::Plain => {
                let mut frames = Vec::with_capacity(2 + body.len());
                frames.extend([token, Bytes::new()]);
                frames.extend_from_slice(body);
                frames
            }
            Self::Majordomo => mdp::request(token, body),
        }
    }
}

/// A connection that is a worker.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) dialect: Dialect,
    pub(super) service: usize,
    /// Answers that it has not given, to what was taken back from it among them.
    pub(super) owes: usize,
    /// It waits for a task.
    pub(super) is_idle: bool,
    pub(super) pace: Pace,
    heard: Duration,
}

impl Machine {
    /// A worker is there: it waits for its first task.
    pub(super) fn enlist(&mut self, conn: Conn, service: usize, actions: &mut Vec<Action>) {
        self.register(conn, Dialect::Plain, service, actions);
    }

    fn register(
        &mut self,
        conn: Conn,
        dialect: Dialect,
        service: usize,
        actions: &mut Vec<Action>,
    ) {
        let heard = self.now;
        if let Some(peer) = self.peers.get_mut(&conn) {
            peer.worker = Some(Worker {
                dialect,
                service,
                owes: 0,
                is_idle: false,
                pace: Pace::unknown(),
                heard,
            });
            self.services.of(service).workers += 1;
            self.free(conn, actions);
        }
    }

    /// A worker has answered, at times twice. It waits for a task now, unless it has one or, being
    /// plain, owes the answer to one: it does those first.
    fn free(&mut self, conn: Conn, actions: &mut Vec<Action>) {
        let Some(peer) = self.peers.get_mut(&conn) else {
            return;
        };
        let Some(worker) = peer.worker.as_mut().filter(|worker| !worker.is_idle) else {
            return;
        };
        worker.owes = match worker.dialect {
            Dialect::Plain => worker.owes.saturating_sub(1),
            Dialect::Majordomo => 0,
        };
        let service = worker.service;
        if !peer.leases.is_empty() {
            self.stand_in_turn(conn);
        } else if worker.owes == 0 {
            worker.is_idle = true;
            worker.heard = self.now;
            self.services.of(service).idle.push_back(Hand::Worker(conn));
            self.dispatch_pinned((service, conn), actions);
        }
        self.dispatch(service, actions);
    }

    /// Whoever is gone waits for no task.
    pub(super) fn retire(&mut self, conn: Conn, peer: &Peer) {
        self.majordomo.remove(&conn);
        if let Some(worker) = &peer.worker {
            let service = self.services.of(worker.service);
            service.workers -= 1;
            service.forget(conn);
        }
        if let Some(service) = peer.taker {
            self.services.of(service).takers -= 1;
        }
        if peer.takes > 0 {
            let served: Vec<usize> = self.services.iter().map(|(number, _)| number).collect();
            for number in served {
                let idle = &mut self.services.of(number).idle;
                for hand in idle.iter().filter(|hand| hand.conn() == conn) {
                    if let Hand::Take(take) = hand {
                        self.timers.clear(take.timer);
                    }
                }
                idle.retain(|hand| hand.conn() != conn);
            }
        }
    }

    /// A message by the back port: the answer of a plain worker, under the token it was given.
    pub(super) fn answered(
        &mut self,
        conn: Conn,
        mut frames: Vec<Bytes>,
        actions: &mut Vec<Action>,
    ) {
        let token = match frames.as_slice() {
            [token, empty, _, ..] if empty.is_empty() => Token::decode(token),
            _ => None,
        };
        let Some(token) = token else {
            self.counters.malformed += 1;
            return;
        };
        let body = frames.split_off(2);
        self.take_answer(conn, token, body, actions);
        self.free(conn, actions);
    }

    /// Completes a task by an answer, or drops what comes too late. Says whether it counts.
    pub(super) fn take_answer(
        &mut self,
        conn: Conn,
        token: Token,
        body: Vec<Bytes>,
        actions: &mut Vec<Action>,
    ) -> bool {
        let live = self.live(token, conn);
        match live {
            Some(key) => {
                self.pace(conn, key);
                self.complete(key, body, actions);
            }
            None => self.counters.late += 1,
        }
        live.is_some()
    }

    /// What a Majordomo worker says.
    pub(super) fn majordomo_worker(
        &mut self,
        conn: Conn,
        body: Vec<Bytes>,
        actions: &mut Vec<Action>,
    ) {
        let now = self.now;
        let Some(peer) = self.peers.get_mut(&conn) else {
            return;
        };
        if let Some(worker) = &mut peer.worker {
            worker.heard = now;
        }
        let is_known = peer.worker.is_some();
        // Nobody is both a Majordomo worker and one that asks by `take`.
        let takes = !is_known && (peer.takes > 0 || !peer.leases.is_empty());
        match (mdp::from_worker(body), is_known || takes) {
            (Ok(FromWorker::Heartbeat | FromWorker::Reply { .. }), true) if takes => {
                self.counters.malformed += 1;
            }
            (Ok(FromWorker::Ready { service }), false) => self.ready(conn, &service, actions),
            (Ok(FromWorker::Heartbeat), true) => {}
            (Ok(FromWorker::Reply { address, body }), true) => {
                match Token::decode(&address) {
                    Some(token) => {
                        self.take_answer(conn, token, body, actions);
                    }
                    None => self.counters.malformed += 1,
                }
                self.free(conn, actions);
            }
            (Ok(FromWorker::Disconnect), _) => self.dismiss(conn, actions),
            // It is to begin anew: it said READY twice, or we know nothing of it.
            (
                Ok(FromWorker::Ready { .. } | FromWorker::Heartbeat | FromWorker::Reply { .. }),
                _,
            ) => {
                self.send_away(conn, actions);
            }
            (Err(_), _) => self.counters.malformed += 1,
        }
    }

    fn ready(&mut self, conn: Conn, service: &[u8], actions: &mut Vec<Action>) {
        let is_reserved = service.starts_with(mdp::MANAGEMENT);
        match self.services.find_or_add(service).filter(|_| !is_reserved) {
            Some(service) => {
                self.majordomo.insert(conn);
                self.register(conn, Dialect::Majordomo, service, actions);
                if !self.is_beating {
                    self.is_beating = true;
                    self.timers.set(self.now + BEAT_EVERY, Timer::Beat);
                }
            }
            None => {
                self.counters.refused += 1;
                self.send_away(conn, actions);
            }
        }
    }

    fn send_away(&mut self, conn: Conn, actions: &mut Vec<Action>) {
        let frames = mdp::disconnect();
        actions.push(Action::Send { conn, frames });
        self.dismiss(conn, actions);
    }

    /// A connection is no worker any more; the task that it has as one goes to another.
    fn dismiss(&mut self, conn: Conn, actions: &mut Vec<Action>) {
        let Some(peer) = self.peers.get_mut(&conn) else {
            return;
        };
        let Some(worker) = peer.worker.take() else {
            return;
        };
        let leases = peer.leases.clone();
        self.majordomo.remove(&conn);
        let service = self.services.of(worker.service);
        service.workers -= 1;
        service.forget(conn);
        self.take_back(&leases, actions);
        self.give_up_pinned(conn, actions);
    }

    /// Tells Majordomo workers that wait that we live, and gives up those that have been silent.
    pub(super) fn beat(&mut self, actions: &mut Vec<Action>) {
        let workers: Vec<Conn> = self.majordomo.iter().copied().collect();
        for conn in workers {
            let worker = self.peers.get(&conn).and_then(|it| it.worker.as_ref());
            let Some(worker) = worker.filter(|worker| worker.is_idle) else {
                continue;
            };
            if self.now.saturating_sub(worker.heard) > SILENT_MAX {
                self.counters.silent += 1;
                self.send_away(conn, actions);
            } else {
                let frames = mdp::heartbeat();
                actions.push(Action::Send { conn, frames });
            }
        }
        self.is_beating = !self.majordomo.is_empty();
        if self.is_beating {
            self.timers.set(self.now + BEAT_EVERY, Timer::Beat);
        }
    }

    /// A `take` has waited for as long as it wanted to.
    pub(super) fn give_up_take(&mut self, service: usize, number: u64, actions: &mut Vec<Action>) {
        let idle = &mut self.services.of(service).idle;
        let is_it = |hand: &Hand| matches!(hand, Hand::Take(take) if take.number == number);
        let Some(Hand::Take(take)) = idle.iter().position(is_it).and_then(|at| idle.remove(at))
        else {
            return;
        };
        if let Some(peer) = self.peers.get_mut(&take.caller.conn) {
            peer.takes -= 1;
        }
        let none = Reply::failure(zn1::NOT_FOUND, take.id, "no task in that time");
        actions.push(take.caller.reply(&none));
    }
}
