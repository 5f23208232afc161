//! What a fan says itself to who subscribes: a welcome, what was last, and the word that a
//! subscription counts.
//!
//! It must never say anything to others.

use bytes::Bytes;

use crate::protocol::topics::READY_PREFIX;

use super::lane::{Source, Span};
use super::{State, encode};

impl State {
    /// Tells a subscriber what there is to tell about a new subscription of its.
    pub(super) fn greet(&mut self, slot: u32, topic: &[u8]) {
        let Some(Some(subscriber)) = self.subscribers.get_mut(slot as usize) else {
            return;
        };
        let mut wire = Vec::new();
        let (mut messages, mut payload) = (0, 0);
        let welcome = self.config.welcome.as_ref();
        let is_welcome = welcome.is_some_and(|welcome| welcome.starts_with(topic));
        if let Some(welcome) = welcome.filter(|_| is_welcome && !subscriber.is_welcomed) {
            subscriber.is_welcomed = true;
            encode(std::slice::from_ref(welcome), &mut wire);
            (messages, payload) = (1, welcome.len() as u64);
        }
        for kept in self.retained.of(topic, subscriber.wants) {
            wire.extend_from_slice(&kept.wire);
            messages += 1;
            payload += kept.payload;
        }
        if topic.starts_with(READY_PREFIX) {
            encode(&[Bytes::copy_from_slice(topic)], &mut wire);
            messages += 1;
            payload += topic.len() as u64;
        }
        if let Some(taker) = subscriber.taker.upgrade()
            && messages > 0
        {
            let span = Span {
                start: 0,
                end: wire.len(),
                messages,
                payload,
            };
            let mut source = Source {
                bytes: &wire,
                kept: None,
            };
            taker.take_spans(&mut source, &[span]);
        }
    }
}
