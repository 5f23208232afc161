//! Which connections have news: told by their tasks, heard by the hub's owner.
//!
//! Each is in it at most once, so it is bounded by the number of connections. It must never keep the
//! memory of a crowd that is gone: a small block high up in the heap keeps all below from the kernel.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use super::ConnId;

/// Room that is kept for the next few.
const KEPT: usize = 64;

#[derive(Default)]
pub(super) struct Told {
    conns: Mutex<Vec<ConnId>>,
    wake: Notify,
}

impl Told {
    /// This connection has news.
    pub(super) fn tell(&self, conn: ConnId) {
        // A panic elsewhere leaves numbers behind, nothing that could be unsound; so below.
        let mut conns = self.conns.lock().unwrap_or_else(PoisonError::into_inner);
        conns.push(conn);
        drop(conns);
        self.wake.notify_one();
    }

    /// Has all that were told wait for their turn.
    pub(super) fn hear(&self, turns: &mut VecDeque<ConnId>) {
        let mut conns = self.conns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.extend(conns.drain(..));
        if conns.capacity() > KEPT {
            *conns = Vec::new();
        }
    }

    /// Waits until some may have been told since they were heard. Cancel safe.
    pub(super) async fn some(&self) {
        self.wake.notified().await;
    }
}

/// Gives back what a queue of turns needed for a crowd.
pub(super) fn settle(turns: &mut VecDeque<ConnId>) {
    if turns.is_empty() && turns.capacity() > KEPT {
        *turns = VecDeque::new();
    }
}
