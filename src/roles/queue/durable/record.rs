//! What a durable queue keeps, as bytes: a record for each change, a note of which queue it is, and a
//! checkpoint of all. `docs/formats.md` has every byte; numbers are little-endian.

use std::fmt;
use std::sync::Arc;

use bytes::{Buf, Bytes, TryGetError};

use crate::model::store::Rope;
use crate::roles::queue::tasks::{Failure, Key};

use super::changes::{Answer, Change, Facet, Kept, Place};
use super::shadow::Shadow;

/// What a record, a note or a checkpoint that is none ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unreadable;

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what the store has kept is not of a queue")
    }
}

impl std::error::Error for Unreadable {}

impl From<TryGetError> for Unreadable {
    fn from(_: TryGetError) -> Self {
        Self
    }
}

/// The version of notes and checkpoints.
const VERSION: u8 = 1;
const ACCEPTED: u8 = 1;
const MOVED: u8 = 2;
const DONE: u8 = 3;
const GONE: u8 = 4;
const CLOSED: u8 = 5;

const QUEUED: u8 = 0;
const DELAYED: u8 = 1;
const TAKEN: u8 = 2;
const GIVEN: u8 = 3;
const AHEAD: u8 = 4;
const DEAD: u8 = 5;
const TAKING: u8 = 6;

const KEPT: u8 = 1;
const PINNED: u8 = 2;

/// The note of an entry: which queue this is.
pub(super) fn encode_note(epoch: u32) -> Bytes {
    let [a, b, c, d] = epoch.to_le_bytes();
    Bytes::copy_from_slice(&[VERSION, a, b, c, d])
}

/// Reads a note.
pub(super) fn decode_note(mut note: Bytes) -> Result<u32, Unreadable> {
    match (note.len(), note.try_get_u8()?) {
        (5, VERSION) => Ok(note.try_get_u32_le()?),
        _ => Err(Unreadable),
    }
}

/// A change as a record.
pub(super) fn encode(change: &Change) -> Bytes {
    let mut rope = Rope::default();
    match change {
        Change::Accepted(key, kept) => put_kept(&mut rope, *key, kept),
        Change::Moved(key, facet) => {
            put_key(&mut rope, MOVED, *key);
            put_facet(&mut rope, facet);
        }
        Change::Done(key, answer) => {
            put_key(&mut rope, DONE, *key);
            put_answer(&mut rope, answer);
        }
        Change::Gone(key) => put_key(&mut rope, GONE, *key),
        Change::Closed(id) => {
            rope.put(&[CLOSED]);
            put_part(&mut rope, id);
        }
    }
    rope.into_bytes()
}

fn put_key(rope: &mut Rope, kind: u8, key: Key) {
    rope.put(&[kind]);
    rope.put(&key.index.to_le_bytes());
    rope.put(&key.generation.to_le_bytes());
}

/// Bytes with their length before them.
fn put_part(rope: &mut Rope, bytes: &Bytes) {
    let length = u32::try_from(bytes.len()).expect("what is stored at once is bounded");
    rope.put(&length.to_le_bytes());
    rope.put_shared(bytes);
}

/// The same, where nothing is an empty one.
fn put_optional(rope: &mut Rope, bytes: Option<&Bytes>) {
    put_part(rope, bytes.unwrap_or(&Bytes::new()));
}

fn put_frames(rope: &mut Rope, frames: &[Bytes]) {
    let count = u32::try_from(frames.len()).expect("the frames of a message are bounded");
    rope.put(&count.to_le_bytes());
    for frame in frames {
        put_part(rope, frame);
    }
}

/// A task that is there.
pub(super) fn put_kept(rope: &mut Rope, key: Key, kept: &Kept) {
    put_key(rope, ACCEPTED, key);
    rope.put(&kept.order.to_le_bytes());
    rope.put(&kept.accepted_ms.to_le_bytes());
    rope.put(&kept.priority.to_le_bytes());
    put_part(rope, &kept.service);
    put_optional(rope, kept.id.as_ref());
    put_optional(rope, kept.trace_id.as_ref());
    put_facet(rope, &kept.facet);
    put_frames(rope, &kept.body);
}

fn put_facet(rope: &mut Rope, facet: &Facet) {
    let (place, at_ms) = match facet.place {
        Place::Queued(at_ms) => (QUEUED, at_ms),
        Place::Delayed(at_ms) => (DELAYED, at_ms),
        Place::Taken(at_ms) => (TAKEN, at_ms),
        Place::Taking(lasts_ms) => (TAKING, lasts_ms),
        Place::Given => (GIVEN, 0),
        Place::Ahead => (AHEAD, 0),
        Place::Dead => (DEAD, 0),
    };
    rope.put(&[place]);
    rope.put(&at_ms.to_le_bytes());
    for count in [facet.given, facet.attempt, facet.attempts_max] {
        rope.put(&count.to_le_bytes());
    }
    rope.put(&facet.deadline_ms.unwrap_or(0).to_le_bytes());
    let flags = u8::from(facet.is_kept) * KEPT + u8::from(facet.is_pinned) * PINNED;
    rope.put(&[flags, facet.failure.is_some().into()]);
    if let Some(failure) = &facet.failure {
        for words in [&failure.kind, &failure.message, &failure.trace] {
            put_part(rope, &Bytes::copy_from_slice(words.as_bytes()));
        }
    }
}

fn put_answer(rope: &mut Rope, answer: &Answer) {
    rope.put(&answer.attempts.to_le_bytes());
    rope.put(&answer.until_ms.unwrap_or(0).to_le_bytes());
    rope.put(&[answer.body.is_some().into()]);
    if let Some(body) = &answer.body {
        put_frames(rope, body);
    }
}

/// A record as a change.
pub(super) fn decode(mut bytes: Bytes) -> Result<Change, Unreadable> {
    let change = match bytes.try_get_u8()? {
        CLOSED => Change::Closed(part(&mut bytes)?),
        kind => {
            let key = key(&mut bytes)?;
            match kind {
                ACCEPTED => Change::Accepted(key, Box::new(kept(&mut bytes)?)),
                MOVED => Change::Moved(key, facet(&mut bytes)?),
                DONE => Change::Done(key, answer(&mut bytes)?),
                GONE => Change::Gone(key),
                _ => return Err(Unreadable),
            }
        }
    };
    match bytes.is_empty() {
        true => Ok(change),
        false => Err(Unreadable),
    }
}

fn key(bytes: &mut Bytes) -> Result<Key, Unreadable> {
    Ok(Key {
        index: bytes.try_get_u32_le()?,
        generation: bytes.try_get_u32_le()?,
    })
}

/// Copied, so that what is kept does not pin what it was read in.
fn part(bytes: &mut Bytes) -> Result<Bytes, Unreadable> {
    let length = usize::try_from(bytes.try_get_u32_le()?).map_err(|_| Unreadable)?;
    match bytes.len() >= length {
        true => Ok(Bytes::copy_from_slice(&bytes.split_to(length))),
        false => Err(Unreadable),
    }
}

fn optional(bytes: &mut Bytes) -> Result<Option<Bytes>, Unreadable> {
    Ok(Some(part(bytes)?).filter(|part| !part.is_empty()))
}

fn text(bytes: &mut Bytes) -> Result<String, Unreadable> {
    String::from_utf8(part(bytes)?.to_vec()).map_err(|_| Unreadable)
}

fn frames(bytes: &mut Bytes) -> Result<Vec<Bytes>, Unreadable> {
    let count = bytes.try_get_u32_le()?;
    (0..count).map(|_| part(bytes)).collect()
}

fn kept(bytes: &mut Bytes) -> Result<Kept, Unreadable> {
    Ok(Kept {
        order: bytes.try_get_u64_le()?,
        accepted_ms: bytes.try_get_u64_le()?,
        priority: bytes.try_get_i16_le()?,
        service: part(bytes)?,
        id: optional(bytes)?,
        trace_id: optional(bytes)?,
        facet: facet(bytes)?,
        body: frames(bytes)?,
    })
}

fn facet(bytes: &mut Bytes) -> Result<Facet, Unreadable> {
    let (place, at_ms) = (bytes.try_get_u8()?, bytes.try_get_u64_le()?);
    let place = match place {
        QUEUED => Place::Queued(at_ms),
        DELAYED => Place::Delayed(at_ms),
        TAKEN => Place::Taken(at_ms),
        TAKING => Place::Taking(at_ms),
        GIVEN => Place::Given,
        AHEAD => Place::Ahead,
        DEAD => Place::Dead,
        _ => return Err(Unreadable),
    };
    let mut facet = Facet {
        place,
        given: bytes.try_get_u32_le()?,
        attempt: bytes.try_get_u32_le()?,
        attempts_max: bytes.try_get_u32_le()?,
        deadline_ms: Some(bytes.try_get_u64_le()?).filter(|at| *at > 0),
        is_kept: false,
        is_pinned: false,
        failure: None,
    };
    let flags = bytes.try_get_u8()?;
    (facet.is_kept, facet.is_pinned) = (flags & KEPT > 0, flags & PINNED > 0);
    if bytes.try_get_u8()? != 0 {
        facet.failure = Some(Arc::new(Failure {
            kind: text(bytes)?,
            message: text(bytes)?,
            trace: text(bytes)?,
        }));
    }
    Ok(facet)
}

fn answer(bytes: &mut Bytes) -> Result<Answer, Unreadable> {
    let mut answer = Answer {
        attempts: bytes.try_get_u32_le()?,
        until_ms: Some(bytes.try_get_u64_le()?).filter(|at| *at > 0),
        body: None,
    };
    if bytes.try_get_u8()? != 0 {
        answer.body = Some(frames(bytes)?);
    }
    Ok(answer)
}

/// How many there are of what follows.
pub(super) fn put_count(rope: &mut Rope, count: usize) {
    rope.put(&(count as u64).to_le_bytes());
}

/// What a checkpoint begins with: its tasks follow, then ids and answers.
pub(super) fn put_head(rope: &mut Rope, shadow: &Shadow) {
    rope.put(&[VERSION]);
    rope.put(&shadow.epoch.to_le_bytes());
    rope.put(&shadow.generation.to_le_bytes());
    rope.put(&shadow.completed.to_le_bytes());
    rope.put(&shadow.dead.to_le_bytes());
    put_count(rope, shadow.tasks.len());
}

/// The ids of done tasks, as they are in a checkpoint.
pub(super) fn put_ids(rope: &mut Rope, shadow: &Shadow) {
    put_count(rope, shadow.ids.all_done().count());
    for (id, done) in shadow.ids.all_done() {
        put_part(rope, id);
        let answer = Answer {
            attempts: done.attempts,
            until_ms: None,
            body: done.body.clone(),
        };
        put_answer(rope, &answer);
    }
}

/// An answer that is kept, as it is in a checkpoint.
pub(super) fn put_result(rope: &mut Rope, id: &Bytes, answer: &Answer) {
    put_part(rope, id);
    put_answer(rope, answer);
}

/// Reads a checkpoint.
pub(super) fn decode_checkpoint(mut bytes: Bytes) -> Result<Shadow, Unreadable> {
    let bytes = &mut bytes;
    if bytes.try_get_u8()? != VERSION {
        return Err(Unreadable);
    }
    let mut shadow = Shadow {
        epoch: bytes.try_get_u32_le()?,
        generation: bytes.try_get_u32_le()?,
        completed: bytes.try_get_u64_le()?,
        dead: bytes.try_get_u64_le()?,
        ..Shadow::default()
    };
    for _ in 0..bytes.try_get_u64_le()? {
        if bytes.try_get_u8()? != ACCEPTED {
            return Err(Unreadable);
        }
        let key = key(bytes)?;
        shadow.tasks.insert(key, kept(bytes)?);
    }
    for _ in 0..bytes.try_get_u64_le()? {
        let id = part(bytes)?;
        let done = answer(bytes)?;
        shadow.ids.was_done(id, done.attempts, done.body);
    }
    for _ in 0..bytes.try_get_u64_le()? {
        let id = part(bytes)?;
        let result = answer(bytes)?;
        shadow.results.insert(id, result);
    }
    match bytes.is_empty() {
        true => Ok(shadow),
        false => Err(Unreadable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some_kept() -> Kept {
        Kept {
            order: 7,
            accepted_ms: 1_700_000_000_000,
            priority: -3,
            service: Bytes::from_static(b"mail"),
            id: Some(Bytes::from_static(b"m1")),
            trace_id: None,
            body: vec![Bytes::from_static(b"letter"), Bytes::new()],
            facet: Facet {
                place: Place::Taken(5),
                given: 3,
                attempt: 2,
                attempts_max: 5,
                deadline_ms: Some(9),
                is_kept: true,
                is_pinned: true,
                failure: Some(Arc::new(Failure {
                    kind: "IOError".to_owned(),
                    message: "no paper".to_owned(),
                    trace: String::new(),
                })),
            },
        }
    }

    fn all() -> Vec<Change> {
        let key = Key {
            index: 4,
            generation: 9,
        };
        let answer = |body| Answer {
            attempts: 2,
            until_ms: Some(3),
            body,
        };
        let taking = Facet {
            place: Place::Taking(900),
            ..some_kept().facet
        };
        vec![
            Change::Accepted(key, Box::new(some_kept())),
            Change::Moved(key, taking),
            Change::Moved(key, some_kept().facet),
            Change::Done(key, answer(Some(vec![Bytes::from_static(b"sent")]))),
            Change::Done(key, answer(None)),
            Change::Gone(key),
            Change::Closed(Bytes::from_static(b"0123")),
        ]
    }

    #[test]
    fn every_change_is_read_as_it_was_written_and_nothing_that_is_cut_off() {
        for change in all() {
            let bytes = encode(&change);
            assert_eq!(decode(bytes.clone()), Ok(change));
            for length in 0..bytes.len() {
                assert!(decode(bytes.slice(..length)).is_err());
            }
        }
        assert_eq!(decode_note(encode_note(77)), Ok(77));
        assert!(decode_note(Bytes::from_static(b"\x02abcd")).is_err());
        assert!(decode_note(Bytes::new()).is_err());
    }

    #[test]
    fn a_checkpoint_is_read_as_it_was_written() {
        let mut shadow = Shadow {
            epoch: 5,
            ..Shadow::default()
        };
        for change in all().into_iter().take(1) {
            shadow.apply(change, 0);
        }
        shadow.ids.was_done("a".into(), 2, None);
        shadow.results.insert(
            "b".into(),
            Answer {
                attempts: 1,
                until_ms: Some(3),
                body: Some(vec!["x".into()]),
            },
        );
        shadow.begin_snapshot((0, 0));
        let (_, _, rope) = shadow.go_on_writing().expect("there are few");
        let bytes = rope.into_bytes();
        let read = decode_checkpoint(bytes.clone()).unwrap();
        assert_eq!(read.tasks, shadow.tasks);
        assert_eq!((read.generation, read.epoch), (10, 5));
        assert_eq!(read.results, shadow.results);
        assert_eq!(read.ids.all_done().count(), 1);
        for length in 0..bytes.len() {
            assert!(decode_checkpoint(bytes.slice(..length)).is_err());
        }
    }
}
