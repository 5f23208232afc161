//! The peers of the simulation: what publishers say, what subscribers want and how they read.

use bytes::Bytes;
use serde_json::Value;

use super::{Happening, Message, Room, World};
use crate::model::policy::Overflow;
use crate::protocol::zn1::Request;
use crate::roles::machine::Conn;
use crate::wire::hub::fan::encode;

/// What a peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Publisher,
    /// A bus that is dialled: what it says was published first at one of [`ORIGINS`].
    BusIn,
    /// Publishes with an acknowledgement.
    Asker,
    Subscriber,
    /// A bus that subscribes: it wants what was published first at one of them, or here.
    BusOut,
}

/// The buses where messages were published first; nothing is here.
pub(super) const ORIGINS: [&str; 3] = ["", "north", "south"];

impl Kind {
    /// Where what a connection says was published first.
    pub(super) fn origin(self, conn: Conn) -> &'static str {
        match self {
            Self::BusIn => ORIGINS[1 + usize::from(conn.0.is_multiple_of(2))],
            _ => ORIGINS[0],
        }
    }

    /// What a connection wants, where it is a bus.
    pub(super) fn wants(self, conn: Conn) -> Option<&'static str> {
        let index = if conn.0.is_multiple_of(3) {
            0
        } else {
            1 + usize::from(conn.0 % 3 == 1)
        };
        (self == Self::BusOut).then_some(ORIGINS[index])
    }

    pub(super) fn is_out(self) -> bool {
        matches!(self, Self::Subscriber | Self::BusOut)
    }
}

/// What each publisher says in all.
const SAID_MAX: u64 = 60;
const TOPICS: [&str; 5] = ["a", "ab", "abc", "b", ""];
const WANTED: [&str; 6] = ["", "a", "ab", "b", "hello", "ZN1.ready.1"];

/// A peer.
#[derive(Clone)]
pub(super) struct Peer {
    pub(super) kind: Kind,
    /// Lives it has lost: what it meant to do in an earlier one is not done.
    pub(super) life: u64,
    pub(super) conn: Option<Conn>,
    /// It does nothing before.
    pub(super) stands_until: u64,
    /// How much it has said.
    pub(super) said: u64,
    /// What it asked for that is not answered: it asks again.
    pub(super) asked: Option<(Bytes, Message)>,
}

impl Peer {
    pub(super) fn new(kind: Kind) -> Self {
        Self {
            kind,
            life: 0,
            conn: None,
            stands_until: 0,
            said: 0,
            asked: None,
        }
    }
}

/// Who said a message, and which of theirs it is.
pub(super) fn number_of(message: &Message) -> Option<(Bytes, u64)> {
    let [_, who, number, ..] = &message[..] else {
        return None;
    };
    let number = <[u8; 8]>::try_from(&number[..]).ok()?;
    Some((who.clone(), u64::from_be_bytes(number)))
}

impl World {
    /// The next message of a peer. Some have no frame but their topic.
    fn message(&mut self, peer: usize) -> Message {
        self.peers[peer].said += 1;
        let topic = TOPICS[self.rng.usize(..TOPICS.len())];
        let number = self.peers[peer].said;
        if self.rng.u8(..6) == 0 {
            return vec![Bytes::from(format!("{topic}-{peer}-{number}"))];
        }
        let most = if self.rng.u8(..9) == 0 { 900 } else { 40 };
        vec![
            Bytes::from(topic),
            Bytes::from(format!("peer {peer}")),
            Bytes::copy_from_slice(&number.to_be_bytes()),
            Bytes::from(vec![b'x'; self.rng.usize(..most)]),
        ]
    }

    /// A peer does what it does by itself, and some time later the next thing.
    pub(super) fn acts(&mut self, peer: usize) {
        let life = self.peers[peer].life;
        let until = self.peers[peer].stands_until;
        if self.now < until {
            return self.at(until, Happening::Acts(peer, life));
        }
        let kind = self.peers[peer].kind;
        let is_fresh = self.peers[peer].conn.is_none();
        let goes_on = match kind {
            Kind::Publisher | Kind::BusIn => self.publishes(peer),
            Kind::Asker => self.asks(peer),
            Kind::Subscriber | Kind::BusOut => self.wants(peer, is_fresh),
        };
        if goes_on {
            let pause = self.rng.u64(1_000..40_000);
            self.after(pause, Happening::Acts(peer, life));
        }
    }

    fn conn(&mut self, peer: usize) -> Conn {
        match self.peers[peer].conn {
            Some(conn) => conn,
            None => self.connect(peer),
        }
    }

    /// Sends some messages, in pieces that end anywhere.
    fn publishes(&mut self, peer: usize) -> bool {
        if self.peers[peer].said >= SAID_MAX {
            return false;
        }
        let conn = self.conn(peer);
        // What follows the message that ends a connection within one piece is counted differently.
        let most = match self.rules.overflow {
            Overflow::Disconnect => 1,
            _ => 12,
        };
        let count = self.rng.usize(1..=most);
        let messages: Vec<Message> = (0..count).map(|_| self.message(peer)).collect();
        let (mut wire, mut ends) = (Vec::new(), Vec::new());
        for message in &messages {
            encode(message, &mut wire);
            ends.push(wire.len());
        }
        let (mut at, mut told) = (0, 0);
        while at < wire.len() {
            let end = (at + self.rng.usize(1..=wire.len())).min(wire.len());
            let whole = ends.iter().filter(|it| **it <= end).count();
            let (bytes, messages) = (wire[at..end].to_vec(), messages[told..whole].to_vec());
            self.send(conn, Happening::Piece(conn, bytes, messages));
            (at, told) = (end, whole);
        }
        true
    }

    /// Asks for a message to be published, and again with the same id as long as it is not answered.
    fn asks(&mut self, peer: usize) -> bool {
        let conn = self.conn(peer);
        let is_due = self.peers[peer].said < SAID_MAX;
        if self.peers[peer].asked.is_none() && is_due {
            let message = self.message(peer);
            let id = Bytes::from(format!("{peer} {}", self.peers[peer].said));
            let mut request = Request::new("publish", id.clone(), Value::Null);
            request.body = message;
            self.peers[peer].asked = Some((id, request.encode()));
        }
        let Some((_, frames)) = self.peers[peer].asked.clone() else {
            return false;
        };
        // At times its impatience has it ask twice.
        for _ in 0..1 + usize::from(self.rng.u8(..5) == 0) {
            self.send(conn, Happening::Asked(conn, frames.clone()));
        }
        true
    }

    /// An answer reaches who asked.
    pub(super) fn heard(&mut self, peer: usize, frames: &Message) {
        let answered = &frames[2];
        let asked = &mut self.peers[peer].asked;
        if asked.as_ref().is_some_and(|(id, _)| id == answered) {
            *asked = None;
        }
    }

    /// Subscribes, unsubscribes, reads or does not. When the storm is over it reads and stays.
    fn wants(&mut self, peer: usize, is_fresh: bool) -> bool {
        let conn = self.conn(peer);
        let is_last = !self.is_storm();
        if is_last {
            self.send(conn, Happening::Reads(conn, Room::All));
            for topic in ["a", "b"] {
                self.send(conn, Happening::Subscribed(conn, topic.into(), true));
            }
            return false;
        }
        let room = match self.rng.u8(..6) {
            0 => Room::None,
            1 | 2 => Room::Bytes(self.rng.usize(1..1_500)),
            _ => Room::All,
        };
        self.send(conn, Happening::Reads(conn, room));
        for _ in 0..1 + usize::from(is_fresh) {
            let topic = WANTED[self.rng.usize(..WANTED.len())].into();
            let is_on = is_fresh || self.rng.u8(..4) > 0;
            self.send(conn, Happening::Subscribed(conn, topic, is_on));
        }
        true
    }
}
