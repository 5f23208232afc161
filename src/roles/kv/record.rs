//! What a key-value store keeps, as bytes: a record for each write, a note of who wrote, and a
//! checkpoint of all. `docs/formats.md` has every byte; numbers are little-endian.

use std::fmt;
use std::sync::Arc;

use bytes::{Buf, Bytes};

use crate::model::store::Rope;

use super::known::Done;
use super::state::{Change, Item, Key, State, Write};

/// What a record, a note or a checkpoint that is none ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unreadable;

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what the store has kept is not of a key-value store")
    }
}

impl std::error::Error for Unreadable {}

/// The version of a checkpoint.
const VERSION: u8 = 1;
const SET: u8 = 1;
const DELETE: u8 = 2;
const EXPIRE: u8 = 3;
/// The bytes of a record before its key.
const HEAD_BYTES: usize = 1 + 8 + 8 + 2;

fn narrow(length: usize) -> u16 {
    u16::try_from(length).expect("keys and ids are bounded far below")
}

fn put(into: &mut Vec<u8>, kind: u8, (revision, until_ms): (u64, Option<u64>), key: &str) {
    into.push(kind);
    into.extend_from_slice(&revision.to_le_bytes());
    into.extend_from_slice(&until_ms.unwrap_or(0).to_le_bytes());
    into.extend_from_slice(&narrow(key.len()).to_le_bytes());
    into.extend_from_slice(key.as_bytes());
}

/// A write as a record.
pub(super) fn encode(write: &Write) -> Bytes {
    let value = write.value();
    let mut bytes = Vec::with_capacity(HEAD_BYTES + write.key.len() + value.map_or(0, Bytes::len));
    let (kind, until_ms) = match &write.change {
        Change::Set { until_ms, .. } => (SET, *until_ms),
        Change::Delete => (DELETE, None),
        Change::Expire => (EXPIRE, None),
    };
    put(&mut bytes, kind, (write.revision, until_ms), &write.key);
    bytes.extend_from_slice(value.map_or(&[], |value| &value[..]));
    bytes.into()
}

/// A record as a write.
pub(super) fn decode(mut bytes: Bytes) -> Result<Write, Unreadable> {
    let head = head(&mut bytes)?;
    let change = match head.kind {
        SET => Change::Set {
            // Copied, so that a value does not pin what it was read in.
            value: Bytes::copy_from_slice(&bytes),
            until_ms: head.until_ms,
        },
        DELETE => Change::Delete,
        EXPIRE => Change::Expire,
        _ => return Err(Unreadable),
    };
    Ok(Write {
        revision: head.revision,
        key: head.key,
        change,
    })
}

struct Head {
    kind: u8,
    revision: u64,
    until_ms: Option<u64>,
    key: Key,
}

fn head(bytes: &mut Bytes) -> Result<Head, Unreadable> {
    if bytes.len() < HEAD_BYTES {
        return Err(Unreadable);
    }
    let (kind, revision) = (bytes.get_u8(), bytes.get_u64_le());
    let until_ms = Some(bytes.get_u64_le()).filter(|at| *at > 0);
    let length = usize::from(bytes.get_u16_le());
    let key = text(bytes, length)?;
    Ok(Head {
        kind,
        revision,
        until_ms,
        key,
    })
}

fn text(bytes: &mut Bytes, length: usize) -> Result<Key, Unreadable> {
    if bytes.len() < length {
        return Err(Unreadable);
    }
    let text = bytes.split_to(length);
    let text = std::str::from_utf8(&text).map_err(|_| Unreadable)?;
    Ok(Arc::from(text))
}

/// Who wrote, as the note of an entry.
pub(super) fn encode_note<'a>(done: impl Iterator<Item = (&'a Bytes, &'a Done)>) -> Bytes {
    let mut bytes = Vec::new();
    for (id, done) in done {
        bytes.extend_from_slice(&narrow(id.len()).to_le_bytes());
        bytes.extend_from_slice(id);
        bytes.extend_from_slice(&done.revision.to_le_bytes());
        bytes.extend_from_slice(&done.writes.to_le_bytes());
    }
    bytes.into()
}

/// Reads a note.
pub(super) fn decode_note(mut note: Bytes) -> Result<Vec<(Bytes, Done)>, Unreadable> {
    let mut found = Vec::new();
    while !note.is_empty() {
        if note.len() < 2 {
            return Err(Unreadable);
        }
        let length = usize::from(note.get_u16_le());
        if note.len() < length + 12 {
            return Err(Unreadable);
        }
        let id = Bytes::copy_from_slice(&note.split_to(length));
        let done = Done {
            revision: note.get_u64_le(),
            writes: note.get_u32_le(),
        };
        found.push((id, done));
    }
    Ok(found)
}

/// Keys that are copied in one step, and bytes of theirs.
const COPIED_MAX: usize = 2_048;
const COPIED_BYTES_MAX: usize = 256 * 1024;

/// All that is known at a moment, on its way into a checkpoint: some keys in each step, so that nobody
/// waits for all of them.
///
/// What is written meanwhile comes after the batch that the checkpoint is of, and so it is told again at
/// a start: a key that was written since is left out, whatever it had.
#[derive(Debug)]
pub(super) struct Copying {
    /// The revision of the moment.
    revision: u64,
    /// The last key that was looked at.
    last: Option<Key>,
    rope: Rope,
}

impl Copying {
    /// Begins with what is known now, and a note of who wrote it.
    pub(super) fn begin(state: &State, note: &Bytes) -> Self {
        let mut rope = Rope::default();
        rope.put(&[VERSION]);
        rope.put(&state.revision().to_le_bytes());
        rope.put(&(note.len() as u64).to_le_bytes());
        rope.put(note);
        Self {
            revision: state.revision(),
            last: None,
            rope,
        }
    }

    /// Goes on with some keys. True once there are no more.
    pub(super) fn go_on(&mut self, state: &State) -> bool {
        let (mut head, mut keys, mut bytes) = (Vec::new(), 0, 0);
        let (after, mut last) = (self.last.take(), None);
        for (key, item) in state.items(after.as_ref()) {
            if keys >= COPIED_MAX || bytes >= COPIED_BYTES_MAX {
                self.last = last.map(Arc::clone);
                return false;
            }
            keys += 1;
            last = Some(key);
            if item.revision > self.revision {
                continue;
            }
            head.clear();
            put(&mut head, SET, (item.revision, item.until_ms), key);
            head.extend_from_slice(&(item.value.len() as u64).to_le_bytes());
            self.rope.put(&head);
            self.rope.put_shared(&item.value);
            bytes += head.len() + item.value.len();
        }
        true
    }

    /// The checkpoint.
    pub(super) fn end(self) -> Rope {
        self.rope
    }
}

/// Reads a checkpoint.
pub(super) fn decode_checkpoint(
    mut bytes: Bytes,
) -> Result<(State, Vec<(Bytes, Done)>), Unreadable> {
    if bytes.len() < 17 || bytes.get_u8() != VERSION {
        return Err(Unreadable);
    }
    let revision = bytes.get_u64_le();
    let note = part(&mut bytes)?;
    let mut state = State::default();
    while !bytes.is_empty() {
        let head = head(&mut bytes)?;
        let value = Bytes::copy_from_slice(&part(&mut bytes)?);
        if head.kind != SET || head.revision > revision {
            return Err(Unreadable);
        }
        let item = Item {
            value,
            revision: head.revision,
            until_ms: head.until_ms,
        };
        state.restore(&head.key, item);
    }
    state.resume(revision);
    Ok((state, decode_note(note)?))
}

/// Bytes with their length before them.
fn part(bytes: &mut Bytes) -> Result<Bytes, Unreadable> {
    if bytes.len() < 8 {
        return Err(Unreadable);
    }
    let length = usize::try_from(bytes.get_u64_le()).map_err(|_| Unreadable)?;
    match bytes.len() >= length {
        true => Ok(bytes.split_to(length)),
        false => Err(Unreadable),
    }
}
