//! The ZN1 verbs of clients and workers: `submit`, `take`, `done`, `fail`, `extend`.
//!
//! A worker that speaks ZN1 asks for a task by `take`, which waits as long as it says, and answers
//! under the token it was given. It may set its own lease and extend it while it is busy.

use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::model::limits::queue::{
    FAILURE_BYTES_MAX, LATER_MS_MAX, TAKE_MS_MAX, TAKES_MAX, WAITERS_MAX,
};
use crate::protocol::envelope;
use crate::protocol::mdp;
use crate::protocol::zn1::{self, ID_BYTES_MAX, Reply, Request};
use crate::roles::machine::{self, Action, Caller, Conn, Read};

use super::Machine;
use super::flow::{self, Offer};
use super::known::Known;
use super::services::{Hand, Take};
use super::tasks::{Failure, Key, State, Token, Waiter};
use super::timers::Timer;

/// How important a task may be, either way.
const PRIORITY_MAX: i16 = 100;
/// The shortest lease a worker may ask for.
const LEASE_MS_MIN: u64 = 100;

/// The params of `submit`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Submit {
    service: String,
    #[serde(default)]
    priority: i16,
    #[serde(default)]
    delay_ms: u64,
    #[serde(default)]
    deadline_ms: Option<u64>,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    trace_id: Option<String>,
    #[serde(default)]
    wait: bool,
    /// The connection that alone is to do it.
    #[serde(default)]
    worker: Option<u64>,
}

/// The params of `take`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TakeParams {
    service: String,
    #[serde(default)]
    wait_ms: u64,
    #[serde(default)]
    lease_ms: Option<u64>,
}

/// The params of `done` and `extend`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Holding {
    token: String,
    #[serde(default)]
    lease_ms: Option<u64>,
}

/// The params of `fail`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fail {
    token: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    trace: String,
}

/// Why a verb is not done: a status and a sentence.
pub(super) struct Refused(pub(super) u16, pub(super) String);

impl Refused {
    pub(super) fn new(status: u16, words: &str) -> Self {
        Self(status, words.to_owned())
    }
}

/// The params of a verb; none are an empty object.
pub(super) fn params<T: DeserializeOwned>(given: Value) -> Result<T, Refused> {
    let given = match given {
        Value::Null => json!({}),
        given => given,
    };
    serde_json::from_value(given).map_err(|error| Refused(zn1::BAD_REQUEST, error.to_string()))
}

/// What an answer to a verb is: now, or when there is something to say.
type Answered = Result<Option<Reply>, Refused>;

impl Machine {
    /// One ZN1 request.
    pub(super) fn verb(&mut self, caller: Caller, body: Vec<Bytes>, actions: &mut Vec<Action>) {
        let name = self.config.common.name.clone();
        let (caller, request) = match machine::read(&name, caller, body, actions) {
            Read::Answered => return,
            Read::Malformed => {
                self.counters.malformed += 1;
                return;
            }
            Read::Request(caller, request) => (caller, request),
        };
        let id = request.id.clone();
        let answered = match request.verb.as_str() {
            verb if verb != "ls" && self.stalled.is_some() => {
                let words = self.stalled.clone().unwrap_or_default();
                Err(Refused(zn1::UNAVAILABLE, words))
            }
            "submit" => self.submit(&caller, request, actions),
            "take" => self.take(&caller, request, actions),
            "done" => self.done(&caller, request, actions).map(Some),
            "fail" => self.fail(&caller, request, actions).map(Some),
            "extend" => self.extend_verb(&caller, request).map(Some),
            "ls" => self.ls(request).map(Some),
            "retry" => self.retry(request, actions).map(Some),
            "purge" => self.purge(request, actions).map(Some),
            _ => Ok(Some(machine::no_such_verb(&request))),
        };
        match answered {
            Ok(None) => {}
            Ok(Some(reply)) => actions.push(caller.reply(&reply)),
            Err(Refused(status, words)) => {
                self.counters.refused += u64::from(status != zn1::CONFLICT);
                actions.push(caller.reply(&Reply::failure(status, id, words)));
            }
        }
    }

    /// The number of a service that is named, which may be new; asked for by a client, where one is given.
    fn service(&mut self, name: &str, asker: Option<Conn>) -> Result<usize, Refused> {
        if !mdp::is_service(name.as_bytes()) || name.as_bytes().starts_with(mdp::MANAGEMENT) {
            let words = format!("`{name}` is no service: 1 to 255 bytes, `mmi.` is not yours");
            return Err(Refused(zn1::BAD_REQUEST, words));
        }
        let found = match asker {
            Some(asker) => self.services.find_or_ask(name.as_bytes(), asker),
            None => self.services.find_or_add(name.as_bytes()),
        };
        found.ok_or_else(|| Refused::new(zn1::BACK_PRESSURE, "there are too many services"))
    }

    /// A task over the limits could not be answered by a worker that sends it back.
    fn hold_to_limits(&self, body: &[Bytes]) -> Result<(), Refused> {
        let limits = &self.config.common.limits;
        if limits.holds(body) {
            return Ok(());
        }
        let (parts, bytes) = (limits.parts_max, limits.message_bytes_max);
        let words = format!("a task has at most {parts} frames and {bytes} bytes here");
        Err(Refused(zn1::TOO_LARGE, words))
    }

    fn submit(&mut self, caller: &Caller, request: Request, actions: &mut Vec<Action>) -> Answered {
        let asked: Submit = params(request.params)?;
        if self.is_draining {
            return Err(Refused::new(zn1::UNAVAILABLE, "the queue is ending"));
        }
        self.hold_to_limits(&request.body)?;
        if asked.priority.unsigned_abs() > PRIORITY_MAX.unsigned_abs() {
            return Err(Refused::new(zn1::BAD_REQUEST, "`priority` is -100 to 100"));
        }
        let id = name("id", asked.id)?;
        let trace_id = name("trace_id", asked.trace_id)?;
        if asked.deadline_ms == Some(0) {
            let words = "`deadline_ms` is at least 1";
            return Err(Refused::new(zn1::BAD_REQUEST, words));
        }
        let deadline_ms = asked.deadline_ms.map(|it| it.min(LATER_MS_MAX));
        let deadline = deadline_ms.map(Duration::from_millis);
        let service = self.service(&asked.service, Some(caller.conn))?;
        if let Some(known) = id.as_ref().and_then(|id| self.ids.get(id)) {
            self.counters.duplicates += 1;
            return match known {
                Known::Done(done) => {
                    let name = String::from_utf8_lossy(id.as_deref().unwrap_or_default());
                    let body = match asked.wait {
                        true => done.body.clone(),
                        false => Some(Vec::new()),
                    };
                    Ok(Some(match body {
                        Some(body) => flow::done(request.id, &name, done.attempts, body),
                        None => not_kept(request.id, &name, done.attempts),
                    }))
                }
                Known::Here(key) => {
                    let key = *key;
                    self.move_deadline(key, deadline);
                    self.join(key, caller, (request.id, asked.wait))
                }
            };
        }
        let service = match asked.worker {
            Some(worker) => self.pin(service, worker)?,
            None => service,
        };
        let mut body = request.body;
        if body.is_empty() {
            body.push(Bytes::new());
        }
        let waiter = asked
            .wait
            .then(|| Waiter::Zn1(caller.clone(), request.id.clone()));
        let offer = Offer {
            service,
            body,
            priority: asked.priority,
            delay: Duration::from_millis(asked.delay_ms.min(LATER_MS_MAX)),
            id,
            trace_id,
            deadline,
            waiter,
            is_kept: false,
        };
        let bytes = offer.bytes();
        if bytes > self.task_bytes_max() {
            return Err(Refused::new(zn1::TOO_LARGE, "it is larger than the queue"));
        }
        if !self.held.is_empty() || !self.make_room(bytes) {
            return Err(Refused::new(zn1::BACK_PRESSURE, "the queue is full"));
        }
        let key = self.accept(offer, actions);
        Ok((!asked.wait).then(|| self.receipt(key, request.id, false)))
    }

    /// The answer to a `submit` that does not wait.
    fn receipt(&self, key: Key, id: Bytes, is_duplicate: bool) -> Reply {
        let task = self.tasks.get(key).expect("it was accepted");
        let result = json!({"task": self.name_of(key, task), "duplicate": is_duplicate});
        Reply::new(zn1::OK, id, result)
    }

    /// A task is submitted again: it is the same one, and who waits for it may be several.
    fn join(&mut self, key: Key, caller: &Caller, (id, waits): (Bytes, bool)) -> Answered {
        let task = self.tasks.of(key);
        match task.state {
            State::Dead if waits => Ok(Some(self.obituary(key, id))),
            _ if !waits => Ok(Some(self.receipt(key, id, true))),
            _ => {
                let mut waiter = Waiter::Zn1(caller.clone(), id);
                waiter.own();
                self.wait_for(key, waiter).map(|()| None)
            }
        }
    }

    /// One more waits for a task.
    fn wait_for(&mut self, key: Key, waiter: Waiter) -> Result<(), Refused> {
        let (caller, id) = waiter.who();
        let before = self.tasks.bytes();
        // Whoever asks again by the same request, or is gone, has no other answer to come.
        let peers = &self.peers;
        let task = self.tasks.of(key);
        task.waiters.retain(|it| {
            let (other, known) = it.who();
            (other, known) != (caller, id) && peers.contains_key(&other.conn)
        });
        let are_many = task.waiters.len() >= WAITERS_MAX;
        self.tasks.recount(key);
        let with_it = self.tasks.bytes() + waiter.bytes();
        if are_many {
            let words = "too many wait for this task";
            return Err(Refused::new(zn1::BACK_PRESSURE, words));
        }
        // Who takes the place of another needs none.
        if with_it > before.max(self.config.bytes_max) {
            return Err(Refused::new(zn1::BACK_PRESSURE, "the queue is full"));
        }
        self.tasks.of(key).waiters.push(waiter);
        self.tasks.recount(key);
        Ok(())
    }

    fn take(&mut self, caller: &Caller, request: Request, actions: &mut Vec<Action>) -> Answered {
        let asked: TakeParams = params(request.params)?;
        let service = self.service(&asked.service, None)?;
        let lease = lease(asked.lease_ms).unwrap_or(self.config.lease_ms);
        let Some(peer) = self.peers.get_mut(&caller.conn) else {
            return Ok(None);
        };
        if peer.worker.is_some() {
            let words = "this connection is a Majordomo worker";
            return Err(Refused::new(zn1::CONFLICT, words));
        }
        if peer.takes + peer.leases.len() >= TAKES_MAX {
            let words = "this connection takes as many tasks as it may";
            return Err(Refused::new(zn1::BACK_PRESSURE, words));
        }
        peer.takes += 1;
        if let Some(last) = peer.taker.replace(service) {
            self.services.of(last).takers -= 1;
        }
        self.services.of(service).takers += 1;
        self.takes += 1;
        let until = self.now + Duration::from_millis(asked.wait_ms.min(TAKE_MS_MAX));
        let timer = self.timers.set(until, Timer::Take(service, self.takes));
        let mut caller = caller.clone();
        envelope::own(&mut caller.envelope);
        let take = Take {
            caller,
            id: Bytes::copy_from_slice(&request.id),
            lease: Duration::from_millis(lease),
            number: self.takes,
            timer,
        };
        let (number, conn) = (take.number, take.caller.conn);
        let idle = &mut self.services.of(service).idle;
        idle.push_back(Hand::Take(Box::new(take)));
        self.dispatch_pinned((service, conn), actions);
        self.dispatch(service, actions);
        if asked.wait_ms == 0 {
            self.timers.clear(timer);
            self.give_up_take(service, number, actions);
        }
        Ok(None)
    }

    /// The task that a token fits, while it does.
    fn held_by(&mut self, caller: &Caller, token: &str) -> Result<(Key, Token), Refused> {
        let Some(token) = Token::from_text(token) else {
            return Err(Refused::new(zn1::BAD_REQUEST, "`token` is none of ours"));
        };
        match self.live(token, caller.conn) {
            Some(key) => {
                self.adopt_lease(key, caller.conn);
                Ok((key, token))
            }
            None => {
                self.counters.late += 1;
                let words = "too late: the lease is over, and the task may be another's";
                Err(Refused::new(zn1::CONFLICT, words))
            }
        }
    }

    fn done(
        &mut self,
        caller: &Caller,
        request: Request,
        actions: &mut Vec<Action>,
    ) -> Result<Reply, Refused> {
        let Holding { token, .. } = params(request.params)?;
        let (key, _) = self.held_by(caller, &token)?;
        let mut body = request.body;
        if body.is_empty() {
            body.push(Bytes::new());
        }
        self.complete(key, body, actions);
        Ok(Reply::new(zn1::OK, request.id, Value::Null))
    }

    fn fail(
        &mut self,
        caller: &Caller,
        request: Request,
        actions: &mut Vec<Action>,
    ) -> Result<Reply, Refused> {
        let mut said: Fail = params(request.params)?;
        let (key, _) = self.held_by(caller, &said.token)?;
        if said.kind.is_empty() {
            said.kind = "failed".to_owned();
        }
        let failure = Failure {
            kind: cut(said.kind),
            message: cut(said.message),
            trace: cut(said.trace),
        };
        let is_again = self.failed(key, failure, actions);
        Ok(Reply::new(
            zn1::OK,
            request.id,
            json!({ "again": is_again }),
        ))
    }

    fn extend_verb(&mut self, caller: &Caller, request: Request) -> Result<Reply, Refused> {
        let asked: Holding = params(request.params)?;
        let (key, _) = self.held_by(caller, &asked.token)?;
        let lasts = lease(asked.lease_ms).map(Duration::from_millis);
        let lasts = self.extend(key, lasts);
        let lease_ms = u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX);
        Ok(Reply::new(
            zn1::OK,
            request.id,
            json!({ "lease_ms": lease_ms }),
        ))
    }
}

/// A name that a client gave, within its limits.
fn name(what: &str, given: Option<String>) -> Result<Option<Bytes>, Refused> {
    let given = given.map(Bytes::from);
    match given {
        Some(given) if !(1..=ID_BYTES_MAX).contains(&given.len()) => {
            let words = format!("`{what}` is 1 to {ID_BYTES_MAX} bytes long");
            Err(Refused(zn1::BAD_REQUEST, words))
        }
        given => Ok(given),
    }
}

/// What is said of a task that was done, whose answer there is no more.
fn not_kept(id: Bytes, task: &str, attempts: u32) -> Reply {
    let error = format!("`{task}` is done, and its answer is not kept");
    let result = json!({"error": error, "task": task, "attempts": attempts});
    Reply::new(zn1::NOT_FOUND, id, result)
}

/// A lease that is asked for, within its limits.
fn lease(asked_ms: Option<u64>) -> Option<u64> {
    asked_ms.map(|asked| asked.clamp(LEASE_MS_MIN, LATER_MS_MAX))
}

/// At most so much of a worker's words.
fn cut(mut words: String) -> String {
    if words.len() > FAILURE_BYTES_MAX {
        let fits = (0..=FAILURE_BYTES_MAX)
            .rev()
            .find(|at| words.is_char_boundary(*at));
        words.truncate(fits.unwrap_or_default());
        // What was cut off is not kept either.
        words.shrink_to_fit();
    }
    words
}
