//! How long the owner of a hub may go on with what is there before the connections get the thread.
//!
//! They read and write in tasks of the same thread. An owner that always finds one more message, each
//! of which takes it milliseconds, would keep newcomers waiting for seconds: a flooded public port
//! must not be a missed probe.

use std::time::{Duration, Instant};

/// How long events are handed out, or one connection is served, without a break. A break costs a look
/// at the sockets.
pub(super) const STRETCH: Duration = Duration::from_micros(300);

/// Since when the owner has had the thread.
pub(super) struct Pace(Instant);

impl Pace {
    pub(super) fn new() -> Self {
        Self(Instant::now())
    }

    /// Whether the owner has had the thread for long.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        now - self.0 >= STRETCH
    }

    /// Gives the thread to all others. Cancel safe.
    pub(super) async fn rest(&mut self) {
        tokio::task::yield_now().await;
        self.begin();
    }

    /// A new stretch: the owner was waiting.
    pub(super) fn begin(&mut self) {
        self.0 = Instant::now();
    }
}
