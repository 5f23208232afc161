//! The replica: a member of a mesh.
//!
//! It listens for requests, bounces each client message to every other replica at once and answers
//! the client when all have acknowledged, refused or kept silent for too long; it acknowledges what
//! others bounce to it. Acknowledging never waits for a broadcast, so two replicas that broadcast at
//! the same time do not wait for each other. Everything is answered, junk too, with type ERROR.
//!
//! ```text
//! client  --SINGLE-->  bravo  --BOUNCE-->  alpha, charlie
//! client  <--reply---  bravo  <---ACK----  alpha, charlie
//! ```

mod membership;
mod verbs;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::model::endpoint::Endpoint;
use crate::model::limits::WireLimits;
use crate::model::name::InstanceName;
use crate::model::security::Guarded;
use crate::protocol::envelope;
use crate::protocol::mesh::{Message, MessageType};
use crate::protocol::zn1::{self, Reply};

/// Client messages being broadcast at the same time; one more is answered with an error.
const BROADCASTS_MAX: usize = 4_096;
/// Ids of answered ZN1 requests that are remembered, so that a retry is not handled twice.
const ANSWERED_MAX: usize = 256;

/// What a replica is told when it starts, and again when the members of its mesh change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Its own name.
    pub name: InstanceName,
    /// Where it listens: its TCP address, and ipc sockets where every end of a link is ours.
    pub listen: Vec<Endpoint>,
    /// The other members and where they listen, in the order of the plan.
    pub peers: Vec<(InstanceName, Endpoint)>,
    /// The private health socket, served by the same event loop as everything else.
    pub health: Endpoint,
    /// How long a broadcast waits for a peer that is connected and silent, in milliseconds.
    pub broadcast_ms: u64,
    /// Where its socket is encrypted: its key, and who is admitted. Its peers then are encrypted too
    /// and are told by their keys.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub guarded: Option<Guarded>,
    /// What its peers may do, but for those on the health socket.
    #[serde(skip_serializing_if = "WireLimits::is_built_in", default)]
    pub limits: Box<WireLimits>,
}

/// Which of its sockets a message came in by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// The one that anybody may dial.
    Public,
    /// The private health socket.
    Health,
}

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// A request came in.
    Request {
        /// Whom to answer.
        caller: u64,
        /// By which socket.
        door: Door,
        /// Its frames, with the envelope.
        frames: Vec<Bytes>,
    },
    /// A peer answered a bounce.
    Answered {
        /// The broadcast it belongs to.
        broadcast: u64,
        /// The peer's number.
        peer: usize,
        /// What it answered.
        frames: Vec<Bytes>,
    },
    /// A peer cannot be reached.
    Lost {
        /// The broadcast it belongs to.
        broadcast: u64,
        /// The peer's number.
        peer: usize,
        /// Why, in words.
        reason: &'static str,
    },
    /// The time that [`Machine::deadline`] named has come.
    Tick,
}

/// What to do.
#[derive(Debug, PartialEq)]
pub enum Action {
    /// Answer a caller.
    Answer {
        /// Whom.
        caller: u64,
        /// With what, envelope included.
        frames: Vec<Bytes>,
    },
    /// Send a frame to a peer and report what came of it.
    Bounce {
        /// The broadcast it belongs to.
        broadcast: u64,
        /// The peer's number.
        peer: usize,
        /// The frame.
        frame: Bytes,
        /// After this nobody waits for the answer any more.
        until: Duration,
    },
    /// Admit others from now on.
    Admit(Guarded),
    /// Answer with what is known; the driver adds what it knows of connections.
    Report {
        /// Whom.
        caller: u64,
        /// The envelope to give back.
        envelope: Vec<Bytes>,
        /// The id to give back.
        id: Bytes,
    },
    /// Keep a connection to a peer that is new.
    Dial {
        /// The number it goes by from now on; no number is given twice.
        peer: usize,
        /// Its name.
        name: InstanceName,
        /// Where it listens.
        endpoint: Endpoint,
    },
    /// Give up a peer that is no longer a member.
    HangUp {
        /// The peer's number.
        peer: usize,
    },
    /// End when everything that was begun is answered.
    Drain,
    /// Say that a message came in.
    Note(Message),
    /// Say that a peer did not acknowledge.
    Missed {
        /// The peer's number.
        peer: usize,
        /// Why, in words.
        reason: &'static str,
    },
}

/// What a replica has counted; probes are in none of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Mesh messages received, bounces included.
    pub received: u64,
    /// Mesh messages sent: answers and bounces.
    pub sent: u64,
    /// Bounces sent.
    pub bounced: u64,
    /// Bounces acknowledged.
    pub acked: u64,
    /// Bounces not acknowledged.
    pub missed: u64,
    /// Requests that could not be understood.
    pub malformed: u64,
    /// Payload bytes of the mesh messages received.
    pub bytes_in: u64,
    /// Payload bytes of the mesh messages sent.
    pub bytes_out: u64,
}

/// Whom to answer, and what to put before the answer.
#[derive(Debug)]
struct ReplyTo {
    caller: u64,
    envelope: Vec<Bytes>,
}

impl ReplyTo {
    fn with(mut self, frames: impl IntoIterator<Item = Bytes>) -> Action {
        self.envelope.extend(frames);
        Action::Answer {
            caller: self.caller,
            frames: self.envelope,
        }
    }
}

/// How a client asked, and so how it is answered.
#[derive(Debug)]
enum Dialect {
    /// One protobuf frame.
    Mesh,
    /// The ZN1 verb `send`, with its id.
    Zn1(Bytes),
}

/// A client message on its way round the mesh.
#[derive(Debug)]
struct Broadcast {
    to: ReplyTo,
    dialect: Dialect,
    /// The number of the client's message among all received.
    number: u64,
    begun: Duration,
    until: Duration,
    /// Who was asked: the members when it began.
    peers: Arc<[Peer]>,
    /// What came of it, in the same order.
    outcomes: Vec<Option<Outcome>>,
}

impl Broadcast {
    /// The place of a peer's outcome, while it is waited for.
    fn awaited(&self, peer: usize) -> Option<usize> {
        let place = self.peers.iter().position(|it| it.number == peer)?;
        self.outcomes[place].is_none().then_some(place)
    }
}

/// What came of one bounce.
#[derive(Debug, Clone, Copy)]
enum Outcome {
    Acked(Duration),
    Missed(&'static str),
}

/// Another member of the mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its number; those that a replica starts with are numbered from 0 in the order it is told.
    pub number: usize,
    /// Its name.
    pub name: InstanceName,
    /// Where it listens.
    pub endpoint: Endpoint,
}

/// The replica.
#[derive(Debug)]
pub struct Machine {
    /// What it goes by; its peers are in `peers`.
    config: Config,
    peers: Arc<[Peer]>,
    /// How many numbers have been given to peers.
    numbered: usize,
    counters: Counters,
    broadcasts: BTreeMap<u64, Broadcast>,
    last: u64,
    answered: VecDeque<(Bytes, Vec<Bytes>)>,
}

impl Machine {
    /// A replica that has heard nothing yet.
    pub fn new(config: &Config) -> Self {
        let peers = config.peers.iter().enumerate();
        Self {
            peers: peers
                .map(|(number, (name, endpoint))| Peer {
                    number,
                    name: name.clone(),
                    endpoint: endpoint.clone(),
                })
                .collect(),
            numbered: config.peers.len(),
            config: config.clone(),
            counters: Counters::default(),
            broadcasts: BTreeMap::new(),
            last: 0,
            answered: VecDeque::new(),
        }
    }

    /// What it has counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The other members, in the order it was told.
    pub fn peers(&self) -> &[Peer] {
        &self.peers
    }

    /// When it wants a [`Event::Tick`], if anything is waited for.
    pub fn deadline(&self) -> Option<Duration> {
        // All broadcasts wait equally long, so the oldest ends first.
        self.broadcasts.first_key_value().map(|(_, b)| b.until)
    }

    /// Whether every request has been answered.
    pub fn is_idle(&self) -> bool {
        self.broadcasts.is_empty()
    }

    /// Takes one step.
    pub fn step(&mut self, now: Duration, event: Event, actions: &mut Vec<Action>) {
        match event {
            Event::Request {
                caller,
                door,
                frames,
            } => {
                let (envelope, body) = envelope::split(frames);
                let to = ReplyTo { caller, envelope };
                if zn1::is_zn1(&body) {
                    self.verb(now, (door, to), body, actions);
                } else {
                    self.message(now, to, &body, actions);
                }
            }
            Event::Answered {
                broadcast,
                peer,
                frames,
            } => {
                let answer = match frames.as_slice() {
                    [frame] => Message::decode(frame).ok(),
                    _ => None,
                };
                let is_ack = answer.is_some_and(|answer| answer.ty == MessageType::Bounce);
                let outcome = |b: &Broadcast| match is_ack {
                    true => Outcome::Acked(now.saturating_sub(b.begun)),
                    false => Outcome::Missed("answered with an error"),
                };
                self.settle(broadcast, peer, outcome, actions);
            }
            Event::Lost {
                broadcast,
                peer,
                reason,
            } => self.settle(broadcast, peer, |_| Outcome::Missed(reason), actions),
            Event::Tick => self.expire(now, actions),
        }
    }

    /// One mesh message, or what should have been one.
    fn message(&mut self, now: Duration, to: ReplyTo, body: &[Bytes], actions: &mut Vec<Action>) {
        let decoded = match body {
            [frame] => Message::decode(frame).map_err(|fault| fault.to_string()),
            frames => Err(format!("{} frames where one belongs", frames.len())),
        };
        let message = match decoded {
            Ok(message) => message,
            Err(fault) => {
                self.counters.malformed += 1;
                return actions.push(self.answer(to, MessageType::Error, fault));
            }
        };
        self.counters.received += 1;
        self.counters.bytes_in += body[0].len() as u64;
        match message.ty {
            MessageType::Single => {
                self.broadcast(now, (to, Dialect::Mesh), &message.message, actions);
            }
            MessageType::Bounce => actions.push(self.answer(to, MessageType::Bounce, "ACK")),
            MessageType::Error | MessageType::Unknown(_) => {
                let fault = "only SINGLE and BOUNCE are requests";
                actions.push(self.answer(to, MessageType::Error, fault));
            }
        }
        actions.push(Action::Note(message));
    }

    fn answer(&mut self, to: ReplyTo, ty: MessageType, text: impl Into<String>) -> Action {
        let frame = Message::new(ty, self.config.name.as_str(), text).encode();
        self.counters.sent += 1;
        self.counters.bytes_out += frame.len() as u64;
        to.with([frame])
    }

    /// Sends a client's message to every other replica.
    fn broadcast(
        &mut self,
        now: Duration,
        (to, dialect): (ReplyTo, Dialect),
        text: &str,
        actions: &mut Vec<Action>,
    ) {
        self.last += 1;
        let broadcast = Broadcast {
            to,
            dialect,
            number: self.counters.received,
            begun: now,
            until: now + Duration::from_millis(self.config.broadcast_ms),
            peers: self.peers.clone(),
            outcomes: vec![None; self.peers.len()],
        };
        if self.peers.is_empty() {
            return self.finish(broadcast, actions);
        }
        if self.broadcasts.len() >= BROADCASTS_MAX {
            return self.refuse(broadcast, actions);
        }
        let frame = Message::new(MessageType::Bounce, self.config.name.as_str(), text).encode();
        for peer in &*broadcast.peers {
            self.counters.sent += 1;
            self.counters.bounced += 1;
            self.counters.bytes_out += frame.len() as u64;
            actions.push(Action::Bounce {
                broadcast: self.last,
                peer: peer.number,
                frame: frame.clone(),
                until: broadcast.until,
            });
        }
        self.broadcasts.insert(self.last, broadcast);
    }

    fn refuse(&mut self, broadcast: Broadcast, actions: &mut Vec<Action>) {
        let fault = "too many messages are being broadcast";
        actions.push(match broadcast.dialect {
            Dialect::Mesh => self.answer(broadcast.to, MessageType::Error, fault),
            Dialect::Zn1(id) => {
                let reply = Reply::failure(zn1::BACK_PRESSURE, id, fault);
                broadcast.to.with(reply.encode())
            }
        });
    }

    /// Notes what came of a bounce; one that is no longer waited for changes nothing.
    fn settle(
        &mut self,
        id: u64,
        peer: usize,
        outcome: impl FnOnce(&Broadcast) -> Outcome,
        actions: &mut Vec<Action>,
    ) {
        let Some(broadcast) = self.broadcasts.get_mut(&id) else {
            return;
        };
        let Some(place) = broadcast.awaited(peer) else {
            return;
        };
        let outcome = outcome(broadcast);
        broadcast.outcomes[place] = Some(outcome);
        let is_done = broadcast.outcomes.iter().all(Option::is_some);
        self.count(peer, outcome, actions);
        if is_done && let Some(broadcast) = self.broadcasts.remove(&id) {
            self.finish(broadcast, actions);
        }
    }

    fn count(&mut self, peer: usize, outcome: Outcome, actions: &mut Vec<Action>) {
        match outcome {
            Outcome::Acked(_) => self.counters.acked += 1,
            Outcome::Missed(reason) => {
                self.counters.missed += 1;
                actions.push(Action::Missed { peer, reason });
            }
        }
    }

    /// Ends every broadcast whose time is over: who has not answered kept silent.
    fn expire(&mut self, now: Duration, actions: &mut Vec<Action>) {
        while let Some(entry) = self.broadcasts.first_entry() {
            if entry.get().until > now {
                break;
            }
            let mut broadcast = entry.remove();
            for (peer, outcome) in std::iter::zip(&*broadcast.peers, &mut broadcast.outcomes) {
                if outcome.is_none() {
                    let silent = Outcome::Missed("silent");
                    *outcome = Some(silent);
                    self.count(peer.number, silent, actions);
                }
            }
            self.finish(broadcast, actions);
        }
    }

    /// Answers the client.
    fn finish(&mut self, broadcast: Broadcast, actions: &mut Vec<Action>) {
        let text = format!("reply msg #{}", broadcast.number);
        actions.push(match broadcast.dialect {
            Dialect::Mesh => self.answer(broadcast.to, MessageType::Single, text),
            Dialect::Zn1(ref id) => {
                let id = id.clone();
                self.report(broadcast, id, &text)
            }
        });
    }
}

#[cfg(test)]
mod tests;
