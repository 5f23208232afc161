//! Talking to a bus: publishing with an acknowledgement, subscribing with the word that it counts.
//!
//! ```no_run
//! # use std::time::Duration;
//! # use zmqnet::client::bus::{BusError, Publisher, Subscriber};
//! # use zmqnet::wire::keyed::Keys;
//! # async fn example() -> Result<(), BusError> {
//! let wait = Duration::from_secs(5);
//! let topics = vec!["ping".into()];
//! let at = "tcp://127.0.0.1:5556".parse().expect("an endpoint");
//! let mut subscriber = Subscriber::new(&at, &Keys::Open, topics);
//! subscriber.ready(wait).await?; // No message that is published from now on is missed.
//! let at = "tcp://127.0.0.1:5557".parse().expect("an endpoint");
//! let mut publisher = Publisher::new(at, Keys::Open);
//! let got = publisher.publish("ping".into(), vec!["hello".into()], wait).await?;
//! assert_eq!(got.matched, 1);
//! let message = subscriber.next(wait).await?;
//! # drop(message);
//! # Ok(())
//! # }
//! ```
//!
//! Both dial again as long as they may wait. A message that is published again, since its
//! acknowledgement was lost, has the same id, by which the bus knows it.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout_at};

use crate::model::endpoint::Endpoint;
use crate::model::limits::WireLimits;
use crate::model::socket::SocketType;
use crate::protocol::topics::READY_PREFIX;
use crate::protocol::zn1::{Malformed, Reply, Request};
use crate::wire::dial::DialError;
use crate::wire::hub::{ConnId, Dialling, Hub, HubEvent};
use crate::wire::keyed::{KeyedDialler, Keys};

/// How long one attempt may take before the connection is made anew.
const ATTEMPT: Duration = Duration::from_secs(1);
/// The rest between two.
const REST: Duration = Duration::from_millis(20);
/// Messages that come before all subscriptions count, and are kept.
const EARLY_MAX: usize = 65_536;
/// What the subscriber calls its connection.
const BUS: &str = "bus";

/// Why a bus could not be talked to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BusError {
    /// It could not be reached in time; what the last attempt met.
    Unreached(DialError),
    /// It answered with another status, in its words.
    Refused(u16, String),
    /// What it answered is no ZN1.
    Malformed(Malformed),
    /// Nothing came in time.
    TimedOut,
}

impl fmt::Display for BusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreached(error) => error.fmt(f),
            Self::Refused(status, words) => write!(f, "it refused ({status}): {words}"),
            Self::Malformed(fault) => write!(f, "its answer is not understood: {fault}"),
            Self::TimedOut => f.write_str("nothing in time"),
        }
    }
}

impl std::error::Error for BusError {}

/// How many a message was for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Published {
    /// Subscribers that it matched.
    pub matched: u64,
    /// Those of them that have it or will.
    pub queued: u64,
}

/// Whoever publishes and is told what came of it.
pub struct Publisher {
    dialler: KeyedDialler,
}

impl Publisher {
    /// A publisher at a bus's port `acked` that has not dialled yet.
    pub fn new(endpoint: Endpoint, keys: Keys) -> Self {
        Self {
            dialler: KeyedDialler::new(endpoint, None, keys),
        }
    }

    /// Publishes one message. It is published once, however often it has to be sent.
    pub async fn publish(
        &mut self,
        topic: Bytes,
        body: Vec<Bytes>,
        wait: Duration,
    ) -> Result<Published, BusError> {
        let id = format!("{:016x}", fastrand::u64(..));
        let mut request = Request::new("publish", id, Value::Null);
        request.body.push(topic);
        request.body.extend(body);
        let reply = self.ask(&request, wait).await?;
        let count = |key: &str| reply.result[key].as_u64().unwrap_or_default();
        Ok(Published {
            matched: count("matched"),
            queued: count("queued"),
        })
    }

    /// What the bus knows of itself, as `status` shows it.
    pub async fn status(&mut self, wait: Duration) -> Result<Value, BusError> {
        let request = Request::new("status", Bytes::new(), Value::Null);
        Ok(self.ask(&request, wait).await?.result)
    }

    async fn ask(&mut self, request: &Request, wait: Duration) -> Result<Reply, BusError> {
        let deadline = Instant::now() + wait;
        loop {
            let asked = self.attempt(request, deadline).await;
            let error = match asked {
                Ok(frames) => {
                    let reply = Reply::decode(frames).map_err(BusError::Malformed)?;
                    if reply.is_ok() {
                        return Ok(reply);
                    }
                    let words = reply.result["error"].as_str().unwrap_or_default();
                    return Err(BusError::Refused(reply.status, words.to_owned()));
                }
                Err(error) => error,
            };
            self.dialler.reset();
            if Instant::now() + REST >= deadline {
                return Err(BusError::Unreached(error));
            }
            sleep(REST).await;
        }
    }

    async fn attempt(
        &mut self,
        request: &Request,
        deadline: Instant,
    ) -> Result<Vec<Bytes>, DialError> {
        if !self.dialler.is_connected() {
            self.dialler.connect_patiently(deadline).await?;
        }
        let until = deadline.min(Instant::now() + ATTEMPT);
        self.dialler.request(request.encode(), until).await
    }
}

/// Whoever subscribes.
pub struct Subscriber {
    hub: Hub,
    topics: Vec<Bytes>,
    /// The subscription that is answered once all others count.
    ready: Bytes,
    is_ready: bool,
    /// What came before it was ready: a welcome, what is retained, and whatever was published then.
    early: VecDeque<Vec<Bytes>>,
    fault: Option<DialError>,
}

impl Subscriber {
    /// A subscriber at a bus's port `out`, or at any XPUB. Must be called inside a tokio runtime. It
    /// dials, and subscribes anew, until it is dropped.
    pub fn new(endpoint: &Endpoint, keys: &Keys, topics: Vec<Bytes>) -> Self {
        let mut hub = Hub::new(WireLimits::default(), "");
        let keys = match keys {
            Keys::Open => Vec::new(),
            Keys::Curve(keys) => keys.clone(),
        };
        let dialling = Dialling {
            security: keys.first().cloned(),
            ..Dialling::default()
        };
        let dial = hub.dial(BUS, endpoint, SocketType::Sub, dialling);
        hub.rekey(dial, keys);
        let ready = [
            READY_PREFIX,
            format!("{:016x}", fastrand::u64(..)).as_bytes(),
        ]
        .concat();
        Self {
            hub,
            topics,
            ready: ready.into(),
            is_ready: false,
            early: VecDeque::new(),
            fault: None,
        }
    }

    /// Waits until its subscriptions count. What comes before is kept for [`Subscriber::next`]; where
    /// that is very much, they count already.
    pub async fn ready(&mut self, wait: Duration) -> Result<(), BusError> {
        let deadline = Instant::now() + wait;
        while !self.is_ready {
            match timeout_at(deadline, self.event()).await {
                Ok(Some(early)) => {
                    self.early.push_back(early);
                    self.is_ready |= self.early.len() >= EARLY_MAX;
                }
                Ok(None) => {}
                Err(_) => {
                    let fault = self.fault.take();
                    return Err(fault.map_or(BusError::TimedOut, BusError::Unreached));
                }
            }
        }
        Ok(())
    }

    /// The next message: its topic and what follows. Cancel safe.
    pub async fn next(&mut self, wait: Duration) -> Result<Vec<Bytes>, BusError> {
        if let Some(early) = self.early.pop_front() {
            return Ok(early);
        }
        let deadline = Instant::now() + wait;
        loop {
            match timeout_at(deadline, self.event()).await {
                Ok(Some(frames)) => return Ok(frames),
                Ok(None) => {}
                Err(_) => return Err(BusError::TimedOut),
            }
        }
    }

    /// Waits for one event; a message, where it is one.
    async fn event(&mut self) -> Option<Vec<Bytes>> {
        match self.hub.next().await {
            HubEvent::Opened { conn, .. } => self.subscribe(conn),
            HubEvent::Message { frames, .. } if frames[..] == [self.ready.clone()] => {
                self.is_ready = true;
            }
            HubEvent::Message { frames, .. } => return Some(frames),
            HubEvent::Closed { .. } => self.is_ready = false,
            HubEvent::DialFailed { reason, .. } => self.fault = Some(reason),
            HubEvent::Subscribed { .. } | HubEvent::Writable { .. } => {}
        }
        None
    }

    fn subscribe(&self, conn: ConnId) {
        for topic in self.topics.iter().chain([&self.ready]) {
            // Whoever is gone is dialled again.
            self.hub.subscribe(conn, topic.clone(), true).ok();
        }
    }
}
