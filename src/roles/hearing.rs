//! What roles that subscribe and store have in common: whom they hear, and that nobody is read while
//! too much is being stored.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::limits::spool::{STORING_BYTES_MAX, STORING_MAX};

use super::machine::{Action, Conn};

/// Those that are heard, and what of theirs is being stored.
#[derive(Debug, Default)]
pub(super) struct Hearing {
    publishers: BTreeSet<Conn>,
    bytes: usize,
    count: usize,
    is_paused: bool,
    is_over: bool,
}

impl Hearing {
    /// Somebody is connected: who is dialled by a name that topics are known for is asked for them.
    pub(super) fn opened(
        &mut self,
        topics: &BTreeMap<String, Vec<String>>,
        (port, conn): (&str, Conn),
        actions: &mut Vec<Action>,
    ) {
        let Some(topics) = topics.get(port) else {
            return;
        };
        self.publishers.insert(conn);
        actions.extend(topics.iter().map(|topic| Action::Subscribe {
            conn,
            topic: topic.clone().into(),
            is_on: true,
        }));
        if self.is_paused || self.is_over {
            actions.push(Action::Pause { conn });
        }
    }

    /// Somebody is gone.
    pub(super) fn closed(&mut self, conn: Conn) {
        self.publishers.remove(&conn);
    }

    /// How many messages are being stored.
    pub(super) fn storing(&self) -> usize {
        self.count
    }

    /// Whether as much is being stored as may be, or a part of that.
    pub(super) fn is_loaded(&self, part: usize) -> bool {
        self.count >= STORING_MAX / part || self.bytes >= STORING_BYTES_MAX / part
    }

    /// Messages are being stored.
    pub(super) fn begin(&mut self, bytes: usize, count: usize, actions: &mut Vec<Action>) {
        self.bytes += bytes;
        self.count += count;
        if !self.is_paused && self.is_loaded(1) {
            self.is_paused = true;
            self.pause(actions);
        }
    }

    /// They are stored, or not.
    pub(super) fn end(&mut self, bytes: usize, count: usize, actions: &mut Vec<Action>) {
        self.bytes -= bytes;
        self.count -= count;
        if self.is_paused && !self.is_loaded(2) {
            self.is_paused = false;
            if !self.is_over {
                let publishers = self.publishers.iter();
                actions.extend(publishers.map(|conn| Action::Resume { conn: *conn }));
            }
        }
    }

    /// Nobody is read any more. What is not read is not ours: its publisher's queue has it, or has not.
    pub(super) fn stop(&mut self, actions: &mut Vec<Action>) {
        self.is_over = true;
        self.pause(actions);
    }

    fn pause(&self, actions: &mut Vec<Action>) {
        let publishers = self.publishers.iter();
        actions.extend(publishers.map(|conn| Action::Pause { conn: *conn }));
    }
}
