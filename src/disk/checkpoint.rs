//! What a role knew of its log at a batch, in a file that is replaced whole or not at all.

use std::io;

use bytes::Bytes;

use crate::model::limits::store::CHECKPOINT_BYTES_MAX;
use crate::model::store::Rope;

use super::batch::{u32_at, u64_at};
use super::files::Files;
use super::segment::VERSION;

pub(super) const NAME: &str = "checkpoint";
const TEMPORARY: &str = "checkpoint.tmp";
const MAGIC: [u8; 8] = *b"ZMQNCKP\n";
const HEAD_BYTES: usize = 40;

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// There is none.
    Nothing,
    /// The last batch that it contains, and what the role knew.
    Whole(u64, Bytes),
    /// It is not whole, not right, or of another log.
    Bad,
}

/// Whether this is the name of a checkpoint.
pub(super) fn is_name(name: &str) -> bool {
    name == NAME
}

/// At most about so much is written at once.
const WRITE_BYTES: usize = 1024 * 1024;

pub(super) fn write(files: &dyn Files, log: u64, through: u64, data: &Rope) -> io::Result<()> {
    let written = write_new(files, log, through, data);
    if written.is_err() {
        // A part of it would take the space that is missing.
        drop(files.remove(TEMPORARY));
    }
    written
}

fn write_new(files: &dyn Files, log: u64, through: u64, data: &Rope) -> io::Result<()> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    for word in [log, through, data.len() as u64] {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    let file = files.create(TEMPORARY)?;
    let (mut at, mut sum) = (0, 0);
    for part in data.parts() {
        bytes.extend_from_slice(part);
        if bytes.len() >= WRITE_BYTES {
            file.write_at(&bytes, at)?;
            at += bytes.len() as u64;
            sum = crc32c::crc32c_append(sum, &bytes);
            bytes.clear();
        }
    }
    sum = crc32c::crc32c_append(sum, &bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    file.write_at(&bytes, at)?;
    file.sync()?;
    files.rename(TEMPORARY, NAME)?;
    files.sync_dir()
}

pub(super) fn read(files: &dyn Files, log: u64) -> io::Result<Found> {
    let file = match files.open(NAME) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(error),
    };
    let length = usize::try_from(file.length()?).unwrap_or(usize::MAX);
    if !(HEAD_BYTES + 4..=HEAD_BYTES + 4 + CHECKPOINT_BYTES_MAX).contains(&length) {
        return Ok(Found::Bad);
    }
    let mut bytes = vec![0; length];
    let got = file.read_at(&mut bytes, 0)?;
    let Some(through) = decode(&bytes[..got], log) else {
        return Ok(Found::Bad);
    };
    Ok(Found::Whole(
        through,
        Bytes::from(bytes).slice(HEAD_BYTES..length - 4),
    ))
}

/// The last batch that a checkpoint contains, where it is right.
pub(super) fn decode(bytes: &[u8], log: u64) -> Option<u64> {
    let body = bytes.len().checked_sub(4).filter(|it| *it >= HEAD_BYTES)?;
    let is_right = bytes[..8] == MAGIC
        && u32_at(bytes, 8) == VERSION
        && crc32c::crc32c(&bytes[..body]) == u32_at(bytes, body)
        && u64_at(bytes, 16) == log
        && u64_at(bytes, 32) == (body - HEAD_BYTES) as u64;
    is_right.then(|| u64_at(bytes, 24))
}
