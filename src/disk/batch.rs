//! A batch as bytes: what was stored at once, under one checksum. `docs/formats.md` has the table.
//!
//! It must never give a byte of a batch whose checksum is wrong.

use bytes::Bytes;

use crate::model::limits::store::{BATCH_BYTES_MAX, BATCH_RECORDS_MAX};
use crate::model::store::{Batch, Entry, Record};

/// The first four bytes of a batch.
pub(super) const MAGIC: [u8; 4] = *b"ZNB1";
/// Its bytes before the note.
pub(super) const HEAD_BYTES: usize = 56;
/// The bytes of a record before its data.
pub(super) const RECORD_HEAD_BYTES: usize = 12;

/// What the head of a batch says that the entry does not.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    /// The number of the log, so that a batch of another is none.
    pub(super) log: u64,
    pub(super) seq: u64,
    pub(super) first_offset: u64,
    pub(super) time_ns: u64,
    /// Up to which position of its segment all was written and synced before this batch was.
    pub(super) settled: u64,
}

/// How many bytes an entry takes as a batch.
pub(super) fn bytes_of(entry: &Entry) -> usize {
    let records = entry.records.iter();
    let data: usize = records.map(|it| it.data.len() + RECORD_HEAD_BYTES).sum();
    HEAD_BYTES + entry.note.len() + data
}

/// Whether an entry is within what one batch may be.
pub(super) fn fits(entry: &Entry) -> bool {
    entry.records.len() <= BATCH_RECORDS_MAX && bytes_of(entry) <= BATCH_BYTES_MAX
}

fn narrow(length: usize) -> u32 {
    u32::try_from(length).expect("an entry is looked at before: it fits in a batch")
}

/// Adds an entry to a buffer.
pub(super) fn encode(into: &mut Vec<u8>, head: &Head, entry: &Entry) {
    let from = into.len();
    into.extend_from_slice(&MAGIC);
    into.extend_from_slice(&[0; 4]);
    into.extend_from_slice(&narrow(bytes_of(entry)).to_le_bytes());
    into.extend_from_slice(&narrow(entry.records.len()).to_le_bytes());
    for word in [head.seq, head.first_offset, head.time_ns, head.settled] {
        into.extend_from_slice(&word.to_le_bytes());
    }
    into.extend_from_slice(&narrow(entry.note.len()).to_le_bytes());
    into.extend_from_slice(&short_log(head.log));
    into.extend_from_slice(&entry.note);
    for record in &entry.records {
        into.extend_from_slice(&narrow(record.data.len()).to_le_bytes());
        into.extend_from_slice(&record.time_ns.unwrap_or(head.time_ns).to_le_bytes());
        into.extend_from_slice(&record.data);
    }
    let crc = crc32c::crc32c(&into[from + 8..]);
    into[from + 4..from + 8].copy_from_slice(&crc.to_le_bytes());
}

/// A log's number as its batches have it: its lower half.
fn short_log(log: u64) -> [u8; 4] {
    let [a, b, c, d, ..] = log.to_le_bytes();
    [a, b, c, d]
}

/// What stands at the beginning of some bytes.
#[derive(Debug)]
pub(super) enum Parsed {
    /// A batch that is whole, and its bytes.
    Whole(Found),
    /// Perhaps a batch of that many bytes, which are not all there.
    Short(usize),
    /// No batch, or a damaged one.
    Bad,
}

/// A batch that was read.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) batch: Batch,
    pub(super) bytes: usize,
    /// See [`Head::settled`].
    pub(super) settled: u64,
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let word = bytes[at..at + 4].try_into();
    u32::from_le_bytes(word.expect("four bytes are four bytes"))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let word = bytes[at..at + 8].try_into();
    u64::from_le_bytes(word.expect("eight bytes are eight bytes"))
}

/// Reads the batch that some bytes begin with; what it gives shares their memory.
pub(super) fn parse(bytes: &Bytes, log: u64) -> Parsed {
    if bytes.len() < HEAD_BYTES {
        let begins = bytes.len().min(4);
        return match bytes[..begins] == MAGIC[..begins] {
            true => Parsed::Short(HEAD_BYTES),
            false => Parsed::Bad,
        };
    }
    if bytes[..4] != MAGIC || bytes[52..56] != short_log(log) {
        return Parsed::Bad;
    }
    let length = u32_at(bytes, 8) as usize;
    if !(HEAD_BYTES..=BATCH_BYTES_MAX).contains(&length) {
        return Parsed::Bad;
    }
    if bytes.len() < length {
        return Parsed::Short(length);
    }
    if crc32c::crc32c(&bytes[8..length]) != u32_at(bytes, 4) {
        return Parsed::Bad;
    }
    body(&bytes.slice(..length)).map_or(Parsed::Bad, Parsed::Whole)
}

/// The inside of a batch whose checksum is right. Its lengths are judged all the same.
fn body(bytes: &Bytes) -> Option<Found> {
    let count = u32_at(bytes, 12) as usize;
    let note_end = HEAD_BYTES.checked_add(u32_at(bytes, 48) as usize)?;
    let rest = bytes.len().checked_sub(note_end)?;
    if count > rest / RECORD_HEAD_BYTES {
        return None;
    }
    let mut records = Vec::with_capacity(count);
    let mut at = note_end;
    for _ in 0..count {
        let data_at = at + RECORD_HEAD_BYTES;
        if data_at > bytes.len() {
            return None;
        }
        let end = data_at.checked_add(u32_at(bytes, at) as usize)?;
        if end > bytes.len() {
            return None;
        }
        records.push(Record {
            time_ns: u64_at(bytes, at + 4),
            data: bytes.slice(data_at..end),
        });
        at = end;
    }
    (at == bytes.len()).then(|| Found {
        batch: Batch {
            seq: u64_at(bytes, 16),
            first_offset: u64_at(bytes, 24),
            time_ns: u64_at(bytes, 32),
            note: bytes.slice(HEAD_BYTES..note_end),
            records,
        },
        bytes: bytes.len(),
        settled: u64_at(bytes, 40),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::store::Put;

    fn entry() -> Entry {
        let put = |time_ns, data: &'static str| Put {
            time_ns,
            data: data.into(),
        };
        Entry {
            note: Bytes::from_static(b"n"),
            records: vec![put(None, "hello"), put(Some(7), "")],
        }
    }

    const HEAD: Head = Head {
        log: 0x1122_3344_5566_7788,
        seq: 3,
        first_offset: 10,
        time_ns: 99,
        settled: 64,
    };

    #[test]
    fn the_bytes_are_those_of_the_document() {
        let mut bytes = Vec::new();
        encode(&mut bytes, &HEAD, &entry());
        assert_eq!(bytes.len(), bytes_of(&entry()));
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let golden = concat!(
            "5a4e4231",
            "CRCCRCCR",
            "56000000",
            "02000000", // magic, crc, length, records
            "0300000000000000",
            "0a00000000000000", // number, offset
            "6300000000000000",
            "4000000000000000", // time, settled
            "01000000",
            "88776655",
            "6e", // length of the note, log, note
            "05000000",
            "6300000000000000",
            "68656c6c6f", // a record
            "00000000",
            "0700000000000000", // an empty one
        );
        let crc = u32_at(&bytes, 4).swap_bytes();
        assert_eq!(text, golden.replace("CRCCRCCR", &format!("{crc:08x}")));
        assert_eq!(u32_at(&bytes, 4), crc32c::crc32c(&bytes[8..]));
    }

    #[test]
    fn what_is_written_is_read_and_any_flipped_bit_is_found() {
        let mut bytes = Vec::new();
        encode(&mut bytes, &HEAD, &entry());
        let Parsed::Whole(found) = parse(&Bytes::from(bytes.clone()), HEAD.log) else {
            panic!("it is whole");
        };
        assert_eq!((found.bytes, found.settled), (bytes.len(), 64));
        assert_eq!(found.batch.next_offset(), 12);
        assert_eq!(found.batch.records[0].data, "hello");
        assert_eq!(found.batch.records[1].time_ns, 7);
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let parsed = parse(&Bytes::from(bad), HEAD.log);
            assert!(!matches!(parsed, Parsed::Whole(_)), "bit {bit}");
        }
        for length in 0..bytes.len() {
            let parsed = parse(&Bytes::copy_from_slice(&bytes[..length]), HEAD.log);
            assert!(matches!(parsed, Parsed::Short(_)), "{length} bytes");
        }
        let other = parse(&Bytes::from(bytes), HEAD.log + 1);
        assert!(matches!(other, Parsed::Bad), "of another log");
    }
}
