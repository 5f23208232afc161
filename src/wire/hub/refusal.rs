//! Who was refused, by which limit, how often and when: counters, and a bounded list.
//!
//! It must never grow with the number of those who knock: peers of one address that are refused for
//! one reason are one entry, and there are at most [`REFUSALS_MAX`] of them.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use tokio::time::Instant;

use crate::model::key::PublicKey;
use crate::model::limits::hub::{REFUSALS_MAX, SHOWN_BYTES_MAX};

use super::event::CloseReason;
use super::guard::Guard;

/// How long nothing more is said in the log about one entry after it was.
const SAID_AGAIN: Duration = Duration::from_secs(10);
/// Lines about refused peers in one second.
const LINES_MAX: u32 = 10;

/// What a peer is refused for, one name a counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// The handshake took too long.
    Handshake,
    /// Too many connections were in their handshake, and this was the oldest.
    Pending,
    /// Too many connections.
    Connections,
    /// A message of too many bytes.
    Message,
    /// A message of too many parts.
    Parts,
    /// A topic of too many bytes.
    Topic,
    /// Too many bytes about itself in the handshake.
    Metadata,
    /// Too many subscriptions.
    Subscriptions,
    /// Too many heartbeats.
    PingRate,
    /// An identity that another connection holds.
    Identity,
    /// A key that is not admitted, or none where one is needed.
    Key,
    /// The peer is banned.
    Banned,
    /// Bytes that are not ZMTP, or of a peer that has no business on the port.
    Protocol,
    /// Too many bytes of messages that were not whole, and its own was the oldest.
    Unfinished,
}

/// Every limit, in the order of [`Limit`].
const LIMITS: [(Limit, &str, &str); 14] = [
    (
        Limit::Handshake,
        "handshake",
        "it did not finish its handshake in time",
    ),
    (
        Limit::Pending,
        "pending",
        "too many connections were in their handshake, and it was the oldest",
    ),
    (
        Limit::Connections,
        "connections",
        "there were too many connections",
    ),
    (Limit::Message, "message", "its message has too many bytes"),
    (Limit::Parts, "parts", "its message has too many parts"),
    (Limit::Topic, "topic", "its topic has too many bytes"),
    (
        Limit::Metadata,
        "metadata",
        "its handshake has too many bytes",
    ),
    (
        Limit::Subscriptions,
        "subscriptions",
        "it has too many subscriptions",
    ),
    (Limit::PingRate, "ping_rate", "it sent too many heartbeats"),
    (
        Limit::Identity,
        "identity",
        "another connection holds the identity it claims",
    ),
    (Limit::Key, "key", "its key is not admitted"),
    (Limit::Banned, "banned", "it is banned"),
    (
        Limit::Protocol,
        "protocol",
        "it does not speak ZMTP as this port does",
    ),
    (
        Limit::Unfinished,
        "unfinished",
        "too many messages were unfinished, and its own was the oldest",
    ),
];

impl Limit {
    /// The name of its counter.
    pub fn as_str(self) -> &'static str {
        LIMITS[self as usize].1
    }

    /// What a peer did that broke it, in words.
    pub fn words(self) -> &'static str {
        LIMITS[self as usize].2
    }
}

/// How many were refused, by limit. Serialised with every limit's name, also where nobody was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rejections([u64; LIMITS.len()]);

impl Rejections {
    /// How many a limit refused.
    pub fn of(&self, limit: Limit) -> u64 {
        self.0[limit as usize]
    }

    /// How many were refused in all.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

impl Serialize for Rejections {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(LIMITS.len()))?;
        for (limit, name, _) in &LIMITS {
            map.serialize_entry(name, &self.of(*limit))?;
        }
        map.end()
    }
}

/// Peers that were refused.
#[derive(Debug, Clone, Serialize)]
pub struct Refusal {
    /// The name of the port they knocked at.
    pub port: String,
    /// Their address without the port; empty on ipc.
    pub address: String,
    /// The key they showed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Whose key that is, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    /// The limit they broke.
    pub limit: Limit,
    /// The reason in words, of the last of them.
    pub reason: String,
    /// How many there were.
    pub count: u64,
    /// When the last one was, in milliseconds since 1970.
    pub last_ms: u64,
}

/// One peer that is refused now.
pub(super) struct Refused<'a> {
    pub(super) port: &'a str,
    pub(super) address: Option<IpAddr>,
    pub(super) key: Option<PublicKey>,
    pub(super) who: Option<String>,
    pub(super) limit: Limit,
    /// What is known beyond the limit's own words, and said instead of them.
    pub(super) detail: Option<String>,
}

struct Noted {
    refusal: Refusal,
    heard: Instant,
    said: Instant,
}

/// The counters and the list.
#[derive(Default)]
pub(super) struct Refusals {
    rejected: Rejections,
    list: Vec<Noted>,
    second: Option<(Instant, u32)>,
}

impl Refusals {
    pub(super) fn rejected(&self) -> Rejections {
        self.rejected
    }

    /// The list, last refused first.
    pub(super) fn list(&self) -> Vec<Refusal> {
        let mut list: Vec<&Noted> = self.list.iter().collect();
        list.sort_by_key(|noted| std::cmp::Reverse(noted.heard));
        list.into_iter()
            .map(|noted| noted.refusal.clone())
            .collect()
    }

    /// Counts the end of a connection to a port, where it broke a limit, and remembers whose it was.
    pub(super) fn note(
        &mut self,
        port: &str,
        (address, shown): (Option<IpAddr>, Option<PublicKey>),
        guard: Option<&Arc<Guard>>,
        reason: &CloseReason,
    ) {
        let Some(limit) = limit_of(reason) else {
            return;
        };
        let (key, detail) = match reason {
            CloseReason::Key { key, refusal } => (Some(*key), Some(refusal.to_string())),
            CloseReason::Limit(_) | CloseReason::HandshakeTimeout => (shown, None),
            other => (shown, Some(other.to_string())),
        };
        let who = guard.zip(key.as_ref());
        self.add(&Refused {
            port,
            address,
            key,
            who: who.and_then(|(guard, key)| guard.owner(key)),
            limit,
            detail,
        });
    }

    /// Counts one and remembers it.
    pub(super) fn add(&mut self, refused: &Refused<'_>) {
        self.rejected.0[refused.limit as usize] += 1;
        let now = Instant::now();
        let (address, key) = (
            refused.address.map(|ip| ip.to_string()).unwrap_or_default(),
            refused.key.map(|key| key.to_string()),
        );
        let reason = words(refused);
        let found = self.list.iter_mut().position(|noted| {
            let known = &noted.refusal;
            known.limit == refused.limit
                && known.address == address
                && known.port == refused.port
                && known.key == key
                && known.reason == reason
        });
        let index = found.unwrap_or_else(|| {
            self.make_room();
            self.list.push(Noted {
                refusal: Refusal {
                    port: refused.port.to_owned(),
                    address,
                    key,
                    who: None,
                    limit: refused.limit,
                    reason,
                    count: 0,
                    last_ms: 0,
                },
                heard: now,
                said: now,
            });
            self.list.len() - 1
        });
        let noted = &mut self.list[index];
        noted.heard = now;
        noted.refusal.count += 1;
        noted.refusal.last_ms = now_ms();
        noted.refusal.who.clone_from(&refused.who);
        if found.is_none() || now.duration_since(noted.said) >= SAID_AGAIN {
            noted.said = now;
            self.say(index, now);
        }
    }

    fn make_room(&mut self) {
        if self.list.len() < REFUSALS_MAX {
            return;
        }
        let oldest = self
            .list
            .iter()
            .enumerate()
            .min_by_key(|(_, noted)| noted.heard);
        let (oldest, _) = oldest.expect("a full list is not empty");
        self.list.swap_remove(oldest);
    }

    /// Says it in the log, unless much was said in this second.
    fn say(&mut self, index: usize, now: Instant) {
        let (since, lines) = match self.second {
            Some((since, lines)) if now.duration_since(since) < Duration::from_secs(1) => {
                (since, lines + 1)
            }
            _ => (now, 1),
        };
        self.second = Some((since, lines));
        if lines > LINES_MAX {
            return;
        }
        let refusal = &self.list[index].refusal;
        let from = match refusal.address.as_str() {
            "" => "a local peer",
            address => address,
        };
        tracing::warn!(
            port = refusal.port,
            key = refusal.key,
            who = refusal.who,
            count = refusal.count,
            "refused {from}: {}",
            refusal.reason
        );
    }
}

fn words(refused: &Refused<'_>) -> String {
    let Some(detail) = &refused.detail else {
        return refused.limit.words().to_owned();
    };
    let said = detail.chars().filter(|c| !c.is_control());
    said.take(SHOWN_BYTES_MAX / 4).collect()
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

/// Which limit a connection ended by, if it was refused.
fn limit_of(reason: &CloseReason) -> Option<Limit> {
    match reason {
        CloseReason::Peer
        | CloseReason::OtherEnd
        | CloseReason::Io(_)
        | CloseReason::Kicked
        | CloseReason::KeyRefused
        | CloseReason::Vanished => None,
        CloseReason::HandshakeTimeout => Some(Limit::Handshake),
        CloseReason::Mechanism { .. } | CloseReason::WrongServerKey | CloseReason::Key { .. } => {
            Some(Limit::Key)
        }
        CloseReason::NotZmtp | CloseReason::Protocol(_) => Some(Limit::Protocol),
        CloseReason::Limit(limit) => Some(*limit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(address: [u8; 4], limit: Limit) -> Refused<'static> {
        Refused {
            port: "main",
            address: Some(IpAddr::from(address)),
            key: None,
            who: None,
            limit,
            detail: None,
        }
    }

    #[test]
    fn every_limit_stands_at_its_own_index() {
        for (index, (limit, name, _)) in LIMITS.iter().enumerate() {
            assert_eq!(*limit as usize, index, "{name}");
            assert_eq!(serde_json::to_value(limit).unwrap(), *name);
        }
    }

    #[test]
    fn the_same_again_is_counted_and_others_are_entries_of_their_own() {
        let mut refusals = Refusals::default();
        for _ in 0..3 {
            refusals.add(&refused([10, 0, 0, 1], Limit::Parts));
        }
        refusals.add(&refused([10, 0, 0, 1], Limit::Topic));
        refusals.add(&refused([10, 0, 0, 2], Limit::Parts));
        let counts: Vec<u64> = refusals.list().iter().map(|it| it.count).collect();
        assert_eq!(counts.iter().sum::<u64>(), 5);
        assert_eq!(counts.len(), 3);
        assert_eq!(refusals.rejected().of(Limit::Parts), 4);
        assert_eq!(refusals.rejected().total(), 5);
    }

    #[test]
    fn the_list_is_bounded_and_the_counters_go_on() {
        let mut refusals = Refusals::default();
        for n in 0..=u8::MAX {
            refusals.add(&refused([10, 0, 0, n], Limit::Handshake));
        }
        assert_eq!(refusals.list().len(), REFUSALS_MAX);
        assert_eq!(refusals.rejected().of(Limit::Handshake), 256);
        let kept = refusals.list();
        assert!(kept.iter().any(|it| it.address == "10.0.0.255"));
    }

    #[test]
    fn what_a_stranger_said_is_shown_without_control_characters_and_cut() {
        let mut refusals = Refusals::default();
        refusals.add(&Refused {
            detail: Some(format!("\u{1b}[31m{}", "x".repeat(5_000))),
            ..refused([10, 0, 0, 1], Limit::Protocol)
        });
        let reason = &refusals.list()[0].reason;
        assert!(!reason.contains('\u{1b}') && reason.len() < 100, "{reason}");
    }
}
