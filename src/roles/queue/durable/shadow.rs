//! What is stored, as a start would find it: the machine runs ahead of it, and is made from it again at
//! a start, and when the disk did not take what the machine had done.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

use crate::roles::queue::known::Ids;
use crate::roles::queue::tasks::Key;

use super::changes::{Answer, Change, Kept, Place};
use super::snapshot::Snapshot;

/// What is stored.
#[derive(Debug, Default)]
pub(super) struct Shadow {
    pub(super) tasks: BTreeMap<Key, Kept>,
    /// Tasks that were done, by their ids.
    pub(super) ids: Ids,
    /// Answers that wait to be closed.
    pub(super) results: BTreeMap<Bytes, Answer>,
    /// Tasks done and given up, ever.
    pub(super) completed: u64,
    pub(super) dead: u64,
    /// Places are used under no generation before this one again.
    pub(super) generation: u32,
    /// What the tokens and names of this store's tasks have in common.
    pub(super) epoch: u32,
    /// The checkpoint that is being written.
    pub(super) snapshot: Option<Box<Snapshot>>,
}

impl Shadow {
    /// What was stored happens: when, in milliseconds since 1970.
    pub(super) fn apply(&mut self, change: Change, at_ms: u64) {
        match &change {
            Change::Accepted(key, _)
            | Change::Moved(key, _)
            | Change::Done(key, _)
            | Change::Gone(key) => self.save_task(*key),
            Change::Closed(id) => self.save_result(id),
        }
        match change {
            Change::Accepted(key, mut kept) => {
                kept.facet.place = kept.facet.place.stored(at_ms);
                self.insert(key, *kept);
            }
            Change::Moved(key, mut facet) => {
                facet.place = facet.place.stored(at_ms);
                if let Some(kept) = self.tasks.get_mut(&key) {
                    self.dead -= u64::from(kept.facet.place == Place::Dead);
                    self.dead += u64::from(facet.place == Place::Dead);
                    kept.facet = facet;
                }
            }
            Change::Done(key, answer) => {
                if let Some(kept) = self.tasks.remove(&key) {
                    self.completed += 1;
                    self.done(kept, answer);
                }
            }
            Change::Gone(key) => {
                if let Some(kept) = self.tasks.remove(&key) {
                    self.dead += u64::from(kept.facet.place != Place::Dead);
                }
            }
            Change::Closed(id) => {
                self.results.remove(&id);
            }
        }
    }

    /// All was read. Of several tasks in one place only the newest is there: what ended the others was in
    /// a batch that is damaged.
    pub(super) fn settle(&mut self) {
        let mut newest: HashMap<u32, u32> = HashMap::new();
        for key in self.tasks.keys() {
            let known = newest.entry(key.index).or_default();
            *known = (*known).max(key.generation);
        }
        self.tasks
            .retain(|key, _| newest.get(&key.index) == Some(&key.generation));
    }

    fn insert(&mut self, key: Key, kept: Kept) {
        self.generation = self.generation.max(key.generation.saturating_add(1));
        self.dead += u64::from(kept.facet.place == Place::Dead);
        self.tasks.insert(key, kept);
    }

    fn done(&mut self, kept: Kept, answer: Answer) {
        let Some(id) = kept.id else {
            return;
        };
        match answer.until_ms {
            Some(_) => {
                self.save_result(&id);
                self.results.insert(id, answer);
            }
            None => self.ids.was_done(id, answer.attempts, answer.body),
        }
    }
}
