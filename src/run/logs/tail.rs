//! The last lines of a log, from its archives too; read from the end, so a large log costs nothing.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::archive::{archives, standing};
use super::follow::Cursor;
use super::rotate::{line_end, text_start};
use crate::model::layout::Layout;
use crate::model::limits::runner::{LOG_TAIL_BYTES_MAX, LOG_TAIL_LINES_MAX};

/// Bytes read at a time.
const BLOCK_BYTES: u64 = 64 * 1024;

/// The last lines of a log, oldest first: at most `lines`, of at most `bytes` in all. A last line
/// without its newline counts. No log is no lines.
pub fn tail(log: &Path, lines: usize, bytes: usize) -> io::Result<Vec<String>> {
    read(log, Wanted { lines, bytes }, false).map(|(lines, _)| lines)
}

/// The same without a last line that is not whole yet, and the cursor from which on nothing is
/// missed and nothing comes twice.
pub fn tail_then(log: &Path, lines: usize, bytes: usize) -> io::Result<(Vec<String>, Cursor)> {
    let (lines, end) = read(log, Wanted { lines, bytes }, true)?;
    Ok((lines, Cursor::at(log, end)))
}

fn read(log: &Path, mut wanted: Wanted, only_whole: bool) -> io::Result<(Vec<String>, u64)> {
    let file = match File::open(log) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), 0)),
        Err(error) => return Err(error),
    };
    let archives = archives(log)?;
    let length = file.metadata()?.len();
    let (_, copied) = standing(&archives, length);
    let start = text_start(&file, copied, length)?;
    let end = match only_whole {
        true => line_end(&file, start, length)?.unwrap_or(start),
        false => length,
    };
    let mut parts = vec![wanted.last_lines(&file, start, end)?];
    for archive in archives.iter().rev() {
        if wanted.is_met() {
            break;
        }
        // One that was removed meanwhile was too old to be kept.
        if let Ok(file) = File::open(archive.path(log)) {
            let length = file.metadata()?.len();
            parts.push(wanted.last_lines(&file, 0, length)?);
        }
    }
    parts.reverse();
    Ok((parts.concat(), end))
}

/// The last lines of an instance, as they are shown with a failure.
pub fn tail_of(layout: &Layout, instance: &str) -> Vec<String> {
    let log = layout.log_file(instance);
    tail(&log, LOG_TAIL_LINES_MAX, LOG_TAIL_BYTES_MAX).unwrap_or_default()
}

/// What is still wanted.
struct Wanted {
    lines: usize,
    bytes: usize,
}

impl Wanted {
    fn is_met(&self) -> bool {
        self.lines == 0 || self.bytes == 0
    }

    /// The last wanted lines of a range that begins with a line's start.
    fn last_lines(&mut self, file: &File, start: u64, end: u64) -> io::Result<Vec<String>> {
        let mut text: Vec<u8> = Vec::new();
        let mut from = end;
        let mut newlines = 0;
        // One newline more than lines, since the one before the first line must be seen.
        while from > start && newlines <= self.lines && text.len() <= self.bytes {
            let begin = from.saturating_sub(BLOCK_BYTES).max(start);
            let mut block = vec![0; (from - begin) as usize];
            let count = file.read_at(&mut block, begin)?;
            block.truncate(count);
            newlines += block.iter().filter(|byte| **byte == b'\n').count();
            block.append(&mut text);
            text = block;
            from = begin;
        }
        let is_cut = from > start;
        let text = text.strip_suffix(b"\n").unwrap_or(&text);
        if text.is_empty() && end == start {
            return Ok(Vec::new());
        }
        let mut lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
        if is_cut && lines.len() > 1 {
            lines.remove(0);
        }
        let mut kept = Vec::new();
        for line in lines.iter().rev() {
            if self.is_met() {
                break;
            }
            // A line longer than what may be shown is shown by its end.
            let shown = &line[line.len().saturating_sub(self.bytes)..];
            self.bytes = self.bytes.saturating_sub(shown.len() + 1);
            self.lines -= 1;
            kept.push(String::from_utf8_lossy(shown).into_owned());
        }
        kept.reverse();
        Ok(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    fn log(name: &str, text: &str) -> std::path::PathBuf {
        let dir = std::env::temp_dir().join(format!("zn-tail-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("a.log");
        std::fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn the_last_lines_are_given_with_and_without_a_last_newline() {
        let path = log("last", "a\n\nb\nc");
        assert_eq!(tail(&path, 9, 99).unwrap(), ["a", "", "b", "c"]);
        assert_eq!(tail(&path, 2, 99).unwrap(), ["b", "c"]);
        assert_eq!(tail(&path, 0, 99).unwrap(), Vec::<String>::new());
        assert_eq!(tail(&log("nl", "a\nb\n"), 1, 99).unwrap(), ["b"]);
        assert_eq!(
            tail(&log("empty", ""), 1, 99).unwrap(),
            Vec::<String>::new()
        );
        let none = Path::new("/nowhere/a.log");
        assert_eq!(tail(none, 1, 1).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_large_log_is_read_only_at_its_end() {
        let mut text = String::new();
        for line in 0..100_000 {
            writeln!(text, "{line}").unwrap();
        }
        let path = log("large", &text);
        let lines = tail(&path, 20_000, usize::MAX).unwrap();
        assert_eq!((lines.len(), lines[0].as_str()), (20_000, "80000"));
        let lines = tail(&path, 20_000, 60).unwrap();
        assert_eq!(lines.last().unwrap(), "99999");
        assert_eq!(lines.len(), 10);
    }
}
