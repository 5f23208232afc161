//! The cache: a proxy that remembers answers for a while.
//!
//! The same request, frame by frame, is answered from memory until its time is over. While the
//! backend is being asked, others who ask the same wait for that one answer, so that the end of an
//! entry never becomes a stampede. What is least recently used goes first when there is too much.
//! Requests in ZN1 pass through: their verbs may change something.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::proxy;

/// How long an answer is remembered unless `ttl` says otherwise, in milliseconds.
pub const TTL_MS: u64 = 60_000;
/// How many bytes of requests and answers are remembered unless `max` says otherwise.
pub const BYTES_MAX: u64 = 64 * 1024 * 1024;
/// What an entry costs beside its frames.
const ENTRY_BYTES: u64 = 256;

/// What a cache is told when it starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// What it is told as a proxy.
    pub proxy: proxy::Config,
    /// How long an answer is remembered, in milliseconds.
    pub ttl_ms: u64,
    /// How many bytes of requests and answers are remembered.
    pub bytes_max: u64,
}

/// What was remembered, and whether it helped.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Requests answered from memory.
    pub hits: u64,
    /// Requests that the backend was asked.
    pub misses: u64,
    /// Requests that waited for the answer to another, which was the same.
    pub joined: u64,
    /// Answers forgotten because their time was over.
    pub expired: u64,
    /// Answers forgotten to make room.
    pub evicted: u64,
    /// Answers too large to be remembered.
    pub too_large: u64,
    /// Answers remembered now.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A request as a key: its frames.
pub type Key = Arc<[Bytes]>;

#[derive(Debug)]
struct Entry {
    answer: Vec<Bytes>,
    bytes: u64,
    until: Duration,
    used: u64,
}

/// Remembered answers.
#[derive(Debug)]
pub struct Memory {
    ttl: Duration,
    bytes_max: u64,
    entries: HashMap<Key, Entry>,
    /// By when each was last used, oldest first.
    order: BTreeMap<u64, Key>,
    uses: u64,
    counters: Counters,
}

impl Memory {
    /// Nothing is remembered yet.
    pub fn new(config: &Config) -> Self {
        Self {
            ttl: Duration::from_millis(config.ttl_ms),
            bytes_max: config.bytes_max,
            entries: HashMap::new(),
            order: BTreeMap::new(),
            uses: 0,
            counters: Counters::default(),
        }
    }

    /// Takes other bounds; what is there keeps its time.
    pub fn adopt(&mut self, config: &Config) {
        self.ttl = Duration::from_millis(config.ttl_ms);
        self.bytes_max = config.bytes_max;
        self.make_room();
    }

    /// The answer to a request, if it is remembered.
    pub fn get(&mut self, now: Duration, key: &Key) -> Option<Vec<Bytes>> {
        let entry = self.entries.get_mut(key)?;
        if entry.until <= now {
            self.counters.expired += 1;
            self.forget(key);
            return None;
        }
        self.uses += 1;
        self.order.remove(&entry.used);
        entry.used = self.uses;
        self.order.insert(entry.used, Arc::clone(key));
        self.counters.hits += 1;
        Some(entry.answer.clone())
    }

    /// A request that is asked of the backend.
    pub fn missed(&mut self) {
        self.counters.misses += 1;
    }

    /// A request that waits for the answer to another.
    pub fn joined(&mut self) {
        self.counters.joined += 1;
    }

    /// Remembers an answer.
    pub fn put(&mut self, now: Duration, key: Key, answer: &[Bytes]) {
        let sizes = key.iter().chain(answer).map(|frame| frame.len() as u64);
        let bytes = sizes.sum::<u64>() + ENTRY_BYTES;
        self.forget(&key);
        if bytes > self.bytes_max {
            self.counters.too_large += 1;
            return;
        }
        self.uses += 1;
        let entry = Entry {
            // Copied, so that an answer does not pin the chunk it was read in for as long as it lives.
            answer: answer.iter().map(|it| Bytes::copy_from_slice(it)).collect(),
            bytes,
            until: now + self.ttl,
            used: self.uses,
        };
        self.counters.bytes += bytes;
        self.counters.entries += 1;
        self.order.insert(entry.used, Arc::clone(&key));
        self.entries.insert(key, entry);
        self.make_room();
    }

    fn make_room(&mut self) {
        while self.counters.bytes > self.bytes_max
            && let Some((_, oldest)) = self.order.first_key_value()
        {
            let oldest = Arc::clone(oldest);
            self.forget(&oldest);
            self.counters.evicted += 1;
        }
    }

    fn forget(&mut self, key: &Key) {
        if let Some(entry) = self.entries.remove(key) {
            self.order.remove(&entry.used);
            self.counters.bytes -= entry.bytes;
            self.counters.entries -= 1;
        }
    }

    /// What was counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roles::proxy::tests::config;

    fn memory(bytes_max: u64) -> Memory {
        Memory::new(&Config {
            proxy: config(),
            ttl_ms: 1_000,
            bytes_max,
        })
    }

    fn key(text: &'static str) -> Key {
        Key::from([Bytes::from_static(text.as_bytes())].as_slice())
    }

    fn put(memory: &mut Memory, ms: u64, text: &'static str) {
        let answer = Bytes::from_static(&[7; 50]);
        memory.put(Duration::from_millis(ms), key(text), &[answer]);
    }

    fn has(memory: &mut Memory, ms: u64, text: &'static str) -> bool {
        memory.get(Duration::from_millis(ms), &key(text)).is_some()
    }

    #[test]
    fn an_answer_lives_for_its_time_and_not_a_millisecond_longer() {
        let mut memory = memory(BYTES_MAX);
        put(&mut memory, 5, "a");
        assert!(has(&mut memory, 1_004, "a"));
        assert!(!has(&mut memory, 1_005, "a"));
        assert_eq!(memory.counters().expired, 1);
        assert_eq!((memory.counters().entries, memory.counters().bytes), (0, 0));
    }

    #[test]
    fn who_is_least_recently_used_makes_room() {
        // An entry of one byte and fifty costs 307: there is room for two.
        let mut memory = memory(2 * (ENTRY_BYTES + 51));
        put(&mut memory, 0, "a");
        put(&mut memory, 0, "b");
        assert!(has(&mut memory, 0, "a"));
        put(&mut memory, 0, "c");
        assert!(!has(&mut memory, 0, "b"));
        assert!(has(&mut memory, 0, "a") && has(&mut memory, 0, "c"));
        assert_eq!(memory.counters().evicted, 1);
        put(&mut memory, 0, "c");
        assert_eq!(memory.counters().entries, 2, "the same entry once more");
    }

    #[test]
    fn what_is_larger_than_all_is_not_remembered() {
        let mut exact = memory(ENTRY_BYTES + 51);
        put(&mut exact, 0, "a");
        assert_eq!(exact.counters().entries, 1);
        let mut small = memory(ENTRY_BYTES + 50);
        put(&mut small, 0, "a");
        assert_eq!(
            (small.counters().entries, small.counters().too_large),
            (0, 1)
        );
    }
}
