//! How far the active segment was synced, by a small file of its own that is written after each sync
//! and never synced itself. What it says is true, and may be old.
//!
//! By it, what is damaged is told from what was never whole: what stood before the mark was synced.

use std::sync::Arc;

use super::batch::{u32_at, u64_at};
use super::files::{File, Files};
use super::index::End;

/// Its name.
pub(super) const NAME: &str = "synced";
const MAGIC: [u8; 4] = *b"ZNS1";
const BYTES: usize = 32;

/// The mark of a log; nothing where it could not be opened.
pub(super) struct Settled(Option<Arc<dyn File>>);

/// What it says: of the segment that begins with a batch, so many bytes, up to before a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) first_seq: u64,
    pub(super) bytes: u64,
    pub(super) seq: u64,
}

impl Settled {
    /// Opens it, and reads what it says.
    pub(super) fn open(files: &dyn Files) -> (Self, Option<Said>) {
        let Ok(file) = files.open(NAME) else {
            return (Self(files.create(NAME).ok()), None);
        };
        let mut bytes = [0; BYTES];
        let got = file.read_at(&mut bytes, 0).unwrap_or_default();
        let is_right =
            got == BYTES && bytes[..4] == MAGIC && crc32c::crc32c(&bytes[8..]) == u32_at(&bytes, 4);
        let said = is_right.then(|| Said {
            first_seq: u64_at(&bytes, 8),
            bytes: u64_at(&bytes, 16),
            seq: u64_at(&bytes, 24),
        });
        (Self(Some(file)), said)
    }

    /// Says it anew. Where that fails, what it said before stays true.
    pub(super) fn put(&self, first_seq: u64, end: &End) {
        let Some(file) = &self.0 else {
            return;
        };
        let mut bytes = [0; BYTES];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[8..16].copy_from_slice(&first_seq.to_le_bytes());
        bytes[16..24].copy_from_slice(&end.bytes.to_le_bytes());
        bytes[24..32].copy_from_slice(&end.seq.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[8..]);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        file.write_at(&bytes, 0).ok();
    }
}
