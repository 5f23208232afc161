//! The spool: a subscriber that keeps what it hears until somebody takes it.
//!
//! ```text
//! publishers --SUB--> filters --> store --synced--> window --> main: front, peek, pop, len
//! ```
//!
//! What passed its filters and was stored stays until it is popped: `front` gives it as often as it is
//! asked, `pop` takes it once whoever asked has it. With `mode: latest` only the newest is there. A
//! message that cannot be kept, and a filter that cannot judge, are counted and end nothing: it goes
//! on listening. Publishers are not read while too much is being stored.
//!
//! | file | what |
//! |---|---|
//! | `filters` `receiving` | what comes, and what of it is stored |
//! | `window` `reading` | the oldest messages in memory; `front`, `peek`, `len` |
//! | `taking` | `pop`: one change of the position at a time, what is asked meanwhile is the next |
//! | `known` | notes and checkpoints, what a message is on disk |

mod filters;
mod known;
mod reading;
mod receiving;
mod taking;
#[cfg(test)]
mod tests;
mod window;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::model::limits::spool::{LOOK_EVERY_MS, PENDING_MAX};
use crate::model::store::{Ask, StoreConfig, StoreFault, Told};
use crate::protocol::envelope;
use crate::protocol::zn1::{self, Reply, Request};

use super::Config as RoleConfig;
use super::hearing::Hearing;
use super::machine::{self, Action, Caller, Common, Event, Read};
use super::refused::Refused;
use super::waiting::Waiting;

pub use filters::Filter;
use filters::{Filters, KeptFilter};
use known::Once;
use reading::Page;
use receiving::{Message, Putting};
use taking::Taking;
use window::Window;

/// The name of the port where everything is asked.
pub const MAIN: &str = "main";

/// What a spool keeps of what it has stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Every message until it is taken.
    #[default]
    Fifo,
    /// Only the newest.
    Latest,
}

/// What a spool is told when it starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// What every role is told.
    pub common: Common,
    /// Where its messages are.
    pub store: StoreConfig,
    /// Which of them it keeps.
    pub mode: Mode,
    /// Bytes of messages; one that does not fit beside those that wait is dropped.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub bytes_max: Option<u64>,
    /// What it keeps of what it hears, in their order.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub filters: Vec<Filter>,
    /// What of that comes by a dial goes past these first, by the names of the dials.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub link_filters: BTreeMap<String, Vec<Filter>>,
    /// What it asks those for that it dials, by the names of the dials.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub topics: BTreeMap<String, Vec<String>>,
}

impl Config {
    /// What of another configuration a spool with this one cannot take while it runs.
    pub fn fixed_change(&self, next: &Self) -> Option<&'static str> {
        // Named one by one, so that a new field is judged too. How much it holds may change.
        let Self {
            common,
            store,
            mode,
            bytes_max: _,
            filters,
            link_filters,
            topics,
        } = self;
        let changed = [
            ("`store.mode`", *mode != next.mode),
            ("`filters`", *filters != next.filters),
            ("`filters` of a link", *link_filters != next.link_filters),
            (
                "what it subscribes to",
                machine::asks_otherwise(topics, &next.topics),
            ),
        ];
        let mut changed = changed.into_iter().filter(|(_, is_changed)| *is_changed);
        let own = changed.next().map(|(what, _)| what);
        let fixed = own.or_else(|| store.fixed_change(&next.store));
        fixed.or_else(|| common.fixed_change(&next.common))
    }
}

/// Messages that were heard or stored and are not there, by why.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Dropped {
    /// They did not fit beside those that wait.
    pub full: u64,
    /// The store did not keep them.
    pub disk: u64,
    /// They were too old, or too many, for `retain`.
    pub retain: u64,
    /// They came while it was ending.
    pub ending: u64,
}

/// What it has counted since it was started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Messages that were heard.
    pub received: u64,
    /// Messages that were stored, imported ones among them.
    pub stored: u64,
    /// Messages that were given to who asked; one may be given again.
    pub read: u64,
    /// Messages that were taken.
    pub popped: u64,
    /// Messages that are not there though they passed.
    pub dropped: Dropped,
    /// Requests that were refused.
    pub refused: u64,
    /// Messages at `main` that are no request.
    pub malformed: u64,
}

/// What is under way in the store.
#[derive(Debug)]
enum Pending {
    Message(Message),
    Put(Putting),
    /// What the filters know, where no message took it along.
    Filters,
    Position,
    Read(Page),
    /// The last message that a `pop` names, whose size is not known.
    Size,
    /// The oldest message: whether it is still there.
    Look,
}

/// The spool.
#[derive(Debug)]
pub struct Machine {
    config: Config,
    /// The time at which `now` was nothing, in nanoseconds since 1970. What the clock is set to later
    /// moves no filter.
    began_ns: u64,
    now: Duration,
    counters: Counters,
    filters: Filters,
    /// The oldest message that was not taken, and the bytes of all before it.
    head: Place,
    /// The place after the newest that is stored.
    end: Place,
    /// The bytes of all messages that were asked to be stored.
    asked_bytes: u64,
    /// Those that are dialled, and what of theirs is being stored.
    hearing: Hearing,
    /// Whether somebody was given the newest since it came.
    is_new: bool,
    window: Window,
    taking: Taking,
    once: Once,
    waiting: Waiting<Page>,
    /// The last batch that was stored, if any was.
    last_seq: Option<u64>,
    /// Bytes of messages up to which the disk was trimmed.
    trimmed_bytes: u64,
    /// When what is too old is looked for next.
    looks_at: Duration,
    tickets: u64,
    pending: HashMap<u64, Pending>,
    /// Why a message was not stored.
    fault: Option<StoreFault>,
    /// What its store has told it is not its own.
    is_foreign: bool,
    is_draining: bool,
}

/// An offset, and the bytes of all messages before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Place {
    offset: u64,
    bytes: u64,
}

impl Machine {
    /// A spool that was told nothing of its store yet. The time is that of its start, in nanoseconds
    /// since 1970.
    pub fn new(config: &Config, began_ns: u64) -> Self {
        Self {
            config: config.clone(),
            began_ns,
            now: Duration::ZERO,
            counters: Counters::default(),
            filters: Filters::new(&config.filters, &config.link_filters),
            head: Place::default(),
            end: Place::default(),
            asked_bytes: 0,
            hearing: Hearing::default(),
            is_new: false,
            window: Window::default(),
            taking: Taking::default(),
            once: Once::default(),
            waiting: Waiting::default(),
            last_seq: None,
            trimmed_bytes: 0,
            looks_at: Duration::ZERO,
            tickets: 0,
            pending: HashMap::new(),
            fault: None,
            is_foreign: false,
            is_draining: false,
        }
    }

    /// What it has counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// How many messages wait.
    fn length(&self) -> u64 {
        self.end.offset - self.head.offset
    }

    fn is_latest(&self) -> bool {
        self.config.mode == Mode::Latest
    }

    fn now_ns(&self) -> u64 {
        let since = u64::try_from(self.now.as_nanos()).unwrap_or(u64::MAX);
        self.began_ns.saturating_add(since)
    }

    fn ticket(&mut self, pending: Pending) -> u64 {
        self.tickets += 1;
        self.pending.insert(self.tickets, pending);
        self.tickets
    }

    /// Whether no further request may be under way in the store.
    fn is_busy(&self) -> bool {
        self.pending.len().saturating_sub(self.hearing.storing()) >= PENDING_MAX
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
            "front" => self.front(caller, request, actions),
            "peek" => self.peek(caller, request, actions),
            "pop" => self.pop(caller, request, actions),
            "len" => Ok(Some(Reply::new(zn1::OK, request.id, self.told_length()))),
            "put" => self.put(caller, request, actions),
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
            Told::Replayed(batch) => self.replay(batch),
            // Its messages are told one by one, by who reads them.
            Told::Incomplete(_) => {}
            Told::Recovered { start, end } => self.recovered((start, end), actions),
            Told::Stored { ticket, result } => {
                if let Ok(stored) = &result {
                    self.last_seq = Some(stored.seq);
                }
                match self.pending.remove(&ticket) {
                    Some(Pending::Message(it)) => self.stored(it, result, actions),
                    Some(Pending::Put(it)) => self.was_put(it, result, actions),
                    Some(Pending::Position) => self.took(result, actions),
                    Some(Pending::Filters) => {}
                    _ => unreachable!("a ticket is for one thing"),
                }
            }
            Told::Fetched { ticket, result } => match self.pending.remove(&ticket) {
                Some(Pending::Read(page)) => self.fetched(page, result, actions),
                Some(Pending::Size) => self.sized(result, actions),
                Some(Pending::Look) => self.looked(result, actions),
                _ => unreachable!("a ticket is for one thing"),
            },
            Told::CheckpointDue => self.checkpoint(actions),
            Told::Checkpointed { result, .. } => {
                if result.is_ok() {
                    self.trim(actions);
                }
            }
        }
    }

    /// Has what was taken removed from the disk, as far as it goes by itself.
    fn trim(&mut self, actions: &mut Vec<Action>) {
        self.trimmed_bytes = self.head.bytes;
        let before = self.head.offset;
        actions.push(Action::Disk(Ask::Trim { before }));
    }

    fn drain(&mut self, actions: &mut Vec<Action>) {
        self.is_draining = true;
        self.hearing.stop(actions);
        self.keep_filters(actions);
        self.send_away(None, actions);
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
            Event::Message { port, frames, .. } => self.receive(&port, frames, actions),
            Event::Disk(told) => self.told(told, actions),
            Event::Opened { port, conn } => {
                let topics = &self.config.topics;
                self.hearing.opened(topics, (&port, conn), actions);
            }
            Event::Closed { conn, .. } => {
                self.hearing.closed(conn);
                self.waiting.retain(|page| page.caller.conn != conn);
            }
            Event::Drain => self.drain(actions),
            Event::Tick => {
                self.send_away(Some(now), actions);
                self.look(actions);
            }
            Event::Subscribed { .. } | Event::Writable { .. } | Event::Unsent { .. } => {}
        }
    }

    fn deadline(&self) -> Option<Duration> {
        let looks_at = self.forgets().then_some(self.looks_at);
        self.waiting.next().into_iter().chain(looks_at).min()
    }

    fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.taking.is_idle()
    }

    fn facts(&self) -> Value {
        let mut facts = json!({
            "length": self.length(),
            "bytes": self.bytes(),
            "head": self.head.offset,
            "end": self.end.offset,
            "filtered": self.filters.refused(),
            "waiting": self.waiting.len(),
            "storing": self.hearing.storing(),
        });
        let counters = serde_json::to_value(&self.counters).expect("counters have text keys");
        if let (Some(facts), Value::Object(counters)) = (facts.as_object_mut(), counters) {
            facts.extend(counters);
        }
        let fault = self.fault.as_ref().map(ToString::to_string);
        if let Some(fault) = fault.or_else(|| self.filters.fault().map(str::to_owned)) {
            facts["fault"] = fault.into();
        }
        facts
    }

    fn refusal(&self) -> Option<String> {
        let words = "what the store has kept is not of a spool";
        self.is_foreign.then(|| words.to_owned())
    }

    fn adopt(&mut self, config: &RoleConfig) {
        if let RoleConfig::Spool(config) = config {
            self.config = Config::clone(config);
        }
    }
}

/// When a look is due again.
fn next_look(now: Duration) -> Duration {
    now + Duration::from_millis(LOOK_EVERY_MS)
}
