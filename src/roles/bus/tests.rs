//! The machine alone, and the machine beside a fan.

use std::collections::BTreeMap;

use fastrand::Rng;

use super::*;
use crate::model::endpoint::Endpoint;
use crate::model::limits::WireLimits;
use crate::roles::machine::Machine as _;

fn config() -> Config {
    Config {
        common: Common {
            name: "bus".into(),
            ports: Vec::new(),
            dials: Vec::new(),
            health: Endpoint::ipc("/none"),
            limits: Box::new(WireLimits::default()),
        },
        buffer_bytes: 64 << 20,
        messages_max: None,
        overflow: Overflow::DropNewest,
        welcome: None,
        retain: false,
        sequence: false,
        buses: BTreeSet::new(),
        topics: BTreeMap::new(),
    }
}

/// A machine, and connections that take messages or do not.
struct World {
    machine: Machine,
    got: BTreeMap<Conn, Vec<Vec<Bytes>>>,
    stalled: BTreeSet<Conn>,
    closing: Vec<Conn>,
}

impl World {
    fn new(config: &Config) -> Self {
        Self {
            machine: Machine::alone(config),
            got: BTreeMap::new(),
            stalled: BTreeSet::new(),
            closing: Vec::new(),
        }
    }

    fn step(&mut self, event: Event) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            let mut actions = Vec::new();
            self.machine.step(Duration::ZERO, event, &mut actions);
            for action in actions {
                match action {
                    Action::Send { conn, .. } if self.stalled.contains(&conn) => {
                        events.push(Event::Unsent { conn });
                    }
                    Action::Send { conn, frames } => {
                        self.got.entry(conn).or_default().push(frames);
                    }
                    Action::Close { conn } => self.closing.push(conn),
                    _ => {}
                }
            }
        }
        while self.machine.deadline().is_some() {
            let mut actions = Vec::new();
            self.machine.step(Duration::ZERO, Event::Tick, &mut actions);
            for action in actions {
                if let Action::Send { conn, frames } = action {
                    self.got.entry(conn).or_default().push(frames);
                }
            }
        }
        for conn in std::mem::take(&mut self.closing) {
            let port = OUT.into();
            self.step(Event::Closed { port, conn });
        }
        let total = self.machine.total().unwrap();
        assert!(total.is_exact(), "{total:?}");
    }

    fn open(&mut self, port: &str, conn: u64) -> Conn {
        let conn = Conn(conn);
        let port = port.into();
        self.step(Event::Opened { port, conn });
        conn
    }

    fn subscribe(&mut self, conn: Conn, topic: &str, is_on: bool) {
        self.step(Event::Subscribed {
            port: OUT.into(),
            conn,
            topic: Bytes::copy_from_slice(topic.as_bytes()),
            is_on,
        });
    }

    fn publish(&mut self, conn: Conn, frames: &[&str]) {
        self.step(Event::Message {
            port: IN.into(),
            conn,
            frames: owned(frames),
        });
    }
}

fn owned(frames: &[&str]) -> Vec<Bytes> {
    let frames = frames.iter();
    frames
        .map(|it| Bytes::copy_from_slice(it.as_bytes()))
        .collect()
}

#[test]
fn who_subscribed_gets_it_and_the_account_is_exact_whatever_stalls_and_leaves() {
    for overflow in [
        Overflow::DropNewest,
        Overflow::DropOldest,
        Overflow::Conflate,
        Overflow::Disconnect,
    ] {
        let mut rng = Rng::with_seed(21);
        let mut world = World::new(&Config {
            buffer_bytes: 400,
            overflow,
            ..config()
        });
        let publisher = world.open(IN, 1);
        let (mut next, mut number) = (2, 0);
        let mut living = Vec::new();
        for _ in 0..4_000 {
            let topics = ["", "a", "ab", "b"];
            let some = |rng: &mut Rng, living: &[Conn]| rng.choice(living.iter()).copied();
            match (rng.u8(..12), some(&mut rng, &living)) {
                (0, _) if living.len() < 8 => {
                    living.push(world.open(OUT, next));
                    next += 1;
                }
                (1 | 2, Some(conn)) => {
                    let topic = topics[rng.usize(..4)];
                    world.subscribe(conn, topic, rng.u8(..3) > 0);
                }
                (3, Some(conn)) => {
                    world.stalled.insert(conn);
                }
                (4, Some(conn)) if world.stalled.remove(&conn) => {
                    world.step(Event::Writable { conn });
                }
                (5, Some(conn)) if rng.u8(..4) == 0 => {
                    let port = OUT.into();
                    world.step(Event::Closed { port, conn });
                    living.retain(|it| *it != conn);
                }
                _ => {
                    let topic = topics[rng.usize(1..4)];
                    world.publish(publisher, &[topic, &format!("{number:05}")]);
                    number += 1;
                }
            }
            living.retain(|conn| world.machine.account(*conn).is_some());
        }
        for messages in world.got.values() {
            assert!(messages.is_sorted_by_key(|frames| frames[1].clone()));
        }
        let total = world.machine.total().unwrap();
        assert!(total.sent > 1_000 && total.dropped() > 50, "{total:?}");
    }
}

#[test]
fn a_late_subscriber_is_welcomed_and_told_what_was_last() {
    let mut world = World::new(&Config {
        welcome: Some("hello".into()),
        retain: true,
        sequence: true,
        ..config()
    });
    let publisher = world.open(IN, 1);
    world.publish(publisher, &["a", "1"]);
    world.publish(publisher, &["a", "2"]);
    let late = world.open(OUT, 2);
    world.subscribe(late, "", true);
    world.subscribe(late, "ZN1.ready.7", true);
    world.publish(publisher, &["a", "3"]);
    let got = &world.got[&late];
    assert_eq!(got[0], ["hello"]);
    assert_eq!(got[1][..2], ["a", "2"]);
    assert_eq!(got[2], ["ZN1.ready.7"]);
    assert_eq!(got[3][..2], ["a", "3"]);
    assert_eq!((got[1][2][15], got[3][2][15]), (2, 3));
}

#[test]
fn what_came_from_a_bus_goes_to_no_other() {
    let mut world = World::new(&Config {
        topics: BTreeMap::from([("link".to_owned(), vec!["a".to_owned()])]),
        ..config()
    });
    let mut actions = Vec::new();
    let port = "link".into();
    let conn = Conn(1);
    let opened = Event::Opened { port, conn };
    world.machine.step(Duration::ZERO, opened, &mut actions);
    assert!(
        matches!(&actions[..], [Action::Subscribe { topic, is_on: true, .. }] if topic == "a"),
        "{actions:?}"
    );
    let (here, bus) = (world.open(OUT, 2), world.open(OUT, 3));
    world.machine.is_bus(bus, "");
    for conn in [here, bus] {
        world.subscribe(conn, "a", true);
    }
    let publisher = world.open(IN, 4);
    world.publish(publisher, &["a", "own"]);
    world.step(Event::Message {
        port: "link".into(),
        conn: Conn(1),
        frames: owned(&["a", "other"]),
    });
    assert_eq!(world.got[&here].len(), 2);
    assert_eq!(world.got[&bus], [owned(&["a", "own"])]);
}

#[test]
fn a_publish_is_acknowledged_with_how_many_got_it() {
    let asked = |frames: &[&str]| Event::Message {
        port: ACKED.into(),
        conn: Conn(9),
        frames: owned(frames),
    };
    let mut world = World::new(&config());
    let subscriber = world.open(OUT, 2);
    world.subscribe(subscriber, "a", true);
    world.step(asked(&["", "ZN1", "publish", "7", "", "a", "body"]));
    world.step(asked(&["", "ZN1", "publish", "7", "", "a", "body"]));
    world.step(asked(&["", "ZN1", "publish", "8", ""]));
    world.step(asked(&["ZN1", "sing", "9"]));
    world.step(asked(&["ZN1", "!"]));
    let answers = &world.got[&Conn(9)];
    let expected = ["", "ZN1", "200", "7", r#"{"matched":1,"queued":1}"#];
    assert_eq!(answers[0], expected);
    assert_eq!(answers[1][4], r#"{"repeated":true}"#);
    let status: Vec<&Bytes> = answers[1..].iter().map(|it| &it[it.len() - 3]).collect();
    assert_eq!(status[1..], ["400", "501", "400"]);
    assert_eq!(world.got[&subscriber], [owned(&["a", "body"])]);
    let counters = Counters {
        acked: 1,
        repeated: 1,
        refused: 1,
        malformed: 1,
    };
    assert_eq!(world.machine.counters, counters);

    let mut beside = Machine::beside_a_fan(&config());
    let mut actions = Vec::new();
    beside.step(
        Duration::ZERO,
        asked(&["", "ZN1", "publish", "7", "", "a", "body"]),
        &mut actions,
    );
    let [Action::Publish { id, frames, .. }] = &actions[..] else {
        panic!("the wire fans out: {actions:?}");
    };
    assert_eq!(
        (id, &frames[..]),
        (&Bytes::from("7"), &owned(&["a", "body"])[..])
    );
}
