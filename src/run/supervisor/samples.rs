//! The last probe round trips of an instance, and their percentiles.

use std::collections::VecDeque;
use std::time::Duration;

use crate::model::limits::runner::PROBE_SAMPLES_MAX;

/// A bounded window of round trips; a new one pushes out the oldest.
#[derive(Debug, Default)]
pub(super) struct Samples(VecDeque<Duration>);

impl Samples {
    pub(super) fn push(&mut self, round_trip: Duration) {
        if self.0.len() == PROBE_SAMPLES_MAX {
            self.0.pop_front();
        }
        self.0.push_back(round_trip);
    }

    /// The round trip that `percent` of a hundred are not above, in microseconds.
    pub(super) fn percentile_us(&self, percent: usize) -> Option<u64> {
        let mut sorted: Vec<Duration> = self.0.iter().copied().collect();
        sorted.sort_unstable();
        let rank = (sorted.len() * percent).div_ceil(100).max(1) - 1;
        let at = sorted.get(rank)?;
        Some(u64::try_from(at.as_micros()).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_last_samples_only() {
        let mut samples = Samples::default();
        assert_eq!(samples.percentile_us(50), None);
        samples.push(Duration::from_micros(7));
        assert_eq!(
            (samples.percentile_us(50), samples.percentile_us(99)),
            (Some(7), Some(7))
        );
        for us in 1..=PROBE_SAMPLES_MAX as u64 {
            samples.push(Duration::from_micros(us));
        }
        assert_eq!(samples.percentile_us(50), Some(128));
        assert_eq!(samples.percentile_us(99), Some(254));
    }
}
