//! How tasks end that are not done: given up, taken away, or overdue; and who is told.
//!
//! Each counts as dead, and stays counted. Only what was given up is kept, as a dead letter.

use std::time::Duration;

use bytes::Bytes;
use serde_json::json;

use crate::protocol::zn1::{self, Reply};
use crate::roles::machine::Action;

use super::flow::ours;
use super::tasks::{Deadline, Failure, Key, State, Task, Waiter};
use super::timers::Timer;
use super::{Machine, compact};

/// The kind of failure of a task that nobody waits for any more.
const OVERDUE: &str = "deadline";
/// So many tasks that went out of turn are left in a list before it is swept.
const STALE_MAX: usize = 1_000;

impl Machine {
    /// Gives up a task that waits and is in no list: it is a dead letter, and who waited hears why.
    pub(super) fn bury(&mut self, key: Key, actions: &mut Vec<Action>) {
        self.counters.queued -= 1;
        self.counters.dead += 1;
        let task = self.tasks.of(key);
        task.state = State::Dead;
        compact(&mut task.body);
        self.dead.push_back(key);
        self.tell_dead(key, actions);
        self.tasks.recount(key);
        self.dead_bytes += self.tasks.of(key).bytes;
        self.trim_letters();
        self.admit(actions);
    }

    /// Tells who waits for a task that it is given up. Only ZN1 has words for that: to others it is a
    /// request without an answer, and their own timeouts decide, unless they are to be told by an answer.
    pub(super) fn tell_dead(&mut self, key: Key, actions: &mut Vec<Action>) {
        let waiters = std::mem::take(&mut self.tasks.of(key).waiters);
        self.note_left(key, &waiters);
        for waiter in waiters {
            match waiter {
                Waiter::Zn1(caller, id) => {
                    if self.is_there(&caller) {
                        let reply = self.obituary(key, id);
                        actions.push(caller.reply(&reply));
                    }
                }
                Waiter::Plain(_) | Waiter::Majordomo(_) if !self.config.tells_dead => {}
                waiter @ (Waiter::Plain(_) | Waiter::Majordomo(_)) => {
                    let task = self.tasks.get(key).expect("a dead letter is there");
                    let service = task.service;
                    let why = task.failure.as_ref();
                    let error = json!({"error": {
                        "kind": why.map_or("", |why| &why.kind),
                        "message": why.map_or("", |why| &why.message),
                        "trace": why.map_or("", |why| &why.trace),
                    }});
                    let body = vec![error.to_string().into()];
                    self.deliver_plain(service, waiter, body, actions);
                }
            }
        }
    }

    /// What is said of a task that was given up.
    pub(super) fn obituary(&self, key: Key, id: Bytes) -> Reply {
        let task = self.tasks.get(key).expect("a dead letter is there");
        let why = task.failure.as_ref();
        let word = |of: fn(&Failure) -> &String| why.map_or("", |failure| of(failure).as_str());
        let mut result = json!({
            "error": word(|it| &it.message),
            "kind": word(|it| &it.kind),
            "task": self.name_of(key, task),
            "attempts": task.attempt,
        });
        if !word(|it| &it.trace).is_empty() {
            result["trace"] = word(|it| &it.trace).into();
        }
        if let Some(trace_id) = &task.trace_id {
            result["trace_id"] = String::from_utf8_lossy(trace_id).into();
        }
        let status = match word(|it| &it.kind) {
            OVERDUE => zn1::TIMEOUT,
            _ => zn1::FAILED,
        };
        Reply::new(status, id, result)
    }

    /// A dead letter is gone; it stays counted. The list of them is the caller's to keep.
    pub(super) fn forget_dead(&mut self, key: Key) {
        if let Some(task) = self.remove(key) {
            self.dead_bytes -= task.bytes;
        }
    }

    /// Takes out a task that is in no list any more.
    fn remove(&mut self, key: Key) -> Option<Task> {
        let task = self.tasks.remove(key)?;
        self.clear_deadline(&task);
        self.services.of(task.service).tasks -= 1;
        if let Some(id) = &task.id {
            self.ids.forget(id);
        }
        Some(task)
    }

    /// Takes away a task that waits: it counts as dead. Its service's list is the caller's to sweep.
    pub(super) fn purge_waiting(&mut self, key: Key, actions: &mut Vec<Action>) {
        let task = self.tasks.of(key);
        task.failure = Some(ours("purged", "somebody had it taken away").into());
        match std::mem::replace(&mut task.state, State::Dead) {
            State::Queued => {}
            State::Delayed(timer) => self.timers.clear(timer),
            State::Leased(_) | State::Dead => unreachable!("it waits"),
        }
        self.counters.queued -= 1;
        self.counters.dead += 1;
        self.tell_dead(key, actions);
        self.remove(key);
    }

    /// Tries a dead letter again, as often as a new task and whenever there is a worker. Its tokens stay different from the earlier
    /// ones. The list of dead letters is the caller's to keep.
    pub(super) fn revive(&mut self, key: Key, actions: &mut Vec<Action>) {
        self.counters.dead -= 1;
        self.counters.queued += 1;
        self.counters.retried += 1;
        let attempts = self.config.attempts;
        let task = self.tasks.of(key);
        task.attempts_max = task.attempt.saturating_add(attempts);
        let deadline = task.deadline.take();
        self.dead_bytes -= task.bytes;
        if let Some(deadline) = deadline {
            self.timers.clear(deadline.timer);
        }
        self.begin(key, actions);
    }

    /// After so long nobody waits for a task. Whoever asks for the same task again moves that further
    /// away, never nearer.
    pub(super) fn until(&mut self, key: Key, lasts: Duration) {
        let at = self.now + lasts;
        let was = self.tasks.of(key).deadline;
        if was.is_some_and(|was| was.at >= at) {
            return;
        }
        if let Some(was) = was {
            self.timers.clear(was.timer);
        }
        let timer = self.timers.set(at, Timer::Deadline(key));
        self.tasks.of(key).deadline = Some(Deadline { at, timer });
    }

    /// A task is asked for again. Where somebody has set no deadline it has none any more.
    pub(super) fn move_deadline(&mut self, key: Key, lasts: Option<Duration>) {
        let Some(was) = self.tasks.of(key).deadline else {
            return;
        };
        match lasts {
            Some(lasts) => self.until(key, lasts),
            None => {
                self.timers.clear(was.timer);
                self.tasks.of(key).deadline = None;
            }
        }
    }

    /// A task is gone: nothing is to happen at its deadline.
    pub(super) fn clear_deadline(&mut self, task: &Task) {
        if let Some(deadline) = task.deadline {
            self.timers.clear(deadline.timer);
        }
    }

    /// The deadline of a task is over. What a worker has is not taken away from it: it may be answered
    /// yet.
    pub(super) fn overdue(&mut self, key: Key, actions: &mut Vec<Action>) {
        let task = self.tasks.of(key);
        let service = task.service;
        match task.state {
            State::Leased(_) | State::Dead => return,
            State::Delayed(timer) => self.timers.clear(timer),
            State::Queued => {
                // It is passed over when its turn comes.
                let list = self.services.of(service);
                list.stale += 1;
            }
        }
        self.give_up_overdue(key, actions);
        self.trim_waits(service);
        let list = self.services.of(service);
        if list.stale > STALE_MAX && list.stale > list.ready() {
            let tasks = &self.tasks;
            list.sweep(|key| tasks.get(key).is_some());
        }
    }

    /// Takes away a task that is in no list, or passed over there, and that nobody waits for any more.
    pub(super) fn give_up_overdue(&mut self, key: Key, actions: &mut Vec<Action>) {
        let task = self.tasks.of(key);
        let words = match task.attempt {
            0 => "nobody began it before its deadline".to_owned(),
            1 => "it was not done before its deadline, in 1 attempt".to_owned(),
            attempts => format!("it was not done before its deadline, in {attempts} attempts"),
        };
        task.failure = Some(ours(OVERDUE, &words).into());
        task.state = State::Dead;
        self.counters.queued -= 1;
        self.counters.dead += 1;
        self.counters.overdue += 1;
        self.tell_dead(key, actions);
        self.remove(key);
        self.admit(actions);
    }
}
