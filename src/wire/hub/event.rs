//! What the hub tells its owner: what happened on a connection, and why one ended.
//!
//! Nothing here decides; the reasons are enums, so that whoever reads them can match.

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;

/// A connection, by a number that is never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct ConnId(pub u64);

/// What happened on a connection whose handshake is done.
#[derive(Debug)]
pub enum HubEvent {
    /// The handshake is done; messages may follow.
    Opened {
        /// The name its port was given.
        port: Arc<str>,
        /// The connection.
        conn: ConnId,
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
    /// The connection is gone.
    Closed {
        /// The name its port was given.
        port: Arc<str>,
        /// The connection.
        conn: ConnId,
        /// Why.
        reason: CloseReason,
    },
}

/// Why a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CloseReason {
    /// The peer closed it.
    Peer,
    /// The handshake took longer than its limit.
    HandshakeTimeout,
    /// The peer's bytes are not ZMTP, or not a kind that may talk to this port.
    Protocol(Violation),
    /// A message of more bytes than the limit.
    TooLarge,
    /// A message of more parts than the limit.
    TooManyParts,
    /// The operating system's error.
    Io(std::io::ErrorKind),
}

/// What the engine said about bytes it refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation(pub(crate) Box<str>);

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
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
