//! The feedback: a controller that holds a measured value at a set point by scaling a node.
//!
//! ```text
//! every round:  watched node  --its facts-->  feedback  --scale NODE=N-->  supervisor
//! ```
//!
//! More instances must lower the value, as more workers lower the age of a queue. The law is the one of
//! Kubernetes' HorizontalPodAutoscaler: `count x value / target`, left alone within a tenth of the
//! target. Up goes at once, at most double, unless the value falls already; down goes by one, after
//! [`CALM_ROUNDS`] rounds that all wanted fewer while the value did not rise. A count that proved too few is not tried again for a while, twice as long each time, so
//! that a load between two counts does not make it swing.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::model::name::{InstanceName, NodeName};
use crate::protocol::envelope;
use crate::protocol::zn1::{Reply, Request};

use super::Config as RoleConfig;
use super::machine::{self, Action, Caller, Common, Conn, Event, Read};

/// By which name it dials the instances it watches.
pub const WATCH: &str = "to watched";
/// By which name it dials the supervisor.
pub const CONTROL: &str = "to supervisor";
/// Time between two rounds unless `every` says otherwise, in milliseconds.
pub const EVERY_MS: u64 = 5_000;

/// The value is as it should be within this share of the target.
const TOLERANCE: f64 = 0.1;
/// So many rounds in a row must want fewer before there are fewer.
const CALM_ROUNDS: u32 = 5;
/// How long a count that proved too few is not tried again: at first, and at most, in rounds.
const AVOID_ROUNDS: (u64, u64) = (20, 640);
/// How long the supervisor may take to scale before it is asked again.
const SCALE_WAIT: Duration = Duration::from_secs(90);

/// What a feedback is told when it starts, and again when the count of its node changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// What every role is told.
    pub common: Common,
    /// The way to the value in the watched node's facts.
    pub fact: Vec<String>,
    /// The value it holds.
    pub target: f64,
    /// Time between two rounds, in milliseconds.
    pub every_ms: u64,
    /// The node it scales.
    pub scale: NodeName,
    /// The fewest and the most instances that it may have.
    pub range: (u32, u32),
    /// How many it has.
    pub count: u32,
}

// The target is no NaN: it was read from a manifest.
impl Eq for Config {}

impl Config {
    /// What of another configuration a feedback with this one cannot take while it runs.
    pub fn fixed_change(&self, next: &Self) -> Option<&'static str> {
        self.common.fixed_change(&next.common)
    }
}

/// What it has counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Rounds in which a value was read.
    pub rounds: u64,
    /// Rounds in which there was none.
    pub blind: u64,
    /// How often it scaled up.
    pub ups: u64,
    /// How often it scaled down.
    pub downs: u64,
    /// How often the supervisor refused.
    pub refused: u64,
    /// Requests that mean to be ZN1 and are not.
    pub malformed: u64,
}

/// A count that proved too few.
#[derive(Debug, Clone, Copy)]
struct TooFew {
    count: u32,
    /// Not tried again before this round.
    until: u64,
    /// For how many rounds it was avoided.
    rounds: u64,
}

/// The feedback.
#[derive(Debug)]
pub struct Machine {
    config: Config,
    watched: Vec<Conn>,
    supervisor: Option<Conn>,
    /// When the next round is.
    next: Duration,
    round: u64,
    /// What the watched instances said in this round.
    values: BTreeMap<Conn, f64>,
    last: Option<f64>,
    /// How many of them answered in this round, with a value or without.
    heard: usize,
    /// Why there was no value in the last round.
    blindness: Option<String>,
    /// How many rounds in a row wanted fewer.
    calm: u32,
    too_few: Option<TooFew>,
    /// Down to which count it went last, while nothing else has happened since.
    went_down_to: Option<u32>,
    /// Until when the supervisor is at it.
    scaling: Option<Duration>,
    refusal: Option<String>,
    counters: Counters,
}

impl Machine {
    /// A feedback that has measured nothing yet.
    pub fn new(config: &Config) -> Self {
        Self {
            config: config.clone(),
            watched: Vec::new(),
            supervisor: None,
            next: Duration::from_millis(config.every_ms),
            round: 0,
            values: BTreeMap::new(),
            last: None,
            heard: 0,
            blindness: None,
            calm: 0,
            too_few: None,
            went_down_to: None,
            scaling: None,
            refusal: None,
            counters: Counters::default(),
        }
    }

    fn begin_round(&mut self, now: Duration, actions: &mut Vec<Action>) {
        self.round += 1;
        // From when it was due, so that no round that begins late makes all later ones late too.
        let every = Duration::from_millis(self.config.every_ms);
        let due = self.next + every;
        self.next = if due > now { due } else { now + every };
        self.values.clear();
        self.heard = 0;
        let id = Bytes::from(self.round.to_string());
        let request = Request::new("status", id, Value::Null);
        actions.extend(self.watched.iter().map(|conn| Action::Send {
            conn: *conn,
            frames: request.encode(),
        }));
    }

    /// A watched instance said how it is. What came too late for its round counts for nothing.
    fn measured(&mut self, conn: Conn, frames: Vec<Bytes>) {
        let Ok(reply) = Reply::decode(frames) else {
            return;
        };
        if !reply.is_ok() || reply.id != self.round.to_string() {
            return;
        }
        self.heard += 1;
        let facts = reply.result.get("facts");
        let found = self
            .config
            .fact
            .iter()
            .fold(facts, |at, step| at?.get(step));
        if let Some(value) = found.and_then(Value::as_f64) {
            self.values.insert(conn, value);
        }
    }

    /// Looks at what was measured, and has the node scaled where that is called for.
    fn judge(&mut self, now: Duration, actions: &mut Vec<Action>) {
        let before = self.last;
        self.last = self.values.values().copied().reduce(f64::max);
        let Some(value) = self.last else {
            self.counters.blind += 1;
            let fact = self.config.fact.join(".");
            self.blindness = Some(match (self.watched.len(), self.heard) {
                (0, _) => "who is watched cannot be reached".to_owned(),
                (_, 0) => "who is watched did not answer".to_owned(),
                (_, _) => format!("who is watched has no number `{fact}` in its facts"),
            });
            return;
        };
        self.blindness = None;
        self.counters.rounds += 1;
        if self.scaling.is_some_and(|until| now < until) {
            return;
        }
        self.scaling = None;
        let (count, wanted) = (self.config.count, self.wanted(value));
        let (is_falling, is_rising) = match before {
            Some(before) => (value < before, value > before),
            None => (false, true),
        };
        if wanted > count && !is_falling {
            self.calm = 0;
            self.remember_too_few(count);
            self.counters.ups += 1;
            self.scale(now, wanted, actions);
        } else if wanted < count && !is_rising {
            self.calm += 1;
            if self.calm >= CALM_ROUNDS && !self.is_avoided(count - 1) {
                self.calm = 0;
                self.counters.downs += 1;
                self.went_down_to = Some(count - 1);
                self.scale(now, count - 1, actions);
            }
        } else {
            self.calm = 0;
        }
    }

    /// How many instances the value calls for.
    fn wanted(&self, value: f64) -> u32 {
        let (min, max) = self.config.range;
        let count = self.config.count;
        let ratio = value / self.config.target;
        let wanted = match (ratio - 1.0).abs() <= TOLERANCE {
            true => count,
            // At most double, so that one high value does not start everything there is.
            false => (f64::from(count.max(1)) * ratio.clamp(0.0, 2.0)).ceil() as u32,
        };
        wanted.clamp(min, max)
    }

    fn is_avoided(&self, count: u32) -> bool {
        let too_few = self.too_few;
        too_few.is_some_and(|it| count <= it.count && self.round < it.until)
    }

    /// Fewer were too few: they are not tried again for a while, and longer than the last time.
    fn remember_too_few(&mut self, count: u32) {
        if self.went_down_to.take() != Some(count) {
            return;
        }
        let (first, most) = AVOID_ROUNDS;
        let before = self.too_few.filter(|it| it.count == count);
        let rounds = before.map_or(first, |it| (it.rounds * 2).min(most));
        self.too_few = Some(TooFew {
            count,
            until: self.round + rounds,
            rounds,
        });
    }

    fn scale(&mut self, now: Duration, count: u32, actions: &mut Vec<Action>) {
        let Some(conn) = self.supervisor else {
            self.refusal = Some("the supervisor cannot be reached".to_owned());
            self.counters.refused += 1;
            return;
        };
        self.scaling = Some(now + SCALE_WAIT);
        let params = json!({ "node": self.config.scale, "count": count });
        let request = Request::new("scale", self.round.to_string(), params);
        let frames = request.encode();
        actions.push(Action::Send { conn, frames });
    }

    /// The supervisor has scaled, or says why not.
    fn scaled(&mut self, frames: Vec<Bytes>) {
        let Ok(reply) = Reply::decode(frames) else {
            return;
        };
        self.scaling = None;
        if reply.is_ok() {
            self.refusal = None;
            return;
        }
        let reason = reply.result.get("error").and_then(Value::as_str);
        self.refusal = Some(reason.unwrap_or("it did not say why").to_owned());
        self.counters.refused += 1;
    }

    fn asked(&mut self, conn: Conn, frames: Vec<Bytes>, actions: &mut Vec<Action>) {
        let (envelope, body) = envelope::split(frames);
        let caller = Caller { conn, envelope };
        let name: &InstanceName = &self.config.common.name;
        match machine::read(name, caller, body, actions) {
            Read::Answered => {}
            Read::Malformed => self.counters.malformed += 1,
            Read::Request(caller, request) => {
                actions.push(caller.reply(&machine::no_such_verb(&request)));
            }
        }
    }
}

impl machine::Machine for Machine {
    fn step(&mut self, now: Duration, event: Event, actions: &mut Vec<Action>) {
        match event {
            Event::Opened { port, conn } => match &*port {
                WATCH => self.watched.push(conn),
                CONTROL => self.supervisor = Some(conn),
                _ => {}
            },
            Event::Closed { conn, .. } => {
                self.watched.retain(|watched| *watched != conn);
                if self.supervisor == Some(conn) {
                    // Whether it has scaled is seen from the count that is told next.
                    (self.supervisor, self.scaling) = (None, None);
                }
            }
            Event::Message { port, conn, frames } => match &*port {
                WATCH => self.measured(conn, frames),
                CONTROL => self.scaled(frames),
                _ => self.asked(conn, frames, actions),
            },
            Event::Tick if now >= self.next => {
                if self.round > 0 {
                    self.judge(now, actions);
                }
                self.begin_round(now, actions);
            }
            Event::Tick
            | Event::Subscribed { .. }
            | Event::Writable { .. }
            | Event::Unsent { .. }
            | Event::Disk(_)
            | Event::Drain => {}
        }
    }

    fn deadline(&self) -> Option<Duration> {
        Some(self.next)
    }

    fn is_idle(&self) -> bool {
        true
    }

    fn facts(&self) -> Value {
        json!({
            "value": self.last,
            "target": self.config.target,
            "scales": self.config.scale,
            "count": self.config.count,
            "refusal": self.refusal,
            "blindness": self.blindness,
            "counted": self.counters,
        })
    }

    fn adopt(&mut self, config: &RoleConfig) {
        if let RoleConfig::Feedback(config) = config {
            self.config = config.clone();
        }
    }
}

#[cfg(test)]
#[path = "feedback_tests.rs"]
mod tests;
