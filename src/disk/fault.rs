//! Why a log cannot be opened.

use std::fmt;
use std::io;

use super::segment;

/// Why a log cannot be opened at all.
#[derive(Debug)]
pub enum OpenError {
    /// Another process has it.
    Locked,
    /// It was written by a newer version.
    Version(u32),
    /// Another kind of node keeps something there.
    Kind {
        /// Whose it is.
        is: String,
        /// Whose it was to be.
        wanted: &'static str,
    },
    /// Two logs lie in one directory.
    Mixed,
    /// No segment of it can be read, and it is not new.
    Unreadable,
    /// The system refused something.
    System(&'static str, io::Error),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked => f.write_str("another process has it open"),
            Self::Version(version) => write!(
                f,
                "it has format {version}, this version knows {}",
                segment::VERSION
            ),
            Self::Kind { is, wanted } => {
                write!(f, "it is the store of a {is}, and this is a {wanted}")
            }
            Self::Mixed => f.write_str("segments of two logs lie in it"),
            Self::Unreadable => f.write_str("no segment of it can be read, and it is not new"),
            Self::System(what, error) => write!(f, "{what}: {error}"),
        }
    }
}

impl std::error::Error for OpenError {}
