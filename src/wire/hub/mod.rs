//! The listening side: any number of ports, one owner of all their connections.
//!
//! The hub runs on a tokio current-thread runtime. Who knocks is heard by the [`door`], a thread of
//! its own, until it says who it is. From then on each connection is a task that reads, parses and
//! writes on; [`Hub::next`] hands out what happened, [`Hub::send`] writes through to the socket and
//! queues what the kernel does not take, and what follows in one turn is one write. One stalled peer fills its own bounded queue and
//! nobody else's; one that sends much fills its own inbox and waits for its turn. Routing ids are the
//! hub's own.
//!
//! It must never hold a message for a peer without a bound, and never trust a declared length.
//! Shutdown order: listeners, then what is queued for the peers, then the connections.

mod admission;
mod ban;
mod bind;
mod control;
mod dialling;
mod door;
mod event;
mod facts;
mod fan;
mod fanning;
mod forward;
mod gathering;
mod guard;
mod heart;
mod hold;
mod holding;
mod inbox;
mod opening;
#[cfg(test)]
mod opening_tests;
mod outbox;
mod pace;
mod peer;
mod pings;
mod pulse;
mod refusal;
mod relay;
mod scan;
mod session;
pub(super) mod stream;
mod tap;
mod tcp_info;
mod told;
mod unfinished;

use std::collections::HashMap;
use std::collections::VecDeque;
use std::hash::BuildHasherDefault;
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

pub use ban::{Ban, BanFacts};
use bind::Bound;
pub use bind::ListenError;
pub use control::TooManyBans;
use dialling::Dial;
pub use dialling::{DialId, Dialling};
use door::{Claimant, Door, Ear, Lobby, Order, Room};
use event::ByNumber;
pub use event::{CloseReason, ConnId, HubEvent, Mechanism, SendError, Violation};
pub use facts::{ConnectionFacts, Drops, HubCounters};
pub use fan::{Fan, FanConfig, FanFacts, Published, SubscriberFacts, TopicFacts};
pub use forward::{Dropped, Flow, Ledger, Passed};
use gathering::Gathering;
pub use guard::{Admission, Guard, KeyRefusal, OWN_PAIRS_MAX, Security};
pub use hold::{Face, Held, HoldError};
use holding::Unmet;
pub use inbox::Received;
pub use opening::Side;
use pace::Pace;
use peer::fanning::Part;
use peer::{News, Peer};
pub use refusal::{Limit, Refusal, Rejections};
pub use relay::PairError;
pub use session::{Claim, Session, SessionConfig};
use stream::Stream;
pub use tap::{Ring, Seen, Tap, places};
use told::Told;
use unfinished::Unfinished;

/// Connections that were made and the owner has not looked at; with more, the door waits.
const ARRIVALS_MAX: usize = 64;

/// Room for connections that is kept; of more, it is given back once so small a part is used.
const FEW: usize = 64;
const SPARSE: usize = 8;

/// What the tasks that make connections tell the owner.
enum Arrival {
    /// Somebody came to a port and says who it is.
    Claims(Box<Claimant>),
    /// Somebody came to a port whose connections are met only, and was not.
    Unmet(Unmet),
    /// What an attempt to dial came to.
    Dialled(DialId, Result<(Stream, String), DialError>),
}

/// Where a connection is from.
#[derive(Debug, Clone, Copy)]
enum Origin {
    /// It was accepted by a port, by its index.
    Port(usize),
    /// We dialled.
    Dial(DialId),
    /// It was met elsewhere, and is the inner end of a wire.
    Met,
}

struct Port {
    name: Arc<str>,
    limits: Arc<WireLimits>,
    security: Security,
    bound: Bound,
    /// Who accepts, where that is not the door.
    accepting: Option<AbortHandle>,
    /// How many came in by it, and whom it shows.
    room: Arc<Room>,
    /// What its connections are in a fan-out, where they are a part of one.
    part: Option<Part>,
}

struct Entry {
    /// The name its events carry.
    port: Arc<str>,
    origin: Origin,
    /// Who decides whether its peer stays, if keys do.
    guard: Option<Arc<Guard>>,
    /// What its peer calls itself, once it was admitted.
    identity: Bytes,
    peer: Arc<Peer>,
    task: AbortHandle,
    is_open: bool,
}

impl Entry {
    /// The index of the port that accepted it, if one did.
    fn listener(&self) -> Option<usize> {
        match self.origin {
            Origin::Port(port) => Some(port),
            Origin::Dial(_) | Origin::Met => None,
        }
    }

    /// Which dial made it, if we dialled.
    fn dial(&self) -> Option<DialId> {
        match self.origin {
            Origin::Port(_) | Origin::Met => None,
            Origin::Dial(dial) => Some(dial),
        }
    }
}

/// The listening side of one process.
pub struct Hub {
    limits: Arc<WireLimits>,
    /// Those of what dials: with room for what our own roles add to what they hand on.
    dial_limits: Arc<WireLimits>,
    announce: Bytes,
    ports: Vec<Port>,
    connections: HashMap<ConnId, Entry, BuildHasherDefault<ByNumber>>,
    dials: HashMap<DialId, Dial>,
    last_dial: u64,
    /// Who holds an identity, by the name of the port.
    identities: HashMap<(Arc<str>, Bytes), ConnId>,
    /// Who waits for an identity that is held, first come first; at most who is pending.
    waiting: VecDeque<(ConnId, Claim)>,
    /// Whose identity has become free.
    named: VecDeque<(Arc<str>, ConnId, Claim)>,
    lobby: Arc<Lobby>,
    /// Ends that the hub itself decided, not handed out yet: at most one a connection.
    ended: VecDeque<HubEvent>,
    arrive: mpsc::Sender<Arrival>,
    arrivals: mpsc::Receiver<Arrival>,
    /// Who accepts, from the first port on. After `arrivals`, since it ends only when nobody takes
    /// what it hands over.
    door: Option<Door>,
    /// Connections with news: each at most once, here and in `turns` together.
    told: Arc<Told>,
    /// Connections with news, in the order in which they are heard.
    turns: VecDeque<ConnId>,
    /// Connections that were sent something since nothing was at hand.
    gathering: Gathering,
    pace: Pace,
    unfinished: Arc<Unfinished>,
    tasks: JoinSet<()>,
}

impl Hub {
    /// A hub that listens nowhere yet and calls itself `announce` in its handshakes.
    pub fn new(limits: WireLimits, announce: impl Into<Bytes>) -> Self {
        let (arrive, arrivals) = mpsc::channel(ARRIVALS_MAX);
        Self {
            dial_limits: Arc::new(limits.with_room()),
            limits: Arc::new(limits),
            announce: announce.into(),
            ports: Vec::new(),
            connections: HashMap::default(),
            dials: HashMap::new(),
            last_dial: 0,
            identities: HashMap::new(),
            waiting: VecDeque::new(),
            named: VecDeque::new(),
            lobby: Arc::default(),
            ended: VecDeque::new(),
            arrive,
            arrivals,
            door: None,
            told: Arc::default(),
            turns: VecDeque::new(),
            gathering: Gathering::default(),
            pace: Pace::new(),
            unfinished: Arc::default(),
            tasks: JoinSet::new(),
        }
    }

    /// Sets the limits of what listens and dials from now on. Whom we dial may send a little more: what our
    /// own roles have added.
    pub fn limit(&mut self, limits: WireLimits) {
        self.dial_limits = Arc::new(limits.with_room());
        self.limits = Arc::new(limits);
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
        let about = (socket_type, security);
        self.listen_as((name, endpoint), about, Room::default())
    }

    /// Binds an endpoint and has the door accept there.
    fn listen_as(
        &mut self,
        (name, endpoint): (&str, &Endpoint),
        (socket_type, security): (SocketType, Security),
        room: Room,
    ) -> Result<(), ListenError> {
        let (bound, listener) = bind::bind(endpoint)?;
        let failed = |error| ListenError::Io(endpoint.clone(), error);
        let (name, room): (Arc<str>, _) = (name.into(), Arc::new(room));
        let ear = Ear::new(
            (self.ports.len(), name.clone()),
            listener,
            (socket_type, self.announce.clone()),
            (self.limits.clone(), security.clone()),
            room.clone(),
        );
        if self.door.is_none() {
            let door = Door::open(self.lobby.clone(), self.arrive.clone());
            self.door = Some(door.map_err(failed)?);
        }
        self.order(Order::Open(Box::new(ear)));
        self.ports.push(Port {
            name,
            limits: self.limits.clone(),
            security,
            bound,
            accepting: None,
            room,
            part: None,
        });
        Ok(())
    }

    fn order(&self, order: Order) {
        if let Some(door) = &self.door {
            door.order(order);
        }
    }

    /// The next event. Cancel safe: nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> HubEvent {
        loop {
            // Handing out what is there never waits, and must not keep the thread for itself.
            let now = std::time::Instant::now();
            let is_long = self.pace.is_over(now);
            if is_long || self.gathering.is_over(now) {
                self.gathering.write();
            }
            if is_long {
                self.pace.rest().await;
            }
            if let Some(event) = self.ended.pop_front() {
                return event;
            }
            if let Some(named) = self.named.pop_front() {
                if let Some(event) = self.judge_named(named) {
                    return event;
                }
                continue;
            }
            // One newcomer, one event: neither a flood of connections nor one of messages keeps the
            // other from being heard.
            if let Ok(arrival) = self.arrivals.try_recv()
                && let Some(event) = self.meet(arrival)
            {
                return event;
            }
            self.told.hear(&mut self.turns);
            if let Some(conn) = self.turns.pop_front() {
                if let Some(event) = self.hear(conn) {
                    return event;
                }
                continue;
            }
            self.gathering.write();
            told::settle(&mut self.turns);
            tokio::select! {
                // Cancel safe, both: what is not handed out stays.
                Some(arrival) = self.arrivals.recv() => {
                    if let Some(event) = self.meet(arrival) {
                        return event;
                    }
                }
                () = self.told.some() => {}
            }
            self.pace.begin();
        }
    }

    /// One of the news of a connection; it has its next turn after the others.
    fn hear(&mut self, conn: ConnId) -> Option<HubEvent> {
        let entry = self.connections.get(&conn)?;
        let (news, has_more) = entry.peer.take();
        if has_more {
            self.turns.push_back(conn);
        }
        let port = entry.port.clone();
        match news? {
            News::Claim(claim) => self.judge(conn, &claim),
            News::Writable => Some(HubEvent::Writable { port, conn }),
            News::Received(Received::Message(frames)) => {
                Some(HubEvent::Message { port, conn, frames })
            }
            News::Received(Received::Subscribed { topic, is_on }) => Some(HubEvent::Subscribed {
                port,
                conn,
                topic,
                is_on,
            }),
            News::Closed(reason) => {
                let entry = self.release(conn)?;
                self.gone(conn, &entry, reason)
            }
        }
    }

    /// What follows from the end of a connection that is no longer held.
    fn gone(&mut self, conn: ConnId, entry: &Entry, reason: CloseReason) -> Option<HubEvent> {
        self.note(entry, &reason);
        let dial = entry.dial();
        let failed = dial.and_then(|dial| self.dial_ended(dial, entry.is_open, &reason));
        if !entry.is_open {
            return failed;
        }
        let port = entry.port.clone();
        Some(HubEvent::Closed {
            port,
            conn,
            dial,
            reason,
        })
    }

    /// Ends a connection for a reason of ours; the event follows. False where there is none.
    fn end(&mut self, conn: ConnId, reason: CloseReason) -> bool {
        let Some(entry) = self.release(conn) else {
            return false;
        };
        let event = self.gone(conn, &entry, reason);
        self.ended.extend(event);
        true
    }

    /// Lets go of a connection, whose socket is closed with that.
    fn release(&mut self, conn: ConnId) -> Option<Entry> {
        let entry = self.connections.remove(&conn)?;
        if self.connections.len() < self.connections.capacity() / SPARSE {
            self.connections.shrink_to(FEW);
        }
        // What was sent before goes before.
        self.gathering.write();
        entry.task.abort();
        // The other end of its wire learns of it.
        entry.peer.part();
        if let Some(port) = entry.listener() {
            self.ports[port].room.leave();
        }
        if !entry.identity.is_empty() {
            let name = (entry.port.clone(), entry.identity.clone());
            if self.identities.get(&name) == Some(&conn) {
                self.identities.remove(&name);
                self.hand_on(&entry.port, &entry.identity);
            }
        }
        if !entry.is_open {
            self.waiting.retain(|(waiting, _)| *waiting != conn);
        }
        while self.tasks.try_join_next().is_some() {}
        Some(entry)
    }

    /// Writes a message to a peer, as far as the kernel takes it, and queues the rest. Others sent
    /// before [`Hub::next`] has nothing at hand are gathered and written together.
    pub fn send(&self, conn: ConnId, frames: Vec<Bytes>) -> Result<(), SendError> {
        let entry = self.connections.get(&conn).ok_or(SendError::Closed)?;
        if entry.peer.send(frames)? {
            self.gathering.add(&entry.peer);
        }
        Ok(())
    }

    /// Closes a connection without waiting for what is queued. No event follows; a dial that is kept
    /// dials again.
    pub fn close(&mut self, conn: ConnId) {
        let entry = self.release(conn);
        if let Some(dial) = entry.and_then(|entry| entry.dial()) {
            self.dial_ended(dial, true, &CloseReason::Peer);
        }
    }

    /// Stops listening and removes the socket files; what is connected stays.
    pub fn stop_listening(&mut self) {
        self.order(Order::Close);
        for port in &mut self.ports {
            if let Some(accepting) = &port.accepting {
                accepting.abort();
            }
            port.bound.release();
        }
    }

    /// Stops listening, then waits until what is queued was written, at most for `wait`.
    pub async fn drain(&mut self, wait: Duration) {
        self.stop_listening();
        self.gathering.write();
        let deadline = Instant::now() + wait;
        while Instant::now() < deadline && self.connections.values().any(|e| e.peer.is_behind()) {
            // The connections' tasks do the writing; this gives them the thread.
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        self.connections.clear();
        self.tasks.shutdown().await;
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        // Whoever sends and goes has sent.
        self.gathering.write();
    }
}
