//! A durable queue under test, with a disk in memory that stores, waits, or is full.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use crate::model::endpoint::Endpoint;
use crate::model::limits::WireLimits;
use crate::model::store::{Ask, Batch, Entry, Record, StoreConfig, StoreFault, Stored, Told};
use crate::protocol::zn1::{Reply, Request};
use crate::roles::machine::{Action, Common, Conn, Event, Machine as _};
use crate::roles::queue::durable::Durable;
use crate::roles::queue::{Config, Counters};

/// How long answers are kept.
pub(super) const KEEP_MS: u64 = 60_000;
/// When the first life begins.
const BEGAN_MS: u64 = 1_700_000_000_000;

/// What becomes of what is to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Stored,
    Waits,
    Full,
}

pub(super) struct Bench {
    config: Config,
    pub(super) durable: Durable,
    pub(super) fate: Fate,
    pub(super) refuses_checkpoints: bool,
    /// What is on the disk: notes and records, and when they were stored.
    pub(super) batches: Vec<(Bytes, Vec<Bytes>, u64)>,
    checkpoint: Option<(usize, Bytes)>,
    pub(super) asked: Option<(u64, Entry)>,
    pub(super) said: Vec<(u64, Vec<Bytes>)>,
    pub(super) closed: BTreeSet<u64>,
    /// The time of the world, and when this life began in it.
    pub(super) ms: u64,
    began_ms: u64,
    lives: u64,
}

pub(super) fn config() -> Config {
    Config {
        common: Common {
            name: "jobs".into(),
            ports: Vec::new(),
            dials: Vec::new(),
            health: Endpoint::ipc("/none"),
            limits: Box::new(WireLimits::default()),
        },
        service: "tasks".to_owned(),
        others: Vec::new(),
        lease_ms: 30_000,
        attempts: 3,
        ahead: 16,
        tells_dead: false,
        bytes_max: 1 << 20,
        keep_ms: KEEP_MS,
        store: Some(Box::new(StoreConfig {
            path: "/none".into(),
            durability: Default::default(),
            retain_ms: None,
            retain_bytes: None,
            bytes_max: None,
        })),
    }
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(config())
    }

    pub(super) fn with(config: Config) -> Self {
        let mut bench = Self {
            durable: Durable::new(&config, 0, BEGAN_MS),
            config,
            fate: Fate::Stored,
            refuses_checkpoints: false,
            batches: Vec::new(),
            checkpoint: None,
            asked: None,
            said: Vec::new(),
            closed: BTreeSet::new(),
            ms: BEGAN_MS,
            began_ms: BEGAN_MS,
            lives: 0,
        };
        bench.begin();
        bench
    }

    /// The process dies; what was asked and not answered is not stored. Another is started.
    pub(super) fn restart(&mut self) {
        self.asked = None;
        self.said.clear();
        self.lives += 1;
        self.began_ms = self.ms;
        self.durable = Durable::new(&self.config, self.lives, self.ms);
        self.begin();
    }

    fn begin(&mut self) {
        let mut from = 0;
        if let Some((count, data)) = self.checkpoint.clone() {
            from = count;
            self.tell(Event::Disk(Told::Restored(data)));
        }
        let mut offset = 0;
        for seq in 0..self.batches.len() {
            let (note, records, stored_ms) = self.batches[seq].clone();
            let first_offset = offset;
            offset += records.len() as u64;
            if seq < from {
                continue;
            }
            let record = |data| Record { time_ns: 0, data };
            self.tell(Event::Disk(Told::Replayed(Batch {
                seq: seq as u64,
                first_offset,
                time_ns: stored_ms * 1_000_000,
                note,
                records: records.into_iter().map(record).collect(),
            })));
        }
        let (start, end) = (0, offset);
        self.tell(Event::Disk(Told::Recovered { start, end }));
    }

    pub(super) fn tell(&mut self, event: Event) {
        let mut actions = Vec::new();
        let now = Duration::from_millis(self.ms - self.began_ms);
        self.durable.step(now, event, &mut actions);
        self.durable.queue.audit();
        let counters = self.counters();
        let is = counters.completed + counters.dead + counters.queued + counters.leased;
        assert_eq!(counters.accepted, is, "{counters:?}");
        for action in actions {
            match action {
                Action::Send { conn, frames } => self.said.push((conn.0, frames)),
                Action::Close { conn } => {
                    self.closed.insert(conn.0);
                }
                Action::Disk(ask) => self.ask_disk(ask),
                Action::Pause { .. } | Action::Resume { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        if self.fate != Fate::Waits {
            self.disk();
        }
    }

    fn ask_disk(&mut self, ask: Ask) {
        match ask {
            Ask::Store { ticket, entry } => {
                assert!(self.asked.is_none(), "one flight at a time");
                self.asked = Some((ticket, entry));
            }
            Ask::Checkpoint { through, data } => {
                let result = match self.refuses_checkpoints {
                    true => Err(StoreFault::TooLarge),
                    false => Ok(()),
                };
                if result.is_ok() {
                    self.checkpoint = Some((through as usize + 1, data.into_bytes()));
                }
                self.tell(Event::Disk(Told::Checkpointed { through, result }));
            }
            Ask::Trim { .. } => {}
            other @ (Ask::Fetch { .. } | Ask::Begin { .. }) => panic!("{other:?}"),
        }
    }

    /// The disk does what it was asked.
    pub(super) fn disk(&mut self) {
        let Some((ticket, entry)) = self.asked.take() else {
            return;
        };
        let result = match self.fate {
            Fate::Full => Err(StoreFault::NoSpace),
            Fate::Stored | Fate::Waits => Ok(self.put(entry)),
        };
        self.tell(Event::Disk(Told::Stored { ticket, result }));
    }

    /// Puts an entry on the disk.
    pub(super) fn put(&mut self, entry: Entry) -> Stored {
        let first_offset = self.batches.iter().map(|(_, it, _)| it.len() as u64).sum();
        let records = entry.records.into_iter().map(|it| it.data).collect();
        self.batches.push((entry.note, records, self.ms));
        Stored {
            seq: self.batches.len() as u64 - 1,
            first_offset,
            time_ns: 0,
        }
    }

    pub(super) fn checkpoint(&mut self) {
        self.tell(Event::Disk(Told::CheckpointDue));
        while self.durable.shadow.is_writing() {
            self.tell(Event::Tick);
        }
    }

    pub(super) fn open(&mut self, port: &str, conn: u64) {
        self.tell(Event::Opened {
            port: port.into(),
            conn: Conn(conn),
        });
    }

    pub(super) fn close(&mut self, conn: u64) {
        self.tell(Event::Closed {
            port: "front".into(),
            conn: Conn(conn),
        });
    }

    pub(super) fn say_frames(&mut self, port: &str, conn: u64, frames: Vec<Bytes>) {
        self.tell(Event::Message {
            port: port.into(),
            conn: Conn(conn),
            frames,
        });
    }

    pub(super) fn say(&mut self, port: &str, conn: u64, texts: &[&str]) {
        let copy = |text: &&str| Bytes::copy_from_slice(text.as_bytes());
        self.say_frames(port, conn, texts.iter().map(copy).collect());
    }

    /// Lets time pass, and everything happen that is due.
    pub(super) fn pass(&mut self, ms: u64) {
        let until = self.ms + ms;
        loop {
            let due = self.durable.deadline();
            let due = due.map(|at| self.began_ms + at.as_millis() as u64);
            match due.filter(|due| *due <= until) {
                Some(due) => self.ms = self.ms.max(due),
                None => break,
            }
            self.tell(Event::Tick);
        }
        self.ms = until;
    }

    pub(super) fn ask(&mut self, conn: u64, verb: &str, params: Value, body: &[&str]) {
        let request = Request {
            verb: verb.to_owned(),
            id: Bytes::from_static(b"1"),
            params,
            body: body
                .iter()
                .map(|text| Bytes::copy_from_slice(text.as_bytes()))
                .collect(),
        };
        self.say_frames("front", conn, request.encode());
    }

    /// What a connection was sent since it was looked at.
    pub(super) fn sent(&mut self, conn: u64) -> Vec<Vec<Bytes>> {
        let said = std::mem::take(&mut self.said);
        let (its, others): (Vec<_>, Vec<_>) = said.into_iter().partition(|(it, _)| *it == conn);
        self.said = others;
        its.into_iter().map(|(_, frames)| frames).collect()
    }

    pub(super) fn heard(&mut self, conn: u64) -> Vec<Reply> {
        let sent = self.sent(conn).into_iter();
        sent.map(|frames| Reply::decode(frames).unwrap()).collect()
    }

    #[track_caller]
    pub(super) fn one(&mut self, conn: u64) -> Reply {
        let mut heard = self.heard(conn);
        assert_eq!(heard.len(), 1, "{heard:?}");
        heard.remove(0)
    }

    #[track_caller]
    pub(super) fn asks(&mut self, conn: u64, verb: &str, params: Value, body: &[&str]) -> Reply {
        self.ask(conn, verb, params, body);
        self.one(conn)
    }

    /// Asks a service of Majordomo's and gives the frames of its answer.
    #[track_caller]
    pub(super) fn titanic(&mut self, conn: u64, frames: &[&str]) -> Vec<String> {
        self.say("front", conn, &[&["", "MDPC01"], frames].concat());
        let sent = self.sent(conn);
        assert_eq!(sent.len(), 1, "{sent:?}");
        let text = |frame: &Bytes| String::from_utf8_lossy(frame).into_owned();
        sent[0][3..].iter().map(text).collect()
    }

    pub(super) fn counters(&self) -> &Counters {
        self.durable.queue.counters()
    }

    /// How often each task was tried.
    pub(super) fn attempts(&self) -> Vec<u32> {
        let tasks = self.durable.queue.tasks.iter();
        tasks.map(|(_, task)| task.attempt).collect()
    }

    pub(super) fn facts(&self) -> Value {
        self.durable.facts()
    }
}
