//! What the subscribers of a fan want, all together: the one subscription that a gate has at its
//! program.
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
//! It must never keep more than one entry for a topic, nor forget one that somebody wants.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Notify;

use crate::wire::hub::ConnId;

use super::Fan;

/// What a message that waits costs beside its bytes, and what each of its frames does.
const MESSAGE_COST: usize = 64;
const FRAME_COST: usize = 32;

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
}

impl Union {
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
    }

    fn forget(&mut self, topic: &[u8]) {
        let wanted = self.topics.remove(topic);
        if let Some(turn) = wanted.and_then(|wanted| wanted.turn) {
            self.due.remove(&turn);
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
    }

    /// The next topic of which there is something to say.
    fn next_topic(&mut self) -> Option<Wish> {
        let wants_each = self.giver.as_ref()?.wants_each;
        while let Some((turn, topic)) = self.due.pop_first() {
            let wanted = self.topics.get_mut(&topic).expect("what is due is there");
            wanted.turn = None;
            if wanted.takers == 0 {
                // It was asked for, else it would be gone.
                self.forget(&topic);
                let is_on = false;
                return Some(Wish::Topic { topic, is_on });
            }
            let is_on = wanted.fresh > 0 && (wants_each || !wanted.is_asked);
            if !is_on {
                wanted.fresh = 0;
                continue;
            }
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

    /// It is gone; what it was asked for is asked of the next one.
    pub(in crate::wire::hub) fn lose(&self, conn: ConnId) {
        if let Some(union) = &mut self.state().union
            && union.giver.as_ref().is_some_and(|it| it.conn == conn)
        {
            union.end();
        }
    }

    /// What there is to say to a publisher: some topics, else one message.
    pub(in crate::wire::hub) fn wishes(&self, conn: ConnId, max: usize) -> Vec<Wish> {
        let mut state = self.state();
        let union = state.union.as_mut();
        let own = union.filter(|it| it.giver.as_ref().is_some_and(|it| it.conn == conn));
        let Some(union) = own else {
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
mod tests {
    use super::*;

    fn giver(wants_each: bool) -> Giver {
        Giver {
            conn: ConnId(1),
            wake: Arc::default(),
            wants_each,
        }
    }

    /// All that there is to say: `+topic` and `-topic`.
    fn said(union: &mut Union) -> Vec<String> {
        let topics = std::iter::from_fn(|| union.next_topic());
        let said = topics.map(|wish| match wish {
            Wish::Topic { topic, is_on } => {
                let sign = if is_on { '+' } else { '-' };
                format!("{sign}{}", String::from_utf8_lossy(&topic))
            }
            Wish::Message(_) => panic!("no topic"),
        });
        said.collect()
    }

    #[test]
    fn a_topic_is_asked_for_once_until_nobody_wants_it() {
        let mut union = Union::default();
        union.begin(giver(false));
        union.join(b"a");
        union.join(b"a");
        union.join(b"b");
        assert_eq!(said(&mut union), ["+a", "+b"]);
        union.join(b"a");
        union.leave(b"a");
        union.leave(b"a");
        assert!(said(&mut union).is_empty(), "one wants it still");
        union.leave(b"a");
        assert_eq!(said(&mut union), ["-a"]);
        union.leave(b"b");
        union.join(b"b");
        assert!(said(&mut union).is_empty(), "it was asked for all along");
    }

    #[test]
    fn an_xpub_is_told_of_each_that_wants_it_and_of_the_last_that_does_not() {
        let mut union = Union::default();
        union.begin(giver(true));
        union.join(b"a");
        union.join(b"a");
        assert_eq!(said(&mut union), ["+a", "+a"]);
        union.leave(b"a");
        union.join(b"a");
        assert_eq!(said(&mut union), ["+a"]);
        union.leave(b"a");
        union.leave(b"a");
        assert_eq!(said(&mut union), ["-a"]);
    }

    #[test]
    fn the_next_publisher_is_asked_for_all_that_is_wanted_and_nothing_else() {
        let mut union = Union::default();
        union.join(b"before");
        union.begin(giver(false));
        union.join(b"a");
        assert_eq!(said(&mut union), ["+before", "+a"]);
        union.leave(b"before");
        union.end();
        union.leave(b"a");
        union.join(b"b");
        union.join(b"c");
        union.leave(b"c");
        assert_eq!(union.topics.len(), 1, "what nobody wants is forgotten");
        union.begin(giver(false));
        assert_eq!(said(&mut union), ["+b"]);
    }

    #[test]
    fn who_changes_its_mind_before_a_publisher_reads_costs_nothing() {
        for has_giver in [true, false] {
            let mut union = Union::default();
            if has_giver {
                union.begin(giver(true));
            }
            for n in 0..1_000_u16 {
                union.join(&n.to_be_bytes());
                union.leave(&n.to_be_bytes());
            }
            assert!(union.topics.is_empty() && union.due.is_empty());
            for _ in 0..1_000 {
                union.join(b"a");
                union.leave(b"a");
            }
            union.join(b"a");
            assert!(union.due.len() <= 1);
        }
    }

    #[test]
    fn what_subscribers_send_waits_within_a_bound() {
        let mut union = Union::default();
        let message = || vec![Bytes::from(vec![0; 1_000])];
        let taken = (0..100).filter(|_| union.send(message(), 10_000)).count();
        assert_eq!(taken, 10_000 / cost_of(&message()));
        assert!(union.next_message().is_none(), "nobody is there");
        union.begin(giver(false));
        while union.next_message().is_some() {}
        assert_eq!(union.messages_cost, 0);
        assert!(union.send(vec![vec![0; 20_000].into()], 10_000), "one may");
    }
}
