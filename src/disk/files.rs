//! The seam: everything that the disk layer does with files goes through these two traits, so that a
//! disk that fails, forgets or lies can stand in for a real one.
//!
//! Nothing else in `disk` may name `std::fs`.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One directory of files.
pub trait Files: Send + Sync {
    /// The names of its files and their lengths, in any order.
    fn list(&self) -> io::Result<Vec<(String, u64)>>;
    /// Opens a file that exists, to read and to write.
    fn open(&self, name: &str) -> io::Result<Arc<dyn File>>;
    /// Makes an empty file; one of that name is emptied.
    fn create(&self, name: &str) -> io::Result<Arc<dyn File>>;
    /// Gives a file another name, in place of whatever has it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Has the disk keep which files there are.
    fn sync_dir(&self) -> io::Result<()>;
    /// Takes the directory for as long as this value lives; `WouldBlock` where somebody has it.
    fn lock(&self) -> io::Result<()>;
}

/// One file. Reading and writing share it between threads and name their positions.
pub trait File: Send + Sync {
    /// How long it is.
    fn length(&self) -> io::Result<u64>;
    /// Reads at a position; fewer bytes than asked for only at its end.
    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize>;
    /// Writes all at a position.
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;
    /// Has the disk keep what was written.
    fn sync(&self) -> io::Result<()>;
    /// Cuts it to a length.
    fn truncate(&self, len: u64) -> io::Result<()>;
}

/// A directory of this machine.
#[derive(Debug)]
pub struct RealFiles {
    dir: PathBuf,
    lock: fs::File,
}

/// The file whose lock says whose directory it is.
pub(super) const LOCK: &str = "lock";

impl RealFiles {
    /// Opens a directory, which is made where there is none.
    pub fn open(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let lock = options.open(dir.join(LOCK))?;
        // The directory's own name must survive too.
        if let Some(parent) = dir.parent() {
            fs::File::open(parent)?.sync_all()?;
        }
        Ok(Self {
            dir: dir.to_owned(),
            lock,
        })
    }
}

impl Files for RealFiles {
    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let facts = entry.metadata()?;
            if facts.is_file()
                && let Ok(name) = entry.file_name().into_string()
                && name != LOCK
            {
                found.push((name, facts.len()));
            }
        }
        Ok(found)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let mut options = fs::OpenOptions::new();
        let file = options.read(true).write(true).open(self.dir.join(name))?;
        Ok(Arc::new(file))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        Ok(Arc::new(options.open(self.dir.join(name))?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.dir.join(from), self.dir.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.dir.join(name))
    }

    fn sync_dir(&self) -> io::Result<()> {
        fs::File::open(&self.dir)?.sync_all()
    }

    fn lock(&self) -> io::Result<()> {
        match self.lock.try_lock() {
            Ok(()) => Ok(()),
            Err(fs::TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }
}

impl File for fs::File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < into.len() {
            match FileExt::read_at(self, &mut into[filled..], at + filled as u64) {
                Ok(0) => break,
                Ok(got) => filled += got,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.write_all_at(bytes, at)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }
}
