//! What roles have in common: a machine without sockets that is told what happens and says what to
//! do, and the part of a configuration that every such role is given.
//!
//! ```text
//! run, over real sockets --Event--> Machine::step --Action--> run
//! ```
//!
//! Time is an argument. A machine never waits, never names a socket, and holds nothing without a
//! bound: what it cannot hold it refuses, or has the connection wait by [`Action::Pause`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::model::endpoint::Endpoint;
use crate::model::limits::WireLimits;
use crate::model::name::InstanceName;
use crate::model::security::{Admitted, Guarded};
use crate::model::socket::SocketType;
use crate::model::store::{Ask, Told};
use crate::protocol::zn1::{self, Reply, Request};

use super::Config;

/// A role: what it does with what happens.
pub trait Machine {
    /// Takes one step. The actions are done in their order, before the next event is told.
    fn step(&mut self, now: Duration, event: Event, actions: &mut Vec<Action>);

    /// When it wants a [`Event::Tick`], if it waits for anything. Asked after every step.
    fn deadline(&self) -> Option<Duration>;

    /// Whether nothing that was begun is left to be done.
    fn is_idle(&self) -> bool;

    /// What it has counted, for `status`.
    fn facts(&self) -> serde_json::Value;

    /// Why it cannot run with what its store has told it at the start, where that is not its own.
    fn refusal(&self) -> Option<String> {
        None
    }

    /// Takes another configuration that [`Config::fixed_change`] lets pass.
    fn adopt(&mut self, config: &Config);
}

/// A connection, by a number that is never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Conn(pub u64);

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// Somebody is connected to a port, or is dialled under this name.
    Opened {
        /// The name of the port or dial.
        port: Arc<str>,
        /// The connection.
        conn: Conn,
    },
    /// A message came.
    Message {
        /// The name of the port or dial.
        port: Arc<str>,
        /// The connection.
        conn: Conn,
        /// Its frames, with the envelope; at least one.
        frames: Vec<Bytes>,
    },
    /// A subscriber asked for a topic, or for it no more.
    Subscribed {
        /// The name of the port or dial.
        port: Arc<str>,
        /// The connection.
        conn: Conn,
        /// The topic, a prefix.
        topic: Bytes,
        /// Whether it is asked for now.
        is_on: bool,
    },
    /// A peer for which a message was too much has read half of what waited for it.
    Writable {
        /// The connection.
        conn: Conn,
    },
    /// A message was too much for a peer that does not read; it is dropped and counted.
    Unsent {
        /// The connection.
        conn: Conn,
    },
    /// A connection is gone.
    Closed {
        /// The name of the port or dial.
        port: Arc<str>,
        /// The connection.
        conn: Conn,
    },
    /// Its store tells something; at the start, what the role has to know, before anything else.
    Disk(Told),
    /// It is to end: begin nothing new.
    Drain,
    /// The time that [`Machine::deadline`] named has come; it may come early.
    Tick,
}

/// What to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Send a message. Where the peer is gone, [`Event::Closed`] says so; where it does not read,
    /// [`Event::Unsent`].
    Send {
        /// To whom.
        conn: Conn,
        /// Its frames, envelope included.
        frames: Vec<Bytes>,
    },
    /// End a connection; [`Event::Closed`] follows.
    Close {
        /// Which.
        conn: Conn,
    },
    /// Read a connection no further: its peer is slowed down by its own socket. That it is gone is
    /// heard after [`Action::Resume`].
    Pause {
        /// Which.
        conn: Conn,
    },
    /// Go on reading a connection.
    Resume {
        /// Which.
        conn: Conn,
    },
    /// Ask a publisher for a topic, or for it no more.
    Subscribe {
        /// Whom.
        conn: Conn,
        /// The topic, a prefix.
        topic: Bytes,
        /// Whether it is asked for now.
        is_on: bool,
    },
    /// Publish a message, where the wire fans out for the machine, and answer how many it was for.
    Publish {
        /// Whom to answer.
        caller: Caller,
        /// The id to give back.
        id: Bytes,
        /// Its frames, the topic first.
        frames: Vec<Bytes>,
    },
    /// Publish a message, where the wire fans out for the machine, and answer nobody.
    Fan {
        /// Its frames, the topic first.
        frames: Vec<Bytes>,
    },
    /// Ask its store something; [`Event::Disk`] follows.
    Disk(Ask),
    /// Answer `status` with what is known; who runs the machine adds what it knows of connections.
    Report {
        /// Whom.
        caller: Caller,
        /// The id to give back.
        id: Bytes,
    },
}

/// Whoever asked something, and the envelope to give back with the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The connection.
    pub conn: Conn,
    /// What stood before the request.
    pub envelope: Vec<Bytes>,
}

impl Caller {
    /// A message for them.
    pub fn send(self, body: impl IntoIterator<Item = Bytes>) -> Action {
        let mut frames = self.envelope;
        frames.extend(body);
        Action::Send {
            conn: self.conn,
            frames,
        }
    }

    /// An answer for them.
    pub fn reply(self, reply: &Reply) -> Action {
        self.send(reply.encode())
    }
}

/// Reads a ZN1 request that came by a public port. What every role answers is answered: `ping`,
/// `status` and what is malformed, which gives [`Read::Malformed`] to be counted.
pub fn read(
    name: &InstanceName,
    caller: Caller,
    body: Vec<Bytes>,
    actions: &mut Vec<Action>,
) -> Read {
    let fault = match Request::decode(body.clone()) {
        Ok(request) => {
            let id = request.id.clone();
            match request.verb.as_str() {
                "ping" => {
                    let pong = Reply::new(zn1::OK, id, json!({"name": name}));
                    actions.push(caller.reply(&pong));
                }
                "status" => actions.push(Action::Report { caller, id }),
                _ => return Read::Request(caller, request),
            }
            return Read::Answered;
        }
        Err(fault) => fault,
    };
    actions.push(caller.reply(&Reply::malformed(&body, fault)));
    Read::Malformed
}

/// What [`read`] made of a ZN1 request.
#[derive(Debug)]
pub enum Read {
    /// It is answered.
    Answered,
    /// It is answered, and was none.
    Malformed,
    /// The role has to answer it.
    Request(Caller, Request),
}

/// The answer to a verb that a role does not have.
pub fn no_such_verb(request: &Request) -> Reply {
    let words = format_args!("no verb `{}` here", request.verb);
    Reply::failure(zn1::NOT_BUILT, request.id.clone(), words)
}

/// What every role is told: who it is, where it listens and dials.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Common {
    /// Its own name.
    pub name: InstanceName,
    /// Its listening sockets; several may share a name.
    pub ports: Vec<Port>,
    /// Whom it dials.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub dials: Vec<Dial>,
    /// The private health socket, served by the same event loop as everything else.
    pub health: Endpoint,
    /// What its peers may do, but for those on the health socket.
    #[serde(skip_serializing_if = "WireLimits::is_built_in", default)]
    pub limits: Box<WireLimits>,
}

/// A listening socket of a role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// The name that its events carry: one of the role's ports.
    pub name: String,
    /// What it binds.
    pub bind: Endpoint,
    /// Its type.
    pub socket: SocketType,
    /// Where it is encrypted: with whose key, and who is admitted.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub guarded: Option<Guarded>,
}

/// A socket that a role keeps connected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dial {
    /// The name that its events carry.
    pub name: String,
    /// Who listens there.
    pub peer: InstanceName,
    /// Where.
    pub endpoint: Endpoint,
    /// Its type.
    pub socket: SocketType,
    /// Where it is encrypted: whose key the other end must have, and where our own is.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub secured: Option<Secured>,
}

/// Whether something else is asked for by a dial that stays, what is asked being given by the names of
/// the dials: others come and go.
pub fn asks_otherwise(
    was: &BTreeMap<String, Vec<String>>,
    now: &BTreeMap<String, Vec<String>>,
) -> bool {
    let is_other = |(dial, topics)| now.get(dial).is_some_and(|now| now != topics);
    was.iter().any(is_other)
}

/// Whether nothing of it is encrypted.
fn is_keyless(ports: &[Port], dials: &[Dial]) -> bool {
    let open = |port: &Port| port.guarded.is_none();
    ports.iter().all(open) && dials.iter().all(|dial| dial.secured.is_none())
}

/// With which keys somebody is dialled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secured {
    /// The key directory, absolute.
    pub keys: std::path::PathBuf,
    /// Whose key the other end must have.
    pub server: Admitted,
}

impl Common {
    /// What of another configuration a role with this one cannot take while it runs. Who is admitted
    /// and who is dialled may change; whether anybody is asked, and with which key, may not.
    pub fn fixed_change(&self, next: &Self) -> Option<&'static str> {
        // Named one by one, so that a new field is judged too.
        let Self {
            name,
            ports,
            dials,
            health,
            limits,
        } = self;
        let bare = |ports: &[Port]| -> Vec<Port> {
            let mut ports = ports.to_vec();
            for guarded in ports.iter_mut().filter_map(|port| port.guarded.as_mut()) {
                guarded.allow.clear();
            }
            ports
        };
        let changed = [
            ("its name", *name != next.name),
            ("where it listens", bare(ports) != bare(&next.ports)),
            // Who is dialled comes and goes; where nothing was encrypted there are no keys to dial with.
            (
                "its first key",
                is_keyless(ports, dials) && !is_keyless(&next.ports, &next.dials),
            ),
            ("its limits", *limits != next.limits),
            ("its health socket", *health != next.health),
        ];
        let mut changed = changed.into_iter().filter(|(_, is_changed)| *is_changed);
        changed.next().map(|(what, _)| what)
    }
}
