//! The gate's verbs on its health socket: `ping`, `status`, `reconfigure`, `drain` and `tap`.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::model::socket::Side;
use crate::protocol::envelope;
use crate::protocol::zn1::{self, Reply, Request};
use crate::roles::gate::{Config, Outer};
use crate::run::looking::{LookError, Place};
use crate::run::node::conns;
use crate::wire::hub::{ConnId, Passed, places};

use super::{Gate, Pair, Passage};

/// Wires that one `status` lists; the sums of their doors hold all.
const LISTED_MAX: usize = 500;

impl Gate {
    /// Answers a request on the health socket.
    pub(super) fn answer(&mut self, conn: ConnId, frames: Vec<Bytes>) {
        if let Some(answer) = conns::serve(&mut self.hub, &frames) {
            return self.reply(conn, answer);
        }
        let (mut envelope, body) = envelope::split(frames);
        let reply = match Request::decode(body.clone()) {
            Ok(request) => self.verb(request),
            Err(fault) => Reply::malformed(&body, fault),
        };
        envelope.extend(reply.encode());
        self.reply(conn, envelope);
    }

    fn reply(&self, conn: ConnId, frames: Vec<Bytes>) {
        if let Err(error) = self.hub.send(conn, frames) {
            tracing::debug!(conn = conn.0, ?error, "an answer met nobody");
        }
    }

    fn verb(&mut self, request: Request) -> Reply {
        let id = request.id;
        match request.verb.as_str() {
            "ping" if self.unbound.is_empty() => {
                Reply::new(zn1::OK, id, json!({"name": self.config.name}))
            }
            "ping" => {
                let waits: Vec<&str> = self.unbound.iter().map(|at| self.name_of(*at)).collect();
                Reply::failure(
                    zn1::UNAVAILABLE,
                    id,
                    format_args!("the address of {} is in use", waits.join(", ")),
                )
            }
            "status" => Reply::new(zn1::OK, id, self.facts()),
            "drain" => {
                self.is_draining = true;
                Reply::new(zn1::OK, id, Value::Null)
            }
            "reconfigure" => self.reconfigure(id, request.params),
            "tap" => {
                self.look();
                match self.looking.answer(&self.ring, request.params) {
                    Ok(result) => Reply::new(zn1::OK, id, result),
                    Err(error @ LookError::Busy) => Reply::failure(zn1::BACK_PRESSURE, id, error),
                    Err(error) => Reply::failure(zn1::BAD_REQUEST, id, error),
                }
            }
            verb => Reply::failure(zn1::NOT_BUILT, id, format_args!("no verb `{verb}` here")),
        }
    }

    fn name_of(&self, number: usize) -> &str {
        &self.passages[number].door.name
    }

    /// Takes a configuration that only differs in what can change while it runs.
    fn reconfigure(&mut self, id: Bytes, params: Value) -> Reply {
        let config = params.get("config").cloned().unwrap_or_default();
        let next: Config = match serde_json::from_value(config) {
            Ok(next) => next,
            Err(fault) => return Reply::failure(zn1::BAD_REQUEST, id, fault),
        };
        match self.config.fixed_change(&next) {
            Some(what) => {
                let refused = format_args!("{what} changes only with a restart");
                Reply::failure(zn1::CONFLICT, id, refused)
            }
            None => {
                self.follow(next);
                Reply::new(zn1::OK, id, Value::Null)
            }
        }
    }

    /// Deals out what passed to whoever looks.
    pub(super) fn look(&mut self) {
        let places = &self.places;
        let place = |number: usize| places.get(&number).cloned();
        self.looking.turn(&self.ring, place);
    }

    /// What `status` answers: facts only.
    fn facts(&self) -> Value {
        let mut pairs: Vec<&Pair> = self.pairs.values().collect();
        pairs.sort_by_key(|pair| pair.outer);
        let doors = self.passages.iter().enumerate();
        let doors: Vec<Value> = doors
            .map(|(number, passage)| self.door(passage, number, &pairs))
            .collect();
        let listed: Vec<Value> = pairs
            .iter()
            .take(LISTED_MAX)
            .map(|pair| self.wire(pair))
            .collect();
        let gone = self.passages.iter();
        let gone: Vec<Value> = gone.flat_map(buried).collect();
        let mut facts = json!({
            "role": "gate",
            "name": self.config.name,
            "program": self.config.program,
            "pid": std::process::id(),
            "doors": doors,
            "pairs": listed,
            "gone": gone,
        });
        let told = facts.as_object_mut().expect("made in the line above");
        told.extend(conns::facts(&self.hub, &self.limits));
        facts
    }

    fn door(&self, passage: &Passage, number: usize, pairs: &[&Pair]) -> Value {
        let own: Vec<&&Pair> = pairs.iter().filter(|pair| pair.door == number).collect();
        let (mut outward, mut inward) = (passage.outward, passage.inward);
        for pair in &own {
            let [out, r#in] = self.passed(pair);
            outward.add(&out);
            inward.add(&r#in);
        }
        let door = &passage.door;
        let waiting = self.dials.values().filter(|dial| dial.door == number);
        let (peer, outer) = match &door.outer {
            Outer::Listens { at, .. } => (None, at.iter().map(ToString::to_string).collect()),
            Outer::Dials { at, peer, .. } => (Some(peer), vec![at.to_string()]),
        };
        json!({
            "name": door.name,
            "links": door.links,
            "side": match door.side { Side::From => "from", Side::To => "to" },
            "inner": door.inner,
            "outer": outer,
            "peer": peer,
            "wires": own.len(),
            "waiting": waiting.count() + passage.waiting.len(),
            "hindrance": passage.hindrance,
            "has_publisher": passage.fan.as_ref().map(|_| passage.publisher.is_some()),
            "out": shown(&outward),
            "in": shown(&inward),
        })
    }

    fn wire(&self, pair: &Pair) -> Value {
        let passage = &self.passages[pair.door];
        let [outward, inward] = self.passed(pair);
        json!({
            "door": passage.door.name,
            "link": passage.door.links.first(),
            "peer": pair.peer,
            "address": pair.address,
            "local": pair.local,
            "outside": pair.outer,
            "inside": pair.inner.or(passage.publisher),
            "out": shown(&outward),
            "in": shown(&inward),
        })
    }

    /// What passed on a wire outwards and inwards, an end that is gone already included.
    fn passed(&self, pair: &Pair) -> [Passed; 2] {
        let ends = [
            (Some(pair.outer), &pair.outward),
            (pair.inner, &pair.inward),
        ];
        ends.map(|(conn, ledger)| {
            let mut passed = ledger.passed();
            let living = conn.and_then(|conn| self.hub.passed(conn));
            passed.add(&living.unwrap_or_default());
            passed
        })
    }

    /// The two places of a wire at which messages are seen: outwards and inwards.
    pub(super) fn places_of(&mut self, pair: &Pair) -> [usize; 2] {
        let passage = &self.passages[pair.door];
        let link = passage.door.links.first().map(ToString::to_string);
        let link = link.unwrap_or_default();
        let program = self.config.program.to_string();
        let (from, to) = match passage.door.side {
            Side::From => (program, pair.peer.clone()),
            Side::To => (pair.peer.clone(), program),
        };
        let is_outward_forward = passage.door.side == Side::From;
        let place = |is_forward: bool| Place {
            link: link.clone(),
            from: from.clone(),
            to: to.clone(),
            is_forward,
        };
        let [outward, inward] = places(pair.outer);
        self.places.insert(outward, place(is_outward_forward));
        self.places.insert(inward, place(!is_outward_forward));
        [outward, inward]
    }
}

/// The last wires of a door that are gone.
fn buried(passage: &Passage) -> impl Iterator<Item = Value> {
    let link = passage.door.links.first();
    passage.gone.iter().map(move |gone| {
        json!({
            "link": link,
            "peer": gone.peer,
            "address": gone.address,
            "local": gone.local,
            "out": {"dropped": gone.dropped},
        })
    })
}

/// Sums with what they add up to.
fn shown(passed: &Passed) -> Value {
    let mut shown = json!(passed);
    shown["dropped_all"] = passed.dropped_all().into();
    shown
}
