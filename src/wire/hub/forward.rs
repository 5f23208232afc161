//! Forwarding: two connections that are one wire, what is read on one is written on the other.
//!
//! The task that reads a connection hands what came to the other connection itself, without the
//! hub's owner between them; while the other is full, and its lane may not drop, it stays where it
//! came and in time stops the reading.
//! Nothing is reordered and nothing is mixed: a lane has one source and one destination.
//!
//! It must never hold more for a connection than its lane's bounds, never drop where the lane
//! blocks, and never drop without counting.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use serde::Serialize;

use crate::model::policy::Overflow;

use super::inbox::Received;
use super::peer::Peer;
use super::session::Session;
use super::tap::Tap;

/// How long what waits for a peer is still written when the other end of its wire is gone.
pub(super) const LINGER: Duration = Duration::from_secs(30);

/// Bytes that may wait in a session, so that one write has enough to write. Where a lane blocks, no
/// more than that is waiting for a peer, and what one read brought.
const WINDOW_BYTES: usize = 256 * 1024;
/// What a queued message costs beside its bytes, and what each of its frames does.
const MESSAGE_COST: usize = 64;
const FRAME_COST: usize = 32;

/// How one direction of a wire treats what its destination does not take.
#[derive(Debug, Clone)]
pub struct Flow {
    /// What happens when it is full.
    pub overflow: Overflow,
    /// Bytes that may wait.
    pub bytes_max: usize,
    /// Messages that may wait.
    pub messages_max: Option<usize>,
    /// Where it is counted what passed on connections that are gone.
    pub ledger: Arc<Ledger>,
    /// Who looks on.
    pub tap: Tap,
}

/// What passed in one direction: `matched = sent + queued + dropped`, always.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Passed {
    /// Messages that came for the destination.
    pub matched: u64,
    /// Messages handed to its connection.
    pub sent: u64,
    /// Their bytes, framing apart.
    pub sent_bytes: u64,
    /// Messages that wait.
    pub queued: u64,
    /// Bytes that wait, for the kernel too.
    pub queued_bytes: u64,
    /// Messages dropped, by reason.
    pub dropped: Dropped,
}

/// Messages dropped in one direction, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Dropped {
    /// The new one, since the queue was full.
    pub newest: u64,
    /// The oldest one, to make room.
    pub oldest: u64,
    /// Replaced by a newer one.
    pub conflated: u64,
    /// The one for which the connection was ended.
    pub disconnected: u64,
    /// Still waiting when the connection ended.
    pub left: u64,
}

impl Passed {
    /// What was dropped when it came; what makes room later for newer ones is not among it.
    pub fn refused(&self) -> u64 {
        self.dropped.newest + self.dropped.disconnected + self.dropped.left
    }

    /// All that was dropped.
    pub fn dropped_all(&self) -> u64 {
        let Dropped {
            newest,
            oldest,
            conflated,
            disconnected,
            left,
        } = self.dropped;
        newest + oldest + conflated + disconnected + left
    }

    /// Adds what passed elsewhere.
    pub fn add(&mut self, other: &Self) {
        self.matched += other.matched;
        self.sent += other.sent;
        self.sent_bytes += other.sent_bytes;
        self.queued += other.queued;
        self.queued_bytes += other.queued_bytes;
        self.dropped.newest += other.dropped.newest;
        self.dropped.oldest += other.dropped.oldest;
        self.dropped.conflated += other.dropped.conflated;
        self.dropped.disconnected += other.dropped.disconnected;
        self.dropped.left += other.dropped.left;
    }
}

/// What passed in one direction on connections that are gone.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<Passed>);

impl Ledger {
    /// What is written there.
    pub fn passed(&self) -> Passed {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, passed: &Passed) {
        let mut sum = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sum.add(passed);
    }
}

/// What is on its way to one connection.
#[derive(Debug)]
struct Lane {
    flow: Flow,
    queue: VecDeque<Vec<Bytes>>,
    queue_cost: usize,
    passed: Passed,
    /// The source waits for room.
    holds_back: bool,
    /// The connection is gone.
    is_closed: bool,
    /// The queue was full, and that ends the connection.
    is_over: bool,
}

/// Where messages of a lane go next; a session, or a count in its tests.
trait Sink {
    fn waiting(&self) -> usize;
    fn put(&mut self, frames: Vec<Bytes>) -> bool;
}

impl Sink for Session {
    fn waiting(&self) -> usize {
        self.queued_bytes()
    }

    fn put(&mut self, frames: Vec<Bytes>) -> bool {
        self.send(frames).is_ok()
    }
}

fn bytes_of(frames: &[Bytes]) -> usize {
    frames.iter().map(Bytes::len).sum()
}

fn cost_of(frames: &[Bytes]) -> usize {
    bytes_of(frames) + MESSAGE_COST + FRAME_COST * frames.len()
}

/// The same frames in memory of their own: what waits must not pin the buffer it was read into.
fn compact(frames: &[Bytes]) -> Vec<Bytes> {
    let mut all = BytesMut::with_capacity(bytes_of(frames));
    for frame in frames {
        all.extend_from_slice(frame);
    }
    let mut all = all.freeze();
    frames
        .iter()
        .map(|frame| all.split_to(frame.len()))
        .collect()
}

impl Lane {
    fn new(flow: Flow) -> Self {
        Self {
            flow,
            queue: VecDeque::new(),
            queue_cost: 0,
            passed: Passed::default(),
            holds_back: false,
            is_closed: false,
            is_over: false,
        }
    }

    /// What may wait in the session.
    fn window(&self) -> usize {
        match self.flow.overflow {
            // What waits there is no longer replaced.
            Overflow::Conflate => 1,
            Overflow::Block
            | Overflow::DropNewest
            | Overflow::DropOldest
            | Overflow::Disconnect => WINDOW_BYTES.min(self.flow.bytes_max),
        }
    }

    /// Whether a message goes straight to the session: nothing waits before it, and there is room.
    fn is_direct(&self, sink: &impl Sink, frames: &[Bytes]) -> bool {
        let waiting = sink.waiting();
        let fits = waiting < self.window() && waiting + cost_of(frames) <= self.flow.bytes_max;
        self.queue.is_empty() && (waiting == 0 || fits)
    }

    /// Takes a message, which goes straight to the session or not, or drops one; gives it back where
    /// the source has to wait with it, and is told so.
    fn offer(
        &mut self,
        sink: &mut impl Sink,
        frames: Vec<Bytes>,
        is_direct: bool,
    ) -> Option<Vec<Bytes>> {
        if !is_direct && self.flow.overflow == Overflow::Block {
            self.holds_back = true;
            return Some(frames);
        }
        self.flow.tap.see(&frames);
        self.passed.matched += 1;
        if is_direct {
            self.put(sink, frames);
        } else {
            self.queue_or_drop(sink, &frames);
        }
        None
    }

    /// Keeps a message until there is room in the session, or drops one.
    fn queue_or_drop(&mut self, sink: &impl Sink, frames: &[Bytes]) {
        let cost = cost_of(frames);
        let fits = self.fits(sink, cost);
        match self.flow.overflow {
            Overflow::DropNewest if !fits => self.passed.dropped.newest += 1,
            Overflow::Disconnect if !fits => {
                self.passed.dropped.disconnected += 1;
                self.is_over = true;
            }
            Overflow::Block | Overflow::DropNewest | Overflow::Disconnect => {
                self.push(frames, cost);
            }
            Overflow::DropOldest => {
                while !self.fits(sink, cost) {
                    self.drop_front();
                    self.passed.dropped.oldest += 1;
                }
                self.push(frames, cost);
            }
            Overflow::Conflate => {
                while self.drop_front().is_some() {
                    self.passed.dropped.conflated += 1;
                }
                self.push(frames, cost);
            }
        }
    }

    /// One message always may wait.
    fn fits(&self, sink: &impl Sink, cost: usize) -> bool {
        let bytes = self.queue_cost + sink.waiting() + cost;
        let is_room = self
            .flow
            .messages_max
            .is_none_or(|max| self.queue.len() < max);
        self.queue.is_empty() || (bytes <= self.flow.bytes_max && is_room)
    }

    fn push(&mut self, frames: &[Bytes], cost: usize) {
        self.queue.push_back(compact(frames));
        self.queue_cost += cost;
    }

    fn drop_front(&mut self) -> Option<Vec<Bytes>> {
        let frames = self.queue.pop_front()?;
        self.queue_cost -= cost_of(&frames);
        if self.queue.is_empty() {
            // What is idle holds no memory.
            self.queue = VecDeque::new();
        }
        Some(frames)
    }

    fn put(&mut self, sink: &mut impl Sink, frames: Vec<Bytes>) {
        let bytes = bytes_of(&frames) as u64;
        if sink.put(frames) {
            self.passed.sent += 1;
            self.passed.sent_bytes += bytes;
        } else {
            self.passed.dropped.left += 1;
        }
    }

    /// Moves what waits towards the kernel as far as there is room. Whether anything moved.
    fn advance(&mut self, sink: &mut impl Sink) -> bool {
        let mut has_moved = false;
        while sink.waiting() < self.window()
            && let Some(frames) = self.drop_front()
        {
            self.put(sink, frames);
            has_moved = true;
        }
        has_moved
    }

    fn facts(&self, sink: &impl Sink) -> Passed {
        Passed {
            queued: self.queue.len() as u64,
            queued_bytes: (self.queue_cost + sink.waiting()) as u64,
            ..self.passed
        }
    }

    /// Writes what passed into the ledger; what still waits is dropped.
    fn close(&mut self) {
        if std::mem::replace(&mut self.is_closed, true) {
            return;
        }
        self.passed.dropped.left += self.queue.len() as u64;
        self.queue = VecDeque::new();
        self.queue_cost = 0;
        self.flow.ledger.add(&self.passed);
    }
}

/// A connection's part in a wire.
#[derive(Default)]
pub(super) struct Forward(Mutex<Wire>);

#[derive(Default)]
struct Wire {
    partner: Weak<Peer>,
    lane: Option<Lane>,
    is_ending: bool,
}

/// Where a connection's part in a wire is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stage {
    /// The other end is gone.
    pub(super) is_ending: bool,
    is_empty: bool,
    is_full: bool,
}

impl Stage {
    /// Whether nothing is left to do, once nothing waits for the kernel; or what waited was too much.
    pub(super) fn is_done(self, is_behind: bool) -> bool {
        self.is_full || (self.is_ending && self.is_empty && !is_behind)
    }
}

impl Forward {
    fn wire(&self) -> MutexGuard<'_, Wire> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Pairs this connection with another, with the flow towards this one.
    pub(super) fn pair(&self, partner: &Arc<Peer>, flow: Flow) {
        let mut wire = self.wire();
        assert!(wire.lane.is_none(), "a connection is one end of one wire");
        wire.partner = Arc::downgrade(partner);
        wire.lane = Some(Lane::new(flow));
    }

    pub(super) fn stage(&self) -> Stage {
        let wire = self.wire();
        let lane = wire.lane.as_ref();
        Stage {
            is_ending: wire.is_ending,
            is_empty: lane.is_none_or(|lane| lane.queue.is_empty()),
            is_full: lane.is_some_and(|lane| lane.is_over),
        }
    }

    pub(super) fn partner(&self) -> Option<Arc<Peer>> {
        self.wire().partner.upgrade()
    }

    /// The other end is gone: what waits is written, then this one ends too.
    pub(super) fn end(&self) {
        self.wire().is_ending = true;
    }

    /// This connection is gone: its lane is counted. Gives the other end, which has to learn of it.
    pub(super) fn part(&self) -> Option<Arc<Peer>> {
        let mut wire = self.wire();
        if let Some(lane) = &mut wire.lane {
            lane.close();
        }
        wire.partner.upgrade()
    }

    /// What passed towards this connection; nothing once it was written into the ledger.
    pub(super) fn facts(&self, session: &Session) -> Option<Passed> {
        let wire = self.wire();
        let lane = wire.lane.as_ref().filter(|lane| !lane.is_closed)?;
        Some(lane.facts(session))
    }

    /// Takes what the other end read, as much as it may; `write` writes a session. Whether something
    /// waits for room behind the session.
    pub(super) fn take(
        &self,
        session: &mut Session,
        received: &mut VecDeque<Received>,
        write: &dyn Fn(&mut Session),
    ) -> bool {
        let mut wire = self.wire();
        let Some(lane) = wire.lane.as_mut().filter(|lane| !lane.is_closed) else {
            // Nobody is there to take it; the other end is told, and ends.
            received.clear();
            return false;
        };
        while let Some(next) = received.pop_front() {
            let frames = match next {
                Received::Subscribed { topic, is_on } => {
                    // A connection that is gone is reported by its own task.
                    session.subscribe(topic, is_on).ok();
                    continue;
                }
                Received::Message(frames) => frames,
            };
            // To the kernel first: a read may bring more than there is room for, and it is not the
            // peer's fault that it came at once.
            let mut is_direct = lane.is_direct(session, &frames);
            if !is_direct && lane.queue.is_empty() {
                write(session);
                is_direct = lane.is_direct(session, &frames);
            }
            if let Some(frames) = lane.offer(session, frames, is_direct) {
                received.push_front(Received::Message(frames));
                break;
            }
        }
        lane.holds_back || !lane.queue.is_empty()
    }

    /// After the kernel took bytes: moves up what waits, and says whether anything moved. The other
    /// end goes on once half of the window is free.
    pub(super) fn advance(&self, session: &mut Session) -> bool {
        let mut wire = self.wire();
        let Wire { lane, partner, .. } = &mut *wire;
        let Some(lane) = lane else {
            return false;
        };
        let has_moved = lane.advance(session);
        if lane.holds_back && session.queued_bytes() <= lane.window() / 2 {
            lane.holds_back = false;
            if let Some(partner) = partner.upgrade() {
                partner.wake();
            }
        }
        has_moved
    }
}

#[cfg(test)]
#[path = "forward_tests.rs"]
mod tests;
