//! Who gets in: newcomers at the door, and claims at the end of a handshake.
//!
//! An identity is held by one connection of a port at a time. Answers go by the hub's own numbers,
//! so a second claimant could take nothing from the first; it is refused all the same, since
//! whoever reads `status`, a log or a ban by identity must be able to take the name for the peer.
//! It is refused after two seconds where the holder's machine answers, else when its handshake has
//! lasted as long as it may, and gets the name if its holder ends before: a peer that comes back
//! after its machine was lost is its own successor.

use std::sync::Arc;

use bytes::Bytes;

use super::ban::Who;
use super::peer::fanning::Part;
use super::peer::{self, Wiring};
use super::stream::Stream;
use super::{
    Arrival, Claim, Claimant, CloseReason, ConnId, Entry, Guard, Hub, HubEvent, Limit, Origin,
    Peer, Security, Session,
};

impl Hub {
    /// Looks at whoever came through the door, or at what came of a dial.
    pub(super) fn meet(&mut self, arrival: Arrival) -> Option<HubEvent> {
        match arrival {
            Arrival::Claims(claimant) => self.welcome(*claimant),
            Arrival::Unmet(unmet) => {
                self.unmet(&unmet);
                None
            }
            Arrival::Dialled(dial, result) => self.dialled(dial, result),
        }
    }

    /// Takes up who says who it is, and judges it.
    fn welcome(&mut self, claimant: Claimant) -> Option<HubEvent> {
        let port = &self.ports[claimant.port];
        let Ok(stream) = claimant.stream.into_stream() else {
            // Out of kernel memory: as good as a peer that is gone.
            port.room.leave();
            return None;
        };
        let address = claimant.address.map(|it| it.to_string());
        let conn = self.enter(
            (claimant.conn, port.name.clone()),
            Origin::Port(claimant.port),
            (claimant.session, port.room.is_shown(), port.part.clone()),
            (stream, address.unwrap_or_default()),
        );
        self.hear(conn)
    }

    /// Begins the task of a connection.
    pub(super) fn enter(
        &mut self,
        (conn, port): (ConnId, Arc<str>),
        origin: Origin,
        (session, forwards, part): (Session, bool, Option<Part>),
        (stream, address): (Stream, String),
    ) -> ConnId {
        let guard = match origin {
            Origin::Port(port) => match &self.ports[port].security {
                Security::Curve(guard) => Some(guard.clone()),
                Security::Open => None,
            },
            Origin::Dial(_) | Origin::Met => None,
        };
        let ends = stream.ends();
        let wiring = Wiring {
            conn,
            address,
            local: ends.map(|(own, _)| own.to_string()).unwrap_or_default(),
            ip: ends.map(|(_, peer)| peer.ip().to_canonical()),
            ends,
            told: self.told.clone(),
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

    /// Has a peer wait until the name it claims is free. Of too many the oldest makes room.
    fn wait_for_name(&mut self, conn: ConnId, claim: &Claim) {
        let entry = self.connections.get(&conn);
        let Some((entry, port)) = entry.and_then(|it| Some((it, it.listener()?))) else {
            return;
        };
        let name = (entry.port.clone(), claim.identity.clone());
        if let Some(holder) = self
            .identities
            .get(&name)
            .and_then(|it| self.connections.get(it))
        {
            entry.peer.wait_for_name(&holder.peer);
        }
        let connections = &self.connections;
        let is_of_port = |(conn, _): &&(ConnId, Claim)| {
            connections.get(conn).and_then(Entry::listener) == Some(port)
        };
        let mut waiting = self.waiting.iter().filter(is_of_port);
        let oldest = waiting.next().map(|(conn, _)| *conn);
        let others = waiting.count() + usize::from(oldest.is_some());
        self.waiting.push_back((conn, claim.clone()));
        if others >= self.ports[port].limits.pending_max
            && let Some(oldest) = oldest
        {
            self.end(oldest, CloseReason::Limit(Limit::Pending));
        }
    }

    /// Judges anew who has waited for a name that is free; where it does not get it after all, the
    /// next one may.
    pub(super) fn judge_named(
        &mut self,
        (port, conn, claim): (Arc<str>, ConnId, Claim),
    ) -> Option<HubEvent> {
        let event = self.judge(conn, &claim);
        if !self
            .identities
            .contains_key(&(port.clone(), claim.identity.clone()))
        {
            self.hand_on(&port, &claim.identity);
        }
        event
    }

    /// Admits a peer that says who it is, or refuses it with a reason. Who waited and was given up
    /// meanwhile is neither: its end is on its way.
    pub(super) fn judge(&mut self, conn: ConnId, claim: &Claim) -> Option<HubEvent> {
        if !self.connections.get(&conn)?.peer.is_claiming() {
            return None;
        }
        let refused = self.objection(conn, claim);
        let entry = self.connections.get_mut(&conn)?;
        match refused {
            Some(Objection::Held) => {
                self.wait_for_name(conn, claim);
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
            Origin::Port(_) => {
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
            let next = self.waiting.remove(next);
            self.named
                .extend(next.map(|(conn, claim)| (port.clone(), conn, claim)));
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
        if self.lobby.bans().meets(&who) {
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
    pub(super) fn note(&self, entry: &Entry, reason: &CloseReason) {
        // Whom we dialled is not refused.
        if entry.dial().is_none() {
            let who = (entry.peer.ip(), entry.peer.key());
            let mut refusals = self.lobby.refusals();
            refusals.note(&entry.port, who, entry.guard.as_ref(), reason);
        }
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
