//! The task queue: each task has one live lease, and a dead worker's task is given to another.
//!
//! ```text
//! front: plain REQ, Majordomo clients and workers, ZN1 --+          +-- back: plain REP workers
//!                                                        +-- tasks --+
//! ```
//!
//! A task is accepted once and then is in exactly one place: `accepted = completed + dead + queued +
//! leased`. It is tried again when its worker was lost or its lease ended, and for no other reason but
//! that its worker said that it failed. An answer counts only under the attempt it was asked for.
//!
//! | file | what |
//! |---|---|
//! | `tasks` `timers` `services` `known` | what there is: tasks, times, lists, ids |
//! | `age` | how long the oldest has waited |
//! | `flow` | the ways of a task, from accepted to completed or dead |
//! | `endings` | tasks that are not done: dead letters, what was purged, what is overdue |
//! | `clients` | who asks: in no dialect, by Majordomo; back-pressure |
//! | `workers` | who works: plain REP, Majordomo, by `take` |
//! | `pins` | tasks that one worker alone is to do |
//! | `ahead` | what fast plain workers are given before they have answered |
//! | `room` | how much of it there may be |
//! | `durable` | the queue with a store: what is said is stored first |
//! | `titanic` `results` | requests whose answers are fetched later |
//! | `verbs` `letters` | ZN1: `submit take done fail extend`; `ls retry purge` |

mod age;
mod ahead;
mod clients;
mod durable;
mod endings;
mod flow;
mod known;
mod letters;
mod pins;
mod results;
mod room;
mod services;
#[cfg(test)]
mod simulation;
mod tasks;
#[cfg(test)]
mod tests;
mod timers;
mod titanic;
mod verbs;
mod workers;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Config as RoleConfig;
use super::machine::{self, Action, Common, Conn, Event};
use crate::model::store::StoreConfig;

use clients::Held;
pub use durable::Durable;
use durable::Ended;
use known::Ids;
use results::Results;
use services::{PLAIN, Services};
use tasks::{Key, Tasks};
use timers::{Timer, Timers};
use workers::Worker;

/// What a queue is told when it starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// What every role is told.
    pub common: Common,
    /// The service of plain requests and plain workers.
    pub service: String,
    /// Those that have ports of their own besides, named after them: `NAME.front` and `NAME.back`.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub others: Vec<String>,
    /// How long a worker holds a task before it is given to another, in milliseconds.
    pub lease_ms: u64,
    /// How often a task is tried in all.
    pub attempts: u32,
    /// How many tasks a fast plain worker has at most.
    pub ahead: u32,
    /// Whether clients without words for it are answered when their task is given up.
    pub tells_dead: bool,
    /// Bytes of tasks; where they are full, none is taken.
    pub bytes_max: usize,
    /// How long an answer is kept that nobody fetched, in milliseconds.
    #[serde(default)]
    pub keep_ms: u64,
    /// Where its tasks are kept; without it they end with the process.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub store: Option<Box<StoreConfig>>,
}

impl Config {
    /// What of another configuration a queue with this one cannot take while it runs.
    pub fn fixed_change(&self, next: &Self) -> Option<&'static str> {
        // How long, how often and how much may change while it runs.
        let Self {
            common,
            service,
            others,
            lease_ms: _,
            attempts: _,
            ahead: _,
            tells_dead: _,
            bytes_max: _,
            keep_ms: _,
            store,
        } = self;
        let is_other = (service, others) != (&next.service, &next.others);
        let fixed = common.fixed_change(&next.common);
        let fixed = fixed.or(is_other.then_some("the services of plain requests"));
        fixed.or((*store != next.store).then_some("its store"))
    }
}

/// What it has counted. Every task that was accepted is in exactly one of `completed`, `dead`,
/// `queued` and `leased`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Tasks taken.
    pub accepted: u64,
    /// Tasks answered by a worker.
    #[serde(rename = "done")]
    pub completed: u64,
    /// Tasks given up, those that were purged or forgotten since among them.
    pub dead: u64,
    /// Tasks that wait, for a worker or for their time.
    pub queued: u64,
    /// Tasks that a worker has.
    pub leased: u64,
    /// Times that a task was given to a worker.
    pub attempts: u64,
    /// Those of them where the worker had another already.
    pub ahead: u64,
    /// Those of them that ended before the worker had begun.
    pub unbegun: u64,
    /// Attempts whose worker was lost.
    pub lost: u64,
    /// Attempts whose lease ended.
    pub expired: u64,
    /// Attempts that their worker said have failed.
    pub failed: u64,
    /// Answers that came after their attempt had ended.
    pub late: u64,
    /// Tasks that nobody waited for any more when they could have been begun; they count as dead.
    pub overdue: u64,
    /// Tasks that were known already by their ids.
    pub duplicates: u64,
    /// Dead letters that were tried again.
    pub retried: u64,
    /// Tasks and dead letters that somebody had taken away.
    pub purged: u64,
    /// Dead letters that made room for others.
    pub forgotten: u64,
    /// Answers to be fetched that were not kept, or made room for newer ones.
    pub unfetched: u64,
    /// Answers for which nobody waited any more.
    pub unclaimed: u64,
    /// Requests that were refused since there was no room, or too large, or while it ended.
    pub refused: u64,
    /// Times that a plain client had to wait for room.
    pub held: u64,
    /// Messages that could not be understood.
    pub malformed: u64,
    /// Majordomo workers that fell silent.
    pub silent: u64,
}

/// A connection.
#[derive(Debug, Default)]
struct Peer {
    /// What kind of worker it is, if its whole connection is one.
    worker: Option<Worker>,
    /// The tasks it has, in the order it was given them.
    leases: Vec<Key>,
    /// How many tasks it waits for by `take`.
    takes: usize,
    /// The service of the last one.
    taker: Option<usize>,
    /// How many tasks of it wait for room: it is not read meanwhile.
    held: usize,
}

/// The queue.
#[derive(Debug)]
pub struct Machine {
    config: Config,
    /// Which life of the queue this is; tokens of another one fit nothing.
    epoch: u32,
    now: Duration,
    counters: Counters,
    peers: HashMap<Conn, Peer>,
    services: Services,
    tasks: Tasks,
    timers: Timers,
    ids: Ids,
    /// Dead letters, oldest first.
    dead: VecDeque<Key>,
    dead_bytes: usize,
    /// Tasks that wait for room, each with its client's connection.
    held: VecDeque<Held>,
    /// Majordomo workers.
    majordomo: BTreeSet<Conn>,
    is_beating: bool,
    is_watching: bool,
    takes: u64,
    is_draining: bool,
    /// The time at which `now` was nothing, in milliseconds since 1970.
    began_ms: u64,
    /// Answers that are kept until they are closed.
    results: Results,
    /// What ended since somebody looked, where somebody does.
    ended: Ended,
    /// Why nothing may change now: what is kept of it cannot be.
    stalled: Option<String>,
    /// What the names of Titanic's requests are drawn from.
    rng: fastrand::Rng,
}

/// The port of plain REP workers.
const BACK: &str = "back";

impl Machine {
    /// A queue without tasks. The epoch is to differ from those of its earlier lives.
    pub fn new(config: &Config, epoch: u32) -> Self {
        Self {
            services: Services::new(std::iter::once(&config.service).chain(&config.others)),
            config: config.clone(),
            epoch,
            now: Duration::ZERO,
            counters: Counters::default(),
            peers: HashMap::new(),
            tasks: Tasks::default(),
            timers: Timers::default(),
            ids: Ids::default(),
            dead: VecDeque::new(),
            dead_bytes: 0,
            held: VecDeque::new(),
            majordomo: BTreeSet::new(),
            is_beating: false,
            is_watching: false,
            takes: 0,
            is_draining: false,
            began_ms: 0,
            results: Results::default(),
            ended: Ended::default(),
            stalled: None,
            rng: fastrand::Rng::with_seed(epoch.into()),
        }
    }

    /// What it has counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    fn tick(&mut self, actions: &mut Vec<Action>) {
        self.expire_results();
        while let Some(timer) = self.timers.pop(self.now) {
            match timer {
                Timer::Lease(key) => self.expired(key, actions),
                Timer::Deadline(key) => self.overdue(key, actions),
                Timer::Delay(key) => self.begin(key, actions),
                Timer::Take(service, number) => self.give_up_take(service, number, actions),
                Timer::Beat => self.beat(actions),
                Timer::Watch => self.watch(),
                Timer::Room => {
                    self.trim_letters();
                    self.trim_results(0);
                    self.admit(actions);
                }
            }
        }
    }

    /// A connection is gone: what it had goes to others, and nobody waits in its name.
    fn closed(&mut self, conn: Conn, actions: &mut Vec<Action>) {
        let Some(peer) = self.peers.remove(&conn) else {
            return;
        };
        self.retire(conn, &peer);
        if peer.held > 0 {
            self.let_all_go(conn);
        }
        self.take_back(&peer.leases, actions);
        self.give_up_pinned(conn, actions);
        self.admit(actions);
    }

    /// The service of plain programs at a port, and whether they are its workers.
    fn place(&self, port: &str) -> (usize, bool) {
        match port.rsplit_once('.') {
            None => (PLAIN, port == BACK),
            Some((link, end)) => {
                let service = self.services.find(link.as_bytes());
                (service.unwrap_or(PLAIN), end == BACK)
            }
        }
    }

    /// A peer does not read. A worker that did not get its task is gone as a worker.
    fn unsent(&mut self, conn: Conn, actions: &mut Vec<Action>) {
        match self.peers.get(&conn) {
            Some(peer) if !peer.leases.is_empty() => actions.push(Action::Close { conn }),
            Some(_) | None => self.counters.unclaimed += 1,
        }
    }

    fn service_facts(&self) -> Vec<Value> {
        let all = self.services.iter();
        // What waits for a single worker is one row more, of that worker.
        all.map(|(number, service)| {
            let mut row = json!({
                "name": String::from_utf8_lossy(&service.name),
                "tasks": service.tasks,
                "ready": service.ready(),
                "age_ms": self.age_ms(number),
                "idle": service.idle.len(),
                "workers": service.workers,
                "providers": service.providers(),
            });
            if let Some((_, Conn(worker))) = service.pin {
                row["worker"] = worker.into();
            }
            row
        })
        .collect()
    }
}

impl machine::Machine for Machine {
    fn step(&mut self, now: Duration, event: Event, actions: &mut Vec<Action>) {
        self.now = now;
        match event {
            Event::Message { port, conn, frames } => match self.place(&port) {
                (_, true) => self.answered(conn, frames, actions),
                (service, false) => self.asked(conn, service, frames, actions),
            },
            Event::Opened { port, conn } => {
                self.peers.insert(conn, Peer::default());
                if let (service, true) = self.place(&port) {
                    self.enlist(conn, service, actions);
                }
            }
            Event::Closed { conn, .. } => self.closed(conn, actions),
            Event::Unsent { conn } => self.unsent(conn, actions),
            Event::Drain => self.is_draining = true,
            Event::Tick => self.tick(actions),
            Event::Subscribed { .. } | Event::Writable { .. } | Event::Disk(_) => {}
        }
    }

    fn deadline(&self) -> Option<Duration> {
        let due = [self.timers.next(), self.results.next()];
        due.into_iter().flatten().min()
    }

    fn is_idle(&self) -> bool {
        self.counters.leased == 0
    }

    fn facts(&self) -> Value {
        let mut facts = serde_json::to_value(&self.counters).expect("counters have text keys");
        facts["bytes"] = self.tasks.bytes().into();
        facts["waiting"] = self.held.len().into();
        let services = self.services.iter();
        let (ready, workers, age_ms) = services.fold(
            (0, 0, 0_u64),
            |(ready, workers, age_ms), (number, service)| {
                let age_ms = age_ms.max(self.age_ms(number));
                let workers = workers + service.providers();
                (ready + service.ready(), workers, age_ms)
            },
        );
        facts["ready"] = ready.into();
        facts["age_ms"] = age_ms.into();
        facts["workers"] = workers.into();
        facts["services"] = self.service_facts().into();
        facts
    }

    fn adopt(&mut self, config: &RoleConfig) {
        if let RoleConfig::Queue(config) = config {
            self.config = config.clone();
            // More may fit than did, or less.
            self.timers.set(self.now, Timer::Room);
        }
    }
}

/// Frames in memory of their own where they are small: what waits does not pin what it came with.
fn compact(frames: &mut [Bytes]) {
    /// Larger ones are most of what they came in.
    const COPIED_BYTES_MAX: usize = 16 * 1024;
    for frame in frames {
        if (1..=COPIED_BYTES_MAX).contains(&frame.len()) {
            *frame = Bytes::copy_from_slice(frame);
        }
    }
}
