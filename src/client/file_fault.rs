//! Why files of another program cannot be read or written.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why files cannot be read or written.
#[derive(Debug)]
pub enum FileFault {
    /// The system refused something.
    System(PathBuf, io::Error),
    /// An event is larger than the format allows, or than a file may be.
    TooLarge {
        /// Its offset.
        offset: u64,
        /// Its bytes.
        bytes: u64,
        /// The most there may be.
        max: u64,
    },
    /// A log is not what it should be.
    Damaged {
        /// Which.
        path: PathBuf,
        /// At which byte.
        at: u64,
    },
    /// There are such files already where some are to be written.
    NotEmpty(PathBuf),
    /// Something is among them that its program did not write.
    Foreign(PathBuf),
}

impl fmt::Display for FileFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System(path, error) => write!(f, "{}: {error}", path.display()),
            Self::TooLarge { offset, bytes, max } => {
                write!(f, "event {offset} has {bytes} bytes, at most {max} fit")
            }
            Self::Damaged { path, at } => {
                write!(f, "{} is damaged at byte {at}", path.display())
            }
            Self::NotEmpty(path) => {
                write!(f, "there are files in {} already", path.display())
            }
            Self::Foreign(path) => {
                write!(f, "{} is none of its program's files", path.display())
            }
        }
    }
}

impl std::error::Error for FileFault {}

pub(super) fn system(path: &Path) -> impl FnOnce(io::Error) -> FileFault {
    let path = path.to_owned();
    move |error| FileFault::System(path, error)
}
