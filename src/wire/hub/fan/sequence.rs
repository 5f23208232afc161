//! The number of each message within its topic, as one more frame: whoever sees a gap has missed
//! something.
//!
//! The frame has 16 bytes, two numbers in network order: which run of the bus this is, and
//! which message of its topic, from 1. It is 0 where there are too many topics to count, and for a
//! topic that is longer than a subscription may be: whoever publishes chooses what is remembered here.

use std::collections::HashMap;
use std::time::SystemTime;

use crate::model::limits::hub::{
    SEQUENCED_BYTES_MAX, SEQUENCED_TOPIC_BYTES_MAX, SEQUENCED_TOPICS_MAX,
};
use crate::wire::hub::scan::{MORE, header};

/// The bytes of the frame's body.
pub(super) const NUMBER_BYTES: usize = 16;

/// The numbers of all topics.
#[derive(Debug)]
pub(super) struct Sequences {
    run: u64,
    last: HashMap<Box<[u8]>, u64>,
    /// The bytes of its topics.
    bytes: usize,
}

impl Default for Sequences {
    fn default() -> Self {
        // A later run has a larger number, as far as the clock goes.
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.unwrap_or_default().as_micros();
        Self {
            run: u64::try_from(now).unwrap_or(u64::MAX),
            last: HashMap::new(),
            bytes: 0,
        }
    }
}

impl Sequences {
    /// The number of the next message of a topic.
    pub(super) fn next(&mut self, topic: &[u8]) -> [u8; NUMBER_BYTES] {
        let number = if let Some(last) = self.last.get_mut(topic) {
            *last += 1;
            *last
        } else if topic.len() > SEQUENCED_TOPIC_BYTES_MAX
            || self.bytes + topic.len() > SEQUENCED_BYTES_MAX
            || self.last.len() >= SEQUENCED_TOPICS_MAX
        {
            0
        } else {
            self.bytes += topic.len();
            self.last.insert(topic.into(), 1);
            1
        };
        let mut bytes = [0; NUMBER_BYTES];
        bytes[..8].copy_from_slice(&self.run.to_be_bytes());
        bytes[8..].copy_from_slice(&number.to_be_bytes());
        bytes
    }
}

/// Writes a message with one more frame.
pub(super) fn append(message: &[u8], number: [u8; NUMBER_BYTES], wire: &mut Vec<u8>) {
    let mut at = 0;
    while at < message.len() {
        let found = header(&message[at..]).expect("whole messages have whole headers");
        let end = at + found.header + found.body;
        wire.push(message[at] | MORE);
        wire.extend_from_slice(&message[at + 1..end]);
        at = end;
    }
    wire.push(0);
    wire.push(u8::try_from(NUMBER_BYTES).expect("a short frame"));
    wire.extend_from_slice(&number);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(sequences: &mut Sequences, topic: &[u8]) -> u64 {
        u64::from_be_bytes(sequences.next(topic)[8..].try_into().unwrap())
    }

    #[test]
    fn topics_that_are_numbered_are_bounded_in_number_and_bytes() {
        let mut sequences = Sequences::default();
        let (long, over) = (
            [b'x'; SEQUENCED_TOPIC_BYTES_MAX],
            [b'x'; SEQUENCED_TOPIC_BYTES_MAX + 1],
        );
        assert_eq!(number(&mut sequences, &long), 1);
        assert_eq!(number(&mut sequences, &over), 0);
        assert_eq!(number(&mut sequences, &long), 2, "as if nothing else came");
        let distinct = |n: u32, len: usize| {
            let mut topic = vec![b'y'; len];
            topic[..4].copy_from_slice(&n.to_be_bytes());
            topic
        };
        let fits = (SEQUENCED_BYTES_MAX - long.len()) / SEQUENCED_TOPIC_BYTES_MAX;
        for n in 0..u32::try_from(fits).unwrap() {
            let topic = distinct(n, SEQUENCED_TOPIC_BYTES_MAX);
            assert_eq!(number(&mut sequences, &topic), 1);
        }
        assert_eq!(sequences.bytes, SEQUENCED_BYTES_MAX);
        assert_eq!(number(&mut sequences, b"new"), 0, "not one byte more");
        assert_eq!(number(&mut sequences, &long), 3, "who counts goes on");

        let mut sequences = Sequences::default();
        let max = u32::try_from(SEQUENCED_TOPICS_MAX).unwrap();
        let counted = (0..=max).map(|n| number(&mut sequences, &distinct(n, 4)));
        assert_eq!(counted.sum::<u64>(), u64::from(max), "one topic too many");
    }

    #[test]
    fn every_topic_counts_for_itself_and_the_number_is_the_last_frame() {
        let mut sequences = Sequences::default();
        let run = sequences.run;
        let mut numbers = Vec::new();
        for topic in [&b"a"[..], b"b", b"a"] {
            let number = sequences.next(topic);
            assert_eq!(number[..8], run.to_be_bytes());
            numbers.push(u64::from_be_bytes(number[8..].try_into().unwrap()));
        }
        assert_eq!(numbers, [1, 1, 2]);
        let mut wire = Vec::new();
        append(b"\x01\x01a\0\x02xy", [7; NUMBER_BYTES], &mut wire);
        let expected = [&b"\x01\x01a\x01\x02xy\0\x10"[..], &[7; NUMBER_BYTES]].concat();
        assert_eq!(wire, expected);
    }
}
