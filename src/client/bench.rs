//! ZMQ Net's benchmark: one request at a time for a while, and what the latencies were.
//!
//! Differently from it, a dropped message is counted apart, and the last one is waited for.

use std::time::Duration;

use tokio::time::Instant;

use crate::wire::linger::Linger;

use super::courier::{Ask, Courier, Incident};

/// Buckets of one power of two: latencies are known to 1.6 %.
const STEPS: usize = 64;
/// Powers of two above [`STEPS`] nanoseconds.
const POWERS: usize = 40;

/// Latencies in a table whose size does not depend on how many there are.
#[derive(Debug, Clone)]
pub struct Latencies {
    buckets: Vec<u64>,
    count: u64,
    sum: Duration,
}

impl Default for Latencies {
    fn default() -> Self {
        Self {
            buckets: vec![0; STEPS * (POWERS + 2)],
            count: 0,
            sum: Duration::ZERO,
        }
    }
}

impl Latencies {
    /// Adds one.
    pub fn add(&mut self, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        let index = Self::index(nanos).min(self.buckets.len() - 1);
        self.buckets[index] += 1;
        self.count += 1;
        self.sum += latency;
    }

    fn index(nanos: u64) -> usize {
        let power = (nanos.max(1).ilog2() as usize).saturating_sub(STEPS.ilog2() as usize);
        // The top seven bits: each power of two has its own steps, and they follow each other.
        (nanos >> power) as usize + STEPS * power
    }

    fn value(index: usize) -> u64 {
        let power = (index / STEPS).saturating_sub(1);
        ((index - STEPS * power) as u64) << power
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// All of them together.
    pub fn sum(&self) -> Duration {
        self.sum
    }

    /// The latency that `share` of all stay below, within the table's precision.
    pub fn quantile(&self, share: f64) -> Duration {
        let rank = (self.count as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (index, bucket) in self.buckets.iter().enumerate() {
            seen += bucket;
            if seen >= rank.max(1) {
                return Duration::from_nanos(Self::value(index));
            }
        }
        Duration::ZERO
    }
}

/// What a run measured.
#[derive(Debug, Clone, Default)]
pub struct Results {
    /// Of the messages that were answered.
    pub latencies: Latencies,
    /// Messages without an answer.
    pub dropped: u64,
    /// From the first request to the last answer.
    pub took: Duration,
}

/// Sends one message after the other until `duration` is over.
pub async fn run(
    courier: &mut Courier,
    sender: &str,
    duration: Duration,
    say: &mut dyn FnMut(Incident),
) -> Results {
    let mut results = Results::default();
    let start = Instant::now();
    let mut number = 0_u64;
    while start.elapsed() < duration {
        number += 1;
        let ask = Ask::Plain {
            sender: sender.to_owned(),
            text: format!("msg {number} at {:?}", start.elapsed()),
        };
        match lingering(courier.deliver(&ask, say)).await {
            Ok(delivery) => results.latencies.add(delivery.took),
            Err(_) => results.dropped += 1,
        }
    }
    results.took = start.elapsed();
    results
}

/// Waits for an exchange without falling asleep at once.
async fn lingering<F: Future>(exchange: F) -> F::Output {
    let linger = Linger::begin();
    tokio::pin!(exchange);
    loop {
        tokio::select! {
            biased;
            // Cancel safe: it is only polled again, never dropped before its end.
            result = &mut exchange => return result,
            () = linger.look(), if linger.is_on() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_right_within_the_tables_precision() {
        let mut latencies = Latencies::default();
        for us in 1..=10_000 {
            latencies.add(Duration::from_micros(us));
        }
        for (share, us) in [(0.5, 5_000.0), (0.99, 9_900.0), (1.0, 10_000.0)] {
            let got = latencies.quantile(share).as_secs_f64() * 1e6;
            assert!((got / us - 1.0).abs() < 0.02, "{share}: {got}");
        }
        assert_eq!(latencies.count(), 10_000);
        assert_eq!(latencies.sum(), Duration::from_micros(50_005_000));
    }

    #[test]
    fn every_latency_has_a_bucket_and_the_buckets_are_in_order() {
        let mut last = 0;
        for power in 0..46 {
            for nanos in [1_u64 << power, (1_u64 << power) + ((1_u64 << power) >> 1)] {
                let index = Latencies::index(nanos);
                assert!(index >= last, "{nanos}");
                last = index;
                let value = Latencies::value(index);
                assert!(
                    value <= nanos && nanos - value <= nanos / 32,
                    "{nanos} {value}"
                );
            }
        }
        let mut latencies = Latencies::default();
        assert_eq!(latencies.quantile(0.5), Duration::ZERO);
        latencies.add(Duration::MAX);
        latencies.add(Duration::ZERO);
        assert_eq!(latencies.count(), 2);
    }
}
