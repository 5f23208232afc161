//! What the owner of a hub may do with its connections, and what it may know of them.

use std::time::Duration;

use bytes::Bytes;

use super::ban::Who;
use super::{
    Ban, BanFacts, CloseReason, ConnId, ConnectionFacts, Entry, Hub, HubCounters, Limit, Refusal,
    SendError,
};

/// There are as many bans as there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooManyBans;

impl Hub {
    /// Subscribes to a topic of a peer that publishes, or to it no more.
    pub fn subscribe(&self, conn: ConnId, topic: Bytes, is_on: bool) -> Result<(), SendError> {
        let entry = self.connections.get(&conn).ok_or(SendError::Closed)?;
        entry.peer.subscribe(topic, is_on)
    }

    /// Stops reading a connection: nothing of it is handed out any more but that there is room, and
    /// its peer is slowed down by the kernel. That the peer is gone is heard after
    /// [`Hub::resume`], behind what it sent before.
    pub fn pause(&self, conn: ConnId) {
        if let Some(entry) = self.connections.get(&conn) {
            entry.peer.pause(true);
        }
    }

    /// Goes on reading a connection.
    pub fn resume(&self, conn: ConnId) {
        if let Some(entry) = self.connections.get(&conn) {
            entry.peer.pause(false);
        }
    }

    /// Ends a connection; the event follows. False where there is none.
    pub fn kick(&mut self, conn: ConnId) -> bool {
        self.end(conn, CloseReason::Kicked)
    }

    /// Ends the connections that a ban meets, and lets no such peer in as long as it lasts. Gives
    /// how many there were.
    pub fn ban(&mut self, ban: Ban, lasts: Duration) -> Result<usize, TooManyBans> {
        if !self.lobby.bans().add(ban.clone(), lasts) {
            return Err(TooManyBans);
        }
        let met = self.connections.iter().filter(|(_, entry)| {
            let key = entry.peer.key();
            let who = Who {
                address: entry.peer.ip(),
                key: key.as_ref(),
                identity: &entry.identity,
            };
            entry.listener().is_some() && ban.meets(&who)
        });
        let met: Vec<ConnId> = met.map(|(conn, _)| *conn).collect();
        for conn in &met {
            self.end(*conn, CloseReason::Limit(Limit::Banned));
        }
        Ok(met.len())
    }

    /// The bans in force.
    pub fn bans(&self) -> Vec<BanFacts> {
        self.lobby.bans().list()
    }

    /// Ends a ban. False where there is none.
    pub fn lift(&mut self, ban: &Ban) -> bool {
        self.lobby.bans().lift(ban)
    }

    /// Closes the connections whose key their guard does not admit any more. Call it when a guard
    /// was replaced; whose key is still admitted, or only retired, notices nothing.
    pub fn recheck(&mut self) {
        let judged = self.connections.iter().filter_map(|(conn, entry)| {
            let key = entry.peer.key()?;
            let refusal = entry.guard.as_ref()?.expels(&key)?;
            Some((*conn, CloseReason::Key { key, refusal }))
        });
        for (conn, reason) in judged.collect::<Vec<_>>() {
            self.end(conn, reason);
        }
    }

    /// What is known about every connection, in the order they came.
    pub fn connections(&self) -> Vec<ConnectionFacts> {
        let entries = self.connections.values();
        let mut facts: Vec<_> = entries.map(|it| it.peer.facts(&it.port)).collect();
        facts.sort_by_key(|facts| facts.conn);
        facts
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        let entries = self.connections.values();
        entries.filter(|entry| entry.is_open).count()
    }

    /// How many are in their handshake, or wait for a name.
    pub fn pending(&self) -> usize {
        let is_pending = |entry: &&Entry| !entry.is_open;
        self.lobby.pending() + self.connections.values().filter(is_pending).count()
    }

    /// What belongs to no living connection.
    pub fn counters(&self) -> HubCounters {
        HubCounters {
            accepted: self.lobby.accepted(),
            rejected: self.lobby.refusals().rejected(),
        }
    }

    /// Who was refused and why, last refused first.
    pub fn refusals(&self) -> Vec<Refusal> {
        self.lobby.refusals().list()
    }
}
