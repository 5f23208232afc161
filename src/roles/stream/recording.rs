//! What a stream hears: each message of those it dials is a record, in the order in which it came.

use bytes::Bytes;

use crate::model::limits::PARTS_MAX;
use crate::model::store::{Ask, Entry, Put, StoreFault, Stored};
use crate::protocol::parts;
use crate::roles::machine::Action;

use super::{Machine, Pending};

/// A message with so many parts is followed as its record, in one: with its offset it would have more
/// than a subscriber takes.
pub(super) const FANNED_PARTS_MAX: usize = PARTS_MAX;

/// A message that is being stored.
#[derive(Debug)]
pub(super) struct Recording {
    frames: Vec<Bytes>,
    /// Its record's bytes.
    bytes: usize,
}

impl Machine {
    /// A message of somebody who is dialled.
    pub(super) fn record(&mut self, frames: Vec<Bytes>, actions: &mut Vec<Action>) {
        if self.is_draining {
            self.counters.unrecorded += 1;
            return;
        }
        let data = parts::record(&frames);
        let bytes = data.len();
        self.asked_end += 1;
        let ticket = self.ticket(Pending::Record(Recording { frames, bytes }));
        let put = Put {
            time_ns: None,
            data,
        };
        let entry = Entry {
            note: Bytes::new(),
            records: vec![put],
        };
        actions.push(Action::Disk(Ask::Store { ticket, entry }));
        self.hearing.begin(bytes, 1, actions);
    }

    /// What became of a message.
    pub(super) fn recorded(
        &mut self,
        recording: Recording,
        result: Result<Stored, StoreFault>,
        actions: &mut Vec<Action>,
    ) {
        self.hearing.end(recording.bytes, 1, actions);
        match result {
            Ok(stored) => {
                self.end = stored.first_offset + 1;
                self.counters.recorded += 1;
                self.fault = None;
                let mut frames = recording.frames;
                if frames.len() >= FANNED_PARTS_MAX {
                    frames = vec![parts::record(&frames)];
                }
                frames.push(stored.first_offset.to_string().into());
                actions.push(Action::Fan { frames });
                self.wake(actions);
            }
            Err(fault) => {
                self.asked_end -= 1;
                self.counters.unrecorded += 1;
                self.fault = Some(fault);
            }
        }
    }
}
