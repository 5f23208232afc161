//! What the hub knows, as `status` shows it: facts of one connection, and counts of the gone.

use serde::Serialize;

use crate::model::key::PublicKey;

use super::event::{ConnId, Mechanism};
use super::refusal::Rejections;

/// What the hub knows about one connection.
#[derive(Debug, Clone, Serialize)]
pub struct ConnectionFacts {
    /// The connection.
    pub conn: ConnId,
    /// The name its port was given.
    pub port: String,
    /// `ADDRESS:PORT` of the peer; empty on ipc, where peers have no address.
    pub peer_address: String,
    /// The peer's socket type, once the handshake is done.
    pub socket_type: Option<String>,
    /// What the peer calls itself; empty where it does not.
    pub identity: String,
    /// `NULL` or `CURVE`.
    pub mechanism: Mechanism,
    /// The peer's key, under CURVE once it is admitted.
    pub key: Option<PublicKey>,
    /// Whose key that is, by the allow-list.
    pub who: Option<String>,
    /// The minor version of ZMTP 3 in use, once the handshake is done.
    pub zmtp_minor: Option<u8>,
    /// Whether the handshake is done.
    pub handshake_done: bool,
    /// Bytes received, framing included.
    pub bytes_in: u64,
    /// Bytes accepted by the kernel, framing included.
    pub bytes_out: u64,
    /// Whole messages received.
    pub messages_in: u64,
    /// Messages taken for this peer.
    pub messages_out: u64,
    /// Bytes waiting for the peer to read.
    pub queued_bytes: usize,
    /// Bytes of the peer that wait to be handled.
    pub unread_bytes: usize,
    /// Whether it is not read now, since its messages have nowhere to go.
    pub is_paused: bool,
    /// Topics the peer is subscribed to.
    pub subscriptions: usize,
    /// Messages dropped, by reason.
    pub dropped: Drops,
    /// How long the peer has taken nothing of what waits for it, or has left a heartbeat unanswered,
    /// in milliseconds; 0 where it owes nothing.
    pub stalled_ms: u64,
    /// When it was accepted, in milliseconds since 1970.
    pub since_ms: u64,
}

/// Messages dropped on one connection, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Drops {
    /// The peer did not read and its queue was full.
    pub full: u64,
    /// The peer sent a message to a port that only publishes.
    pub unasked: u64,
}

/// What the hub counted that belongs to no living connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct HubCounters {
    /// Connections accepted by the kernel.
    pub accepted: u64,
    /// Connections refused or ended, by the limit that was broken.
    pub rejected: Rejections,
}
