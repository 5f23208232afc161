//! The last message of each topic, for those who subscribe later.
//!
//! A topic is the first frame of a message of several. It must never keep more topics or bytes than
//! its bounds: a topic too many is not kept, and counted.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::model::limits::hub::RETAINED_BYTES_MAX;

use super::Origin;

/// The last message of a topic.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) wire: Bytes,
    /// The bytes of its bodies.
    pub(super) payload: u64,
    /// Where it was published first.
    origin: Origin,
}

/// What is kept.
#[derive(Debug)]
pub(super) struct Retained {
    topics_max: usize,
    by_topic: BTreeMap<Bytes, Kept>,
    bytes: usize,
    refused: u64,
}

impl Retained {
    pub(super) fn new(topics_max: usize) -> Self {
        Self {
            topics_max,
            by_topic: BTreeMap::new(),
            bytes: 0,
            refused: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_topic.len()
    }

    /// Messages that found no room.
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }

    pub(super) fn keep(&mut self, topic: &[u8], (wire, payload): (&[u8], u64), origin: Origin) {
        if self.topics_max == 0 {
            return;
        }
        let was = self.by_topic.get_mut(topic);
        let before = was.as_ref().map_or(0, |kept| kept.wire.len());
        let bytes = self.bytes - before + wire.len();
        let is_new = was.is_none();
        if bytes > RETAINED_BYTES_MAX || is_new && self.by_topic.len() >= self.topics_max {
            self.refused += 1;
            // What was kept is no longer the last.
            if let Some(kept) = self.by_topic.remove(topic) {
                self.bytes -= kept.wire.len();
            }
            return;
        }
        let kept = Kept {
            wire: Bytes::copy_from_slice(wire),
            payload,
            origin,
        };
        self.bytes = bytes;
        match self.by_topic.get_mut(topic) {
            Some(was) => *was = kept,
            None => {
                self.by_topic.insert(Bytes::copy_from_slice(topic), kept);
            }
        }
    }

    /// The last messages of the topics with a prefix; for another bus only what it wants.
    pub(super) fn of<'a>(
        &'a self,
        prefix: &'a [u8],
        wants: Option<Origin>,
    ) -> impl Iterator<Item = &'a Kept> {
        self.by_topic
            .range(Bytes::copy_from_slice(prefix)..)
            .take_while(move |(topic, _)| topic.starts_with(prefix))
            .map(|(_, kept)| kept)
            .filter(move |kept| wants.is_none_or(|wants| wants == kept.origin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_each_topic_is_kept_within_the_bounds() {
        let (mut retained, here) = (Retained::new(2), Origin::default());
        retained.keep(b"ab", (b"1", 1), here);
        retained.keep(b"ac", (b"2", 1), Origin(1));
        retained.keep(b"ab", (b"3", 1), here);
        retained.keep(b"b", (b"4", 1), here);
        let of = |prefix: &'static [u8], wants| -> Vec<Bytes> {
            let kept = retained.of(prefix, wants);
            kept.map(|kept| kept.wire.clone()).collect()
        };
        assert_eq!(of(b"a", None), ["3", "2"]);
        assert_eq!(of(b"a", Some(here)), ["3"]);
        assert!(of(b"b", None).is_empty(), "one topic too many");
        assert_eq!((retained.len(), retained.refused()), (2, 1));
        let large = vec![0; RETAINED_BYTES_MAX + 1];
        retained.keep(b"ab", (&large, 1), here);
        assert_eq!(retained.of(b"ab", None).count(), 0, "it is not the last");
        assert_eq!(retained.bytes, 1);
    }
}
