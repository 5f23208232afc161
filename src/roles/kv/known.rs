//! Writes that may be asked for again: whoever heard no answer asks with the same `once`, and gets
//! the first answer.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

use crate::model::limits::kv::KNOWN_MAX;

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Done {
    /// The revision of its last write.
    pub(super) revision: u64,
    /// How many writes it came to.
    pub(super) writes: u32,
}

/// The last requests that said `once`.
#[derive(Debug, Default)]
pub(super) struct Known {
    done: HashMap<Bytes, Done>,
    order: VecDeque<Bytes>,
}

impl Known {
    /// What came of a request.
    pub(super) fn get(&self, id: &Bytes) -> Option<Done> {
        self.done.get(id).copied()
    }

    /// Remembers one; the oldest makes room.
    pub(super) fn add(&mut self, id: Bytes, done: Done) {
        if self.done.insert(id.clone(), done).is_none() {
            self.order.push_back(id);
        }
        while self.order.len() > KNOWN_MAX {
            let oldest = self.order.pop_front().expect("there are more than none");
            self.done.remove(&oldest);
        }
    }

    /// All of them, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Bytes, &Done)> {
        let each = self.order.iter();
        each.filter_map(|id| self.done.get_key_value(id))
    }
}
