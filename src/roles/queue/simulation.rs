//! The queue in a simulated world, by seed: clients and workers of every dialect, messages that take
//! their time, connections that are cut or partitioned, peers that crash, hang, answer twice or fail, workers
//! that say that they are none any more, tasks that one worker alone is to do, several services. In
//! half of the worlds all is near and plain workers are fast, so that they are handed tasks ahead.
//!
//! The oracle stands outside: it sees what the queue is told and what it says, and knows from that
//! alone when a task may be given to another worker. `docs/queue.md` says how to run many seeds.

mod oracle;
mod peers;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};

use bytes::Bytes;
use fastrand::Rng;

use crate::model::endpoint::Endpoint;
use crate::model::limits::WireLimits;
use crate::roles::machine::Machine as _;
use crate::roles::queue::{Action, Common, Config, Conn, Duration, Event, Machine};
use oracle::{Met, Oracle};
use peers::{Kind, Peer};

/// How long a worker may hold a task here, in microseconds.
const LEASE_US: u64 = 400_000;
/// How long peers come and go and fail, then all are well and what is left is done.
const STORM_US: u64 = 5_000_000;
const END_US: u64 = 60_000_000;

/// What happens at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Happening {
    /// A peer's connection reaches the queue.
    Opened(u64),
    /// The queue learns that a connection is gone.
    Closed(u64),
    /// A message reaches the queue.
    ToQueue(u64, Vec<Bytes>),
    /// A message reaches a peer.
    ToPeer(u64, Vec<Bytes>),
    /// A peer does something by itself, in the life that it had when it meant to.
    Acts(usize, u64),
    /// A peer says something by a connection it may have lost meanwhile.
    Says(usize, u64, Vec<Bytes>),
    /// Something goes wrong.
    Trouble,
    /// A worker that is likely to have tasks crashes.
    Crash,
}

struct World {
    rng: Rng,
    now: u64,
    serial: u64,
    due: BinaryHeap<Reverse<(u64, u64)>>,
    happenings: HashMap<u64, Happening>,
    queue: Machine,
    peers: Vec<Peer>,
    /// Whose a connection is.
    conns: BTreeMap<u64, usize>,
    /// When the last message each way arrives: a connection keeps its order.
    arrives: HashMap<(u64, bool), u64>,
    paused: BTreeMap<u64, Vec<Vec<Bytes>>>,
    next_conn: u64,
    oracle: Oracle,
    /// The most bytes that it was ever to hold.
    bytes_max: usize,
    /// Messages and plain tasks take some ten microseconds, and plain clients ask for many at once.
    is_near: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let is_near = seed % 2 == 1;
        let config = Config {
            common: Common {
                name: "jobs".into(),
                ports: Vec::new(),
                dials: Vec::new(),
                health: Endpoint::ipc("/none"),
                limits: Box::new(WireLimits::default()),
            },
            service: "plain".to_owned(),
            others: vec!["other".to_owned()],
            lease_ms: LEASE_US / 1_000,
            attempts: 2,
            ahead: 16,
            tells_dead: false,
            // Small enough that clients meet it.
            bytes_max: if is_near { 20_000 } else { 8_000 },
            keep_ms: 0,
            store: None,
        };
        let bytes_max = config.bytes_max;
        let mut rng = Rng::with_seed(seed);
        let kinds = [
            (Kind::PlainClient, 3),
            (Kind::OtherClient, 2),
            (Kind::MajordomoClient, 2),
            (Kind::Submitter, 3),
            (Kind::PlainWorker, 3),
            (Kind::OtherWorker, 2),
            (Kind::MajordomoWorker, 2),
            (Kind::Taker, 3),
        ];
        let of = |(kind, most): (Kind, usize)| vec![kind; 1 + rng.usize(..most)];
        let kinds: Vec<Kind> = kinds.into_iter().flat_map(of).collect();
        let mut world = Self {
            rng,
            now: 0,
            serial: 0,
            due: BinaryHeap::new(),
            happenings: HashMap::new(),
            queue: Machine::new(&config, 3),
            peers: kinds.into_iter().map(Peer::new).collect(),
            conns: BTreeMap::new(),
            arrives: HashMap::new(),
            paused: BTreeMap::new(),
            next_conn: 0,
            oracle: Oracle::new(LEASE_US),
            bytes_max,
            is_near,
        };
        for peer in 0..world.peers.len() {
            let at = world.rng.u64(..300_000);
            world.after(at, Happening::Acts(peer, 0));
        }
        world.after(0, Happening::Trouble);
        world
    }

    fn after(&mut self, us: u64, what: Happening) {
        self.at(self.now + us, what);
    }

    fn at(&mut self, at: u64, what: Happening) {
        self.serial += 1;
        self.due.push(Reverse((at, self.serial)));
        self.happenings.insert(self.serial, what);
    }

    /// When a message that is sent now arrives.
    fn arrival(&mut self, conn: u64, to_queue: bool) -> u64 {
        let slow = self.rng.u8(..50) == 0;
        let delay = match (slow, self.is_near) {
            (true, false) => self.rng.u64(20..80_000),
            (true, true) => self.rng.u64(20..8_000),
            (false, false) => self.rng.u64(20..2_000),
            (false, true) => self.rng.u64(5..30),
        };
        let last = self.arrives.entry((conn, to_queue)).or_default();
        *last = (*last).max(self.now + delay);
        *last
    }

    /// A peer sends by a connection.
    fn send(&mut self, conn: u64, frames: Vec<Bytes>) {
        let at = self.arrival(conn, true);
        self.at(at, Happening::ToQueue(conn, frames));
    }

    /// A peer connects.
    fn connect(&mut self, peer: usize) -> u64 {
        self.next_conn += 1;
        let conn = self.next_conn;
        self.conns.insert(conn, peer);
        self.peers[peer].conn = Some(conn);
        let at = self.arrival(conn, true);
        self.at(at, Happening::Opened(conn));
        conn
    }

    /// A connection is cut: the peer knows at once, the queue after a while, and nothing passes any
    /// more.
    fn cut(&mut self, peer: usize, known_after: u64) {
        if let Some(conn) = self.peers[peer].conn.take() {
            self.conns.remove(&conn);
            let at = self.arrival(conn, true).max(self.now + known_after);
            self.arrives.insert((conn, true), at);
            self.at(at, Happening::Closed(conn));
        }
    }

    fn tell(&mut self, event: Event) {
        let mut actions = Vec::new();
        let now = Duration::from_micros(self.now);
        self.oracle.told(self.now, &event);
        self.queue.step(now, event, &mut actions);
        for action in actions {
            match action {
                Action::Send { conn, frames } => {
                    self.oracle.sent(self.now, conn.0, &frames);
                    if self.conns.contains_key(&conn.0) {
                        let at = self.arrival(conn.0, false);
                        self.at(at, Happening::ToPeer(conn.0, frames));
                    }
                }
                Action::Pause { conn } => {
                    assert!(self.paused.insert(conn.0, Vec::new()).is_none());
                }
                Action::Resume { conn } => {
                    let missed = self.paused.remove(&conn.0).expect("it was paused");
                    for frames in missed {
                        self.after(0, Happening::ToQueue(conn.0, frames));
                    }
                }
                other @ (Action::Close { .. }
                | Action::Subscribe { .. }
                | Action::Report { .. }
                | Action::Publish { .. }
                | Action::Fan { .. }
                | Action::Disk(_)) => {
                    unreachable!("nobody gives cause for {other:?}")
                }
            }
        }
        self.oracle.account(&self.queue, self.bytes_max);
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Opened(conn) => {
                let Some(peer) = self.conns.get(&conn) else {
                    // Cut before it was there: the queue sees it come and go.
                    return self.tell(opened(conn, "front"));
                };
                let port = self.peers[*peer].kind.port();
                self.tell(opened(conn, port));
            }
            Happening::Closed(conn) => {
                self.paused.remove(&conn);
                let port = "front".into();
                let conn = Conn(conn);
                self.tell(Event::Closed { port, conn });
            }
            Happening::ToQueue(conn, frames) => {
                if let Some(missed) = self.paused.get_mut(&conn) {
                    missed.push(frames);
                } else if let Some(peer) = self.conns.get(&conn) {
                    let port = self.peers[*peer].kind.port().into();
                    let conn = Conn(conn);
                    self.tell(Event::Message { port, conn, frames });
                }
            }
            Happening::ToPeer(conn, frames) => {
                if let Some(peer) = self.conns.get(&conn).copied() {
                    self.heard(peer, conn, frames);
                }
            }
            Happening::Acts(peer, life) if self.peers[peer].life == life => self.acts(peer),
            Happening::Says(peer, life, frames) if self.peers[peer].life == life => {
                if let Some(conn) = self.peers[peer].conn {
                    self.send(conn, frames);
                }
            }
            Happening::Acts(..) | Happening::Says(..) => {}
            Happening::Trouble => self.trouble(),
            Happening::Crash => {
                let mut all = 0..self.peers.len();
                let is_worker = |peer: &usize| self.peers[*peer].kind.is_plain_worker();
                if let Some(worker) = all.find(is_worker).filter(|_| self.now < STORM_US) {
                    self.crash(worker, 2_000);
                }
            }
        }
    }

    /// Something goes wrong with somebody, until the storm is over.
    fn trouble(&mut self) {
        if self.now > STORM_US {
            return;
        }
        if self.rng.u8(..10) == 0 {
            self.resize();
        }
        let pause = self.rng.u64(1_000..200_000);
        self.after(pause, Happening::Trouble);
        let peer = self.rng.usize(..self.peers.len());
        match self.rng.u8(..10) {
            // It crashes, and what it was about to do is not done.
            0..4 => self.crash(peer, 50_000),
            // Its connection is cut, and it goes on with what it does.
            4..6 => {
                self.cut(peer, 1_000);
                let life = self.peers[peer].life;
                self.after(20_000, Happening::Acts(peer, life));
            }
            // It is cut off, which is noticed late.
            6..8 => {
                let known_after = self.rng.u64(300_000..3_000_000);
                self.cut(peer, known_after);
                let life = self.peers[peer].life;
                self.after(20_000, Happening::Acts(peer, life));
            }
            // It stands still.
            _ => self.peers[peer].stands_until = self.now + self.rng.u64(..1_200_000),
        }
    }

    /// The queue is to hold more or less from now on: at the least one task of the largest.
    fn resize(&mut self) {
        let mut config = self.queue.config.clone();
        config.bytes_max = match self.rng.u8(..6) {
            0 => 1_200,
            1 => self.bytes_max / 4,
            _ => self.bytes_max,
        };
        self.queue.adopt(&crate::roles::Config::Queue(config));
    }

    /// A peer crashes, which is known soon, and begins again.
    fn crash(&mut self, peer: usize, soon: u64) {
        let known_after = self.rng.u64(..soon);
        self.cut(peer, known_after);
        let was = &self.peers[peer];
        let (kind, life, asked) = (was.kind, was.life + 1, was.asked);
        self.peers[peer] = Peer {
            life,
            asked,
            ..Peer::new(kind)
        };
        let after = self.rng.u64(1_000..400_000);
        self.after(after, Happening::Acts(peer, life));
    }

    fn run(mut self) -> (Machine, Met) {
        while self.now < END_US {
            let next = self.due.peek().map(|Reverse((at, _))| *at);
            let tick = self.queue.deadline().map(|due| {
                let us = u64::try_from(due.as_nanos().div_ceil(1_000));
                us.unwrap_or(u64::MAX)
            });
            match (next, tick) {
                (Some(at), Some(tick)) if tick <= at => self.tick(tick),
                (None, Some(tick)) => self.tick(tick),
                (Some(_), _) => {
                    let Some(Reverse((at, serial))) = self.due.pop() else {
                        break;
                    };
                    self.now = self.now.max(at);
                    let what = self.happenings.remove(&serial);
                    self.happen(what.expect("each is due once"));
                }
                (None, None) => break,
            }
            if self.now > STORM_US && self.is_done() {
                break;
            }
        }
        assert!(self.is_done(), "it never ends: {:?}", self.queue.counters());
        self.oracle.account(&self.queue, self.bytes_max);
        (self.queue, self.oracle.met)
    }

    fn tick(&mut self, at: u64) {
        self.now = self.now.max(at);
        self.tell(Event::Tick);
    }

    /// Whether everybody has asked all they wanted to and everything is done or given up.
    fn is_done(&self) -> bool {
        let counters = self.queue.counters();
        let left = counters.queued + counters.leased + self.queue.held.len() as u64;
        self.peers.iter().all(Peer::has_asked_all) && left == 0
    }
}

fn opened(conn: u64, port: &str) -> Event {
    let port = port.into();
    let conn = Conn(conn);
    Event::Opened { port, conn }
}

/// Runs worlds, and gives what their queues counted in all.
fn run(seeds: impl Iterator<Item = u64>) -> BTreeMap<String, u64> {
    let mut totals = BTreeMap::new();
    for seed in seeds {
        // A failure names its seed.
        let Ok((queue, met)) = std::panic::catch_unwind(|| World::new(seed).run()) else {
            panic!("seed {seed}");
        };
        let counted = serde_json::to_value(queue.counters()).expect("counters have text keys");
        for (what, count) in counted.as_object().expect("counters are named") {
            *totals.entry(what.clone()).or_default() += count.as_u64().unwrap_or_default();
        }
        for (what, count) in [
            ("pinned", met.pinned),
            ("unpinned", met.unpinned),
            ("dismissed", met.dismissed),
        ] {
            *totals.entry(what.to_owned()).or_default() += count;
        }
    }
    totals
}

#[test]
fn a_few_seeds_keep_every_promise_and_meet_every_trouble() {
    let totals = run(0..100);
    for what in [
        "done",
        "dead",
        "lost",
        "expired",
        "failed",
        "late",
        "duplicates",
        "held",
        "forgotten",
        "refused",
        "ahead",
        "unbegun",
        "overdue",
        "pinned",
        "unpinned",
        "dismissed",
    ] {
        assert!(totals[what] > 20, "{what} is met too seldom: {totals:?}");
    }
}

/// `cargo test --lib ten_thousand_simulated_seeds -- --ignored`, or some of them: `ZMQNET_SEEDS=0..1000`.
#[test]
#[ignore = "minutes"]
fn ten_thousand_simulated_seeds_keep_every_promise() {
    let seeds = std::env::var("ZMQNET_SEEDS").unwrap_or_else(|_| "0..10000".to_owned());
    let (first, end) = seeds.split_once("..").expect("a range, such as 0..1000");
    let number = |text: &str| text.parse::<u64>().expect("a number");
    let totals = run(number(first)..number(end));
    std::fs::write(
        format!("target/seeds-{first}.json"),
        serde_json::json!(totals).to_string(),
    )
    .expect("the build directory is there");
}
