//! The services: which tasks wait for a worker of each, and which workers wait for a task.
//!
//! Tasks go by priority, then by the order in which they came; a task whose worker was lost goes
//! before those that never had one. Workers go by who has waited longest.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use crate::model::limits::queue::SERVICES_MAX;
use crate::roles::machine::{Caller, Conn};

use super::tasks::Key;
use super::timers::TimerKey;

/// A worker that has nothing to do.
#[derive(Debug)]
pub(super) enum Hand {
    /// One whose connection is the worker: a plain REP, or a Majordomo worker.
    Worker(Conn),
    /// One that asked for a task by `take`.
    Take(Box<Take>),
}

impl Hand {
    pub(super) fn conn(&self) -> Conn {
        match self {
            Self::Worker(conn) => *conn,
            Self::Take(take) => take.caller.conn,
        }
    }
}

/// A `take` that waits for a task.
#[derive(Debug)]
pub(super) struct Take {
    pub(super) caller: Caller,
    /// The id of the request.
    pub(super) id: Bytes,
    pub(super) lease: Duration,
    /// Its number among all.
    pub(super) number: u64,
    pub(super) timer: TimerKey,
}

/// One service.
#[derive(Debug, Default)]
pub(super) struct Service {
    pub(super) name: Bytes,
    /// Tasks that wait for a worker, by priority.
    ready: BTreeMap<i16, VecDeque<Key>>,
    /// How many of those there are no more.
    pub(super) stale: usize,
    /// Workers that wait for a task, the one that has waited longest first.
    pub(super) idle: VecDeque<Hand>,
    /// Plain workers that have a task and may be given another, in turn.
    pub(super) eager: VecDeque<Conn>,
    /// Nothing is handed ahead before.
    pub(super) calm_until: Duration,
    /// Connections that are workers of it, idle or not.
    pub(super) workers: usize,
    /// Connections that last asked for a task of it by `take`.
    pub(super) takers: usize,
    /// Tasks of it, dead letters included.
    pub(super) tasks: usize,
    /// Tasks of it that wait for room.
    pub(super) held: usize,
}

impl Service {
    /// Whether nobody has anything to do with it.
    fn is_forgotten(&self) -> bool {
        self.providers() == 0 && self.tasks + self.held == 0 && self.idle.is_empty()
    }

    /// Whoever is gone gets no task.
    pub(super) fn forget(&mut self, conn: Conn) {
        self.idle.retain(|hand| hand.conn() != conn);
        self.eager.retain(|eager| *eager != conn);
    }

    /// How many connections do tasks of it.
    pub(super) fn providers(&self) -> usize {
        self.workers + self.takers
    }

    pub(super) fn push(&mut self, priority: i16, key: Key) {
        self.ready.entry(priority).or_default().push_back(key);
    }

    /// Puts back a task that had its turn.
    pub(super) fn push_first(&mut self, priority: i16, key: Key) {
        self.ready.entry(priority).or_default().push_front(key);
    }

    /// The task that is next.
    pub(super) fn first(&self) -> Option<Key> {
        let mut lists = self.ready.values().rev();
        lists.find_map(|list| list.front().copied())
    }

    pub(super) fn pop(&mut self) -> Option<Key> {
        let first = self.ready.values_mut().rev().find(|list| !list.is_empty());
        let key = first?.pop_front();
        // The list of most tasks is kept for its memory.
        if self.ready.len() > 1 {
            self.ready
                .retain(|priority, list| *priority == 0 || !list.is_empty());
        }
        key
    }

    /// Takes out of turn the tasks that wait no longer.
    pub(super) fn sweep(&mut self, waits: impl Fn(Key) -> bool) {
        for list in self.ready.values_mut() {
            list.retain(|key| waits(*key));
        }
        self.stale = 0;
    }

    pub(super) fn ready(&self) -> usize {
        let all: usize = self.ready.values().map(VecDeque::len).sum();
        all - self.stale
    }
}

/// All services.
#[derive(Debug)]
pub(super) struct Services {
    all: Vec<Service>,
    numbers: HashMap<Bytes, usize>,
}

/// The service of plain requests and plain workers.
pub(super) const PLAIN: usize = 0;

impl Services {
    /// The service of plain requests alone.
    pub(super) fn new(plain: &str) -> Self {
        let name = Bytes::copy_from_slice(plain.as_bytes());
        let service = Service {
            name: name.clone(),
            ..Service::default()
        };
        Self {
            all: vec![service],
            numbers: HashMap::from([(name, PLAIN)]),
        }
    }

    /// The number of a service.
    pub(super) fn find(&self, name: &[u8]) -> Option<usize> {
        self.numbers.get(name).copied()
    }

    /// The number of a service that may be new; nothing where there are too many.
    pub(super) fn find_or_add(&mut self, name: &[u8]) -> Option<usize> {
        if let Some(number) = self.find(name) {
            return Some(number);
        }
        let number = match self.all.len() < SERVICES_MAX {
            true => {
                self.all.push(Service::default());
                self.all.len() - 1
            }
            false => {
                let spare = |(number, it): (usize, &Service)| number != PLAIN && it.is_forgotten();
                (0..self.all.len()).find(|it| spare((*it, &self.all[*it])))?
            }
        };
        // Copied, so that it does not pin the buffer it arrived in.
        let name = Bytes::copy_from_slice(name);
        self.numbers.remove(&self.all[number].name);
        self.numbers.insert(name.clone(), number);
        self.all[number] = Service {
            name,
            ..Service::default()
        };
        Some(number)
    }

    pub(super) fn of(&mut self, number: usize) -> &mut Service {
        &mut self.all[number]
    }

    /// Takes out of all lists the tasks that wait no longer.
    pub(super) fn sweep(&mut self, waits: impl Fn(Key) -> bool) {
        for service in &mut self.all {
            service.sweep(&waits);
        }
    }

    pub(super) fn name(&self, number: usize) -> &Bytes {
        &self.all[number].name
    }

    /// Those somebody has something to do with, and that of plain requests.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &Service)> {
        let all = self.all.iter().enumerate();
        all.filter(|(number, it)| *number == PLAIN || !it.is_forgotten())
    }
}
