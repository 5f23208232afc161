//! The health verbs of a role with the common driver: `ping`, `status`, `reconfigure`, `drain`, and
//! those about connections and taps, which all roles share.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::protocol::envelope;
use crate::protocol::zn1::{self, Reply, Request};
use crate::roles;
use crate::roles::machine::{self, Machine};
use crate::run::node::conns;
use crate::wire::hub::ConnId;
use crate::wire::hub::FanFacts;

use super::dials::Dialled;
use super::{Driver, common, fanning};

/// The params of `reconfigure`.
#[derive(Deserialize)]
struct Params {
    config: roles::Config,
}

impl<M: Machine> Driver<M> {
    /// Answers one request of the health socket.
    pub(super) fn health(&mut self, conn: ConnId, frames: Vec<Bytes>) {
        let shared = conns::serve(&mut self.hub, &frames);
        let answer = match shared.or_else(|| self.tapping.serve(&frames)) {
            Some(answer) => answer,
            None => {
                let (mut answer, body) = envelope::split(frames);
                answer.extend(self.verb(body).encode());
                answer
            }
        };
        // Whoever asked may be gone.
        self.hub.send(conn, answer).ok();
    }

    fn verb(&mut self, body: Vec<Bytes>) -> Reply {
        let request = match Request::decode(body.clone()) {
            Ok(request) => request,
            Err(fault) => return Reply::malformed(&body, fault),
        };
        let id = request.id.clone();
        match request.verb.as_str() {
            "ping" => Reply::new(zn1::OK, id, json!({"name": common(&self.config).name})),
            "status" => Reply::new(zn1::OK, id, self.facts()),
            "drain" => {
                self.is_draining = true;
                Reply::new(zn1::OK, id, Value::Null)
            }
            "reconfigure" => self.reconfigure(id, request.params),
            _ => machine::no_such_verb(&request),
        }
    }

    /// Takes another configuration, whole or not at all. The same one again changes nothing.
    fn reconfigure(&mut self, id: Bytes, params: Value) -> Reply {
        let config = match serde_json::from_value(params) {
            Ok(Params { config }) => config,
            Err(error) => {
                let words = format_args!("the configuration is not understood: {error}");
                return Reply::failure(zn1::BAD_REQUEST, id, words);
            }
        };
        if let Some(what) = self.config.fixed_change(&config) {
            let words = format_args!("{what} cannot change while it runs");
            return Reply::failure(zn1::CONFLICT, id, words);
        }
        self.machine.adopt(&config);
        fanning::adopt(self.fan.as_deref(), &config);
        self.config = config;
        self.admit();
        self.redial();
        Reply::new(zn1::OK, id, Value::Null)
    }

    /// The answer to `status`: facts only.
    pub(super) fn facts(&self) -> Value {
        let told = common(&self.config);
        let mut facts = json!({
            "role": self.config.kind().as_str(),
            "name": told.name,
            "pid": std::process::id(),
            "facts": self.machine.facts(),
            "peers": self.dialled.iter().map(Dialled::facts).collect::<Vec<_>>(),
        });
        if let Some(fan) = &self.fan {
            let fan = fan.facts();
            let counted = facts["facts"].as_object_mut().into_iter();
            counted.for_each(|counted| counted.extend(totals(&fan)));
            facts["fan"] = json!(fan);
        }
        if let Some(store) = &self.store {
            facts["store"] = json!(store.facts());
        }
        let known = facts.as_object_mut().expect("made in the lines above");
        known.extend(conns::facts(&self.hub, &self.limits));
        facts
    }
}

/// What passed in all, past subscribers included, as `status` tells it among the role's own counts.
fn totals(fan: &FanFacts) -> Map<String, Value> {
    let passed = &fan.passed;
    let totals = [
        ("published", json!(fan.published)),
        ("matched", json!(passed.matched)),
        ("sent", json!(passed.sent)),
        ("queued", json!(passed.queued)),
        ("dropped", json!(passed.dropped)),
    ];
    totals
        .map(|(key, value)| (key.to_owned(), value))
        .into_iter()
        .collect()
}
