//! Dying at a named step: how the tests kill a role in the middle of a write.
//!
//! Only in debug builds: a file `die-at` in the directory that says `STEP:N` has the process kill itself
//! with SIGKILL at the Nth such step since it was started. The steps are the operations on files, before and after, and
//! half-way through a write: `write-before write-half write-after sync-before sync-after
//! create-before create-after rename-before rename-after remove-after truncate-after`. Release builds
//! have none of it.

use std::sync::Arc;

use super::files::{Files, RealFiles};

/// The files of a directory, as they are.
#[cfg(not(debug_assertions))]
pub(super) fn wrapped(files: RealFiles) -> Arc<dyn Files> {
    Arc::new(files)
}

/// The files of a directory, which die where they are told to.
#[cfg(debug_assertions)]
pub(super) fn wrapped(files: RealFiles) -> Arc<dyn Files> {
    match armed::Death::written(&files) {
        Some(death) => Arc::new(armed::DyingFiles::new(files, death)),
        None => Arc::new(files),
    }
}

#[cfg(debug_assertions)]
mod armed {
    use std::io;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use rustix::process::{Signal, getpid, kill_process};

    use crate::disk::files::{File, Files, RealFiles};

    /// When to die.
    #[derive(Debug)]
    pub(super) struct Death {
        step: String,
        left: AtomicU64,
    }

    impl Death {
        pub(super) fn written(files: &RealFiles) -> Option<Self> {
            let file = files.open("die-at").ok()?;
            let mut told = [0; 64];
            let got = file.read_at(&mut told, 0).ok()?;
            let (step, count) = std::str::from_utf8(&told[..got]).ok()?.split_once(':')?;
            Some(Self {
                step: step.to_owned(),
                left: AtomicU64::new(count.parse().ok()?),
            })
        }

        fn at(&self, step: &str) {
            if step == self.step && self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
                kill_process(getpid(), Signal::KILL).ok();
                // The signal takes this thread too, at the latest when it comes back here.
                loop {
                    std::thread::park();
                }
            }
        }

        fn is_at(&self, step: &str) -> bool {
            step == self.step
        }
    }

    pub(super) struct DyingFiles {
        files: RealFiles,
        death: Arc<Death>,
    }

    struct DyingFile {
        file: Arc<dyn File>,
        death: Arc<Death>,
    }

    impl DyingFiles {
        pub(super) fn new(files: RealFiles, death: Death) -> Self {
            let death = Arc::new(death);
            Self { files, death }
        }

        fn wrap(&self, file: Arc<dyn File>) -> Arc<dyn File> {
            let death = Arc::clone(&self.death);
            Arc::new(DyingFile { file, death })
        }
    }

    impl Files for DyingFiles {
        fn list(&self) -> io::Result<Vec<(String, u64)>> {
            self.files.list()
        }

        fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
            Ok(self.wrap(self.files.open(name)?))
        }

        fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
            self.death.at("create-before");
            let file = self.files.create(name)?;
            self.death.at("create-after");
            Ok(self.wrap(file))
        }

        fn rename(&self, from: &str, to: &str) -> io::Result<()> {
            self.death.at("rename-before");
            self.files.rename(from, to)?;
            self.death.at("rename-after");
            Ok(())
        }

        fn remove(&self, name: &str) -> io::Result<()> {
            self.files.remove(name)?;
            self.death.at("remove-after");
            Ok(())
        }

        fn sync_dir(&self) -> io::Result<()> {
            self.files.sync_dir()
        }

        fn lock(&self) -> io::Result<()> {
            self.files.lock()
        }
    }

    impl File for DyingFile {
        fn length(&self) -> io::Result<u64> {
            self.file.length()
        }

        fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
            self.file.read_at(into, at)
        }

        fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
            self.death.at("write-before");
            if self.death.is_at("write-half") {
                let (first, second) = bytes.split_at(bytes.len() / 2);
                self.file.write_at(first, at)?;
                self.death.at("write-half");
                self.file.write_at(second, at + first.len() as u64)?;
            } else {
                self.file.write_at(bytes, at)?;
            }
            self.death.at("write-after");
            Ok(())
        }

        fn sync(&self) -> io::Result<()> {
            self.death.at("sync-before");
            self.file.sync()?;
            self.death.at("sync-after");
            Ok(())
        }

        fn truncate(&self, len: u64) -> io::Result<()> {
            self.file.truncate(len)?;
            self.death.at("truncate-after");
            Ok(())
        }
    }
}
