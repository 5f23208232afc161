//! The writing half of a log: one owner, one thread.
//!
//! A group of entries is written at once, synced once, and only then may be read. What fails on the
//! way leaves nothing behind: where that cannot be made sure, nothing is taken any more.

use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;

use crate::model::limits::store::{CHECKPOINT_BYTES_MAX, CHECKPOINT_EVERY_BYTES};
use crate::model::store::{Entry, Rope, StoreFault, Stored};

use super::batch::{self, Head};
use super::checkpoint;
use super::files::{File, Files};
use super::index::{self, End, Index, Mark};
use super::mark::Settled;
use super::segment::{HEADER_BYTES, Header};
use super::view::{Active, Health, Sealed, Shared, fault, held};

/// How a log is kept.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// Whether what is written is synced before it counts.
    pub syncs: bool,
    /// What is older goes, in nanoseconds.
    pub retain_ns: Option<u64>,
    /// With more bytes the oldest go.
    pub retain_bytes: Option<u64>,
    /// With as many bytes nothing more is taken.
    pub bytes_max: Option<u64>,
    /// After so many bytes a segment ends.
    pub segment_bytes: u64,
}

/// The time, in nanoseconds since 1970.
pub type Clock = Box<dyn Fn() -> u64 + Send>;

/// A log that is open for writing.
pub struct Log {
    pub(super) shared: Arc<Shared>,
    pub(super) config: LogConfig,
    pub(super) clock: Clock,
    pub(super) active: Arc<Active>,
    /// Where the next batch is written.
    pub(super) at: u64,
    pub(super) next_seq: u64,
    pub(super) next_offset: u64,
    /// When the last batch was stored: no later one is older.
    pub(super) last_time_ns: u64,
    /// How far the time is ahead of the clock, where that was behind what is stored.
    pub(super) ahead_ns: u64,
    pub(super) mark: Settled,
    /// The last batch that a checkpoint contains, and how large that is.
    pub(super) through: Option<u64>,
    pub(super) checkpoint_bytes: u64,
    /// Bytes stored since.
    pub(super) since_bytes: u64,
    pub(super) is_due: bool,
    /// Whether a segment ended since somebody asked.
    pub(super) has_rolled: bool,
    /// A group as bytes; kept for its memory.
    pub(super) buffer: Vec<u8>,
}

/// What a segment is called before its header is on the disk.
const TEMPORARY: &str = "segment.tmp";

/// Makes a segment whose name and header are on the disk.
pub(super) fn begin(files: &dyn Files, header: Header) -> io::Result<Arc<Active>> {
    let file = files.create(TEMPORARY)?;
    file.write_at(&header.encode(), 0)?;
    file.sync()?;
    files.rename(TEMPORARY, &header.name())?;
    files.sync_dir()?;
    Ok(Arc::new(Active {
        header,
        file,
        index: Mutex::new(Index::default()),
        readable: AtomicU64::new(HEADER_BYTES),
    }))
}

impl Log {
    /// Stores entries, all of them or none, and says where they are.
    pub fn write(&mut self, entries: &[Entry]) -> Result<Vec<Stored>, StoreFault> {
        if let Some(refusal) = self.shared.refusal() {
            return Err(refusal);
        }
        let bytes: usize = entries.iter().map(batch::bytes_of).sum();
        let bytes = bytes as u64;
        if !entries.iter().all(batch::fits) {
            return Err(StoreFault::TooLarge);
        }
        let max = self.config.bytes_max;
        if max.is_some_and(|max| self.bytes() + bytes > max) {
            return Err(StoreFault::AtMax);
        }
        if self.at > HEADER_BYTES && self.at + bytes > self.config.segment_bytes {
            self.roll()?;
        }
        let (marks, end) = self.encode(entries);
        self.put(&end)?;
        self.since_bytes += bytes;
        let mut index = held(&self.active.index);
        let stored = marks.into_iter().map(|mark| {
            index.note_at(mark);
            Stored {
                seq: mark.seq,
                first_offset: mark.offset,
                time_ns: mark.time_ns,
            }
        });
        Ok(stored.collect())
    }

    /// Writes what is in the buffer, syncs it and lets it be read.
    fn put(&mut self, end: &End) -> Result<(), StoreFault> {
        let file = &self.active.file;
        if let Err(error) = file.write_at(&self.buffer, self.at) {
            return Err(self.unwritten(&error));
        }
        if self.config.syncs
            && let Err(error) = file.sync()
        {
            // What the disk has now nobody knows: a second sync would say that all is well.
            let why = format!("syncing: {error}");
            self.shared.worsen(Health::Failed(why.clone()));
            return Err(StoreFault::Failed(why));
        }
        (self.at, self.next_seq) = (end.bytes, end.seq);
        (self.next_offset, self.last_time_ns) = (end.offset, end.time_ns);
        if self.config.syncs {
            self.mark.put(self.active.header.first_seq, end);
        }
        self.active.release(self.at);
        self.shared.show(|view| view.end = end.offset);
        Ok(())
    }

    /// What was written in part is taken back.
    fn unwritten(&self, error: &io::Error) -> StoreFault {
        let fault = fault("writing", error);
        let is_back = self.active.file.truncate(self.at).is_ok();
        if fault == StoreFault::NoSpace && is_back {
            return fault;
        }
        let why = format!("writing: {error}");
        self.shared.worsen(Health::Failed(why.clone()));
        StoreFault::Failed(why)
    }

    /// Puts entries into the buffer as batches. Says where each is, and how the segment ends then.
    fn encode(&mut self, entries: &[Entry]) -> (Vec<Mark>, End) {
        self.buffer.clear();
        let now = self.now_ns();
        let mut end = self.end();
        let mut marks = Vec::with_capacity(entries.len());
        for entry in entries {
            // Records that bring their times, an import's, are as old as those say. What lies ahead is
            // theirs alone: what comes after them is not stored at a time that is still to come.
            let given = entry.records.first().and_then(|it| it.time_ns);
            let time_ns = given.unwrap_or(now).min(now).max(end.time_ns);
            let head = Head {
                log: self.shared.log,
                seq: end.seq,
                first_offset: end.offset,
                time_ns,
                settled: self.at,
            };
            batch::encode(&mut self.buffer, &head, entry);
            marks.push(Mark {
                seq: end.seq,
                offset: end.offset,
                time_ns,
                at: end.bytes,
            });
            end = End {
                seq: end.seq + 1,
                offset: end.offset + entry.records.len() as u64,
                time_ns,
                bytes: self.at + self.buffer.len() as u64,
            };
        }
        (marks, end)
    }

    /// The time, in nanoseconds since 1970: never before the last batch, and as even as the clock.
    pub fn now_ns(&self) -> u64 {
        (self.clock)().saturating_add(self.ahead_ns)
    }

    /// Goes on with the time from what is stored, where the clock is behind it.
    pub(super) fn catch_up(&mut self) {
        self.ahead_ns = self.last_time_ns.saturating_sub((self.clock)());
    }

    /// How the active segment ends now.
    pub(super) fn end(&self) -> End {
        End {
            seq: self.next_seq,
            offset: self.next_offset,
            time_ns: self.last_time_ns,
            bytes: self.at,
        }
    }

    /// All its bytes, the headers of segments included.
    pub fn bytes(&self) -> u64 {
        let view = self.shared.view();
        view.sealed.iter().map(|it| it.end.bytes).sum::<u64>() + self.at
    }

    /// Ends the active segment and begins another.
    fn roll(&mut self) -> Result<(), StoreFault> {
        // Without a promise of syncing too: only the last segment may ever have a torn tail.
        if !self.config.syncs
            && let Err(error) = self.active.file.sync()
        {
            let why = format!("syncing: {error}");
            self.shared.worsen(Health::Failed(why.clone()));
            return Err(StoreFault::Failed(why));
        }
        let header = Header {
            log: self.shared.log,
            first_seq: self.next_seq,
            first_offset: self.next_offset,
            time_ns: self.last_time_ns,
        };
        let next = self.begin_segment(header)?;
        let sealed = Sealed {
            header: self.active.header,
            end: self.end(),
        };
        let index = held(&self.active.index).clone();
        write_index(&*self.shared.files, &index, &sealed);
        self.active = Arc::clone(&next);
        self.at = HEADER_BYTES;
        // Its name and its header are on the disk: if it is ever missed, somebody took it away.
        self.mark.put(header.first_seq, &self.end());
        self.has_rolled = true;
        self.shared.show(|view| {
            view.sealed = view.sealed.iter().copied().chain([sealed]).collect();
            view.active = next;
        });
        Ok(())
    }

    fn begin_segment(&self, header: Header) -> Result<Arc<Active>, StoreFault> {
        begin(&*self.shared.files, header).map_err(|error| {
            self.shared.files.remove(TEMPORARY).ok();
            let fault = fault("beginning a segment", &error);
            if let StoreFault::Failed(why) = &fault {
                self.shared.worsen(Health::Failed(why.clone()));
            }
            fault
        })
    }

    /// Has a log that nothing was ever stored in begin at an offset: its only segment, which has no
    /// batch, gives way to one that begins there.
    pub fn begin_at(&mut self, offset: u64) -> Result<Stored, StoreFault> {
        if let Some(refusal) = self.shared.refusal() {
            return Err(refusal);
        }
        let is_new = self.next_seq == 0 && self.shared.view().sealed.is_empty();
        if !is_new {
            return Err(StoreFault::Begun);
        }
        let header = Header {
            first_offset: offset,
            ..self.active.header
        };
        let next = self.begin_segment(header)?;
        self.active = Arc::clone(&next);
        self.next_offset = offset;
        self.shared.show(|view| {
            view.active = next;
            (view.start, view.end) = (offset, offset);
        });
        Ok(Stored {
            seq: 0,
            first_offset: offset,
            time_ns: self.last_time_ns,
        })
    }

    /// Whether a segment ended since this was asked last.
    pub fn has_rolled(&mut self) -> bool {
        std::mem::take(&mut self.has_rolled)
    }

    /// Whether the role should say what it knows: once for each time it is due.
    pub fn is_checkpoint_due(&mut self) -> bool {
        let every = CHECKPOINT_EVERY_BYTES.max(self.checkpoint_bytes);
        if self.is_due || self.since_bytes < every {
            return false;
        }
        self.is_due = true;
        true
    }

    /// Keeps what a role knows of all batches up to one.
    #[cfg(test)]
    pub(super) fn checkpoint(&mut self, through: u64, data: &Rope) -> Result<(), StoreFault> {
        self.begin_checkpoint(data)?;
        let files = Arc::clone(&self.shared.files);
        write_checkpoint(&*files, self.shared.log, through, data)?;
        self.end_checkpoint(through, data.len() as u64);
        Ok(())
    }

    /// Looks whether what a role knows can be kept now; what is stored already is on the disk then.
    pub(super) fn begin_checkpoint(&mut self, data: &Rope) -> Result<(), StoreFault> {
        self.is_due = false;
        // Done or not, the next one comes after as much again: a full disk is not filled by trying.
        self.since_bytes = 0;
        if let Some(refusal) = self.shared.refusal() {
            return Err(refusal);
        }
        if data.len() > CHECKPOINT_BYTES_MAX {
            return Err(StoreFault::TooLarge);
        }
        let synced = match self.config.syncs {
            true => Ok(()),
            // It must not know of more than the log has after a power cut.
            false => self.active.file.sync(),
        };
        synced.map_err(|error| fault("writing a checkpoint", &error))
    }

    /// A checkpoint is on the disk: what it contains may be removed.
    pub(super) fn end_checkpoint(&mut self, through: u64, bytes: u64) {
        self.through = Some(through);
        self.checkpoint_bytes = bytes;
    }

    /// Removes what is too old or too much. Whether more would go if a checkpoint contained it.
    pub fn retain(&mut self) -> bool {
        let now = self.now_ns();
        let oldest = self.config.retain_ns.map(|age| now.saturating_sub(age));
        let is_old = |end: &End| oldest.is_some_and(|oldest| end.time_ns < oldest);
        if self.at > HEADER_BYTES && is_old(&self.end()) && self.shared.refusal().is_none() {
            // Where there is no space for another segment, it is for another time.
            self.roll().ok();
        }
        let mut excess = match self.config.retain_bytes {
            Some(max) => self.bytes().saturating_sub(max),
            None => 0,
        };
        self.remove_while(|end| {
            let goes = excess > 0 || is_old(end);
            excess = excess.saturating_sub(end.bytes);
            goes
        })
    }

    /// Removes segments whose records are all before an offset.
    pub fn trim(&mut self, before: u64) -> bool {
        self.remove_while(|end| end.offset <= before)
    }

    /// Removes the oldest segments while they go and a checkpoint contains them. Whether one stayed
    /// for the sake of a checkpoint.
    fn remove_while(&mut self, mut goes: impl FnMut(&End) -> bool) -> bool {
        let sealed = self.shared.view().sealed;
        let mut count = 0;
        let mut is_kept = false;
        for segment in sealed.iter() {
            if !goes(&segment.end) {
                break;
            }
            // The batch before the end is its last one.
            if self
                .through
                .is_none_or(|through| through + 1 < segment.end.seq)
            {
                is_kept = true;
                break;
            }
            count += 1;
        }
        if count == 0 {
            return is_kept;
        }
        let next = sealed.get(count).map(|it| it.header);
        let start = next.unwrap_or(self.active.header).first_offset;
        self.shared.show(|view| {
            view.sealed = sealed[count..].into();
            view.start = start;
        });
        for segment in &sealed[..count] {
            // What cannot be removed now is removed after the next start.
            let files = &self.shared.files;
            files.remove(&segment.header.name()).ok();
            files.remove(&index::name(segment.header.first_seq)).ok();
        }
        self.shared.files.sync_dir().ok();
        is_kept
    }

    /// Its files and its number.
    pub(super) fn files(&self) -> (Arc<dyn Files>, u64) {
        (Arc::clone(&self.shared.files), self.shared.log)
    }

    /// After how many bytes a segment ends.
    pub(super) fn segment_bytes(&self) -> usize {
        usize::try_from(self.config.segment_bytes).unwrap_or(usize::MAX)
    }

    /// A reader of it, for any thread.
    pub fn reader(&self) -> super::Reader {
        super::Reader::new(Arc::clone(&self.shared))
    }

    /// Whether it is well.
    pub fn health(&self) -> Health {
        self.shared.health()
    }
}

/// Writes a checkpoint. It shares nothing with the segments: any thread may, one at a time.
pub(super) fn write_checkpoint(
    files: &dyn Files,
    log: u64,
    through: u64,
    data: &Rope,
) -> Result<(), StoreFault> {
    let written = checkpoint::write(files, log, through, data);
    written.map_err(|error| fault("writing a checkpoint", &error))
}

/// Writes the index of a sealed segment. It can be made again, so that it may fail.
pub(super) fn write_index(files: &dyn Files, index: &Index, sealed: &Sealed) {
    let Header { log, first_seq, .. } = sealed.header;
    let bytes = index.encode(log, first_seq, sealed.end);
    let name = index::name(first_seq);
    let write = |file: Arc<dyn File>| file.write_at(&bytes, 0);
    if files.create(&name).and_then(write).is_err() {
        files.remove(&name).ok();
    }
}
