//! Why keys cannot be had or written, with what to type.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::certificate::CertificateFault;

/// Why keys cannot be had or written.
#[derive(Debug)]
pub enum KeyDirError {
    /// There is no key directory.
    NoDirectory(PathBuf),
    /// Something else is in its place.
    NotADirectory(PathBuf),
    /// A directory or a secret of somebody else.
    NotOurs {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// Others can open a directory or a secret.
    Loose {
        /// The file.
        path: PathBuf,
        /// How it is.
        mode: u32,
        /// How it must be.
        wanted: u32,
    },
    /// A name has no key file.
    NoKey {
        /// The file that is not there.
        path: PathBuf,
        /// The name.
        name: String,
    },
    /// A name has a key, and nobody asked for another.
    Present(String),
    /// A public key is there and its secret is not.
    NoSecret {
        /// The public file.
        public: PathBuf,
        /// The secret file that is not there.
        secret: PathBuf,
    },
    /// All keys of a name are revoked.
    Revoked(String),
    /// Not the name of an instance.
    BadName(String),
    /// A file that is no key file.
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: CertificateFault,
    },
    /// A line of a record that is not understood.
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// Anything else the operating system says.
    Io {
        /// The file.
        path: PathBuf,
        /// What it says.
        error: io::Error,
    },
}

impl KeyDirError {
    pub(super) fn io(path: &Path, error: io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            error,
        }
    }

    /// What to type.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::NoDirectory(_) => Some("`zmqnet keys new` makes it".to_owned()),
            Self::NotOurs { path, .. } => Some(format!("chown $(id -u) {}", path.display())),
            Self::Loose { path, wanted, .. } => {
                Some(format!("chmod {wanted:o} {}", path.display()))
            }
            Self::NoKey { name, .. } => Some(format!("`zmqnet keys new {name}` makes it")),
            Self::Present(name) => Some(format!("`zmqnet keys rotate {name}` replaces it")),
            Self::NoSecret { .. } => {
                Some("bring the secret key back, or remove the public one".to_owned())
            }
            Self::Revoked(name) => Some(format!("`zmqnet keys rotate {name}` makes another")),
            Self::NotADirectory(_) => {
                Some("name another place for the keys, or move what is there".to_owned())
            }
            Self::BadName(_) => {
                Some("a name is that of an instance, such as `alpha` or `worker-0`".to_owned())
            }
            Self::File { .. } | Self::Line { .. } | Self::Io { .. } => None,
        }
    }
}

impl fmt::Display for KeyDirError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDirectory(path) => write!(f, "there is no key directory `{}`", path.display()),
            Self::NotADirectory(path) => write!(f, "`{}` is no directory", path.display()),
            Self::NotOurs { path, owner } => {
                write!(f, "`{}` belongs to user {owner}", path.display())
            }
            Self::Loose { path, mode, wanted } => write!(
                f,
                "`{}` is open to others: its mode is {mode:03o}, and must be {wanted:o}",
                path.display()
            ),
            Self::NoKey { path, name } => {
                write!(f, "`{name}` has no key: there is no `{}`", path.display())
            }
            Self::Present(name) => write!(f, "`{name}` has a key already"),
            Self::NoSecret { public, secret } => write!(
                f,
                "`{}` is there and `{}` is not",
                public.display(),
                secret.display()
            ),
            Self::Revoked(name) => write!(f, "the key of `{name}` is revoked"),
            Self::BadName(name) => write!(f, "`{name}` is no name of an instance"),
            Self::File { path, fault } => {
                write!(f, "`{}` is no key file: {fault}", path.display())
            }
            Self::Line { path, line } => {
                write!(f, "line {line} of `{}` is not understood", path.display())
            }
            Self::Io { path, error } => write!(f, "`{}`: {error}", path.display()),
        }
    }
}

impl std::error::Error for KeyDirError {}
