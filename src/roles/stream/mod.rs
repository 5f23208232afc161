//! The stream: an event log that is appended to and read from any offset, and never rewritten.
//!
//! ```text
//! main: append, read (and wait for what comes), groups --> store --synced--> readers, tail (PUB)
//! dialled: what is published there ---------------------------^
//! ```
//!
//! An append is answered once it is stored, and only then anybody can read it. Offsets are dense and
//! never used again. What a producer numbers is appended once, however often it is sent. What is
//! known beside the records (producers and groups) is in the log too, as notes without records, and
//! in the checkpoint that spares a start from reading all of it.
//!
//! | file | what |
//! |---|---|
//! | `append` `producers` | appending, and knowing what was appended before |
//! | `recording` | messages of those it subscribes to |
//! | `reading` | reads, those that wait for more among them |
//! | `replaying` | what is published at buses, by links |
//! | `groups` | consumer groups: positions that are stored, owners that are fenced |
//! | `known` | notes and checkpoints |

mod append;
mod groups;
mod known;
mod producers;
mod reading;
mod recording;
mod replaying;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::model::limits::stream::PENDING_MAX;
use crate::model::store::{Ask, StoreConfig, StoreFault, Told};
use crate::protocol::envelope;
use crate::protocol::zn1::{self, Reply, Request};

use super::Config as RoleConfig;
use super::hearing::Hearing;
use super::machine::{self, Action, Caller, Common, Event, Read};
use super::refused::Refused;
use super::waiting::Waiting;

use append::{Appending, Beginning};
use groups::{Changing, Groups};
use producers::Producers;
use reading::Fetching;
use recording::Recording;
pub use replaying::Replay;
use replaying::Replaying;

/// The name of the port where everything is asked.
pub const MAIN: &str = "main";
/// The name of the port where records are published as they come.
pub const TAIL: &str = "tail";

/// What a stream is told when it starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// What every role is told.
    pub common: Common,
    /// Where its records are.
    pub store: StoreConfig,
    /// What it asks those for that it dials, by the names of the dials.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub topics: BTreeMap<String, Vec<String>>,
    /// What it publishes at those that it dials, by the names of the dials.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub replays: BTreeMap<String, Replay>,
}

impl Config {
    /// What of another configuration a stream with this one cannot take while it runs.
    pub fn fixed_change(&self, next: &Self) -> Option<&'static str> {
        let Self {
            common,
            store,
            topics,
            replays,
        } = self;
        let is_other = machine::asks_otherwise(topics, &next.topics);
        let other = is_other.then_some("what it subscribes to");
        let other = other.or((*replays != next.replays).then_some("what it replays"));
        let fixed = store.fixed_change(&next.store).or(other);
        fixed.or_else(|| common.fixed_change(&next.common))
    }
}

/// What it has counted since it was started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Records that were appended.
    pub appended: u64,
    /// Their bytes.
    pub appended_bytes: u64,
    /// Records that were read.
    pub read: u64,
    /// Appends that were known already, by their producers' numbers.
    pub duplicates: u64,
    /// Requests that were refused.
    pub refused: u64,
    /// Appends that the store did not take.
    pub unstored: u64,
    /// Commits and reads of owners that no longer were.
    pub fenced: u64,
    /// Messages of those it subscribes to that were stored.
    pub recorded: u64,
    /// Messages of theirs that were not: the store did not keep them, or it was ending.
    pub unrecorded: u64,
    /// Messages that are no request.
    pub malformed: u64,
}

/// What is under way in the store.
#[derive(Debug)]
enum Pending {
    Append(Appending),
    Begin(Beginning),
    Record(Recording),
    Change(Changing),
    Fetch(Fetching),
    /// What a replay by a dial reads.
    Replay(String),
    /// The place of a replay by a dial.
    Place(String, known::Note),
}

/// The stream.
#[derive(Debug)]
pub struct Machine {
    config: Config,
    now: Duration,
    counters: Counters,
    /// The oldest offset.
    start: u64,
    /// The offset after the newest that is stored.
    end: u64,
    /// The offset after the newest that is to be stored.
    asked_end: u64,
    /// The last batch that was stored, if any was.
    last_seq: Option<u64>,
    tickets: u64,
    pending: HashMap<u64, Pending>,
    /// Bytes of what is to be stored.
    pending_bytes: usize,
    producers: Producers,
    groups: Groups,
    waiting: Waiting<Fetching>,
    hearing: Hearing,
    replaying: BTreeMap<String, Replaying>,
    /// Why a message was not stored.
    fault: Option<StoreFault>,
    /// What its store has told it is not its own.
    is_foreign: bool,
    is_draining: bool,
}

impl Machine {
    /// A stream that was told nothing of its store yet.
    pub fn new(config: &Config) -> Self {
        Self {
            config: config.clone(),
            now: Duration::ZERO,
            counters: Counters::default(),
            start: 0,
            end: 0,
            asked_end: 0,
            last_seq: None,
            tickets: 0,
            pending: HashMap::new(),
            pending_bytes: 0,
            producers: Producers::default(),
            groups: Groups::default(),
            waiting: Waiting::default(),
            hearing: Hearing::default(),
            replaying: replaying::all(&config.replays),
            fault: None,
            is_foreign: false,
            is_draining: false,
        }
    }

    /// What it has counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Whether as much is asked as may be under way; what is heard is bounded by itself.
    fn is_busy(&self) -> bool {
        self.pending.len().saturating_sub(self.hearing.storing()) >= PENDING_MAX
    }

    /// Whether it is not settled yet where it begins.
    fn is_beginning(&self) -> bool {
        let is_new = self.last_seq.is_none() && !self.pending.is_empty();
        let is_it = |it: &Pending| matches!(it, Pending::Begin(_));
        is_new && self.pending.values().any(is_it)
    }

    fn ticket(&mut self, pending: Pending) -> u64 {
        self.tickets += 1;
        self.pending.insert(self.tickets, pending);
        self.tickets
    }

    fn asked(&mut self, caller: Caller, body: Vec<Bytes>, actions: &mut Vec<Action>) {
        let name = self.config.common.name.clone();
        let (caller, request) = match machine::read(&name, caller, body, actions) {
            Read::Answered => return,
            Read::Malformed => {
                self.counters.malformed += 1;
                return;
            }
            Read::Request(caller, request) => (caller, request),
        };
        let id = request.id.clone();
        let answered = self.verb(&caller, request, actions);
        self.answer(caller, id, answered, actions);
    }

    /// One verb. Nothing is answered where it is answered later.
    fn verb(
        &mut self,
        caller: &Caller,
        request: Request,
        actions: &mut Vec<Action>,
    ) -> Result<Option<Reply>, Refused> {
        match request.verb.as_str() {
            "append" => self.append(caller, request, actions),
            "read" => self.read(caller, request, actions),
            "begin" => self.begin(caller, request, actions),
            "take" => self.take(caller, request, actions),
            "commit" => self.commit(caller, request, actions),
            "forget" => self.forget(caller, request, actions),
            "groups" => Ok(Some(Reply::new(
                zn1::OK,
                request.id,
                json!({"groups": self.groups.facts(self.end)}),
            ))),
            _ => Ok(Some(machine::no_such_verb(&request))),
        }
    }

    fn answer(
        &mut self,
        caller: Caller,
        id: Bytes,
        answered: Result<Option<Reply>, Refused>,
        actions: &mut Vec<Action>,
    ) {
        match answered {
            Ok(None) => {}
            Ok(Some(reply)) => actions.push(caller.reply(&reply)),
            Err(refused) => {
                self.counters.refused += 1;
                actions.push(caller.reply(&refused.reply(id)));
            }
        }
    }

    fn told(&mut self, told: Told, actions: &mut Vec<Action>) {
        match told {
            Told::Restored(data) => self.restore(&data),
            Told::Replayed(batch) => self.replay(&batch),
            // Its records are told one by one, by who reads them.
            Told::Incomplete(_) => {}
            Told::Recovered { start, end } => {
                (self.start, self.end, self.asked_end) = (start, end, end);
            }
            Told::Stored { ticket, result } => {
                let pending = self.pending.remove(&ticket);
                if let (Ok(stored), false) = (&result, matches!(pending, Some(Pending::Begin(_)))) {
                    self.last_seq = Some(stored.seq);
                }
                match pending {
                    Some(Pending::Begin(it)) => self.begun(it, result, actions),
                    Some(Pending::Append(it)) => self.appended(it, result, actions),
                    Some(Pending::Record(it)) => self.recorded(it, result, actions),
                    Some(Pending::Change(it)) => self.changed(it, result, actions),
                    Some(Pending::Place(dial, note)) => {
                        self.place_kept(&dial, &note, result, actions);
                    }
                    Some(Pending::Fetch(_) | Pending::Replay(_)) | None => {
                        unreachable!("a ticket is for one thing")
                    }
                }
            }
            Told::Fetched { ticket, result } => match self.pending.remove(&ticket) {
                Some(Pending::Fetch(it)) => self.fetched(it, result, actions),
                Some(Pending::Replay(dial)) => self.replay_read(&dial, result, actions),
                _ => unreachable!("a ticket is for one thing"),
            },
            Told::CheckpointDue => self.checkpoint(actions),
            // It is due again when more was stored.
            Told::Checkpointed { .. } => {}
        }
    }

    fn checkpoint(&mut self, actions: &mut Vec<Action>) {
        if let Some(through) = self.last_seq {
            let data = self.known().into();
            actions.push(Action::Disk(Ask::Checkpoint { through, data }));
        }
    }
}

impl machine::Machine for Machine {
    fn step(&mut self, now: Duration, event: Event, actions: &mut Vec<Action>) {
        self.now = now;
        match event {
            Event::Message { port, conn, frames } if &*port == MAIN => {
                let (envelope, body) = envelope::split(frames);
                self.asked(Caller { conn, envelope }, body, actions);
            }
            Event::Message { port, frames, .. } if self.is_replayed_to(&port) => {
                self.replay_answer(&port, frames, actions);
            }
            Event::Message { frames, .. } => self.record(frames, actions),
            Event::Disk(told) => self.told(told, actions),
            Event::Opened { port, conn } => {
                let topics = &self.config.topics;
                self.hearing.opened(topics, (&port, conn), actions);
                self.replay_opened(&port, conn, actions);
            }
            Event::Closed { port, conn } => {
                self.replay_closed(&port, conn);
                self.hearing.closed(conn);
                self.waiting.retain(|it| it.is_by_other_than(conn));
            }
            Event::Drain => {
                self.is_draining = true;
                self.hearing.stop(actions);
                self.send_away(None, actions);
                self.replay_all(actions);
            }
            Event::Tick => {
                self.send_away(Some(now), actions);
                self.replay_all(actions);
            }
            Event::Subscribed { .. } | Event::Writable { .. } | Event::Unsent { .. } => {}
        }
    }

    fn deadline(&self) -> Option<Duration> {
        let replays = self.replaying.values().filter_map(Replaying::next);
        self.waiting.next().into_iter().chain(replays).min()
    }

    fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.replaying.values().all(Replaying::is_idle)
    }

    fn facts(&self) -> Value {
        let mut facts = serde_json::to_value(&self.counters).expect("counters have text keys");
        facts["start_offset"] = self.start.into();
        facts["end_offset"] = self.asked_end.into();
        facts["synced_offset"] = self.end.into();
        facts["groups"] = self.groups.len().into();
        facts["producers"] = self.producers.len().into();
        facts["waiting"] = self.waiting.len().into();
        let replays = self.replaying.iter();
        let replays: serde_json::Map<String, Value> = replays
            .map(|(dial, it)| (dial.clone(), it.facts(self.end)))
            .collect();
        if !replays.is_empty() {
            facts["replays"] = replays.into();
        }
        if let Some(fault) = &self.fault {
            facts["fault"] = fault.to_string().into();
        }
        facts
    }

    fn refusal(&self) -> Option<String> {
        let words = "what the store has kept is not of a stream";
        self.is_foreign.then(|| words.to_owned())
    }

    fn adopt(&mut self, config: &RoleConfig) {
        if let RoleConfig::Stream(config) = config {
            self.config = config.clone();
        }
    }
}
