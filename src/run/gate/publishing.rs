//! A program that publishes: one connection to it for all who subscribe outside.
//!
//! Each subscriber is a wire with bounds and counts of its own; the program is asked for what any of
//! them wants, and writes each message once. Subscribers stay while the program is away, so that it
//! has them again, and is asked for all they want, as soon as it is back; others are let in only
//! while it is there.
//!
//! It must never hold two connections to the program.

use crate::wire::hub::{ConnId, Held};

use super::passage::Passage;
use super::{Gate, Pair};

impl Passage {
    /// Asks for a connection to the program.
    pub(super) fn want_publisher(&self) {
        if let Some(wanted) = &self.wanted {
            // It is full only where one was asked for already.
            wanted.try_send(None).ok();
        }
    }
}

impl Gate {
    /// Takes the connection to a program that publishes.
    pub(super) fn take_publisher(&mut self, door: usize, held: Held) {
        let passage = &mut self.passages[door];
        let name = &passage.door.name;
        let fan = passage.fan.as_ref().expect("only such doors ask for one");
        let shown = held.face().clone();
        match self.hub.adopt_publisher(name, held, fan) {
            Ok(conn) => {
                self.hub.show(name, Some(&shown));
                passage.publisher = Some(conn);
                passage.hindrance = None;
            }
            Err(reason) => {
                let kind = shown.socket_type;
                tracing::warn!(%reason, door = name, "the program is no publisher");
                passage.hindrance = Some(format!(
                    "{} is a {kind}, which does not publish",
                    self.config.program
                ));
                passage.want_publisher();
            }
        }
    }

    /// Lets nobody in until the program is there again.
    pub(super) fn publisher_gone(&mut self, conn: ConnId) {
        let mut passages = self.passages.iter_mut();
        let Some(passage) = passages.find(|it| it.publisher == Some(conn)) else {
            return;
        };
        passage.publisher = None;
        let (program, inner) = (&self.config.program, &passage.door.inner);
        passage.hindrance = Some(format!("{program} has left {inner}"));
        self.hub.show(&passage.door.name, None);
        passage.want_publisher();
    }

    /// Somebody outside has come in to subscribe: it is a wire.
    pub(super) fn subscriber(&mut self, port: &str, conn: ConnId) {
        let door = self.passages.iter().position(|it| it.door.name == port);
        let (Some(door), Some(facts), Some([outward, inward])) =
            (door, self.hub.connection(conn), self.hub.ledgers(conn))
        else {
            // Gone meanwhile, before anything passed.
            return;
        };
        let pair = Pair {
            door,
            inner: None,
            outer: conn,
            peer: facts.who.unwrap_or_else(|| facts.peer_address.clone()),
            address: facts.peer_address,
            local: self.hub.local_of(conn),
            outward,
            inward,
        };
        self.places_of(&pair);
        self.pairs.insert(conn, pair);
    }
}
