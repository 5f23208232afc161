//! Talking to a queue: submitting tasks, waiting for what comes of them, working for it.
//!
//! ```no_run
//! # use std::time::Duration;
//! # use zmqnet::client::queue::{QueueClient, QueueError, Submission, Submitted};
//! # use zmqnet::wire::keyed::Keys;
//! # async fn example() -> Result<(), QueueError> {
//! let wait = Duration::from_secs(5);
//! let at = "tcp://127.0.0.1:5555".parse().expect("an endpoint");
//! let mut queue = QueueClient::new(at, Keys::Open);
//! let task = Submission::new("squares", vec!["12".into()]);
//! if let Submitted::Done { body, .. } = queue.submit(&task.waiting(), wait).await? {
//!     assert_eq!(body, ["144"]);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! It dials again as long as it may wait. What is asked again, since an answer was lost, has the same
//! id, and a task that is submitted again is the same task: nothing is done twice for that.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::model::endpoint::Endpoint;
use crate::protocol::zn1::{self, Reply, Request};
use crate::wire::keyed::Keys;

use super::asking::{AskError, Asker};

/// Why a queue could not be talked to.
pub type QueueError = AskError;

/// A task to be submitted.
#[derive(Debug, Clone)]
pub struct Submission {
    /// Who is to do it.
    pub service: String,
    /// What is to be done; at least one frame.
    pub body: Vec<Bytes>,
    /// -100 to 100, higher ones go first.
    pub priority: i16,
    /// It waits for so long before it is begun.
    pub delay: Duration,
    /// After so long nobody waits for it, and it is begun no more; it counts from when it is asked for.
    pub deadline: Option<Duration>,
    /// By which it is found again in logs, 1 to 64 bytes.
    pub trace_id: Option<String>,
    /// Its id: the same id is the same task.
    pub id: String,
    /// Whether what comes of it is waited for.
    pub waits: bool,
    /// The connection that alone is to do it; where it ends, the task is given up.
    pub worker: Option<u64>,
}

impl Submission {
    /// A task with an id of its own, for which nobody waits.
    pub fn new(service: impl Into<String>, body: Vec<Bytes>) -> Self {
        Self {
            service: service.into(),
            body,
            priority: 0,
            delay: Duration::ZERO,
            deadline: None,
            trace_id: None,
            id: format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..)),
            waits: false,
            worker: None,
        }
    }

    /// The same, and what comes of it is waited for.
    #[must_use]
    pub fn waiting(mut self) -> Self {
        self.waits = true;
        self
    }
}

/// What became of a submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Submitted {
    /// It was taken, now or before.
    Accepted {
        /// The id of the task.
        task: String,
        /// It was known already.
        is_duplicate: bool,
    },
    /// It was done.
    Done {
        /// The id of the task.
        task: String,
        /// Attempts it took.
        attempts: u64,
        /// The worker's answer.
        body: Vec<Bytes>,
    },
}

/// A task that a worker has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The id of the task.
    pub task: String,
    /// Which attempt at it this is, from 1.
    pub attempt: u64,
    /// What to answer under; it fits this attempt alone.
    pub token: String,
    /// What is to be done.
    pub body: Vec<Bytes>,
}

/// Why a worker could not do a task.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaskFailure {
    /// One word.
    pub kind: String,
    /// A sentence.
    pub message: String,
    /// Where it happened.
    pub trace: String,
}

/// A connection to a queue's port `front`.
pub struct QueueClient {
    asker: Asker,
}

impl QueueClient {
    /// A client that has not dialled yet.
    pub fn new(endpoint: Endpoint, keys: Keys) -> Self {
        Self {
            asker: Asker::new(endpoint, keys),
        }
    }

    /// One request, whose answer is waited for that long. While nobody is there it is asked again.
    pub async fn ask(
        &mut self,
        verb: &str,
        params: Value,
        body: Vec<Bytes>,
        wait: Duration,
    ) -> Result<Reply, QueueError> {
        self.asker.ask(verb, params, body, wait).await
    }

    /// Submits a task, and waits for what comes of it where it says so.
    pub async fn submit(
        &mut self,
        task: &Submission,
        wait: Duration,
    ) -> Result<Submitted, QueueError> {
        let mut params = json!({
            "service": task.service,
            "priority": task.priority,
            "delay_ms": millis(task.delay),
            "id": task.id,
            "wait": task.waits,
        });
        if let Some(trace_id) = &task.trace_id {
            params["trace_id"] = trace_id.as_str().into();
        }
        if let Some(worker) = task.worker {
            params["worker"] = worker.into();
        }
        let mut request = Request::new("submit", format!("{:016x}", fastrand::u64(..)), params);
        request.body = task.body.clone();
        let last_word = |params: &mut Value, passed: Duration| {
            if let Some(deadline) = task.deadline {
                let left = millis(deadline.saturating_sub(passed)).max(1);
                params["deadline_ms"] = left.into();
            }
        };
        let reply = self.asker.patiently(request, last_word, wait).await?;
        let id = reply.result["task"].as_str().unwrap_or_default().to_owned();
        Ok(match task.waits {
            true => Submitted::Done {
                task: id,
                attempts: reply.result["attempts"].as_u64().unwrap_or_default(),
                body: reply.body,
            },
            false => Submitted::Accepted {
                task: id,
                is_duplicate: reply.result["duplicate"] == true,
            },
        })
    }

    /// Takes a task of a service, held for `lease` unless it is extended; nothing where there was
    /// none for that long.
    pub async fn take(
        &mut self,
        service: &str,
        lease: Duration,
        patience: Duration,
    ) -> Result<Option<Taken>, QueueError> {
        let params = json!({
            "service": service,
            "wait_ms": millis(patience),
            "lease_ms": millis(lease),
        });
        // The queue answers in that time; more is for the way.
        let wait = patience + Duration::from_secs(2);
        let reply = match self.ask("take", params, Vec::new(), wait).await {
            Err(QueueError::Refused(zn1::NOT_FOUND, ..)) => return Ok(None),
            reply => reply?,
        };
        let text = |key: &str| reply.result[key].as_str().unwrap_or_default().to_owned();
        Ok(Some(Taken {
            task: text("task"),
            attempt: reply.result["attempt"].as_u64().unwrap_or_default(),
            token: text("token"),
            body: reply.body,
        }))
    }

    /// Answers a task.
    pub async fn done(
        &mut self,
        taken: &Taken,
        body: Vec<Bytes>,
        wait: Duration,
    ) -> Result<(), QueueError> {
        let params = json!({"token": taken.token});
        self.ask("done", params, body, wait).await.map(drop)
    }

    /// Says that a task could not be done. True where it is tried again.
    pub async fn fail(
        &mut self,
        taken: &Taken,
        failure: &TaskFailure,
        wait: Duration,
    ) -> Result<bool, QueueError> {
        let params = json!({
            "token": taken.token,
            "kind": failure.kind,
            "message": failure.message,
            "trace": failure.trace,
        });
        let reply = self.ask("fail", params, Vec::new(), wait).await?;
        Ok(reply.result["again"] == true)
    }

    /// Holds a task for its lease from now on.
    pub async fn extend(&mut self, taken: &Taken, wait: Duration) -> Result<(), QueueError> {
        let params = json!({"token": taken.token});
        self.ask("extend", params, Vec::new(), wait).await.map(drop)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
