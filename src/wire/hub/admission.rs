//! Who gets in: newcomers at the door, and claims at the end of a handshake.
//!
//! An identity is held by one connection of a port at a time. Answers go by the hub's own numbers,
//! so a second claimant could take nothing from the first; it is refused all the same, since
//! whoever reads `status`, a log or a ban by identity must be able to take the name for the peer.
//! It is refused when its handshake has lasted as long as it may, and gets the name if its holder
//! ends before: a peer that comes back after its machine was lost is its own successor.

use std::sync::Arc;

use bytes::Bytes;

use super::ban::Who;
use super::peer::fanning::Part;
use super::peer::{self, Wiring};
use super::refusal::Refused;
use super::stream::Stream;
use super::{
    Arrival, Claim, CloseReason, ConnId, Entry, Guard, Hub, HubEvent, Limit, Origin, Peer,
    Security, Session, SessionConfig, Side,
};

/// How many make room where descriptors are short: accepting rests each time it is.
const ROOM: usize = 32;

impl Hub {
    /// Looks at whoever came to a door, or at what came of a dial.
    pub(super) fn meet(&mut self, arrival: Arrival) -> Option<HubEvent> {
        match arrival {
            Arrival::Accepted {
                port,
                stream,
                address,
            } => {
                self.accept(port, stream, address);
                None
            }
            Arrival::NoRoom => {
                self.make_any_room();
                None
            }
            Arrival::Unmet(unmet) => {
                self.unmet(unmet);
                None
            }
            Arrival::Dialled(dial, result) => self.dialled(dial, result),
        }
    }

    fn accept(&mut self, port: usize, stream: Stream, address: String) {
        self.accepted += 1;
        let who = Who {
            address: stream.ip(),
            key: None,
            identity: &[],
        };
        let is_banned = self.bans.meets(&who);
        if !is_banned {
            self.make_room(port);
        }
        let refused = if is_banned {
            Some(Limit::Banned)
        } else if self.ports[port].count >= self.ports[port].limits.connections_max {
            Some(Limit::Connections)
        } else {
            None
        };
        if let Some(limit) = refused {
            return self.refusals.add(&Refused {
                port: &self.ports[port].name,
                address: who.address,
                key: None,
                who: None,
                limit,
                detail: None,
            });
        }
        let own = &self.ports[port];
        let (socket_type, announce) = match &own.shown {
            None => (own.socket_type, self.announce.clone()),
            Some(shown) => (shown.face.socket_type, shown.face.identity.clone()),
        };
        let config = SessionConfig {
            socket_type,
            announce,
            limits: own.limits.clone(),
            side: Side::Listening(own.security.clone()),
            is_near: stream.is_near(),
        };
        let (name, origin) = (own.name.clone(), Origin::Port(port));
        let conn = self.adopt(name, origin, config, (stream, address));
        let own = &mut self.ports[port];
        own.count += 1;
        own.pending.push_back(conn);
        own.pending_count += 1;
    }

    /// Takes up a connected stream.
    pub(super) fn adopt(
        &mut self,
        port: Arc<str>,
        origin: Origin,
        config: SessionConfig,
        (stream, address): (Stream, String),
    ) -> ConnId {
        let part = match origin {
            Origin::Port(port) => self.ports[port].part.clone(),
            Origin::Dial(dial) => self.dials.get(&dial).and_then(|it| it.part.clone()),
            Origin::Met => None,
        };
        let forwards = match origin {
            Origin::Port(port) => self.ports[port].shown.is_some(),
            Origin::Dial(dial) => self.dials.get(&dial).is_some_and(|it| it.forwards),
            Origin::Met => true,
        };
        let guard = match &config.side {
            Side::Listening(Security::Curve(guard)) => Some(guard.clone()),
            Side::Listening(Security::Open) | Side::Dialling(_) => None,
        };
        let session = Session::new(config);
        self.enter(
            port,
            (origin, guard),
            (session, forwards, part),
            (stream, address),
        )
    }

    /// Begins the task of a connection.
    pub(super) fn enter(
        &mut self,
        port: Arc<str>,
        (origin, guard): (Origin, Option<Arc<Guard>>),
        (session, forwards, part): (Session, bool, Option<Part>),
        (stream, address): (Stream, String),
    ) -> ConnId {
        self.last += 1;
        let conn = ConnId(self.last);
        let wiring = Wiring {
            conn,
            address,
            local: stream.local(),
            ip: stream.ip(),
            ends: stream.ends(),
            tell: self.tell.clone(),
            unfinished: self.unfinished.clone(),
            forwards,
            part,
        };
        let is_open = session.is_ready();
        let (peer, reading) = Peer::new(session, &self.limits, wiring, stream);
        let task = self.tasks.spawn(peer::run(peer.clone(), reading));
        let entry = Entry {
            port,
            origin,
            guard,
            identity: Bytes::new(),
            peer,
            task,
            is_open,
        };
        self.connections.insert(conn, entry);
        conn
    }

    /// Closes the oldest connection without a handshake where a port has too many of them, or too
    /// many of all kinds.
    fn make_room(&mut self, port: usize) {
        let own = &mut self.ports[port];
        if own.pending.len() > own.pending_count {
            let connections = &self.connections;
            own.pending
                .retain(|conn| connections.get(conn).is_some_and(|it| !it.is_open));
        }
        while self.ports[port].is_crowded() {
            let Some(oldest) = self.ports[port].pending.pop_front() else {
                break;
            };
            self.end(oldest, CloseReason::Limit(Limit::Pending));
        }
    }

    /// No descriptor is left for whoever knocks: the oldest connections without a handshake, on
    /// whatever port, make room.
    fn make_any_room(&mut self) {
        let is_waiting = |entry: &Entry| !entry.is_open && entry.listener().is_some();
        let waiting = self.connections.iter().filter(|(_, it)| is_waiting(it));
        let mut waiting: Vec<ConnId> = waiting.map(|(conn, _)| *conn).collect();
        waiting.sort_unstable();
        for oldest in waiting.into_iter().take(ROOM) {
            self.end(oldest, CloseReason::Limit(Limit::Pending));
        }
    }

    /// Admits a peer that says who it is, or refuses it with a reason.
    pub(super) fn judge(&mut self, conn: ConnId, claim: &Claim) -> Option<HubEvent> {
        let refused = self.objection(conn, claim);
        let entry = self.connections.get_mut(&conn)?;
        match refused {
            Some(Objection::Held) => {
                entry.peer.wait_for_name();
                self.waiting.push_back((conn, claim.clone()));
                return None;
            }
            Some(Objection::Not(limit)) => {
                // libzmq never comes back after an ERROR, and a ban ends.
                if limit != Limit::Banned {
                    entry.peer.refuse(limit);
                }
                self.end(conn, CloseReason::Limit(limit));
                return None;
            }
            None => {}
        }
        let (port, origin) = (entry.port.clone(), entry.origin);
        entry.is_open = true;
        let admitted = entry.peer.admit();
        if admitted.is_ok() {
            entry.peer.take_part(conn);
        }
        let dial = match origin {
            Origin::Port(listener) => {
                self.ports[listener].pending_count -= 1;
                entry.identity = claim.identity.clone();
                if !claim.identity.is_empty() {
                    let name = (port.clone(), claim.identity.clone());
                    self.identities.insert(name, conn);
                }
                None
            }
            Origin::Dial(dial) => {
                self.dial_opened(dial);
                Some(dial)
            }
            Origin::Met => None,
        };
        if let Err(reason) = admitted {
            // What came before is not handed out: it ended as it opened.
            self.end(conn, reason);
        }
        Some(HubEvent::Opened { port, conn, dial })
    }

    /// A name is free again: who has waited for it longest is judged anew.
    pub(super) fn hand_on(&mut self, port: &Arc<str>, identity: &Bytes) {
        let connections = &self.connections;
        let is_next = |(conn, claim): &(ConnId, Claim)| {
            let entry = connections.get(conn);
            claim.identity == *identity && entry.is_some_and(|entry| entry.port == *port)
        };
        if let Some(next) = self.waiting.iter().position(is_next) {
            self.named.extend(self.waiting.remove(next));
        }
    }

    fn objection(&self, conn: ConnId, claim: &Claim) -> Option<Objection> {
        let entry = self.connections.get(&conn)?;
        // Whom we dialled is who we dialled.
        entry.listener()?;
        let who = Who {
            address: entry.peer.ip(),
            key: claim.key.as_ref(),
            identity: &claim.identity,
        };
        if self.bans.meets(&who) {
            return Some(Objection::Not(Limit::Banned));
        }
        if claim.identity.is_empty() {
            return None;
        }
        let guard = entry.guard.as_ref();
        if guard.is_some_and(|guard| is_of_another(claim, guard)) {
            return Some(Objection::Not(Limit::Identity));
        }
        let name = (entry.port.clone(), claim.identity.clone());
        let is_held = self.identities.contains_key(&name);
        is_held.then_some(Objection::Held)
    }

    /// Counts the end of a connection that we did not dial, where it broke a limit, and remembers whose
    /// it was.
    pub(super) fn note(&mut self, entry: &Entry, reason: &CloseReason) {
        // Whom we dialled is not refused.
        let (Some(limit), None) = (limit_of(reason), entry.dial()) else {
            return;
        };
        let (key, detail) = match reason {
            CloseReason::Key { key, refusal } => (Some(*key), Some(refusal.to_string())),
            CloseReason::Limit(_) | CloseReason::HandshakeTimeout => (entry.peer.key(), None),
            other => (entry.peer.key(), Some(other.to_string())),
        };
        let who = entry.guard.as_ref().zip(key.as_ref());
        self.refusals.add(&Refused {
            port: &entry.port,
            address: entry.peer.ip(),
            key,
            who: who.and_then(|(guard, key)| guard.owner(key)),
            limit,
            detail,
        });
    }
}

/// Why a peer is not admitted now.
enum Objection {
    /// Somebody else has its name, for the moment.
    Held,
    /// It broke this.
    Not(Limit),
}

/// Whether a peer calls itself what another key's owner is called. Ours call themselves
/// `NAME#PROCESS.NUMBER`.
fn is_of_another(claim: &Claim, guard: &Arc<Guard>) -> bool {
    let name = claim.identity.split(|byte| *byte == b'#').next();
    let name = name.unwrap_or_default();
    let is_own = claim
        .who
        .as_deref()
        .is_some_and(|who| who.as_bytes() == name);
    let admission = guard.admission();
    let mut names = admission.allowed.values();
    !is_own && names.any(|other| other.as_bytes() == name)
}

/// Which limit a connection ended by, if it was refused.
fn limit_of(reason: &CloseReason) -> Option<Limit> {
    match reason {
        CloseReason::Peer
        | CloseReason::OtherEnd
        | CloseReason::Io(_)
        | CloseReason::Kicked
        | CloseReason::KeyRefused
        | CloseReason::Vanished => None,
        CloseReason::HandshakeTimeout => Some(Limit::Handshake),
        CloseReason::Mechanism { .. } | CloseReason::WrongServerKey | CloseReason::Key { .. } => {
            Some(Limit::Key)
        }
        CloseReason::NotZmtp | CloseReason::Protocol(_) => Some(Limit::Protocol),
        CloseReason::Limit(limit) => Some(*limit),
    }
}
