//! Why a role process could not run: the world's faults, each with what it is about.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::disk::OpenError;
use crate::run::keys::KeyDirError;
use crate::wire::hub::ListenError;

/// Why a role could not run.
#[derive(Debug)]
pub enum NodeError {
    /// The file with its configuration cannot be read.
    Told(PathBuf, io::Error),
    /// The file with its configuration is none.
    Config(PathBuf, serde_json::Error),
    /// Its keys cannot be had.
    Keys(KeyDirError),
    /// One of its endpoints cannot be bound.
    Listen(ListenError),
    /// What it keeps on disk cannot be opened.
    Store(PathBuf, OpenError),
    /// What is kept there on disk is not its own.
    Foreign(PathBuf, String),
    /// The runtime, or a signal handler, could not be set up.
    Runtime(io::Error),
}

impl fmt::Display for NodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Told(path, error) => write!(f, "cannot read {}: {error}", path.display()),
            Self::Config(path, error) => {
                write!(f, "{} is no role's configuration: {error}", path.display())
            }
            Self::Keys(error) => match error.help() {
                Some(help) => write!(f, "{error}: {help}"),
                None => error.fmt(f),
            },
            Self::Listen(error) => error.fmt(f),
            Self::Store(path, error) => {
                write!(f, "cannot open the store {}: {error}", path.display())
            }
            Self::Foreign(path, why) => {
                write!(f, "cannot open the store {}: {why}", path.display())
            }
            Self::Runtime(error) => write!(f, "cannot start the event loop: {error}"),
        }
    }
}

impl NodeError {
    /// Whether its next life would end at its store the same way.
    pub(super) fn is_of_store_for_good(&self) -> bool {
        match self {
            Self::Foreign(..) => true,
            Self::Store(_, error) => match error {
                OpenError::Kind { .. }
                | OpenError::Version(_)
                | OpenError::Mixed
                | OpenError::Unreadable => true,
                OpenError::Locked | OpenError::System(..) => false,
            },
            Self::Told(..)
            | Self::Config(..)
            | Self::Keys(_)
            | Self::Listen(_)
            | Self::Runtime(_) => false,
        }
    }
}

impl std::error::Error for NodeError {}
