//! A handshake, seen from beside the engine: which keys it is tried with, how much of our greeting is
//! shown, and in which way it failed.
//!
//! The engine says only that bytes are wrong. What they were says more: not ZMTP at all, another
//! mechanism, a HELLO for another server. Our greeting goes out in two parts, as libzmq's does: a
//! libzmq peer looks at the mechanism before it shows its own, and would be gone without a word.
//!
//! It lives until the handshake is done, keeps a few hundred bytes of the peer and no more, and
//! drops its keys with itself.

use std::sync::Arc;

use bytes::Bytes;
use omq_proto::Error as ZmtpError;
use omq_proto::proto::mechanism::MechanismSetup;
use omq_proto::proto::{Connection, ConnectionConfig, Role};

use crate::model::key::KeyPair;
use crate::wire::curve::{self, CurveClient};

use super::event::{CloseReason, Mechanism, Violation};
use super::guard::{Guard, OWN_PAIRS_MAX, Security};
use super::refusal::Limit;

/// The bytes of a greeting.
const GREETING_BYTES: usize = 64;
/// The bytes of a greeting up to the version, and what they are: all that we show at first.
pub(super) const GREETING_START: [u8; 11] = [0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0x7f, 3];
/// Where the greeting names the mechanism.
const MECHANISM_AT: std::ops::Range<usize> = 12..32;
/// A WELCOME with its frame header.
const WELCOME_BYTES: usize = 2 + 168;
/// What is kept of a peer: its greeting and, in a long frame, its HELLO.
const SEEN_BYTES_MAX: usize = GREETING_BYTES + 9 + 200;

/// Which side of a connection a session is on, and what it is secured with.
#[derive(Debug, Clone)]
pub enum Side {
    /// It listened.
    Listening(Security),
    /// It dialled: with CURVE where there are keys.
    Dialling(Option<Arc<CurveClient>>),
}

/// A handshake that is not done.
pub(super) struct Opening {
    side: Side,
    config: ConnectionConfig,
    /// Our pairs that the engine was not given yet.
    pairs: std::vec::IntoIter<KeyPair>,
    seen: Vec<u8>,
    received: usize,
    is_held: bool,
}

impl Opening {
    /// A handshake that begins, and its engine. `config` tells all but the side and the mechanism.
    pub(super) fn new(side: Side, config: ConnectionConfig) -> (Self, Connection) {
        let mut pairs = match &side {
            Side::Listening(Security::Curve(guard)) => guard.admission().own.clone(),
            Side::Listening(Security::Open) | Side::Dialling(_) => Vec::new(),
        };
        pairs.truncate(OWN_PAIRS_MAX);
        let mut opening = Self {
            side,
            config,
            pairs: pairs.into_iter(),
            seen: Vec::new(),
            received: 0,
            is_held: true,
        };
        let engine = opening.first_engine();
        (opening, engine)
    }

    fn first_engine(&mut self) -> Connection {
        match &self.side {
            Side::Listening(Security::Open) => self.engine(Role::Server, MechanismSetup::Null),
            // A guard without keys admits nobody: any key is the wrong one.
            Side::Listening(Security::Curve(_)) => self
                .next_engine()
                .unwrap_or_else(|| self.engine(Role::Server, curve::server(&curve::generate()))),
            Side::Dialling(None) => self.engine(Role::Client, MechanismSetup::Null),
            Side::Dialling(Some(keys)) => self.engine(Role::Client, curve::client(keys)),
        }
    }

    fn engine(&self, role: Role, mechanism: MechanismSetup) -> Connection {
        let mut config = self.config.clone();
        config.role = role;
        Connection::new(config.mechanism(mechanism).defer_authentication(true))
    }

    /// An engine with the next of our pairs, for the same peer.
    pub(super) fn next_engine(&mut self) -> Option<Connection> {
        let pair = self.pairs.next()?;
        Some(self.engine(Role::Server, curve::server(&pair)))
    }

    /// Notes bytes of the peer before the engine gets them.
    pub(super) fn note(&mut self, bytes: &[u8]) {
        let room = SEEN_BYTES_MAX - self.seen.len();
        self.seen.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.received += bytes.len();
        let enough = match self.side {
            // libzmq sends 10 bytes, then all once it has our first 11; who sends 11 to 63 waits
            // for us.
            Side::Listening(_) => GREETING_START.len(),
            Side::Dialling(_) => GREETING_BYTES,
        };
        self.is_held &= self.received < enough;
    }

    /// Whether only the start of our greeting is shown.
    pub(super) fn is_held(&self) -> bool {
        self.is_held
    }

    /// Shows the rest: the peer is of a kind that waits for it.
    pub(super) fn release(&mut self) {
        self.is_held = false;
    }

    /// All bytes of the peer again, if they are few enough to be a greeting and a HELLO.
    pub(super) fn again(&self) -> Option<Bytes> {
        (self.received == self.seen.len()).then(|| Bytes::copy_from_slice(&self.seen))
    }

    /// Who decides whom this port admits.
    pub(super) fn guard(&self) -> Option<&Arc<Guard>> {
        match &self.side {
            Side::Listening(Security::Curve(guard)) => Some(guard),
            Side::Listening(Security::Open) | Side::Dialling(_) => None,
        }
    }

    fn ours(&self) -> Mechanism {
        match &self.side {
            Side::Listening(Security::Open) | Side::Dialling(None) => Mechanism::Null,
            Side::Listening(Security::Curve(_)) | Side::Dialling(Some(_)) => Mechanism::Curve,
        }
    }

    /// Whether the peer's bytes cannot be the start of a greeting.
    fn is_foreign(&self) -> bool {
        self.seen.first().is_some_and(|byte| *byte != 0xff)
            || self.seen.get(9).is_some_and(|byte| *byte != 0x7f)
    }

    /// What the engine's refusal means.
    pub(super) fn refused(&self, error: &ZmtpError) -> CloseReason {
        if self.is_foreign() {
            return CloseReason::NotZmtp;
        }
        if let Some(name) = self.seen.get(MECHANISM_AT) {
            let (ours, theirs) = (self.ours(), Mechanism::from_padded(name));
            if ours != theirs {
                return CloseReason::Mechanism { ours, theirs };
            }
        }
        match error {
            ZmtpError::MessageTooLarge { .. } => CloseReason::Limit(Limit::Metadata),
            ZmtpError::HandshakeRefused(_) if self.is_introduced() => CloseReason::KeyRefused,
            error if is_wrong_key(error) => CloseReason::WrongServerKey,
            // What a stranger wrote into an ERROR is no text for our logs.
            ZmtpError::HandshakeRefused(_) => {
                CloseReason::Protocol(Violation("it refused the handshake".into()))
            }
            other => CloseReason::Protocol(Violation(other.to_string().into())),
        }
    }

    /// Whether we dialled and have shown who we are.
    fn is_introduced(&self) -> bool {
        matches!(self.side, Side::Dialling(Some(_)))
            && self.received >= GREETING_BYTES + WELCOME_BYTES
    }

    /// What it means that the connection ended before the handshake was done.
    pub(super) fn ended(&self, reason: CloseReason) -> CloseReason {
        let is_cut = matches!(reason, CloseReason::Peer | CloseReason::Io(_));
        let is_late = matches!(reason, CloseReason::HandshakeTimeout);
        match &self.side {
            _ if (is_cut || is_late) && self.is_foreign() => CloseReason::NotZmtp,
            // A server that cannot open a HELLO, or does not admit a key, drops the connection.
            Side::Dialling(Some(_)) if is_cut && self.is_introduced() => CloseReason::KeyRefused,
            Side::Dialling(Some(_)) if is_cut && self.received >= GREETING_BYTES => {
                CloseReason::WrongServerKey
            }
            Side::Listening(_) | Side::Dialling(_) => reason,
        }
    }
}

/// Whether a box of the handshake did not open with the long-term keys in use. The engine tells its
/// refusals apart by their texts alone; a test holds them.
pub(super) fn is_wrong_key(error: &ZmtpError) -> bool {
    matches!(error, ZmtpError::HandshakeFailed(text)
        if text == "CURVE HELLO signature invalid" || text == "CURVE WELCOME decrypt failed")
}
