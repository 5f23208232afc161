//! Titanic (RFC 9): a client leaves a request, goes, and fetches the answer later, by the name it was
//! given. Its services are asked as any other by Majordomo; a queue with a store has them.
//!
//! A request is a task whose answer is kept. The status 200 to `titanic.request` is sent when the task
//! is stored, as everything else that a queue with a store says.

use std::time::Duration;

use bytes::Bytes;

use crate::model::limits::queue::RESULTS_BYTES_MAX;
use crate::protocol::mdp;
use crate::roles::machine::{Action, Conn};

use super::Machine;
use super::flow::Offer;
use super::known::Known;
use super::room::STORED_BYTES_MAX;
use super::tasks::{Key, State, Task, bytes_of};

/// What the names of its services begin with.
pub(super) const SERVICES: &[u8] = b"titanic.";
/// Its services.
pub(super) const VERBS: [&[u8]; 3] = [b"titanic.request", b"titanic.reply", b"titanic.close"];

const PENDING: &str = "300 it is not done yet";
const UNKNOWN: &str = "400 no such request";

fn says(status: &str) -> Vec<Bytes> {
    vec![Bytes::copy_from_slice(status.as_bytes())]
}

impl Machine {
    /// A request of one of the services.
    pub(super) fn titanic(
        &mut self,
        asker: Conn,
        (service, body): (&[u8], Vec<Bytes>),
        actions: &mut Vec<Action>,
    ) -> Vec<Bytes> {
        match (service, body.as_slice()) {
            (b"titanic.reply", [id]) => self.titanic_reply(id),
            (b"titanic.request" | b"titanic.close", _) if self.stalled.is_some() => {
                let why = self.stalled.as_deref().unwrap_or_default();
                says(&format!("500 {why}"))
            }
            (b"titanic.request", [_, _, ..]) => self.titanic_request(asker, body, actions),
            (b"titanic.close", [id]) => {
                let id = id.clone();
                self.titanic_close(&id, actions);
                says("200 closed")
            }
            (_, _) => {
                self.counters.malformed += 1;
                says("400 no such service, or not its frames")
            }
        }
    }

    fn titanic_request(
        &mut self,
        asker: Conn,
        mut body: Vec<Bytes>,
        actions: &mut Vec<Action>,
    ) -> Vec<Bytes> {
        let name = body.remove(0);
        let is_reserved = name.starts_with(mdp::MANAGEMENT) || name.starts_with(SERVICES);
        if is_reserved || !mdp::is_service(&name) {
            self.counters.malformed += 1;
            return says("400 no such service");
        }
        let number = self.rng.u128(..);
        let id = Bytes::from(format!("{number:032X}"));
        let Some(service) = self.services.find_or_ask(&name, asker) else {
            self.counters.refused += 1;
            return says("500 there are too many services");
        };
        let offer = Offer {
            service,
            body,
            priority: 0,
            delay: Duration::ZERO,
            id: Some(id.clone()),
            trace_id: None,
            deadline: None,
            waiter: None,
            is_kept: true,
        };
        let bytes = offer.bytes();
        let has_room = self.held.is_empty() && self.make_room(bytes);
        if self.is_draining || bytes > self.task_bytes_max() || !has_room {
            self.counters.refused += 1;
            return says("500 the queue is full, or ending");
        }
        self.accept(offer, actions);
        vec![Bytes::from_static(b"200"), id]
    }

    /// The task of a request that is not closed.
    fn titanic_task(&self, id: &[u8]) -> Option<(Key, &Task)> {
        match self.ids.get(id)? {
            Known::Here(key) => {
                let task = self.tasks.get(*key).filter(|task| task.is_kept)?;
                Some((*key, task))
            }
            Known::Done(_) => None,
        }
    }

    fn titanic_reply(&self, id: &[u8]) -> Vec<Bytes> {
        if let Some(body) = self.results.get(id) {
            let status = Bytes::from_static(b"200");
            return std::iter::once(status).chain(body.to_vec()).collect();
        }
        match self.titanic_task(id) {
            Some((_, task)) if matches!(task.state, State::Dead) => {
                let why = task.failure.as_ref().map_or("", |why| &why.message);
                says(&format!("500 given up: {why}"))
            }
            Some(_) => says(PENDING),
            None => says(UNKNOWN),
        }
    }

    /// Takes away a request and its answer. What a worker has it keeps; its answer is not kept.
    fn titanic_close(&mut self, id: &Bytes, actions: &mut Vec<Action>) {
        self.forget_result(id);
        let Some((key, task)) = self.titanic_task(id) else {
            return;
        };
        match task.state {
            State::Leased(_) => self.tasks.of(key).is_kept = false,
            State::Dead => {
                self.forget_dead(key);
                self.dead.retain(|it| *it != key);
            }
            State::Queued | State::Delayed(_) => {
                let service = task.service;
                let is_listed = matches!(task.state, State::Queued);
                self.counters.purged += 1;
                self.purge_waiting(key, actions);
                // It is passed over when its turn comes.
                self.services.of(service).stale += usize::from(is_listed);
                self.trim_waits(service);
            }
        }
        self.admit(actions);
    }

    /// Takes away an answer that is kept.
    fn forget_result(&mut self, id: &Bytes) {
        if self.results.take(id) {
            self.ended.results.push(id.clone());
        }
    }

    /// Takes away the answers that nobody fetched in time.
    pub(super) fn expire_results(&mut self) {
        while let Some(id) = self.results.ended(self.now) {
            self.forget_result(&id);
        }
    }

    /// What answers that are kept may count in all.
    fn results_max(&self) -> usize {
        self.config.bytes_max.min(RESULTS_BYTES_MAX)
    }

    /// Has the oldest answers make room for one of so many bytes.
    pub(super) fn trim_results(&mut self, bytes: usize) {
        while self.results.bytes() + bytes > self.results_max()
            && let Some(oldest) = self.results.oldest()
        {
            self.counters.unfetched += 1;
            self.forget_result(&oldest);
        }
    }

    /// Keeps the answer to a task that is gone as long as somebody may ask for it.
    pub(super) fn answered_for(&mut self, key: Key, task: &mut Task, body: Vec<Bytes>) {
        let Some(id) = task.id.take() else {
            return self.note_done(key, task.attempt, None, None);
        };
        if !task.is_kept {
            self.note_done(key, task.attempt, None, Some(&body));
            return self.ids.done(id, task.attempt, &body);
        }
        self.ids.forget(&id);
        let bytes = bytes_of(&body);
        if bytes > self.results_max().min(STORED_BYTES_MAX) {
            self.counters.unfetched += 1;
            return self.note_done(key, task.attempt, None, None);
        }
        self.trim_results(bytes);
        let until = self.now + Duration::from_millis(self.config.keep_ms);
        self.note_done(key, task.attempt, Some(until), Some(&body));
        let body = body.iter().map(|it| Bytes::copy_from_slice(it)).collect();
        self.results.keep(id, until, body);
    }
}
