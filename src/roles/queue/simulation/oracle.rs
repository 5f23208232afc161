//! What must hold, seen from outside: who has which task, and when it may be another's.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;

use crate::roles::machine::Event;
use crate::roles::queue::Machine;
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
            Event::Message { conn, frames, .. } => {
                self.asked(now, frames);
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

    /// A task with a deadline is asked for, perhaps again.
    fn asked(&mut self, now: u64, frames: &[Bytes]) {
        let [zn1, verb, _, asked, task] = frames else {
            return;
        };
        if zn1 != "ZN1" || verb != "submit" {
            return;
        }
        let asked: serde_json::Value = serde_json::from_slice(asked).expect("clients write JSON");
        if let Some(deadline_ms) = asked["deadline_ms"].as_u64() {
            let until = now + deadline_ms * 1_000;
            let waits = self.waits.entry(task.clone()).or_default();
            *waits = until.max(*waits);
        }
    }

    /// The queue says something.
    pub(super) fn sent(&mut self, now: u64, conn: u64, frames: &[Bytes]) {
        let Some((token, task)) = given(frames) else {
            return;
        };
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
