//! The frames between a keeper and its clients: a little-endian u32 with the length, then JSON.
//!
//! Frozen: a keeper outlives the binary it was started from, so fields and verbs are only ever
//! added, unknown fields are ignored, and an unknown verb is refused without harm. Requests may be
//! sent without waiting for answers; answers come in order, events between them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::model::name::InstanceName;
use crate::model::policy::{Logs, ProcessLimits};

/// The version of this protocol.
pub const VERSION: u32 = 1;

/// What a client sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Chosen by the client, returned with the answer.
    pub id: u64,
    /// What is asked.
    pub ask: Ask,
}

/// The verbs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// Who are you?
    Hello {
        /// The version the client speaks.
        version: u32,
    },
    /// Start a process.
    Spawn(Box<Spawn>),
    /// Send a signal.
    Signal(SendSignal),
    /// What runs, and what ended since it was last started.
    List,
    /// Which processes of these instances live.
    Remains {
        /// The instances; absent: of the whole network, descendants of unknown instance included.
        #[serde(default)]
        instances: Option<Vec<InstanceName>>,
    },
    /// Sets when an instance's log is rotated, and rotates it now where asked.
    Rotate {
        /// The instance.
        instance: InstanceName,
        /// Size at which the file is rotated, in bytes.
        size_bytes: u64,
        /// Rotated files kept.
        keep: u32,
        /// Rotate whatever the size.
        #[serde(default)]
        now: bool,
    },
    /// Answered with the list; from then on every event is sent to this client.
    Watch,
    /// End, and end the supervisor. Refused while a process of the network lives.
    Quit,
    /// Have the supervisor stop everything and ask for the end. Refused where none listens. This client is
    /// told by [`Event::Quitting`] when it has come to that.
    TakeDown,
}

/// What is started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spawn {
    /// Whose process; refused while an earlier one of it runs.
    pub instance: InstanceName,
    /// Which life of the instance; events carry it.
    pub generation: u64,
    /// The program, absolute. `/proc/self/exe` is the keeper's own binary.
    pub program: PathBuf,
    /// The name the program is told, then its arguments.
    pub args: Vec<String>,
    /// The working directory, absolute.
    pub cwd: PathBuf,
    /// The whole environment; the keeper adds only the tag.
    pub env: BTreeMap<String, String>,
    /// Where standard output and error go.
    pub logs: Logs,
    /// Limits set before the program starts; any costs one more exec.
    #[serde(default)]
    pub limits: ProcessLimits,
}

/// A signal and who gets it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendSignal {
    /// The instances.
    pub targets: Vec<Target>,
    /// Its name without `SIG`: `TERM`, `KILL`, `HUP`, `STOP`.
    pub signal: String,
    /// Which of their processes.
    pub scope: Scope,
    /// Also send CONT, without which a stopped process does not act on a signal.
    #[serde(default)]
    pub resume: bool,
}

/// An instance, in one life or in any.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The instance.
    pub instance: InstanceName,
    /// Only this life of it; a later one is left alone.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub generation: Option<u64>,
}

/// Which processes of an instance a signal goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// The process that was started.
    Leader,
    /// Its process group. Costs nothing.
    Group,
    /// Group, descendants and whoever carries its tag. Costs one pass over `/proc` a request.
    All,
}

/// What a keeper sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Frame {
    /// The answer to a request.
    Answer {
        /// The request's id.
        id: u64,
        /// What it came to.
        answer: Answer,
    },
    /// A request that was not done.
    Refused {
        /// The request's id; 0 where the frame could not be read that far.
        id: u64,
        /// Why.
        refusal: Refusal,
    },
    /// Something happened, sent to clients that watch.
    Event(Event),
}

/// Answers, one a verb.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// To `hello`.
    Hello(Hello),
    /// To `spawn`.
    Spawned(Spawned),
    /// To `signal`.
    Signalled {
        /// How many processes or groups got it.
        count: u32,
    },
    /// To `list` and `watch`.
    Children(Vec<Child>),
    /// To `remains`: empty is proof that nothing is left.
    Remains(Vec<Remain>),
    /// To `rotate`.
    Rotating,
    /// To `quit`: the keeper ends once the supervisor has, and closes the connection.
    Quitting,
    /// To `take_down`: the supervisor will hear of it.
    TakingDown,
}

/// Who a keeper is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The version it speaks.
    pub version: u32,
    /// Its process.
    pub pid: u32,
    /// The state directory of its network.
    pub state: PathBuf,
    /// The boot that its start times are of.
    pub boot_id: String,
    /// The supervisor's process, while there is one.
    #[serde(default)]
    pub supervisor: Option<u32>,
}

/// A process that was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spawned {
    /// The process.
    pub pid: u32,
    /// When it started, in clock ticks since boot: the same pid at another time is another process.
    pub start_time: u64,
    /// When it started, in milliseconds since 1970.
    pub started_at_ms: u64,
}

/// An instance that the keeper started or adopted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Child {
    /// The instance.
    pub instance: InstanceName,
    /// Which life of it.
    pub generation: u64,
    /// Its process.
    pub pid: u32,
    /// When it started, in clock ticks since boot.
    pub start_time: u64,
    /// When it started, in milliseconds since 1970.
    pub started_at_ms: u64,
    /// Whether an earlier keeper started it; its exit status will be unknown.
    pub adopted: bool,
    /// What it last said through its notification socket.
    #[serde(default)]
    pub notice: Option<Notice>,
    /// How it ended; kept until its instance is started again.
    #[serde(default)]
    pub ended: Option<Ended>,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Its exit code or signal.
    pub status: Status,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
}

/// An exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It ended by itself with this code.
    Code(i32),
    /// A signal of this number ended it.
    Signal(i32),
    /// It was adopted from an earlier keeper, and the kernel tells only a parent.
    Unknown,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(number) => match super::signal_name(*number) {
                Some(name) => write!(f, "signal {name}"),
                None => write!(f, "signal {number}"),
            },
            Self::Unknown => f.write_str("exit unknown"),
        }
    }
}

/// A process of an instance that lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remain {
    /// The instance; absent for a descendant that cast off its group and its environment.
    #[serde(default)]
    pub instance: Option<InstanceName>,
    /// Which life of the instance.
    #[serde(default)]
    pub generation: Option<u64>,
    /// The process.
    pub pid: u32,
    /// The name of its program.
    pub name: String,
    /// The kernel's letter for its state; `D` is one that not even KILL ends at once.
    pub state: char,
    /// How it is known to be ours.
    pub by: Proof,
}

/// How a process is known to be ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Proof {
    /// It is the process that was started.
    Leader,
    /// It is in that process's group.
    Group,
    /// It carries the instance's tag.
    Tag,
    /// It descends from that process, or from the keeper.
    Descendant,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A process ended.
    Exited {
        /// The instance.
        instance: InstanceName,
        /// Which life of it.
        generation: u64,
        /// The process.
        pid: u32,
        /// How.
        status: Status,
    },
    /// A process said something through its notification socket.
    Notified {
        /// The instance.
        instance: InstanceName,
        /// Which life of it.
        generation: u64,
        /// What.
        notice: Notice,
    },
    /// Somebody wants the network taken down.
    TakeDown,
    /// Nothing of the network lives but keeper and supervisor, and these end. Sent to those who wanted
    /// it taken down, and nothing else is.
    Quitting,
}

/// What a program says by the systemd notification protocol.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Notice {
    /// `READY=1`.
    Ready,
    /// `RELOADING=1`.
    Reloading,
    /// `STOPPING=1`.
    Stopping,
    /// `WATCHDOG=1`; not kept as the last state.
    Watchdog,
    /// `STATUS=...`; not kept as the last state.
    Status(String),
}

/// Why a request was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Its kind.
    pub kind: RefusalKind,
    /// One line for people.
    pub message: String,
    /// The system's error number, where it was the system.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub errno: Option<i32>,
}

/// The kinds of refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalKind {
    /// The frame is no request, or its verb is unknown.
    Malformed,
    /// The client's version is not spoken.
    Version,
    /// A process of this instance runs, or is being ended.
    Running,
    /// A name, program, directory or signal that cannot be used.
    Invalid,
    /// The system would not start it.
    Spawn,
    /// Processes of the network live.
    Busy,
    /// A bound is reached.
    Full,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
