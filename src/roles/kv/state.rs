//! What a key-value store holds: an ordered map, where each write has the next revision.
//!
//! It changes by writes alone, so that whoever folds the writes has the same map. It knows no time: a
//! key's end is data, and its passing is a write like any other.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use crate::model::limits::kv::ENTRY_BYTES;

/// A key: text.
pub(super) type Key = Arc<str>;

/// What a key has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    /// Its value.
    pub(super) value: Bytes,
    /// The revision of the write that gave it.
    pub(super) revision: u64,
    /// When it ends, in milliseconds since 1970.
    pub(super) until_ms: Option<u64>,
}

/// What a write does to its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// It has this value.
    Set {
        /// The value.
        value: Bytes,
        /// When it ends, in milliseconds since 1970.
        until_ms: Option<u64>,
    },
    /// Somebody took it away.
    Delete,
    /// Its time was over.
    Expire,
}

/// One write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Write {
    /// Its revision: one more than that of the write before it.
    pub(super) revision: u64,
    /// Its key.
    pub(super) key: Key,
    /// What became of it.
    pub(super) change: Change,
}

impl Write {
    /// The value, where it gives one.
    pub(super) fn value(&self) -> Option<&Bytes> {
        match &self.change {
            Change::Set { value, .. } => Some(value),
            Change::Delete | Change::Expire => None,
        }
    }

    /// What it costs to keep it.
    pub(super) fn bytes(&self) -> usize {
        cost(&self.key, self.value().map_or(0, Bytes::len))
    }
}

/// What a key and a value of so many bytes cost.
pub(super) fn cost(key: &str, value_bytes: usize) -> usize {
    key.len() + value_bytes + ENTRY_BYTES
}

/// The map.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct State {
    items: BTreeMap<Key, Item>,
    /// The keys that end, by when.
    ends: BTreeSet<(u64, Key)>,
    bytes: usize,
    revision: u64,
}

impl State {
    /// What a key has.
    pub(super) fn get(&self, key: &str) -> Option<&Item> {
        self.items.get(key)
    }

    /// The revision of the last write; 0 before the first.
    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    /// How many keys there are.
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// What they cost.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The keys after one, in their order; all, where there is none.
    pub(super) fn items(&self, after: Option<&Key>) -> impl Iterator<Item = (&Key, &Item)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.items.range::<Key, _>((from, Bound::Unbounded))
    }

    /// The keys that begin with a prefix and come after another key, in their order.
    pub(super) fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
    ) -> impl Iterator<Item = (&'a Key, &'a Item)> {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            Some(_) | None => Bound::Included(prefix),
        };
        let rest = self.items.range::<str, _>((from, Bound::Unbounded));
        rest.take_while(move |(key, _)| key.starts_with(prefix))
    }

    /// The next key to end, and when, in milliseconds since 1970.
    pub(super) fn next_end(&self) -> Option<(u64, &Key)> {
        self.ends.first().map(|(at, key)| (*at, key))
    }

    /// The keys whose time is over, oldest first.
    pub(super) fn ended(&self, now_ms: u64) -> impl Iterator<Item = &Key> {
        let due = self.ends.iter().take_while(move |(at, _)| *at <= now_ms);
        due.map(|(_, key)| key)
    }

    /// Goes on from a revision that a copy of it was made at.
    pub(super) fn resume(&mut self, revision: u64) {
        assert!(revision >= self.revision, "a revision is never used again");
        self.revision = revision;
    }

    /// Takes a write. One that is no news changes nothing.
    pub(super) fn apply(&mut self, write: &Write) {
        if write.revision <= self.revision {
            return;
        }
        self.revision = write.revision;
        self.forget(&write.key);
        if let Change::Set { value, until_ms } = &write.change {
            self.put(&write.key, value.clone(), (write.revision, *until_ms));
        }
    }

    /// Has a key as it was when a copy was made.
    pub(super) fn restore(&mut self, key: &Key, item: Item) {
        self.revision = self.revision.max(item.revision);
        self.forget(key);
        self.put(key, item.value, (item.revision, item.until_ms));
    }

    fn put(&mut self, key: &Key, value: Bytes, (revision, until_ms): (u64, Option<u64>)) {
        self.bytes += cost(key, value.len());
        if let Some(at) = until_ms {
            self.ends.insert((at, Arc::clone(key)));
        }
        let item = Item {
            value,
            revision,
            until_ms,
        };
        self.items.insert(Arc::clone(key), item);
    }

    fn forget(&mut self, key: &Key) {
        let Some(item) = self.items.remove(key) else {
            return;
        };
        self.bytes -= cost(key, item.value.len());
        if let Some(at) = item.until_ms {
            self.ends.remove(&(at, Arc::clone(key)));
        }
    }
}
