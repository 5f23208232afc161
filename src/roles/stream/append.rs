//! `append`: records that come together are stored together and get consecutive offsets.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

use crate::model::limits::stream::{PENDING_BYTES_MAX, PRODUCER_BYTES_MAX};
use crate::model::store::{Ask, Entry, Put, StoreFault, Stored};
use crate::protocol::parts;
use crate::protocol::zn1::{self, Reply, Request};
use crate::roles::machine::{Action, Caller};
use crate::roles::refused::{Refused, params};

use super::known::Note;
use super::producers::Seen;
use super::recording::FANNED_PARTS_MAX;
use super::{Machine, Pending};

/// The params of `append`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Params {
    #[serde(default)]
    producer: Option<String>,
    #[serde(default)]
    sequence: Option<u64>,
    /// When each record happened, in nanoseconds since 1970; for imports.
    #[serde(default)]
    times_ns: Option<Vec<u64>>,
}

/// An append that is being stored.
#[derive(Debug)]
pub(super) struct Appending {
    /// Who waits for it: several, where it was sent again.
    callers: Vec<(Caller, Bytes)>,
    numbered: Option<(String, u64)>,
    records: Vec<Bytes>,
    bytes: usize,
}

/// The params of `begin`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BeginParams {
    offset: u64,
}

/// A beginning that is being stored.
#[derive(Debug)]
pub(super) struct Beginning {
    caller: Caller,
    id: Bytes,
    offset: u64,
}

fn receipt(id: Bytes, first: u64, count: u64, is_duplicate: bool) -> Reply {
    let result = json!({"offset": first, "count": count, "duplicate": is_duplicate});
    Reply::new(zn1::OK, id, result)
}

fn numbered(asked: &Params) -> Result<Option<(String, u64)>, Refused> {
    let bad = |words: &str| Err(Refused::new(zn1::BAD_REQUEST, words));
    match (&asked.producer, asked.sequence) {
        (None, None) => Ok(None),
        (Some(producer), Some(_)) if !(1..=PRODUCER_BYTES_MAX).contains(&producer.len()) => {
            bad("`producer` is 1 to 64 bytes long")
        }
        (Some(producer), Some(sequence)) => Ok(Some((producer.clone(), sequence))),
        (Some(_), None) | (None, Some(_)) => bad("`producer` and `sequence` go together"),
    }
}

impl Machine {
    pub(super) fn append(
        &mut self,
        caller: &Caller,
        request: Request,
        actions: &mut Vec<Action>,
    ) -> Result<Option<Reply>, Refused> {
        let asked: Params = params(request.params)?;
        let numbered = numbered(&asked)?;
        if self.is_draining {
            return Err(Refused::new(zn1::UNAVAILABLE, "the stream is ending"));
        }
        if self.is_beginning() {
            return Err(Refused::of(&StoreFault::Busy));
        }
        let records = request.body;
        if records.is_empty() {
            let words = "an append has at least one record, each a frame after the params";
            return Err(Refused::new(zn1::BAD_REQUEST, words));
        }
        let times = asked.times_ns.as_ref();
        if times.is_some_and(|times| times.len() != records.len()) {
            let words = "`times_ns` has a time for each record";
            return Err(Refused::new(zn1::BAD_REQUEST, words));
        }
        if let Some((producer, sequence)) = &numbered {
            match self.producers.find(producer, *sequence) {
                Seen::New => {}
                Seen::Stored(first, count) => {
                    self.counters.duplicates += 1;
                    return Ok(Some(receipt(request.id, first, count, true)));
                }
                Seen::Pending(ticket) => {
                    let Some(Pending::Append(it)) = self.pending.get_mut(&ticket) else {
                        unreachable!("what is pending has its ticket");
                    };
                    self.counters.duplicates += 1;
                    // Whoever asks again has no other answer to come.
                    it.callers.retain(|(other, _)| other.conn != caller.conn);
                    it.callers.push((caller.clone(), request.id));
                    return Ok(None);
                }
                Seen::Forgotten => {
                    let words =
                        "the number is older than those that are remembered of its producer";
                    return Err(Refused::new(zn1::CONFLICT, words));
                }
            }
        }
        let bytes: usize = records.iter().map(Bytes::len).sum();
        let is_full = self.is_busy()
            || (self.pending_bytes > 0 && self.pending_bytes + bytes > PENDING_BYTES_MAX);
        if is_full {
            return Err(Refused::of(&StoreFault::Busy));
        }
        let entry = entry(numbered.as_ref(), &records, asked.times_ns);
        self.asked_end += records.len() as u64;
        self.pending_bytes += bytes;
        let ticket = self.ticket(Pending::Append(Appending {
            callers: vec![(caller.clone(), request.id)],
            numbered: numbered.clone(),
            records,
            bytes,
        }));
        if let Some((producer, sequence)) = numbered {
            self.producers.begin(producer, sequence, ticket);
        }
        actions.push(Action::Disk(Ask::Store { ticket, entry }));
        Ok(None)
    }

    /// The offset of the first record of a stream that never had one: for imports.
    pub(super) fn begin(
        &mut self,
        caller: &Caller,
        request: Request,
        actions: &mut Vec<Action>,
    ) -> Result<Option<Reply>, Refused> {
        let BeginParams { offset } = params(request.params)?;
        if self.is_draining {
            return Err(Refused::new(zn1::UNAVAILABLE, "the stream is ending"));
        }
        // Half of all numbers are left for what comes.
        if offset > u64::MAX / 2 {
            let words = format!("`offset` is at most {}", u64::MAX / 2);
            return Err(Refused::new(zn1::BAD_REQUEST, words));
        }
        if self.last_seq.is_none() && (self.start, self.asked_end) == (offset, offset) {
            // It was asked before.
            let told = json!({ "offset": offset });
            return Ok(Some(Reply::new(zn1::OK, request.id, told)));
        }
        if self.last_seq.is_some() || self.asked_end > 0 || !self.pending.is_empty() {
            let words = "the stream has begun: its offsets go on where they are";
            return Err(Refused::new(zn1::CONFLICT, words));
        }
        let ticket = self.ticket(Pending::Begin(Beginning {
            caller: caller.clone(),
            id: request.id,
            offset,
        }));
        actions.push(Action::Disk(Ask::Begin { ticket, offset }));
        Ok(None)
    }

    /// What became of a beginning.
    pub(super) fn begun(
        &mut self,
        begin: Beginning,
        result: Result<Stored, StoreFault>,
        actions: &mut Vec<Action>,
    ) {
        let Beginning { caller, id, offset } = begin;
        let answered = match result {
            Ok(_) => {
                (self.start, self.end) = (offset, offset);
                // What was heard meanwhile comes after it.
                self.asked_end += offset;
                // Whoever waits at the end that was is told the one that is.
                self.send_away(None, actions);
                Ok(Some(Reply::new(
                    zn1::OK,
                    id.clone(),
                    json!({ "offset": offset }),
                )))
            }
            Err(fault) => Err(Refused::of(&fault)),
        };
        self.answer(caller, id, answered, actions);
    }

    /// What became of an append.
    pub(super) fn appended(
        &mut self,
        append: Appending,
        result: Result<Stored, StoreFault>,
        actions: &mut Vec<Action>,
    ) {
        let count = append.records.len() as u64;
        self.pending_bytes -= append.bytes;
        let stored = match result {
            Ok(stored) => stored,
            Err(fault) => {
                self.counters.unstored += 1;
                self.asked_end -= count;
                if let Some((producer, sequence)) = &append.numbered {
                    self.producers.end(producer, *sequence);
                }
                for (caller, id) in append.callers {
                    self.answer(caller, id, Err(Refused::of(&fault)), actions);
                }
                return;
            }
        };
        let first = stored.first_offset;
        self.end = first + count;
        self.counters.appended += count;
        self.counters.appended_bytes += append.bytes as u64;
        if let Some((producer, sequence)) = append.numbered {
            self.producers.keep(producer, sequence, (first, count));
        }
        for (place, (caller, id)) in append.callers.into_iter().enumerate() {
            actions.push(caller.reply(&receipt(id, first, count, place > 0)));
        }
        for (offset, data) in (first..).zip(append.records) {
            let mut frames = parts::frames(data.clone());
            if frames.len() >= FANNED_PARTS_MAX {
                frames = vec![data];
            }
            frames.push(offset.to_string().into());
            actions.push(Action::Fan { frames });
        }
        self.wake(actions);
    }
}

fn entry(numbered: Option<&(String, u64)>, records: &[Bytes], times: Option<Vec<u64>>) -> Entry {
    let mut times = times.into_iter().flatten();
    let put = |data: &Bytes| Put {
        time_ns: times.next(),
        data: data.clone(),
    };
    let note = numbered.map(|(producer, sequence)| Note::Producer(producer.clone(), *sequence));
    Entry {
        note: note.map_or_else(Bytes::new, |note| note.encode()),
        records: records.iter().map(put).collect(),
    }
}
