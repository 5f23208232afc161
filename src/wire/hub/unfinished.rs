//! Bytes of messages that are not whole yet, of all connections together.
//!
//! Each message has its limit, and ten thousand connections that each send most of one would still
//! take all memory there is, for as long as they like. Beyond a bound on the sum, whose message is
//! unfinished for longest is ended: who means well finishes, and begins another.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::model::limits::hub::UNFINISHED_BYTES_MAX;

/// All of them, in one hub.
#[derive(Default)]
pub(super) struct Unfinished(Mutex<Messages>);

#[derive(Default)]
struct Messages {
    bytes: usize,
    last: u64,
    /// Oldest first.
    by_age: BTreeMap<u64, Message>,
}

struct Message {
    bytes: usize,
    wake: Arc<Notify>,
    is_over: bool,
}

impl Unfinished {
    fn messages(&self) -> MutexGuard<'_, Messages> {
        // A panic elsewhere leaves numbers behind, nothing that could be unsound.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes of all of them.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.messages().bytes
    }
}

impl Messages {
    fn forget(&mut self, number: u64) {
        if let Some(message) = self.by_age.remove(&number) {
            self.bytes -= message.bytes;
        }
    }

    /// Tells as many of the oldest that they are over as it takes.
    fn shed(&mut self) {
        let mut excess = self.bytes.saturating_sub(UNFINISHED_BYTES_MAX);
        for message in self.by_age.values_mut() {
            if excess == 0 {
                return;
            }
            if !message.is_over {
                message.is_over = true;
                message.wake.notify_one();
            }
            excess = excess.saturating_sub(message.bytes);
        }
    }
}

/// One connection's part in it.
pub(super) struct Share {
    all: Arc<Unfinished>,
    /// Wakes the connection's task, which then learns that it is over.
    wake: Arc<Notify>,
    /// Its message under way, by the order in which they began, and which of its messages that is.
    under_way: Option<(u64, u64)>,
}

impl Share {
    pub(super) fn new(all: Arc<Unfinished>, wake: Arc<Notify>) -> Self {
        Self {
            all,
            wake,
            under_way: None,
        }
    }

    /// Notes how many bytes of its message of this number are here. False where it is over.
    pub(super) fn note(&mut self, message: u64, bytes: usize) -> bool {
        if bytes == 0 && self.under_way.is_none() {
            return true;
        }
        let mut all = self.all.messages();
        if let Some((number, of)) = self.under_way
            && (of != message || bytes == 0)
        {
            all.forget(number);
            self.under_way = None;
        }
        if bytes == 0 {
            return true;
        }
        let number = match self.under_way {
            Some((number, _)) => number,
            None => {
                all.last += 1;
                all.last
            }
        };
        self.under_way = Some((number, message));
        let noted = all.by_age.entry(number).or_insert_with(|| Message {
            bytes: 0,
            wake: self.wake.clone(),
            is_over: false,
        });
        let (before, is_over) = (std::mem::replace(&mut noted.bytes, bytes), noted.is_over);
        all.bytes = all.bytes - before + bytes;
        all.shed();
        !is_over
    }

    /// Whether its message under way is over, whoever notes how much there is of it.
    pub(super) fn is_over(&self) -> bool {
        let all = self.all.messages();
        let own = self
            .under_way
            .and_then(|(number, _)| all.by_age.get(&number));
        own.is_some_and(|message| message.is_over)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if let Some((number, _)) = self.under_way {
            self.all.messages().forget(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_the_bound_the_oldest_is_over_and_who_finishes_is_not() {
        let all = Arc::new(Unfinished::default());
        let share = || Share::new(all.clone(), Arc::default());
        let (mut old, mut busy, mut new) = (share(), share(), share());
        let third = UNFINISHED_BYTES_MAX / 3;
        assert!(old.note(0, third) && busy.note(0, third));
        // It finishes one and begins the next: that one is the youngest.
        assert!(busy.note(1, 0) && busy.note(1, third));
        assert!(new.note(0, third));
        assert!(old.note(0, third), "at the bound nobody is over");
        assert!(new.note(0, third + 10));
        assert!(!old.note(0, third + 1), "the oldest is");
        assert!(busy.note(1, third) && new.note(0, third + 10));
        drop(old);
        assert!(all.messages().bytes <= UNFINISHED_BYTES_MAX);
        drop((busy, new));
        assert_eq!(all.messages().bytes, 0);
        assert!(all.messages().by_age.is_empty());
    }
}
