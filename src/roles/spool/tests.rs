//! The spool beside a store that does what it is told to, when it is told to.

mod failing;
mod latest;

use std::collections::VecDeque;

use super::*;
use crate::model::endpoint::Endpoint;
use crate::model::limits::WireLimits;
use crate::model::limits::spool::{STORING_MAX, WINDOW_MAX};
use crate::model::store::{Batch, Durability, Entry, Fetched, Record, Start, Stored};
use crate::roles::machine::{Conn, Machine as _};

const DIAL: &str = "to news";
const FEED: Conn = Conn(100);

/// A machine, its store, and what it answered.
struct Bench {
    machine: Machine,
    now: Duration,
    /// What the store was asked and has not answered.
    asked: VecDeque<Ask>,
    batches: Vec<Batch>,
    records: Vec<Bytes>,
    /// The oldest offset that was not removed.
    start: u64,
    checkpoint: Option<(u64, Bytes)>,
    /// By connection: status, result, body.
    answers: Vec<(u64, u16, Value, Vec<Bytes>)>,
    others: Vec<Action>,
}

fn config(mode: Mode, filters: &[Filter]) -> Config {
    Config {
        common: Common {
            name: "archive".into(),
            ports: Vec::new(),
            dials: Vec::new(),
            health: Endpoint::ipc("/none"),
            limits: Box::new(WireLimits::default()),
        },
        store: StoreConfig {
            path: "/none".into(),
            durability: Durability::Fsync,
            retain_ms: Some(1_000),
            retain_bytes: None,
            bytes_max: None,
        },
        mode,
        bytes_max: None,
        filters: filters.to_vec(),
        link_filters: BTreeMap::new(),
        topics: [(DIAL.to_owned(), vec!["a".to_owned()])].into(),
    }
}

impl Bench {
    fn new(config: &Config) -> Self {
        let mut bench = Self {
            machine: Machine::new(config, 1_000_000_000),
            now: Duration::ZERO,
            asked: VecDeque::new(),
            batches: Vec::new(),
            records: Vec::new(),
            start: 0,
            checkpoint: None,
            answers: Vec::new(),
            others: Vec::new(),
        };
        bench.tell(Event::Disk(Told::Recovered { start: 0, end: 0 }));
        bench.tell(Event::Opened {
            port: DIAL.into(),
            conn: FEED,
        });
        bench
    }

    /// The same store with a machine that knows only what was kept, at another time.
    fn again(&mut self, config: &Config, began_ns: u64) {
        self.machine = Machine::new(config, began_ns);
        self.asked.clear();
        let mut since = 0;
        if let Some((through, data)) = self.checkpoint.clone() {
            self.tell(Event::Disk(Told::Restored(data)));
            since = through + 1;
        }
        for batch in self.batches.clone() {
            if batch.seq >= since {
                self.tell(Event::Disk(Told::Replayed(batch)));
            }
        }
        let (start, end) = (self.start, self.records.len() as u64);
        self.tell(Event::Disk(Told::Recovered { start, end }));
    }

    fn tell(&mut self, event: Event) {
        let mut actions = Vec::new();
        self.machine.step(self.now, event, &mut actions);
        for action in actions {
            match action {
                Action::Send { conn, frames } => {
                    let reply = Reply::decode(frames).unwrap();
                    let answer = (conn.0, reply.status, reply.result, reply.body);
                    self.answers.push(answer);
                }
                Action::Disk(ask) => self.asked.push_back(ask),
                other => self.others.push(other),
            }
        }
    }

    fn hear(&mut self, frames: &[&str]) {
        let frames = frames
            .iter()
            .map(|it| Bytes::copy_from_slice(it.as_bytes()));
        self.tell(Event::Message {
            port: DIAL.into(),
            conn: FEED,
            frames: frames.collect(),
        });
    }

    fn ask(&mut self, conn: u64, verb: &str, params: Value) {
        let request = Request::new(verb, "id".to_owned(), params);
        self.tell(Event::Message {
            port: MAIN.into(),
            conn: Conn(conn),
            frames: request.encode(),
        });
    }

    /// Asks, has the store do what there is to do, and gives the last answer.
    fn asked_and_answered(&mut self, verb: &str, params: Value) -> (u16, Value, Vec<Bytes>) {
        self.ask(1, verb, params);
        self.store_all();
        let (_, status, told, body) = self.answers.pop().expect("an answer");
        (status, told, body)
    }

    fn store_all(&mut self) {
        while !self.asked.is_empty() {
            self.store(None);
        }
    }

    /// Has the store do the next thing that it was asked, or fail at it.
    fn store(&mut self, fault: Option<StoreFault>) {
        let told = match (self.asked.pop_front().expect("something was asked"), fault) {
            (Ask::Store { ticket, .. }, Some(fault)) => Told::Stored {
                ticket,
                result: Err(fault),
            },
            (Ask::Fetch { ticket, .. }, Some(fault)) => Told::Fetched {
                ticket,
                result: Err(fault),
            },
            (Ask::Store { ticket, entry }, None) => {
                let result = Ok(self.keep(entry));
                Told::Stored { ticket, result }
            }
            (
                Ask::Fetch {
                    ticket,
                    start,
                    records_max,
                    ..
                },
                None,
            ) => {
                let result = self.read(start, records_max);
                Told::Fetched { ticket, result }
            }
            (Ask::Checkpoint { through, data }, _) => {
                self.checkpoint = Some((through, data.into_bytes()));
                let result = Ok(());
                Told::Checkpointed { through, result }
            }
            (other @ Ask::Begin { .. }, _) => panic!("{other:?}"),
            (Ask::Trim { before }, _) => {
                self.start = self.start.max(before);
                return;
            }
        };
        self.tell(Event::Disk(told));
    }

    fn read(&self, start: Start, records_max: usize) -> Result<Fetched, StoreFault> {
        let Start::Offset(first_offset) = start else {
            panic!("by offsets");
        };
        if first_offset < self.start {
            return Err(StoreFault::Gone(self.start));
        }
        let records = self.records[first_offset as usize..].iter();
        let record = |data: &Bytes| Record {
            time_ns: 7,
            data: data.clone(),
        };
        Ok(Fetched {
            first_offset,
            records: records.take(records_max).map(record).collect(),
            start: self.start,
            end: self.records.len() as u64,
        })
    }

    fn keep(&mut self, entry: Entry) -> Stored {
        let stored = Stored {
            seq: self.batches.len() as u64,
            first_offset: self.records.len() as u64,
            time_ns: 7,
        };
        let records = entry.records.into_iter().map(|put| Record {
            time_ns: 7,
            data: put.data,
        });
        let records: Vec<Record> = records.collect();
        self.records
            .extend(records.iter().map(|it| it.data.clone()));
        self.batches.push(Batch {
            seq: stored.seq,
            first_offset: stored.first_offset,
            time_ns: 7,
            note: entry.note,
            records,
        });
        stored
    }

    fn front(&mut self) -> Option<String> {
        let (status, _, body) = self.asked_and_answered("front", json!({}));
        let text = |body: Vec<Bytes>| String::from_utf8(body.concat()).unwrap();
        (status == 200).then(|| text(body))
    }

    fn length(&mut self) -> (u64, u64) {
        let (_, told, _) = self.asked_and_answered("len", json!({}));
        let of = |key: &str| told[key].as_u64().unwrap();
        (of("length"), of("bytes"))
    }
}

#[test]
fn it_asks_for_its_topics_and_gives_nothing_that_is_not_stored() {
    let mut bench = Bench::new(&config(Mode::Fifo, &[]));
    let asked = Action::Subscribe {
        conn: FEED,
        topic: "a".into(),
        is_on: true,
    };
    assert_eq!(bench.others, [asked]);
    bench.hear(&["a", "one"]);
    bench.ask(1, "front", json!({}));
    assert_eq!(bench.answers.pop().unwrap().1, 404, "it is not stored yet");
    bench.ask(2, "front", json!({"wait_ms": 1_000}));
    assert_eq!(bench.answers, []);
    bench.store(None);
    let (conn, status, told, body) = bench.answers.pop().unwrap();
    assert_eq!((conn, status, &told["parts"]), (2, 200, &json!([2])));
    assert_eq!(body, ["a", "one"]);
}

#[test]
fn who_waits_in_vain_hears_so_and_who_leaves_is_not_answered() {
    let mut bench = Bench::new(&config(Mode::Fifo, &[]));
    bench.ask(1, "front", json!({"wait_ms": 1_000}));
    bench.ask(2, "peek", json!({"wait_ms": 2_000}));
    bench.ask(3, "front", json!({"wait_ms": 9_000}));
    bench.tell(Event::Closed {
        port: MAIN.into(),
        conn: Conn(3),
    });
    bench.now = Duration::from_secs(2);
    bench.tell(Event::Tick);
    let statuses: Vec<(u64, u16)> = bench.answers.iter().map(|it| (it.0, it.1)).collect();
    assert_eq!(statuses, [(1, 404), (2, 200)]);
}

#[test]
fn pops_of_the_same_moment_are_one_change_of_the_position() {
    let mut bench = Bench::new(&config(Mode::Fifo, &[]));
    for body in ["a0", "a1", "a2", "a3"] {
        bench.hear(&[body]);
    }
    bench.store_all();
    for (conn, offset) in [(1, 0), (2, 0), (3, 2), (4, 1)] {
        bench.ask(conn, "pop", json!({ "offset": offset }));
    }
    assert_eq!(bench.asked.len(), 1, "one is under way");
    bench.store(None);
    assert_eq!(bench.asked.len(), 1, "the others are the next");
    bench.store(None);
    let removed = |it: &(u64, u16, Value, Vec<Bytes>)| (it.0, it.2["removed"].as_u64().unwrap());
    let removed: Vec<(u64, u64)> = bench.answers.iter().map(removed).collect();
    assert_eq!(removed, [(1, 1), (2, 0), (3, 2), (4, 0)]);
    assert_eq!(bench.front().as_deref(), Some("a3"));
    // A position that is not stored has not changed.
    bench.answers.clear();
    bench.ask(1, "pop", json!({"offset": 3}));
    bench.store(Some(StoreFault::NoSpace));
    assert_eq!(bench.answers.pop().unwrap().1, 503);
    assert_eq!(bench.front().as_deref(), Some("a3"));
    assert_eq!(bench.machine.counters.popped, 3);
}

#[test]
fn more_than_the_window_holds_is_read_from_the_disk_in_its_order() {
    let mut bench = Bench::new(&config(Mode::Fifo, &[]));
    let count = WINDOW_MAX as u64 * 2 + 10;
    for number in 0..count {
        bench.hear(&[&format!("a{number}")]);
        bench.store_all();
    }
    for number in 0..count {
        if number == 100 {
            bench.again(&config(Mode::Fifo, &[]), 1);
        }
        assert_eq!(bench.front(), Some(format!("a{number}")));
        bench.asked_and_answered("pop", json!({ "offset": number }));
        assert_eq!(bench.length().0, count - number - 1);
    }
    assert_eq!((bench.front(), bench.length()), (None, (0, 0)));
}

#[test]
fn a_pop_far_ahead_knows_the_bytes_that_are_left() {
    let mut bench = Bench::new(&config(Mode::Fifo, &[]));
    let count = WINDOW_MAX as u64 * 2;
    for number in 0..count {
        bench.hear(&[&format!("a{number:09}")]);
    }
    bench.store_all();
    let (_, bytes) = bench.length();
    let (_, told, _) = bench.asked_and_answered("pop", json!({"offset": count - 3}));
    assert_eq!(told, json!({"removed": count - 2, "length": 2}));
    assert_eq!(bench.length(), (2, bytes / (count / 2)));
}

#[test]
fn what_was_too_old_to_be_kept_is_counted_and_the_next_is_given() {
    let mut bench = Bench::new(&config(Mode::Fifo, &[]));
    for body in ["a0", "a1", "a2", "a3"] {
        bench.hear(&[body]);
    }
    bench.store_all();
    bench.start = 2;
    bench.now = Duration::from_secs(60);
    bench.tell(Event::Tick);
    bench.store_all();
    assert_eq!(bench.machine.counters.dropped.retain, 2);
    assert_eq!(bench.front().as_deref(), Some("a2"));
    let (_, bytes) = bench.length();
    bench.again(&config(Mode::Fifo, &[]), 1);
    bench.store_all();
    assert_eq!(bench.length(), (2, bytes));
    bench.start = 4;
    bench.again(&config(Mode::Fifo, &[]), 1);
    assert_eq!((bench.front(), bench.length()), (None, (0, 0)));
}

#[test]
fn a_store_that_fails_costs_messages_and_not_the_spool() {
    let mut bench = Bench::new(&config(Mode::Fifo, &[]));
    for fault in [StoreFault::NoSpace, StoreFault::ReadOnly("why".to_owned())] {
        bench.hear(&["a"]);
        bench.store(Some(fault));
    }
    assert!(bench.machine.facts()["fault"].is_string());
    bench.hear(&["a kept"]);
    bench.store(None);
    assert_eq!(bench.machine.counters.dropped.disk, 2);
    assert_eq!(bench.machine.facts().get("fault"), None);
    assert_eq!(bench.front().as_deref(), Some("a kept"));
    bench.asked_and_answered("pop", json!({"offset": 0}));
    assert_eq!(bench.length(), (0, 0));
}

#[test]
fn publishers_are_not_read_while_too_much_is_being_stored() {
    let mut bench = Bench::new(&config(Mode::Fifo, &[]));
    bench.others.clear();
    for _ in 0..STORING_MAX - 1 {
        bench.hear(&["a"]);
    }
    assert_eq!(bench.others, []);
    bench.hear(&["a"]);
    assert_eq!(bench.others, [Action::Pause { conn: FEED }]);
    bench.store_all();
    assert_eq!(bench.others[1..], [Action::Resume { conn: FEED }]);
    assert_eq!(bench.length().0, STORING_MAX as u64);
}

#[test]
fn a_checkpoint_and_what_came_since_are_all_there_is_to_know() {
    let told = config(Mode::Fifo, &[Filter::MinPeriod(10), Filter::EveryNth(1)]);
    let mut bench = Bench::new(&told);
    let hear = |bench: &mut Bench, ms: u64, body: &str| {
        bench.now = Duration::from_millis(ms);
        bench.hear(&[body]);
        bench.store_all();
    };
    hear(&mut bench, 10, "a0");
    hear(&mut bench, 20, "a1");
    bench.tell(Event::Disk(Told::CheckpointDue));
    bench.store_all();
    let checkpointed = bench.checkpoint.clone();
    assert!(checkpointed.is_some());
    hear(&mut bench, 30, "a2");
    bench.asked_and_answered("pop", json!({"offset": 0}));
    let whole = (bench.length(), bench.front());
    for checkpoint in [checkpointed, None] {
        bench.checkpoint = checkpoint;
        // At the moment at which the clock would be 35 ms after the first start.
        bench.again(&told, 1_000_000_000 + 35_000_000);
        bench.now = Duration::ZERO;
        assert_eq!((bench.length(), bench.front()), whole);
        hear(&mut bench, 4, "too soon");
        assert_eq!(bench.machine.counters.stored, 0);
    }
    hear(&mut bench, 5, "a3");
    assert_eq!(bench.machine.counters.stored, 1);
}

#[test]
fn at_an_orderly_end_filters_are_kept_and_nothing_more_is_read() {
    let filters = [Filter::EveryNth(2), Filter::Regex("^a".to_owned())];
    let mut bench = Bench::new(&config(Mode::Fifo, &filters));
    bench.hear(&["b"]);
    assert_eq!(bench.asked.len(), 0, "refused");
    bench.others.clear();
    bench.tell(Event::Drain);
    assert_eq!(bench.others, [Action::Pause { conn: FEED }]);
    assert!(!bench.machine.is_idle());
    bench.store_all();
    assert!(bench.machine.is_idle());
    bench.hear(&["a"]);
    assert_eq!(bench.machine.counters.dropped.ending, 1);
    bench.again(&config(Mode::Fifo, &filters), 1);
    bench.hear(&["a second"]);
    assert_eq!(bench.asked.len(), 0, "the second of two");
    bench.hear(&["a third"]);
    bench.store_all();
    assert_eq!(bench.front().as_deref(), Some("a third"));
}

#[test]
fn a_page_ends_where_the_spool_does_though_the_disk_is_ahead() {
    let mut bench = Bench::new(&config(Mode::Fifo, &[]));
    bench.hear(&["a0"]);
    bench.store_all();
    bench.again(&config(Mode::Fifo, &[]), 1);
    bench.asked.clear();
    bench.hear(&["a1"]);
    let Some(Ask::Store { ticket, entry }) = bench.asked.pop_front() else {
        panic!("a message is stored");
    };
    bench.ask(1, "peek", json!({}));
    // The reader of the disk sees what the writer has not told of yet.
    let result = Ok(bench.keep(entry));
    bench.store(None);
    let (_, _, told, body) = bench.answers.pop().unwrap();
    assert_eq!((&told["next"], body), (&json!(1), vec![Bytes::from("a0")]));
    bench.tell(Event::Disk(Told::Stored { ticket, result }));
    let (status, _, body) = bench.asked_and_answered("peek", json!({"from": 1}));
    assert_eq!((status, body), (200, vec![Bytes::from("a1")]));
}

#[test]
fn what_another_kind_has_kept_is_refused_in_words() {
    let batch = |note: &'static [u8], data: Option<&'static [u8]>| Batch {
        seq: 0,
        first_offset: 0,
        time_ns: 1,
        note: Bytes::from_static(note),
        records: data
            .map(|data| Record {
                time_ns: 1,
                data: Bytes::from_static(data),
            })
            .into_iter()
            .collect(),
    };
    let told = [
        Told::Restored(Bytes::from_static(b"\x01 keys and values")),
        Told::Replayed(batch(br#"{"c": {"group": "g", "offset": 1}}"#, None)),
        Told::Replayed(batch(b"", Some(b"an event of a stream"))),
        Told::Replayed(batch(b"", Some(b"\x01"))),
    ];
    for told in told {
        let mut machine = Machine::new(&config(Mode::Fifo, &[]), 0);
        assert_eq!(machine.refusal(), None);
        let mut actions = Vec::new();
        for told in [told, Told::Recovered { start: 0, end: 1 }] {
            machine.step(Duration::ZERO, Event::Disk(told), &mut actions);
        }
        assert!(machine.refusal().unwrap().contains("not of a spool"));
    }
}
