//! What a child is held to: its policies, in the machine's own units.

use std::time::Duration;

use crate::model::policy::{Probe, ProbeHow, Restart, RestartWhen, Run};

/// The longest pause between two tries while a child comes up: soon enough to be seen ready at
/// once, seldom enough to cost nothing.
const EAGER_PAUSE_MAX: Duration = Duration::from_millis(100);
/// The first such pause.
const EAGER_PAUSE_MIN: Duration = Duration::from_millis(4);

/// How a child shows that it is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shows {
    /// By having lived for a while.
    Living,
    /// By answering when it is asked.
    Answering,
    /// By saying so itself: a notification, a line of its log.
    Telling,
}

/// What a child is held to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Kept running, run to its end, or started by hand.
    pub run: Run,
    /// How much later than the others it starts.
    pub late: Duration,
    /// How it shows that it is ready.
    pub shows: Shows,
    /// Time between the starts of two probes.
    pub every: Duration,
    /// How long one try may take.
    pub timeout: Duration,
    /// Missed tries in a row that make it Suspect.
    pub retries: u32,
    /// Time after start in which misses do not count.
    pub grace: Duration,
    /// When it is started again.
    pub restart: Restart,
    /// Time from the first signal to KILL.
    pub stop_grace: Duration,
}

impl Rules {
    /// The rules of resolved policies.
    pub fn new(
        run: Run,
        late_ms: Option<u64>,
        probe: &Probe,
        restart: Restart,
        stop_ms: u64,
    ) -> Self {
        let shows = match probe.how {
            ProbeHow::Alive => Shows::Living,
            ProbeHow::Notify | ProbeHow::Log { .. } => Shows::Telling,
            ProbeHow::Health { .. }
            | ProbeHow::Request { .. }
            | ProbeHow::Dialled { .. }
            | ProbeHow::Exec { .. }
            | ProbeHow::Tcp { .. }
            | ProbeHow::Http { .. } => Shows::Answering,
        };
        Self {
            run,
            late: Duration::from_millis(late_ms.unwrap_or(0)),
            shows,
            every: Duration::from_millis(probe.every_ms),
            timeout: Duration::from_millis(probe.timeout_ms),
            retries: probe.retries.max(1),
            grace: Duration::from_millis(probe.grace_ms),
            restart,
            stop_grace: Duration::from_millis(stop_ms),
        }
    }

    /// The pause after try number `tries` (from 1) while it comes up.
    pub(super) fn eager_pause(&self, tries: u32) -> Duration {
        let pause = EAGER_PAUSE_MIN.saturating_mul(1 << tries.saturating_sub(1).min(10));
        pause.min(EAGER_PAUSE_MAX).min(self.every)
    }

    /// The wait before restart number `attempt` (from 0) in a row: the first is exactly the least,
    /// each further one is drawn from the upper half of a span that doubles up to the most.
    pub(super) fn backoff(&self, attempt: u32, jitter: u64) -> Duration {
        let min = self.restart.backoff_min_ms;
        let max = self.restart.backoff_max_ms.max(min);
        let span = min.saturating_mul(1_u64 << attempt.min(40)).min(max);
        let low = (span / 2).max(min);
        Duration::from_millis(low + jitter % (span - low + 1))
    }

    /// How long it must have been Ready for its next failure to count as the first.
    pub(super) fn stable(&self) -> Duration {
        Duration::from_millis(self.restart.backoff_max_ms)
    }

    /// Whether it is started again after an end, or after missed probes where there is none.
    pub(super) fn restarts_after(&self, success: bool) -> bool {
        match self.restart.when {
            RestartWhen::Never => false,
            RestartWhen::Failure => !success,
            RestartWhen::Always => !(success && self.run == Run::Once),
        }
    }
}
