//! Which connection inside and which outside are one wire, from the first of them to the last.
//!
//! It must never finish the handshake of one side before the other has shown itself, and never keep
//! one that cannot get another side.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::model::socket::SocketType;
use crate::roles::gate::Outer;
use crate::wire::hub::{CloseReason, ConnId, DialId, Held, Limit, places};
use crate::wire::keyed::Keys;

use super::{Dial, Gate, Pair, holder};

impl Gate {
    /// The other side was reached for a connection of the program: it is fetched from its holder.
    pub(super) fn reached(&mut self, dial: DialId, conn: ConnId) {
        let Some(of) = self.dials.get_mut(&dial) else {
            return self.hub.hang_up(dial);
        };
        of.conn = Some(conn);
        if let Some(want) = of.want.take() {
            // A holder that is gone has told so.
            want.send(()).ok();
        }
    }

    /// Somebody outside has come in: it needs a connection inside.
    pub(super) fn opened(&mut self, port: &str, conn: ConnId) {
        if self.outer_of.contains_key(&conn) {
            return;
        }
        let Some(passage) = self.passages.iter_mut().find(|it| it.door.name == port) else {
            return;
        };
        if passage.fan.is_some() {
            return self.subscriber(port, conn);
        }
        let wanted = passage.wanted.as_ref();
        match wanted.map(|wanted| wanted.try_send(Some(conn))) {
            Some(Ok(())) => passage.waiting.push(conn),
            Some(Err(_)) | None => self.hub.close(conn),
        }
    }

    pub(super) fn closed(&mut self, conn: ConnId, dial: Option<DialId>, reason: &CloseReason) {
        if let Some(dial) = dial {
            // The program dials again itself, and then so does its gate.
            self.hub.hang_up(dial);
            self.dials.remove(&dial);
        }
        for passage in &mut self.passages {
            passage.waiting.retain(|waiting| *waiting != conn);
        }
        let outer = self.outer_of.remove(&conn).unwrap_or(conn);
        let Some(pair) = self.pairs.get(&outer) else {
            return self.publisher_gone(conn);
        };
        tracing::debug!(door = pair.door, %reason, "an end of a wire is gone");
        // With the second end it is over: what was on its way was written.
        let other = if conn == outer {
            pair.inner
        } else {
            Some(outer)
        };
        if other.is_none_or(|other| self.hub.passed(other).is_none()) {
            self.forget(outer);
        }
    }

    fn forget(&mut self, outer: ConnId) {
        self.look();
        if let Some(pair) = self.pairs.remove(&outer) {
            if let Some(inner) = pair.inner {
                self.outer_of.remove(&inner);
            }
            self.passages[pair.door].bury(pair);
            for place in places(outer) {
                self.places.remove(&place);
            }
        }
    }

    /// Dials the other side for a connection of the program.
    pub(super) fn dial(&mut self, door: usize, held: Held) {
        let passage = &self.passages[door];
        let Outer::Dials { at, .. } = &passage.door.outer else {
            return;
        };
        let name = &passage.door.name;
        if self.hub.is_held_banned(name, &held) {
            return;
        }
        let planned = passage.door.socket;
        let shown = held.face().socket_type;
        if !stands_for(shown, planned) {
            let detail = format!("it is a {shown}, where a {planned} is planned");
            let limit = Limit::Protocol;
            return self.hub.refuse_held(name, &held, limit, Some(detail));
        }
        if self.dials.len() + self.pairs.len() >= self.limits.connections_max {
            let limit = Limit::Connections;
            return self.hub.refuse_held(name, &held, limit, None);
        }
        let keys = match self.keys_for(door) {
            None | Some(Keys::Open) => Vec::new(),
            Some(Keys::Curve(keys)) if keys.is_empty() => {
                // The program dials again, and by then there may be one.
                self.passages[door].hindrance =
                    Some("the key of the other side, or its own, is not here".to_owned());
                return;
            }
            Some(Keys::Curve(keys)) => keys,
        };
        let dial = self.hub.dial_forwarding(name, at, held.face(), keys);
        let (want, wanted) = oneshot::channel();
        let of = Dial {
            door,
            want: Some(want),
            conn: None,
        };
        self.dials.insert(dial, of);
        self.tasks
            .spawn(holder::hold(dial, held, wanted, self.tell.clone()));
    }

    /// Finishes the program's handshake as the other side, and makes them one wire.
    pub(super) fn pair(
        &mut self,
        door: usize,
        (outer, dial): (ConnId, Option<DialId>),
        held: Held,
    ) {
        let passage = &mut self.passages[door];
        passage.waiting.retain(|conn| *conn != outer);
        let (Some(face), Some(facts)) = (self.hub.face_of(outer), self.hub.connection(outer))
        else {
            // Gone meanwhile; the program's library dials again.
            return;
        };
        let inner = match self.hub.adopt_held(&passage.door.name, held, &face) {
            Ok(inner) => inner,
            Err(reason) => {
                tracing::warn!(%reason, door = passage.door.name, "the two sides do not fit");
                passage.hindrance = Some(format!("the two sides do not fit: {reason}"));
                return match dial {
                    Some(dial) => self.hub.hang_up(dial),
                    None => self.hub.close(outer),
                };
            }
        };
        passage.hindrance = None;
        let pair = Pair {
            door,
            inner: Some(inner),
            outer,
            peer: match (&passage.door.outer, facts.who) {
                (Outer::Dials { peer, .. }, _) => peer.to_string(),
                (Outer::Listens { .. }, Some(who)) => who,
                (Outer::Listens { .. }, None) => facts.peer_address.clone(),
            },
            address: facts.peer_address,
            local: self.hub.local_of(outer),
            outward: Arc::default(),
            inward: Arc::default(),
        };
        let places = self.places_of(&pair);
        let [outward, inward] = self.passages[door].flows(&pair, places, &self.limits, &self.ring);
        self.outer_of.insert(inner, outer);
        self.pairs.insert(outer, pair);
        if self.hub.pair((outer, outward), (inner, inward)).is_err() {
            self.hub.close(inner);
            self.forget(outer);
        }
    }
}

/// Whether a program may show this type where the other is planned: a DEALER for a REQ, and the like.
fn stands_for(shown: SocketType, planned: SocketType) -> bool {
    let others = planned.peers().iter();
    shown == planned || others.copied().any(|other| shown.may_talk_to(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_can_talk_to_the_other_side_may_stand_for_what_is_planned() {
        use SocketType::{Dealer, Pub, Pull, Push, Rep, Req, Router, Sub, Xpub};
        for (shown, planned) in [
            (Req, Req),
            (Dealer, Req),
            (Xpub, Pub),
            (Push, Push),
            (Router, Rep),
        ] {
            assert!(stands_for(shown, planned), "{shown} for {planned}");
        }
        for (shown, planned) in [
            (Pub, Req),
            (Sub, Pub),
            (Pull, Push),
            (Rep, Req),
            (Sub, Dealer),
        ] {
            assert!(!stands_for(shown, planned), "{shown} for {planned}");
        }
    }
}
