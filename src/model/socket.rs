//! ZeroMQ socket types, who may talk to whom, and the patterns that links are written in.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A ZeroMQ socket type.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "UPPERCASE")]
#[schemars(inline)]
#[expect(missing_docs, reason = "the variants are ZeroMQ's own names")]
pub enum SocketType {
    Req,
    Rep,
    Dealer,
    Router,
    Pub,
    Sub,
    Xpub,
    Xsub,
    Push,
    Pull,
    Pair,
}

/// One row a socket type: its name, and the types it may talk to (RFC 28 and 29).
const SOCKETS: [(SocketType, &str, &[SocketType]); 11] = {
    use SocketType::*;
    [
        (Req, "REQ", &[Rep, Router]),
        (Rep, "REP", &[Req, Dealer]),
        (Dealer, "DEALER", &[Rep, Dealer, Router]),
        (Router, "ROUTER", &[Req, Dealer, Router]),
        (Pub, "PUB", &[Sub, Xsub]),
        (Sub, "SUB", &[Pub, Xpub]),
        (Xpub, "XPUB", &[Sub, Xsub]),
        (Xsub, "XSUB", &[Pub, Xpub]),
        (Push, "PUSH", &[Pull]),
        (Pull, "PULL", &[Push]),
        (Pair, "PAIR", &[Pair]),
    ]
};

impl SocketType {
    /// The type's name on the wire and in manifests.
    pub fn as_str(self) -> &'static str {
        SOCKETS[self as usize].1
    }

    /// The type that has a name on the wire.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        let row = SOCKETS.iter().find(|(_, own, _)| own.as_bytes() == name)?;
        Some(row.0)
    }

    /// The types this one may talk to.
    pub fn peers(self) -> &'static [SocketType] {
        SOCKETS[self as usize].2
    }

    /// Whether its peers subscribe to what it sends.
    pub fn is_publishing(self) -> bool {
        matches!(self, Self::Pub | Self::Xpub)
    }

    /// Whether sockets of these two types may be connected.
    pub fn may_talk_to(self, other: SocketType) -> bool {
        self.peers().contains(&other)
    }
}

impl fmt::Display for SocketType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Whether a socket listens or dials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// It listens: others dial it.
    Bind,
    /// It dials.
    Connect,
}

impl Mode {
    /// `bind` or `connect`, as it stands in environments.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::Connect => "connect",
        }
    }
}

/// The two ends of a link.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Side {
    /// The side written in `from`.
    From,
    /// The side written in `to`.
    To,
}

/// How the nodes of a link talk.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Pattern {
    /// A request gets one reply: REQ or DEALER to REP or ROUTER.
    Request,
    /// One-to-many messages by topic prefix: PUB or XPUB to SUB or XSUB.
    Pubsub,
    /// Work handed down a line, each message to one receiver: PUSH to PULL.
    Pipeline,
    /// Everybody asks everybody: each instance listens on REP and dials every other.
    Mesh,
    /// Peers that tell each other who is there: each PUB listens, SUBs dial.
    Gossip,
}

/// One row a pattern: its name, the types of the `from` side and of the `to` side. The first of
/// each is what is planned unless `types` says otherwise.
const PATTERNS: [(Pattern, &str, &[SocketType], &[SocketType]); 5] = {
    use SocketType::*;
    [
        (Pattern::Request, "request", &[Req, Dealer], &[Rep, Router]),
        (Pattern::Pubsub, "pubsub", &[Pub, Xpub], &[Sub, Xsub]),
        (Pattern::Pipeline, "pipeline", &[Push], &[Pull]),
        (Pattern::Mesh, "mesh", &[Req], &[Rep]),
        (Pattern::Gossip, "gossip", &[Pub], &[Sub]),
    ]
};

impl Pattern {
    /// The pattern's name in manifests.
    pub fn as_str(self) -> &'static str {
        PATTERNS[self as usize].1
    }

    /// The socket types that may stand on one side; the first is the default.
    pub fn types(self, side: Side) -> &'static [SocketType] {
        let row = &PATTERNS[self as usize];
        match side {
            Side::From => row.2,
            Side::To => row.3,
        }
    }

    /// Whether the link is written with `among` instead of `from` and `to`.
    pub fn is_symmetric(self) -> bool {
        match self {
            Self::Mesh | Self::Gossip => true,
            Self::Request | Self::Pubsub | Self::Pipeline => false,
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_stands_at_its_own_index_and_pairing_is_symmetric() {
        for (index, (socket, _, peers)) in SOCKETS.iter().enumerate() {
            assert_eq!(*socket as usize, index);
            assert!(
                peers.iter().all(|peer| peer.may_talk_to(*socket)),
                "{socket}"
            );
        }
        for (index, (pattern, _, from, to)) in PATTERNS.iter().enumerate() {
            assert_eq!(*pattern as usize, index);
            assert!(
                from.iter().all(|a| to.iter().all(|b| a.may_talk_to(*b))),
                "{pattern}"
            );
        }
    }
}
