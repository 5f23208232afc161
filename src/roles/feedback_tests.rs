//! What a feedback does with a load that rises, falls, and lies between two counts; no process is started.

use super::*;
use crate::model::endpoint::Endpoint;
use crate::model::limits::WireLimits;
use crate::protocol::zn1;
use crate::roles::machine::Machine as _;

const WORKED: Conn = Conn(1);
const SUPERVISOR: Conn = Conn(2);

fn config() -> Config {
    Config {
        common: Common {
            name: InstanceName::new("hand"),
            ports: Vec::new(),
            dials: Vec::new(),
            health: Endpoint::tcp("127.0.0.1", 1),
            limits: Box::new(WireLimits::default()),
        },
        fact: vec!["tasks".to_owned(), "age_ms".to_owned()],
        target: 1_000.0,
        every_ms: 1_000,
        scale: NodeName::new("worker".to_owned()),
        range: (1, 8),
        count: 1,
    }
}

/// A queue whose age follows from what comes in and how many work it off.
struct Plant {
    machine: Machine,
    now: Duration,
    count: u32,
    backlog: f64,
    /// Every count there was, in order.
    counts: Vec<u32>,
}

impl Plant {
    fn new() -> Self {
        let mut machine = Machine::new(&config());
        for (port, conn) in [(WATCH, WORKED), (CONTROL, SUPERVISOR)] {
            let port = port.into();
            let event = Event::Opened { port, conn };
            machine.step(Duration::ZERO, event, &mut Vec::new());
        }
        Self {
            machine,
            now: Duration::ZERO,
            count: 1,
            backlog: 0.0,
            counts: Vec::new(),
        }
    }

    /// A second of load: so many tasks come, each worker does ten. The oldest has waited as long as
    /// what is before it takes.
    fn second(&mut self, tasks: f64) {
        let rate = f64::from(self.count) * 10.0;
        self.backlog = (self.backlog + tasks - rate).max(0.0);
        let age_ms = self.backlog / rate * 1_000.0;
        self.now += Duration::from_secs(1);
        let mut actions = Vec::new();
        self.machine.step(self.now, Event::Tick, &mut actions);
        for action in actions {
            let Action::Send { conn, frames } = action else {
                panic!("{action:?}");
            };
            let request = Request::decode(frames).unwrap();
            let result = match conn {
                WORKED => json!({"facts": {"tasks": {"age_ms": age_ms}}}),
                _ => {
                    self.count = request.params["count"].as_u64().unwrap() as u32;
                    self.counts.push(self.count);
                    let count = self.count;
                    let told = Config { count, ..config() };
                    self.machine.adopt(&RoleConfig::Feedback(told));
                    Value::Null
                }
            };
            let port = if conn == WORKED { WATCH } else { CONTROL };
            let frames = Reply::new(zn1::OK, request.id, result).encode();
            let port = port.into();
            let event = Event::Message { port, conn, frames };
            self.machine.step(self.now, event, &mut Vec::new());
        }
    }
}

#[test]
fn a_rising_load_is_met_and_a_falling_one_lets_workers_go() {
    let mut plant = Plant::new();
    for _ in 0..60 {
        plant.second(65.0);
    }
    assert!(plant.count >= 7, "{:?}", plant.counts);
    assert!(plant.backlog / (f64::from(plant.count) * 10.0) < 1.2);
    for _ in 0..120 {
        plant.second(0.0);
    }
    assert_eq!(plant.count, 1, "{:?}", plant.counts);
}

#[test]
fn a_load_between_two_counts_does_not_make_it_swing() {
    let mut plant = Plant::new();
    for _ in 0..300 {
        plant.second(45.0);
    }
    plant.counts.clear();
    for _ in 0..1_200 {
        plant.second(45.0);
    }
    // Twenty minutes: without memory it would go down and up every ten seconds.
    assert!(plant.counts.len() <= 15, "{:?}", plant.counts);
}

#[test]
fn without_a_value_nothing_is_done_and_the_range_is_kept() {
    let mut plant = Plant::new();
    plant.machine.watched.clear();
    for _ in 0..10 {
        plant.second(1_000.0);
    }
    assert_eq!(plant.machine.counters.blind, 9);
    assert!(plant.counts.is_empty());
    let mut plant = Plant::new();
    for _ in 0..60 {
        plant.second(1_000.0);
    }
    assert_eq!(plant.counts, [2, 4, 8]);
}

#[test]
fn a_refusal_is_counted_and_told_and_the_next_round_tries_again() {
    let mut machine = Plant::new().machine;
    let mut actions = Vec::new();
    machine.scale(Duration::ZERO, 2, &mut actions);
    assert_eq!(actions.len(), 1);
    let refusal = Reply::failure(zn1::CONFLICT, Bytes::new(), "the manifest has changed");
    machine.scaled(refusal.encode());
    let facts = machine.facts();
    assert_eq!(facts["refusal"], "the manifest has changed");
    assert_eq!(facts["counted"]["refused"], 1);
    assert!(machine.scaling.is_none());
}
