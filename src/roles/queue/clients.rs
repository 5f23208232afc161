//! Who asks by the front port: programs in no dialect and Majordomo clients; ZN1 and Majordomo workers
//! are handed on. Back-pressure: where there is no room, a client's socket waits.
//!
//! What cannot be understood is counted and harms nobody. Majordomo and plain requests have no word
//! for a refusal, so none is sent: their clients have timeouts of their own.

use std::time::Duration;

use bytes::Bytes;

use crate::model::limits::request::ENVELOPE_BYTES_MAX;
use crate::protocol::envelope;
use crate::protocol::mdp;
use crate::protocol::zn1;
use crate::roles::machine::{Action, Caller, Conn};

use super::Machine;
use super::flow::Offer;
use super::tasks::Waiter;
use super::titanic;

/// A task that waits for room.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) conn: Conn,
    pub(super) offer: Offer,
    pub(super) bytes: usize,
}

/// The envelope of what comes by the front port, and the rest.
fn split(frames: Vec<Bytes>) -> (Vec<Bytes>, Vec<Bytes>) {
    // A DEALER may leave the empty frame out.
    let starts_at_once = frames
        .first()
        .is_some_and(|first| first == mdp::CLIENT || first == mdp::WORKER);
    match starts_at_once {
        true => (Vec::new(), frames),
        false => envelope::split(frames),
    }
}

impl Machine {
    /// A message by the front port.
    pub(super) fn asked(
        &mut self,
        conn: Conn,
        plain_service: usize,
        frames: Vec<Bytes>,
        actions: &mut Vec<Action>,
    ) {
        let (envelope, body) = split(frames);
        if envelope::bytes_of(&envelope) > ENVELOPE_BYTES_MAX {
            // It would have to be kept, and be sent back with any words.
            self.counters.refused += 1;
            return;
        }
        let caller = Caller { conn, envelope };
        match body.first().map(|first| &**first) {
            Some(zn1::MAGIC) => self.verb(caller, body, actions),
            Some(mdp::WORKER) => self.majordomo_worker(conn, body, actions),
            // Its answer could not come back: the port takes more only for what stands around answers.
            Some(_) | None if !self.config.common.limits.holds(&body) => {
                self.counters.refused += 1;
            }
            Some(mdp::CLIENT) => self.majordomo_client(caller, body, actions),
            Some(_) | None => {
                let offer = plain(plain_service, body, Waiter::Plain(caller));
                self.offer(conn, offer, actions);
            }
        }
    }

    fn majordomo_client(&mut self, caller: Caller, body: Vec<Bytes>, actions: &mut Vec<Action>) {
        let Ok((service, body)) = mdp::from_client(body) else {
            self.counters.malformed += 1;
            return;
        };
        if service.starts_with(mdp::MANAGEMENT) {
            let code = self.manage(&service, &body);
            let answer = vec![Bytes::from_static(code)];
            return actions.push(caller.send(mdp::to_client(service, answer)));
        }
        if self.tasks.is_watched() && service.starts_with(titanic::SERVICES) {
            let answer = self.titanic(caller.conn, (&service, body), actions);
            return actions.push(caller.send(mdp::to_client(service, answer)));
        }
        let Some(service) = self.services.find_or_ask(&service, caller.conn) else {
            self.counters.refused += 1;
            return;
        };
        let conn = caller.conn;
        let offer = plain(service, body, Waiter::Majordomo(caller));
        self.offer(conn, offer, actions);
    }

    /// The management interface of RFC 8: only `mmi.service` is there, as in its text.
    fn manage(&self, verb: &[u8], body: &[Bytes]) -> &'static [u8] {
        match (verb, body) {
            (b"mmi.service", [name])
                if self.tasks.is_watched() && titanic::VERBS.contains(&&**name) =>
            {
                b"200"
            }
            (b"mmi.service", [name]) => {
                let mut services = self.services.iter();
                match services.any(|(_, it)| it.name == *name && it.providers() > 0) {
                    true => b"200",
                    false => b"404",
                }
            }
            (b"mmi.service", _) => b"400",
            _ => b"501",
        }
    }

    /// Takes a task of a client that cannot be refused, or has it wait.
    fn offer(&mut self, conn: Conn, offer: Offer, actions: &mut Vec<Action>) {
        let bytes = offer.bytes();
        if self.is_draining || bytes > self.task_bytes_max() {
            self.counters.refused += 1;
        } else if self.held.is_empty() && self.make_room(bytes) {
            self.accept(offer, actions);
        } else {
            self.hold(conn, offer, bytes, actions);
        }
    }

    /// Has a client wait for room: one message of it is held, and no more is read. A connection that
    /// works too has to be read, so its task is refused.
    fn hold(&mut self, conn: Conn, offer: Offer, bytes: usize, actions: &mut Vec<Action>) {
        let Some(peer) = self.peers.get_mut(&conn) else {
            return;
        };
        let works = peer.worker.is_some() || peer.takes > 0 || !peer.leases.is_empty();
        if works || peer.held > 0 {
            self.counters.refused += 1;
            return;
        }
        peer.held = 1;
        self.counters.held += 1;
        self.services.of(offer.service).held += 1;
        self.held.push_back(Held { conn, offer, bytes });
        actions.push(Action::Pause { conn });
    }

    /// Takes tasks that waited for room, in their order, as long as there is some. One that has become
    /// larger than the queue is refused, so that the others do not wait behind it.
    pub(super) fn admit(&mut self, actions: &mut Vec<Action>) {
        while let Some(first) = self.held.front() {
            let (conn, bytes) = (first.conn, first.bytes);
            let is_too_large = bytes > self.task_bytes_max();
            if !is_too_large && !self.make_room(bytes) {
                return;
            }
            let Some(offer) = self.let_go(conn) else {
                return;
            };
            if self.peers.get(&conn).is_none_or(|peer| peer.held == 0) {
                actions.push(Action::Resume { conn });
            }
            match is_too_large {
                true => self.counters.refused += 1,
                false => {
                    self.accept(offer, actions);
                }
            }
        }
    }

    /// A client is gone, and with it its tasks that wait for room.
    pub(super) fn let_all_go(&mut self, conn: Conn) {
        let services = &mut self.services;
        self.held.retain(|held| {
            let stays = held.conn != conn;
            services.of(held.offer.service).held -= usize::from(!stays);
            stays
        });
    }

    /// Takes out the first task of a client that waits for room.
    pub(super) fn let_go(&mut self, conn: Conn) -> Option<Offer> {
        let at = self.held.iter().position(|held| held.conn == conn)?;
        let Held { offer, .. } = self.held.remove(at)?;
        self.services.of(offer.service).held -= 1;
        if let Some(peer) = self.peers.get_mut(&conn) {
            peer.held -= 1;
        }
        Some(offer)
    }
}

/// A task as it is asked for without options.
pub(super) fn plain(service: usize, body: Vec<Bytes>, waiter: Waiter) -> Offer {
    Offer {
        service,
        body,
        priority: 0,
        delay: Duration::ZERO,
        id: None,
        trace_id: None,
        deadline: None,
        waiter: Some(waiter),
        is_kept: false,
    }
}
