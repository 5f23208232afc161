//! The sparse index of a segment: where some of its batches begin, so that a read need not begin at
//! its beginning. It is made of the segment, and can be made again.

use crate::model::limits::store::INDEX_EVERY_BYTES;
use crate::model::store::{Batch, Start};

use super::batch::{u32_at, u64_at};
use super::segment::{HEADER_BYTES, VERSION};

const MAGIC: [u8; 8] = *b"ZMQNIDX\n";
const HEAD_BYTES: usize = 72;
const ENTRY_BYTES: usize = 32;

/// Where a batch begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) seq: u64,
    pub(super) offset: u64,
    pub(super) time_ns: u64,
    pub(super) at: u64,
}

/// The index of one segment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Index {
    marks: Vec<Mark>,
}

/// How a segment ends, which the index of a sealed one says too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    /// The number of the batch after its last.
    pub(super) seq: u64,
    /// The offset after its last record.
    pub(super) offset: u64,
    /// When its last batch was stored.
    pub(super) time_ns: u64,
    /// Its length in bytes.
    pub(super) bytes: u64,
}

impl Index {
    /// Takes note of a batch, if the last noted one is far enough away.
    pub(super) fn note(&mut self, batch: &Batch, at: u64) {
        self.note_at(Mark {
            seq: batch.seq,
            offset: batch.first_offset,
            time_ns: batch.time_ns,
            at,
        });
    }

    pub(super) fn note_at(&mut self, mark: Mark) {
        let is_due = |last: &Mark| mark.at - last.at >= INDEX_EVERY_BYTES;
        if self.marks.last().is_none_or(is_due) {
            self.marks.push(mark);
        }
    }

    /// Where to begin to read for what is wanted: never after it.
    pub(super) fn before(&self, start: Start) -> u64 {
        let after = match start {
            Start::Offset(wanted) => self.marks.partition_point(|it| it.offset <= wanted),
            // Several batches may be of one time.
            Start::Time(wanted) => self.marks.partition_point(|it| it.time_ns < wanted),
        };
        let mark = after.checked_sub(1).and_then(|last| self.marks.get(last));
        mark.map_or(HEADER_BYTES, |mark| mark.at)
    }

    /// Where to begin to read for a batch: never after it.
    pub(super) fn before_seq(&self, seq: u64) -> u64 {
        let after = self.marks.partition_point(|it| it.seq <= seq);
        let mark = after.checked_sub(1).and_then(|last| self.marks.get(last));
        mark.map_or(HEADER_BYTES, |mark| mark.at)
    }

    /// Its file.
    pub(super) fn encode(&self, log: u64, first_seq: u64, end: End) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        let count = u32::try_from(self.marks.len()).expect("a segment has not that many batches");
        bytes.extend_from_slice(&count.to_le_bytes());
        let words = [
            log,
            first_seq,
            end.seq,
            end.offset,
            end.time_ns,
            end.bytes,
            0,
        ];
        for word in words {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        for mark in &self.marks {
            for word in [mark.seq, mark.offset, mark.time_ns, mark.at] {
                bytes.extend_from_slice(&word.to_le_bytes());
            }
        }
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        bytes
    }

    /// Reads its file; nothing where that is not whole, not right, or of another segment.
    pub(super) fn decode(bytes: &[u8], log: u64, first_seq: u64) -> Option<(Self, End)> {
        let body = bytes.len().checked_sub(4)?;
        if body < HEAD_BYTES
            || bytes[..8] != MAGIC
            || u32_at(bytes, 8) != VERSION
            || crc32c::crc32c(&bytes[..body]) != u32_at(bytes, body)
            || u64_at(bytes, 16) != log
            || u64_at(bytes, 24) != first_seq
        {
            return None;
        }
        let count = u32_at(bytes, 12) as usize;
        if body - HEAD_BYTES != count.checked_mul(ENTRY_BYTES)? {
            return None;
        }
        let mark = |index: usize| {
            let at = HEAD_BYTES + index * ENTRY_BYTES;
            Mark {
                seq: u64_at(bytes, at),
                offset: u64_at(bytes, at + 8),
                time_ns: u64_at(bytes, at + 16),
                at: u64_at(bytes, at + 24),
            }
        };
        let end = End {
            seq: u64_at(bytes, 32),
            offset: u64_at(bytes, 40),
            time_ns: u64_at(bytes, 48),
            bytes: u64_at(bytes, 56),
        };
        let marks = (0..count).map(mark).collect();
        Some((Self { marks }, end))
    }
}

/// The name of the index of the segment that begins with a batch.
pub(super) fn name(first_seq: u64) -> String {
    format!("{first_seq:020}.idx")
}

/// Whether this is the name of an index.
pub(super) fn is_name(name: &str) -> bool {
    name.strip_suffix(".idx")
        .is_some_and(|it| it.len() == 20 && it.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> Index {
        let mut index = Index::default();
        for number in 0..100_u64 {
            index.note_at(Mark {
                seq: number,
                offset: number * 2,
                time_ns: 1_000 + number / 2,
                at: HEADER_BYTES + number * 10_000,
            });
        }
        index
    }

    #[test]
    fn it_is_sparse_and_never_leads_behind_what_is_wanted() {
        let index = index();
        assert_eq!(index.marks.len(), 25);
        for wanted in 0..200 {
            let at = index.before(Start::Offset(wanted));
            assert!(at <= HEADER_BYTES + wanted / 2 * 10_000, "{wanted}");
            assert!(
                at + 40_000 >= HEADER_BYTES + wanted / 2 * 10_000,
                "{wanted}"
            );
        }
        assert_eq!(index.before(Start::Time(0)), HEADER_BYTES);
        assert!(index.before(Start::Time(1_020)) < HEADER_BYTES + 400_000);
        assert_eq!(index.before_seq(7), HEADER_BYTES + 40_000);
        assert_eq!(Index::default().before(Start::Offset(9)), HEADER_BYTES);
    }

    #[test]
    fn its_file_is_read_and_any_flipped_bit_is_found() {
        let end = End {
            seq: 100,
            offset: 200,
            time_ns: 1_050,
            bytes: 1_000_064,
        };
        let bytes = index().encode(5, 0, end);
        assert_eq!(Index::decode(&bytes, 5, 0), Some((index(), end)));
        assert_eq!(Index::decode(&bytes, 6, 0), None, "of another log");
        assert_eq!(Index::decode(&bytes, 5, 1), None, "of another segment");
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Index::decode(&bad, 5, 0), None, "bit {bit}");
        }
        assert_eq!(Index::decode(&bytes[..bytes.len() - 1], 5, 0), None);
    }
}
