//! What must hold, seen from outside: who has which task, and when it may be another's.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;

use crate::roles::machine::Event;
use crate::roles::queue::Machine;
use crate::roles::queue::tasks::State;

/// One giving of a task to a worker.
struct Given {
    conn: u64,
    token: Vec<u8>,
    until: u64,
    /// The queue was told that it is over: an answer, a failure, or that the worker is gone.
    is_over: bool,
}

pub(super) struct Oracle {
    lease_us: u64,
    /// The last giving of each task, by its body.
    given: HashMap<Bytes, Given>,
    gone: HashSet<u64>,
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
            gone: HashSet::new(),
            done: HashSet::new(),
        }
    }

    /// The queue is told something.
    pub(super) fn told(&mut self, now: u64, event: &Event) {
        match event {
            Event::Closed { conn, .. } => {
                self.gone.insert(conn.0);
            }
            Event::Message { conn, frames, .. } => {
                let Some((token, what)) = said(frames) else {
                    return;
                };
                let mut all = self.given.iter_mut();
                let Some((task, given)) = all.find(|(_, given)| given.token == token) else {
                    return;
                };
                let is_live = !given.is_over && now < given.until && given.conn == conn.0;
                if !is_live {
                    return;
                }
                match what {
                    "extend" => given.until = now + self.lease_us,
                    "done" => {
                        given.is_over = true;
                        assert!(self.done.insert(task.clone()), "done once");
                    }
                    _ => given.is_over = true,
                }
            }
            _ => {}
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
        if let Some(last) = self.given.get(&task) {
            let is_free = last.is_over || self.gone.contains(&last.conn) || now >= last.until;
            assert!(is_free, "{task:?} has a live lease, and is given again");
            assert_ne!(last.token, token, "each attempt has its token");
        }
        let given = Given {
            conn,
            token,
            until: now + self.lease_us,
            is_over: false,
        };
        self.given.insert(task, given);
    }

    /// The accounts, and that they are what is there.
    pub(super) fn account(&self, queue: &Machine) {
        let counters = queue.counters();
        let (mut queued, mut leased, mut dead) = (0, 0, 0);
        for (_, task) in queue.tasks.iter() {
            match task.state {
                State::Queued | State::Delayed(_) => queued += 1,
                State::Leased(_) => leased += 1,
                State::Dead => dead += 1,
            }
        }
        assert_eq!((counters.queued, counters.leased), (queued, leased));
        let gone = counters.forgotten + counters.purged;
        assert_eq!(counters.dead, dead + gone);
        let all = counters.completed + counters.dead + queued + leased;
        assert_eq!(counters.accepted, all);
        assert_eq!(counters.completed, self.done.len() as u64);
    }
}
