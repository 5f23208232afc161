//! The services: which tasks wait for a worker of each, and which workers wait for a task.
//!
//! Tasks go by priority, then by the order in which they came; a task whose worker was lost goes
//! before those that never had one. Workers go by who has waited longest.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use crate::model::limits::queue::{SERVICES_ASKED_MAX, SERVICES_MAX, SERVICES_OF_ONE_MAX};
use crate::roles::machine::{Caller, Conn};

use super::age::Waits;
use super::ahead::Mean;
use super::pins::Pin;
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
    /// Since when they wait.
    pub(super) waits: Waits,
    /// How many of those there are no more.
    pub(super) stale: usize,
    /// Workers that wait for a task, the one that has waited longest first.
    pub(super) idle: VecDeque<Hand>,
    /// Plain workers that have a task and may be given another, in turn.
    pub(super) eager: VecDeque<Conn>,
    /// Nothing is handed ahead before.
    pub(super) calm_until: Duration,
    /// What plain workers take for a task of it.
    pub(super) mean: Mean,
    /// Connections that are workers of it, idle or not.
    pub(super) workers: usize,
    /// Connections that last asked for a task of it by `take`.
    pub(super) takers: usize,
    /// Tasks of it, dead letters included.
    pub(super) tasks: usize,
    /// Tasks of it that wait for room.
    pub(super) held: usize,
    /// Lists of single workers of it.
    pub(super) pins: usize,
    /// Who asked for it first, where nobody had anything to do with it.
    pub(super) asker: Option<Conn>,
    /// Whose list it is, where it is one of those.
    pub(super) pin: Option<Pin>,
}

impl Service {
    /// One of which nobody has anything yet; of a single worker, where a pin says so.
    pub(super) fn new(name: Bytes, pin: Option<Pin>) -> Self {
        Self {
            name,
            pin,
            ..Self::default()
        }
    }

    /// Whether nobody has anything to do with it.
    fn is_forgotten(&self) -> bool {
        let is_asked = self.tasks + self.held + self.pins > 0;
        self.providers() == 0 && !is_asked && self.idle.is_empty()
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
    /// The lists of single workers.
    pub(super) pins: HashMap<Pin, usize>,
    /// The first so many have ports of their own.
    plain: usize,
}

/// The service of plain requests and plain workers by the ports `front` and `back`.
pub(super) const PLAIN: usize = 0;

impl Services {
    /// The services of plain requests alone, each of which has ports of its own.
    pub(super) fn new<'a>(plain: impl IntoIterator<Item = &'a String>) -> Self {
        let names = plain.into_iter();
        let names: Vec<Bytes> = names
            .map(|name| Bytes::copy_from_slice(name.as_bytes()))
            .collect();
        let service = |name: &Bytes| Service::new(name.clone(), None);
        Self {
            all: names.iter().map(service).collect(),
            plain: names.len(),
            numbers: names.into_iter().zip(0..).collect(),
            pins: HashMap::new(),
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
        let number = self.vacant()?;
        // Copied, so that it does not pin the buffer it arrived in.
        let name = Bytes::copy_from_slice(name);
        self.numbers.insert(name.clone(), number);
        self.all[number] = Service::new(name, None);
        Some(number)
    }

    /// The number of a service that a client asks for, which may be new; nothing where there are too many that
    /// nobody works for, of this client or in all. Workers find a place all the same.
    pub(super) fn find_or_ask(&mut self, name: &[u8], asker: Conn) -> Option<usize> {
        let is_in_use = |it: &usize| *it < self.plain || !self.all[*it].is_forgotten();
        if let Some(number) = self.find(name).filter(is_in_use) {
            return Some(number);
        }
        let (mut all, mut own) = (0, 0);
        for (_, service) in self.iter() {
            let is_asked_for = service.pin.is_none() && service.providers() == 0;
            all += usize::from(is_asked_for);
            own += usize::from(is_asked_for && service.asker == Some(asker));
        }
        if own >= SERVICES_OF_ONE_MAX || all >= SERVICES_ASKED_MAX {
            return None;
        }
        let number = self.find_or_add(name)?;
        self.all[number].asker = Some(asker);
        Some(number)
    }

    /// The number of a place that nobody has anything to do with; nothing where there is none.
    pub(super) fn vacant(&mut self) -> Option<usize> {
        if self.all.len() < SERVICES_MAX {
            self.all.push(Service::default());
            return Some(self.all.len() - 1);
        }
        let number = (self.plain..self.all.len()).find(|it| self.all[*it].is_forgotten())?;
        self.unpin(number);
        // The list of a single worker has the name of its service, which is another place.
        let name = &self.all[number].name;
        if self.numbers.get(name) == Some(&number) {
            self.numbers.remove(name);
        }
        Some(number)
    }

    /// The lists of one worker.
    pub(super) fn pins_of(&self, conn: Conn) -> Vec<usize> {
        let its = self.pins.iter().filter(|((_, worker), _)| *worker == conn);
        its.map(|(_, number)| *number).collect()
    }

    pub(super) fn at(&self, number: usize) -> &Service {
        &self.all[number]
    }

    /// The number of a service that has a task already, however many there are.
    pub(super) fn restore(&mut self, name: &Bytes) -> usize {
        self.find(name).unwrap_or_else(|| {
            self.all.push(Service::new(name.clone(), None));
            self.numbers.insert(name.clone(), self.all.len() - 1);
            self.all.len() - 1
        })
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

    /// Those somebody has something to do with, and those of plain requests.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &Service)> {
        let all = self.all.iter().enumerate();
        all.filter(|(number, it)| *number < self.plain || !it.is_forgotten())
    }
}
