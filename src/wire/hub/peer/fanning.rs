//! A connection as a part of a fan-out: a publisher, whose messages are cut out of its bytes as they
//! are read, or a subscriber, to which they are written from there.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Instant;

use bytes::Bytes;

use crate::model::limits::WireLimits;
use crate::model::socket::SocketType;
use crate::wire::hub::fan::cut::Cutter;
use crate::wire::hub::fan::lane::{Lane, Source, Span};
use crate::wire::hub::fan::{self, Fan, Origin, Taker};
use crate::wire::hub::forward::{Ledger, Passed};
use crate::wire::hub::inbox::Received;
use crate::wire::hub::pace::STRETCH;
use crate::wire::hub::session::Session;
use crate::wire::hub::tap::Ring;
use crate::wire::hub::{CloseReason, ConnId};

use super::wire::Wire;
use super::{Peer, State};

/// Which part a connection has in a fan-out.
#[derive(Clone)]
pub(in crate::wire::hub) enum Part {
    /// What it sends is fanned out. Where we dialled, these are the topics that we ask it for.
    In {
        fan: Arc<Fan>,
        topics: Arc<[Bytes]>,
        /// Where what it sends was published first.
        origin: Origin,
        /// It is a bus that is asked for what is subscribed to here.
        is_asked: bool,
        /// What is over these limits is passed over; without them it is the end of the connection.
        within: Option<Arc<WireLimits>>,
    },
    /// It gets what it subscribes to.
    Out(Arc<Fan>),
    /// The same behind a gate, where each is a wire that can be looked at here.
    Wire(Arc<Fan>, Arc<Ring>),
}

/// A connection's part, with what it holds of it.
pub(super) enum Fanning {
    In {
        fan: Arc<Fan>,
        topics: Arc<[Bytes]>,
        origin: Origin,
        cutter: Mutex<Cutter>,
        /// It is asked for what is subscribed to.
        is_asked: bool,
    },
    Out {
        fan: Arc<Fan>,
        slot: OnceLock<u32>,
        lane: Mutex<Lane>,
        wire: Option<Wire>,
    },
}

fn lock<T>(it: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere leaves counters behind, nothing that could be unsound.
    it.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Fanning {
    pub(super) fn new(part: Part, conn: ConnId, session: &mut Session) -> Self {
        let (fan, wire) = match part {
            Part::In {
                fan,
                topics,
                origin,
                is_asked,
                within,
            } => {
                session.pass_raw();
                let rules = session.cut_rules();
                let rules = within.map_or(rules, |within| rules.skipping(&within));
                let cutter = Mutex::new(Cutter::new(rules));
                return Self::In {
                    is_asked: is_asked || fan.asks(),
                    fan,
                    topics,
                    origin,
                    cutter,
                };
            }
            Part::Out(fan) => (fan, None),
            Part::Wire(fan, ring) => (fan, Some(Wire::new(conn, &ring))),
        };
        let lane = Mutex::new(Lane::new(fan.bounds()));
        Self::Out {
            fan,
            slot: OnceLock::new(),
            lane,
            wire,
        }
    }

    /// The books of a wire of a gate: what passed outwards on a connection that is gone, and inwards.
    pub(super) fn ledgers(&self) -> Option<[Arc<Ledger>; 2]> {
        match self {
            Self::In { .. } => None,
            Self::Out { wire, .. } => Some(wire.as_ref()?.ledgers.clone()),
        }
    }

    /// Whether messages wait for the kernel, and whether that ended the connection.
    pub(super) fn waits(&self) -> (bool, bool) {
        match self {
            Self::In { .. } => (false, false),
            Self::Out { lane, .. } => {
                let lane = lock(lane);
                (!lane.is_empty(), lane.is_over())
            }
        }
    }

    pub(super) fn queued_bytes(&self) -> usize {
        match self {
            Self::In { .. } => 0,
            Self::Out { lane, .. } => lock(lane).bytes(),
        }
    }

    pub(super) fn passed(&self) -> Option<Passed> {
        match self {
            Self::In { .. } => None,
            Self::Out { lane, .. } => lock(lane).passed(),
        }
    }
}

impl Taker for Peer {
    fn take_spans(&self, source: &mut Source<'_>, spans: &[Span]) -> u64 {
        self.take_for_fan(source, spans)
    }

    fn passed(&self) -> Option<Passed> {
        Self::passed(self)
    }
}

impl Peer {
    /// The handshake is done: asks a publisher for its messages, or has a subscriber counted as one.
    pub(in crate::wire::hub) fn take_part(self: &Arc<Self>, conn: ConnId) {
        match &self.fanning {
            None => {}
            Some(Fanning::In {
                fan,
                topics,
                origin,
                is_asked,
                ..
            }) => {
                let mut state = self.state();
                let wants_each = state.session.socket_type == Some(SocketType::Xpub.as_str());
                for topic in topics.iter() {
                    // A connection that is gone is reported by its own task.
                    state.session.subscribe(topic.clone(), true).ok();
                }
                self.flush_soon(&mut state);
                drop(state);
                match fan.asks() {
                    true => fan.ask(conn, &self.wake, wants_each),
                    false if *is_asked => fan.ask_bus(*origin, conn, &self.wake),
                    false => {}
                }
            }
            Some(Fanning::Out { fan, slot, .. }) => {
                let identity = self.state().session.identity.clone();
                let own: Arc<Self> = self.clone();
                let taker: Weak<dyn Taker> = Arc::<Self>::downgrade(&own);
                let number = fan.join(taker, conn, &identity);
                slot.set(number).ok();
            }
        }
    }

    /// Cuts what a publisher sent. Nothing where this is none, or where its bytes are encrypted.
    pub(super) fn cut(&self, bytes: &[u8]) -> Option<Result<(), CloseReason>> {
        let Some(Fanning::In { .. }) = &self.fanning else {
            return None;
        };
        let mut state = self.state();
        if !state.session.is_raw() {
            return None;
        }
        self.heart.heard();
        let before = state.session.take_raw();
        drop(state);
        let fed = if before.is_empty() {
            Ok(())
        } else {
            self.fan_out(&before, 0)
        };
        Some(fed.and_then(|()| self.fan_out(bytes, bytes.len())))
    }

    /// Fans out whole messages, of which so many bytes are counted for the connection.
    fn fan_out(&self, bytes: &[u8], count: usize) -> Result<(), CloseReason> {
        let Some(Fanning::In {
            fan,
            origin,
            cutter,
            ..
        }) = &self.fanning
        else {
            return Ok(());
        };
        let mut cutter = lock(cutter);
        let (mut rest, mut count) = (bytes, count);
        while !rest.is_empty() {
            let (command, fed) = fan.take(&mut cutter, rest, *origin);
            rest = &rest[*fed.as_ref().unwrap_or(&0)..];
            let mut state = self.state();
            let (messages, unfinished) = cutter.unfinished();
            let noted = (std::mem::take(&mut count), messages, unfinished);
            state.session.note_raw(noted, fed.map(drop))?;
            if let Some(command) = command {
                state.session.command(command)?;
            }
        }
        Ok(())
    }

    /// Hands what came through the engine to the fan. Whether a subscriber asks for more than it may
    /// in one turn; then the task is woken for the rest.
    pub(super) fn hand_to_fan(&self, fanning: &Fanning) -> Result<bool, CloseReason> {
        let until = Instant::now() + STRETCH;
        loop {
            let (before, received) = {
                let mut state = self.state();
                (state.session.take_raw(), state.session.take_all())
            };
            if !before.is_empty() {
                self.fan_out(&before, 0)?;
            }
            if received.is_empty() {
                self.ask(fanning);
                return Ok(false);
            }
            match fanning {
                Fanning::In {
                    fan,
                    origin,
                    cutter,
                    ..
                } => {
                    let mut wire = Vec::new();
                    for message in &received {
                        if let Received::Message(frames) = message {
                            fan::encode(frames, &mut wire);
                        }
                    }
                    // Whole messages, each within its limits or passed over: nothing is left and nothing is wrong.
                    drop(fan.take(&mut lock(cutter), &wire, *origin));
                }
                Fanning::Out { fan, slot, .. } => {
                    let rest = self.take_topics(fan, slot.get(), (received, until));
                    if !rest.is_empty() {
                        self.state().session.put_back(rest);
                        self.wake.notify_one();
                        return Ok(true);
                    }
                }
            }
            // There is room for what waited to be parsed.
            self.state().session.parse()?;
        }
    }

    /// Takes what a subscriber asks for, at least one of it and then until its turn is over. Gives the
    /// rest.
    fn take_topics(
        &self,
        fan: &Fan,
        slot: Option<&u32>,
        (mut received, until): (VecDeque<Received>, Instant),
    ) -> VecDeque<Received> {
        while let Some(next) = received.pop_front() {
            match (next, slot) {
                (Received::Subscribed { topic, is_on }, Some(slot)) => {
                    fan.subscribe(*slot, &topic, is_on);
                }
                (Received::Subscribed { .. }, None) => {}
                (Received::Message(frames), _) => self.hand_up(fan, frames),
            }
            if Instant::now() >= until {
                break;
            }
        }
        received
    }

    fn take_for_fan(&self, source: &mut Source<'_>, spans: &[Span]) -> u64 {
        let Some(Fanning::Out { lane, wire, .. }) = &self.fanning else {
            return 0;
        };
        if let Some(wire) = wire {
            wire.see(source.bytes, spans);
        }
        let mut state = self.state();
        let mut lane = lock(lane);
        let was_waiting = !lane.is_empty() || state.session.is_behind();
        let mut write = |slices: &[IoSlice<'_>]| self.write_slices(slices).unwrap_or_default();
        let dropped = lane.offer(&mut state.session, source, (spans, &mut write));
        let is_waiting = !lane.is_empty() || state.session.is_behind();
        // The task waits for the kernel, and meets what is wrong with the connection.
        if is_waiting && !was_waiting || lane.is_over() {
            self.wake.notify_one();
        }
        dropped
    }

    /// Writes what waits in a subscriber's lane. Whether anything is left.
    pub(super) fn flush_fan(&self, state: &mut State) -> io::Result<bool> {
        let Some(Fanning::Out { lane, .. }) = &self.fanning else {
            return Ok(false);
        };
        let mut failed = None;
        let mut lane = lock(lane);
        let mut write = |slices: &[IoSlice<'_>]| match self.write_slices(slices) {
            Ok(written) => written,
            Err(error) => {
                failed = Some(error);
                0
            }
        };
        lane.advance(&mut state.session, &mut write);
        match failed {
            Some(error) => Err(error),
            None => Ok(!lane.is_empty()),
        }
    }

    /// Writes as much as the kernel takes now.
    fn write_slices(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        loop {
            match self.writing.try_write(slices) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    if self.heart.wrote() {
                        self.wake.notify_one();
                    }
                    return Ok(written);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.heart.blocked();
                    return Ok(0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The connection is gone: what passed to it is kept in the fan's sum, once.
    pub(super) fn leave_fan(&self) {
        let (fan, slot, lane, wire) = match &self.fanning {
            None => return,
            Some(Fanning::In { fan, .. }) => return fan.lose(self.wiring.conn),
            Some(Fanning::Out {
                fan,
                slot,
                lane,
                wire,
            }) => (fan, slot, lane, wire),
        };
        let Some(passed) = lock(lane).close() else {
            return;
        };
        if let Some(slot) = slot.get() {
            fan.leave(*slot, &passed);
        }
        if let Some(wire) = wire {
            wire.ledgers[0].add(&passed);
        }
    }
}
