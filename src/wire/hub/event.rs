//! What the hub tells its owner: what happened on a connection, and why one ended.
//!
//! Nothing here decides; the reasons are enums, so that whoever reads them can match.

use std::fmt;
use std::hash::Hasher;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;

use crate::model::key::PublicKey;
use crate::wire::dial::DialError;

use super::dialling::DialId;
use super::guard::KeyRefusal;
use super::refusal::Limit;

/// A connection, by a number that is never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct ConnId(pub u64);

/// Hashes connections by their numbers. They are the hub's own, so nobody chooses ones that collide,
/// and one is looked up for each message.
#[derive(Debug, Default)]
pub(super) struct ByNumber(u64);

impl Hasher for ByNumber {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        // The golden ratio, so that the upper bits differ too.
        self.0 = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// What happened on a connection whose handshake is done. Events of one connection come in their
/// order; connections take turns, so that one that sends much delays nobody.
#[derive(Debug)]
pub enum HubEvent {
    /// The handshake is done; messages may follow.
    Opened {
        /// The name its port was given.
        port: Arc<str>,
        /// The connection.
        conn: ConnId,
        /// Which dial made it, if we dialled.
        dial: Option<DialId>,
    },
    /// A whole message, with the envelope its sender gave it.
    Message {
        /// The name its port was given.
        port: Arc<str>,
        /// The connection.
        conn: ConnId,
        /// Its frames, at least one.
        frames: Vec<Bytes>,
    },
    /// A peer of a PUB or XPUB port subscribed to a topic, or to it no more.
    Subscribed {
        /// The name its port was given.
        port: Arc<str>,
        /// The connection.
        conn: ConnId,
        /// The topic, a prefix.
        topic: Bytes,
        /// Whether it is subscribed to now.
        is_on: bool,
    },
    /// A peer for which a message was too much has read half of what waited for it.
    Writable {
        /// The name its port was given.
        port: Arc<str>,
        /// The connection.
        conn: ConnId,
    },
    /// The connection is gone.
    Closed {
        /// The name its port was given.
        port: Arc<str>,
        /// The connection.
        conn: ConnId,
        /// Which dial made it, if we dialled; one that is kept goes on by itself.
        dial: Option<DialId>,
        /// Why.
        reason: CloseReason,
    },
    /// An attempt to dial came to nothing. A dial that is kept goes on by itself, another is over.
    DialFailed {
        /// The name it was given.
        port: Arc<str>,
        /// The dial.
        dial: DialId,
        /// Why.
        reason: DialError,
    },
}

/// Why a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CloseReason {
    /// The peer closed it.
    Peer,
    /// The handshake took longer than its limit.
    HandshakeTimeout,
    /// The peer's bytes are no greeting of ZMTP.
    NotZmtp,
    /// The peer speaks another security mechanism.
    Mechanism {
        /// What this side speaks.
        ours: Mechanism,
        /// What the peer speaks.
        theirs: Mechanism,
    },
    /// The peer took the listener for another: its HELLO opens with none of our keys or, where we
    /// dialled, ours with none of its.
    WrongServerKey,
    /// We dialled, and the peer does not admit our key.
    KeyRefused,
    /// The peer's key is not admitted, or is no longer.
    Key {
        /// The key.
        key: PublicKey,
        /// Why.
        refusal: KeyRefusal,
    },
    /// The peer's bytes break ZMTP, or it is not of a kind that may talk to this port.
    Protocol(Violation),
    /// The peer broke a limit, or claimed what it may not.
    Limit(Limit),
    /// The peer's machine does not acknowledge any more.
    Vanished,
    /// The owner of the hub had enough of it.
    Kicked,
    /// The other end of its wire is gone, or its queue was full and that ends it.
    OtherEnd,
    /// The operating system's error.
    Io(std::io::ErrorKind),
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer => f.write_str("the peer closed it"),
            Self::HandshakeTimeout => f.write_str("no handshake in time"),
            Self::NotZmtp => f.write_str("it does not speak ZMTP"),
            Self::Mechanism { ours, theirs } => write!(f, "it speaks {theirs}, not {ours}"),
            Self::WrongServerKey => f.write_str("wrong server key"),
            Self::KeyRefused => f.write_str("it does not admit our key"),
            Self::Key { refusal, .. } => refusal.fmt(f),
            Self::Protocol(violation) => violation.fmt(f),
            Self::Limit(limit) => f.write_str(limit.words()),
            Self::Vanished => f.write_str("its machine does not answer"),
            Self::Kicked => f.write_str("it was kicked"),
            Self::OtherEnd => f.write_str("the other end of its wire is gone"),
            Self::Io(kind) => kind.fmt(f),
        }
    }
}

/// A security mechanism, as a greeting names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Mechanism {
    /// No security.
    Null,
    /// A password in clear text, which nothing here offers.
    Plain,
    /// Encrypted, by keys.
    Curve,
    /// Any other.
    Other,
}

impl Mechanism {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Null => "NULL",
            Self::Plain => "PLAIN",
            Self::Curve => "CURVE",
            Self::Other => "another mechanism",
        }
    }

    /// The mechanism of a greeting's field, which is filled up with zeros.
    pub(super) fn from_padded(field: &[u8]) -> Self {
        let end = field.iter().position(|byte| *byte == 0);
        match &field[..end.unwrap_or(field.len())] {
            b"NULL" => Self::Null,
            b"PLAIN" => Self::Plain,
            b"CURVE" => Self::Curve,
            _ => Self::Other,
        }
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the engine said about bytes it refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation(pub(crate) Box<str>);

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a message was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendError {
    /// The connection is gone.
    Closed,
    /// The peer does not read, and its queue is full: the message is dropped and counted.
    Full,
}
