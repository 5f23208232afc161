//! The states of a supervised child, and how a life of it can end.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Where a child stands. Times are as the caller counts them; all come from one clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Wanted, and not started yet: started as soon as both hold.
    Waiting {
        /// Not before this time, for a `late` instance.
        not_before: Duration,
        /// Whether what is written under `after` holds.
        may_start: bool,
    },
    /// A process was asked for; its pid is awaited.
    Starting,
    /// It runs and has not shown yet that it is ready; the next success makes it Ready.
    Probing(Watch),
    /// It has shown that it is ready; `retries` misses in a row make it Suspect.
    Ready(Watch),
    /// It missed its probes and is left alone (`restart.when: never`); the next success makes it
    /// Ready.
    Suspect(Watch),
    /// It was asked to end; when nothing of it is left, `then` decides.
    Stopping {
        /// What comes when nothing is left.
        then: Then,
        /// When KILL is sent to what is left; past that, when it is given up.
        kill_at: Duration,
        /// Whether the first signal was sent.
        is_asked: bool,
        /// Whether KILL was sent.
        is_killed: bool,
        /// When to look again for what is left.
        look_at: Option<Duration>,
    },
    /// It ended and is started again at a time, if nothing of its last life is left by then.
    BackingOff {
        /// When.
        until: Duration,
        /// When to look again for what is left.
        look_at: Option<Duration>,
    },
    /// Nothing runs and nothing is to run, until somebody starts it.
    Stopped {
        /// Whether it ended by itself with exit code 0.
        is_done: bool,
    },
    /// Nothing is done about it any more, until somebody starts it.
    Failed,
}

/// What is known of a running process between probes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watch {
    /// When its process started.
    pub started: Duration,
    /// When it is looked at next; nothing where nothing is asked of it, or a try is under way.
    pub next: Option<Duration>,
    /// When the try under way began.
    pub asked: Option<Duration>,
    /// Tries since it entered its state.
    pub tries: u32,
    /// Tries missed in a row that count.
    pub misses: u32,
}

/// What comes after Stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// It stays stopped.
    Rest,
    /// It starts again at once; somebody asked for it.
    StartAgain,
    /// It starts again after a backoff, and that counts against the limit of restarts.
    BackOff,
    /// It is Failed.
    Fail,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    /// It exited with a code.
    Code(i32),
    /// A signal ended it.
    Signal(i32),
    /// It is gone; nobody who may know the code saw it end.
    Unknown,
}

impl End {
    /// Whether it is exit code 0.
    pub fn is_success(self) -> bool {
        self == Self::Code(0)
    }

    /// The number a shell would give it: its exit code, or 128 + n after signal n.
    pub fn number(self) -> Option<i32> {
        match self {
            Self::Code(code) => Some(code),
            Self::Signal(signal) => Some(128 + signal),
            Self::Unknown => None,
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exited with code {code}"),
            Self::Signal(9) => write!(f, "ended by signal 9 (KILL)"),
            Self::Signal(15) => write!(f, "ended by signal 15 (TERM)"),
            Self::Signal(11) => write!(f, "ended by signal 11 (SEGV)"),
            Self::Signal(6) => write!(f, "ended by signal 6 (ABRT)"),
            Self::Signal(signal) => write!(f, "ended by signal {signal}"),
            Self::Unknown => write!(f, "ended unseen, its exit code is not known"),
        }
    }
}

/// The state's name, as `status` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the variants of State say what each is")]
pub enum Phase {
    Waiting,
    Starting,
    Probing,
    Ready,
    Suspect,
    Stopping,
    BackingOff,
    Stopped,
    Failed,
}

impl State {
    /// The state's name.
    pub fn phase(&self) -> Phase {
        match self {
            Self::Waiting { .. } => Phase::Waiting,
            Self::Starting => Phase::Starting,
            Self::Probing(_) => Phase::Probing,
            Self::Ready(_) => Phase::Ready,
            Self::Suspect(_) => Phase::Suspect,
            Self::Stopping { .. } => Phase::Stopping,
            Self::BackingOff { .. } => Phase::BackingOff,
            Self::Stopped { .. } => Phase::Stopped,
            Self::Failed => Phase::Failed,
        }
    }
}

impl Phase {
    /// The name in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Starting => "starting",
            Self::Probing => "probing",
            Self::Ready => "ready",
            Self::Suspect => "suspect",
            Self::Stopping => "stopping",
            Self::BackingOff => "backingoff",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
