//! The echo: answers every request with the request, frame by frame.
//!
//! REQ and DEALER are both served, ROUTER too: what came goes back as it is, envelope and all. Only
//! ZN1 has a meaning here: `ping` and `status` are answered, other verbs do not exist.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::protocol::envelope;
use crate::protocol::zn1;

use super::Config as RoleConfig;
use super::machine::{self, Action, Caller, Common, Conn, Event, Read};

/// What an echo is told when it starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// What every role is told.
    pub common: Common,
}

/// What it has counted; pings and `status` are in none of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Requests answered.
    pub answered: u64,
    /// The bytes of their frames.
    pub bytes: u64,
    /// Requests that mean to be ZN1 and are not.
    pub malformed: u64,
}

/// The echo.
#[derive(Debug)]
pub struct Machine {
    config: Config,
    counters: Counters,
}

impl Machine {
    /// An echo that has heard nothing yet.
    pub fn new(config: &Config) -> Self {
        Self {
            config: config.clone(),
            counters: Counters::default(),
        }
    }

    fn message(&mut self, conn: Conn, frames: Vec<Bytes>, actions: &mut Vec<Action>) {
        let is_zn1 = zn1::is_zn1(&frames) || frames.get(1).is_some_and(|it| it == zn1::MAGIC);
        if !is_zn1 {
            self.counters.answered += 1;
            self.counters.bytes += frames.iter().map(|it| it.len() as u64).sum::<u64>();
            return actions.push(Action::Send { conn, frames });
        }
        let (envelope, body) = envelope::split(frames);
        let caller = Caller { conn, envelope };
        match machine::read(&self.config.common.name, caller, body, actions) {
            Read::Answered => {}
            Read::Malformed => self.counters.malformed += 1,
            Read::Request(caller, request) => {
                actions.push(caller.reply(&machine::no_such_verb(&request)));
            }
        }
    }
}

impl machine::Machine for Machine {
    fn step(&mut self, _now: Duration, event: Event, actions: &mut Vec<Action>) {
        match event {
            Event::Message { conn, frames, .. } => self.message(conn, frames, actions),
            // An echo that is too much for its peer is dropped, and the hub counts it.
            Event::Opened { .. }
            | Event::Subscribed { .. }
            | Event::Writable { .. }
            | Event::Unsent { .. }
            | Event::Closed { .. }
            | Event::Disk(_)
            | Event::Drain
            | Event::Tick => {}
        }
    }

    fn deadline(&self) -> Option<Duration> {
        None
    }

    fn is_idle(&self) -> bool {
        true
    }

    fn facts(&self) -> serde_json::Value {
        serde_json::to_value(&self.counters).expect("counters have only text keys")
    }

    fn adopt(&mut self, config: &RoleConfig) {
        if let RoleConfig::Echo(config) = config {
            self.config = config.clone();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::endpoint::Endpoint;
    use crate::model::limits::WireLimits;
    use crate::roles::machine::Machine as _;

    fn step(machine: &mut Machine, frames: &[&'static str]) -> Vec<Action> {
        let mut actions = Vec::new();
        let event = Event::Message {
            port: "main".into(),
            conn: Conn(3),
            frames: frames
                .iter()
                .map(|it| Bytes::from_static(it.as_bytes()))
                .collect(),
        };
        machine.step(Duration::ZERO, event, &mut actions);
        actions
    }

    fn machine() -> Machine {
        Machine::new(&Config {
            common: Common {
                name: "mirror".into(),
                ports: Vec::new(),
                dials: Vec::new(),
                health: Endpoint::ipc("/none"),
                limits: Box::new(WireLimits::default()),
            },
        })
    }

    #[test]
    fn what_came_goes_back_as_it_is() {
        let mut machine = machine();
        for frames in [&["", "a", ""][..], &["x"], &["id", "", "b"], &["", ""]] {
            let [Action::Send { conn, frames: sent }] = &step(&mut machine, frames)[..] else {
                panic!("one answer to {frames:?}");
            };
            assert_eq!(*conn, Conn(3));
            assert_eq!(sent, frames);
        }
        assert_eq!(machine.counters.answered, 4);
    }

    #[test]
    fn zn1_is_understood_and_not_echoed() {
        let mut machine = machine();
        let [Action::Send { frames, .. }] = &step(&mut machine, &["", "ZN1", "ping", "7"])[..]
        else {
            panic!("one answer");
        };
        assert_eq!(frames[..4], ["", "ZN1", "200", "7"]);
        let actions = step(&mut machine, &["ZN1", "status", "8"]);
        assert!(matches!(&actions[..], [Action::Report { id, .. }] if id == "8"));
        for (frames, status) in [(&["ZN1", "sing", "9"][..], "501"), (&["ZN1", "!"], "400")] {
            let [Action::Send { frames, .. }] = &step(&mut machine, frames)[..] else {
                panic!("one answer");
            };
            assert_eq!(frames[1], status);
        }
        let counters = Counters {
            malformed: 1,
            ..Counters::default()
        };
        assert_eq!(machine.counters, counters);
    }
}
