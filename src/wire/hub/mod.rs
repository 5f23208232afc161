//! The listening side: any number of ports, one owner of all their connections.
//!
//! The hub runs on a tokio current-thread runtime. Each connection is a task that reads, parses and
//! writes on; [`Hub::next`] hands out what happened, [`Hub::send`] writes through to the socket and
//! queues only what the kernel does not take. One stalled peer fills its own bounded queue and
//! nobody else's. Routing ids are the hub's own, so an identity that two peers claim harms neither.
//!
//! It must never hold a message for a peer without a bound, and never trust a declared length.
//! Shutdown order: listeners, then what is queued for the peers, then the connections.

mod bind;
mod dialling;
mod event;
mod facts;
mod guard;
mod opening;
#[cfg(test)]
mod opening_tests;
mod peer;
mod session;
pub(super) mod stream;

use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use crate::model::endpoint::Endpoint;
use crate::model::limits::WireLimits;
use crate::model::socket::SocketType;
use crate::wire::dial::DialError;

use bind::Bound;
pub use bind::ListenError;
use dialling::Dial;
pub use dialling::{DialId, Dialling};
pub use event::{CloseReason, ConnId, HubEvent, Mechanism, SendError, Violation};
pub use facts::{ConnectionFacts, Drops, HubCounters};
pub use guard::{Admission, Guard, KeyRefusal, OWN_PAIRS_MAX, Security};
pub use opening::Side;
use peer::Peer;
pub use session::{Session, SessionConfig};
use stream::Stream;

/// What waits between the connections and the owner of the hub; when it is full the connections
/// stop reading, so the kernel slows their peers down.
const EVENTS_MAX: usize = 1_024;

/// What tasks tell the owner.
enum Told {
    Accepted {
        port: usize,
        stream: Stream,
        address: String,
    },
    Dialled(DialId, Result<(Stream, String), DialError>),
    Ready(ConnId),
    Message(ConnId, Vec<Bytes>),
    Closed(ConnId, CloseReason),
}

struct Port {
    name: Arc<str>,
    socket_type: SocketType,
    security: Security,
    bound: Bound,
    accepting: AbortHandle,
}

struct Entry {
    /// The name its events carry.
    port: Arc<str>,
    /// Who decides whether its peer stays, if keys do.
    guard: Option<Arc<Guard>>,
    /// Which dial made it, if we dialled.
    dial: Option<DialId>,
    peer: Arc<Peer>,
    task: AbortHandle,
    is_open: bool,
}

/// The listening side of one process.
pub struct Hub {
    limits: Arc<WireLimits>,
    announce: Bytes,
    ports: Vec<Port>,
    connections: HashMap<ConnId, Entry>,
    dials: HashMap<DialId, Dial>,
    last_dial: u64,
    /// Connections before the end of their handshake, oldest first; may name ones that are gone.
    pending: VecDeque<ConnId>,
    pending_count: usize,
    last: u64,
    counters: HubCounters,
    /// Ends that the hub itself decided, not handed out yet: at most one a connection.
    ended: VecDeque<HubEvent>,
    tell: mpsc::Sender<Told>,
    told: mpsc::Receiver<Told>,
    tasks: JoinSet<()>,
}

impl Hub {
    /// A hub that listens nowhere yet and calls itself `announce` in its handshakes.
    pub fn new(limits: WireLimits, announce: impl Into<Bytes>) -> Self {
        let (tell, told) = mpsc::channel(EVENTS_MAX);
        Self {
            limits: Arc::new(limits),
            announce: announce.into(),
            ports: Vec::new(),
            connections: HashMap::new(),
            dials: HashMap::new(),
            last_dial: 0,
            pending: VecDeque::new(),
            pending_count: 0,
            last: 0,
            counters: HubCounters::default(),
            ended: VecDeque::new(),
            tell,
            told,
            tasks: JoinSet::new(),
        }
    }

    /// Binds an endpoint. Events of its connections carry `name`; several ports may share one.
    /// Must be called inside a tokio runtime.
    pub fn listen(
        &mut self,
        name: &str,
        endpoint: &Endpoint,
        socket_type: SocketType,
        security: Security,
    ) -> Result<(), ListenError> {
        let (bound, listener) = bind::bind(endpoint)?;
        let port = self.ports.len();
        let accepting = self
            .tasks
            .spawn(bind::accept(listener, port, self.tell.clone()));
        self.ports.push(Port {
            name: name.into(),
            socket_type,
            security,
            bound,
            accepting,
        });
        Ok(())
    }

    /// The next event. Cancel safe: nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> HubEvent {
        loop {
            if let Some(event) = self.ended.pop_front() {
                return event;
            }
            let told = self.told.recv().await.expect("the hub holds a sender");
            if let Some(event) = self.absorb(told) {
                return event;
            }
        }
    }

    fn absorb(&mut self, told: Told) -> Option<HubEvent> {
        while self.tasks.try_join_next().is_some() {}
        match told {
            Told::Accepted {
                port,
                stream,
                address,
            } => {
                self.accept(port, stream, address);
                None
            }
            Told::Dialled(dial, result) => self.dialled(dial, result),
            Told::Ready(conn) => {
                let entry = self.connections.get_mut(&conn)?;
                entry.is_open = true;
                let (port, dial) = (entry.port.clone(), entry.dial);
                match dial {
                    Some(dial) => self.dial_opened(dial),
                    None => self.pending_count -= 1,
                }
                Some(HubEvent::Opened { port, conn, dial })
            }
            Told::Message(conn, frames) => {
                let entry = self.connections.get(&conn)?;
                let port = entry.port.clone();
                Some(HubEvent::Message { port, conn, frames })
            }
            Told::Closed(conn, reason) => {
                let entry = self.connections.remove(&conn)?;
                self.gone(conn, entry, reason)
            }
        }
    }

    /// What follows from the end of a connection that is no longer held.
    fn gone(&mut self, conn: ConnId, entry: Entry, reason: CloseReason) -> Option<HubEvent> {
        self.count(&reason);
        let failed = match entry.dial {
            Some(dial) => self.dial_ended(dial, entry.is_open, &reason),
            None => None,
        };
        if !entry.is_open {
            if entry.dial.is_none() {
                self.pending_count -= 1;
            }
            return failed;
        }
        Some(HubEvent::Closed {
            port: entry.port,
            conn,
            dial: entry.dial,
            reason,
        })
    }

    /// Ends a connection for a reason of ours; the event follows.
    fn end(&mut self, conn: ConnId, reason: CloseReason) {
        let Some(entry) = self.connections.remove(&conn) else {
            return;
        };
        entry.task.abort();
        let event = self.gone(conn, entry, reason);
        self.ended.extend(event);
    }

    /// Closes the connections whose key their guard does not admit any more. Call it when a guard
    /// was replaced; whose key is still admitted notices nothing.
    pub fn recheck(&mut self) {
        let judged = self.connections.iter().filter_map(|(conn, entry)| {
            let key = entry.peer.key()?;
            let refusal = entry.guard.as_ref()?.judge(&key).err()?;
            Some((*conn, CloseReason::Key { key, refusal }))
        });
        for (conn, reason) in judged.collect::<Vec<_>>() {
            self.end(conn, reason);
        }
    }

    fn count(&mut self, reason: &CloseReason) {
        match reason {
            CloseReason::Peer | CloseReason::Io(_) => {}
            CloseReason::HandshakeTimeout => self.counters.handshake_timeouts += 1,
            CloseReason::NotZmtp
            | CloseReason::Mechanism { .. }
            | CloseReason::WrongServerKey
            | CloseReason::KeyRefused
            | CloseReason::Key { .. }
            | CloseReason::Protocol(_)
            | CloseReason::TooLarge
            | CloseReason::TooManyParts => {
                self.counters.violations += 1;
            }
        }
    }

    fn accept(&mut self, port: usize, stream: Stream, address: String) {
        self.counters.accepted += 1;
        if self.connections.len() >= self.limits.connections_max {
            self.counters.refused += 1;
            return;
        }
        self.make_room();
        let port = &self.ports[port];
        let config = SessionConfig {
            socket_type: port.socket_type,
            announce: self.announce.clone(),
            limits: self.limits.clone(),
            side: Side::Listening(port.security.clone()),
        };
        let guard = match &port.security {
            Security::Open => None,
            Security::Curve(guard) => Some(guard.clone()),
        };
        let conn = self.adopt(port.name.clone(), guard, None, (config, stream, address));
        self.pending.push_back(conn);
        self.pending_count += 1;
    }

    /// Takes up a connected stream.
    fn adopt(
        &mut self,
        port: Arc<str>,
        guard: Option<Arc<Guard>>,
        dial: Option<DialId>,
        (config, stream, address): (SessionConfig, Stream, String),
    ) -> ConnId {
        self.last += 1;
        let conn = ConnId(self.last);
        let (peer, reading) = Peer::new(config, address, stream);
        let task = self
            .tasks
            .spawn(peer::run(conn, peer.clone(), reading, self.tell.clone()));
        let entry = Entry {
            port,
            guard,
            dial,
            peer,
            task,
            is_open: false,
        };
        self.connections.insert(conn, entry);
        conn
    }

    /// Closes the oldest connection without a handshake where there are too many of them.
    fn make_room(&mut self) {
        self.pending
            .retain(|conn| self.connections.get(conn).is_some_and(|e| !e.is_open));
        while self.pending_count >= self.limits.pending_max {
            let Some(oldest) = self.pending.pop_front() else {
                break;
            };
            self.close(oldest);
            self.counters.evicted += 1;
        }
    }

    /// Writes a message to a peer, as far as the kernel takes it, and queues the rest.
    pub fn send(&self, conn: ConnId, frames: Vec<Bytes>) -> Result<(), SendError> {
        let entry = self.connections.get(&conn).ok_or(SendError::Closed)?;
        entry.peer.send(frames)
    }

    /// Closes a connection without waiting for what is queued. No event follows; a dial that is kept
    /// dials again.
    pub fn close(&mut self, conn: ConnId) {
        if let Some(entry) = self.connections.remove(&conn) {
            entry.task.abort();
            match entry.dial {
                Some(dial) => drop(self.dial_ended(dial, true, &CloseReason::Peer)),
                None if !entry.is_open => self.pending_count -= 1,
                None => {}
            }
        }
    }

    /// What is known about every connection, in the order they came.
    pub fn connections(&self) -> Vec<ConnectionFacts> {
        let mut facts: Vec<_> = self
            .connections
            .iter()
            .map(|(conn, entry)| entry.peer.facts(*conn, &entry.port))
            .collect();
        facts.sort_by_key(|facts| facts.conn);
        facts
    }

    /// What belongs to no living connection.
    pub fn counters(&self) -> HubCounters {
        self.counters
    }

    /// Stops listening and removes the socket files; what is connected stays.
    pub fn stop_listening(&mut self) {
        for port in &mut self.ports {
            port.accepting.abort();
            port.bound.release();
        }
    }

    /// Stops listening, then waits until what is queued was written, at most for `wait`.
    pub async fn drain(&mut self, wait: Duration) {
        self.stop_listening();
        let deadline = Instant::now() + wait;
        while Instant::now() < deadline && self.connections.values().any(|e| e.peer.is_behind()) {
            // The connections' tasks do the writing; this gives them the thread, and room to say
            // what nobody asks any more.
            while self.told.try_recv().is_ok() {}
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        self.connections.clear();
        self.dials.clear();
        self.tasks.shutdown().await;
    }
}
