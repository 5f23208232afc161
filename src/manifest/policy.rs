//! Policy blocks: the same keys under `defaults` and in every node.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::policy::{LogTarget, RestartWhen};
use crate::model::quantity::{Duration, DurationRange, PortRange, Rate, Size};

/// Policies that every node inherits and may override key by key.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub struct Defaults {
    /// How instances show that they are alive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe: Option<ProbeTimings>,
    /// When a stopped instance is started again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart: Option<RestartDecl>,
    /// How an instance is asked to end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop: Option<StopDecl>,
    /// Where output goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logs: Option<LogsDecl>,
    /// Resource limits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<LimitsDecl>,
    /// How a changed node is replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update: Option<UpdateDecl>,
    /// The TCP ports that unwritten ports are taken from. Default: `7000..7999`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ports: Option<PortRange>,
}

/// The timings of a probe.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub struct ProbeTimings {
    /// Time between two probes. Default: `2s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every: Option<Duration>,
    /// How long one try may take. Default: `500ms`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// Missed tries in a row that make an instance suspect. Default: `3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub retries: Option<u32>,
    /// Time after start in which misses do not count. Default: `10s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grace: Option<Duration>,
}

/// How an instance shows that it is alive: timings, and at most one way to ask. Without a way, a
/// program is ready once it has lived 500 ms; built-in roles are always asked.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub struct ProbeDecl {
    /// Time between two probes. Default: `2s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every: Option<Duration>,
    /// How long one try may take. Default: `500ms`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// Missed tries in a row that make an instance suspect. Default: `3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub retries: Option<u32>,
    /// Time after start in which misses do not count. Default: `10s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grace: Option<Duration>,
    /// A request link of this node: `send` is sent to its replying socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// What a `request` probe sends. Default: `PING`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send: Option<String>,
    /// What a `request` probe must get back. Default: any reply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expect: Option<String>,
    /// A command that must exit 0 within the timeout.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub exec: Option<Vec<String>>,
    /// A TCP port of the instance's host that must accept a connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub tcp: Option<u16>,
    /// A URL that must answer with a status from 200 to 399.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<String>,
    /// Wait for `READY=1` on `$NOTIFY_SOCKET`, the systemd protocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notify: Option<bool>,
    /// A regular expression that a line of the instance's log must match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
}

/// When a stopped instance is started again: `always`, `failure`, `never`, or a block.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum RestartDecl {
    /// Only when.
    When(RestartWhen),
    /// When, how soon and how often.
    Block(RestartBlock),
}

/// When a stopped instance is started again, how soon and how often.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub struct RestartBlock {
    /// After which ends. Default: `failure`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<RestartWhen>,
    /// The first and the longest wait; it doubles in between. Default: `200ms..30s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff: Option<DurationRange>,
    /// Restarts allowed in a period; one more and the instance has failed. Default: `5/1m`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<Rate>,
}

/// How an instance is asked to end.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub struct StopDecl {
    /// The first signal. Default: `TERM`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<SignalName>,
    /// Time from that signal to KILL. Default: `5s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grace: Option<Duration>,
}

/// A signal, by name without `SIG`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[schemars(inline)]
#[expect(missing_docs, reason = "the variants are the signals' own names")]
pub enum SignalName {
    Term,
    Int,
    Hup,
    Quit,
    Usr1,
    Usr2,
    Kill,
}

/// Where the output of an instance goes.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub struct LogsDecl {
    /// `file`: a file of its own. `fifo`: the same through a named pipe. `none`: nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<LogTarget>,
    /// What built-in roles log. Default: `info`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<LogLevel>,
    /// Rotated files kept. Default: `5`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1000))]
    pub keep: Option<u32>,
    /// Size at which a file is rotated. Default: `10MiB`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
}

/// How much built-in roles log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum LogLevel {
    /// A person is needed.
    Error,
    /// It will be tried again.
    Warn,
    /// A state changed.
    Info,
    /// Why it changed.
    Debug,
    /// Every message.
    Trace,
}

/// Resource limits of the process, and limits of its listening sockets.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub struct LimitsDecl {
    /// Address space of the process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Size>,
    /// Processor time of the process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Duration>,
    /// Open files of the process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<u64>,
    /// Processes of the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processes: Option<u64>,
    /// Bytes of one message, all its parts together; a peer that sends more is disconnected.
    /// Default: `64MiB` from this machine or under CURVE, else `4MiB`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<Size>,
    /// Parts of one message, the envelope's too. Default: `64`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2, max = 1_000_000))]
    pub parts: Option<u32>,
    /// Bytes of one topic that a peer subscribes to. Default: `1KiB`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<Size>,
    /// Bytes of what a peer tells of itself in its handshake. Default: `4KiB`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Size>,
    /// Connections of one listener; one more is refused. Default: `10000`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub connections: Option<u32>,
    /// Topics that one connection may be subscribed to. Default: `10000`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub subscriptions: Option<u32>,
    /// Connections of one listener whose handshake is not done; with more, the oldest of them is
    /// closed. Default: `1024`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub pending: Option<u32>,
    /// How long a handshake may take. Default: `5s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handshake: Option<Duration>,
    /// How often a peer may send heartbeats, and commands that mean nothing here. Default: `100/1s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pings: Option<Rate>,
    /// Bytes that wait for one peer to read them; further messages to it are dropped and counted.
    /// What waits from a peer is bounded by itself, at 1 MiB and one message. Default: `64MiB`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_bytes: Option<Size>,
}

impl LimitsDecl {
    /// The keys that are about listening sockets and not about the process, and whether each is
    /// written.
    pub fn of_listeners(&self) -> [(&'static str, bool); 10] {
        [
            ("message", self.message.is_some()),
            ("parts", self.parts.is_some()),
            ("topic", self.topic.is_some()),
            ("metadata", self.metadata.is_some()),
            ("connections", self.connections.is_some()),
            ("subscriptions", self.subscriptions.is_some()),
            ("pending", self.pending.is_some()),
            ("handshake", self.handshake.is_some()),
            ("pings", self.pings.is_some()),
            ("peer_bytes", self.peer_bytes.is_some()),
        ]
    }
}

/// How a changed node is replaced.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub struct UpdateDecl {
    /// Whether the new instance starts before the old one stops. Default: `stop-first`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<UpdateOrder>,
    /// Instances replaced at a time. Default: `1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub parallel: Option<u32>,
    /// Pause between two batches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause: Option<Duration>,
    /// A signal that makes the program read its settings again, instead of a restart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reload: Option<SignalName>,
}

/// Whether the new instance starts before the old one stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum UpdateOrder {
    /// The new one first.
    StartFirst,
    /// The old one first.
    StopFirst,
}
