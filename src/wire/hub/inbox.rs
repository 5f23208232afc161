//! What came from one peer and waits for the hub's owner, and what the peer is subscribed to.
//!
//! Both are bounded: a full inbox stops the reading of its peer, a subscription too many ends its
//! connection. A wait costs more than its bytes, and is charged for it.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

use crate::model::limits::WireLimits;
use crate::model::limits::hub::{INBOX_BYTES_MAX, INBOX_MESSAGES_MAX};

use super::refusal::Limit;

/// What a frame that waits costs beside its bytes.
const FRAME_BYTES: usize = 64;

/// What came from a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// A whole message.
    Message(Vec<Bytes>),
    /// It subscribed to a topic, or to it no more.
    Subscribed {
        /// The topic.
        topic: Bytes,
        /// Whether it is subscribed to now.
        is_on: bool,
    },
}

impl Received {
    fn cost(&self) -> usize {
        match self {
            Self::Message(frames) => {
                frames.iter().map(Bytes::len).sum::<usize>() + FRAME_BYTES * (1 + frames.len())
            }
            Self::Subscribed { topic, .. } => topic.len() + FRAME_BYTES,
        }
    }
}

/// What came and was not taken, oldest first.
#[derive(Default)]
pub(super) struct Inbox {
    queue: VecDeque<Received>,
    bytes: usize,
}

impl Inbox {
    pub(super) fn push(&mut self, received: Received) {
        self.bytes += received.cost();
        self.queue.push_back(received);
    }

    pub(super) fn pop(&mut self) -> Option<Received> {
        let received = self.queue.pop_front()?;
        self.bytes -= received.cost();
        if self.queue.is_empty() {
            // What is idle holds no memory.
            self.queue = VecDeque::new();
        }
        Some(received)
    }

    /// All that came, for whoever takes it at once.
    pub(super) fn take_all(&mut self) -> VecDeque<Received> {
        self.bytes = 0;
        std::mem::take(&mut self.queue)
    }

    /// Takes back what could not be taken after all; nothing came meanwhile.
    pub(super) fn put_back(&mut self, queue: VecDeque<Received>) {
        assert!(self.queue.is_empty(), "what came later comes later");
        self.bytes = queue.iter().map(Received::cost).sum();
        self.queue = queue;
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes >= INBOX_BYTES_MAX || self.queue.len() >= INBOX_MESSAGES_MAX
    }
}

/// Topics, and how often each was subscribed to.
#[derive(Default)]
pub(super) struct Topics(HashMap<Bytes, u32>);

impl Topics {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Subscribes or cancels. False where there was nothing to cancel.
    pub(super) fn set(
        &mut self,
        topic: &Bytes,
        is_on: bool,
        limits: &WireLimits,
    ) -> Result<bool, Limit> {
        if topic.len() > limits.topic_bytes_max {
            return Err(Limit::Topic);
        }
        match (self.0.get_mut(topic), is_on) {
            (Some(count), true) => *count = count.saturating_add(1),
            (None, true) => {
                if self.0.len() >= limits.subscriptions_max {
                    return Err(Limit::Subscriptions);
                }
                self.0.insert(topic.clone(), 1);
            }
            (Some(count), false) => {
                *count -= 1;
                if *count == 0 {
                    self.0.remove(topic);
                }
            }
            (None, false) => return Ok(false),
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_counted_as_often_as_they_were_subscribed_to() {
        let limits = WireLimits {
            topic_bytes_max: 3,
            subscriptions_max: 2,
            ..WireLimits::default()
        };
        let mut topics = Topics::default();
        let mut set = |topic: &'static str, is_on| topics.set(&topic.into(), is_on, &limits);
        assert_eq!(set("a", false), Ok(false), "never subscribed to");
        assert_eq!(set("a", true), Ok(true));
        assert_eq!(set("a", true), Ok(true));
        assert_eq!(set("bbb", true), Ok(true));
        assert_eq!(set("c", true), Err(Limit::Subscriptions));
        assert_eq!(set("dddd", true), Err(Limit::Topic));
        assert_eq!(set("a", false), Ok(true));
        assert_eq!(
            set("c", true),
            Err(Limit::Subscriptions),
            "still one of `a`"
        );
        assert_eq!(set("a", false), Ok(true));
        assert_eq!(set("c", true), Ok(true));
    }

    #[test]
    fn an_inbox_is_full_by_bytes_and_by_number_and_empty_frames_cost_too() {
        let mut inbox = Inbox::default();
        inbox.push(Received::Message(vec![vec![0; INBOX_BYTES_MAX].into()]));
        assert!(inbox.is_full());
        assert!(inbox.pop().is_some() && inbox.is_empty());
        assert_eq!(inbox.bytes(), 0);
        while !inbox.is_full() {
            inbox.push(Received::Message(vec![Bytes::new()]));
        }
        assert!(inbox.bytes() >= INBOX_MESSAGES_MAX * FRAME_BYTES);
    }
}
