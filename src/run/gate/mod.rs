//! A gate process: its doors, the pairs of connections that are the wires through them, and its
//! health socket, on one event loop.
//!
//! It decides who is paired with whom and nothing else: what passes goes from connection to
//! connection in the hub. Each pair is one connection inside and one outside. Whichever side dials,
//! the dialled side is met first, and neither is told READY before both are known, so each sees the
//! type and the identity of the other. What a program publishes comes by one connection for all that
//! subscribe, and each of those is a wire.
//!
//! Shutdown order, on SIGTERM, SIGINT or `drain`: stop listening, stop reading, write what is on its
//! way, end with code 0.

mod holder;
mod keys;
mod lookout;
mod pairing;
mod passage;
mod publishing;
mod verbs;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::model::limits::WireLimits;
use crate::model::socket::SocketType;
use crate::roles::gate::{Config, Outer};
use crate::wire::hub::{
    ConnId, DialId, Face, Held, HoldError, Hub, HubEvent, Ledger, ListenError, Ring, Security,
};

use super::looking::{Looking, Place};
use super::node::{HEALTH, NodeError, affordable, on_one_thread};
use keys::DoorKeys;
use lookout::Lookout;
use passage::{Passage, outer_of};

/// What tasks tell and is not heard yet.
const NEWS_MAX: usize = 1_024;
/// How long an endpoint that is in use is waited for: the program that listened there before it had
/// a gate may be ending just now.
const BIND_WAIT: Duration = Duration::from_secs(8);
const BIND_REST: Duration = Duration::from_millis(50);
/// How long a gate that ends writes what is on its way.
const DRAIN_WAIT: Duration = Duration::from_secs(2);

/// What tasks tell.
enum News {
    /// The program listens, and shows this.
    Present { door: usize, face: Face },
    /// It does not.
    Absent { door: usize, reason: HoldError },
    /// A connection to the program for one from outside, or for all.
    Spare {
        door: usize,
        conn: Option<ConnId>,
        held: Held,
    },
    /// The program's connection for which the other side was reached.
    Ready { dial: DialId, held: Held },
    /// The program closed its connection before.
    GivenUp { dial: DialId },
}

/// A connection of the program for which the other side is being dialled.
struct Dial {
    door: usize,
    /// Tells its holder that it is wanted; gone once it was told.
    want: Option<oneshot::Sender<()>>,
    /// The connection outside, once there is one.
    conn: Option<ConnId>,
}

/// One wire: a connection inside and one outside.
struct Pair {
    door: usize,
    /// None where one connection inside serves all.
    inner: Option<ConnId>,
    outer: ConnId,
    /// Who is on the other side, as far as it is known: an instance, else an address.
    peer: String,
    /// The address of the other end outside, where it has one.
    address: String,
    /// The gate's end of the connection outside.
    local: String,
    /// What passed outwards and inwards on those of its two connections that are gone.
    outward: Arc<Ledger>,
    inward: Arc<Ledger>,
}

/// Runs a gate to its end.
pub fn run(config: &Config) -> Result<(), NodeError> {
    on_one_thread(|| Ok(Gate::new(config)?.run()))
}

struct Gate {
    config: Config,
    limits: WireLimits,
    hub: Hub,
    keys: DoorKeys,
    passages: Vec<Passage>,
    /// Doors that could not be bound yet.
    unbound: Vec<usize>,
    /// Wires, by their connection outside, and the connections inside of them.
    pairs: HashMap<ConnId, Pair>,
    outer_of: HashMap<ConnId, ConnId>,
    dials: HashMap<DialId, Dial>,
    ring: Arc<Ring>,
    looking: Looking,
    /// What the numbers in the ring mean.
    places: HashMap<usize, Place>,
    tell: mpsc::Sender<News>,
    news: mpsc::Receiver<News>,
    meet: mpsc::Sender<(usize, Held)>,
    met: mpsc::Receiver<(usize, Held)>,
    tasks: JoinSet<()>,
    is_draining: bool,
}

fn passages(config: &Config, limits: &WireLimits) -> Vec<Passage> {
    let doors = config.doors.iter();
    doors.map(|door| Passage::new(door, limits)).collect()
}

impl Gate {
    fn new(config: &Config) -> Result<Self, NodeError> {
        // A wire takes two: one inside and one outside.
        let limits = affordable(&config.limits, 2);
        let mut hub = Hub::new(WireLimits::default(), format!("ZN1:{}", config.name));
        hub.listen(HEALTH, &config.health, SocketType::Router, Security::Open)
            .map_err(NodeError::Listen)?;
        hub.limit(limits.clone());
        let keys = DoorKeys::open(config).map_err(NodeError::Keys)?;
        let (tell, news) = mpsc::channel(NEWS_MAX);
        let (meet, met) = mpsc::channel(NEWS_MAX);
        let passages = passages(config, &limits);
        Ok(Self {
            config: config.clone(),
            limits,
            hub,
            keys,
            passages,
            unbound: (0..config.doors.len()).collect(),
            pairs: HashMap::new(),
            outer_of: HashMap::new(),
            dials: HashMap::new(),
            ring: Arc::default(),
            looking: Looking::default(),
            places: HashMap::new(),
            tell,
            news,
            meet,
            met,
            tasks: JoinSet::new(),
            is_draining: false,
        })
    }

    async fn run(mut self) -> Result<(), NodeError> {
        let mut terminate = signal(SignalKind::terminate()).map_err(NodeError::Runtime)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(NodeError::Runtime)?;
        let give_up = Instant::now() + BIND_WAIT;
        self.bind(give_up)?;
        let tick = sleep_until(Instant::now() + BIND_REST);
        tokio::pin!(tick);
        while !self.is_draining {
            let is_ticking = !self.unbound.is_empty() || self.looking.is_on();
            if is_ticking && tick.is_elapsed() {
                tick.as_mut().reset(Instant::now() + BIND_REST);
            }
            tokio::select! {
                biased;
                // Cancel safe: a signal that is not taken stays, and so does news.
                _ = terminate.recv() => self.is_draining = true,
                _ = interrupt.recv() => self.is_draining = true,
                Some(news) = self.news.recv() => self.hear(news),
                Some((door, held)) = self.met.recv() => self.dial(door, held),
                () = self.keys.changed() => self.rekey(),
                event = self.hub.next() => self.receive(event),
                () = &mut tick, if is_ticking => {
                    self.bind(give_up)?;
                    self.look();
                }
            }
            while self.tasks.try_join_next().is_some() {}
        }
        self.drain().await;
        Ok(())
    }

    async fn drain(mut self) {
        self.hub.stop_listening();
        self.hub.end_pairs();
        let end = Instant::now() + DRAIN_WAIT;
        while !self.pairs.is_empty() {
            tokio::select! {
                event = self.hub.next() => self.receive(event),
                () = sleep_until(end) => break,
            }
        }
        tracing::info!("gate of {} has ended", self.config.program);
    }

    /// Binds the doors that are not bound yet.
    fn bind(&mut self, give_up: Instant) -> Result<(), NodeError> {
        for number in std::mem::take(&mut self.unbound) {
            match self.bind_door(number) {
                Ok(()) => {}
                Err(ListenError::AddrInUse(at)) if Instant::now() < give_up => {
                    tracing::debug!("{at} is in use; trying again");
                    self.unbound.push(number);
                }
                Err(error) => return Err(NodeError::Listen(error)),
            }
        }
        Ok(())
    }

    fn bind_door(&mut self, number: usize) -> Result<(), ListenError> {
        let security = self.keys.security(number);
        let passage = &mut self.passages[number];
        let door = &passage.door;
        match &door.outer {
            Outer::Listens { at, .. } => {
                let face = Face {
                    socket_type: door.socket,
                    identity: bytes::Bytes::new(),
                };
                for at in at {
                    let (place, face) = ((door.name.as_str(), at), face.clone());
                    match &passage.fan {
                        Some(fan) => {
                            let fan = (fan, &self.ring);
                            self.hub.listen_wires(place, face, fan, security.clone())?;
                        }
                        None => self
                            .hub
                            .listen_shown(&door.name, at, face, security.clone())?,
                    }
                    tracing::info!("bound to {at} for {}", door.inner);
                }
                let (wanted, asked) = mpsc::channel(self.limits.pending_max);
                let lookout = Lookout {
                    door: number,
                    inner: door.inner.clone(),
                    limits: self.limits.clone(),
                    wanted: asked,
                    tell: self.tell.clone(),
                };
                passage.hindrance = Some(format!("nobody listens on {} yet", door.inner));
                passage.wanted = Some(wanted);
                if passage.fan.is_none() {
                    self.tasks.spawn(lookout.run());
                } else {
                    passage.want_publisher();
                    self.tasks.spawn(lookout.run_for_all());
                }
            }
            Outer::Dials { at, .. } => {
                self.hub
                    .listen_held(&door.name, (&door.inner, number), self.meet.clone())?;
                tracing::info!("bound to {} for {at}", door.inner);
            }
        }
        Ok(())
    }

    fn hear(&mut self, news: News) {
        match news {
            News::Present { door, face } => {
                let passage = &mut self.passages[door];
                passage.hindrance = None;
                self.hub.show(&passage.door.name, Some(&face));
            }
            News::Absent { door, reason } => {
                let passage = &mut self.passages[door];
                let inner = &passage.door.inner;
                passage.hindrance = Some(match reason {
                    HoldError::Io(io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => {
                        format!("{} does not listen on {inner}", self.config.program)
                    }
                    reason => format!("{} at {inner}: {reason}", self.config.program),
                });
                self.hub.show(&passage.door.name, None);
                for conn in std::mem::take(&mut passage.waiting) {
                    self.hub.close(conn);
                }
            }
            News::Spare { door, conn, held } => match conn {
                Some(conn) => self.pair(door, (conn, None), held),
                None => self.take_publisher(door, held),
            },
            News::Ready { dial, held } => {
                if let Some(Dial { door, conn, .. }) = self.dials.remove(&dial)
                    && let Some(outer) = conn
                {
                    self.pair(door, (outer, Some(dial)), held);
                }
            }
            News::GivenUp { dial } => {
                self.dials.remove(&dial);
                self.hub.hang_up(dial);
            }
        }
    }

    fn receive(&mut self, event: HubEvent) {
        match event {
            HubEvent::Message { conn, frames, port } if &*port == HEALTH => {
                self.answer(conn, frames);
            }
            // What is for the other end of a wire does not come here.
            HubEvent::Message { .. } | HubEvent::Subscribed { .. } | HubEvent::Writable { .. } => {}
            HubEvent::Opened { port, conn, dial } => match dial {
                Some(dial) => self.reached(dial, conn),
                None => self.opened(&port, conn),
            },
            HubEvent::Closed {
                conn, dial, reason, ..
            } => self.closed(conn, dial, &reason),
            HubEvent::DialFailed { dial, reason, .. } => {
                if let Some(dial) = self.dials.get(&dial) {
                    let passage = &mut self.passages[dial.door];
                    passage.hindrance = Some(format!("{reason} at {}", outer_of(&passage.door)));
                }
            }
        }
    }
}
