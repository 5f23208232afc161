//! The control socket: one function a verb, each answered once, at once or when what was waited
//! for has come.

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::acting::{Outcome, Supervisor};
use super::applying::Others;
use super::leaving::Leaving;
use super::network::Transition;
use super::{recovery, report};
use crate::model::limits::runner::WAITERS_MAX;
use crate::model::name::InstanceName;
use crate::plan::Plan;
use crate::plan::diff::diff;
use crate::protocol::envelope;
use crate::protocol::zn1::{self, Reply, Request};
use crate::run::control::{self, Applied, Apply, Look, Names, Wait, Waited};
use crate::run::status::Goal;
use crate::wire::hub::ConnId;

/// Whom to answer.
#[derive(Debug, Clone)]
pub(super) struct ReplyTo {
    pub(super) conn: ConnId,
    envelope: Vec<Bytes>,
    pub(super) id: Bytes,
}

/// An answer that took a while.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) to: ReplyTo,
    pub(super) body: Vec<u8>,
}

/// A request that waits for everything to be settled.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) reply: ReplyTo,
    /// When it is answered anyway.
    pub(super) deadline: Duration,
    after: u64,
    names: Vec<InstanceName>,
}

/// A refusal: a ZN1 status and a sentence.
pub(super) type Refused = (u16, String);

impl Supervisor {
    /// Takes one message of the control socket.
    pub(super) fn serve(&mut self, conn: ConnId, frames: Vec<Bytes>) {
        let (envelope, body) = envelope::split(frames);
        match Request::decode(body.clone()) {
            Ok(request) => {
                let to = ReplyTo {
                    conn,
                    envelope,
                    id: request.id.clone(),
                };
                if let Err((status, message)) = self.obey(&to, request) {
                    self.reply(&to, Reply::failure(status, to.id.clone(), message));
                }
            }
            Err(fault) => {
                let to = ReplyTo {
                    conn,
                    envelope,
                    id: Bytes::new(),
                };
                self.reply(&to, Reply::malformed(&body, fault));
            }
        }
    }

    fn obey(&mut self, to: &ReplyTo, request: Request) -> Result<(), Refused> {
        match request.verb.as_str() {
            "ping" => self.done(to, &Value::Null),
            control::APPLY => self.follow(to, request)?,
            control::FORESEE => self.foresee(to, &request)?,
            control::WAIT => self.await_settled(to, params(request.params)?)?,
            control::STATUS => {
                let look: Look = params(request.params)?;
                self.report(to.clone(), look);
            }
            control::START | control::STOP | control::RESTART => {
                let Names { names } = params(request.params)?;
                self.by_hand(to, &request.verb, &names)?;
            }
            control::SCALE => self.scale(to.clone(), params(request.params)?)?,
            control::DOWN => {
                self.leaving = Leaving::No;
                self.network.go_down(self.clock.now());
                self.done(to, &Value::Null);
            }
            other => return Err((zn1::NOT_BUILT, format!("no verb `{other}` here"))),
        }
        Ok(())
    }

    fn follow(&mut self, to: &ReplyTo, request: Request) -> Result<(), Refused> {
        let plan = plan_in(&request)?;
        let Apply { base_env } = params(request.params)?;
        if let Some(unbuilt) = plan.unbuilt.first() {
            return Err((zn1::NOT_BUILT, format!("{} is not built yet", unbuilt.what)));
        }
        let was_applied = base_env.is_some();
        let base_env = base_env.unwrap_or_else(|| self.base_env.clone());
        // On disk before anything is done, so that a successor follows the same plan.
        let saved = recovery::leave_plan(&self.layout, &base_env, &plan);
        saved.map_err(|error| (zn1::UNAVAILABLE, format!("cannot keep the plan: {error}")))?;
        self.base_env = base_env;
        let version = self.network.version;
        let changes = diff(&self.network.plan, &plan);
        let now = self.clock.now();
        self.leaving = Leaving::No;
        let others = match was_applied {
            true => Others::Begin,
            false => Others::Stay,
        };
        let again = self.network.apply(now, plan, (&changes, others));
        tracing::info!(
            changes = changes.len(),
            again = again.len(),
            "follows a new plan"
        );
        self.done(
            to,
            &Applied {
                changes,
                again,
                version,
            },
        );
        Ok(())
    }

    fn foresee(&mut self, to: &ReplyTo, request: &Request) -> Result<(), Refused> {
        let plan = plan_in(request)?;
        let changes = diff(&self.network.plan, &plan);
        let foreseen = Applied {
            again: self.network.foresee(&plan, &changes),
            changes,
            version: self.network.version,
        };
        self.done(to, &foreseen);
        Ok(())
    }

    fn by_hand(&mut self, to: &ReplyTo, verb: &str, names: &[InstanceName]) -> Result<(), Refused> {
        if let Some(unknown) = names
            .iter()
            .find(|name| !self.network.members.contains_key(*name))
        {
            return Err((zn1::NOT_FOUND, format!("no instance `{unknown}` runs here")));
        }
        let now = self.clock.now();
        self.leaving = Leaving::No;
        let version = self.network.version;
        match verb {
            control::START => self.network.start(now, names),
            control::STOP => self.network.stop(now, names),
            _ => self.network.restart(now, names),
        }
        self.done(to, &json!({ "version": version }));
        Ok(())
    }

    fn await_settled(&mut self, to: &ReplyTo, wait: Wait) -> Result<(), Refused> {
        if self.waiters.len() >= WAITERS_MAX {
            return Err((zn1::BACK_PRESSURE, "too many wait already".to_owned()));
        }
        let deadline = self.clock.now() + Duration::from_millis(wait.for_ms);
        let Wait { after, names, .. } = wait;
        self.waiters.push(Waiter {
            reply: to.clone(),
            deadline,
            after,
            names,
        });
        Ok(())
    }

    /// Answers those who wait for nothing more.
    pub(super) fn answer_waiters(&mut self, now: Duration) {
        let waiters = std::mem::take(&mut self.waiters);
        for waiter in waiters {
            let mut waited = self.waited(&waiter);
            if waited.is_settled() || waiter.deadline <= now {
                // Collected only now: this is looked at after everything that happens.
                let is_new = |transition: &&Transition| transition.version > waiter.after;
                let transitions = self.network.transitions.iter().filter(is_new);
                waited.transitions = transitions.cloned().collect();
                self.done(&waiter.reply, &waited);
            } else {
                self.waiters.push(waiter);
            }
        }
    }

    /// How many stand how, of those who are waited for.
    fn waited(&self, waiter: &Waiter) -> Waited {
        let network = &self.network;
        let mut waited = Waited {
            version: network.version,
            is_going_down: network.is_going_down,
            ..Waited::default()
        };
        let is_asked = |name: &InstanceName| waiter.names.is_empty() || waiter.names.contains(name);
        for (_, member) in network.members.iter().filter(|(name, _)| is_asked(name)) {
            match network.goal(member) {
                Goal::Reached => waited.reached += 1,
                Goal::Pending => waited.pending += 1,
                Goal::Missed => waited.missed += 1,
                Goal::Excluded => {}
            }
        }
        // Before the first list of the keeper nothing is known.
        waited.pending += usize::from(!self.keeping.has_list());
        waited
    }

    fn report(&mut self, to: ReplyTo, look: Look) {
        let gathered = self.gather();
        let outcomes = self.outcomes.clone();
        self.tasks.spawn(async move {
            let status = report::complete(gathered, look).await;
            let body = serde_json::to_vec(&status).expect("reports have only text keys");
            drop(outcomes.send(Outcome::Report(Answer { to, body })).await);
        });
    }

    /// Sends a report that is ready.
    pub(super) fn answer(&mut self, answer: Answer) {
        let mut reply = Reply::new(zn1::OK, answer.to.id.clone(), Value::Null);
        reply.body = vec![answer.body.into()];
        self.reply(&answer.to, reply);
    }

    fn done(&self, to: &ReplyTo, result: &impl Serialize) {
        let result = serde_json::to_value(result).expect("results have only text keys");
        self.reply(to, Reply::new(zn1::OK, to.id.clone(), result));
    }

    pub(super) fn reply(&self, to: &ReplyTo, reply: Reply) {
        let mut frames = to.envelope.clone();
        frames.extend(reply.encode());
        if let Err(error) = self.hub.send(to.conn, frames) {
            tracing::debug!(?error, "an answer met nobody");
        }
    }
}

/// The plan that a request carries.
fn plan_in(request: &Request) -> Result<Plan, Refused> {
    let body = request.body.first().cloned().unwrap_or_default();
    serde_json::from_slice(&body).map_err(|error| {
        (
            zn1::BAD_REQUEST,
            format!("the plan is not understood: {error}"),
        )
    })
}

fn params<T: DeserializeOwned>(params: Value) -> Result<T, Refused> {
    serde_json::from_value(params).map_err(|error| {
        (
            zn1::BAD_REQUEST,
            format!("the params are not understood: {error}"),
        )
    })
}
