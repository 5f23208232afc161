//! Which tasks are known by the ids that clients gave them: the same id again is the same task, while
//! it is to be done and for some time after.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

use crate::model::limits::queue::{KNOWN_BYTES_MAX, KNOWN_MAX};

use super::tasks::Key;

/// What is known of an id.
#[derive(Debug)]
pub(super) enum Known {
    /// The task is there, dead perhaps.
    Here(Key),
    /// It was done.
    Done(Done),
}

/// What came of a task.
#[derive(Debug, Clone)]
pub(super) struct Done {
    /// Attempts it took.
    pub(super) attempts: u32,
    /// The answer; nothing where it is not kept.
    pub(super) body: Option<Vec<Bytes>>,
}

/// Every id that is known.
#[derive(Debug, Default)]
pub(super) struct Ids {
    known: HashMap<Bytes, Known>,
    /// Ids of done tasks, oldest first.
    done: VecDeque<Bytes>,
    /// How many of the oldest have no answer any more.
    bare: usize,
    /// Bytes of the answers.
    bytes: usize,
}

/// One answer takes at most an eighth of what there is for all.
pub(super) const ANSWER_BYTES_MAX: usize = KNOWN_BYTES_MAX / 8;

fn bytes_of(body: Option<&[Bytes]>) -> usize {
    body.unwrap_or_default().iter().map(Bytes::len).sum()
}

impl Ids {
    pub(super) fn get(&self, id: &[u8]) -> Option<&Known> {
        self.known.get(id)
    }

    pub(super) fn here(&mut self, id: Bytes, key: Key) {
        self.known.insert(id, Known::Here(key));
    }

    /// The ids of done tasks, oldest first.
    pub(super) fn all_done(&self) -> impl Iterator<Item = (&Bytes, &Done)> {
        let each = self.done.iter();
        each.filter_map(|id| match self.known.get(id) {
            Some(Known::Done(done)) => Some((id, done)),
            Some(Known::Here(_)) | None => None,
        })
    }

    /// A task is gone without having been done.
    pub(super) fn forget(&mut self, id: &[u8]) {
        self.known.remove(id);
    }

    /// A task was done. The oldest ids are forgotten where there are too many; where their answers
    /// are too large, the oldest answers go and their ids stay.
    pub(super) fn done(&mut self, id: Bytes, attempts: u32, body: &[Bytes]) {
        let is_kept = bytes_of(Some(body)) <= ANSWER_BYTES_MAX;
        let copy = |frame: &Bytes| Bytes::copy_from_slice(frame);
        let body = is_kept.then(|| body.iter().map(copy).collect::<Vec<Bytes>>());
        self.was_done(id, attempts, body);
    }

    /// The same, of an answer that is in memory of its own, or of none.
    pub(super) fn was_done(&mut self, id: Bytes, attempts: u32, body: Option<Vec<Bytes>>) {
        self.bytes += bytes_of(body.as_deref());
        self.known
            .insert(id.clone(), Known::Done(Done { attempts, body }));
        self.done.push_back(id);
        if self.done.len() > KNOWN_MAX
            && let Some(oldest) = self.done.pop_front()
        {
            self.bare = self.bare.saturating_sub(1);
            if let Some(Known::Done(done)) = self.known.remove(&oldest) {
                self.bytes -= bytes_of(done.body.as_deref());
            }
        }
        while self.bytes > KNOWN_BYTES_MAX
            && let Some(oldest) = self.done.get(self.bare)
        {
            self.bare += 1;
            if let Some(Known::Done(done)) = self.known.get_mut(oldest) {
                self.bytes -= bytes_of(done.body.take().as_deref());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether an id is known, and whether its answer is.
    fn kept(ids: &Ids, id: &str) -> (bool, bool) {
        match ids.get(id.as_bytes()) {
            Some(Known::Done(done)) => (true, done.body.is_some()),
            Some(Known::Here(_)) | None => (false, false),
        }
    }

    #[test]
    fn the_oldest_ids_are_forgotten_by_number_and_answers_alone_by_bytes() {
        let mut ids = Ids::default();
        for number in 0..=KNOWN_MAX {
            ids.done(number.to_string().into(), 1, &[Bytes::from_static(b"x")]);
        }
        assert!(ids.get(b"0").is_none() && ids.get(b"1").is_some());
        let large = Bytes::from(vec![0; KNOWN_BYTES_MAX / 8]);
        for number in 0..9 {
            let id = format!("large {number}");
            ids.done(id.into(), 1, std::slice::from_ref(&large));
        }
        assert!(ids.bytes <= KNOWN_BYTES_MAX);
        assert_eq!(kept(&ids, "large 0"), (true, false));
        assert_eq!(kept(&ids, "large 1"), (true, true));
        assert_eq!(kept(&ids, "10000"), (true, false));
        let larger = Bytes::from(vec![0; KNOWN_BYTES_MAX / 8 + 1]);
        ids.done("larger".into(), 1, &[larger]);
        assert_eq!(kept(&ids, "larger"), (true, false));
        // Small ones after that push the bare ones out, and the accounts stay right.
        for number in 0..KNOWN_MAX {
            ids.done(format!("again {number}").into(), 1, &["x".into()]);
        }
        assert_eq!((ids.bytes, ids.bare), (KNOWN_MAX, 0));
        assert_eq!(ids.known.len(), KNOWN_MAX);
    }
}
