//! How fast a port accepts: so many at once, then so many a tick.
//!
//! A flood of connections costs whoever attacks more than us: the kernel's short backlog is full, and it
//! has their next attempt wait. Who is served keeps the processor.

use std::time::{Duration, Instant};

/// The kernel keeps no more connections than these for us; libzmq has it keep a hundred.
pub(in crate::wire::hub) const BACKLOG: i32 = 128;
/// Accepted at once after a quiet while.
const BURST: u32 = 256;
/// Accepted in each tick of a flood: 3,200 a second.
const EACH_TICK: u32 = 32;
/// A tick.
pub(super) const TICK: Duration = Duration::from_millis(10);

/// How many may be accepted now.
pub(super) struct Pace {
    left: u32,
    since: Instant,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self {
            left: BURST,
            since: Instant::now(),
        }
    }

    /// One more, if that is not too fast.
    pub(super) fn takes_one(&mut self, now: Instant) -> bool {
        let ticks = now.duration_since(self.since).as_millis() / TICK.as_millis();
        if ticks > 0 {
            let more = u32::try_from(ticks)
                .unwrap_or(BURST)
                .saturating_mul(EACH_TICK);
            self.left = self.left.saturating_add(more).min(BURST);
            self.since = now;
        }
        let takes = self.left > 0;
        self.left -= u32::from(takes);
        takes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_taken_at_once_and_then_so_many_a_tick() {
        let mut pace = Pace::new();
        let start = pace.since;
        let mut taken = |now| (0..1_000).filter(|_| pace.takes_one(now)).count();
        assert_eq!(taken(start), BURST as usize);
        assert_eq!(taken(start + TICK - Duration::from_micros(1)), 0);
        assert_eq!(taken(start + TICK), EACH_TICK as usize);
        assert_eq!(taken(start + 100 * TICK), BURST as usize);
    }
}
