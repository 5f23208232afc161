//! The dialling side of the hub: connections that it keeps, and those that it makes once.
//!
//! A dial is an attempt, then a connection, then, where it is kept, a rest and the next attempt:
//! always exactly one of the three. Nothing here waits for a peer, so whoever starts is never
//! blocked by one that is not there.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use crate::model::endpoint::Endpoint;
use crate::model::limits::WireLimits;
use crate::model::limits::hub::LINKED_PARTS_MAX;
use crate::model::socket::SocketType;
use crate::wire::curve::CurveClient;
use crate::wire::dial::DialError;

use super::event::{CloseReason, ConnId, HubEvent};
use super::fan::Fan;
use super::hold::Face;
use super::opening::Side;
use super::peer::fanning::Part;
use super::session::{Session, SessionConfig};
use super::stream::{self, Stream};
use super::{Arrival, Hub, Origin};

/// The first rest after an attempt that failed or a connection that was lost.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
/// The longest rest.
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// How long the operating system may take to connect; long enough for one lost packet.
const CONNECT_WAIT: Duration = Duration::from_secs(3);

/// A dial, by a number that is never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct DialId(pub u64);

/// What a dial shows of us.
#[derive(Debug, Clone, Default)]
pub struct Dialling {
    /// What we call ourselves; at most 255 bytes.
    pub identity: Bytes,
    /// CURVE, where there are keys.
    pub security: Option<CurveClient>,
}

/// What becomes of the connections of a dial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// They are made again.
    Kept,
    /// There is one at most.
    Once,
    /// They are ends of wires.
    Forwarding,
}

/// One dial of the hub.
pub(super) struct Dial {
    name: Arc<str>,
    endpoint: Endpoint,
    socket_type: SocketType,
    identity: Bytes,
    security: Option<Arc<CurveClient>>,
    /// Other keys that may be the ones the other end knows: each attempt takes the next.
    spare: VecDeque<Arc<CurveClient>>,
    is_kept: bool,
    /// Its connections are ends of wires.
    forwards: bool,
    /// What its connections are in a fan-out.
    part: Option<Part>,
    backoff: Duration,
    attempt: AbortHandle,
    conn: Option<ConnId>,
}

impl Hub {
    /// Keeps a connection to an endpoint: dials until it is hung up, with rests of 50 ms to 1 s.
    /// Events of its connections carry `name`; [`HubEvent::DialFailed`] tells of each attempt that
    /// failed. Never waits. Must be called inside a tokio runtime.
    pub fn dial(
        &mut self,
        name: &str,
        endpoint: &Endpoint,
        socket_type: SocketType,
        dialling: Dialling,
    ) -> DialId {
        self.begin(name.into(), endpoint, socket_type, (dialling, Kind::Kept))
    }

    /// Makes one connection: one [`HubEvent::Opened`] and one [`HubEvent::Closed`], or one
    /// [`HubEvent::DialFailed`]. Never waits. Must be called inside a tokio runtime.
    pub fn dial_once(
        &mut self,
        name: &str,
        endpoint: &Endpoint,
        socket_type: SocketType,
        dialling: Dialling,
    ) -> DialId {
        self.begin(name.into(), endpoint, socket_type, (dialling, Kind::Once))
    }

    /// Keeps dialling until there is a connection, which is one end of a wire: what it reads goes to
    /// the other end once it is paired. Whoever hears of its end hangs up. With keys it speaks CURVE,
    /// with any of them.
    pub fn dial_forwarding(
        &mut self,
        name: &str,
        endpoint: &Endpoint,
        face: &Face,
        keys: Vec<CurveClient>,
    ) -> DialId {
        let mut keys = keys.into_iter();
        let dialling = Dialling {
            identity: face.identity.clone(),
            security: keys.next(),
        };
        let how = (dialling, Kind::Forwarding);
        let id = self.begin(name.into(), endpoint, face.socket_type, how);
        let dial = self.dials.get_mut(&id).expect("begun in the line above");
        dial.spare = keys.map(Arc::new).collect();
        id
    }

    /// Gives a dial under CURVE other keys, from its next attempt on; none changes nothing.
    pub fn rekey(&mut self, id: DialId, keys: Vec<CurveClient>) {
        let mut keys = keys.into_iter().map(Arc::new);
        if let (Some(dial), Some(first)) = (self.dials.get_mut(&id), keys.next()) {
            dial.security = Some(first);
            dial.spare = keys.collect();
        }
    }

    fn begin(
        &mut self,
        name: Arc<str>,
        endpoint: &Endpoint,
        socket_type: SocketType,
        (dialling, kind): (Dialling, Kind),
    ) -> DialId {
        self.last_dial += 1;
        let id = DialId(self.last_dial);
        let attempt = self.attempt(id, endpoint, Duration::ZERO);
        let dial = Dial {
            name,
            endpoint: endpoint.clone(),
            socket_type,
            identity: dialling.identity,
            security: dialling.security.map(Arc::new),
            spare: VecDeque::new(),
            is_kept: kind != Kind::Once,
            forwards: kind == Kind::Forwarding,
            part: None,
            backoff: BACKOFF_MIN,
            attempt,
            conn: None,
        };
        self.dials.insert(id, dial);
        id
    }

    /// Keeps a connection to another bus, whose messages of these topics are fanned out here; without any,
    /// of those that are subscribed to. They were published first at the bus `of`. One that is over our
    /// limits is passed over and counted: asked for again it would come again.
    pub fn dial_fan(
        &mut self,
        name: &str,
        endpoint: &Endpoint,
        (fan, topics, of): (&Arc<Fan>, Vec<Bytes>, &str),
        dialling: Dialling,
    ) -> DialId {
        let id = self.dial(name, endpoint, SocketType::Sub, dialling);
        let dial = self.dials.get_mut(&id).expect("begun in the line above");
        dial.part = Some(Part::In {
            fan: fan.clone(),
            is_asked: topics.is_empty(),
            topics: topics.into(),
            origin: fan.origin(of),
            within: Some(self.dial_limits.clone()),
        });
        id
    }

    fn attempt(&mut self, id: DialId, endpoint: &Endpoint, rest: Duration) -> AbortHandle {
        let connecting = connect(id, endpoint.clone(), rest, self.arrive.clone());
        self.tasks.spawn(connecting)
    }

    /// Ends a dial and its connection, without waiting for what is queued. No event follows.
    pub fn hang_up(&mut self, id: DialId) {
        if let Some(dial) = self.dials.remove(&id) {
            dial.attempt.abort();
            if let Some(conn) = dial.conn {
                self.close(conn);
            }
        }
    }

    /// The connection of a dial, once its handshake is done.
    pub fn connection_of(&self, id: DialId) -> Option<ConnId> {
        let conn = self.dials.get(&id)?.conn?;
        self.connections.get(&conn)?.is_open.then_some(conn)
    }

    /// What an attempt came to.
    pub(super) fn dialled(
        &mut self,
        id: DialId,
        result: Result<(Stream, String), DialError>,
    ) -> Option<HubEvent> {
        let own = self.dial_limits.clone();
        let dial = self.dials.get_mut(&id)?;
        match result {
            Ok((stream, address)) => {
                let limits = match &dial.part {
                    Some(Part::In { .. }) if dial.security.is_some() => linked(&own),
                    Some(_) | None => own,
                };
                let session = Session::new(SessionConfig {
                    socket_type: dial.socket_type,
                    announce: dial.identity.clone(),
                    limits,
                    side: Side::Dialling(dial.security.clone()),
                    is_near: stream.is_near(),
                });
                let conn = self.lobby.number();
                dial.conn = Some(conn);
                let name = dial.name.clone();
                let whole = (session, dial.forwards, dial.part.clone());
                let origin = Origin::Dial(id);
                self.enter((conn, name), origin, whole, (stream, address));
                None
            }
            Err(reason) => self.failed(id, reason),
        }
    }

    /// The handshake of a dial is done: the next rest is a short one again.
    pub(super) fn dial_opened(&mut self, id: DialId) {
        if let Some(dial) = self.dials.get_mut(&id) {
            dial.backoff = BACKOFF_MIN;
        }
    }

    fn failed(&mut self, id: DialId, reason: DialError) -> Option<HubEvent> {
        let dial = self.dials.get(&id)?;
        let port = dial.name.clone();
        self.again(id);
        Some(HubEvent::DialFailed {
            port,
            dial: id,
            reason,
        })
    }

    /// A dial lost its connection, or its handshake failed.
    pub(super) fn dial_ended(
        &mut self,
        id: DialId,
        was_open: bool,
        reason: &CloseReason,
    ) -> Option<HubEvent> {
        let dial = self.dials.get_mut(&id)?;
        dial.conn = None;
        if matches!(reason, CloseReason::Limit(_)) {
            // What it sent is likely to come again.
            dial.backoff = BACKOFF_MAX;
        }
        if was_open {
            self.again(id);
            None
        } else {
            self.failed(id, DialError::from(reason))
        }
    }

    /// Rests and tries again, where the dial is kept.
    fn again(&mut self, id: DialId) {
        let Some(mut dial) = self.dials.remove(&id) else {
            return;
        };
        if dial.is_kept {
            // Many that lost the same peer do not come back in the same moment.
            let rest = dial.backoff.mul_f64(0.75 + fastrand::f64() / 2.0);
            dial.backoff = (dial.backoff * 2).min(BACKOFF_MAX);
            if let Some(next) = dial.spare.pop_front() {
                dial.spare.extend(dial.security.replace(next));
            }
            dial.attempt = self.attempt(id, &dial.endpoint, rest.min(BACKOFF_MAX));
            self.dials.insert(id, dial);
        }
    }
}

/// The limits of a connection to another bus under CURVE: how large a message is, and of how many parts,
/// is known when its box is open, and what is over our own limits is passed over then.
fn linked(own: &WireLimits) -> Arc<WireLimits> {
    let most = WireLimits::default().with_room();
    Arc::new(WireLimits {
        message_bytes_max: own.message_bytes_max.max(most.message_bytes_max),
        parts_max: own.parts_max.max(LINKED_PARTS_MAX),
        ..own.clone()
    })
}

/// Rests, connects once, and tells.
async fn connect(id: DialId, endpoint: Endpoint, rest: Duration, tell: mpsc::Sender<Arrival>) {
    if !rest.is_zero() {
        sleep(rest).await;
    }
    let connected = match timeout(CONNECT_WAIT, stream::connect(&endpoint)).await {
        Ok(connected) => connected.map_err(|error| DialError::from(&error)),
        Err(_) => Err(DialError::Unreachable(io::ErrorKind::TimedOut)),
    };
    // The hub may be gone; then nobody asks.
    drop(tell.send(Arrival::Dialled(id, connected)).await);
}
