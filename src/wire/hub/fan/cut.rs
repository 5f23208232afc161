//! Whole messages in the bytes of a publisher, where they are.
//!
//! ```text
//! bytes of one read:  ..]  [message][message][message]  [mess..
//!                      |   in place, as one run          |
//!                      ends one that began before        begins one that is kept until it is whole
//! ```
//!
//! Commands may stand between the frames of a message; they are taken out. It must never put
//! together what breaks a limit, and never take memory for bytes that have not come.

use bytes::{Bytes, BytesMut};

use crate::model::limits::WireLimits;
use crate::wire::hub::refusal::Limit;
use crate::wire::hub::scan::{COMMAND, Header, LONG, MORE, header};

/// The most bytes of a header.
const HEADER_BYTES_MAX: usize = 9;
/// A message kept until it is whole gives its memory back where it was larger than this.
const KEPT_BYTES_MAX: usize = 16 * 1024;
/// Commands fit into this many bytes: a publisher's are heartbeats.
const COMMAND_BYTES_MAX: usize = 64;

/// What a publisher may send.
#[derive(Debug, Clone, Copy)]
pub(in crate::wire::hub) struct CutRules {
    pub(in crate::wire::hub) message_bytes_max: usize,
    pub(in crate::wire::hub) parts_max: usize,
    /// What breaks them is passed over, and is no fault.
    pub(in crate::wire::hub) skips: bool,
}

impl CutRules {
    /// The same for another bus: what is over these limits as well is passed over.
    pub(in crate::wire::hub) fn skipping(self, within: &WireLimits) -> Self {
        Self {
            message_bytes_max: self.message_bytes_max.min(within.message_bytes_max),
            parts_max: self.parts_max.min(within.parts_max),
            skips: true,
        }
    }
}

/// Why a publisher's bytes are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::wire::hub) enum CutFault {
    /// They break a limit.
    Limit(Limit),
    /// No frame begins with this byte.
    NoFrame,
}

/// Who takes what was cut.
pub(in crate::wire::hub) trait CutSink {
    /// A whole message, by where it is; `topic` is its first frame.
    fn message(&mut self, bytes: &[u8], place: Place);
    /// A message that came in pieces, behind all that was cut before it.
    fn assembled(&mut self, before: &[u8], message: Bytes, place: Place);
    /// A command frame, header and body.
    fn command(&mut self, frame: &[u8]);
    /// A message was over the limits, and passed over.
    fn skipped(&mut self);
}

/// Where a message is in its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::wire::hub) struct Place {
    pub(in crate::wire::hub) start: usize,
    pub(in crate::wire::hub) end: usize,
    /// The body of its first frame.
    pub(in crate::wire::hub) topic: (usize, usize),
    /// The bytes of all its bodies.
    pub(in crate::wire::hub) payload: usize,
    pub(in crate::wire::hub) parts: usize,
}

/// What of a publisher's bytes is not a whole message yet.
#[derive(Debug)]
pub(in crate::wire::hub) struct Cutter {
    rules: CutRules,
    /// The message under way, as far as its frames began.
    partial: BytesMut,
    /// The header under way.
    head: [u8; HEADER_BYTES_MAX],
    head_bytes: usize,
    /// The command under way.
    command: Vec<u8>,
    is_command: bool,
    /// Bytes of the frame under way that are still to come.
    left: usize,
    has_more: bool,
    /// The message under way is over the limits: nothing of it is held.
    is_skipping: bool,
    topic: (usize, usize),
    payload: usize,
    parts: usize,
    /// Messages that ended.
    messages: u64,
}

/// A message that is whole where it is, or why there is none.
enum Found {
    Message(Place),
    /// It is not whole, or a command is in its way.
    Pieces,
    Fault(CutFault),
}

impl Cutter {
    pub(in crate::wire::hub) fn new(rules: CutRules) -> Self {
        Self {
            rules,
            partial: BytesMut::new(),
            head: [0; HEADER_BYTES_MAX],
            head_bytes: 0,
            command: Vec::new(),
            is_command: false,
            left: 0,
            has_more: false,
            is_skipping: false,
            topic: (0, 0),
            payload: 0,
            parts: 0,
            messages: 0,
        }
    }

    /// The message under way, by its number, and how many of its bytes are held.
    pub(in crate::wire::hub) fn unfinished(&self) -> (u64, usize) {
        (self.messages, self.partial.len())
    }

    /// Cuts what came, to its end or to that of a command: what stands behind one counts only where that is
    /// right. Gives how much that was.
    pub(in crate::wire::hub) fn feed(
        &mut self,
        bytes: &[u8],
        sink: &mut impl CutSink,
    ) -> Result<usize, CutFault> {
        let mut at = 0;
        while at < bytes.len() {
            if self.is_between() {
                match find(bytes, at, self.rules) {
                    Found::Message(place) => {
                        at = place.end;
                        self.messages += 1;
                        sink.message(bytes, place);
                        continue;
                    }
                    Found::Pieces => {}
                    Found::Fault(fault) => return Err(fault),
                }
            }
            let (taken, is_command) = self.piece(&bytes[at..], bytes, sink)?;
            at += taken;
            if is_command {
                break;
            }
        }
        Ok(at)
    }

    /// Whether the next byte is the first of a message or of a command between two.
    fn is_between(&self) -> bool {
        self.head_bytes == 0 && self.left == 0 && self.parts == 0 && !self.is_command
    }

    /// Takes the rest of a header, or of a body, as far as it is there. Gives how much that was, and whether
    /// a command ended with it.
    fn piece(
        &mut self,
        bytes: &[u8],
        before: &[u8],
        sink: &mut impl CutSink,
    ) -> Result<(usize, bool), CutFault> {
        if self.left == 0 && !self.is_command {
            self.head[self.head_bytes] = bytes[0];
            self.head_bytes += 1;
            if let Some(found) = header(&self.head[..self.head_bytes]) {
                self.begin(&found)?;
                return Ok((1, self.end(before, sink)));
            }
            return match self.head[0] & !(MORE | LONG | COMMAND) {
                0 => Ok((1, false)),
                _ => Err(CutFault::NoFrame),
            };
        }
        let here = self.left.min(bytes.len());
        if self.is_command {
            self.command.extend_from_slice(&bytes[..here]);
        } else if !self.is_skipping {
            self.partial.extend_from_slice(&bytes[..here]);
        }
        self.left -= here;
        Ok((here, self.end(before, sink)))
    }

    fn begin(&mut self, found: &Header) -> Result<(), CutFault> {
        let head = &self.head[..self.head_bytes];
        self.is_command = found.flags & COMMAND != 0;
        let is_one_frame = !self.is_command || found.flags & MORE == 0;
        if found.flags & !(MORE | LONG | COMMAND) != 0 || !is_one_frame {
            return Err(CutFault::NoFrame);
        }
        if self.is_command {
            if found.body > COMMAND_BYTES_MAX {
                return Err(CutFault::Limit(Limit::Topic));
            }
            self.command.clear();
            self.command.extend_from_slice(head);
        } else {
            let payload = self.payload.saturating_add(found.body);
            if let Err(limit) = fits(self.rules, self.parts, payload) {
                if !self.rules.skips {
                    return Err(CutFault::Limit(limit));
                }
                (self.partial, self.is_skipping) = (BytesMut::new(), true);
            }
            if !self.is_skipping {
                self.partial.extend_from_slice(head);
                if self.parts == 0 {
                    self.topic = (self.partial.len(), self.partial.len() + found.body);
                }
            }
            (self.payload, self.parts) = (payload, self.parts + 1);
            self.has_more = found.flags & MORE != 0;
        }
        (self.left, self.head_bytes) = (found.body, 0);
        Ok(())
    }

    /// After a piece: hands on what is whole now. Whether that was a command.
    fn end(&mut self, before: &[u8], sink: &mut impl CutSink) -> bool {
        if self.left > 0 {
            return false;
        }
        if self.is_command {
            self.is_command = false;
            sink.command(&self.command);
            self.command = Vec::new();
            return true;
        }
        if self.has_more || self.parts == 0 {
            return false;
        }
        if self.is_skipping {
            self.is_skipping = false;
            (self.payload, self.parts) = (0, 0);
            self.messages += 1;
            sink.skipped();
            return false;
        }
        let place = Place {
            start: 0,
            end: self.partial.len(),
            topic: self.topic,
            payload: self.payload,
            parts: self.parts,
        };
        let message = self.partial.split().freeze();
        if self.partial.capacity() == 0 || message.len() > KEPT_BYTES_MAX {
            self.partial = BytesMut::new();
        }
        (self.payload, self.parts) = (0, 0);
        self.messages += 1;
        sink.assembled(before, message, place);
        false
    }
}

/// Whether one more part, with which the message has so many bytes, may be.
fn fits(rules: CutRules, parts: usize, payload: usize) -> Result<(), Limit> {
    if parts >= rules.parts_max {
        return Err(Limit::Parts);
    }
    if payload > rules.message_bytes_max {
        return Err(Limit::Message);
    }
    Ok(())
}

/// The message that begins at `start`, if all of it is there.
#[inline]
fn find(bytes: &[u8], start: usize, rules: CutRules) -> Found {
    // The commonest by far: one short frame.
    if let [0, len, ..] = bytes[start..] {
        let end = start + 2 + usize::from(len);
        let payload = usize::from(len);
        if end <= bytes.len() && payload <= rules.message_bytes_max {
            return Found::Message(Place {
                start,
                end,
                topic: (start + 2, end),
                payload,
                parts: 1,
            });
        }
    }
    find_any(bytes, start, rules)
}

fn find_any(bytes: &[u8], start: usize, rules: CutRules) -> Found {
    let (mut at, mut payload, mut parts, mut topic) = (start, 0_usize, 0, (0, 0));
    loop {
        let Some(found) = header(&bytes[at..]) else {
            return Found::Pieces;
        };
        if found.flags & !(MORE | LONG) != 0 {
            return match found.flags & !(MORE | LONG | COMMAND) {
                0 => Found::Pieces,
                _ => Found::Fault(CutFault::NoFrame),
            };
        }
        payload = payload.saturating_add(found.body);
        if let Err(limit) = fits(rules, parts, payload) {
            return match rules.skips {
                true => Found::Pieces,
                false => Found::Fault(CutFault::Limit(limit)),
            };
        }
        let body = at + found.header;
        if bytes.len() - body < found.body {
            return Found::Pieces;
        }
        at = body + found.body;
        if parts == 0 {
            topic = (body, at);
        }
        parts += 1;
        if found.flags & MORE == 0 {
            return Found::Message(Place {
                start,
                end: at,
                topic,
                payload,
                parts,
            });
        }
    }
}

/// The end of the message that begins at `start` of whole messages, and the bytes of its bodies.
pub(in crate::wire::hub) fn measure(bytes: &[u8], start: usize) -> (usize, usize) {
    let (mut at, mut payload) = (start, 0);
    loop {
        let found = header(&bytes[at..]).expect("a run holds whole messages");
        at += found.header + found.body;
        payload += found.body;
        if found.flags & MORE == 0 {
            return (at, payload);
        }
    }
}

/// The frames of the message at the beginning of whole messages, without a copy.
pub(in crate::wire::hub) fn frames(bytes: &Bytes) -> Vec<Bytes> {
    let (mut at, mut frames) = (0, Vec::new());
    loop {
        let found = header(&bytes[at..]).expect("a run holds whole messages");
        let body = at + found.header;
        at = body + found.body;
        frames.push(bytes.slice(body..at));
        if found.flags & MORE == 0 {
            return frames;
        }
    }
}

#[cfg(test)]
#[path = "cut_tests.rs"]
mod tests;
