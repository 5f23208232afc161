//! What was appended by whom under which number, so that what is sent again is not appended again.
//!
//! Of each producer the latest numbers are known, of many producers those that were heard last; what
//! is older than the known numbers of its producer is refused, never appended twice.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use crate::model::limits::stream::{PRODUCERS_MAX, SEQUENCES_MAX};

/// Whether an append was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// It was not.
    New,
    /// It is being stored, under this ticket.
    Pending(u64),
    /// It is stored: at its first offset, so many records.
    Stored(u64, u64),
    /// Nobody knows any more.
    Forgotten,
}

/// A producer.
#[derive(Debug, Default)]
struct Producer {
    /// By its numbers: the first offset and how many records.
    stored: BTreeMap<u64, (u64, u64)>,
    pending: HashMap<u64, u64>,
    /// The highest number that is forgotten.
    forgotten: Option<u64>,
    heard: u64,
}

/// All producers that are known.
#[derive(Debug, Default)]
pub(super) struct Producers {
    all: HashMap<String, Producer>,
    /// By when each was heard last.
    order: BTreeMap<u64, String>,
    heard: u64,
}

/// What is kept of a producer.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct KeptProducer {
    name: String,
    /// Number, first offset, records.
    stored: Vec<(u64, u64, u64)>,
    forgotten: Option<u64>,
}

impl Producers {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn find(&self, name: &str, sequence: u64) -> Seen {
        let Some(producer) = self.all.get(name) else {
            return Seen::New;
        };
        if let Some((first, count)) = producer.stored.get(&sequence) {
            return Seen::Stored(*first, *count);
        }
        if let Some(ticket) = producer.pending.get(&sequence) {
            return Seen::Pending(*ticket);
        }
        match producer.forgotten.is_some_and(|it| sequence <= it) {
            true => Seen::Forgotten,
            false => Seen::New,
        }
    }

    /// An append is being stored.
    pub(super) fn begin(&mut self, name: String, sequence: u64, ticket: u64) {
        self.heard(name).pending.insert(sequence, ticket);
    }

    /// An append was not stored.
    pub(super) fn end(&mut self, name: &str, sequence: u64) {
        if let Some(producer) = self.all.get_mut(name) {
            producer.pending.remove(&sequence);
        }
    }

    /// An append is stored.
    pub(super) fn keep(&mut self, name: String, sequence: u64, at: (u64, u64)) {
        let producer = self.heard(name);
        producer.pending.remove(&sequence);
        producer.stored.insert(sequence, at);
        if producer.stored.len() > SEQUENCES_MAX
            && let Some((oldest, _)) = producer.stored.pop_first()
        {
            producer.forgotten = producer.forgotten.max(Some(oldest));
        }
    }

    fn heard(&mut self, name: String) -> &mut Producer {
        self.heard += 1;
        let now = self.heard;
        let is_known = self.all.contains_key(&name);
        if !is_known && self.all.len() >= PRODUCERS_MAX {
            self.make_room();
        }
        let producer = self.all.entry(name.clone()).or_default();
        if is_known {
            self.order.remove(&producer.heard);
        }
        producer.heard = now;
        self.order.insert(now, name);
        producer
    }

    /// Forgets whoever was not heard of for longest and waits for nothing.
    fn make_room(&mut self) {
        let idle = |name: &String| self.all.get(name).is_some_and(|it| it.pending.is_empty());
        let oldest = self.order.iter().find(|(_, name)| idle(name));
        if let Some((heard, name)) = oldest.map(|(heard, name)| (*heard, name.clone())) {
            self.order.remove(&heard);
            self.all.remove(&name);
        }
    }

    /// What is to be kept, who was heard last last.
    pub(super) fn kept(&self) -> Vec<KeptProducer> {
        let names = self.order.values();
        names
            .filter_map(|name| {
                let producer = self.all.get(name)?;
                let stored = producer.stored.iter();
                Some(KeptProducer {
                    name: name.clone(),
                    stored: stored
                        .map(|(seq, (first, count))| (*seq, *first, *count))
                        .collect(),
                    forgotten: producer.forgotten,
                })
            })
            .collect()
    }

    pub(super) fn restore(&mut self, kept: Vec<KeptProducer>) {
        for it in kept {
            let producer = self.heard(it.name);
            producer.forgotten = it.forgotten;
            let stored = it.stored.into_iter();
            producer.stored = stored
                .map(|(seq, first, count)| (seq, (first, count)))
                .collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_numbers_are_known_and_older_ones_refused() {
        let mut producers = Producers::default();
        let max = SEQUENCES_MAX as u64;
        for sequence in 0..=max {
            assert_eq!(producers.find("p", sequence), Seen::New);
            producers.begin("p".into(), sequence, 100 + sequence);
            assert_eq!(producers.find("p", sequence), Seen::Pending(100 + sequence));
            producers.keep("p".into(), sequence, (sequence * 2, 2));
        }
        assert_eq!(producers.find("p", 0), Seen::Forgotten);
        assert_eq!(producers.find("p", 1), Seen::Stored(2, 2));
        assert_eq!(producers.find("p", max), Seen::Stored(max * 2, 2));
        assert_eq!(producers.find("q", 0), Seen::New);
        producers.begin("p".into(), max + 1, 9);
        producers.end("p", max + 1);
        assert_eq!(producers.find("p", max + 1), Seen::New);
        let mut again = Producers::default();
        again.restore(producers.kept());
        assert_eq!(again.find("p", 0), Seen::Forgotten);
        assert_eq!(again.find("p", 5), Seen::Stored(10, 2));
    }

    #[test]
    fn who_was_not_heard_for_longest_makes_room() {
        let mut producers = Producers::default();
        producers.begin("busy".into(), 1, 1);
        for number in 0..PRODUCERS_MAX {
            producers.keep(format!("{number}"), 1, (0, 1));
        }
        assert_eq!(producers.len(), PRODUCERS_MAX);
        assert_eq!(producers.find("busy", 1), Seen::Pending(1));
        assert_eq!(producers.find("0", 1), Seen::New);
        assert_eq!(producers.find("1", 1), Seen::Stored(0, 1));
    }
}
