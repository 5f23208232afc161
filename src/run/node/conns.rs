//! The health verbs about connections, the same for every role whose sockets are a hub's: `conns`,
//! `kick`, `ban`, `lift`; and what its `status` says of them.
//!
//! They are asked by the health socket alone, which only the owner of the network can open.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::model::key::PublicKey;
use crate::model::limits::WireLimits;
use crate::protocol::envelope;
use crate::protocol::zn1::{self, Reply, Request};
use crate::wire::hub::{Ban, ConnId, Hub};

/// Connections that `status` tells of one by one, so that its answer stays within its bounds
/// whoever connects; `conns` tells of all.
const TOLD_MAX: usize = 1_000;

/// Who is banned, or no longer.
#[derive(Deserialize)]
struct Whom {
    by: By,
    who: String,
    #[serde(default)]
    lasts_ms: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum By {
    Address,
    Key,
    Identity,
}

#[derive(Deserialize)]
struct Which {
    conn: u64,
}

/// Why a verb was not done.
enum Refused {
    Malformed(String),
    NotFound(String),
    TooMany,
}

impl Refused {
    fn reply(self, id: Bytes) -> Reply {
        match self {
            Self::Malformed(words) => Reply::failure(zn1::BAD_REQUEST, id, words),
            Self::NotFound(words) => Reply::failure(zn1::NOT_FOUND, id, words),
            Self::TooMany => {
                let words = "as many bans are in force as there may be";
                Reply::failure(zn1::BACK_PRESSURE, id, words)
            }
        }
    }
}

/// Answers a request by the health socket if it is about connections; gives the answer with its
/// envelope. Nothing where it is about something else.
pub fn serve(hub: &mut Hub, frames: &[Bytes]) -> Option<Vec<Bytes>> {
    let copied = frames.to_vec();
    let (mut reply, body) = envelope::split(copied);
    let request = Request::decode(body).ok()?;
    let id = request.id.clone();
    let done = match request.verb.as_str() {
        "conns" => {
            let all = serde_json::to_vec(&hub.connections()).expect("facts have only text keys");
            let mut answer = Reply::new(zn1::OK, id, json!({ "bans": hub.bans() }));
            answer.body.push(all.into());
            reply.extend(answer.encode());
            return Some(reply);
        }
        "kick" => kick(hub, request.params),
        "ban" => ban(hub, request.params),
        "lift" => lift(hub, request.params),
        _ => return None,
    };
    let answer = match done {
        Ok(result) => Reply::new(zn1::OK, id, result),
        Err(refused) => refused.reply(id),
    };
    reply.extend(answer.encode());
    Some(reply)
}

fn params<T: serde::de::DeserializeOwned>(params: Value) -> Result<T, Refused> {
    serde_json::from_value(params).map_err(|error| Refused::Malformed(error.to_string()))
}

fn kick(hub: &mut Hub, given: Value) -> Result<Value, Refused> {
    let Which { conn } = params(given)?;
    if !hub.kick(ConnId(conn)) {
        return Err(Refused::NotFound(format!("there is no connection {conn}")));
    }
    tracing::info!(conn, "kicked a connection");
    Ok(json!({ "conn": conn }))
}

fn whom(whom: &Whom) -> Result<Ban, Refused> {
    let who = whom.who.as_str();
    let malformed = |what: &str| Refused::Malformed(format!("`{who}` is no {what}"));
    match whom.by {
        By::Address => {
            let address: Result<IpAddr, _> = who.parse();
            let address = address.map_err(|_| malformed("IP address"))?;
            Ok(Ban::Address(address.to_canonical()))
        }
        By::Key => {
            let key: Result<PublicKey, _> = who.parse();
            Ok(Ban::Key(key.map_err(|_| malformed("public key"))?))
        }
        By::Identity if who.is_empty() || who.len() > 255 => Err(malformed("identity")),
        By::Identity => Ok(Ban::Identity(who.to_owned())),
    }
}

fn ban(hub: &mut Hub, given: Value) -> Result<Value, Refused> {
    let given: Whom = params(given)?;
    let ban = whom(&given)?;
    if given.lasts_ms == 0 {
        let words = "a ban lasts for some time: `lasts_ms`";
        return Err(Refused::Malformed(words.to_owned()));
    }
    let lasts = Duration::from_millis(given.lasts_ms);
    let ended = hub.ban(ban, lasts).map_err(|_| Refused::TooMany)?;
    tracing::info!(who = given.who, ended, "banned for {lasts:?}");
    Ok(json!({ "ended": ended }))
}

fn lift(hub: &mut Hub, given: Value) -> Result<Value, Refused> {
    let given: Whom = params(given)?;
    let ban = whom(&given)?;
    if !hub.lift(&ban) {
        return Err(Refused::NotFound(format!("`{}` is not banned", given.who)));
    }
    tracing::info!(who = given.who, "lifted a ban");
    Ok(Value::Null)
}

/// What `status` says of a hub's connections, limits, refusals and bans.
pub fn facts(hub: &Hub, limits: &WireLimits) -> Map<String, Value> {
    let mut open = hub.connections();
    open.retain(|facts| facts.handshake_done);
    let counts = json!({ "open": open.len(), "pending": hub.pending() });
    open.truncate(TOLD_MAX);
    let mut facts = Map::new();
    let mut tell = |key: &str, value: Value| facts.insert(key.to_owned(), value);
    tell("connections", json!(open));
    tell("connected", counts);
    tell("listeners", json!(hub.counters()));
    tell("limits", json!(limits));
    tell("refused", json!(hub.refusals()));
    tell("bans", json!(hub.bans()));
    facts
}

/// The same for whoever may connect: nothing of who else does, and nothing looked up for it.
pub fn counts(hub: &Hub, limits: &WireLimits) -> Map<String, Value> {
    let counts = json!({ "open": hub.open(), "pending": hub.pending() });
    let mut facts = Map::new();
    let mut tell = |key: &str, value: Value| facts.insert(key.to_owned(), value);
    tell("connected", counts);
    tell("listeners", json!(hub.counters()));
    tell("limits", json!(limits));
    facts
}

/// What of a `status` with [`counts`] whoever may connect may read: nothing of where anybody is.
pub fn for_strangers(mut status: Value) -> Value {
    let told = status.as_object_mut().expect("a status is an object");
    told.remove("pid");
    for peer in told
        .get_mut("peers")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        if let Some(peer) = peer.as_object_mut() {
            peer.remove("endpoint");
        }
    }
    status
}
