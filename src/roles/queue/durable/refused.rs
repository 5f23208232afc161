//! What becomes of what the disk did not take: who can be told is; who has no words for a refusal waits
//! on, and what they asked for is done once the disk takes it.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;

use crate::protocol::mdp;
use crate::protocol::zn1::{self, Reply};
use crate::roles::machine::{Action, Caller, Conn};
use crate::roles::queue::clients::{self, Held};
use crate::roles::queue::flow::Offer;
use crate::roles::queue::tasks::{Key, State, Waiter};
use crate::roles::queue::{Machine, titanic};

use super::changes::{Change, Kept};

/// What was not stored, as far as somebody waits for it.
#[derive(Debug, Default)]
pub(super) struct Undone {
    /// Tasks that were to be accepted.
    accepted: HashMap<Key, Box<Kept>>,
    /// Who was to hear what came of which.
    left: Vec<(Key, Waiter)>,
}

/// Who does not simply wait on.
#[derive(Debug, Default)]
pub(super) struct WaitedOn {
    /// ZN1 clients that are to be told, and the ids of their requests.
    pub(super) told: Vec<(Caller, Bytes)>,
    /// What is to be accepted anew, by its order.
    pub(super) held: Vec<(u64, Held)>,
}

impl Undone {
    /// So much more was not stored.
    pub(super) fn add(
        &mut self,
        changes: impl IntoIterator<Item = Change>,
        left: Vec<(Key, Waiter)>,
    ) {
        let accepted = changes.into_iter().filter_map(|change| match change {
            Change::Accepted(key, kept) => Some((key, kept)),
            Change::Moved(..) | Change::Done(..) | Change::Gone(_) | Change::Closed(_) => None,
        });
        self.accepted.extend(accepted);
        self.left.extend(left);
    }
}

/// What is sent instead of an answer that is not true any more, where its dialect has a word for that.
pub(super) fn refusal(mut frames: Vec<Bytes>, why: &str) -> Option<Vec<Bytes>> {
    let speaks = |frame: &Bytes| frame == zn1::MAGIC || frame == mdp::CLIENT;
    let at = match frames.first().is_some_and(speaks) {
        true => 0,
        false => frames.iter().position(|frame| frame.is_empty())? + 1,
    };
    let said = frames.split_off(at);
    match said.as_slice() {
        [zn1, ..] if zn1 == zn1::MAGIC => {
            let reply = Reply::decode(said).ok()?;
            frames.extend(Reply::failure(zn1::UNAVAILABLE, reply.id, why).encode());
            Some(frames)
        }
        [client, service, ..]
            if client == mdp::CLIENT && service.starts_with(titanic::SERVICES) =>
        {
            let status = Bytes::from(format!("500 {why}"));
            frames.extend(mdp::to_client(service.clone(), vec![status]));
            Some(frames)
        }
        // Whether a service has workers is no promise.
        [client, service, ..] if client == mdp::CLIENT && service.starts_with(mdp::MANAGEMENT) => {
            frames.extend(said);
            Some(frames)
        }
        _ => None,
    }
}

impl Machine {
    /// Who waited in an earlier life waits on, where there is what they wait for; who can be told
    /// otherwise is given back. What plain and Majordomo clients had asked for and is not there is held
    /// until it can be accepted.
    pub(super) fn wait_on(
        &mut self,
        waiters: Vec<(Key, Vec<Waiter>)>,
        undone: Undone,
        actions: &mut Vec<Action>,
    ) -> WaitedOn {
        let Undone { accepted, left } = undone;
        let left = left.into_iter().map(|(key, waiter)| (key, vec![waiter]));
        let WaitedOn { mut told, mut held } = WaitedOn::default();
        for (key, waiters) in waiters.into_iter().chain(left) {
            let task = self.tasks.get_mut(key);
            let is_alive = task.map(|task| !matches!(task.state, State::Dead));
            if is_alive == Some(true) {
                self.tasks.of(key).waiters.extend(waiters);
                self.tasks.recount(key);
                continue;
            }
            for waiter in waiters {
                match (waiter, accepted.get(&key)) {
                    (Waiter::Zn1(caller, id), _) => told.push((caller, id)),
                    (waiter, None) if is_alive == Some(false) => {
                        self.tasks.of(key).waiters.push(waiter);
                        self.tell_dead(key, actions);
                    }
                    (_, None) => {}
                    (waiter, Some(kept)) => held.push((kept.order, self.held_anew(kept, waiter))),
                }
            }
        }
        held.sort_by_key(|(order, _)| *order);
        WaitedOn { told, held }
    }

    fn held_anew(&mut self, kept: &Kept, waiter: Waiter) -> Held {
        let conn = waiter.who().0.conn;
        let service = self.services.restore(&kept.service);
        let offer: Offer = clients::plain(service, kept.body.clone(), waiter);
        let bytes = offer.bytes();
        Held { conn, offer, bytes }
    }

    /// Holds what was asked for and not stored, before all that waits for room. Who works by the same
    /// connection has to be read, so that it ends: its client asks again.
    pub(super) fn hold_anew(
        &mut self,
        held: Vec<(u64, Held)>,
        works: &HashSet<Conn>,
        actions: &mut Vec<Action>,
    ) {
        for (_, held) in held.into_iter().rev() {
            let Some(peer) = self.peers.get_mut(&held.conn) else {
                continue;
            };
            let conn = held.conn;
            if works.contains(&conn) {
                actions.push(Action::Close { conn });
                continue;
            }
            if peer.held == 0 {
                actions.push(Action::Pause { conn });
            }
            peer.held += 1;
            self.counters.held += 1;
            self.services.of(held.offer.service).held += 1;
            self.held.push_front(held);
        }
    }
}
