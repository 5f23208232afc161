//! The ZN1 verbs of whoever looks after the queue: `ls`, `retry`, `purge`.
//!
//! They name tasks by their ids, by service, or all of them. A task that a worker has is never taken
//! away from it.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::model::limits::queue::LISTED_MAX;
use crate::protocol::zn1::{self, Reply, Request};
use crate::roles::machine::Action;

use super::Machine;
use super::known::Known;
use super::tasks::{Key, State, Task};
use super::verbs::{Refused, params};

/// Which tasks are meant.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    /// One task.
    #[serde(default)]
    task: Option<String>,
    /// Those of one service.
    #[serde(default)]
    service: Option<String>,
    /// Dead letters rather than what waits or is being done.
    #[serde(default)]
    dead: bool,
    /// How many are listed at most.
    #[serde(default = "some")]
    limit: usize,
}

fn some() -> usize {
    100
}

/// The word for what is being done with a task.
fn word(state: &State) -> &'static str {
    match state {
        State::Queued => "queued",
        State::Delayed(_) => "delayed",
        State::Leased(_) => "leased",
        State::Dead => "dead",
    }
}

impl Machine {
    /// The task of a name: the id that its client gave it, or ours.
    fn find(&self, name: &str) -> Option<Key> {
        if let Some(Known::Here(key)) = self.ids.get(name.as_bytes()) {
            return Some(*key);
        }
        let key = Key::from_name(name.as_bytes(), self.epoch)?;
        self.tasks.get(key).map(|_| key)
    }

    /// Every task that is meant and that `fits`.
    fn meant(&self, which: &Which, fits: fn(&State) -> bool) -> Result<Vec<Key>, Refused> {
        if let Some(name) = &which.task {
            let found = self.find(name);
            let fitting =
                found.filter(|key| self.tasks.get(*key).is_some_and(|it| fits(&it.state)));
            let none = || {
                Refused(
                    zn1::NOT_FOUND,
                    format!("no task `{name}` of that kind here"),
                )
            };
            return fitting.map(|key| vec![key]).ok_or_else(none);
        }
        let service = match &which.service {
            Some(name) => match self.services.find(name.as_bytes()) {
                Some(number) => Some(number),
                None => return Ok(Vec::new()),
            },
            None => None,
        };
        let is_meant = |task: &Task| {
            let main = self.services.main(task.service);
            fits(&task.state) && service.is_none_or(|service| main == service)
        };
        let found = self.tasks.iter().filter(|(_, task)| is_meant(task));
        let mut found: Vec<_> = found.map(|(key, task)| (task.order, key)).collect();
        found.sort_by_key(|(order, _)| *order);
        Ok(found.into_iter().map(|(_, key)| key).collect())
    }

    /// What there is: services, and tasks, oldest first.
    pub(super) fn ls(&self, request: Request) -> Result<Reply, Refused> {
        let which: Which = params(request.params)?;
        let fits: fn(&State) -> bool = match which.dead {
            true => |state| matches!(state, State::Dead),
            false => |state| !matches!(state, State::Dead),
        };
        let meant = self.meant(&which, fits)?;
        let limit = which.limit.min(LISTED_MAX);
        let listed = meant.iter().take(limit);
        let tasks: Vec<Value> = listed.map(|key| self.listed(*key)).collect();
        let result = json!({
            "services": self.service_facts(),
            "counters": self.counters,
            "tasks": tasks,
            "all": meant.len(),
        });
        Ok(Reply::new(zn1::OK, request.id, result))
    }

    fn listed(&self, key: Key) -> Value {
        let task = self.tasks.get(key).expect("found a moment ago");
        let age_ms = self.wall_ms(self.now).saturating_sub(task.accepted_ms);
        let mut listed = json!({
            "task": self.name_of(key, task),
            "service": String::from_utf8_lossy(self.services.name(task.service)),
            "state": word(&task.state),
            "priority": task.priority,
            "attempts": task.attempt,
            "bytes": task.body.iter().map(Bytes::len).sum::<usize>(),
            "age_ms": age_ms,
        });
        if let Some(trace_id) = &task.trace_id {
            listed["trace_id"] = String::from_utf8_lossy(trace_id).into();
        }
        if let Some(failure) = &task.failure {
            listed["failure"] = json!({"kind": failure.kind, "message": failure.message});
        }
        listed
    }

    /// Takes out of the lists what is there no more: once for all that were taken away.
    fn sweep(&mut self) {
        let tasks = &self.tasks;
        let state = |key: Key| tasks.get(key).map(|task| &task.state);
        self.dead
            .retain(|key| matches!(state(*key), Some(State::Dead)));
        self.services
            .sweep(|key| matches!(state(key), Some(State::Queued)));
        let services: Vec<usize> = self.services.iter().map(|(number, _)| number).collect();
        for service in services {
            self.trim_waits(service);
        }
    }

    /// Tries dead letters again.
    pub(super) fn retry(
        &mut self,
        request: Request,
        actions: &mut Vec<Action>,
    ) -> Result<Reply, Refused> {
        let which: Which = params(request.params)?;
        let meant = self.meant(&which, |state| matches!(state, State::Dead))?;
        for key in &meant {
            self.revive(*key, actions);
        }
        self.sweep();
        Ok(Reply::new(
            zn1::OK,
            request.id,
            json!({"retried": meant.len()}),
        ))
    }

    /// Takes away dead letters, or tasks that wait.
    pub(super) fn purge(
        &mut self,
        request: Request,
        actions: &mut Vec<Action>,
    ) -> Result<Reply, Refused> {
        let which: Which = params(request.params)?;
        let fits: fn(&State) -> bool = match which.dead {
            true => |state| matches!(state, State::Dead),
            false => |state| matches!(state, State::Queued | State::Delayed(_)),
        };
        let meant = self.meant(&which, fits)?;
        for key in &meant {
            self.counters.purged += 1;
            match which.dead {
                true => self.forget_dead(*key),
                false => self.purge_waiting(*key, actions),
            }
        }
        self.sweep();
        self.admit(actions);
        Ok(Reply::new(
            zn1::OK,
            request.id,
            json!({"purged": meant.len()}),
        ))
    }
}
