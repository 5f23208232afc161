//! The queue with a store: what it says is stored first.
//!
//! ```text
//! event -> queue, in memory -> changes -> waiting -> one flight -> stored -> what it said is sent
//! ```
//!
//! The queue does its steps as one without a store. What changed by a step is found afterwards, and
//! what it said waits until that is stored, and all before it: so nobody hears of anything that a
//! crash could take back, a worker is given nothing but what is stored as given to it, and its answer
//! is confirmed, or reaches its client, when it is stored. One flight is under way at a time; what
//! comes meanwhile is the next. What the disk does not take is undone: the queue is made again from
//! what is stored.
//!
//! | file | what |
//! |---|---|
//! | `changes` | what changed in a step |
//! | `shadow` `snapshot` | what is stored, and a checkpoint of it |
//! | `record` | the same as bytes |
//! | `restore` | a queue made from it |
//! | `refused` | what becomes of what was not stored |

mod changes;
mod record;
mod refused;
mod restore;
mod shadow;
mod snapshot;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use crate::model::limits::queue::{
    FLIGHT_BYTES_MAX, FLIGHT_CHANGES_MAX, STORED_MAX, UNSAID_BYTES_MAX,
};
use crate::model::store::{Ask, Entry, Put, StoreFault, Stored, Told};
use crate::roles::Config as RoleConfig;
use crate::roles::machine::{self, Action, Conn, Event};

use super::tasks::{Key, Waiter};
use super::{Config, Machine};
use changes::Change;
pub(super) use changes::{Ended, Facet};
use record::Unreadable;
use refused::{Undone, refusal};
use shadow::Shadow;

/// How long it rests before it looks whether the disk takes anything again.
const REST: Duration = Duration::from_secs(1);

/// How long it rests before it writes a checkpoint again that was not taken.
const CHECKPOINT_REST: Duration = Duration::from_secs(10);

/// What came of a step, while it waits to be stored.
#[derive(Debug, Default)]
struct Step {
    changes: VecDeque<Change>,
    says: Vec<Action>,
    /// Who hears by that what came of a task.
    left: Vec<(Key, Waiter)>,
}

/// What is being stored, and what is said then.
#[derive(Debug, Default)]
struct Flight {
    changes: Vec<Change>,
    says: Vec<Action>,
    left: Vec<(Key, Waiter)>,
}

/// What is known of the log.
#[derive(Debug, Default)]
struct Log {
    ticket: u64,
    /// The last batch, and the offset after it.
    last: Option<(u64, u64)>,
    /// A checkpoint is wanted, or being written.
    is_due: bool,
    is_writing: bool,
    /// Why the last one was not, and before when no other is.
    unwritten: Option<StoreFault>,
    not_before: Option<Duration>,
    /// The offset after what the last one contains.
    checkpointed: u64,
    /// Why the last flight was not stored.
    fault: Option<StoreFault>,
    unreadable: Option<Unreadable>,
    /// Flights that were not stored.
    unkept: u64,
}

/// A queue with a store.
#[derive(Debug)]
pub struct Durable {
    queue: Machine,
    shadow: Shadow,
    log: Log,
    waiting: VecDeque<Step>,
    flight: Option<Flight>,
    /// Bytes of what waits to be said.
    unsaid_bytes: usize,
    /// Bytes of what waits to be stored.
    unstored_bytes: usize,
    /// Connections that are not read since too much does.
    paused: BTreeSet<Conn>,
    /// When it is looked whether the disk takes anything again.
    looks_at: Option<Duration>,
    seed: u64,
    now: Duration,
}

impl Durable {
    /// A queue that is told by its store what there is. The seed is to differ from life to life; the
    /// time is that of the start, in milliseconds since 1970.
    pub fn new(config: &Config, seed: u64, began_ms: u64) -> Self {
        let shadow = Shadow {
            epoch: fastrand::Rng::with_seed(seed).u32(..),
            ..Shadow::default()
        };
        let times = (began_ms, Duration::ZERO);
        let queue = Machine::restored(&bounded(config), times, &shadow);
        Self {
            queue,
            shadow,
            log: Log::default(),
            waiting: VecDeque::new(),
            flight: None,
            unsaid_bytes: 0,
            unstored_bytes: 0,
            paused: BTreeSet::new(),
            looks_at: None,
            seed,
            now: Duration::ZERO,
        }
    }

    /// The queue does a step.
    fn tell(&mut self, event: Event, actions: &mut Vec<Action>) {
        let mut said = Vec::new();
        machine::Machine::step(&mut self.queue, self.now, event, &mut said);
        self.keep(said, actions);
    }

    /// Has kept what changed, and has said what was said when it is.
    fn keep(&mut self, said: Vec<Action>, actions: &mut Vec<Action>) {
        let changes: VecDeque<Change> = self.queue.changes().into();
        let left = self.queue.left();
        self.unstored_bytes += changes.iter().map(Change::bytes).sum::<usize>();
        let is_idle = changes.is_empty() && self.waiting.is_empty() && self.flight.is_none();
        // Where nothing can be stored, nothing that is said waits for it.
        let is_still = is_idle || self.queue.stalled().is_some();
        let mut says = Vec::new();
        for action in said {
            match action {
                Action::Send { ref frames, .. } if !is_still => {
                    self.unsaid_bytes += bytes_of(frames);
                    says.push(action);
                }
                // It is read again when less waits to be said.
                Action::Resume { conn } if self.paused.contains(&conn) => {}
                other => actions.push(other),
            }
        }
        if !changes.is_empty() || !says.is_empty() {
            self.waiting.push_back(Step {
                changes,
                says,
                left,
            });
        }
        self.take_off(actions);
    }

    /// Has what waits stored, unless something is being stored.
    fn take_off(&mut self, actions: &mut Vec<Action>) {
        if self.flight.is_some() || self.queue.stalled().is_some() {
            return;
        }
        let flight = self.board();
        if flight.changes.is_empty() {
            return self.say(flight.says, actions);
        }
        actions.push(self.store(flight));
    }

    fn store(&mut self, flight: Flight) -> Action {
        let put = |change| Put {
            time_ns: None,
            data: record::encode(change),
        };
        self.log.ticket += 1;
        let ask = Ask::Store {
            ticket: self.log.ticket,
            entry: Entry {
                note: record::encode_note(self.shadow.epoch),
                records: flight.changes.iter().map(put).collect(),
            },
        };
        self.flight = Some(flight);
        Action::Disk(ask)
    }

    /// Takes what is stored next.
    fn board(&mut self) -> Flight {
        let mut flight = Flight::default();
        let mut bytes = 0;
        while let Some(step) = self.waiting.front_mut() {
            while let Some(change) = step.changes.front() {
                bytes += change.bytes();
                let is_full = flight.changes.len() >= FLIGHT_CHANGES_MAX;
                if is_full || (bytes > FLIGHT_BYTES_MAX && !flight.changes.is_empty()) {
                    return flight;
                }
                flight.changes.extend(step.changes.pop_front());
            }
            if let Some(step) = self.waiting.pop_front() {
                flight.says.extend(step.says);
                flight.left.extend(step.left);
            }
        }
        flight
    }

    /// Says what may be said now.
    fn say(&mut self, says: Vec<Action>, actions: &mut Vec<Action>) {
        for action in &says {
            if let Action::Send { frames, .. } = action {
                self.unsaid_bytes -= bytes_of(frames);
            }
        }
        actions.extend(says);
        if self.backlog() <= UNSAID_BYTES_MAX / 2 {
            self.resume(actions);
        }
    }

    fn resume(&mut self, actions: &mut Vec<Action>) {
        let paused = std::mem::take(&mut self.paused).into_iter();
        let free = paused.filter(|conn| !self.queue.is_held(*conn));
        actions.extend(free.map(|conn| Action::Resume { conn }));
    }

    /// What waits for the disk: a short answer may wait for a large task.
    fn backlog(&self) -> usize {
        self.unsaid_bytes + self.unstored_bytes
    }

    /// Where too much waits for the disk, whoever goes on asking is read no further.
    fn slow_down(&mut self, conn: Conn, actions: &mut Vec<Action>) {
        if self.backlog() > UNSAID_BYTES_MAX && self.paused.insert(conn) {
            actions.push(Action::Pause { conn });
        }
    }

    /// The log tells something.
    fn told(&mut self, told: Told, actions: &mut Vec<Action>) {
        match told {
            Told::Restored(data) => match record::decode_checkpoint(data) {
                Ok(shadow) => self.shadow = shadow,
                Err(fault) => self.log.unreadable = Some(fault),
            },
            Told::Replayed(batch) => {
                self.log.last = Some((batch.seq, batch.next_offset()));
                let at_ms = batch.time_ns / 1_000_000;
                if let Err(fault) = self.replay(batch.note, batch.records, at_ms) {
                    self.log.unreadable = Some(fault);
                }
            }
            // What is whole of its tasks goes on; its log says the rest.
            Told::Incomplete(_) => {}
            Told::Recovered { .. } => self.begin(actions),
            Told::Stored { ticket, result } => {
                if ticket == self.log.ticket
                    && let Some(flight) = self.flight.take()
                {
                    match result {
                        Ok(stored) => self.landed(flight, stored, actions),
                        Err(fault) => self.crashed(flight, fault, actions),
                    }
                }
            }
            Told::CheckpointDue => {
                self.log.is_due = true;
                self.checkpoint(actions);
            }
            Told::Checkpointed { result, .. } => {
                self.log.is_writing = false;
                match result {
                    Ok(()) => {
                        self.log.unwritten = None;
                        let before = self.log.checkpointed;
                        actions.push(Action::Disk(Ask::Trim { before }));
                    }
                    // Nothing is trimmed meanwhile, which has to be seen.
                    Err(fault) => {
                        self.log.unwritten = Some(fault);
                        self.log.is_due = true;
                        self.log.not_before = Some(self.now + CHECKPOINT_REST);
                    }
                }
            }
            Told::Fetched { .. } => {}
        }
    }

    fn replay(
        &mut self,
        note: Bytes,
        records: Vec<crate::model::store::Record>,
        at_ms: u64,
    ) -> Result<(), Unreadable> {
        self.shadow.epoch = record::decode_note(note)?;
        for record in records {
            self.shadow.apply(record::decode(record.data)?, at_ms);
        }
        Ok(())
    }

    /// All that was stored is known.
    fn begin(&mut self, actions: &mut Vec<Action>) {
        self.shadow.settle();
        let times = (self.queue.began_ms, self.now);
        self.queue = Machine::restored(&self.queue.config, times, &self.shadow);
        self.queue.rng = fastrand::Rng::with_seed(self.seed);
        if let Some(fault) = self.log.unreadable {
            self.queue.stalled = Some(fault.to_string());
            return;
        }
        self.keep(Vec::new(), actions);
    }

    fn landed(&mut self, flight: Flight, stored: Stored, actions: &mut Vec<Action>) {
        let records = flight.changes.len() as u64;
        self.log.last = Some((stored.seq, stored.first_offset + records));
        self.log.fault = None;
        self.unstored_bytes -= flight.changes.iter().map(Change::bytes).sum::<usize>();
        let now_ms = self.queue.wall_ms(self.now);
        for change in flight.changes {
            self.queue.begin_stored(&change);
            self.shadow.apply(change, now_ms);
        }
        // Nothing of that is a change that is to be stored.
        self.queue.tasks.touched();
        self.say(flight.says, actions);
        if self.queue.stalled().is_some() {
            self.looks_at = None;
            let mut said = Vec::new();
            self.queue.go_on(&mut said);
            self.keep(said, actions);
        }
        self.take_off(actions);
        self.checkpoint(actions);
    }

    /// What flew was not stored: it is undone, with all that was done since. Whoever would have been
    /// told that it was done is told that it is not.
    fn crashed(&mut self, flight: Flight, fault: StoreFault, actions: &mut Vec<Action>) {
        self.log.unkept += u64::from(!flight.changes.is_empty());
        let is_look = flight.changes.is_empty() && self.waiting.is_empty();
        if is_look && self.queue.stalled().is_some() {
            // Nothing was done since the last time: there is nothing to undo.
            self.log.fault = Some(fault);
            self.looks_at = Some(self.now + REST);
            return;
        }
        let why = format!("nothing is taken: {fault}");
        self.log.fault = Some(fault);
        self.looks_at = Some(self.now + REST);
        let mut undone = Undone::default();
        undone.add(flight.changes, flight.left);
        let mut says = flight.says;
        for step in std::mem::take(&mut self.waiting) {
            undone.add(step.changes, step.left);
            says.extend(step.says);
        }
        for action in says {
            if let Action::Send { conn, frames } = action {
                let frames = refusal(frames, &why);
                actions.extend(frames.map(|frames| Action::Send { conn, frames }));
            }
        }
        (self.unsaid_bytes, self.unstored_bytes) = (0, 0);
        let mut said = Vec::new();
        self.queue.undo(&self.shadow, (why, undone), &mut said);
        let is_paused = |action: &Action| matches!(action, Action::Pause { conn } if self.paused.contains(conn));
        said.retain(|action| !is_paused(action));
        actions.extend(said);
        self.resume(actions);
    }

    /// Looks whether the disk takes anything again.
    fn look(&mut self, actions: &mut Vec<Action>) {
        if self.flight.is_none() && self.looks_at.is_some_and(|at| at <= self.now) {
            self.looks_at = None;
            actions.push(self.store(Flight::default()));
        }
    }

    /// Has all that is known kept, so that the log need not be read from its beginning.
    fn checkpoint(&mut self, actions: &mut Vec<Action>) {
        let Some((through, before)) = self.log.last else {
            return;
        };
        if !self.log.is_due || self.log.is_writing || self.log.unreadable.is_some() {
            return;
        }
        if self.log.not_before.is_some_and(|at| self.now < at) {
            return;
        }
        self.log.is_due = false;
        self.log.is_writing = true;
        self.shadow.begin_snapshot((through, before));
        self.go_on_writing(actions);
    }

    /// Writes the next part of a checkpoint; it is stored once it is whole.
    fn go_on_writing(&mut self, actions: &mut Vec<Action>) {
        if let Some((through, before, data)) = self.shadow.go_on_writing() {
            self.log.checkpointed = before;
            actions.push(Action::Disk(Ask::Checkpoint { through, data }));
        }
    }
}

impl machine::Machine for Durable {
    fn step(&mut self, now: Duration, event: Event, actions: &mut Vec<Action>) {
        (self.now, self.queue.now) = (now, now);
        if matches!(event, Event::Tick) {
            self.go_on_writing(actions);
        }
        match event {
            Event::Disk(told) => self.told(told, actions),
            Event::Tick if self.queue.stalled().is_some() => self.look(actions),
            Event::Message { conn, .. } => {
                self.tell(event, actions);
                self.slow_down(conn, actions);
            }
            Event::Closed { conn, .. } => {
                self.paused.remove(&conn);
                self.tell(event, actions);
            }
            event => self.tell(event, actions),
        }
    }

    fn deadline(&self) -> Option<Duration> {
        if self.shadow.is_writing() {
            return Some(self.now);
        }
        match self.queue.stalled() {
            Some(_) => self.looks_at,
            None => self.queue.deadline(),
        }
    }

    fn is_idle(&self) -> bool {
        self.queue.is_idle() && self.waiting.is_empty() && self.flight.is_none()
    }

    fn facts(&self) -> Value {
        let mut facts = self.queue.facts();
        facts["results"] = self.queue.results.len().into();
        facts["results_bytes"] = self.queue.results.bytes().into();
        let unwritten = self.log.unwritten.as_ref().map(ToString::to_string);
        facts["checkpoint_fault"] = serde_json::json!(unwritten);
        facts["unkept"] = self.log.unkept.into();
        facts["fault"] = serde_json::json!(self.queue.stalled());
        facts
    }

    fn adopt(&mut self, config: &RoleConfig) {
        if let RoleConfig::Queue(config) = config {
            self.queue.adopt(&RoleConfig::Queue(bounded(config)));
        }
    }
}

/// A configuration with no more bytes than a checkpoint may have.
fn bounded(config: &Config) -> Config {
    Config {
        bytes_max: config.bytes_max.min(STORED_MAX),
        ..config.clone()
    }
}

fn bytes_of(frames: &[Bytes]) -> usize {
    /// What a frame costs beside its bytes.
    const FRAME_BYTES: usize = 32;
    frames.iter().map(|frame| frame.len() + FRAME_BYTES).sum()
}
