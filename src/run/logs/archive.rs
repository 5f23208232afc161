//! The rotated parts of a log: `NAME.log.EPOCH.START-END`, where START and END are the offsets that
//! the bytes had in the log.
//!
//! The epoch grows when the log was cut short, by a person or by its program, so that offsets begin
//! at 0 again. The names sort in the order of the bytes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// One rotated part.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Archive {
    pub(super) epoch: u32,
    pub(super) start: u64,
    pub(super) end: u64,
}

impl Archive {
    /// The file of this part of a log.
    pub(super) fn path(&self, log: &Path) -> PathBuf {
        let name = log.file_name().unwrap_or_default().to_string_lossy();
        log.with_file_name(format!(
            "{name}.{:04}.{:020}-{:020}",
            self.epoch, self.start, self.end
        ))
    }

    fn parse(suffix: &str) -> Option<Self> {
        let (epoch, range) = suffix.split_once('.')?;
        let (start, end) = range.split_once('-')?;
        Some(Self {
            epoch: epoch.parse().ok()?,
            start: start.parse().ok()?,
            end: end.parse().ok()?,
        })
    }
}

/// The archives of a log, oldest first.
pub(super) fn archives(log: &Path) -> io::Result<Vec<Archive>> {
    let (Some(dir), Some(name)) = (log.parent(), log.file_name()) else {
        return Ok(Vec::new());
    };
    let prefix = format!("{}.", name.to_string_lossy());
    let mut found: Vec<Archive> = fs::read_dir(dir)?
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            Archive::parse(name.to_str()?.strip_prefix(&prefix)?)
        })
        .collect();
    found.sort();
    Ok(found)
}

/// Which epoch a log of this length is in, and where what was not rotated yet begins at the
/// earliest.
pub(super) fn standing(archives: &[Archive], length: u64) -> (u32, u64) {
    match archives.last() {
        None => (0, 0),
        Some(last) if length >= last.end => (last.epoch, last.end),
        Some(last) => (last.epoch + 1, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_as_they_are_written_and_sort_by_bytes() {
        let archive = Archive {
            epoch: 1,
            start: 5,
            end: 12_345,
        };
        let path = archive.path(Path::new("/l/a.log"));
        let name = path.file_name().unwrap().to_str().unwrap();
        assert_eq!(
            Archive::parse(name.strip_prefix("a.log.").unwrap()),
            Some(archive)
        );
        assert_eq!(Archive::parse("new"), None);
        assert_eq!(Archive::parse("1.2-x"), None);
    }

    #[test]
    fn a_log_that_became_shorter_is_in_the_next_epoch() {
        let archives = [Archive {
            epoch: 3,
            start: 0,
            end: 100,
        }];
        assert_eq!(standing(&[], 5), (0, 0));
        assert_eq!(standing(&archives, 100), (3, 100));
        assert_eq!(standing(&archives, 99), (4, 0));
    }
}
