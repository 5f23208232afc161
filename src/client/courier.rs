//! One exchange with a replica, on the Lazy Pirate's schedule.
//!
//! A replica of ours says so in its handshake and is asked by ZN1, whose answer names who
//! acknowledged and whose id keeps a retry from being handled twice. Everybody else gets ZMQ Net's
//! one frame, to the byte.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use crate::model::endpoint::Endpoint;
use crate::protocol::lazy_pirate::{Action, Event, LazyPirate, Schedule};
use crate::protocol::mesh::{Message, MessageType};
use crate::protocol::zn1::{Reply, Request};
use crate::wire::dial::DialError;
use crate::wire::keyed::{KeyedDialler, Keys};

/// How our replicas begin what they call themselves.
const OURS: &[u8] = b"ZN1:";

/// What is asked.
#[derive(Debug, Clone)]
pub enum Ask {
    /// A client message, with who acknowledged it where the replica can say.
    Message {
        /// Who says it; ZMQ Net's clients name the replica they talk to.
        sender: String,
        /// What is said.
        text: String,
    },
    /// A client message in ZMQ Net's one frame, whoever answers.
    Plain {
        /// Who says it.
        sender: String,
        /// What is said.
        text: String,
    },
    /// Whether it answers; counted nowhere by ours, a bounce for others.
    Ping {
        /// Who asks.
        sender: String,
    },
}

/// What one other replica did with a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerOutcome {
    /// Its name.
    pub name: String,
    /// Whether it acknowledged.
    pub acked: bool,
    /// After how many microseconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub us: Option<u64>,
    /// Why it did not.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
}

/// A reply, and how it came.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// What was answered.
    pub reply: Message,
    /// What the other replicas did, where the answer says so.
    pub peers: Option<Vec<PeerOutcome>>,
    /// Attempts it took.
    pub attempts: u32,
    /// From the first attempt to the reply.
    pub took: Duration,
}

/// No reply to any attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// Attempts made.
    pub attempts: u32,
    /// What the last one met.
    pub reason: DialError,
}

/// What is worth saying on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Incident {
    /// There is a connection.
    Connected,
    /// An attempt was silent and another follows.
    Retrying,
    /// The last attempt was silent.
    Dropped,
}

/// Who carries messages to one endpoint, one at a time.
pub struct Courier {
    dialler: KeyedDialler,
    schedule: Schedule,
}

impl Courier {
    /// A courier that has not dialled.
    pub fn new(endpoint: Endpoint, keys: Keys, schedule: Schedule) -> Self {
        Self {
            dialler: KeyedDialler::new(endpoint, None, keys),
            schedule,
        }
    }

    /// Connects within one timeout, for a client that has nothing to say.
    pub async fn connect(&mut self) -> Result<(), DialError> {
        let deadline = Instant::now() + self.schedule.timeout;
        self.dialler.connect_patiently(deadline).await
    }

    /// Carries one message, and says what happens on the way.
    pub async fn deliver(
        &mut self,
        ask: &Ask,
        say: &mut dyn FnMut(Incident),
    ) -> Result<Delivery, Dropped> {
        let id = format!("{:016x}", fastrand::u64(..));
        let start = Instant::now();
        let mut machine = LazyPirate::new(self.schedule);
        let (mut actions, mut todo) = (Vec::new(), VecDeque::new());
        machine.step(Duration::ZERO, Event::Start, &mut actions);
        let mut attempts = 0;
        let mut reason = DialError::Silent;
        let mut answer = None;
        loop {
            todo.extend(actions.drain(..));
            let next = todo
                .pop_front()
                .expect("the machine ends in Done or Dropped");
            let event = match next {
                Action::Send { attempt, until } => {
                    attempts = attempt;
                    if attempt > 1 {
                        self.dialler.reset();
                    }
                    match self.attempt(ask, &id, start + until, say).await {
                        Ok(read) => {
                            answer = Some(read);
                            Event::Replied
                        }
                        Err(error) => {
                            reason = error;
                            Event::Lost
                        }
                    }
                }
                Action::Wait(until) => {
                    sleep_until(start + until).await;
                    Event::Tick
                }
                Action::Retry => {
                    say(Incident::Retrying);
                    continue;
                }
                Action::Dropped => {
                    say(Incident::Dropped);
                    return Err(Dropped { attempts, reason });
                }
                Action::Done => {
                    let (reply, peers) = answer.expect("done follows an answer");
                    return Ok(Delivery {
                        reply,
                        peers,
                        attempts,
                        took: start.elapsed(),
                    });
                }
            };
            machine.step(start.elapsed(), event, &mut actions);
        }
    }

    /// One attempt: as long as nobody listens, its time is spent on waiting for somebody.
    async fn attempt(
        &mut self,
        ask: &Ask,
        id: &str,
        until: Instant,
        say: &mut dyn FnMut(Incident),
    ) -> Result<(Message, Option<Vec<PeerOutcome>>), DialError> {
        loop {
            if !self.dialler.is_connected() {
                self.dialler.connect_patiently(until).await?;
                say(Incident::Connected);
            }
            let is_ours = self.dialler.announced().starts_with(OURS);
            let frames = frames(ask, id, is_ours);
            match self.dialler.request(frames, until).await {
                // It was connected and is gone: the loop waits for whoever comes next.
                Err(DialError::NobodyListens | DialError::Refused) if Instant::now() < until => {}
                // What cannot be read is no reply.
                result => return read(result?).ok_or(DialError::Closed),
            }
        }
    }
}

fn frames(ask: &Ask, id: &str, is_ours: bool) -> Vec<Bytes> {
    match (ask, is_ours) {
        (Ask::Message { sender, text }, true) => {
            let params = json!({"sender": sender});
            let mut request = Request::new("send", id.to_owned(), params);
            request.body.push(text.clone().into());
            request.encode()
        }
        (Ask::Message { sender, text } | Ask::Plain { sender, text }, _) => {
            vec![Message::new(MessageType::Single, sender, text).encode()]
        }
        (Ask::Ping { .. }, true) => Request::new("ping", id.to_owned(), Value::Null).encode(),
        (Ask::Ping { sender }, false) => {
            vec![Message::new(MessageType::Bounce, sender, "").encode()]
        }
    }
}

fn read(frames: Vec<Bytes>) -> Option<(Message, Option<Vec<PeerOutcome>>)> {
    if let [frame] = frames.as_slice() {
        return Some((Message::decode(frame).ok()?, None));
    }
    let reply = Reply::decode(frames).ok()?;
    let text = |key: &str| reply.result[key].as_str().unwrap_or_default().to_owned();
    if !reply.is_ok() {
        let refusal = Message::new(MessageType::Error, text("sender"), text("error"));
        return Some((refusal, None));
    }
    let message = Message::new(MessageType::Single, text("sender"), text("message"));
    let peers = serde_json::from_value(reply.result["peers"].clone()).ok();
    Some((message, peers))
}
