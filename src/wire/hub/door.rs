//! The door: one thread that accepts and hears who knocks until it has said who it is, so that
//! whoever is served waits neither for strangers nor for the arithmetic of their handshakes.
//!
//! A stranger costs a descriptor and a few words until its first byte; only then a session is made.
//! Who hung up is let go of after everybody else was heard. Whoever claims to be somebody is handed
//! to the owner of the hub, which judges it; nobody else ever gets there.
//!
//! A flood is accepted at a pace, by a thread that comes after all others.
//!
//! It must never wait for a peer, never keep more of one than its handshake, and never hold more
//! peers than may be pending.

mod ear;
mod guest;
mod pace;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token, Waker};
use rustix::process::setpriority_process;
use rustix::thread::gettid;
use tokio::sync::mpsc;

use super::Arrival;
use super::ban::Bans;
use super::bind::{self, ACCEPT_REST};
use super::event::{CloseReason, ConnId};
use super::refusal::{Limit, Refusals};
use super::session::Session;
use super::stream::Fresh;
pub(super) use ear::{Ear, Room};
use guest::{Guest, Heard};
pub(super) use pace::BACKLOG;
use pace::TICK;

/// Events heard in one turn.
const EVENTS_MAX: usize = 256;
/// Connections accepted in one turn, and hang-ups handled in one while others wait.
const ACCEPTS_MAX: usize = 64;
const HANGUPS_MAX: usize = 32;
/// How many make room where descriptors are short: accepting rests each time it is.
const MADE_ROOM: usize = 32;
/// Deadlines of strangers are looked at no more often than this.
const LOOK_EVERY: Duration = TICK;
/// The priority of the thread, as nice values go.
const NICE: i32 = 10;
/// A handshake needs no more of a stack.
const STACK_BYTES: usize = 512 * 1024;
/// The token of whoever gives orders; ports have even ones, guests odd ones.
const ORDERS: Token = Token(usize::MAX - 1);

/// What the hub and its door both know.
#[derive(Default)]
pub(super) struct Lobby {
    known: Mutex<Known>,
    bans: Mutex<Bans>,
    refusals: Mutex<Refusals>,
}

#[derive(Default)]
struct Known {
    last: u64,
    accepted: u64,
    pending: usize,
}

impl Lobby {
    fn known(&self) -> MutexGuard<'_, Known> {
        // A panic elsewhere leaves numbers behind, nothing that could be unsound; so below.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn bans(&self) -> MutexGuard<'_, Bans> {
        self.bans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn refusals(&self) -> MutexGuard<'_, Refusals> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number for a connection, never used again.
    pub(super) fn number(&self) -> ConnId {
        let mut known = self.known();
        known.last += 1;
        ConnId(known.last)
    }

    /// Connections that the kernel accepted.
    pub(super) fn accepted(&self) -> u64 {
        self.known().accepted
    }

    /// Connections that have not said who they are.
    pub(super) fn pending(&self) -> usize {
        self.known().pending
    }
}

/// A peer that says who it is, and waits to be admitted.
pub(super) struct Claimant {
    pub(super) conn: ConnId,
    /// The index of the port it came to.
    pub(super) port: usize,
    pub(super) stream: Fresh,
    /// None on ipc.
    pub(super) address: Option<SocketAddr>,
    pub(super) session: Session,
}

/// What the hub wants of its door.
pub(super) enum Order {
    /// Hear at one more port.
    Open(Box<Ear>),
    /// Look again whether this port is open and whom it shows.
    Look(usize),
    /// Accept nobody any more.
    Close,
}

/// The thread, as the hub holds it. It ends with this; whoever it hands to must be gone before.
pub(super) struct Door {
    orders: Option<Sender<Order>>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
}

impl Door {
    /// Starts a thread that hands claimants to the hub.
    pub(super) fn open(lobby: Arc<Lobby>, arrive: mpsc::Sender<Arrival>) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), ORDERS)?);
        let (orders, taken) = channel();
        let keeping = Keeping {
            poll,
            lobby,
            arrive,
            orders: taken,
            ears: HashMap::new(),
            guests: HashMap::new(),
            hung_up: VecDeque::new(),
            rests_until: None,
            said: None,
            buffer: vec![0; guest::READ_BYTES_MAX].into_boxed_slice(),
        };
        let thread = std::thread::Builder::new()
            .name("door".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || keeping.run())?;
        Ok(Self {
            orders: Some(orders),
            waker,
            thread: Some(thread),
        })
    }

    /// Gives an order. The thread lives as long as this does.
    pub(super) fn order(&self, order: Order) {
        if let Some(orders) = &self.orders {
            drop(orders.send(order));
        }
        // It fails only where the kernel has no memory for eight bytes; the next one wakes it then.
        drop(self.waker.wake());
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        drop(self.orders.take());
        drop(self.waker.wake());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

struct Keeping {
    poll: Poll,
    lobby: Arc<Lobby>,
    arrive: mpsc::Sender<Arrival>,
    orders: Receiver<Order>,
    ears: HashMap<usize, Ear>,
    guests: HashMap<ConnId, Guest>,
    /// Who hung up and was not let go of yet.
    hung_up: VecDeque<ConnId>,
    /// No descriptor was left, or there were too many at once: nobody is accepted before this time.
    rests_until: Option<Instant>,
    said: Option<Instant>,
    buffer: Box<[u8]>,
}

/// The hub is gone.
struct Over;

impl Keeping {
    fn run(mut self) {
        // Below whoever is served: where both want a processor, strangers wait. Without it they share.
        setpriority_process(Some(gettid()), NICE).ok();
        let mut events = Events::with_capacity(EVENTS_MAX);
        while self.turn(&mut events).is_ok() {}
    }

    /// One turn: who talks is heard first, then the next are accepted, then who hung up is let go of.
    fn turn(&mut self, events: &mut Events) -> Result<(), Over> {
        if let Err(error) = self.poll.poll(events, self.wait())
            && error.kind() != io::ErrorKind::Interrupted
        {
            tracing::error!(%error, "cannot wait for connections");
            std::thread::sleep(ACCEPT_REST);
        }
        self.obey()?;
        for event in events.iter() {
            match event.token() {
                ORDERS => {}
                Token(number) if number % 2 == 0 => {
                    if let Some(ear) = self.ears.get_mut(&(number / 2)) {
                        ear.is_ready = true;
                    }
                }
                Token(number) => {
                    let conn = ConnId((number / 2) as u64);
                    if event.is_read_closed() {
                        self.hung_up.push_back(conn);
                    } else {
                        self.hear(conn, false)?;
                    }
                }
            }
        }
        self.accept();
        let turn = self.hung_up.len().min(HANGUPS_MAX);
        for _ in 0..turn {
            if let Some(conn) = self.hung_up.pop_front() {
                self.hear(conn, true)?;
            }
        }
        self.look_at_the_clock();
        Ok(())
    }

    fn obey(&mut self) -> Result<(), Over> {
        loop {
            match self.orders.try_recv() {
                Ok(Order::Open(mut ear)) => {
                    ear.look(self.poll.registry());
                    self.ears.insert(ear.port, *ear);
                }
                Ok(Order::Look(port)) => {
                    if let Some(ear) = self.ears.get_mut(&port) {
                        ear.look(self.poll.registry());
                    }
                }
                Ok(Order::Close) => self.ears.values_mut().for_each(Ear::close),
                Err(TryRecvError::Empty) => return Ok(()),
                Err(TryRecvError::Disconnected) => return Err(Over),
            }
        }
    }

    /// How long there is nothing to do, if that is known.
    fn wait(&self) -> Option<Duration> {
        let is_resting = self.rests_until.is_some();
        if !self.hung_up.is_empty() || !is_resting && self.ears.values().any(|ear| ear.is_ready) {
            return Some(Duration::ZERO);
        }
        let due = self.ears.values().filter_map(Ear::due);
        let next = due.chain(self.rests_until).min()?;
        Some(
            next.saturating_duration_since(Instant::now())
                .max(LOOK_EVERY),
        )
    }

    fn accept(&mut self) {
        if self.rests_until.is_some_and(|until| Instant::now() < until) {
            return;
        }
        self.rests_until = None;
        let ready = self.ears.values().filter(|ear| ear.is_ready);
        let ports: Vec<usize> = ready.map(|ear| ear.port).collect();
        let now = Instant::now();
        for port in ports {
            for _ in 0..ACCEPTS_MAX {
                let ear = self.ears.get_mut(&port).expect("ports stay");
                if !ear.pace.takes_one(now) {
                    // The other ports have had their turn by the time that this one goes on.
                    self.rests_until = Some(now + TICK);
                    break;
                }
                match ear.accept() {
                    Ok(Some((stream, address))) => self.admit(port, stream, address),
                    Ok(None) => {
                        ear.is_ready = false;
                        break;
                    }
                    Err(error) => return self.rest(&error),
                }
            }
        }
    }

    /// Accepting failed: it is tried again after a while, with more descriptors if those were short.
    fn rest(&mut self, error: &io::Error) {
        let now = Instant::now();
        bind::say(&mut self.said, error);
        self.rests_until = Some(now + ACCEPT_REST);
        if ear::is_no_room(error) {
            let mut oldest: Vec<ConnId> = self.guests.keys().copied().collect();
            oldest.sort_unstable();
            for conn in oldest.into_iter().take(MADE_ROOM) {
                self.end(conn, &CloseReason::Limit(Limit::Pending));
            }
        }
    }

    /// Lets a stranger wait, unless it is banned or there are too many.
    fn admit(&mut self, port: usize, stream: Fresh, address: Option<SocketAddr>) {
        self.lobby.known().accepted += 1;
        let ip = address.map(|address| address.ip().to_canonical());
        if self.lobby.bans().meets_address(ip) {
            return self.turn_away(port, ip, Limit::Banned);
        }
        while let Some(oldest) = self.ears.get_mut(&port).and_then(Ear::in_the_way) {
            self.end(oldest, &CloseReason::Limit(Limit::Pending));
        }
        let ear = self.ears.get_mut(&port).expect("ports stay");
        if ear.is_full() {
            return self.turn_away(port, ip, Limit::Connections);
        }
        let conn = self.lobby.number();
        let mut guest = Guest::new(port, stream, address);
        let token = Token(usize::try_from(conn.0).unwrap_or_default() * 2 + 1);
        if guest.stream.register(self.poll.registry(), token).is_err() {
            // Out of kernel memory: as good as a connection that was never made.
            return;
        }
        ear.came(conn);
        self.lobby.known().pending += 1;
        self.guests.insert(conn, guest);
    }

    fn turn_away(&self, port: usize, ip: Option<std::net::IpAddr>, limit: Limit) {
        if let Some(ear) = self.ears.get(&port) {
            ear.note(&self.lobby, (ip, None), &CloseReason::Limit(limit));
        }
    }

    /// Takes what a guest says.
    fn hear(&mut self, conn: ConnId, has_hung_up: bool) -> Result<(), Over> {
        let Some(guest) = self.guests.get_mut(&conn) else {
            return Ok(());
        };
        let ear = &self.ears[&guest.port];
        match guest.hear(ear, &mut self.buffer) {
            Ok(Heard::Waits) => Ok(()),
            Ok(Heard::Claims) if has_hung_up && guest.is_of_no_use() => {
                self.end(conn, &CloseReason::Peer);
                Ok(())
            }
            Ok(Heard::Claims) => self.hand_over(conn),
            Err(reason) => {
                self.end(conn, &reason);
                Ok(())
            }
        }
    }

    /// Hands a claimant to the hub. Waits where that has enough to do.
    fn hand_over(&mut self, conn: ConnId) -> Result<(), Over> {
        let mut guest = self.guests.remove(&conn).expect("it was heard just now");
        self.lobby.known().pending -= 1;
        let ear = self.ears.get_mut(&guest.port).expect("ports stay");
        ear.went();
        ear.room.enter();
        guest.stream.deregister(self.poll.registry());
        let session = guest.session.take().expect("who claims has a session");
        let claimant = Claimant {
            conn,
            port: guest.port,
            stream: guest.stream,
            address: guest.address,
            session,
        };
        let arrival = Arrival::Claims(Box::new(claimant));
        self.arrive.blocking_send(arrival).map_err(|_| Over)
    }

    /// Lets go of a guest, which closes its socket.
    fn end(&mut self, conn: ConnId, reason: &CloseReason) {
        let Some(guest) = self.guests.remove(&conn) else {
            return;
        };
        self.lobby.known().pending -= 1;
        let ear = self.ears.get_mut(&guest.port).expect("ports stay");
        ear.went();
        ear.note(&self.lobby, (guest.ip(), guest.key()), reason);
    }

    /// Shows our greeting to who waits for it, and ends who took too long.
    fn look_at_the_clock(&mut self) {
        let now = Instant::now();
        let mut over = Vec::new();
        for ear in self.ears.values_mut() {
            while let Some(conn) = ear.next_held(now) {
                if let Some(guest) = self.guests.get_mut(&conn)
                    && let Err(reason) = guest.release(ear)
                {
                    over.push((conn, reason));
                }
            }
            while let Some(conn) = ear.next_late(now) {
                over.push((conn, CloseReason::HandshakeTimeout));
            }
        }
        for (conn, reason) in over {
            if let Some(guest) = self.guests.get(&conn) {
                let reason = guest.ended(reason);
                self.end(conn, &reason);
            }
        }
        for ear in self.ears.values_mut() {
            ear.forget(|conn| self.guests.contains_key(&conn));
        }
    }
}
