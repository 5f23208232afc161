//! The fan-out of a bus: what publishers send to one port goes to the subscribers of another, as the
//! bytes that came.
//!
//! ```text
//! publishers --> in:  cut into messages, found in the topics, cut into runs with the same takers
//!                          |
//! subscribers <-- out: written from where they were read; what the kernel does not take waits
//! ```
//!
//! The task that reads a publisher does all of it, so that no message passes through a queue of the
//! hub, and none is reordered. Publishers never wait for subscribers: each of those has a bound of
//! its own, and what is more is dropped by its policy and counted. Beside what is published there is
//! what a bus says itself: a welcome, the last message of each topic, the word that a subscription
//! counts.
//!
//! It must never take memory for a message and a subscriber, and never lock a connection before the
//! fan: the order is fan, then connection.

#[cfg(test)]
mod alike_tests;
pub(super) mod cut;
mod facts;
mod greeting;
pub(super) mod lane;
mod retain;
mod sequence;
#[cfg(test)]
mod simulation;
mod taking;
pub(super) mod union;

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};

use bytes::{BufMut, Bytes};

use crate::model::policy::Overflow;
use crate::protocol::topics::{Prefix, Topics};

use super::ConnId;
use super::forward::Passed;
use super::tap::Tap;
use cut::{CutFault, Cutter, Place};
pub use facts::{FanFacts, SubscriberFacts, TopicFacts};
use lane::{Bounds, Source, Span};
use retain::Retained;
use sequence::Sequences;
use taking::Taking;
use union::{OfBus, Union};

/// More pieces than this are put together before they are written.
const PIECES_MAX: usize = 16;

/// How a fan treats its subscribers.
#[derive(Debug, Clone)]
pub struct FanConfig {
    /// What happens when a subscriber's bound is reached; one that waits is not possible.
    pub overflow: Overflow,
    /// Bytes that may wait for one subscriber.
    pub bytes_max: usize,
    /// Messages that may wait for one subscriber.
    pub messages_max: Option<u64>,
    /// What a subscriber is sent once it subscribed to it.
    pub welcome: Option<Bytes>,
    /// Of how many topics the last message is kept for those who subscribe later.
    pub retain_max: usize,
    /// Whether messages get one more frame that numbers them within their topic.
    pub is_sequenced: bool,
    /// What other buses that subscribe here call themselves: each gets by a connection what was
    /// published first at one bus, which the connection names behind a `~`, else what was published here.
    pub buses: BTreeSet<String>,
    /// Whether publishers are asked for what is subscribed to, and not for all: then the fan says
    /// nothing of its own to subscribers.
    pub asks: bool,
    /// Who looks on.
    pub tap: Tap,
}

/// What became of a message that was published by hand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Published {
    /// Subscribers that it was for.
    pub matched: u64,
    /// Those of them that have it or will.
    pub queued: u64,
}

/// Where a subscriber's messages go: its connection, or what stands for one in a test.
pub(super) trait Taker: Send + Sync {
    /// Takes messages. Says how many of them were dropped as they came.
    fn take_spans(&self, source: &mut Source<'_>, spans: &[Span]) -> u64;

    /// What passed to it, until it was counted elsewhere.
    fn passed(&self) -> Option<Passed>;
}

/// Where a message was published first: here, unless another bus is named.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Origin(u32);

/// The fan-out from publishers to subscribers.
pub struct Fan(Mutex<State>);

struct State {
    config: FanConfig,
    topics: Topics,
    subscribers: Vec<Option<Subscriber>>,
    free: Vec<u32>,
    /// The buses that were named as origins; the first is number 1.
    origins: Vec<String>,
    /// What passed to subscribers that are gone.
    gone: Passed,
    published: u64,
    published_bytes: u64,
    /// Messages for nobody.
    unmatched: u64,
    /// Messages of other buses that were over our limits.
    oversized: u64,
    retained: Retained,
    sequences: Sequences,
    /// What publishers are asked for, where that is not all.
    union: Option<Union>,
    /// What buses that are dialled are asked for.
    of_buses: Vec<OfBus>,
    /// What was cut and not delivered yet.
    runs: Vec<Run>,
    /// The messages as they are delivered, where they are not delivered as they came.
    rewritten: Vec<u8>,
    /// Who gets something of what is being delivered.
    touched: Vec<u32>,
    gathered: Vec<u8>,
    /// Numbers what is delivered, so that nobody gets a message twice.
    stamp: u64,
}

struct Subscriber {
    taker: Weak<dyn Taker>,
    conn: ConnId,
    /// It is a bus, and gets what has this origin.
    wants: Option<Origin>,
    is_welcomed: bool,
    stamp: u64,
    /// What it gets of what is being delivered.
    spans: Vec<Span>,
}

/// Consecutive messages that end at the same prefix.
#[derive(Debug, Clone, Copy)]
struct Run {
    prefix: Prefix,
    span: Span,
}

impl Fan {
    /// A fan without anybody.
    pub fn new(config: FanConfig) -> Self {
        Self(Mutex::new(State {
            retained: Retained::new(config.retain_max),
            sequences: Sequences::default(),
            union: config.asks.then(Union::default),
            of_buses: Vec::new(),
            config,
            topics: Topics::default(),
            subscribers: Vec::new(),
            free: Vec::new(),
            origins: Vec::new(),
            gone: Passed::default(),
            published: 0,
            published_bytes: 0,
            unmatched: 0,
            oversized: 0,
            runs: Vec::new(),
            rewritten: Vec::new(),
            touched: Vec::new(),
            gathered: Vec::new(),
            stamp: 0,
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves counters behind, nothing that could be unsound.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Other buses call themselves so from now on.
    pub fn rename_buses(&self, buses: BTreeSet<String>) {
        self.state().config.buses = buses;
    }

    /// The origin of what was published first at another bus.
    pub fn origin(&self, bus: &str) -> Origin {
        self.state().origin(bus)
    }

    /// Publishes a message, as if a publisher had sent it.
    pub fn publish(&self, frames: &[Bytes]) -> Published {
        let mut wire = Vec::new();
        encode(frames, &mut wire);
        let topic = frames.first().map_or(0, Bytes::len);
        let header = if topic > usize::from(u8::MAX) { 9 } else { 2 };
        let place = Place {
            start: 0,
            end: wire.len(),
            topic: (header, header + topic),
            payload: frames.iter().map(Bytes::len).sum(),
            parts: frames.len(),
        };
        let mut state = self.state();
        state.note(&wire, place, Origin::default());
        let (matched, dropped) = state.deliver(&wire, None, Origin::default());
        Published {
            matched,
            queued: matched - dropped,
        }
    }

    /// Takes the bytes of a publisher, to their end or to that of a command, which is given. Says how many
    /// that were.
    pub(super) fn take(
        &self,
        cutter: &mut Cutter,
        bytes: &[u8],
        origin: Origin,
    ) -> (Option<Vec<u8>>, Result<usize, CutFault>) {
        let mut state = self.state();
        let mut taking = Taking {
            state: &mut state,
            origin,
            command: None,
        };
        let fed = cutter.feed(bytes, &mut taking);
        let command = taking.command.take();
        state.deliver(bytes, None, origin);
        (command, fed)
    }

    /// A subscriber is there. Gives its number.
    pub(super) fn join(&self, taker: Weak<dyn Taker>, conn: ConnId, identity: &[u8]) -> u32 {
        let mut state = self.state();
        let identity = std::str::from_utf8(identity).unwrap_or_default();
        let (name, of) = identity.split_once('#').unwrap_or((identity, ""));
        let is_bus = state.config.buses.contains(name);
        let wants = is_bus.then(|| match of.rsplit_once('~') {
            Some((_, origin)) => state.origin(origin),
            None => Origin::default(),
        });
        let subscriber = Some(Subscriber {
            taker,
            conn,
            wants,
            is_welcomed: false,
            stamp: 0,
            spans: Vec::new(),
        });
        if let Some(slot) = state.free.pop() {
            state.subscribers[slot as usize] = subscriber;
            return slot;
        }
        state.subscribers.push(subscriber);
        u32::try_from(state.subscribers.len() - 1).expect("fewer connections than numbers")
    }

    /// A subscriber is gone; what passed to it is kept in the sum.
    pub(super) fn leave(&self, slot: u32, passed: &Passed) {
        let mut state = self.state();
        let state = &mut *state;
        state.wants_nothing(slot);
        state.topics.leave(slot);
        state.subscribers[slot as usize] = None;
        state.free.push(slot);
        state.gone.add(passed);
    }

    /// A subscriber subscribes to a topic, or to it no more.
    pub(super) fn subscribe(&self, slot: u32, topic: &[u8], is_on: bool) {
        let mut state = self.state();
        let state = &mut *state;
        let is_changed = match is_on {
            true => state.topics.add(slot, topic),
            false => state.topics.remove(slot, topic),
        };
        if is_changed && is_on && state.union.is_none() {
            state.greet(slot, topic);
        }
        if is_changed {
            state.wants(slot, topic, is_on);
        }
    }

    /// How much may wait for a subscriber, and what happens with more.
    pub(super) fn bounds(&self) -> Bounds {
        let state = self.state();
        Bounds {
            overflow: state.config.overflow,
            bytes_max: state.config.bytes_max,
            messages_max: state.config.messages_max,
        }
    }
}

impl State {
    fn origin(&mut self, bus: &str) -> Origin {
        let known = self.origins.iter().position(|it| it == bus);
        let index = known.unwrap_or_else(|| {
            self.origins.push(bus.to_owned());
            self.origins.len() - 1
        });
        Origin(u32::try_from(index + 1).expect("fewer buses than numbers"))
    }

    /// A whole message was cut. `parts` and `topic` are where `place` says.
    fn note(&mut self, bytes: &[u8], place: Place, origin: Origin) {
        let topic = &bytes[place.topic.0..place.topic.1];
        self.published += 1;
        self.published_bytes += place.payload as u64;
        let found = self.topics.find(topic);
        let is_plain = self.config.retain_max == 0 && !self.config.is_sequenced;
        let mut span = Span {
            start: place.start,
            end: place.end,
            messages: 1,
            payload: place.payload as u64,
        };
        if !is_plain {
            self.rewrite(bytes, place, (&mut span, origin));
        }
        if self.config.tap.is_on() {
            let message = Bytes::copy_from_slice(&bytes[place.start..place.end]);
            self.config.tap.see(&cut::frames(&message));
        }
        let Some(prefix) = found else {
            self.unmatched += 1;
            return;
        };
        match self.runs.last_mut() {
            Some(last) if last.prefix == prefix && last.span.end == span.start => {
                last.span.end = span.end;
                last.span.messages += 1;
                last.span.payload += span.payload;
            }
            _ => self.runs.push(Run { prefix, span }),
        }
    }

    /// Numbers a message and keeps it, as far as that is asked for.
    fn rewrite(&mut self, bytes: &[u8], place: Place, (span, origin): (&mut Span, Origin)) {
        let message = &bytes[place.start..place.end];
        let topic = &bytes[place.topic.0..place.topic.1];
        span.start = self.rewritten.len();
        if self.config.is_sequenced {
            let number = self.sequences.next(topic);
            span.payload += number.len() as u64;
            sequence::append(message, number, &mut self.rewritten);
        } else {
            self.rewritten.extend_from_slice(message);
        }
        span.end = self.rewritten.len();
        // A message of one frame is all topic.
        if place.parts > 1 {
            let message = &self.rewritten[span.start..];
            self.retained.keep(topic, (message, span.payload), origin);
        }
    }

    /// Hands on what was cut of these bytes. Gives for how many it was, and how many dropped it,
    /// each message counted for each subscriber.
    fn deliver(&mut self, bytes: &[u8], whole: Option<Bytes>, origin: Origin) -> (u64, u64) {
        if self.runs.is_empty() {
            self.rewritten.clear();
            return (0, 0);
        }
        self.spread(origin);
        let rewritten = std::mem::take(&mut self.rewritten);
        let mut source = if rewritten.is_empty() {
            Source {
                bytes,
                kept: whole.map(|whole| (0, whole)),
            }
        } else {
            Source {
                bytes: &rewritten,
                kept: None,
            }
        };
        let (mut matched, mut dropped) = (0, 0);
        for slot in std::mem::take(&mut self.touched) {
            let Some(Some(subscriber)) = self.subscribers.get_mut(slot as usize) else {
                continue;
            };
            let spans = &mut subscriber.spans;
            matched += spans.iter().map(|span| span.messages).sum::<u64>();
            if let Some(taker) = subscriber.taker.upgrade() {
                dropped += if spans.len() > PIECES_MAX {
                    let one = gather(source.bytes, spans, &mut self.gathered);
                    let mut source = Source {
                        bytes: &self.gathered,
                        kept: None,
                    };
                    taker.take_spans(&mut source, &[one])
                } else {
                    taker.take_spans(&mut source, spans)
                };
            }
            spans.clear();
        }
        self.rewritten = rewritten;
        self.rewritten.clear();
        (matched, dropped)
    }

    /// Gives every subscriber its part of what was cut.
    fn spread(&mut self, origin: Origin) {
        for run in &self.runs {
            self.stamp += 1;
            self.topics.count(run.prefix, run.span.messages);
        }
        let mut stamp = self.stamp - self.runs.len() as u64;
        for run in self.runs.drain(..) {
            stamp += 1;
            for slot in self.topics.matching(run.prefix) {
                let Some(Some(subscriber)) = self.subscribers.get_mut(slot as usize) else {
                    continue;
                };
                let is_elsewhere = subscriber.wants.is_some_and(|wants| wants != origin);
                if subscriber.stamp == stamp || is_elsewhere {
                    continue;
                }
                subscriber.stamp = stamp;
                match subscriber.spans.last_mut() {
                    Some(last) if last.end == run.span.start => {
                        last.end = run.span.end;
                        last.messages += run.span.messages;
                        last.payload += run.span.payload;
                    }
                    Some(_) => subscriber.spans.push(run.span),
                    None => {
                        subscriber.spans.push(run.span);
                        self.touched.push(slot);
                    }
                }
            }
        }
    }
}

/// Puts spans together.
fn gather(bytes: &[u8], spans: &[Span], gathered: &mut Vec<u8>) -> Span {
    gathered.clear();
    let mut one = Span {
        start: 0,
        end: 0,
        messages: 0,
        payload: 0,
    };
    for span in spans {
        gathered.extend_from_slice(&bytes[span.start..span.end]);
        one.messages += span.messages;
        one.payload += span.payload;
    }
    one.end = gathered.len();
    one
}

/// A message as it is on the wire.
pub(super) fn encode(frames: &[Bytes], wire: &mut Vec<u8>) {
    let last = frames.len().saturating_sub(1);
    for (n, frame) in frames.iter().enumerate() {
        let more = u8::from(n < last);
        match u8::try_from(frame.len()) {
            Ok(len) => wire.put_slice(&[more, len]),
            Err(_) => {
                wire.put_u8(2 | more);
                wire.put_u64(frame.len() as u64);
            }
        }
        wire.put_slice(frame);
    }
}
