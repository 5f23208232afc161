//! What passed to one subscriber, message by message.

use serde::Serialize;

/// What passed: `matched = sent + queued + dropped`, always.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Account {
    /// Messages that came for it.
    pub matched: u64,
    /// Messages handed to its connection.
    pub sent: u64,
    /// Messages that wait.
    pub queued: u64,
    /// Dropped, since its queue was full.
    pub newest: u64,
    /// Dropped to make room.
    pub oldest: u64,
    /// Replaced by newer ones.
    pub conflated: u64,
    /// Those for which the connection was ended.
    pub disconnected: u64,
    /// Still waiting when the connection ended.
    pub left: u64,
}

impl Account {
    /// What was dropped when it came; what makes room later for newer ones is not among it.
    pub fn refused(&self) -> u64 {
        self.newest + self.disconnected + self.left
    }

    /// All that was dropped.
    pub fn dropped(&self) -> u64 {
        self.newest + self.oldest + self.conflated + self.disconnected + self.left
    }

    /// Adds what passed elsewhere.
    pub fn add(&mut self, other: &Self) {
        self.matched += other.matched;
        self.sent += other.sent;
        self.queued += other.queued;
        self.newest += other.newest;
        self.oldest += other.oldest;
        self.conflated += other.conflated;
        self.disconnected += other.disconnected;
        self.left += other.left;
    }

    /// Whether every message is somewhere, once.
    pub fn is_exact(&self) -> bool {
        self.matched == self.sent + self.queued + self.dropped()
    }
}
