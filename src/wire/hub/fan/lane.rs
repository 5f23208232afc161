//! What is on its way to one subscriber: whole messages as wire bytes, shared with all others that
//! get them, within a bound.
//!
//! What comes is written to the kernel first, from where it was read, and only what the kernel does
//! not take is kept: a read may bring more than the bound, and it is not the subscriber's fault that
//! it came at once. Every message is counted: `matched = sent + queued + dropped`, always.
//!
//! It must never keep a small piece of a large buffer, and never a part of a message: what was begun
//! is the session's to finish.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

use crate::model::policy::Overflow;
use crate::wire::hub::forward::Passed;
use crate::wire::hub::session::Session;

use super::cut::{frames, measure};

/// Slices handed to the kernel in one write.
pub(in crate::wire::hub) const SLICES_MAX: usize = 64;
/// Bytes that may wait in the session of an encrypted connection, so that one write has enough.
const SEALED_BYTES_MAX: usize = 256 * 1024;
/// Fewer bytes than this are copied, together with what came before them.
const SHARED_BYTES_MIN: usize = 8 * 1024;
/// The memory that copies are put together in.
const BLOCK_BYTES: usize = 16 * 1024;

/// Consecutive messages in the bytes that they came in.
#[derive(Debug, Clone, Copy)]
pub(in crate::wire::hub) struct Span {
    pub(in crate::wire::hub) start: usize,
    pub(in crate::wire::hub) end: usize,
    pub(in crate::wire::hub) messages: u64,
    /// The bytes of their bodies.
    pub(in crate::wire::hub) payload: u64,
}

/// The bytes that spans are in, and the part of them that was made to last, if any was.
pub(in crate::wire::hub) struct Source<'a> {
    pub(in crate::wire::hub) bytes: &'a [u8],
    pub(in crate::wire::hub) kept: Option<(usize, Bytes)>,
}

impl Source<'_> {
    /// A part of the bytes, to be kept by many.
    fn keep(&mut self, start: usize, end: usize) -> Bytes {
        if self.kept.as_ref().is_none_or(|(from, _)| start < *from) {
            self.kept = Some((start, Bytes::copy_from_slice(&self.bytes[start..])));
        }
        let (from, kept) = self.kept.as_ref().expect("made in the line above");
        kept.slice(start - from..end - from)
    }
}

/// Whole messages that wait.
#[derive(Debug)]
struct Run {
    bytes: Bytes,
    messages: u64,
    payload: u64,
}

/// How much may wait, and what happens with more.
#[derive(Debug, Clone, Copy)]
pub(in crate::wire::hub) struct Bounds {
    pub(in crate::wire::hub) overflow: Overflow,
    pub(in crate::wire::hub) bytes_max: usize,
    pub(in crate::wire::hub) messages_max: Option<u64>,
}

/// How a lane writes: as much of the slices as the kernel takes now, none where it takes nothing.
pub(in crate::wire::hub) type Kernel<'a> = &'a mut dyn FnMut(&[IoSlice<'_>]) -> usize;

/// One subscriber's lane.
#[derive(Debug)]
pub(in crate::wire::hub) struct Lane {
    bounds: Bounds,
    queue: VecDeque<Run>,
    /// The end of the queue: where copies go.
    tail: BytesMut,
    tail_messages: u64,
    tail_payload: u64,
    bytes: usize,
    passed: Passed,
    /// The queue was full, and that ends the connection.
    is_over: bool,
    is_closed: bool,
}

impl Lane {
    pub(in crate::wire::hub) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            queue: VecDeque::new(),
            tail: BytesMut::new(),
            tail_messages: 0,
            tail_payload: 0,
            bytes: 0,
            passed: Passed::default(),
            is_over: false,
            is_closed: false,
        }
    }

    pub(in crate::wire::hub) fn is_empty(&self) -> bool {
        self.passed.queued == 0
    }

    pub(in crate::wire::hub) fn is_over(&self) -> bool {
        self.is_over
    }

    pub(in crate::wire::hub) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What passed; nothing once the lane was closed and counted elsewhere.
    pub(in crate::wire::hub) fn passed(&self) -> Option<Passed> {
        let queued_bytes = self.bytes as u64;
        (!self.is_closed).then_some(Passed {
            queued_bytes,
            ..self.passed
        })
    }

    /// Takes the messages of spans, in their order. Says how many of them were dropped as they came.
    pub(in crate::wire::hub) fn offer(
        &mut self,
        session: &mut Session,
        source: &mut Source<'_>,
        (spans, write): (&[Span], Kernel<'_>),
    ) -> u64 {
        let refused = self.passed.refused();
        let messages: u64 = spans.iter().map(|span| span.messages).sum();
        self.passed.matched += messages;
        if self.is_closed || self.is_over {
            self.passed.dropped.disconnected += messages;
            return messages;
        }
        if !session.is_ready() {
            self.passed.dropped.left += messages;
            return messages;
        }
        // Where something waits, the kernel was full a moment ago: it is asked again before anything
        // is dropped.
        let bytes: usize = spans.iter().map(|span| span.end - span.start).sum();
        let waits = !self.is_empty() || session.is_behind();
        if waits && !self.has_room(bytes, messages) {
            self.advance(session, write);
        }
        if session.is_encrypted() {
            self.keep(session, source, (spans, write));
            self.advance(session, write);
        } else if self.is_empty() && !session.is_behind() {
            let rest = self.write_through(session, source, (spans, write));
            self.keep(session, source, (&rest, write));
        } else {
            self.keep(session, source, (spans, write));
        }
        self.passed.refused() - refused
    }

    /// Writes spans from where they are. Gives those that are left.
    fn write_through(
        &mut self,
        session: &mut Session,
        source: &Source<'_>,
        (spans, write): (&[Span], Kernel<'_>),
    ) -> Vec<Span> {
        for (index, batch) in spans.chunks(SLICES_MAX).enumerate() {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let mut whole = 0;
            for (slice, span) in slices.iter_mut().zip(batch) {
                *slice = IoSlice::new(&source.bytes[span.start..span.end]);
                whole += span.end - span.start;
            }
            let mut written = write(&slices[..batch.len()]);
            session.bytes_out += written as u64;
            let is_all = written == whole;
            for (n, span) in batch.iter().enumerate() {
                let len = span.end - span.start;
                if written >= len {
                    self.sent(session, span.messages, span.payload);
                    written -= len;
                    continue;
                }
                let bytes = &source.bytes[span.start..span.end];
                let (at, messages, payload) = self.begun(session, bytes, written);
                let mut rest = vec![Span {
                    start: span.start + at,
                    messages: span.messages - messages,
                    payload: span.payload - payload,
                    ..*span
                }];
                rest.retain(|span| span.messages > 0);
                rest.extend_from_slice(&spans[index * SLICES_MAX + n + 1..]);
                return rest;
            }
            assert!(is_all, "what is not all is left in one of the spans");
        }
        Vec::new()
    }

    /// Of whole messages the first bytes were written: counts those that are sent, and gives the
    /// rest of the one that was begun to the session. Gives where the next one is, and how many
    /// messages and bytes of bodies are before it.
    fn begun(&mut self, session: &mut Session, bytes: &[u8], written: usize) -> (usize, u64, u64) {
        let (mut at, mut messages, mut payload) = (0, 0, 0);
        while at < written {
            let (end, body) = measure(bytes, at);
            messages += 1;
            payload += body as u64;
            at = end;
        }
        if at > written {
            session.commit(Bytes::copy_from_slice(&bytes[written..at]));
        }
        self.sent(session, messages, payload);
        (at, messages, payload)
    }

    fn sent(&mut self, session: &mut Session, messages: u64, payload: u64) {
        self.passed.sent += messages;
        self.passed.sent_bytes += payload;
        session.messages_out += messages;
    }

    fn has_room(&self, bytes: usize, messages: u64) -> bool {
        let is_one_more = self.bounds.messages_max;
        self.bytes + bytes <= self.bounds.bytes_max
            && is_one_more.is_none_or(|max| self.passed.queued + messages <= max)
    }

    /// Whether a message may wait: one always may.
    fn fits(&self, bytes: usize) -> bool {
        self.is_empty() || self.has_room(bytes, 1)
    }

    /// Keeps spans, as far as they may wait.
    fn keep(
        &mut self,
        session: &mut Session,
        source: &mut Source<'_>,
        (spans, write): (&[Span], Kernel<'_>),
    ) {
        let bytes: usize = spans.iter().map(|span| span.end - span.start).sum();
        let messages: u64 = spans.iter().map(|span| span.messages).sum();
        // It is kept whole where most of its source is needed, so that it pins no more than it counts.
        let is_shared = bytes >= SHARED_BYTES_MIN && bytes * 2 >= source.bytes.len();
        let fits = self.has_room(bytes, messages);
        if fits && self.bounds.overflow != Overflow::Conflate {
            for span in spans {
                self.push(source, span, is_shared);
            }
            return;
        }
        for span in spans {
            let mut at = span.start;
            while at < span.end {
                let (end, payload) = measure(source.bytes, at);
                // Nothing is dropped for which there is room by now.
                if !self.fits(end - at) || self.bounds.overflow == Overflow::Conflate {
                    self.advance(session, write);
                }
                let one = Span {
                    start: at,
                    end,
                    messages: 1,
                    payload: payload as u64,
                };
                self.keep_one(source, &one);
                at = end;
            }
        }
    }

    /// Keeps one message, or drops one.
    fn keep_one(&mut self, source: &mut Source<'_>, one: &Span) {
        let len = one.end - one.start;
        let is_shared = len >= SHARED_BYTES_MIN && len * 2 >= source.bytes.len();
        if self.is_over {
            self.passed.dropped.disconnected += 1;
            return;
        }
        match self.bounds.overflow {
            Overflow::Conflate => {
                while self.drop_front() {
                    self.passed.dropped.conflated += 1;
                }
            }
            Overflow::DropOldest => {
                while !self.fits(len) && self.drop_front() {
                    self.passed.dropped.oldest += 1;
                }
            }
            // Whoever publishes never waits for a subscriber: to wait is refused before it is run.
            Overflow::DropNewest | Overflow::Block if !self.fits(len) => {
                self.passed.dropped.newest += 1;
                return;
            }
            Overflow::Disconnect if !self.fits(len) => {
                self.passed.dropped.disconnected += 1;
                self.is_over = true;
                return;
            }
            Overflow::DropNewest | Overflow::Block | Overflow::Disconnect => {}
        }
        self.push(source, one, is_shared);
    }

    fn push(&mut self, source: &mut Source<'_>, span: &Span, is_shared: bool) {
        let len = span.end - span.start;
        self.bytes += len;
        self.passed.queued += span.messages;
        if is_shared && len >= SHARED_BYTES_MIN {
            self.seal();
            return self.queue.push_back(Run {
                bytes: source.keep(span.start, span.end),
                messages: span.messages,
                payload: span.payload,
            });
        }
        if self.tail.capacity() - self.tail.len() < len {
            self.seal();
            self.tail = BytesMut::with_capacity(BLOCK_BYTES.max(len));
        }
        self.tail
            .extend_from_slice(&source.bytes[span.start..span.end]);
        self.tail_messages += span.messages;
        self.tail_payload += span.payload;
    }

    /// Makes what is in the tail a run; the rest of its memory stays the tail's.
    fn seal(&mut self) {
        if self.tail.is_empty() {
            return;
        }
        self.queue.push_back(Run {
            bytes: self.tail.split().freeze(),
            messages: std::mem::take(&mut self.tail_messages),
            payload: std::mem::take(&mut self.tail_payload),
        });
    }

    /// The oldest message that waits.
    fn front(&mut self) -> Option<Bytes> {
        if self.queue.is_empty() {
            self.seal();
        }
        let bytes = &self.queue.front()?.bytes;
        Some(bytes.slice(..measure(bytes, 0).0))
    }

    /// Takes the oldest message that waits. Gives its bytes.
    fn pop(&mut self) -> Option<(Bytes, u64)> {
        if self.queue.is_empty() {
            self.seal();
        }
        let run = self.queue.front_mut()?;
        let (end, payload) = measure(&run.bytes, 0);
        let message = run.bytes.split_to(end);
        run.messages -= 1;
        run.payload -= payload as u64;
        if run.messages == 0 {
            self.queue.pop_front();
        }
        self.bytes -= end;
        self.passed.queued -= 1;
        self.rest();
        Some((message, payload as u64))
    }

    fn drop_front(&mut self) -> bool {
        self.pop().is_some()
    }

    /// What is idle holds no memory.
    fn rest(&mut self) {
        if self.passed.queued == 0 {
            self.queue = VecDeque::new();
            self.tail = BytesMut::new();
        }
    }

    /// Moves what waits towards the kernel, as far as there is room.
    pub(in crate::wire::hub) fn advance(&mut self, session: &mut Session, write: Kernel<'_>) {
        if session.is_encrypted() {
            return self.advance_sealed(session, write);
        }
        // What was begun comes first, and what the session has to say between two messages.
        while is_flushed(session, write) && !self.is_empty() {
            self.seal();
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let mut whole = 0;
            let count = self.queue.len().min(SLICES_MAX);
            for (slice, run) in slices.iter_mut().zip(&self.queue) {
                *slice = IoSlice::new(&run.bytes);
                whole += run.bytes.len();
            }
            let written = write(&slices[..count]);
            session.bytes_out += written as u64;
            self.wrote(session, written);
            if written < whole {
                return;
            }
        }
    }

    /// The first bytes of the queue were written.
    fn wrote(&mut self, session: &mut Session, mut written: usize) {
        while written > 0 {
            let run = self.queue.front_mut().expect("what was written was there");
            let len = run.bytes.len();
            if written >= len {
                let run = self.queue.pop_front().expect("seen in the line above");
                written -= len;
                self.bytes -= len;
                self.passed.queued -= run.messages;
                self.sent(session, run.messages, run.payload);
                continue;
            }
            let bytes = run.bytes.clone();
            let (at, messages, payload) = self.begun(session, &bytes, written);
            let run = self.queue.front_mut().expect("it was there");
            run.bytes.advance(at);
            run.messages -= messages;
            run.payload -= payload;
            if run.messages == 0 {
                self.queue.pop_front();
            }
            self.bytes -= at;
            self.passed.queued -= messages;
            break;
        }
        self.rest();
    }

    fn advance_sealed(&mut self, session: &mut Session, write: Kernel<'_>) {
        let waiting_max = match self.bounds.overflow {
            // What waits there is no longer replaced.
            Overflow::Conflate => 1,
            Overflow::Block
            | Overflow::DropNewest
            | Overflow::DropOldest
            | Overflow::Disconnect => SEALED_BYTES_MAX,
        };
        loop {
            while session.queued_bytes() < waiting_max
                && let Some(next) = self.front()
            {
                let next = frames(&next);
                if !session.fits(&next) {
                    break;
                }
                let (_, payload) = self.pop().expect("it was looked at");
                if session.send(next).is_ok() {
                    self.passed.sent += 1;
                    self.passed.sent_bytes += payload;
                } else {
                    self.passed.dropped.left += 1;
                }
            }
            let is_flushed = is_flushed(session, write);
            if !is_flushed || self.is_empty() {
                return;
            }
        }
    }

    /// Nothing more is taken. What still waits is dropped. Gives what passed, once.
    pub(in crate::wire::hub) fn close(&mut self) -> Option<Passed> {
        if std::mem::replace(&mut self.is_closed, true) {
            return None;
        }
        self.passed.dropped.left += std::mem::take(&mut self.passed.queued);
        self.bytes = 0;
        (self.tail_messages, self.tail_payload) = (0, 0);
        self.rest();
        Some(self.passed)
    }
}

/// Writes what waits in a session. False where the kernel does not take all of it.
fn is_flushed(session: &mut Session, write: Kernel<'_>) -> bool {
    while session.is_behind() {
        let written = write(&session.outgoing());
        if written == 0 {
            return false;
        }
        session.wrote(written);
    }
    true
}

#[cfg(test)]
#[path = "lane_tests.rs"]
pub(super) mod tests;
