//! What a gate needs of a hub beside listening: ports that show somebody else, connections that were
//! met or dialled elsewhere, and pairs.
//!
//! A port that shows a program accepts only while there is one: who dials while it is gone waits in
//! the kernel's backlog, which to a socket library is a peer that is not there yet.

use std::sync::Arc;

use bytes::Bytes;

use crate::model::endpoint::Endpoint;
use crate::model::socket::SocketType;

use super::fan::{self, Fan};
use super::forward::{Flow, Ledger, Passed};
use super::guard::Security;
use super::hold::{Face, GREETING_BYTES, Held};
use super::opening::Side;
use super::peer::fanning::Part;
use super::session::{Session, SessionConfig};
use super::tap::Ring;
use super::{CloseReason, ConnId, ConnectionFacts, Hub, ListenError, Order, Origin, Room};

/// Why two connections cannot be paired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PairError {
    /// One of them is gone.
    Gone,
}

impl Hub {
    /// Binds an endpoint that shows `face` to its connections; it accepts none until
    /// [`Hub::show`], and reads none until it is paired.
    pub fn listen_shown(
        &mut self,
        name: &str,
        endpoint: &Endpoint,
        face: Face,
        security: Security,
    ) -> Result<(), ListenError> {
        let about = (face.socket_type, security);
        self.listen_as((name, endpoint), about, Room::showing(face))
    }

    /// The same for subscribers of what a program publishes: each gets by `fan` what it subscribes
    /// to, and is a wire that can be looked at by `ring`.
    pub fn listen_wires(
        &mut self,
        (name, endpoint): (&str, &Endpoint),
        face: Face,
        (fan, ring): (&Arc<Fan>, &Arc<Ring>),
        security: Security,
    ) -> Result<(), ListenError> {
        self.listen_shown(name, endpoint, face, security)?;
        self.play(Part::Wire(fan.clone(), ring.clone()));
        Ok(())
    }

    /// Shows new connections of the ports of a name as `face`, or accepts none.
    pub fn show(&self, name: &str, face: Option<&Face>) {
        let ports = self.ports.iter().enumerate();
        for (number, port) in ports.filter(|(_, port)| &*port.name == name) {
            port.room.show(face);
            self.order(Order::Look(number));
        }
    }

    /// Takes a connection that was met and finishes its handshake as `face`.
    pub fn adopt_held(
        &mut self,
        name: &str,
        held: Held,
        face: &Face,
    ) -> Result<ConnId, CloseReason> {
        self.adopt(name, held, (face, None))
    }

    /// Takes a connection to a program that publishes: it is asked for what the subscribers of a fan
    /// want, and what it sends goes there.
    pub fn adopt_publisher(
        &mut self,
        name: &str,
        held: Held,
        fan: &Arc<Fan>,
    ) -> Result<ConnId, CloseReason> {
        let face = Face {
            socket_type: SocketType::Xsub,
            identity: Bytes::new(),
        };
        let part = Part::In {
            fan: fan.clone(),
            topics: Arc::default(),
            origin: fan::Origin::default(),
            is_asked: false,
            within: None,
        };
        let conn = self.adopt(name, held, (&face, Some(part)))?;
        if let Some(entry) = self.connections.get(&conn) {
            entry.peer.take_part(conn);
        }
        Ok(conn)
    }

    fn adopt(
        &mut self,
        name: &str,
        held: Held,
        (face, part): (&Face, Option<Part>),
    ) -> Result<ConnId, CloseReason> {
        let mut session = Session::new(SessionConfig {
            socket_type: face.socket_type,
            announce: face.identity.clone(),
            limits: self.limits.clone(),
            side: Side::Dialling(None),
            is_near: held.stream.is_near(),
        });
        // The greeting was sent, and the peer's opening read, when it was met.
        session.wrote(GREETING_BYTES);
        session.receive(held.opening.freeze())?;
        if session.take_claim().is_none() {
            return Err(CloseReason::HandshakeTimeout);
        }
        session.admit()?;
        let (stream, address) = (held.stream, held.address);
        let whole = (session, true, part);
        let numbered = (self.lobby.number(), name.into());
        Ok(self.enter(numbered, Origin::Met, whole, (stream, address)))
    }

    /// What is known of one connection.
    pub fn connection(&self, conn: ConnId) -> Option<ConnectionFacts> {
        let entry = self.connections.get(&conn)?;
        Some(entry.peer.facts(&entry.port))
    }

    /// `ADDRESS:PORT` of our end of a connection; empty on ipc.
    pub fn local_of(&self, conn: ConnId) -> String {
        let entry = self.connections.get(&conn);
        entry.map_or_else(String::new, |entry| entry.peer.local().to_owned())
    }

    /// Ends all wires, each once what is on its way was written. Events follow.
    pub fn end_pairs(&self) {
        for entry in self.connections.values() {
            entry.peer.end_wire();
        }
    }

    /// Makes one wire of two connections: what is read on one is written on the other, and when one
    /// ends, so does the other once it has what was on its way.
    pub fn pair(&mut self, a: (ConnId, Flow), b: (ConnId, Flow)) -> Result<(), PairError> {
        let peer = |conn: ConnId| {
            let entry = self.connections.get(&conn).ok_or(PairError::Gone)?;
            Ok(entry.peer.clone())
        };
        let ((a, toward_a), (b, toward_b)) = (a, b);
        let (a, b) = (peer(a)?, peer(b)?);
        a.pair(&b, toward_a);
        b.pair(&a, toward_b);
        Ok(())
    }

    /// What the peer of an open connection showed of itself.
    pub fn face_of(&self, conn: ConnId) -> Option<Face> {
        self.connections.get(&conn)?.peer.face()
    }

    /// The books of a subscriber by [`Hub::listen_wires`]: what passed outwards, once it is gone, and
    /// what passed inwards.
    pub fn ledgers(&self, conn: ConnId) -> Option<[Arc<Ledger>; 2]> {
        self.connections.get(&conn)?.peer.ledgers()
    }

    /// What passed towards a connection that is paired, or that is a subscriber.
    pub fn passed(&self, conn: ConnId) -> Option<Passed> {
        self.connections.get(&conn)?.peer.passed()
    }
}
