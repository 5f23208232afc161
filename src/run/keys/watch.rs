//! Tells when a key directory changes: by inotify, so that waiting costs nothing.
//!
//! A directory that is removed or moved away is looked for once a second, until it is there again;
//! what was read before stays good meanwhile, since a network must not fall silent because of a
//! mistake in a shell. A user has so many watches (`fs.inotify.max_user_instances`, often 128) and no
//! more: whoever gets none looks at the times of three files twice a second instead.

use std::io;
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fd::OwnedFd;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, sleep_until};

use super::{ALLOWED, KeyDirError, REVOKED};

/// How often the times of files are looked at where no watch is to be had.
const LOOK_PAUSE: Duration = Duration::from_millis(500);
/// How often a directory that is gone is looked for.
const GONE_PAUSE: Duration = Duration::from_secs(1);
/// How long a change may be followed by more that belong to it.
const SETTLE: Duration = Duration::from_millis(5);
/// Notices read at once.
const BUFFER_BYTES: usize = 4 * 1024;

/// A directory that is watched.
#[derive(Debug)]
pub struct Watch {
    path: PathBuf,
    by: By,
    /// When it is looked anew: for a directory that is gone, or at the times of the files.
    pub(super) look_at: Option<Instant>,
    /// When something changes without a file that changes.
    due: Option<SystemTime>,
}

/// By what changes are noticed.
#[derive(Debug)]
enum By {
    /// What the kernel tells.
    Notices(AsyncFd<OwnedFd>),
    /// The times of the files, as they were last seen.
    Times(Times),
}

/// When the directory and its records were last changed; pairs are moved into place, which changes
/// the directory.
type Times = [Option<SystemTime>; 3];

#[expect(
    deprecated,
    reason = "what replaces it is unsafe, and nobody can close a descriptor that is owned here"
)]
fn registered(notices: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(notices)
}

impl Watch {
    /// Begins to watch. Must be called inside a tokio runtime.
    pub fn new(path: &Path) -> Result<Self, KeyDirError> {
        let wrap = |error: io::Error| KeyDirError::io(path, error);
        let flags = CreateFlags::NONBLOCK | CreateFlags::CLOEXEC;
        let by = match inotify::init(flags) {
            Ok(notices) => By::Notices(registered(notices).map_err(wrap)?),
            Err(Errno::MFILE | Errno::NFILE | Errno::NOMEM) => {
                tracing::warn!(
                    path = %path.display(),
                    "no watch is left: raise fs.inotify.max_user_instances; \
                     the keys are looked at twice a second"
                );
                By::Times(times(path))
            }
            Err(errno) => return Err(wrap(errno.into())),
        };
        let mut watch = Self {
            path: path.to_owned(),
            by,
            look_at: None,
            due: None,
        };
        watch.look().map_err(|errno| wrap(errno.into()))?;
        Ok(watch)
    }

    fn look(&mut self) -> Result<(), Errno> {
        let By::Notices(notices) = &self.by else {
            self.look_at = Some(Instant::now() + LOOK_PAUSE);
            return Ok(());
        };
        let wanted = WatchFlags::CLOSE_WRITE
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::DELETE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        let added = inotify::add_watch(notices.get_ref(), &self.path, wanted);
        self.look_at = added.is_err().then(|| Instant::now() + GONE_PAUSE);
        added.map(drop)
    }

    /// Calls it a change, too, when this moment has come.
    pub fn due_at(&mut self, at: Option<SystemTime>) {
        self.due = at;
    }

    /// Waits for the next change. Cancel safe: when to look again is kept, and notices are taken
    /// without waiting.
    pub async fn changed(&mut self) {
        loop {
            let wake = self.wake();
            let noticed = async {
                match &self.by {
                    By::Notices(notices) => {
                        if let Ok(mut ready) = notices.readable().await {
                            ready.clear_ready();
                        }
                    }
                    By::Times(_) => std::future::pending().await,
                }
            };
            tokio::select! {
                // Cancel safe: it only waits.
                () = noticed => {}
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
            }
            if self.take() {
                return;
            }
        }
    }

    /// When it is looked without being told.
    fn wake(&self) -> Option<Instant> {
        let due = self.due.map(|at| {
            let left = at.duration_since(SystemTime::now()).unwrap_or_default();
            Instant::now() + left + SETTLE
        });
        [due, self.look_at].into_iter().flatten().min()
    }

    /// Takes all notices that are there; whether anything changed.
    fn take(&mut self) -> bool {
        let is_due = self.due.is_some_and(|at| at <= SystemTime::now());
        if is_due {
            self.due = None;
        }
        let is_time = self.look_at.is_some_and(|at| at <= Instant::now());
        if let By::Times(seen) = &mut self.by {
            if is_time {
                self.look_at = Some(Instant::now() + LOOK_PAUSE);
            }
            let now = if is_time { times(&self.path) } else { *seen };
            return std::mem::replace(seen, now) != now || is_due;
        }
        let (is_noticed, is_lost) = self.drain();
        let was_there = self.look_at.is_none();
        if is_lost || is_time {
            // Whether it is there again is seen by the next read.
            self.look().ok();
        }
        let is_back = !was_there && self.look_at.is_none();
        is_due || is_noticed || is_back
    }

    /// Whether there were notices, and whether the directory is no longer the one that is watched.
    fn drain(&self) -> (bool, bool) {
        let By::Notices(notices) = &self.by else {
            return (false, false);
        };
        let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
        let mut reader = inotify::Reader::new(notices.get_ref(), &mut buffer);
        let (mut is_noticed, mut is_lost) = (false, false);
        loop {
            match reader.next() {
                Ok(notice) => {
                    let lost = ReadFlags::IGNORED | ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF;
                    is_noticed = true;
                    is_lost |= notice.events().intersects(lost);
                }
                Err(Errno::INTR) => {}
                Err(_) => return (is_noticed, is_lost),
            }
        }
    }
}

fn times(dir: &Path) -> Times {
    let changed = |path: &Path| std::fs::metadata(path).ok()?.modified().ok();
    [
        changed(dir),
        changed(&dir.join(ALLOWED)),
        changed(&dir.join(REVOKED)),
    ]
}

#[cfg(test)]
impl Watch {
    /// One for which no watch was left.
    pub(super) fn by_times(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            by: By::Times(times(path)),
            look_at: Some(Instant::now()),
            due: None,
        }
    }
}
