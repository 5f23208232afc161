//! A role process: one machine, its listening sockets, its diallers and its health socket on one
//! event loop, so that a stuck loop is a failed probe.
//!
//! It decides nothing: the machine does. Shutdown order, on SIGTERM, SIGINT, `drain` or at the end
//! of its uptime: stop listening, answer what was begun, write what is queued, end with code 0.

mod bouncer;
pub mod conns;
mod driver;
mod fault;
mod files;
mod rekeying;
mod talk;
mod tapping;

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::model::endpoint::Endpoint;
use crate::model::limits::WireLimits;
use crate::model::name::InstanceName;
use crate::model::socket::SocketType;
use crate::protocol::zn1::{self, Reply};
use crate::roles;
use crate::roles::replica::{self, Action, Door, Event, Machine};
use crate::run::gate;
use crate::run::keys::Keyring;
use crate::wire::dial::DialState;
use crate::wire::hub::{ConnId, Hub, HubEvent, Security};
use crate::wire::linger::Linger;

use bouncer::{Bouncing, Job, News};
pub use fault::NodeError;
pub use files::affordable;
use rekeying::{rekeyed, to_dial};
pub use talk::{LOG_VARIABLE, start_talking};
use talk::{Quota, RECEIVED};
use tapping::Tapping;

/// The port name of the health socket, which is no name that a link or another port can have.
pub(crate) const HEALTH: &str = "(health)";
/// How long a role that ends waits for what it has begun.
const DRAIN_WAIT: Duration = Duration::from_millis(700);
/// How long it then waits for what the kernel has not taken yet.
const FLUSH_WAIT: Duration = Duration::from_millis(100);
/// News of the peers that wait for the loop.
const NEWS_MAX: usize = 1_024;
/// Far enough away for a timer that is not armed.
const FAR: Duration = Duration::from_secs(86_400 * 365);

/// How a role ends that cannot bind: its next life would end the same way.
pub const BIND_EXIT: u8 = 98;
/// How a role ends whose store is another's, or cannot be read at all: the same holds for its next life.
pub const STORE_EXIT: u8 = 97;

/// How a role runs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Ends after this long.
    pub uptime: Option<Duration>,
    /// Leaves the health socket out: nobody supervises it.
    pub is_alone: bool,
}

/// The hidden entry point: runs the role that a file tells of.
pub fn main(told: &Path) -> ExitCode {
    start_talking(None);
    let result = read(told).and_then(|config| match &config {
        roles::Config::Replica(replica) => run(replica, Options::default()),
        roles::Config::Gate(gate) => gate::run(gate),
        roles::Config::Echo(_)
        | roles::Config::Proxy(_)
        | roles::Config::Cache(_)
        | roles::Config::Queue(_)
        | roles::Config::Kv(_)
        | roles::Config::Bus(_)
        | roles::Config::Stream(_)
        | roles::Config::Spool(_)
        | roles::Config::Feedback(_) => driver::start(&config),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            match error {
                NodeError::Listen(_) => ExitCode::from(BIND_EXIT),
                error if error.is_of_store_for_good() => ExitCode::from(STORE_EXIT),
                NodeError::Told(..)
                | NodeError::Config(..)
                | NodeError::Keys(_)
                | NodeError::Store(..)
                | NodeError::Foreign(..)
                | NodeError::Runtime(_) => ExitCode::FAILURE,
            }
        }
    }
}

fn read(told: &Path) -> Result<roles::Config, NodeError> {
    let text = fs::read(told).map_err(|error| NodeError::Told(told.to_owned(), error))?;
    serde_json::from_slice(&text).map_err(|error| NodeError::Config(told.to_owned(), error))
}

/// Runs a replica to its end.
pub fn run(config: &replica::Config, options: Options) -> Result<(), NodeError> {
    on_one_thread(|| Ok(Node::new(config, options)?.run()))
}

/// Runs what `make` makes to its end, on a runtime of this thread.
pub(super) fn on_one_thread<F>(make: impl FnOnce() -> Result<F, NodeError>) -> Result<(), NodeError>
where
    F: Future<Output = Result<(), NodeError>> + Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(NodeError::Runtime)?;
    runtime.block_on(async {
        // As a task and not as the runtime's own future: waking that one costs a system call more.
        match tokio::spawn(make()?).await {
            Ok(ended) => ended,
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
    })
}

/// What is known of a peer.
struct PeerFacts {
    name: InstanceName,
    endpoint: Endpoint,
    bouncing: Bouncing,
    state: DialState,
    since: SystemTime,
    missed: u64,
}

struct Node {
    name: InstanceName,
    machine: Machine,
    hub: Hub,
    /// Its keys, where its socket is encrypted.
    keyring: Option<Keyring>,
    limits: WireLimits,
    tapping: Tapping,
    /// The other members, by their numbers.
    peers: BTreeMap<usize, PeerFacts>,
    /// What the tasks of the peers tell by, and where it is heard.
    tell: mpsc::Sender<News>,
    news: mpsc::Receiver<News>,
    start: Instant,
    ends: Option<Instant>,
    quota: Quota,
    is_draining: bool,
}

impl Node {
    fn new(config: &replica::Config, options: Options) -> Result<Self, NodeError> {
        let limits = affordable(&config.limits, 1);
        let mut hub = Hub::new(WireLimits::default(), format!("ZN1:{}", config.name));
        if !options.is_alone {
            hub.listen(HEALTH, &config.health, SocketType::Router, Security::Open)
                .map_err(NodeError::Listen)?;
        }
        let keyring = rekeying::keyring(config).map_err(NodeError::Keys)?;
        hub.limit(limits.clone());
        for endpoint in &config.listen {
            let security = keyring.as_ref().map_or(Security::Open, |it| it.security(0));
            hub.listen("main", endpoint, SocketType::Router, security)
                .map_err(NodeError::Listen)?;
            tracing::info!("bound to {endpoint}");
        }
        let (tell, news) = mpsc::channel(NEWS_MAX);
        let start = Instant::now();
        let mut node = Self {
            name: config.name.clone(),
            machine: Machine::new(config),
            hub,
            keyring,
            limits,
            tapping: Tapping::new(&config.name),
            peers: BTreeMap::new(),
            tell,
            news,
            start,
            ends: options.uptime.map(|uptime| start + uptime),
            quota: Quota::default(),
            is_draining: false,
        };
        for (number, (name, endpoint)) in config.peers.iter().enumerate() {
            node.dial(number, name.clone(), endpoint.clone());
        }
        Ok(node)
    }

    fn dial(&mut self, number: usize, name: InstanceName, endpoint: Endpoint) {
        let own_name = self.name.as_str();
        let keys = to_dial(self.keyring.as_ref(), &name);
        let facts = PeerFacts {
            bouncing: bouncer::start(number, own_name, (&endpoint, keys), self.tell.clone()),
            name,
            endpoint,
            state: DialState::NeverDialled,
            since: SystemTime::now(),
            missed: 0,
        };
        self.peers.insert(number, facts);
    }

    async fn run(mut self) -> Result<(), NodeError> {
        let mut terminate = signal(SignalKind::terminate()).map_err(NodeError::Runtime)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(NodeError::Runtime)?;
        let tick = sleep_until(self.start + FAR);
        let end = sleep_until(self.ends.unwrap_or(self.start + FAR));
        tokio::pin!(tick, end);
        let mut is_ticking = false;
        let mut linger = Linger::begin();
        while !(self.is_draining && self.machine.is_idle()) {
            let was_draining = self.is_draining;
            // The rare arms come first: polling them is cheap, and a flood cannot starve them.
            tokio::select! {
                biased;
                // Cancel safe: a signal that is not taken stays.
                _ = terminate.recv() => self.is_draining = true,
                _ = interrupt.recv() => self.is_draining = true,
                () = &mut end => {
                    if was_draining {
                        break;
                    }
                    self.is_draining = true;
                }
                () = &mut tick, if is_ticking => {
                    is_ticking = false;
                    self.step(Event::Tick);
                }
                // Cancel safe: nothing is taken until it is handed out.
                Some(news) = self.news.recv() => {
                    self.hear(news);
                    linger = Linger::begin();
                }
                // Cancel safe: a change that is not handed out stays.
                () = rekeyed(&mut self.keyring) => self.rekey(),
                event = self.hub.next() => {
                    self.receive(event);
                    linger = Linger::begin();
                }
                () = linger.look(), if linger.is_on() => {}
            }
            if self.is_draining && !was_draining {
                self.hub.stop_listening();
                end.as_mut().reset(Instant::now() + DRAIN_WAIT);
            }
            self.arm(tick.as_mut(), &mut is_ticking);
        }
        self.hub.drain(FLUSH_WAIT).await;
        tracing::info!("zmqnet has gracefully shutdown");
        Ok(())
    }

    /// Arms the timer for the oldest broadcast. It may ring early for a newer one, and is armed
    /// again then: cheaper than moving it with every message.
    fn arm(&self, tick: std::pin::Pin<&mut Sleep>, is_ticking: &mut bool) {
        if *is_ticking {
            return;
        }
        if let Some(deadline) = self.machine.deadline() {
            tick.reset(self.start + deadline);
            *is_ticking = true;
        }
    }

    fn receive(&mut self, event: HubEvent) {
        match event {
            HubEvent::Message { port, conn, frames } => {
                let door = match &*port {
                    HEALTH => Door::Health,
                    _ => Door::Public,
                };
                if door == Door::Health {
                    let answer = conns::serve(&mut self.hub, &frames);
                    if let Some(answer) = answer.or_else(|| self.tapping.serve(&frames)) {
                        return self.send(conn.0, answer);
                    }
                } else {
                    self.tapping.came(&self.hub, conn, &frames);
                }
                self.step(Event::Request {
                    caller: conn.0,
                    door,
                    frames,
                });
            }
            HubEvent::Opened { port, conn, .. } => {
                tracing::debug!(conn = conn.0, port = &*port, "connection opened");
            }
            HubEvent::Closed {
                port, conn, reason, ..
            } => {
                tracing::debug!(conn = conn.0, port = &*port, ?reason, "connection closed");
                self.tapping.gone(conn);
            }
            // Nobody subscribes to a ROUTER, and an answer that is too much is not sent again.
            HubEvent::Subscribed { .. } | HubEvent::Writable { .. } => {}
            HubEvent::DialFailed { .. } => unreachable!("nothing here dials by the hub"),
        }
    }

    fn hear(&mut self, news: News) {
        match news {
            News::State { peer, state } => {
                // What a task told before it was ended may come after.
                if let Some(facts) = self.peers.get_mut(&peer)
                    && facts.state != state
                {
                    (facts.state, facts.since) = (state, SystemTime::now());
                    if state == DialState::Connected {
                        tracing::info!("connected to {}", facts.endpoint);
                    }
                }
            }
            News::Answered {
                broadcast,
                peer,
                frames,
            } => self.step(Event::Answered {
                broadcast,
                peer,
                frames,
            }),
            News::Lost {
                broadcast,
                peer,
                reason,
            } => self.step(Event::Lost {
                broadcast,
                peer,
                reason,
            }),
        }
    }

    fn step(&mut self, event: Event) {
        let mut actions = Vec::new();
        let mut next = Some(event);
        let mut more = VecDeque::new();
        // A bounce that cannot even be queued is an event of its own.
        while let Some(event) = next.take().or_else(|| more.pop_front()) {
            self.machine.step(self.start.elapsed(), event, &mut actions);
            for action in actions.drain(..) {
                more.extend(self.act(action));
            }
        }
    }

    fn act(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Answer { caller, frames } => self.send(caller, frames),
            Action::Bounce {
                broadcast,
                peer,
                frame,
                until,
            } => {
                let until = self.start + until;
                let job = Job {
                    broadcast,
                    frame,
                    until,
                };
                if !self.peers[&peer].bouncing.takes(job) {
                    return Some(Event::Lost {
                        broadcast,
                        peer,
                        reason: "too much is waiting for it",
                    });
                }
            }
            Action::Report {
                caller,
                mut envelope,
                id,
            } => {
                envelope.extend(Reply::new(zn1::OK, id, self.told(caller)).encode());
                self.send(caller, envelope);
            }
            Action::Dial {
                peer,
                name,
                endpoint,
            } => {
                tracing::info!("{name} joined at {endpoint}");
                self.dial(peer, name, endpoint);
            }
            Action::Admit(guarded) => self.admit(guarded),
            Action::HangUp { peer } => {
                if let Some(facts) = self.peers.remove(&peer) {
                    tracing::info!("{} left {}", facts.name, facts.endpoint);
                }
            }
            Action::Drain => self.is_draining = true,
            Action::Note(message) => {
                if self.quota.allows(self.start.elapsed()) {
                    tracing::info!(target: RECEIVED, "received: {message}");
                }
            }
            Action::Missed { peer, reason } => {
                let facts = self.peers.get_mut(&peer);
                let facts = facts.expect("a peer is given up after all that is said of it");
                facts.missed += 1;
                if self.quota.allows(self.start.elapsed()) {
                    let endpoint = &facts.endpoint;
                    tracing::warn!(
                        peer = facts.name.as_str(),
                        reason,
                        "connection to {endpoint} is offline, message dropped"
                    );
                }
            }
        }
        None
    }

    fn send(&self, caller: u64, frames: Vec<Bytes>) {
        self.tapping.goes(ConnId(caller), &frames);
        if let Err(error) = self.hub.send(ConnId(caller), frames) {
            tracing::debug!(conn = caller, ?error, "an answer met nobody");
        }
    }

    /// What of the facts this caller may know: all by the health socket.
    fn told(&self, caller: u64) -> Value {
        let asked = self.hub.connection(ConnId(caller));
        let (mut told, connections) = match asked.is_some_and(|facts| facts.port == HEALTH) {
            true => (self.facts(), conns::facts(&self.hub, &self.limits)),
            false => (
                conns::for_strangers(self.facts()),
                conns::counts(&self.hub, &self.limits),
            ),
        };
        told.as_object_mut()
            .expect("facts are an object")
            .extend(connections);
        told
    }

    /// What `status` answers, but for the connections: facts only.
    fn facts(&self) -> Value {
        let peers: Vec<Value> = self
            .machine
            .peers()
            .iter()
            .filter_map(|peer| self.peers.get(&peer.number))
            .map(|peer| {
                json!({
                    "name": peer.name,
                    "endpoint": peer.endpoint,
                    "state": peer.state,
                    "since_ms": millis(peer.since),
                    "missed": peer.missed,
                })
            })
            .collect();
        json!({
            "role": "replica",
            "name": self.name,
            "pid": std::process::id(),
            "facts": self.machine.counters(),
            "peers": peers,
        })
    }
}

fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}
