//! A storm by seed: clients and workers ask at random while the disk is slow or full and the queue is
//! killed. The oracle stands outside: it knows only what it was told.
//!
//! What was acknowledged is there; what was refused by 503 was not done; no task has two live leases;
//! what was confirmed as done is given to nobody again; no token is used twice; who asks in no dialect or by
//! Majordomo is answered in the end, however often the disk was full.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use serde_json::json;

use super::bench::{self, Bench, Fate};

/// Connections of the storm: each asks one thing at a time.
const CONNS: u64 = 6;

/// Connections that ask in no dialect, and one of Majordomo.
const WORDLESS: [u64; 3] = [11, 12, 13];

/// What a connection waits for.
#[derive(Debug, Clone)]
enum Asked {
    Submit(String),
    Take,
    Done(String),
    Fail(String),
    Purge,
}

/// A lease as its worker knows it.
#[derive(Debug, Clone)]
struct Lease {
    task: String,
    token: String,
    conn: u64,
    until_ms: u64,
}

#[derive(Default)]
struct Oracle {
    asked: BTreeMap<u64, Asked>,
    accepted: BTreeSet<String>,
    refused: BTreeSet<String>,
    /// Tasks that somebody had taken away, perhaps.
    is_purged: bool,
    done: BTreeSet<String>,
    leases: Vec<Lease>,
    tokens: BTreeSet<String>,
    submitted: u64,
    /// What those who have no words for a refusal wait for.
    waits: BTreeMap<u64, String>,
    answered: u64,
    /// The plain worker there is, and what it was given.
    worker: u64,
    given: Vec<Vec<bytes::Bytes>>,
}

struct Storm {
    bench: Bench,
    rng: Rng,
    oracle: Oracle,
}

impl Storm {
    fn new(seed: u64) -> Self {
        let mut storm = Self {
            bench: Bench::with(crate::roles::queue::Config {
                tells_dead: true,
                ..bench::config()
            }),
            rng: Rng::with_seed(seed),
            oracle: Oracle::default(),
        };
        storm.connect();
        storm
    }

    fn connect(&mut self) {
        for conn in 1..=CONNS {
            self.bench.open("front", conn);
        }
        for conn in WORDLESS {
            self.bench.open("front", conn);
        }
        self.employ();
    }

    /// A plain worker connects.
    fn employ(&mut self) {
        self.oracle.worker = self.oracle.worker.max(100) + 1;
        self.oracle.given.clear();
        self.bench.open("back", self.oracle.worker);
    }

    /// Somebody asks who has no words for a refusal, or a plain worker answers.
    fn plain(&mut self) {
        let conn = WORDLESS[self.rng.usize(..WORDLESS.len())];
        if self.rng.bool() || self.oracle.waits.contains_key(&conn) {
            return self.answer();
        }
        self.oracle.submitted += 1;
        let text = format!("w{}", self.oracle.submitted);
        self.oracle.waits.insert(conn, text.clone());
        match conn == WORDLESS[2] {
            true => self
                .bench
                .say("front", conn, &["", "MDPC01", "tasks", &text]),
            false => self.bench.say("front", conn, &["", &text]),
        }
    }

    fn answer(&mut self) {
        let worker = self.oracle.worker;
        self.oracle.given.extend(self.bench.sent(worker));
        if self.bench.closed.remove(&worker) {
            self.bench.close(worker);
            return self.employ();
        }
        if self.oracle.given.is_empty() {
            return;
        }
        let task = self.oracle.given.remove(0);
        let did = format!("did {}", String::from_utf8_lossy(&task[2]));
        let answer = vec![task[0].clone(), "".into(), did.into()];
        self.bench.say_frames("back", worker, answer);
    }

    /// Hears the answers to those who have no words for a refusal.
    fn listen_plain(&mut self) {
        for conn in WORDLESS {
            for frames in self.bench.sent(conn) {
                let asked = self.oracle.waits.remove(&conn);
                let asked = asked.expect("it waits for one answer");
                let said = String::from_utf8_lossy(frames.last().unwrap());
                assert!(
                    said == format!("did {asked}") || said.starts_with("{\"error\""),
                    "{asked}: {said}"
                );
                self.oracle.answered += 1;
            }
        }
    }

    /// One thing happens.
    fn happen(&mut self) {
        match self.rng.u32(..100) {
            0..=14 => self.plain(),
            15..=69 => {
                let conn = self.rng.u64(1..=CONNS);
                if !self.oracle.asked.contains_key(&conn) {
                    self.asks(conn);
                }
            }
            70..=84 => self.bench.disk(),
            85..=93 => {
                let ms = self.rng.u64(..200);
                self.bench.pass(ms);
            }
            94..=95 => self.bench.fate = Fate::Full,
            96..=97 => self.bench.fate = Fate::Waits,
            98 if self.rng.u32(..4) == 0 => self.kill(),
            98 => self.bench.tell(crate::roles::machine::Event::Disk(
                crate::model::store::Told::CheckpointDue,
            )),
            _ => self.bench.fate = Fate::Stored,
        }
        self.listen();
    }

    fn asks(&mut self, conn: u64) {
        let mut lease =
            (0..self.oracle.leases.len()).filter(|n| self.oracle.leases[*n].conn == conn);
        let lease = lease.next_back().map(|n| self.oracle.leases[n].clone());
        let (asked, verb, params) = match (self.rng.u32(..10), lease) {
            (0..=3, _) => {
                self.oracle.submitted += 1;
                let id = format!("t{}", self.oracle.submitted);
                let delay_ms = [0, 0, 50][self.rng.usize(..3)];
                let priority = self.rng.i32(0..3);
                let params = json!({
                    "service": "s", "id": id, "priority": priority, "delay_ms": delay_ms,
                });
                (Asked::Submit(id), "submit", params)
            }
            (4, Some(lease)) => {
                let params = json!({"token": lease.token});
                (Asked::Fail(lease.task), "fail", params)
            }
            (5 | 6, Some(lease)) => {
                let params = json!({"token": lease.token});
                (Asked::Done(lease.task), "done", params)
            }
            (7, _) if self.rng.u32(..30) == 0 => {
                self.oracle.is_purged = true;
                (
                    Asked::Purge,
                    "purge",
                    json!({"service": "s", "dead": self.rng.bool()}),
                )
            }
            (_, _) => {
                let params =
                    json!({"service": "s", "lease_ms": 300, "wait_ms": self.rng.u64(..100)});
                (Asked::Take, "take", params)
            }
        };
        // It may be answered at once, and is over for its worker when it says so.
        if let Asked::Done(task) | Asked::Fail(task) = &asked {
            let ended = task.clone();
            self.oracle
                .leases
                .retain(|it| it.task != ended || it.conn != conn);
        }
        self.oracle.asked.insert(conn, asked);
        self.bench.ask(conn, verb, params, &["body"]);
    }

    /// The queue is killed: what it was storing is on the disk or not.
    fn kill(&mut self) {
        self.listen();
        if let Some((_, entry)) = self.bench.asked.take()
            && self.rng.bool()
        {
            self.bench.put(entry);
        }
        self.bench.restart();
        // Nobody knows what became of what was asked.
        self.oracle.asked.clear();
        self.oracle.waits.clear();
        self.connect();
    }

    /// Looks at all that was said.
    fn listen(&mut self) {
        self.listen_plain();
        for conn in 1..=CONNS {
            for reply in self.bench.heard(conn) {
                let asked = self.oracle.asked.remove(&conn).expect("it asked something");
                match (asked, reply.status) {
                    (Asked::Submit(id), 200) => {
                        self.oracle.accepted.insert(id);
                    }
                    (Asked::Submit(id), 503) => {
                        self.oracle.refused.insert(id);
                    }
                    (Asked::Take, 200) => {
                        let text = |key: &str| reply.result[key].as_str().unwrap().to_owned();
                        self.taken(conn, text("task"), text("token"));
                    }
                    (Asked::Done(task), 200) => {
                        assert!(
                            self.oracle.done.insert(task.clone()),
                            "{task} was done twice"
                        );
                    }
                    (Asked::Submit(_), 429) | (Asked::Take, 404 | 429 | 503) => {}
                    (Asked::Done(_) | Asked::Fail(_), 200 | 409 | 503) => {}
                    (Asked::Purge, 200 | 503) => {}
                    (asked, status) => panic!("{asked:?}: {status} {:?}", reply.result),
                }
            }
        }
    }

    fn taken(&mut self, conn: u64, task: String, token: String) {
        let now = self.bench.ms;
        let oracle = &mut self.oracle;
        assert!(
            !oracle.refused.contains(&task),
            "{task} was refused and is done"
        );
        assert!(
            !oracle.done.contains(&task),
            "{task} was done and is given again"
        );
        assert!(oracle.tokens.insert(token.clone()), "a token is used twice");
        // One that was over before it was heard of is no live one; its answer comes too late.
        let Some(until_ms) = self.bench.durable.queue.lease_end_ms(&token) else {
            return;
        };
        oracle.leases.retain(|it| it.until_ms > now);
        let live = oracle.leases.iter().find(|it| it.task == task);
        assert!(
            live.is_none(),
            "{task} has another lease: {live:?} at {now}"
        );
        oracle.leases.push(Lease {
            task,
            token,
            conn,
            until_ms,
        });
    }

    /// All is well again, and what is left is done.
    fn end(mut self) -> u64 {
        self.bench.fate = Fate::Stored;
        self.bench.disk();
        self.bench.pass(20_000);
        self.listen();
        for _ in 0..200 {
            self.answer();
            self.bench.pass(200);
            self.listen();
        }
        let waits = &self.oracle.waits;
        assert!(waits.is_empty(), "they wait for ever: {waits:?}");
        self.kill();
        self.bench.pass(1_000);
        loop {
            let taken = self.bench.asks(1, "take", json!({"service": "s"}), &[]);
            if taken.status == 404 {
                break;
            }
            let task = taken.result["task"].as_str().unwrap().to_owned();
            assert!(!self.oracle.refused.contains(&task) && !self.oracle.done.contains(&task));
            let token = taken.result["token"].clone();
            assert_eq!(
                self.bench
                    .asks(1, "done", json!({"token": token}), &["x"])
                    .status,
                200
            );
            self.oracle.done.insert(task);
            self.bench.pass(200);
        }
        let dead = self
            .bench
            .asks(1, "ls", json!({"dead": true, "limit": 1000}), &[]);
        let dead = dead.result["tasks"].as_array().unwrap().clone();
        let dead: BTreeSet<&str> = dead.iter().map(|it| it["task"].as_str().unwrap()).collect();
        for id in &self.oracle.accepted {
            let known = self
                .bench
                .asks(1, "submit", json!({"service": "s", "id": id}), &[]);
            let is_known = known.result["attempts"].is_u64();
            let is_done = self.oracle.done.contains(id) || is_known;
            assert!(
                is_done || dead.contains(id.as_str()) || self.oracle.is_purged,
                "{id} is lost"
            );
        }
        self.oracle.answered
    }
}

/// Gives how many plain and Majordomo requests were answered.
fn storms(seeds: impl Iterator<Item = u64>) -> u64 {
    let mut answered = 0;
    for seed in seeds {
        let run = std::panic::catch_unwind(|| {
            let mut storm = Storm::new(seed);
            for _ in 0..400 {
                storm.happen();
            }
            storm.end()
        });
        // A failure names its seed.
        answered += run.unwrap_or_else(|_| panic!("seed {seed}"));
    }
    answered
}

#[test]
fn three_hundred_simulated_storms_lose_nothing_and_do_nothing_twice() {
    assert!(storms(0..300) > 1_000);
}

/// `cargo test --lib ten_thousand_simulated_storms -- --ignored`
#[test]
#[ignore = "minutes"]
fn ten_thousand_simulated_storms_lose_nothing_and_do_nothing_twice() {
    storms(0..10_000);
}
