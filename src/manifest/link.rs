//! Links: who may talk to whom.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::node::FilterDecl;
use super::topology::{CurveMode, Ordered};
use crate::model::policy::Overflow;
use crate::model::quantity::{Duration, Pace};
use crate::model::socket::{Pattern, Side, SocketType};

/// Who may talk to whom, by which pattern.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct LinkDecl {
    /// How they talk: `request`, `pubsub`, `pipeline`, `mesh` or `gossip`.
    pub pattern: Pattern,
    /// Who asks, publishes or pushes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<OneOrMany>,
    /// Who answers, subscribes or pulls. For `pubsub` also a mapping from node to its topics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<ToDecl>,
    /// The members of a `mesh` or `gossip` link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub among: Option<OneOrMany>,
    /// The broker between them: a `queue` for `request`, a `bus` for `pubsub`, a `lighthouse` for
    /// `gossip`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<String>,
    /// Which side listens. Default: who answers a `request`; the side written as one node for
    /// `pubsub` and `pipeline`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<Side>,
    /// Topic prefixes that subscribers ask for. Default: everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topics: Option<Vec<String>>,
    /// Filters before a spool keeps a message, in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filters: Option<Vec<FilterDecl>>,
    /// Of a link from a `stream` to a `bus`: how far apart what is kept is published. `original`, as far
    /// as it was; `10x`, ten times as fast; `fast`, without a rest. Default: `original`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pace: Option<Pace>,
    /// Messages a socket holds for one peer. Default: `1000`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hwm: Option<u32>,
    /// What happens when a queue is full. Default: `block`, for `pubsub` `drop-newest`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overflow: Option<Overflow>,
    /// How long a request waits for its reply, each try. Default: `2s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// Tries of a request in all. Default: `3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub retries: Option<u32>,
    /// What carries it. Default: `auto`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transport: Option<Transport>,
    /// The socket types of both sides, where not the pattern's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub types: Option<TypesDecl>,
    /// Whether this link is encrypted. Default: `auto`, when it leaves a host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub curve: Option<CurveMode>,
    /// Put a local gate beside each program: plain to the program, encrypted and counted outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<bool>,
    /// The first connections of a `gossip` link: `all`, `linked` or `{random: P, seed: N}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<ShapeDecl>,
    /// Time between two tables of a `gossip` link. Default: `5s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<Duration>,
}

impl LinkDecl {
    /// A link of a pattern, nothing else written.
    pub fn of(pattern: Pattern) -> Self {
        Self {
            pattern,
            from: None,
            to: None,
            among: None,
            via: None,
            listen: None,
            topics: None,
            filters: None,
            pace: None,
            hwm: None,
            overflow: None,
            timeout: None,
            retries: None,
            transport: None,
            types: None,
            curve: None,
            gate: None,
            shape: None,
            every: None,
        }
    }
}

/// One name or a list of names.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum OneOrMany {
    /// One.
    One(String),
    /// Several.
    Many(#[schemars(length(min = 1))] Vec<String>),
}

impl OneOrMany {
    /// The names, one or several.
    pub fn names(&self) -> &[String] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Many(names) => names,
        }
    }
}

/// Who answers, subscribes or pulls.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum ToDecl {
    /// One node.
    One(String),
    /// Several nodes.
    Many(#[schemars(length(min = 1))] Vec<String>),
    /// Subscribers, each with its own topic prefixes.
    Topics(Ordered<Vec<String>>),
}

/// What carries a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Transport {
    /// Unix sockets between our own roles on one host, TCP otherwise.
    Auto,
    /// TCP.
    Tcp,
    /// Unix sockets.
    Ipc,
}

/// The socket types of both sides.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub struct TypesDecl {
    /// The type of the `from` side.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<SocketType>,
    /// The type of the `to` side.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<SocketType>,
}

/// The first connections of a gossip link.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum ShapeDecl {
    /// `all` or `linked`.
    Named(ShapeName),
    /// Each pair with a probability.
    Random(RandomShape),
}

/// A named shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum ShapeName {
    /// Everybody to everybody.
    All,
    /// A ring.
    Linked,
}

/// Each pair with a probability.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct RandomShape {
    /// The probability of each pair, from 0 to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub random: f64,
    /// The seed: the same seed gives the same connections.
    #[serde(default)]
    pub seed: u64,
}
