//! `front`, `peek` and `len`: what waits is given, as often as it is asked, and stays.

use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::model::limits::spool::{
    PAGE_BYTES, PAGE_BYTES_MAX, PAGE_FRAMES_MAX, PAGE_MAX, WAIT_MS_MAX, WAITING_MAX, WINDOW_MAX,
};
use crate::model::store::{Ask, Durability, Fetched, Start, StoreFault};
use crate::protocol::zn1::{self, Reply, Request};
use crate::roles::machine::{Action, Caller};
use crate::roles::refused::{Refused, params};

use super::known::Kept;
use super::window::data_of;
use super::{Machine, Pending, next_look};

/// The params of `front`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FrontParams {
    #[serde(default)]
    count: Option<usize>,
    #[serde(default)]
    bytes: Option<usize>,
    #[serde(default)]
    wait_ms: u64,
}

/// The params of `peek`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PeekParams {
    #[serde(default)]
    from: Option<u64>,
    #[serde(default)]
    last: Option<u64>,
    #[serde(default)]
    count: Option<usize>,
    #[serde(default)]
    bytes: Option<usize>,
    #[serde(default)]
    wait_ms: u64,
}

/// Messages that are asked for.
#[derive(Debug, Clone)]
pub(super) struct Page {
    pub(super) caller: Caller,
    id: Bytes,
    /// Where it begins; nothing is the oldest that there is then.
    from: Option<u64>,
    count: usize,
    bytes: usize,
    /// Until when it waits for something.
    until: Duration,
}

impl Machine {
    pub(super) fn front(
        &mut self,
        caller: &Caller,
        request: Request,
        actions: &mut Vec<Action>,
    ) -> Result<Option<Reply>, Refused> {
        let asked: FrontParams = params(request.params)?;
        let page = Page {
            caller: caller.clone(),
            id: request.id,
            from: None,
            count: asked.count.unwrap_or(1).clamp(1, PAGE_MAX),
            bytes: asked.bytes.unwrap_or(PAGE_BYTES).min(PAGE_BYTES_MAX),
            until: self.until(asked.wait_ms),
        };
        self.give(page, actions)
    }

    pub(super) fn peek(
        &mut self,
        caller: &Caller,
        request: Request,
        actions: &mut Vec<Action>,
    ) -> Result<Option<Reply>, Refused> {
        let asked: PeekParams = params(request.params)?;
        let (head, end) = (self.head.offset, self.end.offset);
        let from = match (asked.from, asked.last) {
            (Some(_), Some(_)) => {
                return Err(Refused::new(zn1::BAD_REQUEST, "one of `from` and `last`"));
            }
            (Some(from), None) => from,
            (None, Some(last)) => end.saturating_sub(last).max(head),
            (None, None) => head,
        };
        let more = json!({"head": head, "end": end});
        // Where only the newest is kept, what is gone is no news: the next one is.
        let from = match self.is_latest() {
            true => from.max(head),
            false => from,
        };
        if from < head {
            let words = format!("the message {from} was taken; the oldest is {head}");
            return Err(Refused(zn1::NOT_FOUND, words, more));
        }
        if from > end {
            let words = format!("{from} is past the end, which is {end}");
            return Err(Refused(zn1::NOT_FOUND, words, more));
        }
        let page = Page {
            caller: caller.clone(),
            id: request.id,
            from: Some(from),
            count: asked.count.unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX),
            bytes: asked.bytes.unwrap_or(PAGE_BYTES).min(PAGE_BYTES_MAX),
            until: self.until(asked.wait_ms),
        };
        self.give(page, actions)
    }

    fn until(&self, wait_ms: u64) -> Duration {
        self.now + Duration::from_millis(wait_ms.min(WAIT_MS_MAX))
    }

    /// Gives what is there, now or when the disk was read; else it waits.
    fn give(&mut self, page: Page, actions: &mut Vec<Action>) -> Result<Option<Reply>, Refused> {
        let from = page.from.unwrap_or(self.head.offset).max(self.head.offset);
        if from >= self.end.offset {
            return self.nothing(page);
        }
        let mut here = self.window.from(from).peekable();
        if here.peek().is_some() {
            let kept = here.take(page.count).cloned().collect();
            return Ok(Some(self.page(&page, from, kept)));
        }
        drop(here);
        if self.is_busy() {
            return Err(Refused::of(&StoreFault::Busy));
        }
        // Whoever takes one after the other finds the next ones in memory.
        let records_max = match from == self.head.offset {
            true => page.count.max(WINDOW_MAX / 4),
            false => page.count,
        };
        let bytes_max = page.bytes;
        let ticket = self.ticket(Pending::Read(page));
        actions.push(Action::Disk(Ask::Fetch {
            ticket,
            start: Start::Offset(from),
            records_max,
            bytes_max,
        }));
        Ok(None)
    }

    /// There is nothing to give now: it waits, or hears that.
    fn nothing(&mut self, page: Page) -> Result<Option<Reply>, Refused> {
        if page.until <= self.now || self.is_draining {
            return self.none(page);
        }
        if self.waiting.len() >= WAITING_MAX {
            let words = "too many requests wait for messages";
            return Err(Refused::new(zn1::BACK_PRESSURE, words));
        }
        self.waiting.add(page.until, page);
        Ok(None)
    }

    /// Nothing came in time: for `front` that is no message, for `peek` an empty page.
    fn none(&mut self, page: Page) -> Result<Option<Reply>, Refused> {
        match page.from {
            Some(_) => Ok(Some(self.page(&page, self.end.offset, Vec::new()))),
            None => {
                let more = json!({"head": self.head.offset, "end": self.end.offset});
                let words = "the spool is empty".to_owned();
                Err(Refused(zn1::NOT_FOUND, words, more))
            }
        }
    }

    /// The answer with messages from an offset on, no more than were asked for.
    fn page(&mut self, page: &Page, first: u64, kept: Vec<Kept>) -> Reply {
        let (mut times, mut parts, mut body) = (Vec::new(), Vec::new(), Vec::new());
        let mut bytes = 0;
        for kept in kept.into_iter().take(page.count) {
            bytes += data_of(&kept).len();
            let frames = kept.frames();
            let is_over = bytes > page.bytes || body.len() + frames.len() > PAGE_FRAMES_MAX;
            if is_over && !parts.is_empty() {
                break;
            }
            times.push(kept.time_ns);
            parts.push(frames.len());
            body.extend(frames);
        }
        let count = parts.len() as u64;
        self.counters.read += count;
        let mut told = json!({
            "offset": first,
            "next": first + count,
            "parts": parts,
            "times_ns": times,
            "length": self.length(),
        });
        if self.is_latest() {
            told["new"] = self.is_new.into();
            self.is_new = self.is_new && count == 0;
        }
        let mut reply = Reply::new(zn1::OK, page.id.clone(), told);
        reply.body = body;
        reply
    }

    /// There are messages: nobody waits any longer.
    pub(super) fn wake(&mut self, actions: &mut Vec<Action>) {
        for page in self.waiting.take() {
            let (caller, id) = (page.caller.clone(), page.id.clone());
            let answered = self.give(page, actions);
            self.answer(caller, id, answered, actions);
        }
    }

    /// Answers those whose time is over, or all of them.
    pub(super) fn send_away(&mut self, until: Option<Duration>, actions: &mut Vec<Action>) {
        while let Some(page) = self.waiting.pop(until) {
            let (caller, id) = (page.caller.clone(), page.id.clone());
            let answered = self.none(page);
            self.answer(caller, id, answered, actions);
        }
    }

    /// What came of reading the disk.
    pub(super) fn fetched(
        &mut self,
        page: Page,
        result: Result<Fetched, StoreFault>,
        actions: &mut Vec<Action>,
    ) {
        let (caller, id) = (page.caller.clone(), page.id.clone());
        let answered = match result {
            // It was taken while it was read.
            Ok(fetched) if fetched.first_offset < self.head.offset => self.give(page, actions),
            Ok(fetched) => {
                let first = fetched.first_offset;
                let kept = fetched.records.into_iter().map(Kept::from);
                // The disk may be ahead of what was told of it: whoever goes on must find the end.
                let told = usize::try_from(self.end.offset.saturating_sub(first));
                let kept: Vec<Kept> = kept.take(told.unwrap_or(usize::MAX)).collect();
                if first == self.head.offset {
                    if let Some(oldest) = kept.first() {
                        self.head.bytes = oldest.bytes_before();
                    }
                    for (offset, kept) in (first..).zip(&kept) {
                        self.window.add(offset, kept.clone());
                    }
                }
                Ok(Some(self.page(&page, first, kept)))
            }
            Err(StoreFault::Gone(start)) if page.from.is_none_or(|from| from < start) => {
                self.begins_at(start, actions);
                self.give(page, actions)
            }
            Err(fault) => Err(Refused::of(&fault)),
        };
        self.answer(caller, id, answered, actions);
    }

    /// Bytes of what waits, as it is kept.
    pub(super) fn bytes(&self) -> u64 {
        match self.length() {
            0 => 0,
            _ => self.end.bytes.saturating_sub(self.head.bytes),
        }
    }

    pub(super) fn told_length(&self) -> Value {
        let mut told = json!({
            "length": self.length(),
            "bytes": self.bytes(),
            "head": self.head.offset,
            "end": self.end.offset,
        });
        if self.is_latest() {
            told["new"] = self.is_new.into();
        }
        told
    }

    /// The oldest that is on the disk: what was before it and not taken is lost.
    pub(super) fn begins_at(&mut self, start: u64, actions: &mut Vec<Action>) {
        if start > self.head.offset {
            self.counters.dropped.retain += start - self.head.offset;
            self.head.offset = start;
            self.window.forget(start);
            self.ask_oldest(actions);
        }
    }

    /// Whether messages may be forgotten before they are taken.
    pub(super) fn forgets(&self) -> bool {
        let store = &self.config.store;
        let is_memory = store.durability == Durability::Memory;
        // Memory has a bound of its own.
        is_memory || store.retain_ms.is_some() || store.retain_bytes.is_some()
    }

    /// Looks whether the oldest message is still there, where it may not be.
    pub(super) fn look(&mut self, actions: &mut Vec<Action>) {
        if self.forgets() && self.now >= self.looks_at {
            self.looks_at = next_look(self.now);
            self.ask_oldest(actions);
        }
    }

    /// Has the oldest message read, for the bytes before it and to know that it is there.
    pub(super) fn ask_oldest(&mut self, actions: &mut Vec<Action>) {
        if self.length() == 0 {
            self.head.bytes = self.end.bytes;
        } else {
            let ticket = self.ticket(Pending::Look);
            actions.push(Action::Disk(Ask::Fetch {
                ticket,
                start: Start::Offset(self.head.offset),
                records_max: 1,
                bytes_max: 0,
            }));
        }
    }

    pub(super) fn looked(
        &mut self,
        result: Result<Fetched, StoreFault>,
        actions: &mut Vec<Action>,
    ) {
        match result {
            Ok(fetched) if fetched.first_offset == self.head.offset => {
                let oldest = fetched.records.into_iter().next().map(Kept::from);
                if let Some(oldest) = oldest {
                    self.head.bytes = oldest.bytes_before();
                }
            }
            Err(StoreFault::Gone(start)) => self.begins_at(start, actions),
            // It was taken meanwhile, or whoever reads it hears why it cannot be.
            Ok(_) | Err(_) => {}
        }
    }
}
