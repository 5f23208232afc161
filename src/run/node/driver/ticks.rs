//! How late a role was told that the time it waited for has come: what its event loop, and the machine
//! under it, cost whatever a role does by the clock. It is counted in classes, each twice as wide as the one
//! before, so that a role that runs for a year keeps as much of it as one that runs for a second.

use std::time::Duration;

use serde_json::{Value, json};

/// Class `n` has what was at most `2^n` microseconds late; the last one has all that was later.
const CLASSES: usize = 36;

/// What was counted.
#[derive(Debug)]
pub(super) struct Ticks {
    late: [u64; CLASSES],
    most: Duration,
}

impl Ticks {
    pub(super) fn new() -> Self {
        Self {
            late: [0; CLASSES],
            most: Duration::ZERO,
        }
    }

    /// A time has come, so late.
    pub(super) fn came(&mut self, late: Duration) {
        let micros = u64::try_from(late.as_micros()).unwrap_or(u64::MAX);
        let class = micros.max(1).checked_next_power_of_two();
        let class = class.map_or(CLASSES - 1, |bound| bound.trailing_zeros() as usize);
        self.late[class.min(CLASSES - 1)] += 1;
        self.most = self.most.max(late);
    }

    /// How often, and by how much at most in the half, and in all but one of a hundred, of all times.
    pub(super) fn facts(&self) -> Value {
        let count: u64 = self.late.iter().sum();
        let most = u64::try_from(self.most.as_micros()).unwrap_or(u64::MAX);
        json!({
            "count": count,
            "late_us": {"p50": self.within(50, count).min(most), "p99": self.within(99, count).min(most), "max": most},
        })
    }

    /// What so many of a hundred were at most.
    fn within(&self, percent: u64, count: u64) -> u64 {
        let mut left = (count * percent).div_ceil(100);
        for (class, counted) in self.late.iter().enumerate() {
            if left <= *counted {
                return match left {
                    0 => 0,
                    _ => 1 << class,
                };
            }
            left -= counted;
        }
        unreachable!("all that was counted is in a class")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn late(ticks: &Ticks) -> [u64; 3] {
        let facts = ticks.facts();
        ["p50", "p99", "max"].map(|key| facts["late_us"][key].as_u64().unwrap())
    }

    #[test]
    fn most_of_the_times_and_the_worst_are_told_apart() {
        let mut ticks = Ticks::new();
        assert_eq!((late(&ticks), &ticks.facts()["count"]), ([0; 3], &0.into()));
        for _ in 0..99 {
            ticks.came(Duration::from_micros(60));
        }
        ticks.came(Duration::from_micros(5_000));
        assert_eq!(late(&ticks), [64, 64, 5_000]);
        ticks.came(Duration::from_micros(5_000));
        assert_eq!(late(&ticks), [64, 5_000, 5_000], "two of a hundred and one");
        ticks.came(Duration::ZERO);
        ticks.came(Duration::MAX);
        assert_eq!(
            (late(&ticks)[2], &ticks.facts()["count"]),
            (u64::MAX, &103.into())
        );
    }
}
