//! Where a network's files are on this machine: the two directories of its [`Layout`].
//!
//! Finding reads the environment and the disk and makes nothing; [`prepare`] makes the directories,
//! for our user only. What the environment says is followed where it is usable, else the next best
//! place is taken, so that a bare `cron` job and a login shell find the same network.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::model::endpoint::IPC_PATH_BYTES_MAX;
use crate::model::layout::Layout;
use crate::model::name::{TopologyName, is_name};

/// The longest file name of a socket in a runtime directory once it is hashed: `/` and
/// `keeper.sock` or eight digits with `.sock`, and room for a temporary suffix.
const SOCKET_NAME_BYTES: usize = 16;

/// In the state directory: a link to the runtime directory that the running network uses.
const RUNTIME_LINK: &str = "run";

/// Why there is no place for a network's files.
#[derive(Debug)]
pub enum PathsError {
    /// No `$XDG_STATE_HOME`, no `$HOME`, and no home directory of this user.
    NoHome,
    /// The name cannot be that of a directory.
    Name {
        /// The name.
        name: String,
    },
    /// A directory cannot be made or read.
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A directory for our sockets belongs to somebody else.
    NotOurs {
        /// The directory.
        path: PathBuf,
        /// The user it belongs to.
        owner: u32,
    },
}

impl fmt::Display for PathsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHome => f.write_str(
                "no home directory to keep state in: set `HOME` or `XDG_STATE_HOME` to an absolute path",
            ),
            Self::Name { name } => write!(f, "`{name}` cannot be the name of a network"),
            Self::Directory { path, error } => {
                write!(
                    f,
                    "cannot use the directory `{}`: {error} (`XDG_STATE_HOME` and `XDG_RUNTIME_DIR` name others)",
                    path.display()
                )
            }
            Self::NotOurs { path, owner } => write!(
                f,
                "the directory `{}` belongs to user {owner}, not to us",
                path.display()
            ),
        }
    }
}

impl std::error::Error for PathsError {}

/// What of the environment decides where files are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Surroundings {
    state_home: Option<PathBuf>,
    runtime_dir: Option<PathBuf>,
    home: Option<PathBuf>,
    uid: u32,
}

impl Surroundings {
    fn here() -> Self {
        // The XDG rules: a path that is not absolute is as good as unset.
        let absolute = |name| {
            std::env::var_os(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        Self {
            state_home: absolute("XDG_STATE_HOME"),
            runtime_dir: absolute("XDG_RUNTIME_DIR"),
            // Looks into the user database where `$HOME` is missing or empty.
            home: std::env::home_dir().filter(|path| path.is_absolute()),
            uid: rustix::process::geteuid().as_raw(),
        }
    }

    fn state_root(&self) -> Result<PathBuf, PathsError> {
        match (&self.state_home, &self.home) {
            (Some(state), _) => Ok(state.join("zmqnet")),
            (None, Some(home)) => Ok(home.join(".local/state/zmqnet")),
            (None, None) => Err(PathsError::NoHome),
        }
    }

    fn layout(&self, name: &str) -> Result<Layout, PathsError> {
        let state = resolved(&self.state_root()?).join(name);
        let runtime = self.runtime(name, &state)?;
        Ok(Layout { state, runtime })
    }

    fn runtime(&self, name: &str, state: &Path) -> Result<PathBuf, PathsError> {
        if !is_directory_name(name) {
            return Err(PathsError::Name { name: name.into() });
        }
        let runtime = match &self.runtime_dir {
            Some(dir) if dir.is_dir() => dir.join("zmqnet").join(name),
            Some(_) | None => self.temporary(name, state),
        };
        let runtime = if fits(&runtime) {
            runtime
        } else {
            self.temporary(name, state)
        };
        Ok(recorded(state, self.uid).unwrap_or(runtime))
    }

    /// A directory below `/tmp` of this network alone: two of the same name under two state
    /// directories must not meet.
    fn temporary(&self, name: &str, state: &Path) -> PathBuf {
        let digest = Sha256::digest(state.as_os_str().as_encoded_bytes());
        let short: String = digest.iter().take(4).map(|b| format!("{b:02x}")).collect();
        let root = PathBuf::from(format!("/tmp/zmqnet-{}", self.uid));
        let named = root.join(format!("{name}-{short}"));
        if fits(&named) {
            named
        } else {
            root.join(short)
        }
    }
}

fn fits(runtime: &Path) -> bool {
    runtime.as_os_str().len() + SOCKET_NAME_BYTES <= IPC_PATH_BYTES_MAX
}

/// A topology's name is a written name, or the stem of a `peers.json`.
fn is_directory_name(name: &str) -> bool {
    is_name(name)
        || (!name.is_empty()
            && name.len() <= 100
            && !name.starts_with('.')
            && !name.chars().any(|c| c == '/' || c.is_control()))
}

/// The same directory by one name, whatever links lead to it, so that its digest is one too.
fn resolved(path: &Path) -> PathBuf {
    let mut missing = Vec::new();
    let mut known = path;
    loop {
        if let Ok(real) = known.canonicalize() {
            return missing
                .iter()
                .rev()
                .fold(real, |path, name| path.join(name));
        }
        match (known.parent(), known.file_name()) {
            (Some(parent), Some(name)) => {
                missing.push(name.to_owned());
                known = parent;
            }
            _ => return path.to_owned(),
        }
    }
}

/// The runtime directory that the network was last prepared with, while it is there and ours: a
/// shell with other variables must find the same sockets.
fn recorded(state: &Path, uid: u32) -> Option<PathBuf> {
    let runtime = fs::read_link(state.join(RUNTIME_LINK)).ok()?;
    let is_ours = fs::metadata(&runtime).is_ok_and(|m| m.is_dir() && m.uid() == uid);
    (runtime.is_absolute() && is_ours && fits(&runtime)).then_some(runtime)
}

/// Where the files of a network are, made or not.
pub fn layout_of(topology: &TopologyName) -> Result<Layout, PathsError> {
    Surroundings::here().layout(topology.as_str())
}

/// The same for a state directory that is known already.
pub fn layout_at(state: &Path) -> Result<Layout, PathsError> {
    let name = state
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let state = resolved(state);
    let runtime = Surroundings::here().runtime(&name, &state)?;
    Ok(Layout { state, runtime })
}

/// Every network that has a state directory, running or not, by name.
pub fn networks() -> Result<Vec<(TopologyName, Layout)>, PathsError> {
    let surroundings = Surroundings::here();
    let root = surroundings.state_root()?;
    let entries = match fs::read_dir(&root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(PathsError::Directory { path: root, error }),
    };
    let mut names: Vec<String> = entries
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| is_directory_name(name))
        .collect();
    names.sort();
    names
        .into_iter()
        .map(|name| {
            let layout = surroundings.layout(&name)?;
            Ok((TopologyName::new(name), layout))
        })
        .collect()
}

/// Makes the directories of a network, for our user only, and remembers which runtime directory it
/// uses.
pub fn prepare(layout: &Layout) -> Result<(), PathsError> {
    let uid = rustix::process::geteuid().as_raw();
    for dir in [
        &layout.state,
        &layout.logs_dir(),
        &layout.state.join("told"),
    ] {
        make(dir)?;
    }
    // What is above the network's own directory may be shared; in `/tmp` it must be ours too, since
    // whoever owns it could replace what is in it.
    if let Some(parent) = layout.runtime.parent() {
        make(parent)?;
        owned(parent, uid)?;
    }
    make(&layout.runtime)?;
    owned(&layout.runtime, uid)?;
    remember(layout).map_err(|error| PathsError::Directory {
        path: layout.state.clone(),
        error,
    })
}

fn make(dir: &Path) -> Result<(), PathsError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|error| PathsError::Directory {
            path: dir.to_owned(),
            error,
        })
}

/// A directory that holds sockets is ours, no link, and closed to others.
fn owned(dir: &Path, uid: u32) -> Result<(), PathsError> {
    let wrap = |error| PathsError::Directory {
        path: dir.to_owned(),
        error,
    };
    let meta = fs::symlink_metadata(dir).map_err(wrap)?;
    if meta.uid() != uid || !meta.is_dir() {
        return Err(PathsError::NotOurs {
            path: dir.to_owned(),
            owner: meta.uid(),
        });
    }
    if meta.mode() & 0o077 != 0 {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).map_err(wrap)?;
    }
    Ok(())
}

fn remember(layout: &Layout) -> io::Result<()> {
    let link = layout.state.join(RUNTIME_LINK);
    if fs::read_link(&link).is_ok_and(|now| now == layout.runtime) {
        return Ok(());
    }
    let fresh = layout
        .state
        .join(format!("{RUNTIME_LINK}.{}", std::process::id()));
    drop(fs::remove_file(&fresh));
    std::os::unix::fs::symlink(&layout.runtime, &fresh)?;
    fs::rename(&fresh, &link)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("zn-paths-{}-{name}", std::process::id()));
        drop(fs::remove_dir_all(&dir));
        fs::create_dir_all(&dir).unwrap();
        dir.canonicalize().unwrap()
    }

    fn here(dir: &Path) -> Surroundings {
        Surroundings {
            state_home: Some(dir.join("state")),
            runtime_dir: None,
            home: None,
            uid: rustix::process::geteuid().as_raw(),
        }
    }

    #[test]
    fn state_is_below_the_state_home_else_the_home_else_an_error() {
        let dir = scratch("state");
        let mut around = here(&dir);
        assert_eq!(
            around.layout("demo").unwrap().state,
            dir.join("state/zmqnet/demo")
        );
        around.state_home = None;
        around.home = Some(dir.clone());
        assert_eq!(
            around.layout("demo").unwrap().state,
            dir.join(".local/state/zmqnet/demo")
        );
        around.home = None;
        assert!(matches!(around.layout("demo"), Err(PathsError::NoHome)));
    }

    #[test]
    fn names_that_leave_the_directory_are_refused() {
        let around = here(&scratch("names"));
        for name in ["", "..", "a/b", ".hidden", "a\nb"] {
            assert!(
                matches!(around.layout(name), Err(PathsError::Name { .. })),
                "{name}"
            );
        }
        assert!(around.layout("peers 2").is_ok());
    }

    #[test]
    fn a_missing_or_too_long_runtime_directory_falls_to_tmp() {
        let dir = scratch("runtime");
        let mut around = here(&dir);
        let none = around.layout("demo").unwrap().runtime;
        assert!(
            none.starts_with(format!("/tmp/zmqnet-{}", around.uid)),
            "{none:?}"
        );
        around.runtime_dir = Some(dir.join("gone"));
        assert_eq!(around.layout("demo").unwrap().runtime, none);
        let long = dir.join("r".repeat(90));
        fs::create_dir(&long).unwrap();
        around.runtime_dir = Some(long);
        assert_eq!(around.layout("demo").unwrap().runtime, none);
        fs::create_dir(dir.join("run")).unwrap();
        around.runtime_dir = Some(dir.join("run"));
        assert_eq!(
            around.layout("demo").unwrap().runtime,
            dir.join("run/zmqnet/demo")
        );
        assert!(fits(&around.layout(&"n".repeat(40)).unwrap().runtime));
    }

    #[test]
    fn a_prepared_network_is_found_from_another_shell() {
        let dir = scratch("recorded");
        fs::create_dir(dir.join("run")).unwrap();
        let mut around = here(&dir);
        around.runtime_dir = Some(dir.join("run"));
        let layout = around.layout("demo").unwrap();
        prepare(&layout).unwrap();
        prepare(&layout).unwrap();
        around.runtime_dir = None;
        assert_eq!(around.layout("demo").unwrap(), layout);
        assert_eq!(fs::metadata(&layout.runtime).unwrap().mode() & 0o777, 0o700);
        fs::remove_dir_all(dir.join("run")).unwrap();
        assert_ne!(around.layout("demo").unwrap().runtime, layout.runtime);
    }

    #[test]
    fn a_file_in_the_way_is_a_typed_error() {
        let dir = scratch("way");
        fs::write(dir.join("state"), "").unwrap();
        let layout = here(&dir).layout("demo").unwrap();
        let error = prepare(&layout).unwrap_err();
        assert!(matches!(error, PathsError::Directory { .. }), "{error}");
        assert!(error.to_string().contains("demo"), "{error}");
    }

    #[test]
    fn a_link_in_place_of_the_runtime_directory_is_not_ours() {
        let dir = scratch("link");
        fs::create_dir(dir.join("elsewhere")).unwrap();
        std::os::unix::fs::symlink(dir.join("elsewhere"), dir.join("linked")).unwrap();
        let layout = Layout {
            state: dir.join("state"),
            runtime: dir.join("linked"),
        };
        assert!(matches!(prepare(&layout), Err(PathsError::NotOurs { .. })));
    }
}
