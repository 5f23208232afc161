//! A queue under test: its time, and what it said, with the accounts checked after every step.

use std::collections::HashMap;

use serde_json::Value;

use crate::model::endpoint::Endpoint;
use crate::model::limits::WireLimits;
use crate::protocol::zn1::{Reply, Request};
use crate::roles::machine::Machine as _;
use crate::roles::queue::tasks::State;
use crate::roles::queue::{
    Action, Bytes, Common, Config, Conn, Counters, Duration, Event, Machine,
};

/// A queue under test, its time, and what it said since somebody looked.
pub(in crate::roles::queue) struct Bench {
    pub(super) queue: Machine,
    pub(super) ms: u64,
    pub(super) said: Vec<Action>,
}

pub(super) fn bytes(texts: &[&str]) -> Vec<Bytes> {
    let copy = |text: &&str| Bytes::copy_from_slice(text.as_bytes());
    texts.iter().map(copy).collect()
}

impl Machine {
    /// Whether all that peers have it hold is counted.
    pub(in crate::roles::queue) fn audit(&self) {
        let (mut bytes, mut dead_bytes) = (0, 0);
        for (_, task) in self.tasks.iter() {
            assert_eq!(task.bytes, task.counted(), "{task:?}");
            bytes += task.bytes;
            if matches!(task.state, State::Dead) {
                dead_bytes += task.bytes;
            }
        }
        assert_eq!(
            (self.tasks.bytes(), self.dead_bytes),
            (bytes, dead_bytes),
            "{:?}",
            self.tasks
        );
        let mut counted: HashMap<usize, (usize, usize)> = HashMap::new();
        for (_, task) in self.tasks.iter() {
            counted.entry(task.service).or_default().0 += 1;
        }
        for held in &self.held {
            counted.entry(held.offer.service).or_default().1 += 1;
        }
        let mut oldest: HashMap<usize, u64> = HashMap::new();
        let all = self.tasks.iter().map(|(_, task)| task);
        for task in all.filter(|task| matches!(task.state, State::Queued)) {
            let oldest_ms = oldest.entry(task.service).or_insert(task.ready_ms);
            *oldest_ms = task.ready_ms.min(*oldest_ms);
        }
        for (number, service) in self.services.iter() {
            let oldest_ms = oldest.get(&number);
            let age_ms = oldest_ms.map_or(0, |at| self.wall_ms(self.now).saturating_sub(*at));
            assert_eq!(self.age_ms(number), age_ms, "{service:?}");
            let counted = counted.remove(&number).unwrap_or_default();
            assert_eq!((service.tasks, service.held), counted, "{service:?}");
        }
        assert!(counted.is_empty(), "services are gone: {counted:?}");
        let conns: Vec<Conn> = self.held.iter().map(|held| held.conn).collect();
        for (conn, peer) in &self.peers {
            let held = conns.iter().filter(|it| *it == conn).count();
            assert_eq!(peer.held, held);
        }
    }
}

impl Bench {
    pub(super) fn new(bytes_max: usize) -> Self {
        let config = Config {
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
            bytes_max,
            keep_ms: 0,
            store: None,
        };
        Self {
            queue: Machine::new(&config, 7),
            ms: 0,
            said: Vec::new(),
        }
    }

    pub(super) fn tell(&mut self, event: Event) {
        let now = Duration::from_millis(self.ms);
        self.queue.step(now, event, &mut self.said);
        self.queue.audit();
        let counters = self.queue.counters();
        let is = [
            counters.completed,
            counters.dead,
            counters.queued,
            counters.leased,
        ];
        assert_eq!(counters.accepted, is.iter().sum::<u64>(), "{counters:?}");
    }

    /// Whether nobody waits for room that there is.
    #[track_caller]
    pub(super) fn assert_held(&mut self, clients: usize) {
        self.pass(0);
        assert_eq!(self.queue.held.len(), clients);
    }

    /// Changes its configuration while it runs.
    pub(super) fn reconfigure(&mut self, change: impl FnOnce(&mut Config)) {
        let mut config = self.queue.config.clone();
        change(&mut config);
        self.queue.adopt(&crate::roles::Config::Queue(config));
    }

    pub(super) fn open(&mut self, port: &str, conn: u64) {
        let port = port.into();
        let conn = Conn(conn);
        self.tell(Event::Opened { port, conn });
    }

    pub(super) fn close(&mut self, conn: u64) {
        let (port, conn) = ("front".into(), Conn(conn));
        self.tell(Event::Closed { port, conn });
    }

    pub(super) fn say(&mut self, port: &str, conn: u64, frames: Vec<Bytes>) {
        let (port, conn) = (port.into(), Conn(conn));
        self.tell(Event::Message { port, conn, frames });
    }

    /// A message of a connection that may be new, without a look at the accounts: they grow with all there is.
    pub(super) fn unchecked(&mut self, conn: u64, frames: &[&str]) {
        let (now, conn, is_new) = (
            Duration::from_millis(self.ms),
            Conn(conn),
            !self.queue.peers.contains_key(&Conn(conn)),
        );
        let opened = Event::Opened {
            port: "front".into(),
            conn,
        };
        let asked = Event::Message {
            port: "front".into(),
            conn,
            frames: bytes(frames),
        };
        for event in is_new.then_some(opened).into_iter().chain([asked]) {
            self.queue.step(now, event, &mut self.said);
        }
    }

    pub(super) fn front(&mut self, conn: u64, frames: &[&str]) {
        self.say("front", conn, bytes(frames));
    }

    /// Lets time pass, with every tick that was asked for.
    pub(super) fn pass(&mut self, ms: u64) {
        let end = self.ms + ms;
        while let Some(deadline) = self.queue.deadline() {
            let due = u64::try_from(deadline.as_millis()).unwrap();
            if due > end {
                break;
            }
            self.ms = self.ms.max(due);
            self.tell(Event::Tick);
        }
        self.ms = end;
    }

    /// What was sent to a connection since the last look, each message with its frames.
    pub(super) fn sent(&mut self, to: u64) -> Vec<Vec<Bytes>> {
        let (its, others) = std::mem::take(&mut self.said)
            .into_iter()
            .partition(|action| matches!(action, Action::Send { conn, .. } if conn.0 == to));
        self.said = others;
        let its: Vec<Action> = its;
        its.into_iter()
            .map(|action| match action {
                Action::Send { frames, .. } => frames,
                other => unreachable!("{other:?} was left out"),
            })
            .collect()
    }

    /// The one message to a connection.
    #[track_caller]
    pub(super) fn one(&mut self, to: u64) -> Vec<Bytes> {
        let sent = self.sent(to);
        let [one] = <[Vec<Bytes>; 1]>::try_from(sent).unwrap();
        one
    }

    /// Asks by ZN1, with the answer if it comes at once.
    pub(super) fn ask(
        &mut self,
        conn: u64,
        verb: &str,
        asked: Value,
        body: &[&str],
    ) -> Option<Reply> {
        let mut request = Request::new(verb, format!("{verb}-{}", self.ms), asked);
        request.body = bytes(body);
        self.say("front", conn, request.encode());
        self.reply(conn)
    }

    pub(super) fn reply(&mut self, conn: u64) -> Option<Reply> {
        let mut sent = self.sent(conn);
        assert!(sent.len() < 2, "{sent:?}");
        sent.pop().map(|frames| Reply::decode(frames).unwrap())
    }

    #[track_caller]
    pub(super) fn asks(&mut self, conn: u64, verb: &str, asked: Value, body: &[&str]) -> Reply {
        self.ask(conn, verb, asked, body)
            .expect("an answer at once")
    }

    pub(super) fn counters(&self) -> &Counters {
        self.queue.counters()
    }
}
