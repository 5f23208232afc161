//! Who may not connect for a while: by address, by key or by identity.
//!
//! Bans live in the hub: a process that starts again has none. What is to last is the allow-list's.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use crate::model::key::PublicKey;
use crate::model::limits::hub::BANS_MAX;

/// Who is banned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ban {
    /// Every peer of this address; peers on ipc have none.
    Address(IpAddr),
    /// Every peer that shows this key.
    Key(PublicKey),
    /// Every peer that calls itself so.
    Identity(String),
}

impl fmt::Display for Ban {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Key(key) => key.fmt(f),
            Self::Identity(identity) => identity.fmt(f),
        }
    }
}

/// A ban and how long it stays.
#[derive(Debug, Clone, Serialize)]
pub struct BanFacts {
    /// `address`, `key` or `identity`.
    pub by: &'static str,
    /// Who.
    pub who: String,
    /// How long it stays, in milliseconds.
    pub left_ms: u64,
}

/// Who a connection is, as far as it is known.
pub(super) struct Who<'a> {
    pub(super) address: Option<IpAddr>,
    pub(super) key: Option<&'a PublicKey>,
    pub(super) identity: &'a [u8],
}

impl Ban {
    pub(super) fn meets(&self, who: &Who<'_>) -> bool {
        match self {
            Self::Address(address) => who.address == Some(*address),
            Self::Key(key) => who.key == Some(key),
            Self::Identity(identity) => identity.as_bytes() == who.identity,
        }
    }

    fn by(&self) -> &'static str {
        match self {
            Self::Address(_) => "address",
            Self::Key(_) => "key",
            Self::Identity(_) => "identity",
        }
    }
}

/// The bans in force.
#[derive(Default)]
pub(super) struct Bans(Vec<(Ban, Instant)>);

impl Bans {
    /// Takes a ban, or a new end for one that is there; false where there are too many.
    pub(super) fn add(&mut self, ban: Ban, lasts: Duration) -> bool {
        let now = Instant::now();
        self.0.retain(|(_, until)| *until > now);
        // An end beyond what a clock can say is as good as the farthest it can.
        let far = Duration::from_secs(86_400 * 365 * 100);
        let until = now + lasts.min(far);
        if let Some((_, end)) = self.0.iter_mut().find(|(it, _)| *it == ban) {
            *end = until;
            return true;
        }
        let has_room = self.0.len() < BANS_MAX;
        if has_room {
            self.0.push((ban, until));
        }
        has_room
    }

    pub(super) fn lift(&mut self, ban: &Ban) -> bool {
        let before = self.0.len();
        let now = Instant::now();
        let mut was_there = false;
        self.0.retain(|(it, until)| {
            was_there |= it == ban && *until > now;
            it != ban
        });
        was_there && self.0.len() < before
    }

    pub(super) fn meets(&self, who: &Who<'_>) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let now = Instant::now();
        self.0
            .iter()
            .any(|(ban, until)| *until > now && ban.meets(who))
    }

    /// Whether every peer of this address is banned, whoever it is.
    pub(super) fn meets_address(&self, address: Option<IpAddr>) -> bool {
        self.meets(&Who {
            address,
            key: None,
            identity: &[],
        })
    }

    pub(super) fn list(&self) -> Vec<BanFacts> {
        let now = Instant::now();
        self.0
            .iter()
            .filter(|(_, until)| *until > now)
            .map(|(ban, until)| BanFacts {
                by: ban.by(),
                who: ban.to_string(),
                left_ms: u64::try_from(until.duration_since(now).as_millis()).unwrap_or(u64::MAX),
            })
            .collect()
    }
}
