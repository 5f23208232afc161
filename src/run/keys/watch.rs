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
    /// Whether the directory was there when it was last looked for.
    pub(super) is_there: bool,
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
            is_there: false,
            due: None,
        };
        watch.look().map_err(|errno| wrap(errno.into()))?;
        Ok(watch)
    }

    fn look(&mut self) -> Result<(), Errno> {
        let By::Notices(notices) = &self.by else {
            self.is_there = true;
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
        self.is_there = added.is_ok();
        added.map(drop)
    }

    /// Calls it a change, too, when this moment has come.
    pub fn due_at(&mut self, at: Option<SystemTime>) {
        self.due = at;
    }

    /// Waits for the next change. Cancel safe: a change that was not handed out is handed out later,
    /// since notices are taken without waiting.
    pub async fn changed(&mut self) {
        let pause = self.pause();
        let due = tokio::time::sleep(pause.unwrap_or(Duration::ZERO));
        let noticed = async {
            match &mut self.by {
                By::Notices(notices) => {
                    if let Ok(mut ready) = notices.readable().await {
                        ready.clear_ready();
                    }
                }
                By::Times(seen) => {
                    while *seen == times(&self.path) {
                        tokio::time::sleep(LOOK_PAUSE).await;
                    }
                    *seen = times(&self.path);
                }
            }
        };
        tokio::select! {
            // Cancel safe: it only waits.
            () = noticed => {}
            () = due, if pause.is_some() => {}
        }
        self.take();
    }

    fn pause(&self) -> Option<Duration> {
        let due = self.due.map(|at| {
            let left = at.duration_since(SystemTime::now()).unwrap_or_default();
            left + SETTLE
        });
        let gone = (!self.is_there).then_some(GONE_PAUSE);
        [due, gone].into_iter().flatten().min()
    }

    /// Takes all notices that are there.
    fn take(&mut self) {
        let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
        let mut is_lost = !self.is_there;
        let mut reader = match &self.by {
            By::Notices(notices) => Some(inotify::Reader::new(notices.get_ref(), &mut buffer)),
            By::Times(_) => None,
        };
        while let Some(reader) = &mut reader {
            match reader.next() {
                Ok(notice) => {
                    let lost = ReadFlags::IGNORED | ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF;
                    is_lost |= notice.events().intersects(lost);
                }
                Err(Errno::INTR) => {}
                Err(_) => break,
            }
        }
        if is_lost {
            // Whether it is there again is seen by the next read.
            self.look().ok();
        }
        if self.due.is_some_and(|at| at <= SystemTime::now()) {
            self.due = None;
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
            is_there: true,
            due: None,
        }
    }
}
