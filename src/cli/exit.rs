//! Exit codes, and the failure that carries one to the end of `main`.
//!
//! The codes are an interface: scripts branch on them. `README.md` lists the same table.

use std::process::ExitCode;

/// Why a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It did what was asked.
    Done = 0,
    /// It failed: a Failed node, a taken port, a dropped message, a missing key.
    Failed = 1,
    /// `plan --detailed-exitcode`: there are changes.
    Changes = 2,
    /// The plan that was to be applied is stale.
    Stale = 3,
    /// Not ready in time.
    NotReady = 4,
    /// `status --check`: what runs is not what was planned.
    Drift = 5,
    /// The command line is wrong.
    Usage = 64,
    /// The manifest is wrong, empty, binary or not UTF-8.
    Manifest = 65,
    /// A file is missing, a directory, or not permitted.
    File = 66,
    /// Nothing is running to talk to.
    NotRunning = 69,
    /// A person interrupted it: 128 and the number of INT.
    Interrupted = 130,
    /// It was told to end: 128 and the number of TERM.
    Terminated = 143,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// How a command ends when it cannot do what was asked: a code, one line, and what to type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// One line, lower case, naming the thing in backticks; empty when all is said already.
    pub message: String,
    /// What to type instead.
    pub help: Option<String>,
    /// Whether the supervisor was lost on the way, so that its successor may be asked again.
    pub is_lost: bool,
}

impl Failure {
    /// A failure with one line.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            help: None,
            is_lost: false,
        }
    }

    /// A failure about which everything has been printed.
    pub fn said(exit: Exit) -> Self {
        Self::new(exit, "")
    }

    /// The same with what to type instead.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// What a command's `run` returns.
pub type Outcome = Result<Exit, Failure>;
