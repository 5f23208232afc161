//! Nodes: what runs.
//!
//! One flat type holds every key a node may carry. Which keys go with which kind is said by the
//! rows of `roles::ROLES`; the schema closes each kind's branch from them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::link::OneOrMany;
use super::policy::{LimitsDecl, LogsDecl, ProbeDecl, RestartDecl, StopDecl, UpdateDecl};
use super::topology::Ordered;
use crate::model::quantity::{CountRange, Duration, Percent, Size};
use crate::model::store::Durability;
use crate::roles::Kind;

/// What runs: a role of zmqnet's own (`kind`) or a program of yours (`command`).
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub struct NodeDecl {
    /// A role of zmqnet's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// A program and its arguments, as a list; no shell is involved. A program without `/` is
    /// looked up in `PATH`, one with `/` is relative to this file.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub command: Option<Vec<String>>,
    /// The container image, for exports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// How many instances: a number, a range `2..8`, names, or names with settings. Default: one,
    /// named as the node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<ReplicasDecl>,
    /// The host, or hosts taken in turn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<OneOrMany>,
    /// The first listening port; each instance takes the next ones. Or a port for each link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<PortDecl>,
    /// Sockets that several links share: name to links.
    #[serde(skip_serializing_if = "Ordered::is_empty")]
    pub sockets: Ordered<Vec<String>>,
    /// Nodes that must be up before this one starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<AfterDecl>,
    /// The node exists only while these variables have these values.
    #[serde(skip_serializing_if = "Ordered::is_empty")]
    pub when: Ordered<WhenDecl>,
    /// The last instances start this much later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub late: Option<LateDecl>,
    /// `always`: kept running. `once`: runs to its end. `manual`: started by `zmqnet start`.
    /// Default: `always`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<RunDecl>,
    /// What must survive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<StoreDecl>,
    /// Filters before a spool keeps a message, in order; the first refusal stops.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filters: Option<Vec<FilterDecl>>,
    /// Environment variables: text, or `{file: PATH}` for a secret read at start.
    #[serde(skip_serializing_if = "Ordered::is_empty")]
    pub env: Ordered<EnvDecl>,
    /// The working directory, relative to this file. Default: the directory of this file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// The public CURVE key of an `external` node, Z85.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        regex(pattern = r"^[0-9A-Za-z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}$"),
        extend("x-expected" = "a public key: 40 characters of Z85, as in a `.key` file")
    )]
    pub key: Option<String>,
    /// How it shows that it is alive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe: Option<ProbeDecl>,
    /// When it is started again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart: Option<RestartDecl>,
    /// How it is asked to end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop: Option<StopDecl>,
    /// Where its output goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logs: Option<LogsDecl>,
    /// Limits of its process and of its listening sockets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<LimitsDecl>,
    /// How it is replaced when it changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update: Option<UpdateDecl>,
    /// Keys that only some kinds carry.
    #[serde(flatten)]
    pub role: RoleKeys,
}

/// Keys that only some kinds carry; the rows of `ROLES` say which.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(inline)]
pub struct RoleKeys {
    /// queue: how long a worker holds a task before it is given to another. Default: `30s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease: Option<Duration>,
    /// queue: how often a task is tried in all. Default: `5`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub attempts: Option<u32>,
    /// queue: how many tasks a fast plain worker is given at a time; 1: one after the other. Default: `16`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 16))]
    pub ahead: Option<u32>,
    /// queue: what plain and Majordomo clients hear of a task that is given up. Default: `wait`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_dead: Option<OnDeadDecl>,
    /// bus: bytes held for each subscriber. Default: `64MiB`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub buffer: Option<Size>,
    /// bus: a message that each new subscriber gets first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub welcome: Option<String>,
    /// bus: keep the last message of each topic for new subscribers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retain: Option<bool>,
    /// bus: add a frame with a sequence number, so that gaps are seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<bool>,
    /// peer: what it shares: `random`, `json`, or a command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload: Option<WorkloadDecl>,
    /// peer, feedback: time between two rounds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every: Option<Duration>,
    /// peer: a random share added to `every`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter: Option<Percent>,
    /// peer: the tasks it can do, name to command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub abilities: Option<Ordered<Vec<String>>>,
    /// cache, lighthouse: how long an entry lives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Duration>,
    /// lighthouse: how it is found on the local network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discovery: Option<DiscoveryDecl>,
    /// cache, queue: how much it holds. A queue's default: `256MiB`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<Size>,
    /// proxy, cache: the request link to the backend.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// feedback: the fact it watches, `NODE.FACT`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watch: Option<String>,
    /// feedback: the node it scales.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<String>,
    /// feedback: the value it holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Value>,
}

/// What a client hears of a task that is given up, where its dialect has no words for that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum OnDeadDecl {
    /// Nothing: its socket waits, and its own timeout decides.
    Wait,
    /// An answer of one JSON frame, `{"error": {"kind", "message", "trace"}}`.
    Error,
}

/// How many instances, and how they are named.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum ReplicasDecl {
    /// So many, named `NODE-0`, `NODE-1`, ...
    Count(#[schemars(range(max = 20000))] u32),
    /// So many to start with, and how far `scale` may go.
    Range(CountRange),
    /// These names.
    Names(#[schemars(length(min = 1))] Vec<String>),
    /// The replicas of a ZMQ Net `peers.json`.
    Import(ImportDecl),
    /// These names, each with settings of its own.
    Named(Ordered<ReplicaDecl>),
}

/// The replicas of a ZMQ Net `peers.json`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct ImportDecl {
    /// The file, relative to this one.
    pub import: String,
}

/// Settings of one instance.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub struct ReplicaDecl {
    /// Its host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Its first listening port.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u16>,
    /// Environment variables of its own.
    #[serde(skip_serializing_if = "Ordered::is_empty")]
    pub env: Ordered<EnvDecl>,
}

/// Listening ports: the first of consecutive ones, or one for each link or socket.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum PortDecl {
    /// The first of consecutive ports.
    First(#[schemars(range(min = 1, max = 65535))] u16),
    /// A port for each link or socket.
    Each(Ordered<PortNumber>),
}

/// A TCP port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct PortNumber(#[schemars(range(min = 1, max = 65535))] pub u16);

/// Nodes that must be up first.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum AfterDecl {
    /// One node: ready, or done for `run: once`.
    One(String),
    /// Several nodes.
    Many(#[schemars(length(min = 1))] Vec<String>),
    /// Nodes, each with what is waited for.
    Each(Ordered<AfterCondition>),
}

/// What is waited for.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum AfterCondition {
    /// Its process runs.
    Started,
    /// Its probe succeeded.
    Ready,
    /// Every planned handshake and subscription was seen.
    Linked,
    /// It ran to its end with exit code 0.
    Done,
}

/// A value, or several of which one must hold.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum WhenDecl {
    /// One of these.
    Many(Vec<Value>),
    /// This one.
    One(Value),
}

/// Instances that start late.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct LateDecl {
    /// How much later.
    pub delay: Duration,
    /// Which share of the instances, the last ones. Default: `100%`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fraction: Option<Percent>,
}

/// Whether a node is kept running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum RunDecl {
    /// It is kept running.
    Always,
    /// It runs to its end.
    Once,
    /// It is started by `zmqnet start`.
    Manual,
}

/// An environment variable's value.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum EnvDecl {
    /// A text.
    Text(String),
    /// The content of a file, read when the instance starts and written nowhere.
    File(EnvFile),
}

/// A file whose content is the value.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct EnvFile {
    /// The file, relative to this manifest.
    pub file: String,
}

/// What must survive, and where it is kept.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct StoreDecl {
    /// The directory, relative to this file.
    pub path: String,
    /// `fifo`: every message until taken. `latest`: only the newest. Default: `fifo`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<StoreMode>,
    /// The most it may hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<Size>,
    /// How long or how much is kept, a duration or a size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retain: Option<RetainDecl>,
    /// When a write is acknowledged. Default: `fsync`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durability: Option<Durability>,
}

/// What a store keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum StoreMode {
    /// Every message until taken.
    Fifo,
    /// Only the newest message.
    Latest,
}

/// How long or how much is kept.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum RetainDecl {
    /// How long.
    For(Duration),
    /// How much.
    Bytes(Size),
}

/// One filter.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[schemars(inline)]
pub enum FilterDecl {
    /// Topic prefixes that pass.
    Topic(Vec<String>),
    /// The largest message that passes, this size included.
    MaxSize(Size),
    /// The least time between two messages that pass.
    MinPeriod(Duration),
    /// A regular expression that a message must match.
    Regex(String),
    /// One message of every so many passes.
    EveryNth(#[schemars(range(min = 1))] u64),
}

/// What a peer shares.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum WorkloadDecl {
    /// One of ours.
    Named(WorkloadName),
    /// A program: one JSON line in, one out.
    Command(#[schemars(length(min = 1))] Vec<String>),
}

/// A workload of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum WorkloadName {
    /// Random numbers, summed by every listener.
    Random,
    /// The time, as JSON.
    Json,
}

/// How a lighthouse is found on the local network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum DiscoveryDecl {
    /// By multicast DNS.
    Mdns,
}
