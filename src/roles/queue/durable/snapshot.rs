//! A checkpoint that is written in parts: all that is stored, as it was when it was begun, while more is
//! stored. A step costs the same however much that is.
//!
//! What is changed before its turn is written as it was, just before that. The ids of done tasks are
//! written at once: they are few, and their answers are shared.

use std::collections::HashSet;
use std::hash::Hash;
use std::ops::Bound;

use bytes::Bytes;

use crate::model::store::Rope;
use crate::roles::queue::tasks::Key;

use super::record;
use super::shadow::Shadow;

/// Entries that one step writes, and about how many bytes of them.
const SLICE_ENTRIES: usize = if cfg!(test) { 3 } else { 1_000 };
const SLICE_BYTES: usize = 1024 * 1024;

/// How far one of the lists is written.
#[derive(Debug)]
struct Progress<K> {
    /// What is written.
    rope: Rope,
    /// All before are written; nothing where none is.
    last: Option<K>,
    is_over: bool,
    /// Those behind it that are written, or were not there when it began.
    passed: HashSet<K>,
}

impl<K> Default for Progress<K> {
    fn default() -> Self {
        Self {
            rope: Rope::default(),
            last: None,
            is_over: false,
            passed: HashSet::new(),
        }
    }
}

impl<K: Ord + Hash + Clone> Progress<K> {
    /// Something is about to change: whether it has to be written as it is. From then on it is passed over.
    fn is_ahead(&mut self, key: &K) -> bool {
        let is_behind = self.last.as_ref().is_some_and(|last| key <= last);
        !self.is_over && !is_behind && self.passed.insert(key.clone())
    }

    /// Where to go on.
    fn from(&self) -> Bound<K> {
        self.last.clone().map_or(Bound::Unbounded, Bound::Excluded)
    }

    /// Takes its turn: gives what to write it into, unless it is written.
    fn turn(&mut self, key: &K) -> Option<&mut Rope> {
        self.last = Some(key.clone());
        (!self.passed.remove(key)).then_some(&mut self.rope)
    }
}

/// A checkpoint that is being written.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// The last batch that it contains, and the offset after it.
    pub(super) through: u64,
    pub(super) before: u64,
    head: Rope,
    tasks: Progress<Key>,
    ids: Rope,
    results: Progress<Bytes>,
}

impl Shadow {
    /// Begins a checkpoint.
    pub(super) fn begin_snapshot(&mut self, (through, before): (u64, u64)) {
        let mut snapshot = Snapshot {
            through,
            before,
            head: Rope::default(),
            tasks: Progress::default(),
            ids: Rope::default(),
            results: Progress::default(),
        };
        record::put_head(&mut snapshot.head, self);
        record::put_ids(&mut snapshot.ids, self);
        record::put_count(&mut snapshot.results.rope, self.results.len());
        self.snapshot = Some(Box::new(snapshot));
    }

    /// Whether a checkpoint is being written.
    pub(super) fn is_writing(&self) -> bool {
        self.snapshot.is_some()
    }

    /// A task is about to change, to come or to go.
    pub(super) fn save_task(&mut self, key: Key) {
        if let Some(snapshot) = &mut self.snapshot
            && snapshot.tasks.is_ahead(&key)
            && let Some(kept) = self.tasks.get(&key)
        {
            record::put_kept(&mut snapshot.tasks.rope, key, kept);
        }
    }

    /// The same of an answer.
    pub(super) fn save_result(&mut self, id: &Bytes) {
        if let Some(snapshot) = &mut self.snapshot
            && snapshot.results.is_ahead(id)
            && let Some(answer) = self.results.get(id)
        {
            record::put_result(&mut snapshot.results.rope, id, answer);
        }
    }

    /// Writes the next part. Gives the checkpoint once it is whole, the last batch that it contains and the
    /// offset after that.
    pub(super) fn go_on_writing(&mut self) -> Option<(u64, u64, Rope)> {
        let snapshot = self.snapshot.as_mut()?;
        let (mut entries, mut bytes) = (0, 0);
        let is_full =
            |entries: usize, bytes: usize| entries >= SLICE_ENTRIES || bytes >= SLICE_BYTES;
        let from = (snapshot.tasks.from(), Bound::Unbounded);
        for (key, kept) in self.tasks.range(from) {
            if is_full(entries, bytes) {
                return None;
            }
            (entries, bytes) = (entries + 1, bytes + kept.bytes());
            if let Some(rope) = snapshot.tasks.turn(key) {
                record::put_kept(rope, *key, kept);
            }
        }
        snapshot.tasks.is_over = true;
        let from = (snapshot.results.from(), Bound::Unbounded);
        for (id, answer) in self.results.range::<Bytes, _>(from) {
            if is_full(entries, bytes) {
                return None;
            }
            (entries, bytes) = (entries + 1, bytes + answer.bytes());
            if let Some(rope) = snapshot.results.turn(id) {
                record::put_result(rope, id, answer);
            }
        }
        let whole = *self.snapshot.take()?;
        let mut rope = whole.head;
        for part in [whole.tasks.rope, whole.ids, whole.results.rope] {
            rope.append(part);
        }
        Some((whole.through, whole.before, rope))
    }
}
