//! How many heartbeats, and commands without a meaning, a peer sends.

use std::time::Duration;

use tokio::time::Instant;

use crate::model::limits::WireLimits;

/// Heartbeats in the period that is running.
pub(super) struct Pings {
    max: u64,
    period: Duration,
    since: Instant,
    /// The session's count when the period began.
    before: u64,
}

impl Pings {
    pub(super) fn new(limits: &WireLimits) -> Self {
        Self {
            max: u64::from(limits.pings_max),
            period: Duration::from_millis(limits.pings_period_ms),
            since: Instant::now(),
            before: 0,
        }
    }

    /// Whether the peer, which sent `count` in all, sent more than it may in this period.
    pub(super) fn are_too_many(&mut self, count: u64) -> bool {
        if count == self.before {
            return false;
        }
        if self.since.elapsed() >= self.period {
            (self.since, self.before) = (Instant::now(), count - 1);
        }
        count - self.before > self.max
    }
}
