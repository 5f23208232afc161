//! The proxy: hands requests on to a backend and its answers back. The cache is one that remembers.
//!
//! ```text
//! clients  --request-->  proxy  --number, "", request-->  backends
//! clients  <--answer---  proxy  <--number, "", answer---  backends
//! ```
//!
//! Clients see the proxy's address and nothing of the backends, which come and go. REQ and DEALER are
//! both served, and so is ZN1, of which only `ping` and `status` are the proxy's own. A client that
//! asks for too much is read no further until there is room.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::model::limits::request::ENVELOPE_BYTES_MAX;
use crate::protocol::envelope;
use crate::protocol::zn1::{self, Reply, Request};

use super::Config as RoleConfig;
use super::backends::{Backends, Number, Patience};
use super::cache::{Key, Memory};
use super::machine::{self, Action, Caller, Common, Conn, Event, Read};

/// Callers that wait for an answer; with half as many, whoever asks is read no further.
const CALLERS_MAX: usize = 8_192;
/// Bytes of the requests that wait; with half as many, whoever asks is read no further.
const BYTES_MAX: usize = 256 * 1024 * 1024;

/// What a proxy is told when it starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// What every role is told.
    pub common: Common,
    /// The name by which its backends are dialled.
    pub backend: String,
    /// How long answers are waited for.
    pub patience: Patience,
}

impl Config {
    /// What of another configuration a proxy with this one cannot take while it runs.
    pub fn fixed_change(&self, next: &Self) -> Option<&'static str> {
        let is_other = self.backend != next.backend;
        let backend = is_other.then_some("its backend");
        self.common.fixed_change(&next.common).or(backend)
    }
}

/// What it has counted; pings and `status` are in none of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Requests received.
    pub received: u64,
    /// Requests answered.
    pub answered: u64,
    /// Requests given up: nobody answered in time, however often it was tried.
    pub given_up: u64,
    /// Requests refused, because too many wait, or for an envelope that is too large.
    pub refused: u64,
    /// Answers that nobody waited for any more.
    pub late: u64,
    /// Requests that mean to be ZN1 and are not.
    pub malformed: u64,
}

/// Who waits for one answer.
#[derive(Debug)]
struct Waiting {
    callers: Vec<Asker>,
    /// What is remembered with the answer, where it may be.
    key: Option<Key>,
}

#[derive(Debug)]
struct Asker {
    caller: Caller,
    /// The id of a ZN1 request.
    id: Option<Bytes>,
}

impl Asker {
    /// Puts what is kept into memory of its own: a small request does not pin what it was read in.
    fn own(&mut self) {
        envelope::own(&mut self.caller.envelope);
        self.id = self.id.as_deref().map(Bytes::copy_from_slice);
    }
}

/// The proxy.
#[derive(Debug)]
pub struct Machine {
    config: Config,
    backends: Backends,
    memory: Option<Memory>,
    waiting: BTreeMap<Number, Waiting>,
    /// Which request asks for what is not remembered yet.
    asking: HashMap<Key, Number>,
    callers: usize,
    /// Who is read no further.
    paused: BTreeSet<Conn>,
    counters: Counters,
}

impl Machine {
    /// A proxy that has heard nothing yet; with a memory, it is a cache.
    pub fn new(config: &Config, memory: Option<Memory>) -> Self {
        Self {
            config: config.clone(),
            backends: Backends::new(config.patience),
            memory,
            waiting: BTreeMap::new(),
            asking: HashMap::new(),
            callers: 0,
            paused: BTreeSet::new(),
            counters: Counters::default(),
        }
    }

    fn is_backend(&self, port: &str) -> bool {
        port == self.config.backend
    }

    fn asked(&mut self, now: Duration, conn: Conn, frames: Vec<Bytes>, actions: &mut Vec<Action>) {
        let (envelope, body) = envelope::split(frames);
        if envelope::bytes_of(&envelope) > ENVELOPE_BYTES_MAX {
            // It would have to be kept, and be sent back with any words.
            self.counters.received += 1;
            self.counters.refused += 1;
            return;
        }
        let caller = Caller { conn, envelope };
        if !zn1::is_zn1(&body) {
            return self.request(now, Asker { caller, id: None }, body, actions);
        }
        // Read to know what it is; what goes on is what came, to the byte.
        match machine::read(&self.config.common.name, caller, body.clone(), actions) {
            Read::Answered => {}
            Read::Malformed => self.counters.malformed += 1,
            Read::Request(caller, Request { id, .. }) => {
                let id = Some(id);
                self.request(now, Asker { caller, id }, body, actions);
            }
        }
    }

    fn request(
        &mut self,
        now: Duration,
        mut asker: Asker,
        body: Vec<Bytes>,
        actions: &mut Vec<Action>,
    ) {
        self.counters.received += 1;
        if !self.config.common.limits.holds(&body) {
            // Its answer could not come back: the port takes more only for what stands around answers.
            let why = (zn1::TOO_LARGE, "it is over the limits of a message");
            return self.refuse(asker, why, actions);
        }
        let key = match (&self.memory, &asker.id) {
            (Some(_), None) => Some(Key::from(body.as_slice())),
            (Some(_), Some(_)) | (None, _) => None,
        };
        if let (Some(memory), Some(key)) = (&mut self.memory, &key)
            && let Some(answer) = memory.get(now, key)
        {
            self.counters.answered += 1;
            return actions.push(asker.caller.send(answer));
        }
        if self.callers >= CALLERS_MAX || self.backends.in_hand().1 >= BYTES_MAX {
            let why = (zn1::BACK_PRESSURE, "too many requests wait already");
            return self.refuse(asker, why, actions);
        }
        self.callers += 1;
        asker.own();
        let conn = asker.caller.conn;
        let same = key.as_ref().and_then(|key| self.asking.get(key));
        if let Some(waiting) = same.and_then(|number| self.waiting.get_mut(number)) {
            waiting.callers.push(asker);
            self.memory.iter_mut().for_each(Memory::joined);
        } else {
            self.memory.iter_mut().for_each(Memory::missed);
            let number = self.backends.ask(now, body, actions);
            if let Some(key) = &key {
                self.asking.insert(Arc::clone(key), number);
            }
            let callers = vec![asker];
            self.waiting.insert(number, Waiting { callers, key });
        }
        if self.is_crowded(2) && self.paused.insert(conn) {
            actions.push(Action::Pause { conn });
        }
    }

    /// Whether more waits than the given part of what may.
    fn is_crowded(&self, part: usize) -> bool {
        self.callers >= CALLERS_MAX / part || self.backends.in_hand().1 >= BYTES_MAX / part
    }

    fn refuse(&mut self, asker: Asker, (status, words): (u16, &str), actions: &mut Vec<Action>) {
        self.counters.refused += 1;
        if let Some(id) = asker.id {
            let reply = Reply::failure(status, id, words);
            actions.push(asker.caller.reply(&reply));
        }
    }

    fn answered(&mut self, now: Duration, frames: Vec<Bytes>, actions: &mut Vec<Action>) {
        let Some((number, answer)) = self.backends.answered(frames) else {
            self.counters.late += 1;
            return;
        };
        let waiting = self.take(number);
        self.counters.answered += waiting.callers.len() as u64;
        if let (Some(memory), Some(key)) = (&mut self.memory, waiting.key) {
            memory.put(now, key, &answer);
        }
        for asker in waiting.callers {
            actions.push(asker.caller.send(answer.iter().cloned()));
        }
        self.make_room(actions);
    }

    fn give_up(&mut self, numbers: Vec<Number>, actions: &mut Vec<Action>) {
        for number in numbers {
            let waiting = self.take(number);
            self.counters.given_up += waiting.callers.len() as u64;
            for Asker { caller, id } in waiting.callers {
                // A plain client knows no failure: it is silence, which it has its own timeout for.
                if let Some(id) = id {
                    let reply = Reply::failure(zn1::TIMEOUT, id, "the backend did not answer");
                    actions.push(caller.reply(&reply));
                }
            }
        }
        self.make_room(actions);
    }

    fn take(&mut self, number: Number) -> Waiting {
        let waiting = self.waiting.remove(&number);
        let waiting = waiting.expect("every request in hand has somebody who waits");
        self.callers -= waiting.callers.len();
        if let Some(key) = &waiting.key {
            self.asking.remove(key);
        }
        waiting
    }

    fn make_room(&mut self, actions: &mut Vec<Action>) {
        if !self.paused.is_empty() && !self.is_crowded(4) {
            let paused = std::mem::take(&mut self.paused);
            actions.extend(paused.into_iter().map(|conn| Action::Resume { conn }));
        }
    }
}

impl machine::Machine for Machine {
    fn step(&mut self, now: Duration, event: Event, actions: &mut Vec<Action>) {
        match event {
            Event::Opened { port, conn } => {
                if self.is_backend(&port) {
                    self.backends.opened(conn, actions);
                }
            }
            Event::Message { port, conn, frames } => match self.is_backend(&port) {
                true => self.answered(now, frames, actions),
                false => self.asked(now, conn, frames, actions),
            },
            Event::Closed { port, conn } => {
                self.paused.remove(&conn);
                if self.is_backend(&port) {
                    let given_up = self.backends.closed(now, conn, actions);
                    self.give_up(given_up, actions);
                }
            }
            Event::Unsent { conn } => self.backends.is_full(conn),
            Event::Writable { conn } => self.backends.is_writable(conn, actions),
            Event::Tick => {
                let given_up = self.backends.tick(now, actions);
                self.give_up(given_up, actions);
            }
            Event::Subscribed { .. } | Event::Disk(_) | Event::Drain => {}
        }
    }

    fn deadline(&self) -> Option<Duration> {
        self.backends.deadline()
    }

    fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    fn facts(&self) -> Value {
        let (in_hand, bytes) = self.backends.in_hand();
        let mut facts = json!({
            "requests": self.counters,
            "retried": self.backends.retried(),
            "in_hand": in_hand,
            "in_hand_bytes": bytes,
            "backends": self.backends.connected(),
        });
        if let Some(memory) = &self.memory {
            facts["cache"] = json!(memory.counters());
        }
        facts
    }

    fn adopt(&mut self, config: &RoleConfig) {
        if let RoleConfig::Cache(config) = config {
            let memory = self.memory.iter_mut();
            memory.for_each(|memory| memory.adopt(config));
        }
        if let RoleConfig::Proxy(next)
        | RoleConfig::Cache(super::cache::Config { proxy: next, .. }) = config
        {
            self.config = next.clone();
            self.backends.wait_for(next.patience);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::endpoint::Endpoint;
    use crate::model::limits::WireLimits;
    use crate::model::name::InstanceName;
    use crate::roles::machine::Machine as _;

    const BACKEND: Conn = Conn(1);

    pub(in crate::roles) fn config() -> Config {
        Config {
            common: Common {
                name: InstanceName::new("front"),
                ports: Vec::new(),
                dials: Vec::new(),
                health: Endpoint::tcp("127.0.0.1", 1),
                limits: Box::new(WireLimits::default()),
            },
            backend: "to back".to_owned(),
            patience: Patience {
                timeout_ms: 100,
                tries: 3,
            },
        }
    }

    struct Bench {
        machine: Machine,
        now: Duration,
    }

    impl Bench {
        fn new() -> Self {
            let machine = Machine::new(&config(), None);
            let now = Duration::ZERO;
            Self { machine, now }
        }

        fn step(&mut self, event: Event) -> Vec<Action> {
            let mut actions = Vec::new();
            self.machine.step(self.now, event, &mut actions);
            actions
        }

        fn open(&mut self, conn: Conn) -> Vec<Action> {
            let port = "to back".into();
            self.step(Event::Opened { port, conn })
        }

        fn ask(&mut self, client: u64) -> Vec<Action> {
            self.step(Event::Message {
                port: "main".into(),
                conn: Conn(client),
                frames: vec![Bytes::new(), Bytes::from_static(b"q")],
            })
        }

        /// Answers what a backend was sent.
        fn answer(&mut self, sent: &Action) -> Vec<Action> {
            let Action::Send { conn, frames } = sent.clone() else {
                panic!("{sent:?}");
            };
            let port = "to back".into();
            self.step(Event::Message { port, conn, frames })
        }
    }

    fn to(action: &Action) -> Conn {
        match action {
            Action::Send { conn, .. } => *conn,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn requests_go_to_whoever_has_the_fewest_and_wait_where_there_is_nobody() {
        let mut bench = Bench::new();
        assert!(bench.ask(10).is_empty());
        let first = bench.open(BACKEND);
        assert_eq!(to(&first[0]), BACKEND);
        bench.open(Conn(2));
        assert_eq!(to(&bench.ask(11)[0]), Conn(2));
        let answered = bench.answer(&first[0]);
        assert_eq!(to(&answered[0]), Conn(10));
        assert_eq!(to(&bench.ask(12)[0]), BACKEND);
    }

    #[test]
    fn a_request_is_tried_three_times_and_then_given_up_and_counted() {
        let mut bench = Bench::new();
        bench.open(BACKEND);
        let first = bench.ask(10);
        for _ in 0..2 {
            bench.now = bench.machine.deadline().unwrap();
            let again = bench.step(Event::Tick);
            assert_eq!(again, first, "the same number, so that any answer counts");
        }
        bench.now = bench.machine.deadline().unwrap();
        assert!(bench.step(Event::Tick).is_empty());
        assert!(bench.machine.is_idle());
        assert_eq!(bench.machine.counters.given_up, 1);
        assert!(bench.answer(&first[0]).is_empty());
        assert_eq!(bench.machine.counters.late, 1);
    }

    #[test]
    fn what_a_lost_backend_was_asked_goes_to_another_at_once() {
        let mut bench = Bench::new();
        bench.open(BACKEND);
        bench.ask(10);
        bench.open(Conn(2));
        let port = "to back".into();
        let moved = bench.step(Event::Closed {
            port,
            conn: BACKEND,
        });
        assert_eq!(to(&moved[0]), Conn(2));
        assert_eq!(to(&bench.answer(&moved[0])[0]), Conn(10));
    }

    #[test]
    fn an_envelope_of_many_hops_comes_back_and_one_that_is_too_large_is_refused() {
        let mut bench = Bench::new();
        bench.open(BACKEND);
        let mut ask = |hop: usize| {
            let hop = Bytes::from(vec![b'e'; hop]);
            let frames = vec![hop, Bytes::new(), Bytes::from_static(b"q")];
            let (port, conn) = ("main".into(), Conn(10));
            let sent = bench.step(Event::Message { port, conn, frames });
            let answered = sent.first().map(|sent| bench.answer(sent));
            (answered, bench.machine.counters.refused)
        };
        let most = ENVELOPE_BYTES_MAX - 2 * size_of::<Bytes>();
        let (answered, refused) = ask(most);
        let Some([Action::Send { frames, .. }]) = answered.as_deref() else {
            panic!("{answered:?}");
        };
        assert_eq!((frames[0].len(), refused), (most, 0));
        assert_eq!(ask(most + 1), (None, 1));
    }

    #[test]
    fn who_asks_too_much_is_read_no_further_until_there_is_room() {
        let mut bench = Bench::new();
        bench.open(BACKEND);
        let mut sent = Vec::new();
        for _ in 0..CALLERS_MAX / 2 {
            let mut actions = bench.ask(10);
            sent.push(actions.remove(0));
            let is_last = sent.len() == CALLERS_MAX / 2;
            let pause = Action::Pause { conn: Conn(10) };
            assert_eq!(actions, if is_last { vec![pause] } else { Vec::new() });
        }
        // What others had sent before they were paused is taken, up to the limit.
        for client in 0..(CALLERS_MAX / 2) as u64 {
            sent.push(bench.ask(1_000 + client).remove(0));
        }
        assert!(bench.ask(9).is_empty());
        assert_eq!(bench.machine.counters.refused, 1);
        let mut resumed = Vec::new();
        for request in &sent {
            resumed.extend(bench.answer(request).into_iter().skip(1));
        }
        assert!(resumed.contains(&Action::Resume { conn: Conn(10) }));
        assert!(bench.machine.is_idle() && bench.machine.paused.is_empty());
    }
}
