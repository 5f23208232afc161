//! What a spool hears: filtered, stored, counted where it is not. And `put`, by which messages that
//! were kept elsewhere come in.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

use crate::model::limits::spool::ONCE_BYTES_MAX;
use crate::model::store::{Ask, Entry, Put, StoreFault, Stored};
use crate::protocol::zn1::{self, Reply, Request};
use crate::roles::machine::{Action, Caller};
use crate::roles::refused::{Refused, params};

use super::known::{Kept, Note, record};
use super::{Machine, Pending};

/// A message that is being stored.
#[derive(Debug)]
pub(super) struct Message {
    data: Bytes,
}

/// Messages that are being imported.
#[derive(Debug)]
pub(super) struct Putting {
    caller: Caller,
    id: Bytes,
    once: Option<String>,
    messages: Vec<Bytes>,
}

/// The params of `put`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Params {
    /// How many frames each message has; none is one message of all.
    #[serde(default)]
    parts: Option<Vec<usize>>,
    #[serde(default)]
    once: Option<String>,
}

/// The frames of each message.
fn messages(parts: Option<&[usize]>, body: Vec<Bytes>) -> Result<Vec<Vec<Bytes>>, Refused> {
    let all = [body.len()];
    let parts = parts.unwrap_or(&all);
    let sum = |sum: usize, count: &usize| sum.checked_add(*count);
    let is_whole = parts.iter().try_fold(0, sum) == Some(body.len());
    if body.is_empty() || !is_whole || parts.contains(&0) {
        let words = "`parts` has the number of frames of each message, and each has at least one";
        return Err(Refused::new(zn1::BAD_REQUEST, words));
    }
    let mut frames = body.into_iter();
    let message = |count: &usize| frames.by_ref().take(*count).collect();
    Ok(parts.iter().map(message).collect())
}

impl Machine {
    /// A message of somebody who is dialled.
    pub(super) fn receive(&mut self, dial: &str, frames: Vec<Bytes>, actions: &mut Vec<Action>) {
        self.counters.received += 1;
        if self.is_draining {
            self.counters.dropped.ending += 1;
            return;
        }
        if !self.filters.pass(dial, self.now_ns(), &frames) {
            return;
        }
        let data = record(self.asked_bytes, &frames);
        if self.is_full(data.len() as u64) {
            self.counters.dropped.full += 1;
            return;
        }
        let kept = self.filters.changed().map(Note::Filters);
        let note = kept.map_or_else(Bytes::new, |note| note.encode());
        self.begin(data.len(), 1, actions);
        let ticket = self.ticket(Pending::Message(Message { data: data.clone() }));
        let records = vec![Put {
            time_ns: None,
            data,
        }];
        let entry = Entry { note, records };
        actions.push(Action::Disk(Ask::Store { ticket, entry }));
    }

    /// Whether a message does not fit beside those that wait.
    fn is_full(&self, bytes: u64) -> bool {
        let waiting = match self.is_latest() {
            true => 0,
            false => self.asked_bytes - self.head.bytes,
        };
        let max = self.config.bytes_max;
        max.is_some_and(|max| waiting + bytes > max)
    }

    fn begin(&mut self, bytes: usize, count: usize, actions: &mut Vec<Action>) {
        self.asked_bytes += bytes as u64;
        self.hearing.begin(bytes, count, actions);
    }

    /// Something was not stored: what is not there takes no room. What is still under way counts on from
    /// it, so it is put right when nothing is.
    fn forget_unstored(&mut self) {
        if self.hearing.storing() == 0 {
            self.asked_bytes = self.end.bytes;
        }
    }

    /// What became of a message.
    pub(super) fn stored(
        &mut self,
        message: Message,
        result: Result<Stored, StoreFault>,
        actions: &mut Vec<Action>,
    ) {
        self.hearing.end(message.data.len(), 1, actions);
        match result {
            Ok(stored) => self.keep(stored, vec![message.data], actions),
            Err(fault) => {
                self.counters.dropped.disk += 1;
                self.fault = Some(fault);
                self.forget_unstored();
            }
        }
    }

    /// Messages are stored: they can be read.
    fn keep(&mut self, stored: Stored, messages: Vec<Bytes>, actions: &mut Vec<Action>) {
        self.fault = None;
        self.counters.stored += messages.len() as u64;
        for (offset, data) in (stored.first_offset..).zip(messages) {
            let kept = Kept {
                time_ns: stored.time_ns,
                data,
            };
            self.is_at_end(offset, &kept);
            self.window.forget(self.head.offset);
            // What is between the window and the end is on the disk.
            if self.window.from(self.head.offset).next().is_some() || offset == self.head.offset {
                self.window.add(offset, kept);
            }
        }
        if self.is_latest() {
            self.trim_if_much(actions);
        }
        self.wake(actions);
    }

    /// What the filters know is kept, where no message took it along.
    pub(super) fn keep_filters(&mut self, actions: &mut Vec<Action>) {
        let Some(kept) = self.filters.changed() else {
            return;
        };
        let ticket = self.ticket(Pending::Filters);
        let entry = Entry {
            note: Note::Filters(kept).encode(),
            records: Vec::new(),
        };
        actions.push(Action::Disk(Ask::Store { ticket, entry }));
    }

    pub(super) fn put(
        &mut self,
        caller: &Caller,
        request: Request,
        actions: &mut Vec<Action>,
    ) -> Result<Option<Reply>, Refused> {
        let asked: Params = params(request.params)?;
        let is_long = |id: &String| id.is_empty() || id.len() > ONCE_BYTES_MAX;
        if asked.once.as_ref().is_some_and(is_long) {
            let words = format!("`once` is 1 to {ONCE_BYTES_MAX} bytes long");
            return Err(Refused::new(zn1::BAD_REQUEST, words));
        }
        let known = asked.once.as_ref().and_then(|id| self.once.find(id));
        if let Some(at) = known {
            return Ok(Some(receipt(request.id, at, true)));
        }
        let is_it = |it: &Pending| matches!(it, Pending::Put(put) if put.once == asked.once);
        if asked.once.is_some() && self.pending.values().any(is_it) {
            let words = "it is being stored: ask again to hear where";
            return Err(Refused::new(zn1::UNAVAILABLE, words));
        }
        let messages = messages(asked.parts.as_deref(), request.body)?;
        if self.is_draining {
            return Err(Refused::new(zn1::UNAVAILABLE, "the spool is ending"));
        }
        if self.is_busy() || self.hearing.is_loaded(1) {
            return Err(Refused::of(&StoreFault::Busy));
        }
        let mut before = self.asked_bytes;
        let mut records = Vec::with_capacity(messages.len());
        for frames in &messages {
            let data = record(before, frames);
            before += data.len() as u64;
            records.push(data);
        }
        if self.is_full(before - self.asked_bytes) {
            return Err(Refused::of(&StoreFault::AtMax));
        }
        let bytes = records.iter().map(Bytes::len).sum();
        self.begin(bytes, records.len(), actions);
        let once = asked.once.clone().map(Note::Once);
        let put = |data: &Bytes| Put {
            time_ns: None,
            data: data.clone(),
        };
        let entry = Entry {
            note: once.map_or_else(Bytes::new, |note| note.encode()),
            records: records.iter().map(put).collect(),
        };
        let ticket = self.ticket(Pending::Put(Putting {
            caller: caller.clone(),
            id: request.id,
            once: asked.once,
            messages: records,
        }));
        actions.push(Action::Disk(Ask::Store { ticket, entry }));
        Ok(None)
    }

    /// What became of messages that were imported.
    pub(super) fn was_put(
        &mut self,
        put: Putting,
        result: Result<Stored, StoreFault>,
        actions: &mut Vec<Action>,
    ) {
        let (bytes, count) = (
            put.messages.iter().map(Bytes::len).sum(),
            put.messages.len(),
        );
        self.hearing.end(bytes, count, actions);
        let answered = match result {
            Ok(stored) => {
                let at = (stored.first_offset, count as u64);
                if let Some(once) = put.once {
                    self.once.add(once, at);
                }
                self.keep(stored, put.messages, actions);
                Ok(Some(receipt(put.id.clone(), at, false)))
            }
            Err(fault) => {
                self.forget_unstored();
                Err(Refused::of(&fault))
            }
        };
        self.answer(put.caller, put.id, answered, actions);
    }
}

fn receipt(id: Bytes, (first, count): (u64, u64), is_repeated: bool) -> Reply {
    let told = json!({"offset": first, "count": count, "repeated": is_repeated});
    Reply::new(zn1::OK, id, told)
}
