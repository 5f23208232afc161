//! How far the active segment was synced, by a small file of its own that is written after each sync
//! and never synced itself. What it says is true, and may be old.
//!
//! By it, what is damaged is told from what was never whole: what stood before the mark was synced.

use std::io;
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

/// What was found where nothing is opened for writing.
pub(super) enum Found {
    /// There is none, or nothing was ever synced.
    Nothing,
    /// What it says.
    Right(Said),
    /// It is damaged.
    Bad,
}

/// Reads a mark.
pub(super) fn read(files: &dyn Files) -> io::Result<Found> {
    let file = match files.open(NAME) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(error),
    };
    let mut bytes = [0; BYTES];
    let got = file.read_at(&mut bytes, 0)?;
    Ok(match decode(&bytes[..got]) {
        Some(said) => Found::Right(said),
        None if got == 0 => Found::Nothing,
        None => Found::Bad,
    })
}

fn decode(bytes: &[u8]) -> Option<Said> {
    let is_right = bytes.len() == BYTES
        && bytes[..4] == MAGIC
        && crc32c::crc32c(&bytes[8..]) == u32_at(bytes, 4);
    is_right.then(|| Said {
        first_seq: u64_at(bytes, 8),
        bytes: u64_at(bytes, 16),
        seq: u64_at(bytes, 24),
    })
}

impl Settled {
    /// Opens it, and reads what it says.
    pub(super) fn open(files: &dyn Files) -> (Self, Option<Said>) {
        let Ok(file) = files.open(NAME) else {
            return (Self(files.create(NAME).ok()), None);
        };
        let mut bytes = [0; BYTES];
        let got = file.read_at(&mut bytes, 0).unwrap_or_default();
        let said = decode(&bytes[..got]);
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
