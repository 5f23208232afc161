//! The inbound half of a session: bytes become steps, steps messages.
//!
//! Each step is looked at before the engine gets it and after: nothing is put together from bytes
//! that break a limit, and nothing is parsed for which there is no room.

use bytes::{Bytes, BytesMut};
use omq_proto::Error as ZmtpError;
use omq_proto::Message;
use omq_proto::proto::mechanism::AuthenticationResult;
use omq_proto::proto::{Command, Event, PeerProperties};

use crate::model::key::PublicKey;
use crate::model::socket::SocketType;
use crate::wire::hub::event::{CloseReason, Violation};
use crate::wire::hub::inbox::Received;
use crate::wire::hub::opening;
use crate::wire::hub::refusal::Limit;

use super::{Claim, Hidden, Phase, Session};

/// The most bytes of a box with the answer to a heartbeat of ours.
const PONG_BYTES_MAX: usize = 64;

impl Session {
    /// Takes bytes of the peer and parses what it has room for. What came whole before bytes that it
    /// refuses is kept for [`Session::take`]. After an error nothing more may be fed.
    pub fn receive(&mut self, bytes: Bytes) -> Result<(), CloseReason> {
        self.bytes_in += bytes.len() as u64;
        if self.unparsed.is_empty() {
            self.unparsed = bytes;
        } else {
            let mut joined = BytesMut::with_capacity(self.unparsed.len() + bytes.len());
            joined.extend_from_slice(&self.unparsed);
            joined.extend_from_slice(&bytes);
            self.unparsed = joined.freeze();
        }
        self.parse()
    }

    /// Takes bytes in memory that is read into again: nothing of it is kept. What is sealed is opened
    /// into memory of its own, so that only what is not whole has to be copied.
    pub(in crate::wire::hub) fn receive_lent(&mut self, bytes: Bytes) -> Result<(), CloseReason> {
        if !self.is_sealed() || !self.is_ready() {
            return self.receive(Bytes::copy_from_slice(&bytes));
        }
        let received = self.receive(bytes);
        if !self.unparsed.is_empty() {
            self.unparsed = Bytes::copy_from_slice(&self.unparsed);
        }
        received
    }

    /// Goes on parsing what waited for room.
    pub fn parse(&mut self) -> Result<(), CloseReason> {
        let result = self.parse_steps().and_then(|()| self.note_unfinished());
        self.is_stuffed = !self.unparsed.is_empty() && !self.has_room();
        if let Err(reason) = &result {
            self.fail(reason);
        }
        result
    }

    fn note_unfinished(&mut self) -> Result<(), CloseReason> {
        let (message, bytes) = if self.is_sealed() && self.is_ready() {
            (self.hidden.messages, self.hidden.bytes + self.hidden.here)
        } else {
            self.scan.unfinished()
        };
        let is_raw = self.is_raw();
        let may_stay = self.share.as_mut().is_none_or(|share| match is_raw {
            // Whoever cuts it has noted it.
            true => !share.is_over(),
            false => share.note(message, bytes),
        });
        may_stay
            .then_some(())
            .ok_or(CloseReason::Limit(Limit::Unfinished))
    }

    fn parse_steps(&mut self) -> Result<(), CloseReason> {
        while self.has_room() && !self.unparsed.is_empty() {
            if !self.engine.accepts_input() {
                self.engine.resume_input().map_err(reason_of)?;
                self.absorb(0)?;
                continue;
            }
            let step = self.scan.step(&self.unparsed);
            if step.take > 0 {
                let mut bytes = self.unparsed.split_to(step.take);
                if self.is_sealed() && self.scan.is_midway() {
                    // The engine holds it until its frame is whole.
                    bytes = Bytes::copy_from_slice(&bytes);
                }
                let was_open = self.is_ready();
                let fed = self.feed(bytes);
                let is_seen = self.absorb(step.commands)?;
                fed?;
                if was_open && self.is_sealed() {
                    self.hidden.here += step.take;
                    if step.frames > 0 {
                        let bytes = std::mem::take(&mut self.hidden.here);
                        if !is_seen {
                            self.hidden_frame(bytes)?;
                        }
                    }
                }
            }
            if let Some(limit) = step.fault {
                return Err(CloseReason::Limit(limit));
            }
            if step.take == 0 {
                break;
            }
        }
        Ok(())
    }

    fn feed(&mut self, bytes: Bytes) -> Result<(), CloseReason> {
        match &mut self.opening {
            None => self.engine.handle_input(bytes).map_err(reason_of),
            Some(opening) => {
                opening.note(&bytes);
                let fed = self.engine.handle_input(bytes);
                self.open(fed)
            }
        }
    }

    /// Goes on with a handshake after the engine took bytes: tries a HELLO with our other pairs, and
    /// looks whether the peer's key is admitted.
    fn open(&mut self, mut fed: Result<(), ZmtpError>) -> Result<(), CloseReason> {
        let opening = self.opening.as_mut().expect("the handshake is not done");
        while let (Err(error), Some(bytes)) = (&fed, opening.again())
            && opening::is_wrong_key(error)
            && let Some(mut engine) = opening.next_engine()
        {
            // The greeting is the same, and was shown.
            engine.advance_transmit(engine.pending_transmit_size());
            self.engine = engine;
            fed = self.engine.handle_input(bytes);
        }
        if let (Some(request), Some(guard)) = (
            self.engine.take_authentication_request(),
            opening.guard().cloned(),
        ) {
            let key = PublicKey::from_bytes(request.peer().public_key);
            match guard.judge(&key) {
                Ok(who) => {
                    let identity = request.peer().identity.as_deref().unwrap_or_default();
                    self.claim = Some(Claim {
                        identity: Bytes::copy_from_slice(identity),
                        key: Some(key),
                        who: Some(who.clone()),
                    });
                    (self.key, self.who) = (Some(key), Some(who));
                    self.phase = Phase::Claiming;
                }
                Err(refusal) => {
                    return Err(CloseReason::Key { key, refusal });
                }
            }
        }
        let opening = self.opening.as_mut().expect("the handshake is not done");
        fed.map_err(|error| {
            // The peer may want to know what we speak.
            opening.release();
            opening.refused(&error)
        })
    }

    /// Has the engine write its ERROR to a peer whose key or claim is refused.
    pub(super) fn deny(&mut self) {
        if self.engine.awaiting_authentication() {
            // It gives the refusal back as an error, which is known better here.
            drop(
                self.engine
                    .complete_authentication(AuthenticationResult::deny()),
            );
        }
        self.collect();
    }

    /// What the engine made of the bytes it was fed, `commands` among them. True where it made
    /// something that is seen here.
    pub(super) fn absorb(&mut self, commands: u32) -> Result<bool, CloseReason> {
        let was_open = self.is_ready();
        let (mut is_seen, mut meant) = (false, 0);
        while let Some(event) = self.engine.poll_event() {
            is_seen = true;
            match event {
                Event::HandshakeSucceeded {
                    peer_minor,
                    peer_properties,
                } => {
                    self.zmtp_minor = Some(peer_minor);
                    self.shaken(&peer_properties);
                }
                Event::Command(Command::Subscribe(topic)) if self.own_type.is_publishing() => {
                    meant += 1;
                    self.subscribed(&topic, true)?;
                }
                Event::Command(Command::Cancel(topic)) if self.own_type.is_publishing() => {
                    meant += 1;
                    self.subscribed(&topic, false)?;
                }
                Event::Command(_) if self.is_sealed() => self.pings_in += 1,
                Event::Message(_) | Event::Command(_) => {}
            }
        }
        // What a box holds is known by what comes out of it.
        if was_open && !self.is_sealed() {
            self.pings_in += u64::from(commands.saturating_sub(meant));
        }
        if self.is_sealed() && self.engine.pending_pong_size() > 0 {
            is_seen = true;
            self.pings_in += 1;
        }
        while let Some(message) = self.engine.poll_message() {
            is_seen = true;
            self.hidden = Hidden {
                messages: self.hidden.messages + 1,
                ..Hidden::default()
            };
            self.message(&message)?;
        }
        self.collect();
        Ok(is_seen)
    }

    /// A frame under CURVE of which nothing is seen: a part of a message, or the answer to a
    /// heartbeat of ours, which only the engine can tell apart and does not.
    fn hidden_frame(&mut self, bytes: usize) -> Result<(), CloseReason> {
        if self.pongs_due > 0 && bytes <= PONG_BYTES_MAX {
            self.pongs_due -= 1;
            return Ok(());
        }
        self.hidden.parts += 1;
        self.hidden.bytes += bytes;
        if self.hidden.parts >= self.limits.parts_max {
            return Err(CloseReason::Limit(Limit::Parts));
        }
        Ok(())
    }

    /// The peer said what it is.
    fn shaken(&mut self, properties: &PeerProperties) {
        self.opening = None;
        self.scan.open();
        self.socket_type = properties.socket_type.map(|ty| ty.as_str());
        // Copied, so that a short name does not pin the buffer it arrived in.
        self.identity = properties
            .identity
            .as_ref()
            .map(|id| Bytes::copy_from_slice(id))
            .unwrap_or_default();
        if self.phase == Phase::Handshake {
            self.phase = Phase::Claiming;
            self.claim = Some(Claim {
                identity: self.identity.clone(),
                key: self.key,
                who: None,
            });
        }
    }

    fn message(&mut self, message: &Message) -> Result<(), CloseReason> {
        if message.len() > self.limits.parts_max {
            return Err(CloseReason::Limit(Limit::Parts));
        }
        if self.own_type.is_publishing() {
            // Before ZMTP 3.1, and from libzmq's XSUB always, a subscription is a message.
            let first = message.get(0).and_then(|frame| frame.split_first());
            match (message.len(), first) {
                (1, Some((tag @ (0 | 1), topic))) => {
                    return self.subscribed(topic, *tag == 1);
                }
                _ if self.own_type == SocketType::Pub => {
                    self.dropped.unasked += 1;
                    return Ok(());
                }
                _ => {}
            }
        }
        self.messages_in += 1;
        self.inbox.push(Received::Message(message.iter().collect()));
        Ok(())
    }

    fn subscribed(&mut self, topic: &[u8], is_on: bool) -> Result<(), CloseReason> {
        // Copied: it stays for as long as the connection does.
        let topic = Bytes::copy_from_slice(topic);
        let is_known = self.topics.set(&topic, is_on, &self.limits);
        if is_known.map_err(CloseReason::Limit)? {
            self.inbox.push(Received::Subscribed { topic, is_on });
        }
        Ok(())
    }
}

pub(super) fn reason_of(error: ZmtpError) -> CloseReason {
    match error {
        ZmtpError::MessageTooLarge { .. } => CloseReason::Limit(Limit::Message),
        other => CloseReason::Protocol(Violation(other.to_string().into())),
    }
}
