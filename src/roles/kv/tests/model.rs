//! Random histories beside a map: the same answers, the same map after every restart, and whoever
//! folds watches or updates has it too.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::json;

use super::Bench;
use super::mirroring::numbered;
use crate::model::store::{StoreFault, Told};
use crate::roles::machine::Event;

/// What a key has: its value and its revision.
type Map = BTreeMap<String, (String, u64)>;

struct Run {
    bench: Bench,
    random: fastrand::Rng,
    model: Map,
    revision: u64,
    /// What was folded from a watch, and from updates.
    watched: Map,
    after: u64,
    mirrored: BTreeMap<String, String>,
}

impl Run {
    fn new(seed: u64) -> Self {
        Self {
            bench: Bench::new(),
            random: fastrand::Rng::with_seed(seed),
            model: Map::new(),
            revision: 0,
            watched: Map::new(),
            after: 0,
            mirrored: BTreeMap::new(),
        }
    }

    fn key(&mut self) -> String {
        format!("{}/{}", self.random.u8(0..2), self.random.u8(0..4))
    }

    fn write(&mut self) {
        let key = self.key();
        let value = self.random.u32(1..).to_string();
        let actual = self.model.get(&key).map_or(0, |(_, revision)| *revision);
        let named = [actual, self.random.u64(0..=self.revision)][self.random.usize(0..2)];
        let (verb, params, body) = match self.random.u8(0..3) {
            0 => ("set", json!({"key": key}), vec![value.as_str()]),
            1 => (
                "cas",
                json!({"key": key, "revision": named}),
                vec![value.as_str()],
            ),
            _ => ("del", json!({"key": key}), Vec::new()),
        };
        let fails = self.random.u8(0..10) == 0;
        self.bench.is_prompt = false;
        self.bench.tell(0, verb, params, &body);
        if !self.bench.asked.is_empty() {
            self.bench.stored(match fails {
                true => Err(StoreFault::NoSpace),
                false => Ok(()),
            });
        }
        self.bench.is_prompt = true;
        while !self.bench.asked.is_empty() {
            // A checkpoint that was due.
            self.bench.stored(Ok(()));
        }
        let reply = self.bench.replies(0).remove(0);
        let is_there = actual > 0;
        let expected = match verb {
            "del" if !is_there => 404,
            "cas" if named != actual => 409,
            _ if fails => 503,
            _ => 200,
        };
        assert_eq!(reply.status, expected, "{verb} {key}");
        if expected == 200 {
            self.revision += 1;
            assert_eq!(reply.result["revision"], self.revision);
            match verb {
                "del" => drop(self.model.remove(&key)),
                _ => drop(self.model.insert(key, (value, self.revision))),
            }
        }
    }

    fn fold(&mut self) {
        let limit = self.random.usize(1..5);
        let params = json!({"after": self.after, "limit": limit});
        let reply = self.bench.ask("watch", params, &[]);
        if reply.status == 409 {
            // The history ended with a life: a snapshot, and on from its revision.
            let list = self.bench.ask("list", json!({"values": true}), &[]);
            let keys = list.result["keys"].as_array().unwrap().iter();
            self.watched = keys
                .zip(&list.body)
                .map(|(told, value)| {
                    let revision = told["revision"].as_u64().unwrap();
                    let value = String::from_utf8_lossy(value).into_owned();
                    (told["key"].as_str().unwrap().to_owned(), (value, revision))
                })
                .collect();
            self.after = list.result["revision"].as_u64().unwrap();
            return;
        }
        let mut values = reply.body.iter();
        for event in reply.result["events"].as_array().unwrap() {
            let key = event["key"].as_str().unwrap().to_owned();
            let revision = event["revision"].as_u64().unwrap();
            match event["op"].as_str().unwrap() {
                "set" => {
                    let value = String::from_utf8_lossy(values.next().unwrap()).into_owned();
                    self.watched.insert(key, (value, revision));
                }
                _ => drop(self.watched.remove(&key)),
            }
        }
        self.after = reply.result["revision"].as_u64().unwrap();
    }

    fn mirror(&mut self) {
        for frames in std::mem::take(&mut self.bench.published) {
            let (key, _, value) = numbered(&frames);
            match value.is_empty() {
                true => drop(self.mirrored.remove(&key)),
                false => drop(self.mirrored.insert(key, value)),
            }
        }
    }

    fn check(&mut self) {
        let all: Map = self
            .bench
            .machine
            .state
            .items(None)
            .map(|(key, item)| {
                let value = String::from_utf8_lossy(&item.value).into_owned();
                (key.to_string(), (value, item.revision))
            })
            .collect();
        assert_eq!(all, self.model);
        assert_eq!(self.bench.machine.state.revision(), self.revision);
        let costs = all
            .iter()
            .map(|(key, (value, _))| super::super::state::cost(key, value.len()));
        assert_eq!(self.bench.machine.state.bytes(), costs.sum::<usize>());
    }

    fn end(&mut self) {
        while self.after < self.revision {
            self.fold();
        }
        self.mirror();
        assert_eq!(self.watched, self.model);
        let values = self
            .model
            .iter()
            .map(|(key, (value, _))| (key.clone(), value.clone()));
        assert_eq!(self.mirrored, values.collect());
    }
}

#[test]
fn random_histories_agree_with_a_map_through_faults_and_restarts() {
    for seed in 0..60 {
        let mut run = Run::new(seed);
        for _ in 0..300 {
            match run.random.u8(0..20) {
                0 => run.bench.restart(),
                1 => run.bench.step(Event::Disk(Told::CheckpointDue)),
                2..5 => run.fold(),
                5 => run.mirror(),
                _ => run.write(),
            }
            run.check();
        }
        run.end();
    }
}

#[test]
fn a_checkpoint_that_is_cut_or_changed_is_none_or_another_but_no_panic() {
    let mut run = Run::new(7);
    for _ in 0..50 {
        run.write();
    }
    run.bench.step(Event::Disk(Told::CheckpointDue));
    let (_, whole) = run.bench.checkpoint.clone().unwrap();
    let read = |bytes: Bytes| super::super::record::decode_checkpoint(bytes);
    assert!(read(whole.clone()).is_ok());
    let mut good = 0;
    for length in 0..whole.len() {
        good += usize::from(read(whole.slice(..length)).is_ok());
    }
    // Only where it ends between two keys could it be taken for whole: its checksum is the log's.
    assert!(good <= run.model.len() + 1);
    for _ in 0..2_000 {
        let mut bytes = whole.to_vec();
        let at = run.random.usize(..bytes.len());
        bytes[at] ^= 1 << run.random.u8(0..8);
        drop(read(bytes.into()));
    }
}
