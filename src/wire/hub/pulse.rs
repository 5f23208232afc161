//! Whether a silent peer is asked, and when it counts as gone: a machine without socket or clock.
//!
//! A peer that announced ZMTP 3.1 is asked by a PING after a second of silence, another never is.
//! Who says nothing and is owed an acknowledgement by nobody is left to the kernel's own keepalive,
//! and no timer runs for it. A peer is gone only when its machine no longer acknowledges what was
//! sent: one that is stopped or stuck is stalled, and its queue has a bound.

use std::time::Duration;

use tokio::time::Instant;

/// Silence after which a peer is asked.
pub(super) const PING_AFTER: Duration = Duration::from_secs(1);
/// How long what was sent may be without any word before the kernel is asked about the peer's
/// machine, and how often it is asked then.
const DOUBT_AFTER: Duration = Duration::from_millis(1_500);
const DOUBT_EVERY: Duration = Duration::from_secs(1);
/// How long a machine may leave what was sent unanswered, in milliseconds. With the second before
/// the PING it is less than three seconds from its last word.
pub(super) const UNANSWERED_MS: u32 = 1_400;

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beat {
    /// Nothing, and no timer: the next byte either way begins anew.
    Rest,
    /// Nothing before this time.
    Wait(Instant),
    /// Ask the peer.
    Ping,
    /// Ask the kernel about its machine.
    Doubt,
}

/// The silence of one peer.
#[derive(Debug)]
pub(super) struct Pulse {
    /// Whether it understands a PING.
    is_asked: bool,
    heard: Instant,
    pinged: Option<Instant>,
    doubted: Option<Instant>,
    /// Since when something that was sent may be unacknowledged.
    owes: Option<Instant>,
}

impl Pulse {
    /// A peer that was heard just now; `is_asked` says whether it understands a PING.
    pub(super) fn new(now: Instant, is_asked: bool) -> Self {
        Self {
            is_asked,
            heard: now,
            pinged: None,
            doubted: None,
            owes: None,
        }
    }

    /// Something came.
    pub(super) fn hear(&mut self, now: Instant) {
        self.heard = now;
        self.pinged = None;
        self.doubted = None;
    }

    /// Something was sent.
    pub(super) fn send(&mut self) {
        if self.owes.is_none() {
            self.owes = Some(Instant::now());
        }
    }

    /// It was asked.
    pub(super) fn ping(&mut self, now: Instant) {
        self.pinged = Some(now);
        self.owes.get_or_insert(now);
    }

    /// The kernel says that its machine is there; and whether all is acknowledged.
    pub(super) fn believe(&mut self, now: Instant, is_settled: bool) {
        self.doubted = Some(now);
        if is_settled {
            self.owes = None;
        }
    }

    /// What to do now.
    pub(super) fn beat(&self, now: Instant) -> Beat {
        let asks = self.is_asked && self.pinged.is_none();
        let doubted = self.owes.map(|owes| match self.doubted {
            Some(doubted) => (doubted + DOUBT_EVERY).max(owes + DOUBT_AFTER),
            None => owes.max(self.heard) + DOUBT_AFTER,
        });
        let (due, then) = match (asks.then(|| self.heard + PING_AFTER), doubted) {
            (None, None) => return Beat::Rest,
            (Some(asked), Some(doubted)) if doubted < asked => (doubted, Beat::Doubt),
            (Some(asked), _) => (asked, Beat::Ping),
            (None, Some(doubted)) => (doubted, Beat::Doubt),
        };
        if now < due { Beat::Wait(due) } else { then }
    }

    /// How long it has left a PING unanswered.
    pub(super) fn unanswered(&self, now: Instant) -> Option<Duration> {
        self.pinged.map(|pinged| now - pinged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_peer_of_3_1_is_asked_once_and_then_its_machine_is_doubted() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut pulse = Pulse::new(start, true);
        assert_eq!(pulse.beat(start), Beat::Wait(at(1_000)));
        assert_eq!(pulse.beat(at(1_000)), Beat::Ping);
        pulse.ping(at(1_000));
        assert_eq!(pulse.beat(at(1_000)), Beat::Wait(at(2_500)));
        assert_eq!(pulse.beat(at(2_500)), Beat::Doubt);
        pulse.believe(at(2_500), false);
        assert_eq!(pulse.beat(at(2_500)), Beat::Wait(at(3_500)));
        // All is acknowledged: it is stalled, the kernel watches, and nothing is asked again.
        pulse.believe(at(3_500), true);
        assert_eq!(pulse.beat(at(3_500)), Beat::Rest);
        assert_eq!(pulse.unanswered(at(4_000)), Some(SECOND * 3));
        pulse.hear(at(5_000));
        assert_eq!(pulse.beat(at(5_000)), Beat::Wait(at(6_000)));
        assert_eq!(pulse.unanswered(at(5_000)), None);
    }

    #[test]
    fn a_peer_of_3_0_is_never_asked_and_no_timer_runs_while_nothing_was_sent() {
        let start = Instant::now();
        let mut pulse = Pulse::new(start, false);
        assert_eq!(pulse.beat(start + SECOND * 9), Beat::Rest);
        pulse.send();
        assert!(matches!(pulse.beat(start + SECOND), Beat::Wait(_)));
        assert_eq!(pulse.beat(start + SECOND * 9), Beat::Doubt);
        pulse.believe(start + SECOND * 9, true);
        assert_eq!(pulse.beat(start + SECOND * 9), Beat::Rest);
    }

    #[test]
    fn whoever_vanished_is_doubted_in_time_whether_it_is_asked_or_only_sent_to() {
        let start = Instant::now();
        for is_asked in [true, false] {
            let mut pulse = Pulse::new(start, is_asked);
            if !is_asked {
                pulse.send();
            }
            let doubt = (0..3_000).find(|ms| {
                let now = start + Duration::from_millis(*ms);
                let beat = pulse.beat(now);
                if beat == Beat::Ping {
                    pulse.ping(now);
                }
                beat == Beat::Doubt
            });
            assert!(
                doubt.is_some_and(|ms| ms >= u64::from(UNANSWERED_MS)),
                "{doubt:?}"
            );
        }
    }

    #[test]
    fn a_peer_that_is_written_to_without_end_is_doubted_every_second_and_no_more() {
        let start = Instant::now();
        let mut pulse = Pulse::new(start, false);
        let mut doubts = 0;
        for ms in 0..20_000 {
            let now = start + Duration::from_millis(ms);
            pulse.send();
            if pulse.beat(now) == Beat::Doubt {
                doubts += 1;
                pulse.believe(now, ms % 2_000 < 1_000);
            }
        }
        assert!((8..=20).contains(&doubts), "{doubts}");
    }
}
