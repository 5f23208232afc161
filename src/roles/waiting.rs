//! Requests that wait for something to come, each until a moment of its own.

use std::collections::BTreeMap;
use std::time::Duration;

/// Requests that wait.
#[derive(Debug)]
pub(super) struct Waiting<T> {
    /// By until when, and a number.
    all: BTreeMap<(Duration, u64), T>,
    count: u64,
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        let all = BTreeMap::new();
        Self { all, count: 0 }
    }
}

impl<T> Waiting<T> {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// When the first of them has waited long enough.
    pub(super) fn next(&self) -> Option<Duration> {
        self.all.first_key_value().map(|((until, _), _)| *until)
    }

    pub(super) fn add(&mut self, until: Duration, it: T) {
        self.count += 1;
        self.all.insert((until, self.count), it);
    }

    /// Keeps those that are still asked for.
    pub(super) fn retain(&mut self, mut is_kept: impl FnMut(&T) -> bool) {
        self.all.retain(|_, it| is_kept(it));
    }

    /// Those that are of a sort; they wait no longer.
    pub(super) fn those(&mut self, mut is_it: impl FnMut(&T) -> bool) -> Vec<T> {
        let all = std::mem::take(&mut self.all).into_iter();
        let (out, stay): (Vec<_>, Vec<_>) = all.partition(|(_, it)| is_it(it));
        self.all = stay.into_iter().collect();
        out.into_iter().map(|(_, it)| it).collect()
    }

    /// All of them, by when their time would have been over.
    pub(super) fn take(&mut self) -> impl Iterator<Item = T> + use<T> {
        std::mem::take(&mut self.all).into_values()
    }

    /// The next whose time is over by a moment; whichever is next, where there is none.
    pub(super) fn pop(&mut self, until: Option<Duration>) -> Option<T> {
        let entry = self.all.first_entry()?;
        let is_over = until.is_none_or(|until| entry.key().0 <= until);
        is_over.then(|| entry.remove())
    }
}
