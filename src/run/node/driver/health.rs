//! The health verbs of a role with the common driver: `ping`, `status`, `reconfigure`, `drain`, and
//! those about connections and taps, which all roles share.

use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::protocol::envelope;
use crate::protocol::zn1::{self, Reply, Request};
use crate::roles;
use crate::roles::machine::{self, Machine};
use crate::run::node::conns;
use crate::wire::hub::ConnId;
use crate::wire::hub::Fan;
use crate::wire::hub::FanFacts;

use super::dials::Dialled;
use super::{Driver, common, fanning};

/// How much longer than a look at all subscribers takes its result is told to strangers.
const SHOWN_RESTS: u32 = 20;

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
            "status" => {
                // Its facts are of now, also where nothing has happened for a while.
                self.step(machine::Event::Tick);
                Reply::new(zn1::OK, id, self.facts())
            }
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
    fn facts(&self) -> Value {
        let mut facts = self.own_facts();
        if let Some(fan) = &self.fan {
            let fan = fan.facts();
            tell_fan(&mut facts, &totals(&fan), json!(fan));
        }
        let known = facts.as_object_mut().expect("facts are an object");
        known.extend(conns::facts(&self.hub, &self.limits));
        facts
    }

    /// The same for whoever may connect. What grows with the connections is not looked up, or not
    /// each time: to ask costs a peer nothing.
    pub(super) fn told(&mut self) -> Value {
        let mut facts = self.own_facts();
        if let Some(fan) = &self.fan {
            let (totals, fan) = self.shown.of(fan);
            tell_fan(&mut facts, totals, fan.clone());
        }
        let known = facts.as_object_mut().expect("facts are an object");
        known.extend(conns::counts(&self.hub, &self.limits));
        conns::for_strangers(facts)
    }

    fn own_facts(&self) -> Value {
        let told = common(&self.config);
        let mut facts = json!({
            "role": self.config.kind().as_str(),
            "name": told.name,
            "pid": std::process::id(),
            "facts": self.machine.facts(),
            "peers": self.dialled.iter().map(Dialled::facts).collect::<Vec<_>>(),
        });
        facts["facts"]["ticks"] = self.ticks.facts();
        if let Some(store) = &self.store {
            facts["facts"]["store"] = json!(store.facts());
        }
        facts
    }
}

/// Adds what a fan knows to what a bus does.
fn tell_fan(facts: &mut Value, totals: &Map<String, Value>, fan: Value) {
    let counted = facts["facts"].as_object_mut().into_iter();
    counted.for_each(|counted| counted.extend(totals.clone()));
    facts["fan"] = fan;
}

/// What was last told of a fan to whoever may connect.
pub(super) struct Shown {
    at: Instant,
    /// How long it takes to look.
    took: Duration,
    told: Option<(Map<String, Value>, Value)>,
}

impl Shown {
    pub(super) fn new() -> Self {
        Self {
            at: Instant::now(),
            took: Duration::ZERO,
            told: None,
        }
    }

    /// What a fan knows, of its subscribers only how many there are; looked up again once twenty
    /// times as long passed as that takes. With a few subscribers that is at once.
    fn of(&mut self, fan: &Fan) -> &(Map<String, Value>, Value) {
        if self.at.elapsed() >= self.took * SHOWN_RESTS {
            self.told = None;
        }
        self.told.get_or_insert_with(|| {
            self.at = Instant::now();
            let facts = fan.facts();
            let buses = facts.subscribers.iter().filter(|it| it.is_bus).count();
            let mut told = json!(facts);
            told["subscribers"] = json!(facts.subscribers.len());
            told["buses"] = json!(buses);
            let told = (totals(&facts), told);
            self.took = self.at.elapsed();
            told
        })
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use crate::model::policy::Overflow;
    use crate::wire::hub::{FanConfig, Ring, Tap};

    use super::*;

    #[test]
    fn strangers_are_told_counts_and_do_not_make_us_count_again_and_again() {
        let fan = Fan::new(FanConfig {
            overflow: Overflow::DropNewest,
            bytes_max: 1_000,
            messages_max: None,
            welcome: None,
            retain_max: 0,
            is_sequenced: false,
            buses: BTreeSet::new(),
            asks: false,
            tap: Tap::new(&Arc::new(Ring::default()), 0),
        });
        let mut shown = Shown::new();
        let (totals, told) = shown.of(&fan).clone();
        assert_eq!(
            (&told["subscribers"], &told["buses"]),
            (&json!(0), &json!(0))
        );
        assert_eq!(
            (&totals["published"], &told["published"]),
            (&json!(0), &json!(0))
        );
        fan.publish(&["news".into()]);
        shown.took = Duration::from_secs(1_000);
        assert_eq!(shown.of(&fan).1, told, "it was dear, and stays for a while");
        shown.took = Duration::ZERO;
        assert_eq!(shown.of(&fan).1["published"], 1, "it was cheap");
        assert!(shown.took > Duration::ZERO);
    }
}
