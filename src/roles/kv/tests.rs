//! The store as a machine: what is written when, who sees it, and that nobody sees what is not stored.

mod mirroring;
mod model;
mod reading;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Config, Machine};
use crate::model::limits::kv::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use crate::model::store::{Ask, Batch, Durability, Record, StoreConfig, StoreFault, Stored, Told};
use crate::protocol::zn1::{Reply, Request};
use crate::roles::machine::{Action, Common, Conn, Event, Machine as _};

const BEGAN_MS: u64 = 1_000_000;

/// A store, its log, and what was sent.
struct Bench {
    machine: Machine,
    now: Duration,
    /// What is to be stored, not answered yet.
    asked: Vec<Ask>,
    log: Vec<Batch>,
    checkpoint: Option<(u64, Bytes)>,
    sent: BTreeMap<Conn, Vec<Vec<Bytes>>>,
    published: Vec<Vec<Bytes>>,
    /// What is stored is said to be so at once.
    is_prompt: bool,
}

fn config(bytes_max: usize, is_durable: bool) -> Config {
    let store = is_durable.then(|| StoreConfig {
        path: "/nowhere".into(),
        durability: Durability::Fsync,
        retain_ms: None,
        retain_bytes: None,
        bytes_max: None,
    });
    Config {
        common: Common {
            name: crate::model::name::InstanceName::new("params".to_owned()),
            ports: Vec::new(),
            dials: Vec::new(),
            health: "ipc:///nowhere".parse().unwrap(),
            limits: Box::default(),
        },
        bytes_max,
        store,
    }
}

impl Bench {
    fn new() -> Self {
        Self::with(&config(1 << 20, true))
    }

    fn with(config: &Config) -> Self {
        Self {
            machine: Machine::new(config, BEGAN_MS),
            now: Duration::ZERO,
            asked: Vec::new(),
            log: Vec::new(),
            checkpoint: None,
            sent: BTreeMap::new(),
            published: Vec::new(),
            is_prompt: true,
        }
    }

    fn step(&mut self, event: Event) {
        let mut actions = Vec::new();
        self.machine.step(self.now, event, &mut actions);
        self.act(actions);
    }

    fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send { conn, frames } => self.sent.entry(conn).or_default().push(frames),
                Action::Fan { frames } => self.published.push(frames),
                Action::Disk(ask) => {
                    self.asked.push(ask);
                    if self.is_prompt {
                        self.stored(Ok(()));
                    }
                }
                Action::Close { conn } => self.step(Event::Closed {
                    port: "main".into(),
                    conn,
                }),
                Action::Subscribe { .. } | Action::Pause { .. } | Action::Resume { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Answers what the log was asked first.
    fn stored(&mut self, result: Result<(), StoreFault>) {
        match self.asked.remove(0) {
            Ask::Store { ticket, entry } => {
                let seq = self.log.last().map_or(1, |it| it.seq + 1);
                let first_offset = self.log.last().map_or(0, Batch::next_offset);
                let result = result.map(|()| {
                    let record = |data| Record { time_ns: 0, data };
                    self.log.push(Batch {
                        seq,
                        first_offset,
                        time_ns: 0,
                        note: entry.note,
                        records: entry
                            .records
                            .into_iter()
                            .map(|it| record(it.data))
                            .collect(),
                    });
                    Stored {
                        seq,
                        first_offset,
                        time_ns: 0,
                    }
                });
                self.step(Event::Disk(Told::Stored { ticket, result }));
            }
            Ask::Checkpoint { through, data } => {
                self.checkpoint = Some((through, data.into_bytes()));
                let result = Ok(());
                self.step(Event::Disk(Told::Checkpointed { through, result }));
            }
            Ask::Trim { .. } => {}
            other @ (Ask::Fetch { .. } | Ask::Begin { .. }) => panic!("{other:?}"),
        }
    }

    /// Another life, with what was stored.
    fn restart(&mut self) {
        let config = self.machine.config.clone();
        let began_ms = self.machine.now_ms();
        self.machine = Machine::new(&config, began_ms);
        self.now = Duration::ZERO;
        self.asked.clear();
        let mut through = 0;
        if let Some((at, data)) = self.checkpoint.clone() {
            through = at;
            self.step(Event::Disk(Told::Restored(data)));
        }
        for batch in self.log.clone().into_iter().filter(|it| it.seq > through) {
            self.step(Event::Disk(Told::Replayed(batch)));
        }
        self.step(Event::Disk(Told::Recovered { start: 0, end: 0 }));
    }

    fn tell(&mut self, conn: u64, verb: &str, params: Value, body: &[&str]) {
        let mut request = Request::new(verb, "id", params);
        request.body = body
            .iter()
            .map(|it| Bytes::copy_from_slice(it.as_bytes()))
            .collect();
        self.step(Event::Message {
            port: "main".into(),
            conn: Conn(conn),
            frames: request.encode(),
        });
    }

    fn replies(&mut self, conn: u64) -> Vec<Reply> {
        let sent = self.sent.remove(&Conn(conn)).unwrap_or_default();
        sent.into_iter()
            .map(|it| Reply::decode(it).unwrap())
            .collect()
    }

    fn ask(&mut self, verb: &str, params: Value, body: &[&str]) -> Reply {
        self.tell(0, verb, params, body);
        let mut replies = self.replies(0);
        assert_eq!(replies.len(), 1, "{verb}");
        replies.remove(0)
    }

    #[track_caller]
    fn set(&mut self, key: &str, value: &str) -> u64 {
        let reply = self.ask("set", json!({"key": key}), &[value]);
        assert_eq!(reply.status, 200, "{:?}", reply.result);
        reply.result["revision"].as_u64().unwrap()
    }

    fn get(&mut self, key: &str) -> Option<(String, u64)> {
        let reply = self.ask("get", json!({"key": key}), &[]);
        (reply.status == 200).then(|| {
            let text = String::from_utf8_lossy(&reply.body[0]).into_owned();
            (text, reply.result["revision"].as_u64().unwrap())
        })
    }

    fn pass(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
        while self.machine.deadline().is_some_and(|due| due <= self.now) {
            self.step(Event::Tick);
        }
    }
}

fn has(value: &str, revision: u64) -> Option<(String, u64)> {
    Some((value.to_owned(), revision))
}

#[test]
fn a_key_is_set_read_and_deleted_and_each_write_has_the_next_revision() {
    let mut bench = Bench::new();
    assert_eq!(bench.get("a"), None);
    assert_eq!(
        (bench.set("a", "1"), bench.set("b", ""), bench.set("a", "2")),
        (1, 2, 3)
    );
    assert_eq!((bench.get("a"), bench.get("b")), (has("2", 3), has("", 2)));
    let deleted = bench.ask("del", json!({"key": "a"}), &[]);
    assert_eq!(
        (deleted.status, &deleted.result["revision"]),
        (200, &json!(4))
    );
    assert_eq!(bench.ask("del", json!({"key": "a"}), &[]).status, 404);
    assert_eq!(bench.set("a", "3"), 5, "nothing deleted is no write");
}

#[test]
fn a_compare_and_set_takes_the_revision_it_names_and_says_the_one_there_is() {
    let mut bench = Bench::new();
    let mut cas = |revision: u64| {
        let reply = bench.ask("cas", json!({"key": "a", "revision": revision}), &["x"]);
        (reply.status, reply.result["revision"].as_u64().unwrap())
    };
    assert_eq!(cas(7), (409, 0));
    assert_eq!(cas(0), (200, 1));
    assert_eq!(cas(0), (409, 1));
    assert_eq!(cas(1), (200, 2));
    let mut del = |revision: u64| bench.ask("del", json!({"key": "a", "revision": revision}), &[]);
    assert_eq!((del(1).status, del(2).status), (409, 200));
    assert_eq!(bench.machine.counters().conflicts, 3);
}

#[test]
fn a_batch_is_done_whole_or_not_at_all() {
    let mut bench = Bench::new();
    bench.set("a", "1");
    let ops = |revision: u64| {
        json!({"ops": [
            {"op": "set", "key": "b", "value": "2"},
            {"op": "set", "key": "c"},
            {"op": "del", "key": "b"},
            {"op": "del", "key": "a", "revision": revision},
        ]})
    };
    assert_eq!(bench.ask("batch", ops(9), &["3"]).status, 409);
    assert_eq!((bench.get("c"), bench.get("a")), (None, has("1", 1)));
    let done = bench.ask("batch", ops(1), &["3"]);
    assert_eq!(
        (done.status, &done.result),
        (200, &json!({"revision": 5, "writes": 4}))
    );
    assert_eq!((bench.get("b"), bench.get("c")), (None, has("3", 3)));
    for (ops, body) in [
        (json!([]), &[][..]),
        (json!([{"op": "set", "key": "x"}]), &[]),
        (json!([{"op": "set", "key": "x", "value": "1"}]), &["2"]),
        (json!([{"op": "get", "key": "x"}]), &[]),
    ] {
        assert_eq!(
            bench.ask("batch", json!({"ops": ops}), body).status,
            400,
            "{ops}"
        );
    }
}

#[test]
fn nobody_sees_or_hears_of_what_is_not_stored() {
    let mut bench = Bench::new();
    bench.is_prompt = false;
    bench.tell(1, "set", json!({"key": "a"}), &["1"]);
    bench.tell(2, "cas", json!({"key": "a", "revision": 0}), &["2"]);
    bench.tell(3, "cas", json!({"key": "b", "revision": 0}), &["2"]);
    assert_eq!(bench.get("a"), None);
    assert!(bench.replies(1).is_empty() && bench.published.is_empty());
    assert_eq!(bench.asked.len(), 1, "one flight at a time");
    bench.stored(Ok(()));
    assert_eq!(bench.get("a"), has("1", 1));
    assert_eq!(
        (bench.replies(1)[0].status, bench.replies(2).len()),
        (200, 0)
    );
    bench.stored(Ok(()));
    assert_eq!(
        (bench.replies(2)[0].status, bench.replies(3)[0].status),
        (409, 200)
    );
    assert_eq!((bench.get("b"), bench.published.len()), (has("2", 2), 2));
}

#[test]
fn what_the_disk_does_not_keep_was_never_done_and_reads_go_on() {
    let mut bench = Bench::new();
    bench.set("a", "1");
    bench.is_prompt = false;
    let faults = [
        (StoreFault::NoSpace, 503),
        (StoreFault::Failed("sync".to_owned()), 503),
        (StoreFault::ReadOnly("damage".to_owned()), 503),
        (StoreFault::Busy, 429),
        (StoreFault::AtMax, 413),
    ];
    for (fault, status) in faults {
        bench.tell(1, "set", json!({"key": "a"}), &["2"]);
        bench.stored(Err(fault));
        assert_eq!(bench.replies(1)[0].status, status);
        assert_eq!((bench.get("a"), bench.published.len()), (has("1", 1), 1));
    }
    assert!(bench.machine.facts()["fault"].is_string());
    bench.tell(1, "set", json!({"key": "a"}), &["2"]);
    bench.stored(Ok(()));
    assert_eq!(bench.get("a"), has("2", 2));
    assert_eq!(bench.machine.facts()["fault"], Value::Null);
}

#[test]
fn a_write_that_is_asked_again_is_done_once_after_a_restart_too() {
    let mut bench = Bench::new();
    let once = json!({"key": "a", "once": "7f"});
    let first = bench.ask("set", once.clone(), &["1"]);
    bench.set("a", "2");
    assert_eq!(bench.ask("set", once.clone(), &["1"]).result, first.result);
    assert_eq!(bench.get("a"), has("2", 2));
    for is_checkpointed in [false, true] {
        if is_checkpointed {
            bench.step(Event::Disk(Told::CheckpointDue));
            assert!(bench.checkpoint.is_some());
        }
        bench.restart();
        assert_eq!(bench.ask("set", once.clone(), &["1"]).result, first.result);
        assert_eq!(bench.get("a"), has("2", 2));
    }
    let long = json!({"key": "a", "once": "x".repeat(65)});
    assert_eq!(bench.ask("set", long, &["1"]).status, 400);
}

#[test]
fn a_key_ends_by_a_write_that_watchers_see_and_a_restart_keeps_its_time() {
    let mut bench = Bench::new();
    bench.ask("set", json!({"key": "a", "ttl_ms": 500}), &["1"]);
    bench.ask("set", json!({"key": "b", "ttl_ms": 500}), &["1"]);
    bench.set("b", "2");
    bench.pass(499);
    assert!(bench.get("a").is_some());
    let left = bench.ask("get", json!({"key": "a"}), &[]).result["ttl_ms"].clone();
    assert_eq!(left, 1);
    bench.restart();
    assert!(bench.get("a").is_some());
    bench.pass(1);
    assert_eq!((bench.get("a"), bench.get("b")), (None, has("2", 3)));
    let seen = bench.ask("watch", json!({"after": 3}), &[]);
    let expected = json!([{"op": "expire", "key": "a", "revision": 4}]);
    assert_eq!(seen.result["events"], expected);
    assert_eq!(bench.machine.counters().expired, 1);
    assert_eq!(
        bench
            .ask("set", json!({"key": "a", "ttl_ms": 0}), &["1"])
            .status,
        400
    );
}

#[test]
fn a_key_that_cannot_be_ended_is_tried_again_and_not_at_once() {
    let mut bench = Bench::new();
    bench.ask("set", json!({"key": "a", "ttl_ms": 10}), &["1"]);
    bench.is_prompt = false;
    bench.pass(10);
    bench.stored(Err(StoreFault::NoSpace));
    bench.pass(900);
    assert!(bench.asked.is_empty() && bench.get("a").is_some());
    bench.pass(200);
    bench.stored(Ok(()));
    assert_eq!(bench.get("a"), None);
}

#[test]
fn limits_hold_at_them_and_one_over() {
    let mut bench = Bench::with(&config(1 << 30, true));
    let set = |bench: &mut Bench, key: usize, value: usize| {
        let params = json!({"key": "k".repeat(key)});
        bench.ask("set", params, &[&"v".repeat(value)]).status
    };
    assert_eq!(set(&mut bench, KEY_BYTES_MAX, VALUE_BYTES_MAX), 200);
    assert_eq!(set(&mut bench, KEY_BYTES_MAX + 1, 1), 413);
    assert_eq!(set(&mut bench, 1, VALUE_BYTES_MAX + 1), 413);
    assert_eq!(set(&mut bench, 0, 1), 400);
    for key in ["HUGZ", "KTHXBAI", "a\nb"] {
        assert_eq!(bench.ask("set", json!({"key": key}), &["1"]).status, 400);
    }
    assert_eq!(
        bench
            .ask("set", json!({"key": "a", "ttl": 1}), &["1"])
            .status,
        400
    );
    assert_eq!(bench.ask("set", json!({"key": "a"}), &[]).status, 400);
    assert_eq!(bench.ask("fly", json!({}), &[]).status, 501);
    // Two entries of 128 bytes and their keys and values.
    let mut small = Bench::with(&config(2 * (128 + 1 + 10), true));
    assert_eq!(
        (set(&mut small, 1, 10), small.set("b", "0123456789")),
        (200, 2)
    );
    assert_eq!(small.ask("set", json!({"key": "c"}), &[""]).status, 413);
    assert_eq!(
        small
            .ask("set", json!({"key": "b"}), &["01234567890"])
            .status,
        413
    );
    assert_eq!(small.set("b", "9876543210"), 3, "what is no larger fits");
    assert_eq!(small.ask("del", json!({"key": "b"}), &[]).status, 200);
    assert_eq!(small.set("c", "1"), 5);
}

#[test]
fn without_a_store_a_write_is_done_at_once() {
    let mut bench = Bench::with(&config(1 << 20, false));
    assert_eq!((bench.set("a", "1"), bench.get("a")), (1, has("1", 1)));
    assert!(bench.log.is_empty());
}

#[test]
fn what_is_not_its_own_is_not_read_and_nothing_is_written_over_it() {
    let mut bench = Bench::new();
    bench.step(Event::Disk(Told::Replayed(Batch {
        seq: 1,
        first_offset: 0,
        time_ns: 0,
        note: Bytes::new(),
        records: vec![Record {
            time_ns: 0,
            data: Bytes::from_static(b"an event of a stream"),
        }],
    })));
    assert_eq!(bench.ask("get", json!({"key": "a"}), &[]).status, 503);
    assert_eq!(bench.ask("set", json!({"key": "a"}), &["1"]).status, 503);
    bench.step(Event::Disk(Told::CheckpointDue));
    assert!(bench.asked.is_empty() && bench.checkpoint.is_none());
}

#[test]
fn a_large_map_is_copied_in_steps_and_what_is_written_meanwhile_is_not_lost() {
    let mut bench = Bench::with(&config(64 << 20, true));
    let key = |number: u32| format!("k{number:05}");
    for from in (0..20_000).step_by(1_000) {
        let ops: Vec<Value> = (from..from + 1_000)
            .map(|it| json!({"op": "set", "key": key(it), "value": "before"}))
            .collect();
        let done = bench.ask("batch", json!({ "ops": ops }), &[]);
        assert_eq!(done.status, 200);
    }
    bench.step(Event::Disk(Told::CheckpointDue));
    assert!(bench.checkpoint.is_none(), "it takes several steps");
    // Behind and before what was copied: changed, new, gone, gone and new again.
    let mut steps = 0;
    while bench.checkpoint.is_none() {
        for at in [steps, 19_999 - steps] {
            bench.set(&key(at), "after");
            bench.set(&format!("{}-new", key(at)), "new");
            bench.ask("del", json!({"key": key(at + 100)}), &[]);
            bench.ask("del", json!({"key": key(at - at % 2 + 5_000)}), &[]);
        }
        assert!(bench.machine.deadline() <= Some(bench.now + Duration::from_millis(1)));
        bench.pass(1);
        steps += 1;
        assert!(steps < 50, "it comes to an end");
    }
    assert!(steps >= 5, "{steps} steps");
    bench.set("later", "1");
    let was = bench.machine.state.clone();
    let through = bench.checkpoint.as_ref().unwrap().0;
    let replayed = bench.log.iter().filter(|it| it.seq > through).count();
    assert!(replayed > 20, "{replayed} batches come after it");
    bench.restart();
    assert_eq!(bench.machine.state, was);
}
