//! Answers that are kept until somebody has fetched and closed them, or until they are too old.
//!
//! They count against the bound in bytes, so that while they are there fewer tasks are taken. Where they
//! alone are more than they may be, the oldest go.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use bytes::Bytes;

use super::tasks::bytes_of;

/// Every answer that is kept.
#[derive(Debug, Default)]
pub(super) struct Results {
    by_id: HashMap<Bytes, (Duration, Vec<Bytes>)>,
    by_end: BTreeSet<(Duration, Bytes)>,
    bytes: usize,
}

impl Results {
    pub(super) fn get(&self, id: &[u8]) -> Option<&[Bytes]> {
        self.by_id.get(id).map(|(_, body)| body.as_slice())
    }

    /// Keeps an answer until a time.
    pub(super) fn keep(&mut self, id: Bytes, until: Duration, body: Vec<Bytes>) {
        self.take(&id);
        self.bytes += bytes_of(&body);
        self.by_end.insert((until, id.clone()));
        self.by_id.insert(id, (until, body));
    }

    /// Takes one out; says whether it was there.
    pub(super) fn take(&mut self, id: &Bytes) -> bool {
        let Some((until, body)) = self.by_id.remove(id) else {
            return false;
        };
        self.bytes -= bytes_of(&body);
        self.by_end.remove(&(until, id.clone()))
    }

    /// When the next is too old.
    pub(super) fn next(&self) -> Option<Duration> {
        self.by_end.first().map(|(until, _)| *until)
    }

    /// One that is too old, if there is any.
    pub(super) fn ended(&self, now: Duration) -> Option<Bytes> {
        let first = self.by_end.first().filter(|(until, _)| *until <= now);
        first.map(|(_, id)| id.clone())
    }

    /// The one that was kept longest.
    pub(super) fn oldest(&self) -> Option<Bytes> {
        self.by_end.first().map(|(_, id)| id.clone())
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}
