//! What must hold, seen from outside: who has which task, and when it may be another's.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;

use crate::roles::machine::Event;
use crate::roles::queue::Machine;
use crate::roles::queue::pins::UNPINNED;
use crate::roles::queue::tasks;
use crate::roles::queue::tasks::State;

/// One giving of a task to a worker, as long as the worker may say something of it.
struct Given {
    task: Bytes,
    conn: u64,
    /// When its lease is over; nothing while its worker has others to do first.
    until: Option<u64>,
}

type Token = Vec<u8>;

/// What a world has met that no counter tells.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Met {
    /// Tasks given to the one worker that was to do them, and tasks given up since it was none any more.
    pub(super) pinned: u64,
    pub(super) unpinned: u64,
    /// Workers that had a task and were none any more.
    pub(super) dismissed: u64,
}

/// The key of the task that a token is of.
fn key_of(token: &[u8]) -> Token {
    token[..8].to_vec()
}

pub(super) struct Oracle {
    lease_us: u64,
    given: HashMap<Token, Given>,
    /// The last giving of each task.
    last: HashMap<Bytes, Token>,
    /// What each worker was given and has not answered, in its order.
    workers: HashMap<u64, Vec<Token>>,
    /// How often each task was begun: was the first of all that its worker had. By the queue's own key,
    /// since one of which nothing is left may be asked for again, and is another then.
    begun: HashMap<Token, u32>,
    gone: HashSet<u64>,
    steps: u64,
    /// When nobody waits any more for a task that has a deadline.
    waits: HashMap<Bytes, u64>,
    /// Tasks that were answered in time.
    done: HashSet<Bytes>,
    /// The service that each task was asked of, and which one a connection serves.
    services: HashMap<Bytes, Bytes>,
    serves: HashMap<u64, Bytes>,
    /// Who alone is to do a task.
    pins: HashMap<Bytes, u64>,
    /// Majordomo workers that are none any more, though they are connected.
    dismissed: HashSet<u64>,
    pub(super) met: Met,
}

/// The token and the task in a message for a worker.
fn given(frames: &[Bytes]) -> Option<(Vec<u8>, Bytes)> {
    match frames {
        // Plain: token, empty frame, task.
        [token, empty, task] if empty.is_empty() && token.len() == 16 => {
            Some((token.to_vec(), task.clone()))
        }
        [empty, worker, command, token, _, task]
            if empty.is_empty() && worker == "MDPW01" && command == "\x02" =>
        {
            Some((token.to_vec(), task.clone()))
        }
        // An answer to `take`.
        [zn1, status, id, result, task] if zn1 == "ZN1" && status == "200" && id == "take" => {
            let result: serde_json::Value = serde_json::from_slice(result).ok()?;
            let token = result["token"].as_str()?;
            let digits = |at: usize| u8::from_str_radix(&token[at..at + 2], 16).ok();
            let token: Option<Vec<u8>> = (0..32).step_by(2).map(digits).collect();
            Some((token?, task.clone()))
        }
        _ => None,
    }
}

/// The token under which a worker says something of its task: an answer, or that it failed.
fn said(frames: &[Bytes]) -> Option<(Vec<u8>, &'static str)> {
    match frames {
        [empty, worker, command, ..] if empty.is_empty() && worker == "MDPW01" => {
            (command == "\x03").then(|| (frames[3].to_vec(), "done"))
        }
        [zn1, verb, _, asked, ..] if zn1 == "ZN1" => {
            let verb = match &verb[..] {
                b"done" => "done",
                b"fail" => "fail",
                b"extend" => "extend",
                _ => return None,
            };
            let asked: serde_json::Value = serde_json::from_slice(asked).ok()?;
            let token = asked["token"].as_str()?;
            let digits = |at: usize| u8::from_str_radix(&token[at..at + 2], 16).ok();
            let token: Option<Vec<u8>> = (0..32).step_by(2).map(digits).collect();
            Some((token?, verb))
        }
        [token, empty, _] if empty.is_empty() && token.len() == 16 => {
            Some((token.to_vec(), "done"))
        }
        _ => None,
    }
}

impl Oracle {
    pub(super) fn new(lease_us: u64) -> Self {
        Self {
            lease_us,
            given: HashMap::new(),
            last: HashMap::new(),
            workers: HashMap::new(),
            begun: HashMap::new(),
            gone: HashSet::new(),
            steps: 0,
            waits: HashMap::new(),
            done: HashSet::new(),
            services: HashMap::new(),
            serves: HashMap::new(),
            pins: HashMap::new(),
            dismissed: HashSet::new(),
            met: Met::default(),
        }
    }

    /// Whether a lease is live: nobody has ended it, its worker is there, and its time is not over; what
    /// was handed ahead has the time of what is before it.
    fn is_live(&self, now: u64, token: &Token) -> bool {
        let Some(given) = self.given.get(token) else {
            return false;
        };
        let its = &self.workers[&given.conn];
        let before = its.iter().take_while(|it| *it != token);
        let mut lasts = before.filter_map(|it| self.given[it].until);
        let is_hung = given.until.is_none() && lasts.any(|until| now >= until);
        let is_over = is_hung || given.until.is_some_and(|until| now >= until);
        !is_over && !self.gone.contains(&given.conn)
    }

    /// A giving is over: the next of its worker counts from now.
    fn end(&mut self, now: u64, token: &Token) {
        let Some(Given { conn, until, .. }) = self.given.remove(token) else {
            return;
        };
        let its = self.workers.get_mut(&conn).expect("it had this one");
        its.retain(|it| it != token);
        let was_hung = until.is_some_and(|until| now >= until);
        for token in its {
            let given = self
                .given
                .get_mut(token)
                .expect("it is in its worker's list");
            if given.until.is_some() {
                match was_hung {
                    true => continue,
                    false => break,
                }
            }
            // What a worker that hung had not begun was taken back with what it hung at.
            given.until = Some(if was_hung { now } else { now + self.lease_us });
            if !was_hung {
                *self.begun.entry(key_of(token)).or_default() += 1;
                break;
            }
        }
    }

    /// The queue is told something.
    pub(super) fn told(&mut self, now: u64, event: &Event) {
        match event {
            Event::Closed { conn, .. } => {
                self.gone.insert(conn.0);
            }
            Event::Opened { port, conn } => {
                let served = match &**port {
                    "back" => "plain",
                    "other.back" => "other",
                    _ => return,
                };
                self.serves.insert(conn.0, Bytes::from(served));
            }
            Event::Message { port, conn, frames } => {
                self.asked(now, port, frames);
                self.worker_says(now, conn.0, frames);
                let Some((token, what)) = said(frames) else {
                    return;
                };
                let given = self.given.get(&token);
                let Some(given) = given.filter(|given| given.conn == conn.0) else {
                    return;
                };
                let task = given.task.clone();
                let is_live = self.is_live(now, &token);
                match what {
                    "extend" if is_live => {
                        let given = self.given.get_mut(&token).expect("found above");
                        given.until = Some(now + self.lease_us);
                    }
                    "extend" => {}
                    "done" if is_live => {
                        self.end(now, &token);
                        assert!(self.done.insert(task), "done once");
                    }
                    _ => self.end(now, &token),
                }
            }
            _ => {}
        }
    }

    /// A Majordomo worker begins, or ends.
    fn worker_says(&mut self, now: u64, conn: u64, frames: &[Bytes]) {
        match frames {
            [_, worker, ready, service] if worker == "MDPW01" && ready == "\x01" => {
                self.serves.insert(conn, service.clone());
                self.dismissed.remove(&conn);
            }
            [_, worker, disconnect] if worker == "MDPW01" && disconnect == "\x05" => {
                self.dismiss(now, conn);
            }
            _ => {}
        }
    }

    /// It is no worker any more: what it had is another's.
    fn dismiss(&mut self, now: u64, conn: u64) {
        self.dismissed.insert(conn);
        let its = self.workers.get(&conn).cloned().unwrap_or_default();
        for token in its {
            self.met.dismissed += u64::from(self.is_live(now, &token));
            self.end(now, &token);
        }
    }

    /// A task is asked for, perhaps again.
    fn asked(&mut self, now: u64, port: &str, frames: &[Bytes]) {
        let [zn1, verb, _, asked, task] = frames else {
            let service = match (frames, port) {
                ([_, client, service, _], _) if client == "MDPC01" => service.clone(),
                (_, "other.front") => Bytes::from("other"),
                (_, _) => Bytes::from("plain"),
            };
            let task = frames.last().expect("a message has frames").clone();
            self.services.insert(task, service);
            return;
        };
        if zn1 != "ZN1" || verb != "submit" {
            // By a way of a few hops.
            let service = ["plain", "other"][usize::from(port == "other.front")];
            self.services.insert(task.clone(), service.into());
            return;
        }
        let asked: serde_json::Value = serde_json::from_slice(asked).expect("clients write JSON");
        let service = asked["service"].as_str().expect("clients name one");
        let service = Bytes::copy_from_slice(service.as_bytes());
        self.services.insert(task.clone(), service);
        if let Some(worker) = asked["worker"].as_u64() {
            self.pins.insert(task.clone(), worker);
        }
        if let Some(deadline_ms) = asked["deadline_ms"].as_u64() {
            let until = now + deadline_ms * 1_000;
            let waits = self.waits.entry(task.clone()).or_default();
            *waits = until.max(*waits);
        }
    }

    /// The queue says something.
    pub(super) fn sent(&mut self, now: u64, conn: u64, frames: &[Bytes]) {
        if frames.get(1).is_some_and(|it| it == "MDPW01") && frames[2] == "\x05" {
            return self.dismiss(now, conn);
        }
        let Some((token, task)) = given(frames) else {
            let is_unpinned = |frame: &Bytes| {
                let words = UNPINNED.as_bytes();
                frame.windows(words.len()).any(|part| part == words)
            };
            self.met.unpinned += u64::from(frames.iter().any(is_unpinned));
            return;
        };
        self.is_for(conn, (&task, frames));
        assert!(
            !self.done.contains(&task),
            "what is done is not given again"
        );
        assert!(
            !self.gone.contains(&conn),
            "nothing is given to who is gone"
        );
        let is_waited_for = self.waits.get(&task).is_none_or(|until| now < *until);
        assert!(is_waited_for, "nobody waits for {task:?}, and it is given");
        let last = self.last.insert(task.clone(), token.clone());
        let is_again = last.is_some();
        if let Some(last) = last {
            let is_free = !self.is_live(now, &last);
            assert!(is_free, "{task:?} has a live lease, and is given again");
            assert_ne!(last, token, "each attempt has its token");
        }
        let is_taken = frames.first().is_some_and(|first| first == "ZN1");
        let its = self.workers.entry(conn).or_default().clone();
        let has = its.iter().filter(|it| self.is_live(now, it)).count();
        let is_ahead = has > 0 && !is_taken;
        if is_ahead {
            assert_eq!(frames.len(), 3, "only a plain worker has more than one");
            assert!(has < 16, "it has no more than that");
            assert!(!is_again, "what was another's is given alone");
        } else {
            *self.begun.entry(key_of(&token)).or_default() += 1;
        }
        let until = (!is_ahead).then_some(now + self.lease_us);
        self.given
            .insert(token.clone(), Given { task, conn, until });
        self.workers.entry(conn).or_default().push(token);
    }

    /// Whether a task is given to who may do it: a worker of its service, and the only one where one alone
    /// is to do it.
    fn is_for(&mut self, conn: u64, (task, frames): (&Bytes, &[Bytes])) {
        let served = match frames.first() {
            Some(zn1) if zn1 == "ZN1" => {
                let taken: serde_json::Value =
                    serde_json::from_slice(&frames[3]).expect("the queue speaks JSON");
                let service = taken["service"].as_str().expect("it names the service");
                Bytes::copy_from_slice(service.as_bytes())
            }
            _ => self.serves[&conn].clone(),
        };
        assert_eq!(self.services[task], served, "{task:?} is for others");
        assert!(
            !self.dismissed.contains(&conn),
            "{conn} is no worker any more"
        );
        if let Some(worker) = self.pins.get(task) {
            assert_eq!(*worker, conn, "{task:?} is for one alone");
            self.met.pinned += 1;
        }
    }

    /// What one alone is to do waits for nobody who is gone, or no worker any more.
    fn waits_for_somebody(&self, queue: &Machine, task: &tasks::Task) {
        let is_waiting = matches!(task.state, State::Queued | State::Delayed(_));
        let pin = queue.services.at(task.service).pin;
        if let Some((_, conn)) = pin.filter(|_| is_waiting) {
            let is_lost = self.gone.contains(&conn.0) || self.dismissed.contains(&conn.0);
            assert!(!is_lost, "{task:?} waits for ever");
        }
    }

    /// The accounts, and that they are what is there.
    pub(super) fn account(&mut self, queue: &Machine, bytes_max: usize) {
        self.steps += 1;
        queue.audit();
        // Over it are at most our own words for attempts that came to nothing.
        let words = 128 * queue.tasks.len();
        assert!(queue.tasks.bytes() <= bytes_max + words);
        let counters = queue.counters();
        let (mut queued, mut leased, mut dead) = (0, 0, 0);
        for (key, task) in queue.tasks.iter() {
            match task.state {
                State::Queued | State::Delayed(_) => queued += 1,
                State::Leased(_) => leased += 1,
                State::Dead => dead += 1,
            }
            self.waits_for_somebody(queue, task);
            if !self.steps.is_multiple_of(8) {
                continue;
            }
            // Whatever was taken back before it was begun has cost nothing.
            let is_ahead = matches!(task.state, State::Leased(lease) if lease.timer.is_none());
            let (given, epoch) = (0, 0);
            let key = key_of(&tasks::Token { key, given, epoch }.encode());
            let begun = self.begun.get(&key).copied().unwrap_or_default();
            assert_eq!(task.attempt, begun + u32::from(is_ahead), "{task:?}");
        }
        assert_eq!((counters.queued, counters.leased), (queued, leased));
        let gone = counters.forgotten + counters.purged + counters.overdue;
        assert_eq!(counters.dead, dead + gone);
        let all = counters.completed + counters.dead + queued + leased;
        assert_eq!(counters.accepted, all);
        assert_eq!(counters.completed, self.done.len() as u64);
        let ended = counters.completed + counters.lost + counters.expired + counters.failed;
        assert_eq!(counters.attempts, ended + counters.unbegun + leased);
    }
}
