//! persizmq's directories, as its own code reads and writes them: each message's bytes in a file.
//!
//! ```text
//! %030d.bin                 PersistentStorage: the messages in their order
//! persistent_message.bin    PersistentLatestStorage: the newest
//! *.tmp                     what was not finished; nobody reads it
//! ```
//!
//! A message there is one frame. What else is called `.bin` is none of its files: nothing is read of a
//! directory that has one, where persizmq would serve it as a message.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::file_fault::{FileFault, system};

/// The only message of a `PersistentLatestStorage`.
const LATEST: &str = "persistent_message.bin";
/// Digits of the name of every other.
const DIGITS: usize = 30;

/// The files of a directory's messages, in their order. None is opened yet.
pub fn messages(dir: &Path) -> Result<Vec<PathBuf>, FileFault> {
    let mut found = bins(dir)?;
    let is_latest = |path: &PathBuf| path.file_name().is_some_and(|it| it == LATEST);
    let is_alone = found.len() == 1;
    let foreign = |path: &&PathBuf| !(is_numbered(path) || is_alone && is_latest(path));
    if let Some(path) = found.iter().find(foreign) {
        return Err(FileFault::Foreign(path.clone()));
    }
    found.sort_unstable();
    Ok(found)
}

/// Everything in a directory that is called as a message is.
fn bins(dir: &Path) -> Result<Vec<PathBuf>, FileFault> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(system(dir))? {
        let path = entry.map_err(system(dir))?.path();
        if path.extension().is_some_and(|it| it == "bin") {
            found.push(path);
        }
    }
    Ok(found)
}

fn is_numbered(path: &Path) -> bool {
    let stem = path.file_stem().and_then(|it| it.to_str());
    stem.is_some_and(|it| it.len() == DIGITS && it.bytes().all(|byte| byte.is_ascii_digit()))
}

/// A message.
pub fn read(path: &Path) -> Result<Bytes, FileFault> {
    fs::read(path).map(Bytes::from).map_err(system(path))
}

/// Writes a directory of messages.
#[derive(Debug)]
pub struct Writer {
    dir: PathBuf,
    /// Whether only the newest is kept.
    is_latest: bool,
    count: u64,
    /// What was written and goes again unless all of it is.
    begun: Vec<PathBuf>,
}

impl Drop for Writer {
    fn drop(&mut self) {
        // A part of the messages would pass for all of them, and stand in the way of the next try.
        for path in &self.begun {
            fs::remove_file(path).ok();
        }
    }
}

impl Writer {
    /// Begins one where there is none.
    pub fn create(dir: &Path, is_latest: bool) -> Result<Self, FileFault> {
        fs::create_dir_all(dir).map_err(system(dir))?;
        if !bins(dir)?.is_empty() {
            return Err(FileFault::NotEmpty(dir.to_owned()));
        }
        Ok(Self {
            dir: dir.to_owned(),
            is_latest,
            count: 0,
            begun: Vec::new(),
        })
    }

    /// Adds a message. Each frame is a file, as persizmq hears frames.
    pub fn add(&mut self, frames: &[Bytes]) -> Result<(), FileFault> {
        for frame in frames {
            let name = match self.is_latest {
                true => LATEST.to_owned(),
                false => format!("{:0DIGITS$}.bin", self.count),
            };
            let path = self.dir.join(&name);
            let temporary = self.dir.join(format!("{name}.tmp"));
            self.begun.push(temporary.clone());
            fs::write(&temporary, frame).map_err(system(&temporary))?;
            fs::rename(&temporary, &path).map_err(system(&path))?;
            self.begun.pop();
            self.begun.push(path);
            self.count += 1;
        }
        Ok(())
    }

    /// All was added, and stays. Gives how many files were written.
    pub fn finish(mut self) -> u64 {
        self.begun.clear();
        self.count
    }
}
