//! The lines that come, from several logs at once, each line whole and in its log's order.
//!
//! A cursor is an offset in a log, which rotation does not change: what was rotated away before it
//! was read is read from its archive. A reader that is slower than `keep` archives misses what they
//! held, and reads on.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};

use super::archive::archives;
use super::rotate::text_start;

/// Bytes read from a log before the others get their turn.
const TURN_BYTES: usize = 256 * 1024;
/// A line longer than this is given in parts.
const LINE_BYTES_MAX: usize = 1024 * 1024;

/// Where a reader stands in a log.
#[derive(Debug)]
pub struct Cursor {
    log: PathBuf,
    offset: u64,
    half: Vec<u8>,
}

impl Cursor {
    /// At the end of what a log holds now; at the start of one that is not there yet.
    pub fn at_end(log: &Path) -> Self {
        Self::at(log, std::fs::metadata(log).map_or(0, |meta| meta.len()))
    }

    /// At an offset that is a line's start.
    pub fn at(log: &Path, offset: u64) -> Self {
        Self {
            offset,
            log: log.to_owned(),
            half: Vec::new(),
        }
    }

    /// The whole lines that came since, and whether there may be more already.
    pub fn read(&mut self) -> io::Result<(Vec<String>, bool)> {
        let mut chunk = vec![0; TURN_BYTES];
        let count = self.chunk(&mut chunk)?;
        self.half.extend_from_slice(&chunk[..count]);
        self.offset += count as u64;
        let mut lines = Vec::new();
        let mut used = 0;
        while let Some(at) = self.half[used..].iter().position(|byte| *byte == b'\n') {
            lines.push(text(&self.half[used..used + at]));
            used += at + 1;
        }
        if used == 0 && self.half.len() > LINE_BYTES_MAX {
            used = self.half.len();
            lines.push(text(&self.half));
        }
        self.half.drain(..used);
        Ok((lines, count > 0))
    }

    /// The next bytes, wherever they are by now.
    fn chunk(&mut self, chunk: &mut [u8]) -> io::Result<usize> {
        let file = match File::open(&self.log) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(error),
        };
        let length = file.metadata()?.len();
        if length < self.offset {
            // It was emptied.
            self.offset = 0;
            self.half.clear();
        }
        let count = file.read_at(chunk, self.offset)?;
        if chunk[..count].first() != Some(&0) {
            // A hole may begin within what was read only if it was punched just now.
            let clean = chunk[..count].iter().position(|byte| *byte == 0);
            return Ok(clean.unwrap_or(count));
        }
        let rotated = archives(&self.log)?
            .into_iter()
            .rev()
            .find(|archive| (archive.start..archive.end).contains(&self.offset));
        if let Some(archive) = rotated {
            let file = File::open(archive.path(&self.log))?;
            return file.read_at(chunk, self.offset - archive.start);
        }
        self.offset = text_start(&file, self.offset, length)?;
        file.read_at(chunk, self.offset)
    }
}

fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line).into_owned()
}

/// Wakes up when a log in a directory changes.
#[derive(Debug)]
pub struct Follower {
    inotify: Option<OwnedFd>,
}

impl Follower {
    /// Watches a directory; where the system has no watches left, it looks ten times a second.
    pub fn new(dir: &Path) -> Self {
        let flags = WatchFlags::MODIFY | WatchFlags::CREATE;
        let inotify = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)
            .ok()
            .filter(|fd| add_watch(fd, dir, flags).is_ok());
        Self { inotify }
    }

    /// Waits until a log may have changed, a second at most.
    pub fn wait(&self) {
        let Some(fd) = &self.inotify else {
            std::thread::sleep(Duration::from_millis(100));
            return;
        };
        let second = Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        };
        // A signal that interrupts is answered at once, and after a quiet second the logs are looked at.
        if !poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&second)).is_ok_and(|ready| ready > 0)
        {
            return;
        }
        let mut events = [0; 16 * 1024];
        while rustix::io::read(fd, &mut events).is_ok_and(|count| count > 0) {}
        // A flood of small writes is read in batches.
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::logs::rotate::rotate;
    use std::io::Write;

    #[test]
    fn a_cursor_reads_on_through_rotation_and_waits_for_whole_lines() {
        let dir = std::env::temp_dir().join(format!("zn-follow-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&dir));
        std::fs::create_dir_all(&dir).unwrap();
        let log = dir.join("a.log");
        let mut cursor = Cursor::at_end(&log);
        assert_eq!(cursor.read().unwrap().0, Vec::<String>::new());
        let mut file = File::options()
            .append(true)
            .create(true)
            .open(&log)
            .unwrap();
        write!(file, "a\nb\nha").unwrap();
        assert_eq!(cursor.read().unwrap().0, ["a", "b"]);
        write!(file, "lf\nc\n").unwrap();
        rotate(&log, 0, 3).unwrap();
        writeln!(file, "d").unwrap();
        let mut lines = Vec::new();
        while lines.len() < 3 {
            lines.extend(cursor.read().unwrap().0);
        }
        assert_eq!(lines, ["half", "c", "d"]);
        file.set_len(0).unwrap();
        writeln!(file, "e").unwrap();
        assert_eq!(cursor.read().unwrap().0, ["e"]);
    }
}
