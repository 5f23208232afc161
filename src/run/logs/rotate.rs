//! Moves whole lines from the front of a log into an archive, while its program goes on writing.
//!
//! The lines are copied to a file, the file gets its name, then a hole is punched where they were:
//! nothing is lost or kept twice, whatever dies in between, since the next rotation sees by the name
//! what is copied already. Where the file system punches no holes, the log is cut short after the
//! copy, which can lose what is written in that moment; that is said.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use super::archive::{Archive, archives, standing};

/// The hidden entry point that rotates one log: `__rotate LOG SIZE KEEP`.
pub const ROTATE_ENTRY: &str = "__rotate";

/// The longest line that is kept whole; a longer one is cut, at the size of an archive.
const LINE_BYTES_MAX: u64 = 1024 * 1024;
/// The most archives that one rotation makes; the next one goes on.
const PIECES_MAX: u32 = 1_000;
/// Bytes read at a time.
const BLOCK_BYTES: u64 = 64 * 1024;

/// What a rotation came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rotated {
    /// There is less than the size, or no whole line.
    Nothing,
    /// Another rotation of this log is under way.
    Busy,
    /// Lines were moved to this file; none were lost.
    Moved(PathBuf),
    /// The file system punches no holes: the log was cut short, and what was written in that moment
    /// may be lost.
    Cut(PathBuf),
}

/// Why a log was not rotated; what it holds is still there.
#[derive(Debug)]
pub struct RotateError {
    /// The file.
    pub path: PathBuf,
    /// What the system said.
    pub error: io::Error,
}

impl fmt::Display for RotateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot rotate `{}`: {}", self.path.display(), self.error)
    }
}

impl std::error::Error for RotateError {}

/// Rotates a log if more than `size_bytes` of it are not rotated yet, and keeps at most `keep`
/// archives.
pub fn rotate(log: &Path, size_bytes: u64, keep: u32) -> Result<Rotated, RotateError> {
    let wrap = |error| RotateError {
        path: log.to_owned(),
        error,
    };
    let file = File::options()
        .read(true)
        .write(true)
        .open(log)
        .map_err(wrap)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(Rotated::Busy),
        Err(TryLockError::Error(error)) => return Err(wrap(error)),
    }
    let mut rotated = Rotated::Nothing;
    for _ in 0..PIECES_MAX {
        let moved = moved(log, &file, size_bytes).map_err(wrap)?;
        prune(log, keep).map_err(wrap)?;
        // What was cut short holds nothing more.
        let is_last = !matches!(moved, Rotated::Moved(_));
        if moved != Rotated::Nothing {
            rotated = moved;
        }
        if is_last {
            break;
        }
    }
    Ok(rotated)
}

fn moved(log: &Path, file: &File, size_bytes: u64) -> io::Result<Rotated> {
    let length = file.metadata()?.len();
    let (epoch, copied) = standing(&archives(log)?, length);
    // What an earlier rotation copied without living to punch it.
    if copied > 0 && data_start(file, 0)? < copied {
        punch(file, copied)?;
    }
    let start = text_start(file, copied.max(data_start(file, 0)?), length)?;
    if length.saturating_sub(start) <= size_bytes {
        return Ok(Rotated::Nothing);
    }
    // An archive is no larger than the size, however much a fast program wrote since the last look:
    // so many of this size are what a log may take on disk.
    let piece = match size_bytes {
        0 => length,
        size => start.saturating_add(size).min(length),
    };
    let end = match line_end(file, start, piece)? {
        Some(end) => end,
        // One line is longer than the size: it stays whole if it ends soon enough.
        None => match first_line_end(file, piece, length.min(start + LINE_BYTES_MAX))? {
            Some(end) => end,
            None if length - start >= LINE_BYTES_MAX => piece,
            None => return Ok(Rotated::Nothing),
        },
    };
    let archive = Archive { epoch, start, end };
    copy(log, file, &archive)?;
    match punch(file, end) {
        Ok(()) => Ok(Rotated::Moved(archive.path(log))),
        Err(error) if error.raw_os_error() == Some(Errno::OPNOTSUPP.raw_os_error()) => {
            cut(log, file, &archive)
        }
        Err(error) => Err(error),
    }
}

/// The first byte that is not in a hole.
fn data_start(file: &File, from: u64) -> io::Result<u64> {
    match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(from)) {
        Ok(offset) => Ok(offset),
        // Nothing but a hole up to the end.
        Err(Errno::NXIO) => Ok(file.metadata()?.len()),
        Err(Errno::INVAL) => Ok(from),
        Err(error) => Err(error.into()),
    }
}

/// Holes are whole blocks; what was punched within a block reads as NUL, which no line begins with.
pub(super) fn text_start(file: &File, from: u64, length: u64) -> io::Result<u64> {
    let mut block = vec![0; BLOCK_BYTES as usize];
    let mut at = data_start(file, from)?;
    while at < length {
        let count = file.read_at(&mut block, at)?;
        if count == 0 {
            break;
        }
        if let Some(first) = block[..count].iter().position(|byte| *byte != 0) {
            return Ok(at + first as u64);
        }
        at = data_start(file, at + count as u64)?;
    }
    Ok(length)
}

/// Just after the last newline; the end itself where the last line is longer than any we wait for.
pub(super) fn line_end(file: &File, start: u64, length: u64) -> io::Result<Option<u64>> {
    let mut block = vec![0; BLOCK_BYTES as usize];
    let mut end = length;
    while end > start {
        let from = end.saturating_sub(BLOCK_BYTES).max(start);
        let part = &mut block[..(end - from) as usize];
        file.read_exact_at(part, from)?;
        if let Some(at) = part.iter().rposition(|byte| *byte == b'\n') {
            return Ok(Some(from + at as u64 + 1));
        }
        if length - from >= LINE_BYTES_MAX {
            return Ok(Some(length));
        }
        end = from;
    }
    Ok(None)
}

/// Just after the first newline of a range.
fn first_line_end(file: &File, from: u64, to: u64) -> io::Result<Option<u64>> {
    let mut block = vec![0; BLOCK_BYTES as usize];
    let mut at = from;
    while at < to {
        let part = &mut block[..BLOCK_BYTES.min(to - at) as usize];
        file.read_exact_at(part, at)?;
        if let Some(found) = part.iter().position(|byte| *byte == b'\n') {
            return Ok(Some(at + found as u64 + 1));
        }
        at += part.len() as u64;
    }
    Ok(None)
}

/// Copies a range to its archive, which gets its name only when it is whole.
fn copy(log: &Path, mut file: &File, archive: &Archive) -> io::Result<()> {
    let fresh = log.with_extension("log.new");
    let mut options = File::options();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut target = options.open(&fresh)?;
    file.seek(SeekFrom::Start(archive.start))?;
    let bytes = archive.end - archive.start;
    // The standard library copies inside the kernel where it can.
    let copied = io::copy(&mut file.take(bytes), &mut target)?;
    if copied != bytes {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    fs::rename(&fresh, archive.path(log))
}

fn punch(file: &File, end: u64) -> io::Result<()> {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    Ok(fallocate(file, flags, 0, end)?)
}

/// Without holes: takes along what came meanwhile, and cuts the log short.
fn cut(log: &Path, mut file: &File, archive: &Archive) -> io::Result<Rotated> {
    let path = archive.path(log);
    let mut target = File::options().append(true).open(&path)?;
    file.seek(SeekFrom::Start(archive.end))?;
    io::copy(&mut file, &mut target)?;
    file.set_len(0)?;
    Ok(Rotated::Cut(path))
}

fn prune(log: &Path, keep: u32) -> io::Result<()> {
    let all = archives(log)?;
    // The last one says how far the log was copied; with none to be kept, it is kept empty.
    let surplus = all.len().saturating_sub(keep.max(1) as usize);
    for archive in &all[..surplus] {
        fs::remove_file(archive.path(log))?;
    }
    if let (0, Some(last)) = (keep, all.last()) {
        File::options()
            .write(true)
            .truncate(true)
            .open(last.path(log))?;
    }
    Ok(())
}

/// Rotates the log that its arguments name.
pub fn rotate_main(args: &[OsString]) -> ExitCode {
    let number = |at: usize| args.get(at)?.to_str()?.parse::<u64>().ok();
    let (Some(log), Some(size), Some(keep)) = (args.first(), number(1), number(2)) else {
        return ExitCode::FAILURE;
    };
    let keep = u32::try_from(keep).unwrap_or(u32::MAX);
    let message = match rotate(Path::new(log), size, keep) {
        Ok(Rotated::Nothing | Rotated::Busy | Rotated::Moved(_)) => return ExitCode::SUCCESS,
        Ok(Rotated::Cut(path)) => format!(
            "no holes can be punched here, so `{}` may miss lines",
            path.display()
        ),
        Err(error) => error.to_string(),
    };
    // To the keeper's log; if that cannot be written there is nobody left to tell.
    drop(io::Write::write_fmt(
        &mut io::stderr(),
        format_args!("{message}\n"),
    ));
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests;
