//! The stream beside a store that does what it is told to, when it is told to.

mod owners;
mod replays;

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::*;
use crate::model::endpoint::Endpoint;
use crate::model::limits::WireLimits;
use crate::model::store::{Batch, Durability, Entry, Fetched, Record, Start, StoreFault, Stored};
use crate::protocol::parts;
use crate::roles::machine::Conn;
use crate::roles::machine::Machine as _;

/// A machine, its store, and what it answered.
struct Bench {
    machine: Machine,
    now: Duration,
    /// What the store was asked and has not answered.
    asked: VecDeque<Ask>,
    batches: Vec<Batch>,
    records: Vec<Bytes>,
    checkpoint: Option<(u64, Bytes)>,
    /// By connection: status, id, result.
    answers: Vec<(u64, u16, String, Value, Vec<Bytes>)>,
    fanned: Vec<Vec<Bytes>>,
    /// What buses were asked.
    published: Vec<Request>,
    closed: u64,
}

/// The connection of a bus.
const BUS: Conn = Conn(77);

fn machine() -> Machine {
    Machine::new(&Config {
        common: Common {
            name: "events".into(),
            ports: Vec::new(),
            dials: Vec::new(),
            health: Endpoint::ipc("/none"),
            limits: Box::new(WireLimits::default()),
        },
        store: StoreConfig {
            path: "/none".into(),
            durability: Durability::Fsync,
            retain_ms: None,
            retain_bytes: None,
            bytes_max: None,
        },
        topics: [("to news".to_owned(), vec!["a".to_owned()])].into(),
        replays: BTreeMap::new(),
    })
}

impl Bench {
    fn new() -> Self {
        let mut bench = Self {
            machine: machine(),
            now: Duration::ZERO,
            asked: VecDeque::new(),
            batches: Vec::new(),
            records: Vec::new(),
            checkpoint: None,
            answers: Vec::new(),
            fanned: Vec::new(),
            published: Vec::new(),
            closed: 0,
        };
        bench.tell(Event::Disk(Told::Recovered { start: 0, end: 0 }));
        bench
    }

    fn tell(&mut self, event: Event) {
        let mut actions = Vec::new();
        self.machine.step(self.now, event, &mut actions);
        for action in actions {
            match action {
                Action::Send { conn, frames } if conn == BUS => {
                    self.published.push(Request::decode(frames).unwrap());
                }
                Action::Close { conn } if conn == BUS => self.closed += 1,
                Action::Send { conn, frames } => {
                    let reply = Reply::decode(frames).unwrap();
                    let id = String::from_utf8(reply.id.to_vec()).unwrap();
                    let answer = (conn.0, reply.status, id, reply.result, reply.body);
                    self.answers.push(answer);
                }
                Action::Fan { frames } => self.fanned.push(frames),
                Action::Disk(ask) => self.asked.push_back(ask),
                other => panic!("{other:?}"),
            }
        }
    }

    fn ask(&mut self, conn: u64, verb: &str, params: Value, body: &[&'static str]) {
        let mut request = Request::new(verb, format!("{verb}{conn}"), params);
        request.body = body
            .iter()
            .map(|it| Bytes::from_static(it.as_bytes()))
            .collect();
        self.tell(Event::Message {
            port: MAIN.into(),
            conn: Conn(conn),
            frames: request.encode(),
        });
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
            (Ask::Fetch { ticket, start, .. }, None) => {
                let Start::Offset(first_offset) = start else {
                    panic!("by offsets");
                };
                let from = first_offset as usize;
                let record = |data: &Bytes| Record {
                    time_ns: 1,
                    data: data.clone(),
                };
                let records = self.records[from..].iter().map(record).collect();
                let result = Ok(Fetched {
                    first_offset,
                    records,
                    start: 0,
                    end: self.records.len() as u64,
                });
                Told::Fetched { ticket, result }
            }
            (Ask::Checkpoint { through, data }, _) => {
                self.checkpoint = Some((through, data.into_bytes()));
                Told::Checkpointed {
                    through,
                    result: Ok(()),
                }
            }
            (Ask::Begin { ticket, offset }, _) => {
                let (seq, time_ns) = (0, 1);
                let result = Ok(Stored {
                    seq,
                    first_offset: offset,
                    time_ns,
                });
                Told::Stored { ticket, result }
            }
            (Ask::Trim { .. }, _) => panic!("nothing is trimmed"),
        };
        self.tell(Event::Disk(told));
    }

    fn keep(&mut self, entry: Entry) -> Stored {
        let stored = Stored {
            seq: self.batches.len() as u64,
            first_offset: self.records.len() as u64,
            time_ns: 1,
        };
        let datas = entry.records.into_iter().map(|it| it.data);
        let datas: Vec<Bytes> = datas.collect();
        self.records.extend(datas.iter().cloned());
        let record = |data: Bytes| Record { time_ns: 1, data };
        self.batches.push(Batch {
            seq: stored.seq,
            first_offset: stored.first_offset,
            time_ns: 1,
            note: entry.note,
            records: datas.into_iter().map(record).collect(),
        });
        stored
    }

    /// Another life with what was stored.
    fn restart(&mut self) {
        self.machine = machine();
        self.asked.clear();
        let mut from = 0;
        if let Some((through, data)) = self.checkpoint.clone() {
            from = through + 1;
            self.tell(Event::Disk(Told::Restored(data)));
        }
        for batch in self.batches.clone().split_off(from as usize) {
            self.tell(Event::Disk(Told::Replayed(batch)));
        }
        let end = self.records.len() as u64;
        self.tell(Event::Disk(Told::Recovered { start: 0, end }));
    }

    /// The next answer: to whom, its status and its result.
    fn answer(&mut self) -> (u64, u16, Value) {
        assert!(!self.answers.is_empty(), "nobody was answered");
        let (conn, status, _, result, _) = self.answers.remove(0);
        (conn, status, result)
    }
}

fn numbered(sequence: u64) -> Value {
    json!({"producer": "p", "sequence": sequence})
}

#[test]
fn nothing_is_said_or_seen_before_it_is_stored() {
    let mut bench = Bench::new();
    bench.ask(1, "append", json!({}), &["a", "b"]);
    assert!(bench.answers.is_empty() && bench.fanned.is_empty());
    bench.ask(2, "read", json!({"from": 0}), &[]);
    let (_, status, result) = bench.answer();
    assert_eq!((status, &result["next"]), (200, &0.into()), "nothing yet");
    assert_eq!(bench.machine.facts()["end_offset"], 2);
    assert_eq!(bench.machine.facts()["synced_offset"], 0);
    assert!(!bench.machine.is_idle());
    bench.store(None);
    let (conn, status, result) = bench.answer();
    assert_eq!((conn, status, &result["offset"]), (1, 200, &0.into()));
    assert_eq!(bench.fanned, [["a", "0"], ["b", "1"]]);
    bench.ask(2, "read", json!({"from": 1}), &[]);
    bench.store(None);
    assert_eq!(bench.answers[0].4, ["b"]);
    assert!(bench.machine.is_idle());
}

#[test]
fn what_was_not_stored_leaves_nothing_behind() {
    let mut bench = Bench::new();
    for (fault, status) in [
        (StoreFault::NoSpace, 503),
        (StoreFault::Failed("disk".into()), 503),
        (StoreFault::ReadOnly("damage".into()), 503),
        (StoreFault::AtMax, 429),
        (StoreFault::Busy, 429),
        (StoreFault::TooLarge, 413),
    ] {
        bench.ask(1, "append", numbered(1), &["a"]);
        bench.store(Some(fault));
        assert_eq!(bench.answer().1, status);
    }
    assert!(bench.fanned.is_empty());
    let facts = bench.machine.facts();
    assert_eq!(
        (&facts["end_offset"], &facts["unstored"]),
        (&0.into(), &6.into())
    );
    // The number is not taken: it was not stored.
    bench.ask(1, "append", numbered(1), &["a"]);
    bench.store(None);
    let (_, status, result) = bench.answer();
    assert_eq!((status, &result["duplicate"]), (200, &false.into()));
}

#[test]
fn what_is_sent_again_is_stored_once_also_while_it_is_stored() {
    let mut bench = Bench::new();
    bench.ask(1, "append", numbered(1), &["a"]);
    bench.ask(2, "append", numbered(1), &["a"]);
    bench.ask(2, "append", numbered(1), &["a"]);
    assert_eq!(bench.asked.len(), 1);
    bench.store(None);
    let answers = [bench.answer(), bench.answer()];
    assert_eq!(
        answers.map(|(conn, status, _)| (conn, status)),
        [(1, 200), (2, 200)]
    );
    assert!(bench.answers.is_empty(), "one answer to one who waits");
    bench.restart();
    bench.ask(3, "append", numbered(1), &["a"]);
    let (_, status, result) = bench.answer();
    assert_eq!((status, &result["offset"]), (200, &0.into()));
    assert_eq!(result["duplicate"], true);
    assert_eq!(bench.records.len(), 1);
}

#[test]
fn who_waits_hears_what_comes_or_that_nothing_came() {
    let mut bench = Bench::new();
    let wait = |ms: u64| json!({"from": 0, "wait_ms": ms});
    bench.ask(1, "read", wait(1_000), &[]);
    bench.ask(2, "read", wait(50), &[]);
    bench.ask(3, "read", wait(2_000), &[]);
    assert_eq!(bench.machine.deadline(), Some(Duration::from_millis(50)));
    bench.now = Duration::from_millis(50);
    bench.tell(Event::Tick);
    let (conn, status, result) = bench.answer();
    assert_eq!((conn, status, &result["end"]), (2, 200, &0.into()));
    bench.tell(Event::Closed {
        port: MAIN.into(),
        conn: Conn(3),
    });
    bench.ask(4, "append", json!({}), &["a"]);
    bench.store(None);
    assert_eq!(bench.answer().0, 4);
    bench.store(None);
    assert_eq!(
        (bench.answers[0].0, &bench.answers[0].4[..]),
        (1, &["a".into()][..])
    );
    assert!(bench.asked.is_empty(), "who is gone is not read for");
    bench.ask(5, "read", json!({"from": 1, "wait_ms": 9_000}), &[]);
    bench.tell(Event::Drain);
    assert_eq!(bench.answers[1].0, 5, "nobody waits for one who ends");
    bench.ask(6, "append", json!({}), &["b"]);
    assert_eq!(bench.answers[2].1, 503);
}

#[test]
fn an_earlier_owner_is_fenced_before_and_after_a_restart() {
    let mut bench = Bench::new();
    bench.ask(1, "append", json!({}), &["a", "b", "c"]);
    bench.ask(1, "take", json!({"group": "g", "consumer": "one"}), &[]);
    bench.store(None);
    bench.store(None);
    bench.answer();
    let (_, _, one) = bench.answer();
    let commit = |generation: &Value, offset: u64| json!({"group": "g", "generation": generation, "offset": offset});
    bench.ask(1, "commit", commit(&one["generation"], 2), &[]);
    // Another takes it while the commit is stored: what was asked first counts.
    bench.ask(2, "take", json!({"group": "g", "consumer": "two"}), &[]);
    bench.ask(1, "commit", commit(&one["generation"], 3), &[]);
    assert_eq!(bench.answer().1, 409, "fenced at once");
    bench.store(None);
    bench.store(None);
    assert_eq!(bench.answer().1, 200);
    let (_, _, two) = bench.answer();
    assert_eq!(two["offset"], 2);
    for (generation, offset, status) in [
        (&two["generation"], 4, 409),
        (&two["generation"], 1, 409),
        (&json!(99), 2, 409),
    ] {
        bench.ask(2, "commit", commit(generation, offset), &[]);
        assert_eq!(bench.answer().1, status, "{offset}");
    }
    bench.restart();
    bench.ask(1, "commit", commit(&one["generation"], 3), &[]);
    assert_eq!(bench.answer().1, 409);
    bench.ask(2, "commit", commit(&two["generation"], 3), &[]);
    bench.store(Some(StoreFault::NoSpace));
    assert_eq!(bench.answer().1, 503);
    bench.ask(3, "groups", json!({}), &[]);
    let (_, _, told) = bench.answer();
    assert_eq!(
        told["groups"][0]["offset"], 2,
        "what was not stored is not said"
    );
}

#[test]
fn a_checkpoint_and_what_came_after_it_are_all_that_was_known() {
    let mut bench = Bench::new();
    for number in 0..5 {
        bench.ask(1, "append", numbered(number), &["a"]);
        bench.store(None);
        bench.ask(1, "take", json!({"group": format!("g{number}")}), &[]);
        bench.store(None);
        if number == 2 {
            bench.tell(Event::Disk(Told::CheckpointDue));
            bench.store(None);
        }
    }
    let known = bench.machine.known();
    assert_eq!(bench.checkpoint.as_ref().unwrap().0, 5);
    bench.restart();
    assert_eq!(bench.machine.known(), known);
    bench.checkpoint = None;
    bench.restart();
    assert_eq!(bench.machine.known(), known);
}

#[test]
fn too_much_under_way_is_refused_at_the_bound() {
    use crate::model::limits::stream::PENDING_MAX;
    let mut bench = Bench::new();
    for _ in 0..PENDING_MAX {
        bench.ask(1, "append", json!({}), &["a"]);
    }
    assert!(bench.answers.is_empty());
    bench.ask(1, "append", json!({}), &["a"]);
    assert_eq!(bench.answer().1, 429);
    bench.store(None);
    bench.answer();
    bench.ask(1, "append", json!({}), &["a"]);
    assert!(bench.answers.is_empty());
}

#[test]
fn a_page_ends_where_the_stream_does_though_the_disk_is_ahead() {
    let mut bench = Bench::new();
    bench.ask(1, "append", json!({}), &["zero"]);
    bench.store(None);
    bench.ask(1, "append", json!({}), &["one"]);
    let Some(Ask::Store { ticket, entry }) = bench.asked.pop_front() else {
        panic!("a record is stored");
    };
    bench.ask(2, "read", json!({"from": 0}), &[]);
    // The reader of the disk sees what the writer has not told of yet.
    let result = Ok(bench.keep(entry));
    bench.store(None);
    let (_, _, _, told, body) = bench.answers.pop().unwrap();
    let told = (told["next"].clone(), told["end"].clone(), body.len());
    assert_eq!(told, (1.into(), 1.into(), 1));
    bench.tell(Event::Disk(Told::Stored { ticket, result }));
    bench.ask(2, "read", json!({"from": 1}), &[]);
    bench.store(None);
    assert_eq!(bench.answers.pop().unwrap().4, ["one"]);
}

#[test]
fn what_is_heard_is_a_record_and_published_as_it_was() {
    let mut bench = Bench::new();
    let hear = |bench: &mut Bench, frames: &[&'static str]| {
        bench.tell(Event::Message {
            port: "to news".into(),
            conn: Conn(9),
            frames: frames
                .iter()
                .map(|it| Bytes::from_static(it.as_bytes()))
                .collect(),
        });
    };
    hear(&mut bench, &["a", "one"]);
    hear(&mut bench, &["alone"]);
    bench.store(None);
    bench.store(Some(StoreFault::NoSpace));
    assert_eq!(bench.fanned, [["a", "one", "0"]]);
    assert_eq!(parts::frames(bench.records[0].clone()), ["a", "one"]);
    assert!(bench.machine.facts()["fault"].is_string());
    hear(&mut bench, &["again"]);
    bench.store(None);
    assert_eq!(bench.records[1], "again");
    let counters = bench.machine.counters();
    assert_eq!((counters.recorded, counters.unrecorded), (2, 1));
    assert_eq!(bench.machine.facts()["end_offset"], 2);
    bench.machine.is_draining = true;
    hear(&mut bench, &["late"]);
    assert_eq!(bench.machine.counters().unrecorded, 2);
}

#[test]
fn who_names_no_place_goes_on_where_records_are_still_kept() {
    let mut bench = Bench::new();
    bench.ask(1, "append", json!({}), &["a", "b", "c"]);
    bench.store(None);
    bench.answer();
    bench.ask(1, "read", json!({}), &[]);
    bench.store(Some(StoreFault::Gone(2)));
    bench.store(None);
    let (_, status, told) = bench.answer();
    assert_eq!((status, &told["offset"]), (200, &2.into()));
    bench.ask(1, "read", json!({"from": 0}), &[]);
    bench.store(Some(StoreFault::Gone(2)));
    assert_eq!(bench.answer().1, 404, "it asked for those that are gone");
    bench.ask(1, "take", json!({"group": "g"}), &[]);
    bench.store(None);
    assert_eq!(bench.answer().2["offset"], 2);
}

#[test]
fn a_take_that_was_not_stored_fences_nobody_and_leaves_no_group() {
    let mut bench = Bench::new();
    let take = |group: &str| json!({"group": group, "consumer": "somebody"});
    bench.ask(1, "take", take("g"), &[]);
    bench.store(None);
    let (_, _, owned) = bench.answer();
    for group in ["g", "new"] {
        bench.ask(2, "take", take(group), &[]);
        bench.store(Some(StoreFault::NoSpace));
        assert_eq!(bench.answer().1, 503);
    }
    let commit = json!({"group": "g", "generation": owned["generation"], "offset": 0});
    bench.ask(1, "commit", commit, &[]);
    bench.store(None);
    assert_eq!(bench.answer().1, 200);
    assert_eq!(bench.machine.groups.len(), 1);
}

#[test]
fn a_message_of_too_many_parts_to_be_followed_is_followed_in_one() {
    let mut bench = Bench::new();
    bench.tell(Event::Message {
        port: "to news".into(),
        conn: Conn(9),
        frames: vec![Bytes::from_static(b"a"); 64],
    });
    bench.store(None);
    let record = bench.records[0].clone();
    assert_eq!(parts::frames(record.clone()).len(), 64);
    assert_eq!(bench.fanned, [[record, Bytes::from_static(b"0")]]);
}
