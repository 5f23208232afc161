//! Makes sure that one keeper lives: the only place that starts one.
//!
//! Whoever needs a keeper calls [`ensure`]: commands, and the supervisor that lost its own. Under
//! the network's lock it connects, or starts one. The keeper is handed its listening socket ready
//! bound, so its clients can connect before it runs, and a second lock that it holds for as long as
//! it lives: a network never has two keepers. One that lives but does not answer is replaced; its
//! children live on and are adopted.
//!
//! ```text
//! ensure -> __keeper (own session, stdin: socket, stdout: lock, stderr: log)
//! ```

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::client::{Blocking, HELLO_WAIT, KeeperError};
use super::{note, serve};
use crate::model::layout::Layout;
use crate::run::paths::{self, PathsError};
use crate::run::procfs::{self, Handle};
use crate::run::tag::{KEEPER, NetworkId, SUPERVISOR, TAG_ENV, Tag};

/// The hidden entry point of a keeper: `__keeper STATE_DIR [--alone]`.
pub const KEEPER_ENTRY: &str = "__keeper";

/// Said to a keeper that was handed its socket; without it the entry point starts one.
const HANDED: &str = "--handed";
/// Said to a keeper that is to run without a supervisor.
const ALONE: &str = "--alone";

/// How long others may hold the lock while they start a keeper.
const LOCK_WAIT: Duration = Duration::from_secs(15);
/// How long a keeper that is ending may take to do so.
const ENDING_WAIT: Duration = Duration::from_secs(1);
/// What a thread needs that only waits.
const REAPER_STACK_BYTES: usize = 32 * 1024;
/// The first descriptor that is no standard stream.
const FIRST_BEYOND_STANDARD: i32 = 3;
/// Between two looks at a lock; contention is rare and short.
const LOCK_PAUSE: Duration = Duration::from_millis(2);

/// What a keeper, and all it starts, takes over from the environment of whoever starts it.
const PASSED_ON: [&str; 9] = [
    "PATH",
    "HOME",
    "USER",
    "LANG",
    "TZ",
    "TMPDIR",
    "XDG_STATE_HOME",
    "XDG_RUNTIME_DIR",
    "ZMQNET_LOG",
];

/// Why there is no keeper.
#[derive(Debug)]
pub enum LaunchError {
    /// The network's directories cannot be used.
    Paths(PathsError),
    /// Somebody else holds the lock and does not finish.
    Locked {
        /// The lock's file.
        path: PathBuf,
    },
    /// A file or socket cannot be made.
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// This binary cannot be started again.
    Start(io::Error),
    /// It was started and does not answer; its log says why.
    Keeper {
        /// What went wrong.
        error: KeeperError,
        /// Its log.
        log: PathBuf,
    },
    /// One lives that can neither be reached nor proven to be ours, so it is left alone.
    Unreachable {
        /// Its process, where it is known.
        pid: Option<u32>,
    },
}

impl fmt::Display for LaunchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Paths(error) => write!(f, "{error}"),
            Self::Locked { path } => write!(
                f,
                "another zmqnet holds `{}` for more than {LOCK_WAIT:?}",
                path.display()
            ),
            Self::File { path, error } => write!(f, "cannot use `{}`: {error}", path.display()),
            Self::Start(error) => write!(f, "cannot start a keeper: {error}"),
            Self::Keeper { error, log } => write!(f, "{error}; its log is `{}`", log.display()),
            Self::Unreachable { pid: Some(pid) } => {
                write!(f, "a keeper lives (pid {pid}) but cannot be reached")
            }
            Self::Unreachable { pid: None } => {
                f.write_str("a keeper lives but cannot be reached, and its pid is unknown")
            }
        }
    }
}

impl std::error::Error for LaunchError {}

/// Whether a keeper is to run a supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Supervision {
    /// It starts one and restarts it.
    Supervised,
    /// It runs none: for tests of the keeper.
    Alone,
}

/// Connects to the network's keeper, and starts one first where none lives. Blocking: milliseconds
/// as a rule, seconds where an old keeper hangs.
pub fn ensure(layout: &Layout, supervision: Supervision) -> Result<Blocking, LaunchError> {
    ensure_after(layout, supervision, || Ok(())).map(|(keeper, _)| keeper)
}

/// The same, and whether one was started. `first` is done just before, under the lock: it leaves in
/// the state directory what the supervisor is to find there.
pub fn ensure_after(
    layout: &Layout,
    supervision: Supervision,
    first: impl FnOnce() -> io::Result<()>,
) -> Result<(Blocking, bool), LaunchError> {
    let is_silent = match super::client::connect(layout) {
        Ok(keeper) => return Ok((keeper, false)),
        Err(error) => matches!(error, KeeperError::Silent),
    };
    paths::prepare(layout).map_err(LaunchError::Paths)?;
    let _lock = locked(&layout.lock_file(), LOCK_WAIT)?.ok_or_else(|| LaunchError::Locked {
        path: layout.lock_file(),
    })?;
    // Somebody may have started one while we waited; one that hangs is not asked again.
    if !is_silent && let Ok(keeper) = super::client::connect(layout) {
        return Ok((keeper, false));
    }
    let life = life_lock(layout)?;
    // One that was just ending has removed its directory of sockets.
    if !layout.runtime.is_dir() {
        paths::prepare(layout).map_err(LaunchError::Paths)?;
    }
    first().map_err(|error| LaunchError::File {
        path: layout.state.clone(),
        error,
    })?;
    let socket = layout.keeper_socket();
    let listener = listen(&socket).map_err(|error| LaunchError::File {
        path: socket.clone(),
        error,
    })?;
    start(layout, supervision, listener, life)?;
    let broken = |error| LaunchError::Keeper {
        error,
        log: layout.log_file(KEEPER),
    };
    let stream = UnixStream::connect(&socket).map_err(|e| broken(e.into()))?;
    let keeper = Blocking::greet(stream, layout, HELLO_WAIT).map_err(broken)?;
    Ok((keeper, true))
}

/// Does something while nobody can start a keeper, if nothing of the network lives; whether it did.
pub fn while_nothing_lives(
    layout: &Layout,
    lives: impl FnOnce() -> bool,
    then: impl FnOnce(),
) -> Result<bool, LaunchError> {
    // Where there is no lock there was never a network.
    if !layout.state.is_dir() {
        return Ok(false);
    }
    let path = layout.lock_file();
    let _lock = locked(&path, LOCK_WAIT)?.ok_or(LaunchError::Locked { path })?;
    let is_free = !lives();
    if is_free {
        then();
    }
    Ok(is_free)
}

/// Ends a supervisor that does not answer, and what it ran for probes, if proven to be ours: its keeper
/// starts another one, and nothing else is touched.
pub fn replace_supervisor(layout: &Layout) {
    let network = NetworkId::of(layout);
    for (pid, seen) in procfs::scan_tagged(&BTreeSet::new()) {
        let is_it = |tag: &Tag| tag.network == network && tag.instance.as_str() == SUPERVISOR;
        if seen.tag.as_ref().is_some_and(is_it)
            && let Some(handle) = Handle::open(pid, seen.stat.start_time)
        {
            // It may have ended by itself meanwhile.
            drop(handle.signal(Signal::KILL));
        }
    }
}

/// Takes the lock that a keeper holds while it lives, which proves that none does. One that lives
/// without answering is ended first, if it is proven to be this network's keeper.
fn life_lock(layout: &Layout) -> Result<File, LaunchError> {
    let path = life_file(layout);
    if let Some(lock) = locked(&path, ENDING_WAIT)? {
        return Ok(lock);
    }
    let pid = fs::read_to_string(&path)
        .ok()
        .and_then(|text| text.trim().parse().ok());
    let old = pid.and_then(|pid| {
        let stat = procfs::stat(pid)?;
        let handle = Handle::open(pid, stat.start_time)?;
        let tag = procfs::tag(pid)?;
        let is_it = tag.network == NetworkId::of(layout) && tag.instance.as_str() == KEEPER;
        is_it.then_some(handle)
    });
    if let Some(old) = old {
        // It may have ended by itself meanwhile; the lock below tells.
        drop(old.signal(Signal::KILL));
    }
    locked(&path, ENDING_WAIT)?.ok_or(LaunchError::Unreachable { pid })
}

fn life_file(layout: &Layout) -> PathBuf {
    layout.state.join("keeper.lock")
}

/// Opens and locks a file, waiting at most `wait`; nothing when somebody else holds it.
fn locked(path: &Path, wait: Duration) -> Result<Option<File>, LaunchError> {
    let wrap = |error| LaunchError::File {
        path: path.to_owned(),
        error,
    };
    let mut options = File::options();
    options.read(true).write(true).create(true).mode(0o600);
    let file = options.open(path).map_err(wrap)?;
    let start = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::WouldBlock) if start.elapsed() < wait => {
                std::thread::sleep(LOCK_PAUSE);
            }
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(wrap(error)),
        }
    }
}

/// Binds a socket that only our user may connect to. Under the lock, so what lies there is stale.
fn listen(path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

fn start(
    layout: &Layout,
    supervision: Supervision,
    listener: UnixListener,
    life: File,
) -> Result<(), LaunchError> {
    let log = layout.log_file(KEEPER);
    let mut options = File::options();
    options.append(true).create(true).mode(0o600);
    let stderr = options
        .open(&log)
        .map_err(|error| LaunchError::File { path: log, error })?;
    let tag = Tag {
        network: NetworkId::of(layout),
        instance: KEEPER.into(),
        generation: 0,
    };
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("zmqnet")
        .arg(KEEPER_ENTRY)
        .arg(&layout.state)
        .arg(HANDED)
        .env_clear()
        .env(TAG_ENV, tag.to_string())
        .current_dir("/")
        .stdin(OwnedFd::from(listener))
        .stdout(life)
        .stderr(stderr);
    for name in PASSED_ON {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    if supervision == Supervision::Alone {
        command.arg(ALONE);
    }
    // What our caller holds open, a lock or the end of a pipe, is not the network's to keep: of our own
    // descriptors none is handed on by being left open.
    close_fds::set_fds_cloexec_threadsafe(FIRST_BEYOND_STANDARD, &[]);
    let mut keeper = command.spawn().map_err(LaunchError::Start)?;
    // A supervisor or an `up` may outlive the keeper it started, and must not keep its corpse. Most
    // commands end long before, and the thread with them.
    let reaper = std::thread::Builder::new().stack_size(REAPER_STACK_BYTES);
    drop(reaper.spawn(move || keeper.wait()));
    Ok(())
}

/// The keeper's entry point. Started by hand, it makes sure that a keeper lives, and ends.
pub fn main(args: &[OsString]) -> ExitCode {
    let mut state = None;
    let (mut is_handed, mut supervision) = (false, Supervision::Supervised);
    for arg in args {
        match arg.to_str() {
            Some(HANDED) => is_handed = true,
            Some(ALONE) => supervision = Supervision::Alone,
            Some(_) | None => state = Some(PathBuf::from(arg)),
        }
    }
    let Some(state) = state else {
        note(format_args!("{KEEPER_ENTRY} needs a state directory"));
        return ExitCode::FAILURE;
    };
    let done = match paths::layout_at(&state) {
        Err(error) => Err(error.to_string()),
        Ok(layout) if is_handed => handed()
            .and_then(|listener| serve::run(layout, supervision, listener))
            .map_err(|error| error.to_string()),
        Ok(layout) => ensure(&layout, supervision)
            .map(drop)
            .map_err(|error| error.to_string()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            note(message);
            ExitCode::FAILURE
        }
    }
}

/// Takes the socket and the lock out of the standard streams, so that no child inherits them. The
/// lock stays open, and so held, until this process ends.
fn handed() -> io::Result<Handed> {
    // Away from the terminal of whoever started us. It fails only for the leader of a group, and we
    // were not started as one.
    rustix::process::setsid().ok();
    let listener = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let life = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    let mut life = File::from(life);
    // A file that was cut is flushed to the disk when it is closed, which is at our end.
    if life.metadata()?.len() > 0 {
        life.set_len(0)?;
    }
    life.rewind()?;
    write!(life, "{}", std::process::id())?;
    let listener = UnixListener::from(listener);
    listener.set_nonblocking(true)?;
    Ok(Handed { listener, life })
}

/// What follows the number of a keeper that left the proof that nothing of its network lives.
const PROOF: &str = " left nothing";

/// Says, in the last moment of a keeper, that it has proven that nothing of its network lives: behind
/// its number, which says that it is no word of an earlier keeper.
pub(super) fn tell_proof(handed: &mut Handed) -> io::Result<()> {
    handed.life.write_all(PROOF.as_bytes())
}

/// Whether the keeper that was `pid` ended with the proof that nothing of its network lives. Nobody
/// has started another one since.
pub fn has_left_nothing(layout: &Layout, pid: u32) -> bool {
    fs::read_to_string(life_file(layout)).is_ok_and(|text| text == format!("{pid}{PROOF}"))
}

/// What a keeper is handed when it starts.
pub(super) struct Handed {
    pub(super) listener: UnixListener,
    /// Locked for as long as it lives.
    life: File,
}

/// The process that holds a network's keeper lock, as it said itself.
pub fn keeper_pid(layout: &Layout) -> Option<u32> {
    let mut text = String::new();
    let mut file = File::open(life_file(layout)).ok()?;
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
