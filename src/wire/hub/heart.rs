//! The heart of one connection: its [`Pulse`], the kernel's word about the other machine, and how
//! long the peer has taken nothing.
//!
//! Whoever reads and whoever writes tells it; the connection's task asks it what to do. It never
//! waits, and it ends a connection for one reason only: its machine does not acknowledge.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::CloseReason;
use super::pulse::{Beat, Pulse, UNANSWERED_MS};
use super::tcp_info;

/// What the connection's task does next for it.
pub(super) enum Next {
    /// Send a PING and ask again.
    Ping,
    /// Look at this time.
    At(Instant),
    /// Nothing: who writes wakes the task.
    Rest,
}

/// What is known of one peer's silence.
pub(super) struct Heart {
    /// Both ends of a tcp connection; none on ipc, where nothing vanishes in silence.
    ends: Option<(SocketAddr, SocketAddr)>,
    beating: Mutex<Beating>,
}

struct Beating {
    /// From when the peer is admitted.
    pulse: Option<Pulse>,
    /// No timer runs for it.
    is_resting: bool,
    /// Since when the peer takes nothing of what waits for it.
    stuck: Option<Instant>,
}

impl Heart {
    pub(super) fn new(ends: Option<(SocketAddr, SocketAddr)>) -> Self {
        Self {
            ends,
            beating: Mutex::new(Beating {
                pulse: None,
                is_resting: true,
                stuck: None,
            }),
        }
    }

    fn beating(&self) -> MutexGuard<'_, Beating> {
        // A panic elsewhere leaves times behind, nothing that could be unsound.
        self.beating.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something came.
    pub(super) fn heard(&self) {
        if let Some(pulse) = &mut self.beating().pulse {
            pulse.hear(Instant::now());
        }
    }

    /// The kernel took something. True where the task has to be woken, since no timer runs.
    pub(super) fn wrote(&self) -> bool {
        let mut beating = self.beating();
        beating.stuck = None;
        let Some(pulse) = &mut beating.pulse else {
            return false;
        };
        pulse.send();
        std::mem::take(&mut beating.is_resting)
    }

    /// The kernel took nothing: the peer has not read what it was sent before.
    pub(super) fn blocked(&self) {
        self.beating().stuck.get_or_insert_with(Instant::now);
    }

    /// How long the peer has taken nothing of what waits for it, or has left a PING unanswered.
    pub(super) fn stalled_ms(&self) -> u64 {
        let now = Instant::now();
        let beating = self.beating();
        let unanswered = beating.pulse.as_ref().and_then(|it| it.unanswered(now));
        let stuck = beating.stuck.map(|since| now - since);
        let longest = unanswered.max(stuck).unwrap_or_default();
        u64::try_from(longest.as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether the peer's machine has not acknowledged all that it was sent and asked.
    pub(super) fn is_in_doubt(&self) -> bool {
        let info = self.ends.and_then(|(own, peer)| tcp_info::ask(own, peer));
        info.is_some_and(|info| !info.is_settled() || info.probes > 0)
    }

    /// What its silence asks for now, of a peer that is admitted and speaks ZMTP 3.`minor`.
    pub(super) fn beat(&self, minor: u8, is_behind: bool) -> Result<Next, CloseReason> {
        let Some((local, remote)) = self.ends else {
            return Ok(Next::Rest);
        };
        let mut beating = self.beating();
        loop {
            let now = Instant::now();
            // Only who announced 3.1 knows a PING; it is the end of any other.
            let pulse = beating
                .pulse
                .get_or_insert_with(|| Pulse::new(now, minor > 0));
            match pulse.beat(now) {
                Beat::Rest => {
                    beating.is_resting = true;
                    return Ok(Next::Rest);
                }
                Beat::Wait(until) => {
                    beating.is_resting = false;
                    return Ok(Next::At(until));
                }
                Beat::Ping => {
                    pulse.ping(now);
                    // Behind other bytes it would say nothing that they do not.
                    if !is_behind {
                        return Ok(Next::Ping);
                    }
                }
                Beat::Doubt => {
                    let info = tcp_info::ask(local, remote);
                    if info.is_some_and(|info| info.is_unanswered(UNANSWERED_MS)) {
                        return Err(CloseReason::Vanished);
                    }
                    let is_settled = info.is_none_or(|info| info.is_settled());
                    pulse.believe(now, is_settled && !is_behind);
                }
            }
        }
    }
}
