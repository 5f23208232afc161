//! A connection that waits for a name: who has it, and how long that is worth waiting for.
//!
//! It must never keep the holder's socket open.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::wire::hub::event::CloseReason;
use crate::wire::hub::refusal::Limit;

use super::Peer;

/// How long a peer waits for a name whose holder is there; as long as for a handshake where that may
/// be gone, which is found within three seconds.
const NAME_WAIT: Duration = Duration::from_secs(2);

impl Peer {
    /// The peer is admitted when this one gives up its name, or refused when its time is over.
    pub(in crate::wire::hub) fn wait_for_name(&self, holder: &Arc<Self>) {
        self.state().waits_for = Some(Arc::downgrade(holder));
    }

    /// When its handshake is looked at first.
    pub(super) fn deadline(&self, last: Instant) -> Instant {
        match self.is_claimant {
            true => last.min(Instant::now() + NAME_WAIT),
            false => last,
        }
    }

    /// Whether who has the name it claims may be gone: within two seconds of silence it was asked, by
    /// us or by the kernel.
    pub(super) fn may_get_its_name(&self) -> bool {
        let holder = self.state().waits_for.clone();
        holder.is_some_and(|holder| {
            let holder = holder.upgrade();
            holder.is_none_or(|holder| holder.heart.is_in_doubt())
        })
    }

    /// Whether it may still be admitted or refused.
    pub(in crate::wire::hub) fn is_claiming(&self) -> bool {
        self.state().session.is_claiming()
    }

    /// What it means that the handshake took too long; nothing where it was admitted in that moment.
    pub(super) fn late(&self) -> Option<CloseReason> {
        let mut state = self.state();
        if state.session.is_ready() {
            return None;
        }
        if state.waits_for.take().is_none() {
            return Some(CloseReason::HandshakeTimeout);
        }
        drop(state);
        self.refuse(Limit::Identity);
        Some(CloseReason::Limit(Limit::Identity))
    }
}
