//! One connection without its socket: bytes in, messages and bytes out, every limit applied.
//!
//! The task of a connection drives it with what the kernel gives; the fuzz targets and the mutation
//! tests drive it with what an attacker would send. It must never know a socket or the time, and
//! never take memory for what was only declared.
//!
//! A peer says who it is, and is then admitted or refused by whoever drives the session. Under NULL
//! our READY waits for that, so that a refused peer gets an ERROR with the reason in its place.

mod inbound;
mod raw;

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;

use bytes::Bytes;
use omq_proto::Message;
use omq_proto::Payload;
use omq_proto::proto::mechanism::AuthenticationResult;
use omq_proto::proto::{Command, Connection, ConnectionConfig, Role};

use crate::model::key::PublicKey;
use crate::model::limits::WireLimits;
use crate::model::socket::SocketType;

use super::event::{CloseReason, Mechanism, SendError};
use super::facts::Drops;
use super::guard::Security;
use super::inbox::{Inbox, Received, Topics};
use super::opening::{self, Opening, Side};
use super::outbox::{self, HEADER_BYTES_MAX, Outbox};
use super::refusal::Limit;
use super::scan::{Rules, Scan};
use super::unfinished::Share;
use inbound::reason_of;

/// Slices handed to the kernel in one write.
const SLICES_MAX: usize = 64;
/// Replies that are made without being asked for, beyond what may wait for a peer: with more of
/// them the peer is not read.
const REPLY_BYTES_MAX: usize = 64 * 1024;
/// Answers to heartbeats that are waited for under CURVE; each may hide a part of a message.
const PONGS_DUE_MAX: u32 = 8;
/// The most bytes of the reason in an ERROR command.
const ERROR_BYTES_MAX: usize = 255;

/// What a session is made of.
pub struct SessionConfig {
    /// The type of our socket.
    pub socket_type: SocketType,
    /// What we call ourselves.
    pub announce: Bytes,
    /// What the peer may do.
    pub limits: Arc<WireLimits>,
    /// Which side this is, and what the connection is secured with.
    pub side: Side,
    /// Whether the peer is on this machine.
    pub is_near: bool,
}

/// What a peer says it is, before it is admitted.
#[derive(Debug, Clone, Default)]
pub struct Claim {
    /// What it calls itself; empty where it does not.
    pub identity: Bytes,
    /// The key it proved to have.
    pub key: Option<PublicKey>,
    /// Whose key that is.
    pub who: Option<String>,
}

/// Where a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The peer has not said who it is.
    Handshake,
    /// It has; nothing is parsed until [`Session::admit`] or [`Session::refuse`].
    Claiming,
    /// Messages pass.
    Open,
    /// Nothing is parsed any more; what is queued may be written.
    Over,
}

/// The message under way under CURVE, of which the boxes do not say where it ends.
#[derive(Debug, Default)]
struct Hidden {
    /// Its parts, and the bytes of their boxes.
    parts: usize,
    bytes: usize,
    /// The bytes of the box under way that were handed on.
    here: usize,
    /// Messages that ended.
    messages: u64,
}

/// The protocol state of one connection, and what it counted.
pub struct Session {
    limits: Arc<WireLimits>,
    own_type: SocketType,
    engine: Connection,
    scan: Scan,
    phase: Phase,
    /// The handshake, until it is done.
    opening: Option<Box<Opening>>,
    claim: Option<Claim>,
    /// Its part in what the hub holds of messages that are not whole.
    share: Option<Share>,
    /// Bytes of the peer that are not parsed yet: no whole frame, or no room for what is in them.
    unparsed: Bytes,
    /// Whether there was no room for all of it when it was last parsed: until it is, nothing more is read.
    is_stuffed: bool,
    inbox: Inbox,
    outbox: Outbox,
    topics: Topics,
    hidden: Hidden,
    /// Our heartbeats under CURVE that were not answered.
    pongs_due: u32,
    /// Whether our READY waits until the peer is admitted.
    holds_ready: bool,
    /// What follows the handshake is cut elsewhere.
    is_raw: bool,
    /// A message was too much, and the peer has not read half of what waits since.
    is_full: bool,
    is_writable_due: bool,
    pub(super) mechanism: Mechanism,
    /// The peer's key and whose it is, once it is admitted; where we dialled, the listener's key.
    pub(super) key: Option<PublicKey>,
    pub(super) who: Option<String>,
    /// The minor version of ZMTP 3 in use, once the handshake is done.
    pub(super) zmtp_minor: Option<u8>,
    pub(super) socket_type: Option<&'static str>,
    pub(in crate::wire) identity: Bytes,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) messages_in: u64,
    pub(super) messages_out: u64,
    /// Heartbeats, and commands that mean nothing here.
    pub(super) pings_in: u64,
    pub(super) dropped: Drops,
}

fn engine_type(ours: SocketType) -> omq_proto::SocketType {
    omq_proto::SocketType::from_wire(ours.as_str().as_bytes())
        .expect("both name ZeroMQ's own socket types")
}

impl Session {
    /// A session before its greeting.
    pub fn new(config: SessionConfig) -> Self {
        let limits = config.limits;
        let (mechanism, key) = match &config.side {
            Side::Listening(Security::Open) | Side::Dialling(None) => (Mechanism::Null, None),
            Side::Listening(Security::Curve(_)) => (Mechanism::Curve, None),
            Side::Dialling(Some(keys)) => (Mechanism::Curve, Some(keys.server)),
        };
        let message_bytes_max = if config.is_near || mechanism == Mechanism::Curve {
            limits.message_bytes_max
        } else {
            limits.message_far_bytes_max
        };
        // The engine charges one slot a part; the limit here is about what the peer sent.
        let slots = limits.parts_max.saturating_mul(size_of::<Payload>());
        // The opening says which side it is.
        let wire = ConnectionConfig::new(Role::Server, engine_type(config.socket_type))
            .identity(config.announce)
            .max_message_size(message_bytes_max.saturating_add(slots));
        let holds_ready = matches!(config.side, Side::Listening(Security::Open));
        let (opening, engine) = Opening::new(config.side, wire);
        let mut session = Self {
            scan: Scan::new(Rules {
                message_bytes_max,
                parts_max: limits.parts_max,
                metadata_bytes_max: limits.metadata_bytes_max,
                topic_bytes_max: limits.topic_bytes_max,
                is_sealed: mechanism == Mechanism::Curve,
                is_publishing: config.socket_type == SocketType::Pub,
            }),
            limits,
            own_type: config.socket_type,
            engine,
            phase: Phase::Handshake,
            opening: Some(Box::new(opening)),
            claim: None,
            share: None,
            unparsed: Bytes::new(),
            is_stuffed: false,
            inbox: Inbox::default(),
            outbox: Outbox::default(),
            topics: Topics::default(),
            hidden: Hidden::default(),
            pongs_due: 0,
            holds_ready,
            is_raw: false,
            is_full: false,
            is_writable_due: false,
            mechanism,
            key,
            who: None,
            zmtp_minor: None,
            socket_type: None,
            identity: Bytes::new(),
            bytes_in: 0,
            bytes_out: 0,
            messages_in: 0,
            messages_out: 0,
            pings_in: 0,
            dropped: Drops::default(),
        };
        session.collect_all();
        session
    }

    /// Whether the handshake is done and the peer admitted.
    pub fn is_ready(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Shows the whole greeting to a peer that waits for it. True where it was held back.
    pub fn release(&mut self) -> bool {
        let held = self.opening.as_mut().filter(|opening| opening.is_held());
        held.map(|opening| opening.release()).is_some()
    }

    /// What it means that the connection ends for this reason now.
    pub fn ended(&self, reason: CloseReason) -> CloseReason {
        match &self.opening {
            Some(opening) => opening.ended(reason),
            None => reason,
        }
    }

    /// Has what it holds of unfinished messages counted with that of others.
    pub(super) fn share(&mut self, share: Share) {
        self.share = Some(share);
    }

    fn is_sealed(&self) -> bool {
        self.mechanism == Mechanism::Curve
    }

    /// Whether more may be parsed now.
    fn has_room(&self) -> bool {
        let waiting_max = self.limits.peer_bytes_max.saturating_add(REPLY_BYTES_MAX);
        match self.phase {
            Phase::Handshake => true,
            Phase::Open => !self.is_raw && !self.inbox.is_full() && self.outbox.len() < waiting_max,
            Phase::Claiming | Phase::Over => false,
        }
    }

    /// Whether bytes of the peer wait until messages before them are taken.
    pub(super) fn waits_for_room(&self) -> bool {
        self.phase == Phase::Open && self.inbox.is_full() && !self.unparsed.is_empty()
    }

    /// Who the peer says it is, once, when that has to be judged.
    pub fn take_claim(&mut self) -> Option<Claim> {
        self.claim.take()
    }

    /// Whether the peer said who it is, and is neither admitted nor refused.
    pub(super) fn is_claiming(&self) -> bool {
        self.phase == Phase::Claiming
    }

    /// Whether a claim waits to be judged.
    pub(super) fn has_claim(&self) -> bool {
        self.claim.is_some()
    }

    /// The peer is who it says and may stay; what it sent meanwhile is parsed.
    pub fn admit(&mut self) -> Result<(), CloseReason> {
        assert_eq!(self.phase, Phase::Claiming, "who is admitted has claimed");
        self.phase = Phase::Open;
        if self.engine.awaiting_authentication() {
            let allowed = AuthenticationResult::allow();
            let admitted = self.engine.complete_authentication(allowed);
            self.absorb(0)?;
            admitted.map_err(reason_of)?;
        }
        self.collect();
        self.parse()
    }

    /// The peer may not stay, and is told why.
    pub fn refuse(&mut self, limit: Limit) {
        assert_eq!(self.phase, Phase::Claiming, "who is refused has claimed");
        self.fail(&CloseReason::Limit(limit));
    }

    /// Ends the session; a peer whose handshake is not done is told why.
    fn fail(&mut self, reason: &CloseReason) {
        let was = std::mem::replace(&mut self.phase, Phase::Over);
        self.unparsed = Bytes::new();
        if !matches!(was, Phase::Handshake | Phase::Claiming) {
            return;
        }
        self.release();
        let is_understood = !matches!(
            reason,
            CloseReason::NotZmtp | CloseReason::Mechanism { .. } | CloseReason::Peer
        );
        if !self.holds_ready {
            self.deny();
        } else if self.scan.is_greeted() && is_understood {
            let words = reason.to_string();
            let words = &words.as_bytes()[..words.len().min(ERROR_BYTES_MAX)];
            let length = u8::try_from(words.len()).expect("cut in the line above");
            self.outbox.command("ERROR", &[&[length], words].concat());
        }
    }

    /// The next of what came, oldest first.
    pub fn take(&mut self) -> Option<Received> {
        self.inbox.pop()
    }

    /// All that came, oldest first.
    pub(super) fn take_all(&mut self) -> VecDeque<Received> {
        self.inbox.take_all()
    }

    /// Takes back what could not be taken after all.
    pub(super) fn put_back(&mut self, received: VecDeque<Received>) {
        self.inbox.put_back(received);
    }

    /// Whether something came that was not taken.
    pub(super) fn has_received(&self) -> bool {
        !self.inbox.is_empty()
    }

    /// Bytes of the peer that were not taken.
    pub(super) fn unread_bytes(&self) -> usize {
        self.inbox.bytes() + self.unparsed.len()
    }

    /// Topics the peer is subscribed to.
    pub(super) fn subscriptions(&self) -> usize {
        self.topics.len()
    }

    /// Whether there is room for a message; there always is for one.
    pub(super) fn fits(&self, frames: &[Bytes]) -> bool {
        let bytes: usize = frames.iter().map(|it| it.len() + HEADER_BYTES_MAX).sum();
        let is_over = self.outbox.len().saturating_add(bytes) > self.limits.peer_bytes_max;
        !is_over || self.outbox.is_empty()
    }

    /// Queues a message for the peer.
    pub fn send(&mut self, frames: Vec<Bytes>) -> Result<(), SendError> {
        if !self.is_ready() {
            return Err(SendError::Closed);
        }
        if !self.fits(&frames) {
            self.dropped.full += 1;
            self.is_full = true;
            return Err(SendError::Full);
        }
        self.messages_out += 1;
        if !self.is_sealed() {
            let last = frames.len().saturating_sub(1);
            for (n, frame) in frames.iter().enumerate() {
                self.outbox.frame(frame, n < last);
            }
            return Ok(());
        }
        let message = match <[Bytes; 1]>::try_from(frames) {
            Ok([frame]) => Message::single(frame),
            Err(frames) => Message::multipart(frames),
        };
        let sent = self.engine.send_message(&message);
        self.collect();
        sent.map_err(|_| SendError::Closed)
    }

    /// Subscribes to a topic of the peer, or to it no more: as a command, or as the message that it
    /// was before ZMTP 3.1.
    pub fn subscribe(&mut self, topic: Bytes, is_on: bool) -> Result<(), SendError> {
        if !self.is_ready() {
            return Err(SendError::Closed);
        }
        let command = if is_on {
            Command::Subscribe(topic)
        } else {
            Command::Cancel(topic)
        };
        let sent = self.engine.send_command(&command);
        self.collect();
        sent.map_err(|_| SendError::Closed)
    }

    /// Asks a peer that speaks ZMTP 3.1 for a sign of life.
    pub(super) fn ping(&mut self) {
        let ping = Command::Ping {
            ttl_deciseconds: 0,
            context: Bytes::new(),
        };
        // It fails where the connection is not open; then its end is on its way.
        drop(self.engine.send_command(&ping));
        if self.is_sealed() {
            self.pongs_due = (self.pongs_due + 1).min(PONGS_DUE_MAX);
        }
        self.collect();
    }

    /// Moves what the engine wants to be written to what will be, but for a READY that waits.
    fn collect(&mut self) {
        let waits = self.holds_ready && matches!(self.phase, Phase::Handshake | Phase::Claiming);
        if !waits {
            self.collect_all();
        }
    }

    fn collect_all(&mut self) {
        while self.engine.has_pending_transmit() {
            let mut copied = 0;
            for chunk in self.engine.transmit_chunks_capped(SLICES_MAX) {
                if outbox::is_shared(&chunk) {
                    break;
                }
                self.outbox.copy(&chunk);
                copied += chunk.len();
            }
            if copied == 0 {
                // To share one takes a list of all.
                for chunk in self.engine.clone_transmit_chunks() {
                    copied += chunk.len();
                    self.outbox.push(chunk);
                }
            }
            self.engine.advance_transmit(copied);
        }
    }

    /// Whether it takes more bytes of the peer now.
    pub fn takes_input(&self) -> bool {
        self.is_raw() || self.has_room() && !self.is_stuffed
    }

    /// Bytes waiting to be written.
    pub fn queued_bytes(&self) -> usize {
        self.outbox.len()
    }

    /// Whether bytes wait to be written.
    pub fn is_behind(&self) -> bool {
        match self.held() {
            Some(shown) => !shown.is_empty(),
            None => !self.outbox.is_empty(),
        }
    }

    /// What may be written of a greeting that is held back.
    fn held(&self) -> Option<&'static [u8]> {
        self.opening.as_ref().filter(|opening| opening.is_held())?;
        let written = usize::try_from(self.bytes_out).unwrap_or(usize::MAX);
        Some(opening::GREETING_START.get(written..).unwrap_or_default())
    }

    /// The first of the bytes to be written, as slices for one write.
    pub fn outgoing(&self) -> impl std::ops::Deref<Target = [IoSlice<'_>]> {
        match self.held() {
            Some(shown) => vec![IoSlice::new(shown)],
            None => self.outbox.slices(SLICES_MAX),
        }
    }

    /// Tells that the first `bytes` of [`Session::outgoing`] were written.
    pub fn wrote(&mut self, bytes: usize) {
        self.bytes_out += bytes as u64;
        self.outbox.advance(bytes);
        if self.is_full && self.outbox.len() <= self.limits.peer_bytes_max / 2 {
            self.is_full = false;
            self.is_writable_due = true;
        }
    }

    /// Whether the owner has to be told that there is room again.
    pub(super) fn is_writable_due(&self) -> bool {
        self.is_writable_due
    }

    /// Takes the word that there is room again.
    pub(super) fn take_writable(&mut self) -> bool {
        std::mem::take(&mut self.is_writable_due)
    }
}
