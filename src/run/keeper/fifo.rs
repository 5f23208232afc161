//! A named pipe that stands for the output of a program that opens `/dev/stdout` anew, which would
//! cut a regular log file short. The keeper copies it into the log file.
//!
//! The program holds it for reading too, so that a keeper's death blocks it instead of killing it;
//! the next keeper finds the pipe by its path and reads on.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};

use super::start::open_log;
use crate::model::layout::Layout;

/// Bytes copied from a pipe before others get their turn.
const TURN_BYTES: usize = 64 * 1024;

/// The reading end, and the log it is copied to.
#[derive(Debug)]
pub(super) struct Fifo {
    path: PathBuf,
    reader: File,
    log: File,
}

impl Fifo {
    /// Makes the pipe of an instance where there is none, and opens it.
    pub(super) fn open(layout: &Layout, instance: &str) -> io::Result<Self> {
        let path = path(layout, instance);
        match rustix::fs::mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR) {
            Ok(()) => {}
            Err(rustix::io::Errno::EXIST) if is_fifo(&path) => {}
            Err(error) => return Err(error.into()),
        }
        let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
        let mut options = File::options();
        options.read(true).write(true).custom_flags(nonblocking);
        Ok(Self {
            reader: options.open(&path)?,
            log: open_log(&layout.log_file(instance))?.into(),
            path,
        })
    }

    /// The pipe that an earlier keeper made for an instance, if it made one.
    pub(super) fn found(layout: &Layout, instance: &str) -> Option<Self> {
        is_fifo(&path(layout, instance)).then(|| Self::open(layout, instance).ok())?
    }

    /// What is polled.
    pub(super) fn reader(&self) -> &File {
        &self.reader
    }

    /// The end that the program writes to.
    pub(super) fn writer(&self) -> io::Result<OwnedFd> {
        let mut options = File::options();
        options.read(true).write(true);
        Ok(options.open(&self.path)?.into())
    }

    /// Copies what is there; whether there may be more.
    pub(super) fn copy(&mut self) -> bool {
        let mut chunk = [0; TURN_BYTES];
        match self.reader.read(&mut chunk) {
            // A full disk loses lines; blocking the program would lose more.
            Ok(count @ 1..) => {
                drop(self.log.write_all(&chunk[..count]));
                count == TURN_BYTES
            }
            Ok(0) | Err(_) => false,
        }
    }

    /// Copies the rest, at most what a pipe can hold, and removes the pipe.
    pub(super) fn close(mut self) {
        for _ in 0..16 {
            if !self.copy() {
                break;
            }
        }
        drop(fs::remove_file(&self.path));
    }
}

fn path(layout: &Layout, instance: &str) -> PathBuf {
    layout.logs_dir().join(format!("{instance}.fifo"))
}

fn is_fifo(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_fifo())
}
