//! What a log makes of clocks that are set, and of records that say that they come from another time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::{config, entry};
use crate::disk::testing::TestDisk;
use crate::disk::{Log, LogConfig, open};
use crate::model::store::{Entry, Put, Start, Stored};

const HOUR_NS: u64 = 3_600_000_000_000;
const DAY_NS: u64 = 24 * HOUR_NS;
const BEGAN_NS: u64 = 20_000 * DAY_NS;

/// A log that keeps what is an hour old, and the clock it goes by.
struct Bench {
    disk: TestDisk,
    log: Option<Log>,
    now: Arc<AtomicU64>,
}

impl Bench {
    fn new() -> Self {
        let now = Arc::new(AtomicU64::new(BEGAN_NS));
        let (disk, log) = (TestDisk::default(), None);
        let mut bench = Self { disk, log, now };
        bench.open_at(BEGAN_NS);
        bench
    }

    /// Another life, by a clock that says so.
    fn open_at(&mut self, now_ns: u64) {
        self.now.store(now_ns, Ordering::Relaxed);
        self.log = None;
        let clock = Arc::clone(&self.now);
        let clock = Box::new(move || clock.load(Ordering::Relaxed));
        let config = LogConfig {
            retain_ns: Some(HOUR_NS),
            ..config(300)
        };
        self.log = open(self.disk.shared(), config, clock, &mut drop).ok();
    }

    fn log(&mut self) -> &mut Log {
        self.log.as_mut().expect("it is open")
    }

    fn pass(&self, ns: u64) {
        self.now.fetch_add(ns, Ordering::Relaxed);
    }

    fn store(&mut self) -> Stored {
        self.log().write(&[entry("", &[&[b'x'; 120]])]).unwrap()[0]
    }

    /// Removes what is too old; gives the oldest offset then.
    fn retained(&mut self) -> u64 {
        let last = self.log().end().seq - 1;
        self.log().checkpoint(last, &Bytes::new().into()).unwrap();
        assert!(!self.log().retain());
        self.log().reader().range().0
    }
}

#[test]
fn after_a_start_with_a_clock_a_day_behind_the_time_goes_on_from_where_it_was() {
    let mut bench = Bench::new();
    let first = bench.store();
    bench.open_at(BEGAN_NS - DAY_NS);
    let second = bench.store();
    assert!(second.time_ns >= first.time_ns);
    bench.pass(HOUR_NS / 2);
    let third = bench.store();
    assert_eq!(
        third.time_ns - first.time_ns,
        HOUR_NS / 2,
        "it does not stand still"
    );
    assert_eq!(bench.retained(), 0, "nothing of it is an hour old");
    bench.pass(HOUR_NS / 2 + 1);
    assert_eq!(bench.retained(), 2, "the first two are");
    bench.pass(HOUR_NS);
    assert_eq!(bench.retained(), 3);
}

#[test]
fn what_says_that_it_comes_from_the_future_makes_nothing_older() {
    let mut bench = Bench::new();
    bench.store();
    let put = |time_ns| Put {
        time_ns: Some(time_ns),
        data: Bytes::from_static(b"from elsewhere"),
    };
    let ahead = BEGAN_NS + 365 * DAY_NS;
    let entry = Entry {
        note: Bytes::new(),
        records: vec![put(ahead)],
    };
    let stored = bench.log().write(&[entry]).unwrap()[0];
    assert_eq!(stored.time_ns, BEGAN_NS, "it was stored now");
    assert_eq!(bench.store().time_ns, BEGAN_NS);
    for now_ns in [BEGAN_NS + 1, BEGAN_NS - DAY_NS] {
        bench.open_at(now_ns);
        assert_eq!(bench.retained(), 0);
    }
    // What it says itself is kept.
    let read = bench.log().reader().fetch(Start::Offset(1), 1, 1_000);
    assert_eq!(read.unwrap().records[0].time_ns, ahead);
}

#[test]
fn what_was_stored_long_ago_elsewhere_is_as_old_as_it_says() {
    let mut bench = Bench::new();
    let old = Put {
        time_ns: Some(BEGAN_NS - DAY_NS),
        data: Bytes::from(vec![b'o'; 200]),
    };
    let entry = Entry {
        note: Bytes::new(),
        records: vec![old],
    };
    bench.log().write(&[entry]).unwrap();
    bench.store();
    assert_eq!(bench.retained(), 1);
}
