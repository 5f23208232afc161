//! The replica's ZN1 verbs: `ping` and `status` by every socket, `send` by the public one, `drain`
//! and `reconfigure` by the health socket alone.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::protocol::mesh::{Message, MessageType};
use crate::protocol::zn1::{self, Reply, Request};

use super::{ANSWERED_MAX, Action, Broadcast, Dialect, Door, Machine, Outcome, Peer, ReplyTo};

impl Machine {
    /// One ZN1 request.
    pub(super) fn verb(
        &mut self,
        now: Duration,
        (door, to): (Door, ReplyTo),
        body: Vec<Bytes>,
        actions: &mut Vec<Action>,
    ) {
        let request = match Request::decode(body.clone()) {
            Ok(request) => request,
            Err(fault) => {
                self.counters.malformed += 1;
                return actions.push(to.with(Reply::malformed(&body, fault).encode()));
            }
        };
        let id = request.id.clone();
        let reply = match (request.verb.as_str(), door) {
            ("ping", _) => Reply::new(zn1::OK, id, json!({"name": self.config.name})),
            ("status", _) => {
                return actions.push(Action::Report {
                    caller: to.caller,
                    envelope: to.envelope,
                    id,
                });
            }
            ("send", Door::Public) => return self.send(now, to, request, actions),
            ("drain", Door::Health) => {
                actions.push(Action::Drain);
                Reply::new(zn1::OK, id, Value::Null)
            }
            ("reconfigure", Door::Health) => match self.reconfigure(request.params, actions) {
                Ok(result) => Reply::new(zn1::OK, id, result),
                Err(refused) => Reply::failure(refused.status(), id, refused),
            },
            (verb, _) => Reply::failure(zn1::NOT_BUILT, id, format_args!("no verb `{verb}` here")),
        };
        actions.push(to.with(reply.encode()));
    }

    /// The verb `send`: a client message whose answer says who acknowledged it. A retry with the id
    /// of a request that is on its way or answered is not handled again.
    fn send(&mut self, now: Duration, to: ReplyTo, request: Request, actions: &mut Vec<Action>) {
        let id = request.id;
        if !id.is_empty() {
            if let Some((_, reply)) = self.answered.iter().find(|(known, _)| *known == id) {
                return actions.push(to.with(reply.iter().cloned()));
            }
            let same = |b: &&mut Broadcast| matches!(&b.dialect, Dialect::Zn1(it) if *it == id);
            if let Some(broadcast) = self.broadcasts.values_mut().find(same) {
                broadcast.to = to;
                return;
            }
        }
        let text = match request.body.as_slice() {
            [text] => std::str::from_utf8(text).ok(),
            _ => None,
        };
        let Some(text) = text else {
            self.counters.malformed += 1;
            let fault = "`send` takes one body frame of UTF-8 text";
            let reply = Reply::failure(zn1::BAD_REQUEST, id, fault);
            return actions.push(to.with(reply.encode()));
        };
        self.counters.received += 1;
        self.counters.bytes_in += text.len() as u64;
        let sender = request.params["sender"].as_str().unwrap_or_default();
        let note = Message::new(MessageType::Single, sender, text);
        self.broadcast(now, (to, Dialect::Zn1(id)), text, actions);
        actions.push(Action::Note(note));
    }

    /// The answer to `send`.
    pub(super) fn report(&mut self, broadcast: Broadcast, id: Bytes, text: &str) -> Action {
        let peers: Vec<Value> = std::iter::zip(&*broadcast.peers, &broadcast.outcomes)
            .map(|(Peer { name, .. }, outcome)| match outcome {
                Some(Outcome::Acked(after)) => {
                    let us = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
                    json!({"name": name, "acked": true, "us": us})
                }
                Some(Outcome::Missed(reason)) => {
                    json!({"name": name, "acked": false, "reason": reason})
                }
                None => json!({"name": name, "acked": false, "reason": "not asked"}),
            })
            .collect();
        let is_whole = peers.iter().all(|peer| peer["acked"] == true);
        let status = if is_whole { zn1::OK } else { zn1::PARTIAL };
        let result = json!({"sender": self.config.name, "message": text, "peers": peers});
        let reply = Reply::new(status, id.clone(), result).encode();
        self.counters.sent += 1;
        self.counters.bytes_out += text.len() as u64;
        if !id.is_empty() {
            self.answered.truncate(ANSWERED_MAX - 1);
            self.answered.push_front((id, reply.clone()));
        }
        broadcast.to.with(reply)
    }
}
