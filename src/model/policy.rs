//! Policies: how an instance is probed, restarted, stopped, logged and updated.
//!
//! These are the resolved forms, every field filled. What a person may leave out, and what then
//! holds, is in `manifest/policy.rs`.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::endpoint::Endpoint;
use super::name::InstanceName;
use super::security::{Admitted, Guarded};

/// How an instance shows that it is alive and ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// What is asked.
    pub how: ProbeHow,
    /// Time between the start of two probes, in milliseconds.
    pub every_ms: u64,
    /// How long one try may take, in milliseconds.
    pub timeout_ms: u64,
    /// Missed tries in a row that make an instance Suspect.
    pub retries: u32,
    /// Time after start in which misses do not count, in milliseconds.
    pub grace_ms: u64,
}

/// What a probe asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "how")]
pub enum ProbeHow {
    /// Nothing: an instance is ready once it has lived 500 ms.
    Alive,
    /// A ZN1 ping on the private health socket that every built-in role serves.
    Health {
        /// The ipc endpoint of the health socket.
        endpoint: Endpoint,
    },
    /// A request to the instance's own listening socket, answered within the timeout.
    Request {
        /// Where the instance listens.
        endpoint: Endpoint,
        /// What is sent, one frame.
        send: String,
        /// What must come back; any reply when absent.
        expect: Option<String>,
        /// The keys, where the socket is encrypted.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        secured: Option<Box<Secured>>,
    },
    /// The same, where the instance only dials: the prober listens and the instance dials it.
    Dialled {
        /// Where the prober listens.
        endpoint: Endpoint,
        /// What is sent, one frame.
        send: String,
        /// What must come back; any reply when absent.
        expect: Option<String>,
        /// The keys, where the socket is encrypted.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        secured: Option<Box<Secured>>,
    },
    /// A command that must exit 0.
    Exec {
        /// Program and arguments.
        command: Vec<String>,
    },
    /// A TCP port of this machine that must accept.
    Tcp {
        /// Where to dial.
        endpoint: Endpoint,
    },
    /// A URL that must answer with a status from 200 to 399.
    Http {
        /// The URL.
        url: String,
    },
    /// `READY=1` on the systemd notification socket.
    Notify,
    /// A line of the instance's log that must match.
    Log {
        /// The regular expression.
        regex: String,
    },
}

/// Whose keys a prober uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Secured {
    /// It dials.
    Dials {
        /// The key directory, absolute.
        keys: PathBuf,
        /// Whose key it presents.
        own: InstanceName,
        /// Whose key the instance must have.
        server: Admitted,
    },
    /// It listens.
    Listens(Guarded),
}

/// Kept running, run to its end, or started by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Run {
    /// Kept running as its restart policy says.
    Always,
    /// Runs to its end; exit code 0 is done.
    Once,
    /// Started by `zmqnet start`.
    Manual,
}

/// A condition of an instance that others wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Condition {
    /// Its process runs.
    Started,
    /// Its probe succeeded.
    Ready,
    /// Every planned handshake and subscription was seen.
    Linked,
    /// It ended with exit code 0.
    Done,
}

/// When a stopped instance is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restart {
    /// After which ends.
    pub when: RestartWhen,
    /// The first wait, in milliseconds.
    pub backoff_min_ms: u64,
    /// The longest wait, in milliseconds.
    pub backoff_max_ms: u64,
    /// Restarts allowed within `limit_period_ms`; one more is Failed.
    pub limit_count: u32,
    /// The period of the limit, in milliseconds.
    pub limit_period_ms: u64,
}

/// After which ends an instance is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum RestartWhen {
    /// After every end, exit code 0 too.
    Always,
    /// After an exit code other than 0, a signal, or a missed probe.
    Failure,
    /// Never.
    Never,
}

/// How an instance is asked to end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// The first signal, by name without `SIG`.
    pub signal: String,
    /// Time from that signal to KILL, in milliseconds.
    pub grace_ms: u64,
}

/// Where the output of an instance goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logs {
    /// What stands for standard output and error.
    pub to: LogTarget,
    /// The level built-in roles log at: error, warn, info, debug or trace.
    pub level: String,
    /// Rotated files kept.
    pub keep: u32,
    /// Size at which a file is rotated, in bytes.
    pub size_bytes: u64,
}

/// What stands for an instance's standard output and error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum LogTarget {
    /// A file of its own, rotated by size.
    File,
    /// A named pipe of its own, copied into its log file; for programs that reopen `/dev/stdout`.
    Fifo,
    /// Nothing is kept.
    None,
}

/// Resource limits of a process, set before its program starts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessLimits {
    /// Address space, in bytes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub memory_bytes: Option<u64>,
    /// Processor time, in seconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cpu_s: Option<u64>,
    /// Open files.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub files: Option<u64>,
    /// Processes of the user.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub processes: Option<u64>,
}

/// What happens when a queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum Overflow {
    /// The sender waits.
    Block,
    /// The new message is dropped.
    DropNewest,
    /// The oldest message is dropped.
    DropOldest,
    /// Only the newest message is kept.
    Conflate,
    /// The slow peer is disconnected.
    Disconnect,
}
