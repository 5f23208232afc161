//! One port of the door: its listener, what its guests are told, and who of them came when.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use mio::{Registry, Token};
use rustix::io::Errno;

use crate::model::key::PublicKey;
use crate::model::limits::WireLimits;
use crate::model::socket::SocketType;
use crate::wire::hub::bind::Listening;
use crate::wire::hub::event::{CloseReason, ConnId};
use crate::wire::hub::guard::Security;
use crate::wire::hub::hold::Face;
use crate::wire::hub::opening::Side;
use crate::wire::hub::session::{Session, SessionConfig};
use crate::wire::hub::stream::Fresh;

use super::Lobby;
use super::pace::Pace;

/// How long the second part of our greeting waits for the peer's first.
const GREETING_HOLD: Duration = Duration::from_millis(100);
/// Guests that are gone and still named in a queue, beyond as many as are there.
const QUEUE_SPARE: usize = 64;

/// What a port and its ear both know: how many came in, and whom they are shown.
#[derive(Default)]
pub(in crate::wire::hub) struct Room {
    /// Connections of the hub that came by this port.
    inside: AtomicUsize,
    /// Whom guests are shown where a gate stands behind the port.
    shown: Mutex<Option<Shown>>,
}

#[derive(Clone)]
struct Shown {
    face: Face,
    /// There is somebody with that face.
    is_there: bool,
}

impl Room {
    /// A port that shows a face, once somebody has it.
    pub(in crate::wire::hub) fn showing(face: Face) -> Self {
        let is_there = false;
        Self {
            inside: AtomicUsize::new(0),
            shown: Mutex::new(Some(Shown { face, is_there })),
        }
    }

    fn shown(&self) -> MutexGuard<'_, Option<Shown>> {
        // A panic elsewhere leaves a face behind, nothing that could be unsound.
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows newcomers this face, or lets none in. Nothing where the port is not of that kind.
    pub(in crate::wire::hub) fn show(&self, face: Option<&Face>) {
        if let Some(shown) = &mut *self.shown() {
            shown.is_there = face.is_some();
            if let Some(face) = face {
                shown.face = face.clone();
            }
        }
    }

    fn is_open(&self) -> bool {
        self.shown().as_ref().is_none_or(|shown| shown.is_there)
    }

    fn face(&self) -> Option<Face> {
        self.shown().as_ref().map(|shown| shown.face.clone())
    }

    pub(in crate::wire::hub) fn is_shown(&self) -> bool {
        self.shown().is_some()
    }

    pub(in crate::wire::hub) fn enter(&self) {
        self.inside.fetch_add(1, Ordering::Relaxed);
    }

    pub(in crate::wire::hub) fn leave(&self) {
        self.inside.fetch_sub(1, Ordering::Relaxed);
    }

    fn inside(&self) -> usize {
        self.inside.load(Ordering::Relaxed)
    }
}

/// One port.
pub(in crate::wire::hub) struct Ear {
    /// Its index.
    pub(super) port: usize,
    name: Arc<str>,
    listener: Option<Listening>,
    is_registered: bool,
    /// Somebody may wait to be accepted.
    pub(super) is_ready: bool,
    socket_type: SocketType,
    announce: Bytes,
    limits: Arc<WireLimits>,
    security: Security,
    /// What its sessions say first.
    greeting: Vec<u8>,
    pub(super) room: Arc<Room>,
    /// Its guests, oldest first; may name ones that are gone.
    pending: VecDeque<(ConnId, Instant)>,
    /// Those that our whole greeting may have to be shown to, oldest first; so too.
    held: VecDeque<(ConnId, Instant)>,
    count: usize,
    pub(super) pace: Pace,
}

impl Ear {
    pub(in crate::wire::hub) fn new(
        (port, name): (usize, Arc<str>),
        listener: Listening,
        (socket_type, announce): (SocketType, Bytes),
        (limits, security): (Arc<WireLimits>, Security),
        room: Arc<Room>,
    ) -> Self {
        let mut ear = Self {
            port,
            name,
            listener: Some(listener),
            is_registered: false,
            is_ready: false,
            socket_type,
            announce,
            limits,
            security,
            greeting: Vec::new(),
            room,
            pending: VecDeque::new(),
            held: VecDeque::new(),
            count: 0,
            pace: Pace::new(),
        };
        let mut session = ear.session(true);
        session.release();
        let slices = session.outgoing();
        ear.greeting = slices.iter().flat_map(|it| it.iter().copied()).collect();
        drop(slices);
        ear
    }

    /// Listens while there is somebody to show, and else leaves who knocks in the kernel's backlog.
    pub(super) fn look(&mut self, registry: &Registry) {
        let Some(listener) = &mut self.listener else {
            return;
        };
        let is_open = self.room.is_open();
        if is_open == self.is_registered {
            return;
        }
        let done = if is_open {
            listener.register(registry, Token(self.port * 2))
        } else {
            listener.deregister(registry)
        };
        if let Err(error) = done {
            tracing::error!(%error, "cannot wait for connections to `{}`", self.name);
            return;
        }
        self.is_registered = is_open;
        self.is_ready = is_open;
    }

    /// Accepts nobody any more.
    pub(super) fn close(&mut self) {
        self.listener = None;
        self.is_ready = false;
    }

    /// The next who knocks, if anybody does.
    pub(super) fn accept(&self) -> io::Result<Option<(Fresh, Option<SocketAddr>)>> {
        let Some(listener) = &self.listener else {
            return Ok(None);
        };
        loop {
            match listener.accept() {
                Ok(accepted) => return Ok(Some(accepted)),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return Ok(None),
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                    _ => return Err(error),
                },
            }
        }
    }

    /// A guest came.
    pub(super) fn came(&mut self, conn: ConnId) {
        let now = Instant::now();
        self.count += 1;
        self.pending.push_back((conn, now));
        self.held.push_back((conn, now));
    }

    /// A guest went, wherever to.
    pub(super) fn went(&mut self) {
        self.count -= 1;
    }

    /// Forgets who is gone: the oldest at once, all where they are many.
    pub(super) fn forget(&mut self, is_here: impl Fn(ConnId) -> bool) {
        for queue in [&mut self.pending, &mut self.held] {
            while queue.front().is_some_and(|(conn, _)| !is_here(*conn)) {
                queue.pop_front();
            }
            if queue.len() > 2 * self.count + QUEUE_SPARE {
                queue.retain(|(conn, _)| is_here(*conn));
            }
            if queue.is_empty() {
                // What is idle holds no memory.
                *queue = VecDeque::new();
            }
        }
    }

    /// The oldest guest, where it has to make room for one more; it may be gone already.
    pub(super) fn in_the_way(&mut self) -> Option<ConnId> {
        let is_crowded = self.count >= self.limits.pending_max
            || self.count > 0 && self.room.inside() + self.count >= self.limits.connections_max;
        let oldest = is_crowded.then(|| self.pending.pop_front()).flatten();
        oldest.map(|(conn, _)| conn)
    }

    /// Whether there are as many connections as there may be.
    pub(super) fn is_full(&self) -> bool {
        self.room.inside() + self.count >= self.limits.connections_max
    }

    fn patience(&self) -> Duration {
        Duration::from_millis(self.limits.handshake_ms)
    }

    /// When somebody's time is over next, at the latest.
    pub(super) fn due(&self) -> Option<Instant> {
        let held = self.held.front().map(|(_, since)| *since + GREETING_HOLD);
        let pending = self.pending.front();
        let pending = pending.map(|(_, since)| *since + self.patience());
        held.into_iter().chain(pending).min()
    }

    /// The next guest that has waited for our greeting; it may be gone already.
    pub(super) fn next_held(&mut self, now: Instant) -> Option<ConnId> {
        let hold = GREETING_HOLD.min(self.patience());
        pop(&mut self.held, now, hold)
    }

    /// The next guest whose time is over; it may be gone already.
    pub(super) fn next_late(&mut self, now: Instant) -> Option<ConnId> {
        let patience = self.patience();
        pop(&mut self.pending, now, patience)
    }

    /// A session for a guest.
    pub(super) fn session(&self, is_near: bool) -> Session {
        let (socket_type, announce) = match self.room.face() {
            Some(face) => (face.socket_type, face.identity),
            None => (self.socket_type, self.announce.clone()),
        };
        Session::new(SessionConfig {
            socket_type,
            announce,
            limits: self.limits.clone(),
            side: Side::Listening(self.security.clone()),
            is_near,
        })
    }

    /// The whole greeting of its sessions.
    pub(super) fn greeting(&self) -> &[u8] {
        &self.greeting
    }

    /// Counts and remembers who went for breaking a limit.
    pub(super) fn note(
        &self,
        lobby: &Lobby,
        (address, key): (Option<IpAddr>, Option<PublicKey>),
        reason: &CloseReason,
    ) {
        let guard = match &self.security {
            Security::Curve(guard) => Some(guard),
            Security::Open => None,
        };
        lobby
            .refusals()
            .note(&self.name, (address, key), guard, reason);
    }
}

/// The first of a queue, if it has been there for as long.
fn pop(queue: &mut VecDeque<(ConnId, Instant)>, now: Instant, wait: Duration) -> Option<ConnId> {
    let is_due = queue.front().is_some_and(|(_, since)| now - *since >= wait);
    let first = is_due.then(|| queue.pop_front()).flatten();
    first.map(|(conn, _)| conn)
}

/// Whether no descriptor was left.
pub(super) fn is_no_room(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE)
    )
}
