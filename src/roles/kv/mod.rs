//! The key-value store: linearizable on its node, watched from a revision, mirrored by Clone.
//!
//! ```text
//! main: ZN1, snapshots --+                                    +-- updates: every write, and HUGZ
//! collector: updates ----+-- waiting -> one flight -> state --+-- watches
//!                                        (stored)             +-- answers
//! ```
//!
//! What may be written is looked at when its flight begins; one flight is under way at a time, what
//! comes meanwhile is the next. Only what is stored is in the state, is answered and is published:
//! nobody sees a write that a crash could take back. Reads are answered from the state at once.
//!
//! | file | what |
//! |---|---|
//! | `state` `history` `known` | what there is: the map, the last writes, who wrote |
//! | `staging` `writes` | how it changes |
//! | `record` | what is kept of it |
//! | `verbs` `watches` | ZN1: `get set cas del batch list watch` |
//! | `mirrors` | Clone: snapshots and updates |

mod history;
mod keeping;
mod known;
mod mirrors;
mod record;
mod staging;
mod state;
#[cfg(test)]
mod tests;
mod verbs;
mod watches;
mod writes;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Config as RoleConfig;
use super::machine::{self, Action, Caller, Common, Conn, Event};
use crate::model::store::StoreConfig;
use crate::protocol::clone;
use crate::protocol::envelope;

use history::History;
use keeping::Kept;
use known::Known;
use mirrors::Mirrors;
use state::State;
pub use verbs::refused_key;
use watches::Watches;
use writes::Writes;

/// The port of mirrors' updates.
pub const COLLECTOR: &str = "collector";
/// The port of everybody's.
pub const UPDATES: &str = "updates";
/// How long it says nothing on `updates` before it says that it is alive.
const HUGZ_EVERY: Duration = Duration::from_secs(1);

/// What a key-value store is told when it starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// What every role is told.
    pub common: Common,
    /// Bytes of keys and values; where they are full, none is taken.
    pub bytes_max: usize,
    /// Where it keeps them; without it they end with the process.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub store: Option<StoreConfig>,
}

impl Config {
    /// What of another configuration a store with this one cannot take while it runs.
    pub fn fixed_change(&self, next: &Self) -> Option<&'static str> {
        // How much it holds may change while it runs.
        let Self {
            common,
            bytes_max: _,
            store,
        } = self;
        let fixed = common.fixed_change(&next.common);
        fixed.or((*store != next.store).then_some("its store"))
    }
}

/// What it has counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Keys that were asked for.
    pub reads: u64,
    /// Those of them that there were not.
    pub misses: u64,
    /// Writes done, each with its revision.
    pub writes: u64,
    /// Those of them that took away a key whose time was over.
    pub expired: u64,
    /// Requests to write that found another revision than the one they named.
    pub conflicts: u64,
    /// Requests that were asked again and not done again.
    pub repeated: u64,
    /// Requests that were refused: too large, too many, full, or ending.
    pub refused: u64,
    /// Requests to write that the store did not keep.
    pub unkept: u64,
    /// Updates of mirrors that were dropped since too many waited.
    pub dropped: u64,
    /// Messages that could not be understood.
    pub malformed: u64,
    /// Snapshots sent to mirrors.
    pub snapshots: u64,
    /// Answers that their peers did not take.
    pub unsent: u64,
}

/// The key-value store.
#[derive(Debug)]
pub struct Machine {
    config: Config,
    /// The time at which `now` was nothing, in milliseconds since 1970.
    began_ms: u64,
    now: Duration,
    counters: Counters,
    state: State,
    history: History,
    known: Known,
    writes: Writes,
    watches: Watches,
    mirrors: Mirrors,
    kept: Kept,
    /// When something was published last.
    spoke: Duration,
    is_draining: bool,
}

impl Machine {
    /// A store without keys. The time is that of its start, in milliseconds since 1970.
    pub fn new(config: &Config, began_ms: u64) -> Self {
        Self {
            began_ms,
            now: Duration::ZERO,
            counters: Counters::default(),
            state: State::default(),
            history: History::default(),
            known: Known::default(),
            writes: Writes::default(),
            watches: Watches::default(),
            mirrors: Mirrors::default(),
            kept: Kept::new(config.store.is_some()),
            spoke: Duration::ZERO,
            is_draining: false,
            config: config.clone(),
        }
    }

    /// What it has counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The time, in milliseconds since 1970.
    fn now_ms(&self) -> u64 {
        let since = u64::try_from(self.now.as_millis()).unwrap_or(u64::MAX);
        self.began_ms.saturating_add(since)
    }

    fn asked(&mut self, conn: Conn, frames: Vec<bytes::Bytes>, actions: &mut Vec<Action>) {
        if let Some(subtree) = clone::asked_for(&frames) {
            return self.snapshot(conn, subtree, actions);
        }
        let (envelope, body) = envelope::split(frames);
        if let Some(subtree) = clone::asked_for(&body) {
            return self.snapshot(conn, subtree, actions);
        }
        let caller = Caller { conn, envelope };
        match machine::read(&self.config.common.name, caller, body, actions) {
            machine::Read::Answered => {}
            machine::Read::Malformed => self.counters.malformed += 1,
            machine::Read::Request(caller, request) => self.request(caller, request, actions),
        }
    }

    fn opened(&mut self, port: &str, conn: Conn, actions: &mut Vec<Action>) {
        if port == COLLECTOR {
            actions.push(Action::Subscribe {
                conn,
                topic: bytes::Bytes::new(),
                is_on: true,
            });
        }
    }

    fn closed(&mut self, conn: Conn) {
        self.watches.closed(conn);
        self.mirrors.closed(conn);
        self.writes.closed(conn);
    }

    fn tick(&mut self, actions: &mut Vec<Action>) {
        self.copy(actions);
        self.expire(actions);
        self.give_up_watches(actions);
        self.mirrors.go_on(&self.state, actions);
        if self.now >= self.spoke + HUGZ_EVERY {
            self.spoke = self.now;
            let frames = clone::command(clone::HUGZ, 0, clone::About::default(), "".into());
            actions.push(Action::Fan { frames });
        }
    }
}

impl machine::Machine for Machine {
    fn step(&mut self, now: Duration, event: Event, actions: &mut Vec<Action>) {
        self.now = now;
        match event {
            Event::Message { port, conn, frames } if &*port == COLLECTOR => {
                self.collected(conn, &frames, actions);
            }
            Event::Message { conn, frames, .. } => self.asked(conn, frames, actions),
            Event::Disk(told) => self.told(told, actions),
            Event::Opened { port, conn } => self.opened(&port, conn, actions),
            Event::Closed { conn, .. } => self.closed(conn),
            Event::Unsent { conn } => {
                if !self.mirrors.unsent(conn, actions) {
                    self.counters.unsent += 1;
                }
            }
            Event::Writable { conn } => self.mirrors.writable(conn),
            Event::Tick => self.tick(actions),
            Event::Drain => {
                self.is_draining = true;
                self.answer_watches(actions);
            }
            Event::Subscribed { .. } => {}
        }
    }

    fn deadline(&self) -> Option<Duration> {
        let due = [
            Some(self.spoke + HUGZ_EVERY),
            self.next_expiry(),
            self.watches.next(),
            self.kept.next(),
            self.mirrors.is_due().then_some(Duration::ZERO),
        ];
        due.into_iter().flatten().min()
    }

    fn is_idle(&self) -> bool {
        self.writes.is_idle() && self.mirrors.is_empty()
    }

    fn facts(&self) -> Value {
        let mut facts = serde_json::to_value(&self.counters).expect("counters have text keys");
        facts["revision"] = self.state.revision().into();
        facts["keys"] = self.state.len().into();
        facts["bytes"] = self.state.bytes().into();
        facts["bytes_max"] = self.config.bytes_max.into();
        facts["history_from"] = self.history.floor().into();
        facts["history_bytes"] = self.history.bytes().into();
        facts["waiting"] = self.writes.waiting().into();
        facts["watches"] = self.watches.len().into();
        facts["fault"] = json!(self.kept.fault());
        facts
    }

    fn refusal(&self) -> Option<String> {
        self.kept.refusal()
    }

    fn adopt(&mut self, config: &RoleConfig) {
        if let RoleConfig::Kv(config) = config {
            self.config = config.clone();
        }
    }
}
