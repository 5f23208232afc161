//! What `status` reports: the shape of its JSON, and nothing about how it is found out.
//!
//! The shape is an interface; `schema` changes when a field changes its meaning.

use serde::{Deserialize, Serialize};

use crate::lifecycle::Phase;
use crate::model::limits::WireLimits;

/// The version of this shape.
pub const STATUS_SCHEMA: u32 = 1;

/// A running network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The version of this shape.
    pub schema: u32,
    /// The network's name.
    pub topology: String,
    /// The digest of the plan it follows.
    pub digest: String,
    /// The manifest it was planned from, absolute.
    pub manifest: String,
    /// The process that decides.
    pub supervisor: Runner,
    /// The process that holds the others.
    pub keeper: Runner,
    /// Why the supervisor cannot keep what it knows for a successor, while it cannot: a full disk.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub trouble: Option<String>,
    /// Every instance, in manifest order.
    pub nodes: Vec<NodeStatus>,
    /// Every planned wire, in the order of the plan.
    pub wires: Vec<WireStatus>,
    /// Who was refused by a role, as far as the role remembers; told with the wires.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub refused: Vec<RefusedStatus>,
}

/// One of our own processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runner {
    /// Its process.
    pub pid: u32,
}

/// An instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// The instance.
    pub name: String,
    /// Its node.
    pub node: String,
    /// Its kind; `command` for programs.
    pub kind: String,
    /// Its state.
    pub state: Phase,
    /// Its process, while one lives.
    pub pid: Option<u32>,
    /// How often it was started without being asked to.
    pub restarts: u64,
    /// How its last life ended: its exit code, or 128 + n after signal n; absent while it runs and
    /// where nobody saw it. The words are in `reason`.
    pub exit: Option<i32>,
    /// When it entered its state, in milliseconds since 1970.
    pub since: u64,
    /// When its process started, in milliseconds since 1970.
    pub started: Option<u64>,
    /// Where it is reached: one address a port.
    pub endpoints: Vec<EndpointStatus>,
    /// What its probes found.
    pub probe: ProbeStatus,
    /// Its listening sockets, where they are ours: limits, and what they refused.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub listeners: Option<ListenersStatus>,
    /// What its role knows now.
    pub facts: serde_json::Map<String, serde_json::Value>,
    /// Why it is in its state, where there is more to say than the state's name.
    pub reason: Option<String>,
    /// The last lines of its log, where it Failed or keeps failing.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub log: Vec<String>,
    /// Where it is written: `FILE:LINE:COLUMN`.
    pub origin: String,
    /// How it is expected to stand: what `apply` and `wait` wait for.
    pub goal: Goal,
}

/// The listening sockets of a role.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ListenersStatus {
    /// Connections whose handshake is done.
    pub open: u64,
    /// Connections in their handshake.
    pub pending: u64,
    /// Connections accepted so far.
    pub accepted: u64,
    /// Connections refused or ended so far, by the limit that was broken.
    pub rejected: serde_json::Map<String, serde_json::Value>,
    /// The limits in force.
    pub limits: WireLimits,
}

/// How an instance is expected to stand, and whether it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Goal {
    /// It stands as the plan says.
    Reached,
    /// Not yet.
    Pending,
    /// It does not, and nothing is under way that could change it.
    Missed,
    /// Nobody waits for it: late, manual, stopped by hand, external or of another host.
    Excluded,
}

/// Where an instance is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointStatus {
    /// The port's name.
    pub port: String,
    /// What others dial.
    pub address: String,
}

/// What probes found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeStatus {
    /// The middle of the last round trips, in microseconds.
    pub p50_us: Option<u64>,
    /// The slowest of a hundred of them.
    pub p99_us: Option<u64>,
    /// Tries missed in a row.
    pub misses: u32,
}

/// A planned wire, and whether it is there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WireStatus {
    /// Its link.
    pub link: String,
    /// Who asks, publishes or pushes.
    pub from: String,
    /// Who answers, subscribes or pulls.
    pub to: String,
    /// The link's pattern.
    pub pattern: String,
    /// Where one end listens.
    pub endpoint: String,
    /// Whether it is connected.
    pub state: WireState,
    /// `NULL` or `CURVE`.
    pub mechanism: String,
    /// Messages over it, as its listener counts them; absent where nobody of ours does.
    pub messages: Option<InOut>,
    /// Bytes over it, framing included.
    pub bytes: Option<InOut>,
    /// Bytes waiting for its peer.
    pub queued: Option<u64>,
    /// Messages dropped, by reason.
    pub dropped: serde_json::Map<String, serde_json::Value>,
    /// Why it is not connected, or how that is known.
    pub reason: Option<String>,
    /// The number of its connection at whoever listens, as `conns` tells it; absent where that is no role
    /// of ours.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub conn: Option<u64>,
}

/// Peers that a role refused, those of one address with one reason together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedStatus {
    /// The role's instance.
    #[serde(default)]
    pub node: String,
    /// The port's name.
    pub port: String,
    /// Where that port is dialled, as the plan says; empty where it says nothing.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub at: Vec<String>,
    /// Where they came from; empty on ipc.
    pub address: String,
    /// The key they showed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub key: Option<String>,
    /// Whose key that is, where it is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub who: Option<String>,
    /// The limit they broke.
    pub limit: String,
    /// The reason in words, of the last of them.
    pub reason: String,
    /// How many there were.
    pub count: u64,
    /// When the last one was, in milliseconds since 1970.
    pub last_ms: u64,
}

/// Whether a wire is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WireState {
    /// Its handshake is done.
    Connected,
    /// It is not; the reason says why.
    Down,
    /// It cannot be seen from this machine.
    Unknown,
}

/// A count each way, seen from the listener.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InOut {
    /// Received.
    pub r#in: u64,
    /// Sent.
    pub out: u64,
}

impl WireState {
    /// The state in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Down => "down",
            Self::Unknown => "unknown",
        }
    }
}
