//! PyDistributed's event files, as its own code reads and writes them: a log of records and a sparse
//! index for each, named by the offset of its first record.
//!
//! ```text
//! %020d.log    u64 offset, u64 time in nanoseconds, u32 size, data; little-endian
//! %020d.index  u32 offset from the first, u32 position; the first record, then one after 4,096 bytes
//! ```
//!
//! Reading looks at the logs alone: what its own reader could not find, since the index misled it, is
//! read too. A record that is not whole at the end of the last log was being written when its writer
//! died, and is left out; one elsewhere is damage, and so is a size that no record has, or that reaches
//! past the end over records that are there.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::file_fault::{FileFault, system};

/// The bytes after which a log ends, where nobody says.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 32;
/// The largest event.
pub const EVENT_BYTES_MAX: usize = 65_536;
/// The bytes of a record before its data.
const HEAD_BYTES: u64 = 20;
/// The bytes after which another record is in the index.
const INDEX_EVERY_BYTES: u64 = 4_096;

/// An event of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEvent {
    /// Its offset.
    pub offset: u64,
    /// When it was written, in nanoseconds since 1970.
    pub time_ns: u64,
    /// What it is.
    pub data: Bytes,
}

/// The logs of a directory by the offsets of their first records.
fn logs(dir: &Path) -> Result<Vec<(u64, PathBuf)>, FileFault> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(system(dir))? {
        let path = entry.map_err(system(dir))?.path();
        let stem = path.file_stem().and_then(|it| it.to_str());
        let is_log = path.extension().is_some_and(|it| it == "log");
        if let (true, Some(Ok(base))) = (is_log, stem.map(str::parse)) {
            found.push((base, path));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// A record at the end of the last log that its writer did not finish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    /// The log.
    pub path: PathBuf,
    /// Where it begins.
    pub at: u64,
    /// What there is of it.
    pub bytes: u64,
}

/// The offset that the first event of a directory has; nothing where there are no files.
pub fn first(dir: &Path) -> Result<Option<u64>, FileFault> {
    Ok(logs(dir)?.first().map(|(base, _)| *base))
}

/// Whether another record follows one whose size reaches past the end: such a size is damaged.
fn is_followed(rest: &[u8], next: u64) -> bool {
    let head = usize::try_from(HEAD_BYTES).expect("it is 20");
    let is_head = |bytes: &[u8]| {
        let word = |from: usize| bytes[from..].first_chunk().copied();
        word(0).map(u64::from_le_bytes) == Some(next)
            && bytes[16..]
                .first_chunk()
                .is_some_and(|size| u32::from_le_bytes(*size) as usize <= EVENT_BYTES_MAX)
    };
    rest.windows(head).any(is_head)
}

/// Reads all events of a directory in their order. Gives what was left out at the end.
pub fn each<E>(
    dir: &Path,
    mut with: impl FnMut(FileEvent) -> Result<(), E>,
) -> Result<Result<Option<Torn>, E>, FileFault> {
    let logs = logs(dir)?;
    let (mut next, mut torn) = (None, None);
    for (place, (base, path)) in logs.iter().enumerate() {
        let is_last = place + 1 == logs.len();
        let length = fs::metadata(path).map_err(system(path))?.len();
        let mut file = BufReader::new(File::open(path).map_err(system(path))?);
        let mut at = 0;
        let damaged = |at| {
            let path = path.clone();
            Err(FileFault::Damaged { path, at })
        };
        if next.is_some_and(|next| next != *base) {
            return damaged(0);
        }
        let mut wanted = *base;
        while at < length {
            let mut head = [0; 20];
            let left = Torn {
                path: path.clone(),
                at,
                bytes: length - at,
            };
            if left.bytes < HEAD_BYTES {
                if !is_last {
                    return damaged(at);
                }
                torn = Some(left);
                break;
            }
            file.read_exact(&mut head).map_err(system(path))?;
            let word =
                |from: usize| u64::from_le_bytes(*head[from..].first_chunk().expect("of 20"));
            let size = u64::from(u32::from_le_bytes(
                *head[16..].first_chunk().expect("of 20"),
            ));
            if word(0) != wanted || size > EVENT_BYTES_MAX as u64 {
                return damaged(at);
            }
            if left.bytes - HEAD_BYTES < size {
                // Less than an event may have is left of the file.
                let mut rest = Vec::new();
                file.read_to_end(&mut rest).map_err(system(path))?;
                if !is_last || is_followed(&rest, wanted + 1) {
                    return damaged(at);
                }
                torn = Some(left);
                break;
            }
            let mut data = vec![0; usize::try_from(size).expect("it is at most 65,536")];
            file.read_exact(&mut data).map_err(system(path))?;
            let event = FileEvent {
                offset: wanted,
                time_ns: word(8),
                data: data.into(),
            };
            if let Err(error) = with(event) {
                return Ok(Err(error));
            }
            wanted += 1;
            at += HEAD_BYTES + size;
        }
        next = Some(wanted);
    }
    Ok(Ok(torn))
}

/// Writes event files.
pub struct Writer {
    dir: PathBuf,
    segment_bytes_max: u64,
    next: u64,
    open: Option<Segment>,
    /// What was begun and goes again unless all of it is kept.
    begun: Vec<PathBuf>,
}

impl Drop for Writer {
    fn drop(&mut self) {
        // A part of the events would pass for all of them, and stand in the way of the next try.
        for path in &self.begun {
            fs::remove_file(path).ok();
        }
    }
}

struct Segment {
    base: u64,
    path: PathBuf,
    log: BufWriter<File>,
    index: BufWriter<File>,
    bytes: u64,
    /// The bytes that there were with the record that is in the index last.
    indexed: Option<u64>,
}

impl Writer {
    /// Begins with an offset, in a directory without any event files, which is made if need be.
    pub fn create(dir: &Path, first: u64, segment_bytes_max: u64) -> Result<Self, FileFault> {
        fs::create_dir_all(dir).map_err(system(dir))?;
        if !logs(dir)?.is_empty() {
            return Err(FileFault::NotEmpty(dir.to_owned()));
        }
        Ok(Self {
            dir: dir.to_owned(),
            segment_bytes_max,
            next: first,
            open: None,
            begun: Vec::new(),
        })
    }

    /// Adds an event.
    pub fn add(&mut self, time_ns: u64, data: &[u8]) -> Result<(), FileFault> {
        let too_large = |bytes: u64, max: u64| FileFault::TooLarge {
            offset: self.next,
            bytes,
            max,
        };
        let (size, record) = (data.len() as u64, data.len() as u64 + HEAD_BYTES);
        if data.len() > EVENT_BYTES_MAX {
            return Err(too_large(size, EVENT_BYTES_MAX as u64));
        }
        if record > self.segment_bytes_max {
            return Err(too_large(
                size,
                self.segment_bytes_max.saturating_sub(HEAD_BYTES),
            ));
        }
        let is_full = |open: &Segment| open.bytes + record > self.segment_bytes_max;
        if self.open.as_ref().is_some_and(is_full) {
            self.close()?;
        }
        let open = match &mut self.open {
            Some(open) => open,
            None => {
                let begun = Segment::begin(&self.dir, self.next, &mut self.begun)?;
                self.open.insert(begun)
            }
        };
        open.add(self.next, time_ns, data)?;
        self.next += 1;
        Ok(())
    }

    /// Has the disk keep all of it. What is not finished is removed.
    pub fn finish(mut self) -> Result<(), FileFault> {
        self.close()?;
        self.begun.clear();
        Ok(())
    }

    fn close(&mut self) -> Result<(), FileFault> {
        let Some(mut open) = self.open.take() else {
            return Ok(());
        };
        for file in [&mut open.log, &mut open.index] {
            let flushed = file.flush().and_then(|()| file.get_ref().sync_all());
            flushed.map_err(system(&open.path))?;
        }
        let dir = File::open(&self.dir).and_then(|dir| dir.sync_all());
        dir.map_err(system(&self.dir))
    }
}

impl Segment {
    fn begin(dir: &Path, base: u64, begun: &mut Vec<PathBuf>) -> Result<Self, FileFault> {
        let path = |ending: &str| dir.join(format!("{base:020}.{ending}"));
        let mut create = |path: &Path| {
            let file = File::create_new(path).map_err(system(path))?;
            begun.push(path.to_owned());
            Ok(file)
        };
        let log = path("log");
        Ok(Self {
            base,
            log: BufWriter::new(create(&log)?),
            index: BufWriter::new(create(&path("index"))?),
            path: log,
            bytes: 0,
            indexed: None,
        })
    }

    fn add(&mut self, offset: u64, time_ns: u64, data: &[u8]) -> Result<(), FileFault> {
        let size = u32::try_from(data.len()).expect("it is at most 65,536");
        let start = self.bytes;
        let mut write = || -> io::Result<()> {
            self.log.write_all(&offset.to_le_bytes())?;
            self.log.write_all(&time_ns.to_le_bytes())?;
            self.log.write_all(&size.to_le_bytes())?;
            self.log.write_all(data)?;
            self.bytes += HEAD_BYTES + u64::from(size);
            let is_due = |indexed: u64| self.bytes > indexed + INDEX_EVERY_BYTES;
            if self.indexed.is_none_or(is_due) {
                let relative = u32::try_from(offset - self.base).unwrap_or(u32::MAX);
                let position = u32::try_from(start).unwrap_or(u32::MAX);
                self.index.write_all(&relative.to_le_bytes())?;
                self.index.write_all(&position.to_le_bytes())?;
                self.indexed = Some(self.bytes);
            }
            Ok(())
        };
        write().map_err(system(&self.path))
    }
}

#[cfg(test)]
#[path = "pydistributed_tests.rs"]
mod tests;
