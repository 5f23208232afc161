//! The fan beside the bus as a machine: whatever happens, both account alike.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;

use super::cut::{CutRules, Cutter};
use super::lane::tests::Pipe;
use super::*;
use crate::model::endpoint::Endpoint;
use crate::model::limits::WireLimits;
use crate::roles::bus::{Account, Config, IN, Machine, OUT, RETAINED_MAX};
use crate::roles::machine::{Action, Common, Conn, Event, Machine as _};
use crate::wire::hub::tap::Ring;

/// More than all that is ever sent.
const OPEN: usize = usize::MAX / 4;

pub(super) struct End(pub(super) Mutex<Pipe>);

impl Taker for End {
    fn take_spans(&self, source: &mut Source<'_>, spans: &[Span]) -> u64 {
        self.0.lock().unwrap().take(source, spans)
    }

    fn passed(&self) -> Option<Passed> {
        self.0.lock().unwrap().lane.passed()
    }
}

/// The same subscribers on both.
struct Both {
    fan: Fan,
    cutter: Cutter,
    ends: BTreeMap<Conn, (u32, Arc<End>)>,
    machine: Machine,
    stalled: BTreeSet<Conn>,
    next: u64,
    sent: u64,
}

impl Both {
    fn new(overflow: Overflow, has_more: bool) -> Self {
        let config = Config {
            common: Common {
                name: "bus".into(),
                ports: Vec::new(),
                dials: Vec::new(),
                health: Endpoint::ipc("/none"),
                limits: Box::new(WireLimits::default()),
            },
            buffer_bytes: 2_000,
            messages_max: has_more.then_some(9),
            overflow,
            welcome: has_more.then(|| "hello".to_owned()),
            retain: has_more,
            sequence: has_more,
            buses: BTreeSet::new(),
            topics: BTreeMap::new(),
        };
        let fan = Fan::new(FanConfig {
            overflow,
            bytes_max: 2_000,
            messages_max: config.messages_max,
            welcome: config.welcome.clone().map(Bytes::from),
            retain_max: if has_more { RETAINED_MAX } else { 0 },
            is_sequenced: has_more,
            buses: BTreeSet::new(),
            asks: false,
            tap: Tap::new(&Arc::new(Ring::default()), 0),
        });
        let mut both = Self {
            fan,
            cutter: Cutter::new(CutRules {
                message_bytes_max: 1 << 20,
                parts_max: 9,
                skips: false,
            }),
            ends: BTreeMap::new(),
            machine: Machine::alone(&config),
            stalled: BTreeSet::new(),
            next: 1,
            sent: 0,
        };
        both.step(Event::Opened {
            port: IN.into(),
            conn: Conn(0),
        });
        both
    }

    /// One step of the machine, over connections that take all or nothing.
    fn step(&mut self, event: Event) {
        let mut events = vec![event];
        loop {
            let event = match events.pop() {
                Some(event) => event,
                None if self.machine.deadline().is_some() => Event::Tick,
                None => return,
            };
            let mut actions = Vec::new();
            self.machine.step(Duration::ZERO, event, &mut actions);
            for action in actions {
                match action {
                    Action::Send { conn, .. } if self.stalled.contains(&conn) => {
                        events.push(Event::Unsent { conn });
                    }
                    Action::Close { conn } => events.push(closed(conn)),
                    _ => {}
                }
            }
        }
    }

    fn join(&mut self) {
        let conn = Conn(self.next);
        self.next += 1;
        let mut pipe = Pipe::new(self.fan.bounds());
        pipe.room = OPEN;
        let end = Arc::new(End(Mutex::new(pipe)));
        let own: Arc<dyn Taker> = end.clone();
        let slot = self.fan.join(Arc::downgrade(&own), ConnId(conn.0), b"");
        self.ends.insert(conn, (slot, end));
        let port = OUT.into();
        self.step(Event::Opened { port, conn });
    }

    fn leave(&mut self, conn: Conn, is_told: bool) {
        let (slot, end) = self.ends.remove(&conn).unwrap();
        let passed = end.0.lock().unwrap().lane.close().unwrap();
        self.fan.leave(slot, &passed);
        self.stalled.remove(&conn);
        if is_told {
            self.step(closed(conn));
        }
    }

    fn subscribe(&mut self, conn: Conn, topic: &'static [u8], is_on: bool) {
        self.fan.subscribe(self.ends[&conn].0, topic, is_on);
        self.step(Event::Subscribed {
            port: OUT.into(),
            conn,
            topic: Bytes::from_static(topic),
            is_on,
        });
    }

    fn stall(&mut self, conn: Conn) {
        self.stalled.insert(conn);
        self.ends[&conn].1.0.lock().unwrap().room = 0;
    }

    fn go_on(&mut self, conn: Conn) {
        self.stalled.remove(&conn);
        let mut pipe = self.ends[&conn].1.0.lock().unwrap();
        pipe.room = OPEN;
        pipe.advance();
        drop(pipe);
        self.step(Event::Writable { conn });
    }

    fn publish(&mut self, messages: &[Vec<Bytes>]) {
        let mut wire = Vec::new();
        for message in messages {
            encode(message, &mut wire);
        }
        // Cut anywhere, as reads are.
        let half = wire.len() / 3;
        for piece in [&wire[..half], &wire[half..]] {
            let (_, fed) = self.fan.take(&mut self.cutter, piece, Origin::default());
            fed.unwrap();
        }
        for frames in messages {
            self.sent += 1;
            self.step(Event::Message {
                port: IN.into(),
                conn: Conn(0),
                frames: frames.clone(),
            });
        }
    }

    /// Both say the same of everybody, and of all together.
    fn compare(&mut self) {
        let over: Vec<Conn> = self.over().collect();
        for conn in over {
            // Here the end of the connection is noticed later, there at once.
            self.leave(conn, false);
        }
        // What did not come back at once was sent.
        self.step(Event::Tick);
        for (conn, (_, end)) in &self.ends {
            let own = self.machine.account(*conn).unwrap();
            let fan = account(&end.passed().unwrap());
            assert_eq!(own, fan, "{conn:?}");
            assert!(own.is_exact());
        }
        let facts = self.fan.facts();
        assert_eq!(self.machine.total().unwrap(), account(&facts.passed));
        assert_eq!(facts.published, self.sent);
    }

    fn over(&self) -> impl Iterator<Item = Conn> {
        let is_over = |end: &End| end.0.lock().unwrap().lane.is_over();
        let ends = self.ends.iter();
        ends.filter(move |(_, (_, end))| is_over(end))
            .map(|(conn, _)| *conn)
    }
}

fn closed(conn: Conn) -> Event {
    let port = OUT.into();
    Event::Closed { port, conn }
}

pub(super) fn account(passed: &Passed) -> Account {
    Account {
        matched: passed.matched,
        sent: passed.sent,
        queued: passed.queued,
        newest: passed.dropped.newest,
        oldest: passed.dropped.oldest,
        conflated: passed.dropped.conflated,
        disconnected: passed.dropped.disconnected,
        left: passed.dropped.left,
    }
}

fn messages(rng: &mut Rng, count: usize) -> Vec<Vec<Bytes>> {
    let one = |rng: &mut Rng| {
        let topic = ["a", "ab", "abc", "b", ""][rng.usize(..5)];
        let most = if rng.u8(..9) == 0 { 900 } else { 40 };
        let body = vec![0; rng.usize(..most)];
        match rng.bool() {
            true => vec![Bytes::from(topic), Bytes::from(body)],
            false => vec![Bytes::from([topic.as_bytes(), &body].concat())],
        }
    };
    (0..count).map(|_| one(rng)).collect()
}

#[test]
fn the_fan_and_the_machine_account_alike() {
    let mut dropped = 0;
    for (seed, overflow) in [
        Overflow::DropNewest,
        Overflow::DropOldest,
        Overflow::Conflate,
        Overflow::Disconnect,
    ]
    .into_iter()
    .cycle()
    .take(24)
    .enumerate()
    {
        let mut rng = Rng::with_seed(seed as u64);
        let mut both = Both::new(overflow, seed % 8 > 3);
        for _ in 0..400 {
            let some = rng.choice(both.ends.keys().copied());
            match (rng.u8(..10), some) {
                (0, _) if both.ends.len() < 6 => both.join(),
                (1 | 2, Some(conn)) => {
                    let topics: [&'static [u8]; 6] =
                        [b"", b"a", b"ab", b"b", b"hello", b"ZN1.ready.1"];
                    let is_on = rng.u8(..4) > 0;
                    both.subscribe(conn, topics[rng.usize(..6)], is_on);
                }
                (3, Some(conn)) => both.stall(conn),
                (4, Some(conn)) if both.stalled.contains(&conn) => both.go_on(conn),
                (5, Some(conn)) if rng.u8(..5) == 0 => both.leave(conn, true),
                _ => {
                    // What follows the message that ends a connection is seen here only.
                    let most = if overflow == Overflow::Disconnect {
                        1
                    } else {
                        30
                    };
                    let count = rng.usize(1..=most);
                    let batch = messages(&mut rng, count);
                    both.publish(&batch);
                }
            }
            both.compare();
        }
        dropped += both.machine.total().unwrap().dropped();
    }
    assert!(dropped > 1_000, "{dropped}");
}
