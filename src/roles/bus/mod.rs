//! The bus: what publishers send to `in` goes to who subscribes at `out`, by prefixes of its first
//! frame; `acked` takes messages by ZN1 and says how many got them.
//!
//! ```text
//! PUB, XPUB --> in  --topics--> out --> SUB, XSUB
//! ZN1 publish --> acked --^
//! ```
//!
//! Whoever runs a bus over real sockets may have the wire fan its messages out, and tells the machine
//! of neither port: [`Machine::beside_a_fan`]. [`Machine::alone`] does all of it itself, message by
//! message; both account alike. A publisher never waits for a subscriber, and none is reordered.

mod account;
mod fanout;

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::model::policy::Overflow;
use crate::protocol::envelope;
use crate::protocol::zn1::{self, Reply, Request};

use super::Config as RoleConfig;
use super::machine::{self, Action, Caller, Common, Conn, Event, Read};
pub use account::Account;
use fanout::{Fanout, HERE};

/// The names of its ports.
pub const IN: &str = "in";
/// Where subscribers dial.
pub const OUT: &str = "out";
/// Where a message is published and acknowledged.
pub const ACKED: &str = "acked";

/// Stands in the name of a dial before the bus whose messages come by it, where that is not the one that
/// is dialled: no name has it.
pub const ORIGIN_MARK: char = '~';

/// The bus whose messages come by a dial of this name, where that is not the one that is dialled.
pub fn origin_of(dial: &str) -> Option<&str> {
    dial.rsplit_once(ORIGIN_MARK).map(|(_, origin)| origin)
}

/// Topics whose last message is kept, where that is asked for.
pub const RETAINED_MAX: usize = 65_536;

/// What a bus is told when it starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// What every role is told.
    pub common: Common,
    /// Bytes that may wait for one subscriber.
    pub buffer_bytes: u64,
    /// How many messages may, beside that.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub messages_max: Option<u64>,
    /// What happens with more.
    pub overflow: Overflow,
    /// What a subscriber is sent once it subscribed to it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub welcome: Option<String>,
    /// Whether the last message of each topic is kept for those who subscribe later.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub retain: bool,
    /// Whether messages get one more frame with their number within their topic.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub sequence: bool,
    /// The buses that subscribe here: each names the bus whose messages it wants, else it wants those
    /// that were published here.
    #[serde(skip_serializing_if = "BTreeSet::is_empty", default)]
    pub buses: BTreeSet<String>,
    /// What is asked of the buses that are dialled, by the names of the dials; nothing stands for what is
    /// subscribed to here, which only a fan of the wire can tell.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub topics: BTreeMap<String, Vec<String>>,
}

impl Config {
    /// What of another configuration a bus with this one cannot take while it runs.
    pub fn fixed_change(&self, next: &Self) -> Option<&'static str> {
        // Named one by one, so that a new field is judged too. Which buses subscribe may change.
        let Self {
            common,
            buffer_bytes,
            messages_max,
            overflow,
            welcome,
            retain,
            sequence,
            buses: _,
            topics,
        } = self;
        let changed = [
            ("`buffer`", *buffer_bytes != next.buffer_bytes),
            ("`hwm`", *messages_max != next.messages_max),
            ("`overflow`", *overflow != next.overflow),
            ("`welcome`", *welcome != next.welcome),
            ("`retain`", *retain != next.retain),
            ("`sequence`", *sequence != next.sequence),
            (
                "what it asks other buses for",
                machine::asks_otherwise(topics, &next.topics),
            ),
        ];
        let mut changed = changed.into_iter().filter(|(_, is_changed)| *is_changed);
        let own = changed.next().map(|(what, _)| what);
        own.or_else(|| common.fixed_change(&next.common))
    }
}

/// What it has counted of the port `acked`; pings and `status` are in none of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Messages published and acknowledged.
    pub acked: u64,
    /// Requests that came again and were published before.
    pub repeated: u64,
    /// Requests that were refused.
    pub refused: u64,
    /// Requests that mean to be ZN1 and are not.
    pub malformed: u64,
}

/// Ids of what was published lately, by which a request that comes again is known.
const IDS_MAX: usize = 8_192;

/// The bus.
#[derive(Debug)]
pub struct Machine {
    config: Config,
    counters: Counters,
    /// The ids of what was published lately, oldest first.
    recent: VecDeque<Bytes>,
    known: HashSet<Bytes>,
    /// What it fans out itself; nothing beside a fan of the wire.
    fanout: Option<Fanout>,
}

impl Machine {
    /// A bus whose messages are fanned out elsewhere.
    pub fn beside_a_fan(config: &Config) -> Self {
        Self {
            config: config.clone(),
            counters: Counters::default(),
            recent: VecDeque::new(),
            known: HashSet::new(),
            fanout: None,
        }
    }

    /// A bus that does all of it itself.
    pub fn alone(config: &Config) -> Self {
        Self {
            fanout: Some(Fanout::new(config)),
            ..Self::beside_a_fan(config)
        }
    }

    /// What passed to a subscriber, where this one fans out itself.
    pub fn account(&self, conn: Conn) -> Option<Account> {
        self.fanout.as_ref()?.account(conn)
    }

    /// What passed to all subscribers, those that are gone included.
    pub fn total(&self) -> Option<Account> {
        Some(self.fanout.as_ref()?.total())
    }

    /// A connection is another bus, where this one fans out itself: it has, or wants, what was published
    /// first at a bus; at this one where that is empty.
    #[cfg(test)]
    pub(crate) fn is_bus(&mut self, conn: Conn, origin: &str) {
        if let Some(fanout) = &mut self.fanout {
            fanout.is_bus(conn, origin);
        }
    }

    fn asked(&mut self, caller: Caller, body: Vec<Bytes>, actions: &mut Vec<Action>) {
        match machine::read(&self.config.common.name, caller, body, actions) {
            Read::Answered => {}
            Read::Malformed => self.counters.malformed += 1,
            Read::Request(caller, request) => self.request(caller, request, actions),
        }
    }

    fn request(&mut self, caller: Caller, request: Request, actions: &mut Vec<Action>) {
        let id = request.id.clone();
        if request.verb != "publish" {
            return actions.push(caller.reply(&machine::no_such_verb(&request)));
        }
        if request.body.is_empty() {
            self.counters.refused += 1;
            let words = "a message has at least one frame, its topic";
            let reply = Reply::failure(zn1::BAD_REQUEST, id, words);
            return actions.push(caller.reply(&reply));
        }
        if !self.remember(&id) {
            self.counters.repeated += 1;
            let reply = Reply::new(zn1::OK, id, serde_json::json!({"repeated": true}));
            return actions.push(caller.reply(&reply));
        }
        self.counters.acked += 1;
        let frames = request.body;
        let Some(fanout) = &mut self.fanout else {
            return actions.push(Action::Publish { caller, id, frames });
        };
        let (matched, queued) = fanout.publish(&frames, HERE, actions);
        actions.push(caller.reply(&published(id, matched, queued)));
    }
}

impl Machine {
    /// Remembers an id. False where it was remembered; an empty one never is.
    fn remember(&mut self, id: &Bytes) -> bool {
        if id.is_empty() {
            return true;
        }
        // Copied: it stays when the buffer it came in is gone.
        let id = Bytes::copy_from_slice(id);
        if !self.known.insert(id.clone()) {
            return false;
        }
        self.recent.push_back(id);
        if self.recent.len() > IDS_MAX
            && let Some(oldest) = self.recent.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}

/// The answer to `publish`.
pub fn published(id: Bytes, matched: u64, queued: u64) -> Reply {
    let result = serde_json::json!({"matched": matched, "queued": queued});
    Reply::new(zn1::OK, id, result)
}

impl machine::Machine for Machine {
    fn step(&mut self, _now: Duration, event: Event, actions: &mut Vec<Action>) {
        if let Some(fanout) = &mut self.fanout {
            fanout.step(&event, actions);
        }
        if let Event::Message { port, conn, frames } = event
            && &*port == ACKED
        {
            let (envelope, body) = envelope::split(frames);
            self.asked(Caller { conn, envelope }, body, actions);
        }
    }

    fn deadline(&self) -> Option<Duration> {
        self.fanout.as_ref()?.deadline()
    }

    fn is_idle(&self) -> bool {
        true
    }

    fn facts(&self) -> serde_json::Value {
        serde_json::to_value(&self.counters).expect("counters have only text keys")
    }

    fn adopt(&mut self, config: &RoleConfig) {
        if let RoleConfig::Bus(config) = config {
            self.config = config.clone();
            if let Some(fanout) = &mut self.fanout {
                fanout.adopt(config);
            }
        }
    }
}

#[cfg(test)]
mod tests;
