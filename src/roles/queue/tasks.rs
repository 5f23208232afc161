//! The tasks: each in one place from when it was accepted until it is done, and what it takes.
//!
//! A task is known by its place and how often that place was used before, an attempt at it by its
//! [`Token`] besides. A token of an earlier attempt, of an earlier task in the same place or of an
//! earlier life of the queue fits nothing, so that a late answer is never taken for another's.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::protocol::envelope;
use crate::roles::machine::{Caller, Conn};

use super::compact;
use super::durable::Facet;
use super::timers::TimerKey;

/// Where a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    pub(super) index: u32,
    /// How often the place was used before.
    pub(super) generation: u32,
}

impl Key {
    /// What a task without an id of its own is called.
    pub(super) fn name(self, epoch: u32) -> String {
        format!("{epoch:08x}-{}-{}", self.generation, self.index)
    }

    /// The task of such a name.
    pub(super) fn from_name(name: &[u8], epoch: u32) -> Option<Self> {
        let name = std::str::from_utf8(name).ok()?;
        let (generation, index) = name
            .strip_prefix(&format!("{epoch:08x}-"))?
            .split_once('-')?;
        Some(Self {
            index: index.parse().ok()?,
            generation: generation.parse().ok()?,
        })
    }
}

/// One attempt at one task: what fences off the answers of all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) key: Key,
    /// Which giving of the task.
    pub(super) given: u32,
    /// Which life of the queue gave it out.
    pub(super) epoch: u32,
}

/// The bytes of a token.
const TOKEN_BYTES: usize = 16;

impl Token {
    pub(super) fn encode(self) -> Bytes {
        let mut bytes = [0; TOKEN_BYTES];
        let words = [self.key.index, self.key.generation, self.given, self.epoch];
        for (place, word) in bytes.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_be_bytes());
        }
        Bytes::copy_from_slice(&bytes)
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; TOKEN_BYTES] = bytes.try_into().ok()?;
        let mut words = bytes.chunks_exact(4).map(|word| {
            let word = word.try_into().expect("chunks of four");
            u32::from_be_bytes(word)
        });
        let mut next = || words.next().expect("four chunks");
        Some(Self {
            key: Key {
                index: next(),
                generation: next(),
            },
            given: next(),
            epoch: next(),
        })
    }

    /// The token as it stands in JSON.
    pub(super) fn text(self) -> String {
        self.encode()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    pub(super) fn from_text(text: &str) -> Option<Self> {
        if text.len() != 2 * TOKEN_BYTES || !text.is_ascii() {
            return None;
        }
        let digits = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).ok();
        let bytes: Option<Vec<u8>> = (0..text.len()).step_by(2).map(digits).collect();
        Self::decode(&bytes?)
    }
}

/// Who waits for what comes of a task.
#[derive(Debug, Clone)]
pub(super) enum Waiter {
    /// A program that asked in no dialect.
    Plain(Caller),
    /// A Majordomo client.
    Majordomo(Caller),
    /// A ZN1 client, and the id of its request.
    Zn1(Caller, Bytes),
}

impl Waiter {
    /// Who it is, and the id of a ZN1 request.
    pub(super) fn who(&self) -> (&Caller, Option<&Bytes>) {
        match self {
            Self::Plain(caller) | Self::Majordomo(caller) => (caller, None),
            Self::Zn1(caller, id) => (caller, Some(id)),
        }
    }

    /// Whether it speaks no dialect that has a word for a refusal.
    pub(super) fn is_wordless(&self) -> bool {
        match self {
            Self::Plain(_) | Self::Majordomo(_) => true,
            Self::Zn1(..) => false,
        }
    }

    /// What it counts against the bound in bytes.
    pub(super) fn bytes(&self) -> usize {
        let (caller, id) = self.who();
        WAITER_BYTES + envelope::bytes_of(&caller.envelope) + id.map_or(0, Bytes::len)
    }

    /// Puts it into memory of its own.
    pub(super) fn own(&mut self) {
        match self {
            Self::Plain(caller) | Self::Majordomo(caller) => envelope::own(&mut caller.envelope),
            Self::Zn1(caller, id) => {
                envelope::own(&mut caller.envelope);
                *id = Bytes::copy_from_slice(id);
            }
        }
    }
}

/// Why an attempt came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// One word: ours are `lost`, `expired` and `purged`, others are the worker's.
    pub(super) kind: String,
    /// A sentence.
    pub(super) message: String,
    /// Where it happened, in the worker's words.
    pub(super) trace: String,
}

/// What is being done with a task.
#[derive(Debug)]
pub(super) enum State {
    /// It waits for a worker, in the list of its service.
    Queued,
    /// It waits for its time.
    Delayed(TimerKey),
    /// A worker has it; the only one who has.
    Leased(Lease),
    /// Given up, and kept to be looked at.
    Dead,
}

/// When nobody waits for a task any more.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline {
    pub(super) at: Duration,
    pub(super) timer: TimerKey,
}

/// Who has a lease of an earlier life of the queue: whoever shows its token.
pub(super) const NOBODY: Conn = Conn(u64::MAX);

/// Who has a task and for how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lease {
    pub(super) conn: Conn,
    /// When it ends; nothing where the worker has others to do first.
    pub(super) timer: Option<TimerKey>,
    pub(super) lasts: Duration,
    /// Its worker can have it: that it was given, or extended, is stored where that is. Its time counts
    /// from then on.
    pub(super) is_told: bool,
}

/// A task.
#[derive(Debug)]
pub(super) struct Task {
    /// Its service, by its number.
    pub(super) service: usize,
    pub(super) body: Vec<Bytes>,
    /// What it counts against the bound in bytes.
    pub(super) bytes: usize,
    /// Higher ones go first.
    pub(super) priority: i16,
    /// The id that its client gave it.
    pub(super) id: Option<Bytes>,
    /// By which it is found again in logs.
    pub(super) trace_id: Option<Bytes>,
    pub(super) deadline: Option<Deadline>,
    /// How often it was given to a worker: what fences off the answers of earlier ones.
    pub(super) given: u32,
    /// Attempts: those givings that were begun, as far as can be told.
    pub(super) attempt: u32,
    /// With as many it is given up.
    pub(super) attempts_max: u32,
    pub(super) state: State,
    pub(super) waiters: Vec<Waiter>,
    /// Why the last attempt came to nothing.
    pub(super) failure: Option<Arc<Failure>>,
    /// When it was accepted, in milliseconds since 1970 where that is known.
    pub(super) accepted_ms: u64,
    /// Since when it waits for a worker, where it does; in milliseconds as well.
    pub(super) ready_ms: u64,
    /// Its number among all that were ever accepted.
    pub(super) order: u64,
    /// Its answer is kept until it is closed (Titanic).
    pub(super) is_kept: bool,
    /// What is kept of where it is, where that is kept.
    pub(super) noted: Option<Facet>,
}

impl Task {
    /// Whether nobody waits for it any more.
    pub(super) fn is_overdue(&self, now: Duration) -> bool {
        self.deadline.is_some_and(|deadline| now >= deadline.at)
    }

    /// What it counts against the bound in bytes, as it is now.
    pub(super) fn counted(&self) -> usize {
        let waiters: usize = self.waiters.iter().map(Waiter::bytes).sum();
        let words = self.failure.as_ref().map_or(0, |failure| {
            failure.kind.len() + failure.message.len() + failure.trace.len()
        });
        bytes_of(&self.body) + waiters + words
    }

    /// Puts it into memory of its own, since it is kept for a while.
    pub(super) fn compact(&mut self) {
        compact(&mut self.body);
        self.waiters.iter_mut().for_each(Waiter::own);
    }
}

/// What a task costs beside its frames.
const TASK_BYTES: usize = 256;
/// What somebody who waits costs beside their envelope.
const WAITER_BYTES: usize = 64;
/// What a frame costs beside its bytes.
const FRAME_BYTES: usize = 32;

/// What a body counts against the bound in bytes.
pub(super) fn bytes_of(body: &[Bytes]) -> usize {
    let frames: usize = body.iter().map(|frame| frame.len() + FRAME_BYTES).sum();
    frames + TASK_BYTES
}

/// All tasks.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    places: Vec<(u32, Option<Task>)>,
    free: Vec<u32>,
    bytes: usize,
    /// The generation of a place that was not used in this life.
    fresh: u32,
    /// What may have changed since somebody looked, where somebody does.
    touched: Option<Vec<Key>>,
}

impl Tasks {
    /// The tasks of an earlier life, whose places are used no more under the names they had.
    pub(super) fn restored(fresh: u32, tasks: Vec<(Key, Task)>) -> Self {
        let places = tasks.iter().map(|(key, _)| key.index as usize + 1).max();
        let mut restored = Self {
            fresh,
            touched: Some(tasks.iter().map(|(key, _)| *key).collect()),
            ..Self::default()
        };
        let empty = || (fresh, None);
        restored.places.resize_with(places.unwrap_or(0), empty);
        for (key, task) in tasks {
            restored.bytes += task.bytes;
            restored.places[key.index as usize] = (key.generation, Some(task));
        }
        let free = (0_u32..).zip(&restored.places);
        let free = free.filter(|(_, (_, task))| task.is_none());
        restored.free = free.map(|(index, _)| index).collect();
        restored
    }

    /// What may have changed since this was asked last: each at least once.
    pub(super) fn touched(&mut self) -> Vec<Key> {
        self.touched
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }

    /// Whether somebody wants to know what changes.
    pub(super) fn is_watched(&self) -> bool {
        self.touched.is_some()
    }

    fn touch(&mut self, key: Key) {
        if let Some(touched) = &mut self.touched
            && touched.last() != Some(&key)
        {
            touched.push(key);
        }
    }

    pub(super) fn insert(&mut self, task: Task) -> Key {
        self.bytes += task.bytes;
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push((self.fresh, None));
            u32::try_from(self.places.len() - 1).expect("their number has a bound")
        });
        let (generation, place) = &mut self.places[index as usize];
        *place = Some(task);
        let key = Key {
            index,
            generation: *generation,
        };
        self.touch(key);
        key
    }

    pub(super) fn get(&self, key: Key) -> Option<&Task> {
        let (generation, task) = self.places.get(key.index as usize)?;
        task.as_ref().filter(|_| *generation == key.generation)
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut Task> {
        self.touch(key);
        let (generation, task) = self.places.get_mut(key.index as usize)?;
        task.as_mut().filter(|_| *generation == key.generation)
    }

    /// A task that is known to be there.
    pub(super) fn of(&mut self, key: Key) -> &mut Task {
        self.get_mut(key)
            .expect("whoever holds a key lets go of it before the task")
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<Task> {
        let (generation, place) = self.places.get_mut(key.index as usize)?;
        if *generation != key.generation {
            return None;
        }
        let task = place.take()?;
        *generation = generation.wrapping_add(1);
        self.free.push(key.index);
        self.bytes -= task.bytes;
        self.touch(key);
        Some(task)
    }

    /// Counts a task anew, of which something is other than it was.
    pub(super) fn recount(&mut self, key: Key) {
        if let Some(task) = self.get_mut(key) {
            let bytes = task.counted();
            let was = std::mem::replace(&mut task.bytes, bytes);
            self.bytes = self.bytes - was + bytes;
        }
    }

    /// Takes out who waits, of every task.
    pub(super) fn drain_waiters(&mut self) -> Vec<(Key, Vec<Waiter>)> {
        let all: Vec<Key> = self.iter().map(|(key, _)| key).collect();
        let waiters = all
            .into_iter()
            .map(|key| (key, std::mem::take(&mut self.of(key).waiters)));
        waiters.filter(|(_, waiters)| !waiters.is_empty()).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// All of them, in no order that means anything.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, &Task)> {
        let places = (0_u32..).zip(&self.places);
        places.filter_map(|(index, (generation, task))| {
            let key = Key {
                index,
                generation: *generation,
            };
            Some((key, task.as_ref()?))
        })
    }
}
