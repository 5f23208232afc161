//! What the subscribers of a fan want, all together: the one subscription that a gate has at its
//! program, and those that a bus has at each bus that it dials.
//!
//! ```text
//! subscribers -- topics, and what an XSUB sends --> union --pulled--> the connection to the program
//! ```
//!
//! The connection takes from here what it has room for, so that a program which does not read costs
//! its topics and a bounded queue, however often others change their minds. A topic is asked for when
//! the first subscriber wants it, and no more when the last one does not; an XPUB is told of each
//! that comes, as without a gate, since it may answer newcomers with what was last.
//!
//! What a bus asks another for is what is wanted of one origin: by its own subscribers, and by buses that
//! get the same by way of it. The ways of an origin are a tree, so that no two buses keep alive what only
//! each other wants, in whatever circle they stand.
//!
//! It must never keep more than one entry for a topic, nor forget one that somebody wants.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Notify;

use crate::wire::hub::ConnId;

use crate::protocol::topics::READY_PREFIX;

use super::{Fan, Origin, State};

/// What a message that waits costs beside its bytes, and what each of its frames does.
const MESSAGE_COST: usize = 64;
const FRAME_COST: usize = 32;

/// Topics that one bus asks another for; where more are wanted it asks for all. A bus takes at least twice
/// as many.
const BUS_TOPICS_MAX: usize = if cfg!(test) { 8 } else { 4_096 };

/// One thing to say to the publisher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::wire::hub) enum Wish {
    /// Messages of this topic are wanted, or not any more.
    Topic { topic: Bytes, is_on: bool },
    /// What a subscriber sent.
    Message(Vec<Bytes>),
}

/// The connection by which messages come.
struct Giver {
    conn: ConnId,
    wake: Arc<Notify>,
    /// It is told of every subscriber of a topic, not of the first alone.
    wants_each: bool,
}

#[derive(Debug, Default)]
struct Wanted {
    /// Subscribers that want it.
    takers: u32,
    /// Those of them that the giver was not told of.
    fresh: u32,
    /// The giver was asked for it.
    is_asked: bool,
    /// Its turn, where there may be something to say of it.
    turn: Option<u64>,
}

/// What all want.
#[derive(Default)]
pub(super) struct Union {
    topics: HashMap<Bytes, Wanted>,
    /// Topics of which there may be something to say, by their turn.
    due: BTreeMap<u64, Bytes>,
    last_turn: u64,
    /// What subscribers sent.
    messages: VecDeque<Vec<Bytes>>,
    messages_cost: usize,
    giver: Option<Giver>,
    /// Topics that were asked for, and that may be; with more, all is asked for.
    asked: usize,
    asked_max: Option<usize>,
    is_all: bool,
}

/// What is wanted of a bus that is dialled.
pub(super) struct OfBus {
    /// Where it was published first.
    origin: Origin,
    union: Union,
}

impl OfBus {
    /// Whether a subscriber wants a topic of it: one that is a bus wants what has its origin alone, and the
    /// word that a subscription counts is each bus's own.
    fn has(&self, wants: Option<Origin>, topic: &[u8]) -> bool {
        wants.is_none_or(|wants| wants == self.origin) && !topic.starts_with(READY_PREFIX)
    }
}

impl State {
    /// Somebody wants a topic that did not, or wants it no more.
    pub(super) fn wants(&mut self, slot: u32, topic: &[u8], is_on: bool) {
        if let Some(union) = &mut self.union {
            union.turn(topic, is_on);
        }
        let wants = self.subscribers[slot as usize].as_ref();
        let wants = wants.and_then(|subscriber| subscriber.wants);
        for bus in self.of_buses.iter_mut().filter(|it| it.has(wants, topic)) {
            bus.union.turn(topic, is_on);
        }
    }

    /// Somebody is gone who wanted all that it had subscribed to.
    pub(super) fn wants_nothing(&mut self, slot: u32) {
        if self.union.is_some() || !self.of_buses.is_empty() {
            for topic in self.topics.of(slot) {
                self.wants(slot, &topic, false);
            }
        }
    }

    /// The union that a connection takes from.
    fn union_of(&mut self, conn: ConnId) -> Option<&mut Union> {
        let own = |union: &&mut Union| union.giver.as_ref().is_some_and(|it| it.conn == conn);
        let of_buses = self.of_buses.iter_mut().map(|bus| &mut bus.union);
        self.union.iter_mut().chain(of_buses).find(own)
    }
}

impl Union {
    fn turn(&mut self, topic: &[u8], is_on: bool) {
        match is_on {
            true => self.join(topic),
            false => self.leave(topic),
        }
    }

    /// One more subscriber wants a topic.
    pub(super) fn join(&mut self, topic: &[u8]) {
        if !self.topics.contains_key(topic) {
            let topic = Bytes::copy_from_slice(topic);
            self.topics.insert(topic, Wanted::default());
        }
        let wanted = self.topics.get_mut(topic).expect("it is there by now");
        wanted.takers += 1;
        wanted.fresh += 1;
        self.has_its_turn(topic);
        if !self.is_all && self.asked_max.is_some_and(|max| self.topics.len() > max) {
            self.is_all = true;
            self.join(b"");
        }
    }

    /// One that wanted it does not any more.
    pub(super) fn leave(&mut self, topic: &[u8]) {
        let wanted = self.topics.get_mut(topic);
        let wanted = wanted.expect("who wants it no more has wanted it");
        wanted.takers -= 1;
        wanted.fresh = wanted.fresh.min(wanted.takers);
        match (wanted.takers, wanted.is_asked) {
            (0, true) => self.has_its_turn(topic),
            (0, false) => self.forget(topic),
            _ => {}
        }
        self.ask_for_less();
    }

    /// Where so few are wanted again that each can be asked for, all is no more.
    fn ask_for_less(&mut self) {
        let is_few = |max: usize| self.topics.len() <= max / 2;
        if !self.is_all || !self.asked_max.is_some_and(is_few) {
            return;
        }
        self.is_all = false;
        // Those that were not asked for are, before all is no more.
        let topics = self.topics.iter_mut().filter(|(_, it)| !it.is_asked);
        let topics = topics.map(|(topic, wanted)| {
            wanted.fresh = wanted.takers;
            topic.clone()
        });
        for topic in topics.collect::<Vec<Bytes>>() {
            self.has_its_turn(&topic);
        }
        self.leave(b"");
    }

    /// Whether a topic may be asked for beside those that were.
    fn may_ask(&self, topic: &[u8]) -> bool {
        topic.is_empty() || self.asked_max.is_none_or(|max| self.asked < max)
    }

    fn forget(&mut self, topic: &[u8]) {
        if let Some(wanted) = self.topics.remove(topic) {
            self.asked -= usize::from(wanted.is_asked);
            if let Some(turn) = wanted.turn {
                self.due.remove(&turn);
            }
        }
        if self.topics.is_empty() {
            // What is idle holds no memory.
            self.topics = HashMap::new();
        }
    }

    fn has_its_turn(&mut self, topic: &[u8]) {
        if self.giver.is_none() {
            return;
        }
        let (topic, wanted) = self.topics.get_key_value(topic).expect("it is wanted");
        if wanted.turn.is_none() {
            let topic = topic.clone();
            self.last_turn += 1;
            let wanted = self.topics.get_mut(&topic).expect("it is a key of it");
            wanted.turn = Some(self.last_turn);
            self.due.insert(self.last_turn, topic);
        }
        self.wake();
    }

    fn wake(&self) {
        if let Some(giver) = &self.giver {
            giver.wake.notify_one();
        }
    }

    /// Takes what a subscriber sent, if that is no more than may wait.
    fn send(&mut self, frames: Vec<Bytes>, bytes_max: usize) -> bool {
        let cost = cost_of(&frames);
        if !self.messages.is_empty() && self.messages_cost + cost > bytes_max {
            return false;
        }
        self.messages_cost += cost;
        self.messages.push_back(frames);
        self.wake();
        true
    }

    /// There is a connection to the publisher, which knows of nothing yet.
    fn begin(&mut self, giver: Giver) {
        self.end();
        self.giver = Some(giver);
        let topics: Vec<Bytes> = self.topics.keys().cloned().collect();
        for topic in topics {
            self.has_its_turn(&topic);
        }
        self.wake();
    }

    /// There is none any more, and the next one knows of nothing.
    fn end(&mut self) {
        self.giver = None;
        self.due.clear();
        self.topics.retain(|_, wanted| wanted.takers > 0);
        for wanted in self.topics.values_mut() {
            wanted.fresh = wanted.takers;
            (wanted.is_asked, wanted.turn) = (false, None);
        }
        self.asked = 0;
    }

    /// The next topic of which there is something to say.
    fn next_topic(&mut self) -> Option<Wish> {
        let wants_each = self.giver.as_ref()?.wants_each;
        while let Some((turn, topic)) = self.due.pop_first() {
            let may_ask = self.may_ask(&topic);
            let wanted = self.topics.get_mut(&topic).expect("what is due is there");
            wanted.turn = None;
            if wanted.takers == 0 {
                // It was asked for, else it would be gone.
                self.forget(&topic);
                self.ask_for_less();
                let is_on = false;
                return Some(Wish::Topic { topic, is_on });
            }
            let is_new = !wanted.is_asked && may_ask;
            let is_on = wanted.fresh > 0 && (wants_each || is_new);
            if !is_on {
                wanted.fresh = 0;
                continue;
            }
            self.asked += usize::from(is_new);
            wanted.is_asked = true;
            wanted.fresh = if wants_each { wanted.fresh - 1 } else { 0 };
            if wanted.fresh > 0 {
                wanted.turn = Some(turn);
                self.due.insert(turn, topic.clone());
            }
            return Some(Wish::Topic { topic, is_on });
        }
        None
    }

    fn next_message(&mut self) -> Option<Wish> {
        self.giver.as_ref()?;
        let frames = self.messages.pop_front()?;
        self.messages_cost -= cost_of(&frames);
        Some(Wish::Message(frames))
    }
}

fn cost_of(frames: &[Bytes]) -> usize {
    let bytes: usize = frames.iter().map(Bytes::len).sum();
    bytes + MESSAGE_COST + FRAME_COST * frames.len()
}

impl Fan {
    /// Whether publishers are asked for what is subscribed to, and not for all.
    pub(in crate::wire::hub) fn asks(&self) -> bool {
        self.state().union.is_some()
    }

    /// A publisher is there that is to be asked for what is wanted, and wakes up when there is
    /// something to say. With `wants_each` it is told of every subscriber of a topic.
    pub(in crate::wire::hub) fn ask(&self, conn: ConnId, wake: &Arc<Notify>, wants_each: bool) {
        if let Some(union) = &mut self.state().union {
            union.begin(Giver {
                conn,
                wake: wake.clone(),
                wants_each,
            });
        }
    }

    /// A bus is there that is to be asked for what is wanted of one origin.
    pub(in crate::wire::hub) fn ask_bus(&self, origin: Origin, conn: ConnId, wake: &Arc<Notify>) {
        let mut state = self.state();
        let mut bus = OfBus {
            origin,
            union: Union {
                asked_max: Some(BUS_TOPICS_MAX),
                ..Union::default()
            },
        };
        for (slot, subscriber) in (0..).zip(&state.subscribers) {
            let Some(subscriber) = subscriber else {
                continue;
            };
            let topics = state.topics.of(slot).into_iter();
            for topic in topics {
                if bus.has(subscriber.wants, &topic) {
                    bus.union.join(&topic);
                }
            }
        }
        bus.union.begin(Giver {
            conn,
            wake: wake.clone(),
            wants_each: false,
        });
        state.of_buses.push(bus);
    }

    /// It is gone; what it was asked for is asked of the next one.
    pub(in crate::wire::hub) fn lose(&self, conn: ConnId) {
        self.state().of_buses.retain(|bus| {
            let giver = bus.union.giver.as_ref();
            giver.is_none_or(|giver| giver.conn != conn)
        });
        if let Some(union) = &mut self.state().union
            && union.giver.as_ref().is_some_and(|it| it.conn == conn)
        {
            union.end();
        }
    }

    /// What there is to say to a publisher: some topics, else one message.
    pub(in crate::wire::hub) fn wishes(&self, conn: ConnId, max: usize) -> Vec<Wish> {
        let mut state = self.state();
        let Some(union) = state.union_of(conn) else {
            return Vec::new();
        };
        let topics: Vec<Wish> = std::iter::from_fn(|| union.next_topic())
            .take(max)
            .collect();
        match topics.is_empty() {
            true => union.next_message().into_iter().collect(),
            false => topics,
        }
    }

    /// Hands what a subscriber sent to the publisher. False where too much waits for that, and where
    /// publishers of this fan take nothing.
    pub(in crate::wire::hub) fn hand_up(&self, frames: Vec<Bytes>) -> bool {
        let mut state = self.state();
        let bytes_max = state.config.bytes_max;
        let union = state.union.as_mut();
        union.is_some_and(|union| union.send(frames, bytes_max))
    }
}

#[cfg(test)]
#[path = "union_tests.rs"]
mod tests;
