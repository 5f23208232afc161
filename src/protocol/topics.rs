//! Who is subscribed to what: a trie of prefixes, shared by all subscribers.
//!
//! A topic leads along its bytes to the deepest prefix that somebody holds; two topics that end at
//! the same one have the same subscribers, so that a run of messages is looked up byte by byte and
//! delivered at once. What a lookup costs grows with the length of the topic, what a delivery costs
//! with the subscribers that match, and neither with all others.
//!
//! It must never cost more memory than what is subscribed to: common beginnings are kept once, and
//! what nobody holds any more is gone.

use std::collections::HashMap;

/// What a subscription begins with that is answered with its own topic, to whoever subscribed and to
/// nobody else: all its subscriptions before it count now.
pub const READY_PREFIX: &[u8] = b"ZN1.ready.";

/// A prefix that somebody holds. It names the same prefix as long as anybody does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix(u32);

const ROOT: u32 = 0;

#[derive(Debug, Default)]
struct Node {
    /// The bytes from its parent to here.
    label: Box<[u8]>,
    parent: u32,
    /// Sorted by the first byte of their labels.
    children: Vec<(u8, u32)>,
    /// Who holds it, and how often each subscribed.
    holders: Vec<(u32, u32)>,
    /// Messages whose deepest held prefix it was.
    passed: u64,
}

/// The prefixes, held by numbers.
#[derive(Debug)]
pub struct Topics {
    nodes: Vec<Node>,
    free: Vec<u32>,
    /// What each holds.
    held: HashMap<u32, Vec<u32>>,
}

/// One prefix that is held, as `bus ls` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The prefix.
    pub prefix: Vec<u8>,
    /// How many hold it.
    pub subscribers: usize,
    /// Messages that came with this prefix, since somebody has held it or a shorter one.
    pub messages: u64,
}

impl Default for Topics {
    fn default() -> Self {
        Self {
            nodes: vec![Node::default()],
            free: Vec::new(),
            held: HashMap::new(),
        }
    }
}

impl Topics {
    fn node(&self, at: u32) -> &Node {
        &self.nodes[at as usize]
    }

    fn node_mut(&mut self, at: u32) -> &mut Node {
        &mut self.nodes[at as usize]
    }

    fn child(&self, at: u32, byte: u8) -> Option<u32> {
        let children = &self.node(at).children;
        let found = children.binary_search_by_key(&byte, |(first, _)| *first);
        found.ok().map(|index| children[index].1)
    }

    /// The deepest held prefix of a topic.
    pub fn find(&self, topic: &[u8]) -> Option<Prefix> {
        let root = &self.nodes[0];
        let mut deepest = (!root.holders.is_empty()).then_some(Prefix(ROOT));
        if root.children.is_empty() {
            return deepest;
        }
        let (mut at, mut rest) = (ROOT, topic);
        while let Some(first) = rest.first()
            && let Some(child) = self.child(at, *first)
            && let Some(after) = rest.strip_prefix(&*self.node(child).label)
        {
            (at, rest) = (child, after);
            if !self.node(at).holders.is_empty() {
                deepest = Some(Prefix(at));
            }
        }
        deepest
    }

    /// Counts messages that were found to end at a prefix.
    pub fn count(&mut self, at: Prefix, messages: u64) {
        self.node_mut(at.0).passed += messages;
    }

    /// Who is subscribed to topics that end at a prefix, once for each subscription: whoever holds
    /// several prefixes of a topic comes several times.
    pub fn matching(&self, at: Prefix) -> impl Iterator<Item = u32> {
        let above = |at: &u32| (*at != ROOT).then(|| self.node(*at).parent);
        std::iter::successors(Some(at.0), above)
            .flat_map(|at| self.node(at).holders.iter().map(|(holder, _)| *holder))
    }

    /// Subscribes. True where the holder did not hold this prefix before.
    pub fn add(&mut self, holder: u32, prefix: &[u8]) -> bool {
        let at = self.reach(prefix);
        let holders = &mut self.node_mut(at).holders;
        if let Some((_, times)) = holders.iter_mut().find(|(it, _)| *it == holder) {
            *times = times.saturating_add(1);
            return false;
        }
        holders.push((holder, 1));
        self.held.entry(holder).or_default().push(at);
        true
    }

    /// Takes back one subscription. True where the holder does not hold the prefix any more.
    pub fn remove(&mut self, holder: u32, prefix: &[u8]) -> bool {
        let Some(at) = self.exact(prefix) else {
            return false;
        };
        let holders = &mut self.node_mut(at).holders;
        let Some(index) = holders.iter().position(|(it, _)| *it == holder) else {
            return false;
        };
        holders[index].1 -= 1;
        if holders[index].1 > 0 {
            return false;
        }
        if let Some(held) = self.held.get_mut(&holder) {
            held.retain(|node| *node != at);
            if held.is_empty() {
                self.held.remove(&holder);
            }
        }
        self.drop_holder(at, holder);
        true
    }

    /// The prefixes that a holder holds.
    pub fn of(&self, holder: u32) -> Vec<Vec<u8>> {
        let held = self.held.get(&holder).into_iter().flatten();
        held.map(|at| {
            let above = |at: &u32| (*at != ROOT).then(|| self.node(*at).parent);
            let mut labels: Vec<&[u8]> = std::iter::successors(Some(*at), above)
                .map(|at| &*self.node(at).label)
                .collect();
            labels.reverse();
            labels.concat()
        })
        .collect()
    }

    /// Takes back all that a holder subscribed to.
    pub fn leave(&mut self, holder: u32) {
        for at in self.held.remove(&holder).unwrap_or_default() {
            self.drop_holder(at, holder);
        }
    }

    fn drop_holder(&mut self, at: u32, holder: u32) {
        let node = self.node_mut(at);
        node.holders.retain(|(it, _)| *it != holder);
        if node.holders.is_empty() {
            // What is idle holds no memory.
            node.holders = Vec::new();
            self.prune(at);
        }
    }

    /// The node of exactly this prefix, if there is one.
    fn exact(&self, prefix: &[u8]) -> Option<u32> {
        let (mut at, mut rest) = (ROOT, prefix);
        while let Some(first) = rest.first() {
            let child = self.child(at, *first)?;
            rest = rest.strip_prefix(&*self.node(child).label)?;
            at = child;
        }
        Some(at)
    }

    /// The node of exactly this prefix, made where there is none.
    fn reach(&mut self, prefix: &[u8]) -> u32 {
        let (mut at, mut rest) = (ROOT, prefix);
        while let Some(first) = rest.first() {
            let Some(child) = self.child(at, *first) else {
                return self.insert(at, rest);
            };
            let label = &self.node(child).label;
            let common = label.iter().zip(rest).take_while(|(a, b)| a == b).count();
            at = if common < label.len() {
                self.split(child, common)
            } else {
                child
            };
            rest = &rest[common..];
        }
        at
    }

    fn insert(&mut self, parent: u32, label: &[u8]) -> u32 {
        let node = Node {
            label: label.into(),
            parent,
            ..Node::default()
        };
        let new = match self.free.pop() {
            Some(free) => {
                *self.node_mut(free) = node;
                free
            }
            None => {
                self.nodes.push(node);
                u32::try_from(self.nodes.len() - 1).expect("fewer prefixes than numbers")
            }
        };
        let children = &mut self.node_mut(parent).children;
        let index = children.partition_point(|(first, _)| *first < label[0]);
        children.insert(index, (label[0], new));
        new
    }

    /// Puts a node between another and its parent, `common` bytes below the parent.
    fn split(&mut self, lower: u32, common: usize) -> u32 {
        let label = std::mem::take(&mut self.node_mut(lower).label);
        let parent = self.node(lower).parent;
        let first = label[0];
        self.node_mut(parent)
            .children
            .retain(|(byte, _)| *byte != first);
        let middle = self.insert(parent, &label[..common]);
        self.node_mut(middle).children.push((label[common], lower));
        let node = self.node_mut(lower);
        node.label = label[common..].into();
        node.parent = middle;
        middle
    }

    /// Takes away a node that nobody holds and no two others need.
    fn prune(&mut self, at: u32) {
        if at == ROOT {
            return;
        }
        let node = self.node(at);
        let (parent, first, passed) = (node.parent, node.label[0], node.passed);
        match node.children[..] {
            [] => {
                let above = self.node_mut(parent);
                above.children.retain(|(byte, _)| *byte != first);
                above.passed += passed;
                *self.node_mut(at) = Node::default();
                self.free.push(at);
                if self.node(parent).holders.is_empty() {
                    self.prune(parent);
                }
            }
            [(_, lower)] => {
                let upper = std::mem::take(self.node_mut(at));
                let below = self.node_mut(lower);
                below.label = [&upper.label[..], &below.label[..]].concat().into();
                below.parent = parent;
                let above = self.node_mut(parent);
                above.passed += passed;
                for (byte, child) in &mut above.children {
                    if *byte == first {
                        *child = lower;
                    }
                }
                self.free.push(at);
            }
            _ => {}
        }
    }

    /// How many prefixes are held.
    pub fn len(&self) -> usize {
        let held = self.nodes.iter().filter(|node| !node.holders.is_empty());
        held.count()
    }

    /// Whether nobody holds any.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// How many prefixes are held.
    pub fn prefixes(&self) -> usize {
        let held = self.nodes.iter().filter(|node| !node.holders.is_empty());
        held.count()
    }

    /// The prefixes that are held, in their order, at most `max`.
    pub fn list(&self, max: usize) -> Vec<Held> {
        let mut found = Vec::new();
        self.walk(ROOT, &mut Vec::new(), (max, &mut found));
        found
    }

    /// Gives the messages that passed at a node and below. A label has at least a byte, so that this
    /// goes no deeper than the longest topic.
    fn walk(&self, at: u32, prefix: &mut Vec<u8>, (max, found): (usize, &mut Vec<Held>)) -> u64 {
        let node = self.node(at);
        prefix.extend_from_slice(&node.label);
        let own = (!node.holders.is_empty() && found.len() < max).then(|| {
            found.push(Held {
                prefix: prefix.clone(),
                subscribers: node.holders.len(),
                messages: 0,
            });
            found.len() - 1
        });
        let mut messages = node.passed;
        for (_, child) in &node.children {
            messages += self.walk(*child, prefix, (max, found));
        }
        if let Some(own) = own {
            found[own].messages = messages;
        }
        prefix.truncate(prefix.len() - node.label.len());
        messages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matching(topics: &Topics, topic: &[u8]) -> Vec<u32> {
        let found = topics.find(topic);
        let mut all: Vec<u32> = found.map_or_else(Vec::new, |at| topics.matching(at).collect());
        all.sort_unstable();
        all.dedup();
        all
    }

    #[test]
    fn topics_are_prefixes_and_everybody_is_matched_once() {
        let mut topics = Topics::default();
        assert_eq!(topics.find(b"ping"), None, "nobody is there");
        assert!(topics.add(1, b"ping"));
        assert!(topics.add(2, b"") && topics.add(1, b"") && topics.add(3, b"pings"));
        assert_eq!(matching(&topics, b"ping"), [1, 2]);
        assert_eq!(matching(&topics, b"pings"), [1, 2, 3]);
        assert_eq!(matching(&topics, b"pin"), [1, 2]);
        assert!(!topics.add(3, b"pings"), "it holds it already");
        assert!(!topics.remove(3, b"pings"), "and once more");
        assert!(topics.remove(3, b"pings"));
        assert!(!topics.remove(3, b"pings") && !topics.remove(3, b"p"));
        assert_eq!(matching(&topics, b"pings"), [1, 2]);
        assert_eq!(topics.of(1), [&b"ping"[..], b""]);
        topics.leave(1);
        assert!(topics.of(1).is_empty());
        topics.leave(2);
        assert_eq!(topics.find(b"ping"), None);
        assert!(topics.is_empty());
    }

    #[test]
    fn what_nobody_holds_leaves_nothing_behind() {
        let mut topics = Topics::default();
        let long = vec![b'x'; 1_024];
        for turn in 0..100_u8 {
            let topic = [&long[..], &[turn]].concat();
            topics.add(u32::from(turn), &topic);
        }
        assert!(topics.nodes.len() <= 102, "common beginnings are kept once");
        for turn in 0..100_u32 {
            topics.leave(turn);
        }
        assert_eq!(topics.nodes.len() - topics.free.len(), 1, "the root");
        assert!(topics.nodes[0].children.is_empty());
    }

    #[test]
    fn messages_are_counted_with_every_prefix_they_have() {
        let mut topics = Topics::default();
        for (holder, topic) in [(1, "a"), (2, "ab"), (3, "ac"), (4, "b")] {
            topics.add(holder, topic.as_bytes());
        }
        for topic in ["a1", "ab", "abc", "ac", "b"] {
            let at = topics.find(topic.as_bytes()).unwrap();
            topics.count(at, 1);
        }
        let counts: Vec<(String, u64)> = topics
            .list(9)
            .into_iter()
            .map(|held| (String::from_utf8(held.prefix).unwrap(), held.messages))
            .collect();
        let expected = [("a", 4), ("ab", 2), ("ac", 1), ("b", 1)];
        assert_eq!(counts, expected.map(|(topic, n)| (topic.to_owned(), n)));
        assert_eq!(topics.list(2).len(), 2, "the list is bounded");
    }

    #[test]
    fn whatever_is_added_and_removed_it_matches_like_a_list() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut topics = Topics::default();
        let mut list: Vec<(u32, Vec<u8>)> = Vec::new();
        let topic = |random: &mut fastrand::Rng| -> Vec<u8> {
            (0..random.usize(..6))
                .map(|_| random.u8(b'a'..=b'c'))
                .collect()
        };
        for _ in 0..20_000 {
            let (holder, prefix) = (random.u32(..6), topic(&mut random));
            match random.u8(..5) {
                0 | 1 => {
                    topics.add(holder, &prefix);
                    list.push((holder, prefix));
                }
                2 | 3 => {
                    topics.remove(holder, &prefix);
                    if let Some(at) = list.iter().position(|it| *it == (holder, prefix.clone())) {
                        list.swap_remove(at);
                    }
                }
                _ if random.u8(..10) == 0 => {
                    topics.leave(holder);
                    list.retain(|(it, _)| *it != holder);
                }
                _ => {}
            }
            let sent = topic(&mut random);
            let mut expected: Vec<u32> = list
                .iter()
                .filter(|(_, prefix)| sent.starts_with(prefix))
                .map(|(holder, _)| *holder)
                .collect();
            expected.sort_unstable();
            expected.dedup();
            assert_eq!(matching(&topics, &sent), expected);
        }
    }
}
