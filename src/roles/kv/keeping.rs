//! What a key-value store asks of its log, and what it is told by it.

use std::time::Duration;

use bytes::Bytes;

use crate::model::store::{Ask, Batch, Entry, Put, StoreFault, Stored, Told};
use crate::roles::machine::Action;

use super::record::{self, Copying, Unreadable};
use super::writes::Flight;
use super::{Machine, history::History};

/// How long a checkpoint rests between two of its steps.
const COPY_REST: Duration = Duration::from_millis(1);

/// What is known of the log.
#[derive(Debug)]
pub(super) struct Kept {
    is_durable: bool,
    /// The number of the last flight.
    ticket: u64,
    /// The last batch that the state contains, and the offset after it.
    last: Option<(u64, u64)>,
    /// A checkpoint is wanted, or being written.
    is_due: bool,
    is_writing: bool,
    /// What is being copied for one, and the last batch that it contains.
    copying: Option<(u64, Copying)>,
    /// When that goes on.
    goes_on_at: Duration,
    /// The offset after what the last one contains.
    checkpointed: u64,
    fault: Option<StoreFault>,
    unreadable: Option<Unreadable>,
    /// Why no key is known: writes are missing of which nobody knows what they were.
    incomplete: Option<String>,
}

impl Kept {
    pub(super) fn new(is_durable: bool) -> Self {
        Self {
            is_durable,
            ticket: 0,
            last: None,
            is_due: false,
            is_writing: false,
            copying: None,
            goes_on_at: Duration::ZERO,
            checkpointed: 0,
            fault: None,
            unreadable: None,
            incomplete: None,
        }
    }

    /// When a checkpoint goes on, where one is being copied.
    pub(super) fn next(&self) -> Option<Duration> {
        self.copying.as_ref().map(|_| self.goes_on_at)
    }

    pub(super) fn is_durable(&self) -> bool {
        self.is_durable
    }

    /// Why nothing is taken and nothing told: what was kept is not ours, or not all of it is there.
    pub(super) fn unknown(&self) -> Option<String> {
        let unreadable = self.unreadable.map(|it| it.to_string());
        unreadable.or_else(|| self.incomplete.clone())
    }

    /// Whether no key is known.
    pub(super) fn is_unknown(&self) -> bool {
        self.unreadable.is_some() || self.incomplete.is_some()
    }

    /// Why it cannot run with what was kept.
    pub(super) fn refusal(&self) -> Option<String> {
        self.unreadable.map(|it| it.to_string())
    }

    /// Why the last flight was not kept, or nothing is taken.
    pub(super) fn fault(&self) -> Option<String> {
        let fault = || self.fault.as_ref().map(ToString::to_string);
        self.unknown().or_else(fault)
    }

    /// Has a flight stored.
    pub(super) fn store(&mut self, flight: &Flight) -> Action {
        self.ticket += 1;
        let record = |write| Put {
            time_ns: None,
            data: record::encode(write),
        };
        let entry = Entry {
            note: record::encode_note(flight.once.iter().map(|(id, done)| (id, done))),
            records: flight.writes.iter().map(record).collect(),
        };
        Action::Disk(Ask::Store {
            ticket: self.ticket,
            entry,
        })
    }

    pub(super) fn was_stored(&mut self, stored: Option<(Stored, usize)>) {
        if let Some((stored, records)) = stored {
            self.last = Some((stored.seq, stored.first_offset + records as u64));
            self.fault = None;
        }
    }

    pub(super) fn failed(&mut self, fault: &StoreFault) {
        self.fault = Some(fault.clone());
    }
}

impl Machine {
    /// The log tells something.
    pub(super) fn told(&mut self, told: Told, actions: &mut Vec<Action>) {
        match told {
            Told::Restored(data) => self.restored(data),
            Told::Replayed(batch) => self.replayed(batch),
            Told::Incomplete(what) => {
                // A key may have been set or deleted by any of them.
                let name = &self.config.common.name;
                self.kept.incomplete = Some(format!(
                    "the store is damaged, and what a key has is not known: {what}; \
                     `zmqnet store verify {name}` tells the files, and `zmqnet store restore` puts a \
                     copy back"
                ));
            }
            Told::Recovered { .. } => {}
            Told::Stored { ticket, result } => {
                if ticket == self.kept.ticket
                    && let Some(flight) = self.writes.flight.take()
                {
                    let records = flight.writes.len();
                    let result = result.map(|stored| Some((stored, records)));
                    self.land(flight, result, actions);
                    self.take_off(actions);
                    self.checkpoint(actions);
                }
            }
            Told::CheckpointDue => {
                self.kept.is_due = true;
                self.checkpoint(actions);
            }
            Told::Checkpointed { result, .. } => {
                self.kept.is_writing = false;
                if result.is_ok() {
                    let before = self.kept.checkpointed;
                    actions.push(Action::Disk(Ask::Trim { before }));
                }
            }
            Told::Fetched { .. } => {}
        }
    }

    fn restored(&mut self, data: Bytes) {
        match record::decode_checkpoint(data) {
            Ok((state, known)) => {
                self.history = History::default();
                self.history.begin(state.revision());
                self.state = state;
                for (id, done) in known {
                    self.known.add(id, done);
                }
            }
            Err(fault) => self.kept.unreadable = Some(fault),
        }
    }

    fn replayed(&mut self, batch: Batch) {
        self.kept.last = Some((batch.seq, batch.next_offset()));
        let known = record::decode_note(batch.note);
        let writes: Result<Vec<_>, _> = batch
            .records
            .into_iter()
            .map(|it| record::decode(it.data))
            .collect();
        match (known, writes) {
            (Ok(known), Ok(writes)) => {
                for (id, done) in known {
                    self.known.add(id, done);
                }
                for write in writes {
                    self.state.apply(&write);
                    self.history.push(write);
                }
            }
            (Err(fault), _) | (_, Err(fault)) => self.kept.unreadable = Some(fault),
        }
    }

    /// Has all that is known kept, so that the log need not be read from its beginning.
    fn checkpoint(&mut self, actions: &mut Vec<Action>) {
        let Some((through, before)) = self.kept.last else {
            return;
        };
        if !self.kept.is_due || self.kept.is_writing || self.kept.is_unknown() {
            return;
        }
        self.kept.is_due = false;
        self.kept.is_writing = true;
        self.kept.checkpointed = before;
        let note = record::encode_note(self.known.iter());
        self.kept.copying = Some((through, Copying::begin(&self.state, &note)));
        self.copy(actions);
    }

    /// Goes on with what is being copied for a checkpoint, once it rested: requests come in between.
    pub(super) fn copy(&mut self, actions: &mut Vec<Action>) {
        let Some((through, mut copying)) = self.kept.copying.take() else {
            return;
        };
        if self.now >= self.kept.goes_on_at {
            self.kept.goes_on_at = self.now + COPY_REST;
            if copying.go_on(&self.state) {
                let data = copying.end();
                return actions.push(Action::Disk(Ask::Checkpoint { through, data }));
            }
        }
        self.kept.copying = Some((through, copying));
    }
}
