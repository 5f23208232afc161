//! Writes that are being made: looked at in their order, each as if those before it were done, and
//! given their revisions. None of them is seen by anybody until all are stored.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::state::{Change, Key, State, Write, cost};

/// What is asked of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Op {
    /// The key.
    pub(super) key: Key,
    /// What is to become of it.
    pub(super) wish: Wish,
    /// Only if it was last written by this revision; 0 is only if there is none.
    pub(super) revision: Option<u64>,
}

/// What is to become of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wish {
    /// It is to have a value, and end by a time in milliseconds since 1970.
    Set(Bytes, Option<u64>),
    /// It is to go. Where there is none, nothing is written.
    Delete,
    /// Its time is over.
    Expire,
}

impl Op {
    /// What it costs to hold it.
    pub(super) fn bytes(&self) -> usize {
        let value = match &self.wish {
            Wish::Set(value, _) => value.len(),
            Wish::Delete | Wish::Expire => 0,
        };
        cost(&self.key, value)
    }
}

/// Why nothing of a request was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// A key has another revision; 0 is that there is none.
    Conflict(Key, u64),
    /// There is nothing to delete.
    Absent,
    /// More would be held than may be.
    Full(usize),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conflict(key, 0) => write!(f, "there is no key `{key}`"),
            Self::Conflict(key, revision) => {
                write!(f, "the key `{key}` has the revision {revision}")
            }
            Self::Absent => f.write_str("there is nothing to delete"),
            Self::Full(max) => write!(
                f,
                "the store is full: its keys and values have {max} bytes at most"
            ),
        }
    }
}

/// A key as the writes so far leave it: its revision and the bytes of its value.
type Seen = Option<(u64, usize)>;

/// Writes that are being made.
#[derive(Debug, Default)]
pub(super) struct Staged {
    writes: Vec<Write>,
    latest: HashMap<Key, Seen>,
    /// What the map grows and shrinks by.
    grown: usize,
    shrunk: usize,
    bytes: usize,
}

impl Staged {
    /// The writes, in their order.
    pub(super) fn writes(&self) -> &[Write] {
        &self.writes
    }

    /// The writes, to be stored.
    pub(super) fn into_writes(self) -> Vec<Write> {
        self.writes
    }

    /// What they cost.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds a request: all of it or nothing. Gives how many writes it came to.
    pub(super) fn add(
        &mut self,
        state: &State,
        ops: Vec<Op>,
        bytes_max: usize,
    ) -> Result<usize, Refusal> {
        let mut trial = Trial {
            state,
            staged: self,
            latest: HashMap::new(),
            writes: Vec::new(),
            grown: 0,
            shrunk: 0,
        };
        for op in ops {
            trial.add(op)?;
        }
        let Trial {
            latest,
            writes,
            grown,
            shrunk,
            ..
        } = trial;
        let held = state.bytes() + self.grown + grown;
        // What makes the map smaller is taken however full it is.
        if held > bytes_max + self.shrunk + shrunk && grown > shrunk {
            return Err(Refusal::Full(bytes_max));
        }
        self.grown += grown;
        self.shrunk += shrunk;
        self.latest.extend(latest);
        self.bytes += writes.iter().map(Write::bytes).sum::<usize>();
        let count = writes.len();
        self.writes.extend(writes);
        Ok(count)
    }
}

/// One request on top of those before it.
struct Trial<'a> {
    state: &'a State,
    staged: &'a Staged,
    latest: HashMap<Key, Seen>,
    writes: Vec<Write>,
    grown: usize,
    shrunk: usize,
}

impl Trial<'_> {
    fn seen(&self, key: &str) -> Seen {
        let newer = self.latest.get(key).or_else(|| self.staged.latest.get(key));
        match newer {
            Some(seen) => *seen,
            None => {
                let item = self.state.get(key)?;
                Some((item.revision, item.value.len()))
            }
        }
    }

    fn add(&mut self, op: Op) -> Result<(), Refusal> {
        let seen = self.seen(&op.key);
        let actual = seen.map_or(0, |(revision, _)| revision);
        if op.revision.is_some_and(|wanted| wanted != actual) {
            return Err(Refusal::Conflict(op.key, actual));
        }
        let change = match op.wish {
            Wish::Set(value, until_ms) => Change::Set { value, until_ms },
            Wish::Delete | Wish::Expire if seen.is_none() => return Ok(()),
            Wish::Delete => Change::Delete,
            Wish::Expire => Change::Expire,
        };
        let before = self.staged.writes.len() + self.writes.len();
        let revision = self.state.revision() + before as u64 + 1;
        self.shrunk += seen.map_or(0, |(_, bytes)| cost(&op.key, bytes));
        let value_bytes = match &change {
            Change::Set { value, .. } => Some(value.len()),
            Change::Delete | Change::Expire => None,
        };
        self.grown += value_bytes.map_or(0, |bytes| cost(&op.key, bytes));
        let now = value_bytes.map(|bytes| (revision, bytes));
        self.latest.insert(Arc::clone(&op.key), now);
        self.writes.push(Write {
            revision,
            key: op.key,
            change,
        });
        Ok(())
    }
}
