//! Tasks handed ahead: a fast plain worker is given its next tasks before it has answered, so that it does
//! not wait a round trip between any two of them.
//!
//! What is handed ahead is expected to be begun within [`TOGETHER_MAX`], by what its worker's tasks took and
//! by what those of its service take with the slow ones among them. It goes to nobody while somebody is
//! idle, and is taken back unharmed with a worker that is lost before it began. Only plain workers
//! have it: a REP socket does what it has in order, so that the first it has not answered is all that it
//! may have begun. It never holds a task for a worker: each has its lease, which counts from when it is
//! the worker's first.

use std::time::Duration;

use crate::roles::machine::{Action, Conn};

use super::tasks::{Key, State};
use super::timers::Timer;
use super::workers::Dialect;
use super::{Machine, Peer};

/// How long all that a worker has may be expected to take it.
const TOGETHER_MAX: Duration = Duration::from_millis(1);
/// A task that takes as long shows that there are slow ones of its service. Much longer than a busy machine
/// lets a process wait for its turn: what stood still for that says nothing of the tasks.
const SLOW: Duration = Duration::from_millis(250);
/// For so many times as long as it takes nothing of its service is handed ahead, and at most.
const CALM_TIMES: u32 = 20;
const CALM_MAX: Duration = Duration::from_secs(60);
/// One part in so many is what the last task counts in the average of its worker.
const AVERAGED: u32 = 8;
/// So many tasks of a service count in its mean, which is what it costs on the average to wait behind one,
/// slow ones with the share that they have.
const MEANT: u32 = 1_024;

/// How fast a worker is, as far as it has shown.
#[derive(Debug)]
pub(super) struct Pace {
    /// The moving average of what a task takes it, its way here and there included where it had no other.
    average: Duration,
    /// When it began what it does now, as far as can be told.
    begun: Duration,
    /// It stands in its service's turn.
    is_in_turn: bool,
    /// It had as many tasks as it may, and has more than half of them still. It is given several at once
    /// then, in one write that wakes it once: one with each answer would cost a busy machine twice as much.
    is_full: bool,
}

impl Pace {
    /// Who has shown nothing is taken for slow.
    pub(super) fn unknown() -> Self {
        Self {
            average: TOGETHER_MAX,
            begun: Duration::ZERO,
            is_in_turn: false,
            is_full: false,
        }
    }

    /// It begins a task.
    pub(super) fn begin(&mut self, now: Duration) {
        self.begun = now;
    }

    /// It has done a task, and begins the next if it has one. Says how long it took.
    fn done(&mut self, now: Duration) -> Duration {
        let took = now.saturating_sub(self.begun);
        self.average = (self.average * (AVERAGED - 1) + took) / AVERAGED;
        self.begun = now;
        took
    }

    /// Whether it takes another beside those that it has.
    fn takes_more(&mut self, has: usize, room: usize) -> bool {
        self.is_full = has >= room || (self.is_full && has > room / 2);
        !self.is_full
    }

    /// How many tasks it may have; one where what it does now takes longer than it was expected to.
    fn room(&self, now: Duration, mean: Duration, most: u32) -> usize {
        if now.saturating_sub(self.begun) > TOGETHER_MAX {
            return 1;
        }
        let fit = TOGETHER_MAX.as_nanos() / self.average.max(mean).as_nanos().max(1);
        usize::try_from(fit.clamp(1, most.into())).expect("at most a small number")
    }
}

/// What the tasks of a service take on the average: of all of them, then of the last.
#[derive(Debug, Default)]
pub(super) struct Mean {
    count: u32,
    value: Duration,
}

impl Mean {
    fn add(&mut self, took: Duration) {
        self.count = (self.count + 1).min(MEANT);
        self.value = (self.value * (self.count - 1) + took) / self.count;
    }
}

impl Peer {
    /// Whether all that it was given is there and was never another's: who ends its workers is to be
    /// the only one that is blamed for it.
    fn takes_more(&mut self, room: impl Fn(&Pace) -> usize, is_new: impl Fn(Key) -> bool) -> bool {
        let Some((worker, first)) = self.worker.as_mut().zip(self.leases.first()) else {
            return false;
        };
        let room = room(&worker.pace);
        let owes_only_these = worker.owes == self.leases.len();
        owes_only_these && is_new(*first) && worker.pace.takes_more(self.leases.len(), room)
    }
}

impl Machine {
    /// Hands the next task of a service to a worker that has one already. Says whether it did.
    pub(super) fn hand_ahead(&mut self, service: usize, actions: &mut Vec<Action>) -> bool {
        let list = self.services.of(service);
        let Some(key) = list.first().filter(|_| self.now >= list.calm_until) else {
            return false;
        };
        // A task that its worker was lost with waits for one that has nothing else.
        if self.tasks.of(key).given > 0 {
            return false;
        }
        let (now, most) = (self.now, self.config.ahead);
        let mean = self.services.of(service).mean.value;
        while let Some(conn) = self.services.of(service).eager.pop_front() {
            let is_wanted = self.services.pinned((service, conn)).is_some();
            let peer = self.peers.get_mut(&conn);
            let peer = peer.expect("who is gone stands in no turn");
            let is_new = |key| self.tasks.get(key).is_some_and(|task| task.given == 1);
            // What it alone is to do is next.
            if is_wanted || !peer.takes_more(|pace| pace.room(now, mean, most), is_new) {
                let worker = peer.worker.as_mut();
                worker.expect("only workers stand in turn").pace.is_in_turn = false;
                continue;
            }
            let list = self.services.of(service);
            list.eager.push_back(conn);
            list.pop();
            self.counters.ahead += 1;
            self.give(key, conn, actions);
            if !self.is_watching {
                self.is_watching = true;
                self.timers.set(self.now + SLOW, Timer::Watch);
            }
            return true;
        }
        false
    }

    /// A plain worker that has a task may be given another in its turn.
    pub(super) fn stand_in_turn(&mut self, conn: Conn) {
        if self.config.ahead < 2 {
            return;
        }
        let worker = self.peers.get_mut(&conn).and_then(|it| it.worker.as_mut());
        if let Some(worker) = worker
            && worker.dialect == Dialect::Plain
            && !worker.pace.is_in_turn
        {
            worker.pace.is_in_turn = true;
            self.services.of(worker.service).eager.push_back(conn);
        }
    }

    /// A worker has answered its first task: how long it took counts.
    pub(super) fn pace(&mut self, conn: Conn, key: Key) {
        let peer = self.peers.get_mut(&conn);
        let peer = peer.filter(|peer| peer.leases.first() == Some(&key));
        if let Some(worker) = peer.and_then(|peer| peer.worker.as_mut()) {
            let took = worker.pace.done(self.now);
            let service = worker.service;
            self.services.of(service).mean.add(took);
            self.calm(service, took);
        }
    }

    /// Where tasks are slow nothing is handed ahead for a while: it would wait behind them.
    fn calm(&mut self, service: usize, took: Duration) {
        if took >= SLOW {
            let until = self.now + (took * CALM_TIMES).min(CALM_MAX);
            let list = self.services.of(service);
            list.calm_until = list.calm_until.max(until);
        }
    }

    /// Looks for workers that are slow with what they do now, as long as anybody has tasks ahead.
    pub(super) fn watch(&mut self) {
        let workers = self.peers.values();
        let busy = workers.filter(|peer| !peer.leases.is_empty());
        let busy = busy.filter_map(|peer| Some((peer.worker.as_ref()?, peer.leases.len())));
        let mut slow = Vec::new();
        self.is_watching = false;
        for (worker, tasks) in busy.filter(|(worker, _)| worker.dialect == Dialect::Plain) {
            self.is_watching |= tasks > 1;
            slow.push((worker.service, self.now.saturating_sub(worker.pace.begun)));
        }
        for (service, took) in slow {
            self.calm(service, took);
        }
        if self.is_watching {
            self.timers.set(self.now + SLOW, Timer::Watch);
        }
    }

    /// The next of what a worker was given is its first now: its lease begins to count.
    pub(super) fn begin_lease(&mut self, conn: Conn) {
        let Some(key) = self.peers.get(&conn).and_then(|it| it.leases.first()) else {
            return;
        };
        let State::Leased(lease) = &mut self.tasks.of(*key).state else {
            unreachable!("it is in the list of who has it");
        };
        if lease.timer.is_none() {
            let timer = Timer::Lease(*key);
            lease.timer = Some(self.timers.set(self.now + lease.lasts, timer));
        }
    }

    /// Whether a task was handed ahead, and not begun as far as can be told.
    pub(super) fn is_ahead(&self, key: Key) -> bool {
        let state = self.tasks.get(key).map(|task| &task.state);
        matches!(state, Some(State::Leased(lease)) if lease.timer.is_none())
    }

    /// Takes back what a worker that hangs has not begun, the last first: so each waits in its place
    /// again.
    pub(super) fn take_back_ahead(&mut self, conn: Conn) {
        let leases = self.peers.get(&conn).map(|peer| peer.leases.clone());
        for key in leases.unwrap_or_default().into_iter().rev() {
            if self.is_ahead(key) {
                self.take_back_unbegun(key);
            }
        }
    }

    /// Takes back a task that its worker has not begun: it costs no attempt, and waits in its place.
    pub(super) fn take_back_unbegun(&mut self, key: Key) {
        self.end_attempt(key);
        self.counters.queued += 1;
        self.counters.unbegun += 1;
        let task = self.tasks.of(key);
        task.attempt -= 1;
        task.compact();
        self.wait(key, true);
    }
}
