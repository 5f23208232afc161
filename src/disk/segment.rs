//! A segment: a header, then batches without a gap. What it is called, how it begins, how it is read
//! from one end to the other. `docs/formats.md` has the table.

use std::io;

use bytes::Bytes;

use crate::model::limits::store::BATCH_BYTES_MAX;

use super::batch::{self, Found, MAGIC as BATCH_MAGIC, Parsed, u32_at, u64_at};
use super::files::File;

/// The bytes of a segment's header.
pub(super) const HEADER_BYTES: u64 = 64;
/// The version of the format.
pub(super) const VERSION: u32 = 1;
const MAGIC: [u8; 8] = *b"ZMQNLOG\n";
/// What the name of a segment ends with.
const SUFFIX: &str = ".seg";
/// How much is read at a time.
const CHUNK_BYTES: usize = 256 * 1024;

/// What a segment's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// The number of its log, drawn when the log was made.
    pub(super) log: u64,
    /// The number of its first batch.
    pub(super) first_seq: u64,
    /// The offset of its first record.
    pub(super) first_offset: u64,
    /// When it was made, in nanoseconds since 1970, and never before the last batch.
    pub(super) time_ns: u64,
}

/// Why a segment's header cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeaderFault {
    /// It is not whole, or not right.
    Bad,
    /// It was written by a newer version than this one.
    Version(u32),
}

impl Header {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&64_u32.to_le_bytes());
        for word in [self.log, self.first_seq, self.first_offset, self.time_ns] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.resize(60, 0);
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, HeaderFault> {
        if bytes.len() < 64 || bytes[..8] != MAGIC {
            return Err(HeaderFault::Bad);
        }
        if crc32c::crc32c(&bytes[..60]) != u32_at(bytes, 60) {
            return Err(HeaderFault::Bad);
        }
        match u32_at(bytes, 8) {
            VERSION => Ok(Self {
                log: u64_at(bytes, 16),
                first_seq: u64_at(bytes, 24),
                first_offset: u64_at(bytes, 32),
                time_ns: u64_at(bytes, 40),
            }),
            other => Err(HeaderFault::Version(other)),
        }
    }

    pub(super) fn read(file: &dyn File) -> io::Result<Result<Self, HeaderFault>> {
        let mut bytes = [0; 64];
        let got = file.read_at(&mut bytes, 0)?;
        Ok(Self::decode(&bytes[..got]))
    }

    /// The name of the segment's file.
    pub(super) fn name(&self) -> String {
        name(self.first_seq)
    }
}

/// The name of the segment that begins with a batch.
pub(super) fn name(first_seq: u64) -> String {
    format!("{first_seq:020}{SUFFIX}")
}

/// The first batch of a segment, by its name; nothing where it is no segment's.
pub(super) fn first_seq(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX)?;
    let is_ours = digits.len() == 20 && digits.bytes().all(|it| it.is_ascii_digit());
    is_ours.then(|| digits.parse().ok()).flatten()
}

/// Where a walk through a segment is, and what comes there.
pub(super) enum Step {
    /// A batch, and where it begins.
    Batch(u64, Found),
    /// The end: nothing comes.
    End,
    /// Something that is no whole and right batch; the walk goes no further.
    Bad,
}

/// A walk from batch to batch.
pub(super) struct Walk<'a> {
    file: &'a dyn File,
    log: u64,
    at: u64,
    end: u64,
    /// What was read and is not walked through yet.
    chunk: Bytes,
}

impl<'a> Walk<'a> {
    /// Begins at a position, where a batch begins, and ends before another.
    pub(super) fn new(file: &'a dyn File, log: u64, at: u64, end: u64) -> Self {
        Self {
            file,
            log,
            at,
            end,
            chunk: Bytes::new(),
        }
    }

    /// Where the next batch begins.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    fn read(&mut self, want: usize) -> io::Result<()> {
        let left = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; want.max(CHUNK_BYTES).min(left)];
        let got = self.file.read_at(&mut bytes, self.at)?;
        bytes.truncate(got);
        self.chunk = bytes.into();
        Ok(())
    }

    /// The next step.
    pub(super) fn next(&mut self) -> io::Result<Step> {
        if self.at >= self.end {
            return Ok(Step::End);
        }
        if self.chunk.is_empty() {
            self.read(0)?;
        }
        let mut parsed = batch::parse(&self.chunk, self.log);
        if let Parsed::Short(want) = parsed
            && (self.chunk.len() as u64) < self.end - self.at
        {
            self.read(want)?;
            parsed = batch::parse(&self.chunk, self.log);
            // A head that ended with the chunk says only now how long its batch is.
            if let Parsed::Short(want) = parsed
                && want > self.chunk.len()
            {
                self.read(want)?;
                parsed = batch::parse(&self.chunk, self.log);
            }
        }
        match parsed {
            Parsed::Whole(found) => {
                let at = self.at;
                self.chunk = self.chunk.slice(found.bytes..);
                self.at += found.bytes as u64;
                Ok(Step::Batch(at, found))
            }
            Parsed::Short(_) | Parsed::Bad => Ok(Step::Bad),
        }
    }
}

/// The next batch after a damaged place, and where it begins: one with a later number than `seq`.
pub(super) fn find_after(
    file: &dyn File,
    log: u64,
    (from, end): (u64, u64),
    seq: u64,
) -> io::Result<Option<(u64, Found)>> {
    let mut at = from;
    let mut chunk = vec![0; CHUNK_BYTES];
    while at < end {
        let want = usize::try_from(end - at).map_or(CHUNK_BYTES, |left| left.min(CHUNK_BYTES));
        let got = file.read_at(&mut chunk[..want], at)?;
        let magics = chunk[..got].windows(4).enumerate();
        for (place, _) in magics.filter(|(_, four)| *four == BATCH_MAGIC) {
            let begin = at + place as u64;
            if let Some(found) = whole_at(file, log, (begin, end))?
                && found.batch.seq > seq
            {
                return Ok(Some((begin, found)));
            }
        }
        // A magic may lie across two chunks.
        if got < 4 {
            break;
        }
        at += (got - 3) as u64;
    }
    Ok(None)
}

/// The batch at a position, if there is a whole one.
fn whole_at(file: &dyn File, log: u64, (at, end): (u64, u64)) -> io::Result<Option<Found>> {
    let mut want = batch::HEAD_BYTES;
    for _ in 0..2 {
        let left = usize::try_from(end - at).unwrap_or(usize::MAX);
        if want > left.min(BATCH_BYTES_MAX) {
            return Ok(None);
        }
        let mut bytes = vec![0; want];
        let got = file.read_at(&mut bytes, at)?;
        bytes.truncate(got);
        match batch::parse(&bytes.into(), log) {
            Parsed::Whole(found) => return Ok(Some(found)),
            Parsed::Short(more) => want = more,
            Parsed::Bad => return Ok(None),
        }
    }
    Ok(None)
}
