//! One connection without its socket: bytes in, messages and bytes out, every limit applied.
//!
//! The task of a connection drives it with what the kernel gives; the fuzz targets and the mutation
//! tests drive it with what an attacker would send. It must never know a socket or the time, and
//! never take memory for what was only declared.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;

use bytes::Bytes;
use omq_proto::Error as ZmtpError;
use omq_proto::Message;
use omq_proto::Payload;
use omq_proto::proto::mechanism::AuthenticationResult;
use omq_proto::proto::{Connection, ConnectionConfig, Event, Role};

use crate::model::key::PublicKey;
use crate::model::limits::WireLimits;
use crate::model::socket::SocketType;

use super::event::Mechanism;
use super::guard::Security;
use super::opening::{self, Opening, Side};
use super::{CloseReason, Drops, SendError, Violation};

/// Slices handed to the kernel in one write.
const SLICES_MAX: usize = 64;

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
}

/// The protocol state of one connection, and what it counted.
pub struct Session {
    limits: Arc<WireLimits>,
    engine: Connection,
    /// The handshake, until it is done.
    opening: Option<Box<Opening>>,
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
    pub(super) dropped: Drops,
}

fn engine_type(ours: SocketType) -> omq_proto::SocketType {
    omq_proto::SocketType::from_wire(ours.as_str().as_bytes())
        .expect("both name ZeroMQ's own socket types")
}

impl Session {
    /// A session before its greeting.
    pub fn new(config: SessionConfig) -> Self {
        // The engine charges one slot a part; the limit here is about what the peer sent.
        let slots = config.limits.parts_max * size_of::<Payload>();
        // The opening says which side it is.
        let wire = ConnectionConfig::new(Role::Server, engine_type(config.socket_type))
            .identity(config.announce)
            .max_message_size(config.limits.message_bytes_max.saturating_add(slots));
        let (mechanism, key) = match &config.side {
            Side::Listening(Security::Open) | Side::Dialling(None) => (Mechanism::Null, None),
            Side::Listening(Security::Curve(_)) => (Mechanism::Curve, None),
            Side::Dialling(Some(keys)) => (Mechanism::Curve, Some(keys.server)),
        };
        let (opening, engine) = Opening::new(config.side, wire);
        Self {
            limits: config.limits,
            engine,
            opening: Some(Box::new(opening)),
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
            dropped: Drops::default(),
        }
    }

    /// Whether the handshake is done.
    pub fn is_ready(&self) -> bool {
        self.opening.is_none()
    }

    /// Takes bytes of the peer and appends the messages that are whole, also those that came before
    /// the bytes it refuses. After an error nothing more may be fed.
    pub fn receive(
        &mut self,
        bytes: Bytes,
        messages: &mut VecDeque<Vec<Bytes>>,
    ) -> Result<(), CloseReason> {
        self.bytes_in += bytes.len() as u64;
        let fed = match &mut self.opening {
            None => self.engine.handle_input(bytes).map_err(reason_of),
            Some(opening) => {
                opening.note(&bytes);
                let fed = self.engine.handle_input(bytes);
                self.open(fed)
            }
        };
        self.absorb(messages)?;
        fed
    }

    /// Goes on with a handshake after the engine took bytes: tries a HELLO with our other pairs, and
    /// decides whether the peer is admitted.
    fn open(&mut self, mut fed: Result<(), ZmtpError>) -> Result<(), CloseReason> {
        let opening = self.opening.as_mut().expect("the handshake is not done");
        while let (Err(error), Some(bytes)) = (&fed, opening.again())
            && opening::is_wrong_key(error)
            && let Some(engine) = opening.next_engine()
        {
            self.engine = engine;
            // All that was written so far is of the greeting, which is the same.
            self.engine
                .advance_transmit(usize::try_from(self.bytes_out).unwrap_or(usize::MAX));
            fed = self.engine.handle_input(bytes);
        }
        if let (Some(request), Some(guard)) = (
            self.engine.take_authentication_request(),
            opening.guard().cloned(),
        ) {
            let key = PublicKey::from_bytes(request.peer().public_key);
            let verdict = guard.judge(&key);
            fed = self.engine.complete_authentication(match verdict {
                Ok(_) => AuthenticationResult::allow(),
                Err(_) => AuthenticationResult::deny(),
            });
            match verdict {
                Ok(who) => (self.key, self.who) = (Some(key), Some(who)),
                Err(refusal) => return Err(CloseReason::Key { key, refusal }),
            }
        }
        fed.map_err(|error| {
            // The peer may want to know what we speak.
            opening.release();
            opening.refused(&error)
        })
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

    /// Goes on parsing what waited for room among the bytes to be written.
    pub fn resume(&mut self, messages: &mut VecDeque<Vec<Bytes>>) -> Result<(), CloseReason> {
        if !self.engine.has_pending_input() {
            return Ok(());
        }
        let fed = self.engine.resume_input();
        self.absorb(messages)?;
        fed.map_err(reason_of)
    }

    fn absorb(&mut self, messages: &mut VecDeque<Vec<Bytes>>) -> Result<(), CloseReason> {
        while let Some(event) = self.engine.poll_event() {
            match event {
                Event::HandshakeSucceeded {
                    peer_minor,
                    peer_properties,
                } => {
                    self.opening = None;
                    self.zmtp_minor = Some(peer_minor);
                    self.socket_type = peer_properties.socket_type.map(|ty| ty.as_str());
                    // Copied, so that a short name does not pin the buffer it arrived in.
                    self.identity = peer_properties
                        .identity
                        .as_ref()
                        .map(|id| Bytes::copy_from_slice(id))
                        .unwrap_or_default();
                }
                // Subscriptions and the like mean nothing to the socket types served so far.
                Event::Message(_) | Event::Command(_) => {}
            }
        }
        while let Some(message) = self.engine.poll_message() {
            if message.len() > self.limits.parts_max {
                return Err(CloseReason::TooManyParts);
            }
            self.messages_in += 1;
            messages.push_back(message.iter().collect());
        }
        Ok(())
    }

    /// Queues a message for the peer.
    pub fn send(&mut self, frames: Vec<Bytes>) -> Result<(), SendError> {
        if !self.is_ready() {
            return Err(SendError::Closed);
        }
        let bytes: usize = frames.iter().map(Bytes::len).sum();
        if self.queued_bytes().saturating_add(bytes) > self.limits.peer_bytes_max {
            self.dropped.full += 1;
            return Err(SendError::Full);
        }
        let message = match <[Bytes; 1]>::try_from(frames) {
            Ok([frame]) => Message::single(frame),
            Err(frames) => Message::multipart(frames),
        };
        self.engine
            .send_message(&message)
            .map_err(|_| SendError::Closed)?;
        self.messages_out += 1;
        Ok(())
    }

    /// Whether it takes more bytes of the peer now.
    pub fn takes_input(&self) -> bool {
        self.engine.accepts_input()
    }

    /// Bytes waiting to be written.
    pub fn queued_bytes(&self) -> usize {
        self.engine.pending_transmit_size()
    }

    /// Whether bytes wait to be written.
    pub fn is_behind(&self) -> bool {
        match self.held() {
            Some(shown) => !shown.is_empty(),
            None => self.engine.has_pending_transmit(),
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
        let mut slices = self.engine.transmit_chunks_capped(SLICES_MAX);
        if let Some(shown) = self.held() {
            slices.clear();
            slices.push(IoSlice::new(shown));
        }
        slices
    }

    /// Tells that the first `bytes` of [`Session::outgoing`] were written.
    pub fn wrote(&mut self, bytes: usize) {
        self.bytes_out += bytes as u64;
        self.engine.advance_transmit(bytes);
    }
}

fn reason_of(error: ZmtpError) -> CloseReason {
    match error {
        ZmtpError::MessageTooLarge { .. } => CloseReason::TooLarge,
        other => CloseReason::Protocol(Violation(other.to_string().into())),
    }
}
