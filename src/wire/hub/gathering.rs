//! Messages that were sent and not written yet: what an owner sends in one turn to one peer is two
//! writes, one for the first message and one for all others, since a write costs as much as the
//! sealing of ten small messages.
//!
//! They wait only while the owner has something else at hand, and for no longer than [`WAIT`] and
//! what it is doing at the moment. One message alone never waits.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::peer::Peer;

/// How long a message may wait for others while the owner has more at hand: a few times what a write
/// costs, so that nobody is answered later than by one write after the other.
const WAIT: Duration = Duration::from_micros(50);

/// The connections that were sent something in this turn.
#[derive(Default)]
pub(super) struct Gathering(Mutex<Turn>);

#[derive(Default)]
struct Turn {
    peers: Vec<Arc<Peer>>,
    since: Option<Instant>,
}

impl Gathering {
    fn turn(&self) -> MutexGuard<'_, Turn> {
        // A panic elsewhere leaves a list behind, nothing that could be unsound.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes up a connection whose turn began.
    pub(super) fn add(&self, peer: &Arc<Peer>) {
        let mut turn = self.turn();
        turn.peers.push(peer.clone());
        turn.since.get_or_insert_with(Instant::now);
    }

    /// Whether the turn has lasted for long.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        let since = self.turn().since;
        since.is_some_and(|since| now - since >= WAIT)
    }

    /// Ends the turn: writes them all, as far as the kernel takes them.
    pub(super) fn write(&self) {
        let mut turn = self.turn();
        turn.since = None;
        for peer in turn.peers.drain(..) {
            peer.write_gathered();
        }
    }
}
