//! What must hold, seen from outside: who must get which message, in which order, and what becomes of it.
//!
//! It knows nothing of tries, runs and lanes: subscriptions are a list, and a message is compared with
//! each of them.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

use super::Message;
use super::peers::{Kind, number_of};
use super::sides::Rules;
use crate::model::policy::Overflow;
use crate::protocol::topics::READY_PREFIX;
use crate::protocol::zn1::{Reply, Request};
use crate::roles::bus::Account;
use crate::roles::machine::Conn;

/// A subscriber as it should be.
#[derive(Default)]
struct Subscriber {
    wants: Option<&'static str>,
    is_welcomed: bool,
    /// Every subscription, as often as it was made.
    topics: Vec<Bytes>,
    /// All that it matched, in order.
    matched: Vec<Message>,
    /// How much of it was compared with what it got, and how much it got.
    seen: usize,
    delivered: usize,
}

pub(super) struct Oracle {
    rules: Rules,
    subscribers: BTreeMap<Conn, Subscriber>,
    retained: BTreeMap<Bytes, (Message, &'static str)>,
    numbers: HashMap<Bytes, u64>,
    /// What was published with an id, and for how many it was.
    ids: HashMap<Bytes, u64>,
    repeated: u64,
    messages: u64,
    /// What passed to those that are gone.
    gone: Account,
}

impl Oracle {
    pub(super) fn new(rules: &Rules) -> Self {
        Self {
            rules: rules.clone(),
            subscribers: BTreeMap::new(),
            retained: BTreeMap::new(),
            numbers: HashMap::new(),
            ids: HashMap::new(),
            repeated: 0,
            messages: 0,
            gone: Account::default(),
        }
    }

    pub(super) fn opened(&mut self, conn: Conn, kind: Kind) {
        if kind.is_out() {
            let subscriber = Subscriber {
                wants: kind.wants(conn),
                ..Subscriber::default()
            };
            self.subscribers.insert(conn, subscriber);
        }
    }

    pub(super) fn closed(&mut self, conn: Conn, account: Option<Account>) {
        if let (Some(subscriber), Some(mut account)) = (self.subscribers.remove(&conn), account) {
            assert_eq!(account.matched, subscriber.matched.len() as u64);
            account.left += std::mem::take(&mut account.queued);
            self.gone.add(&account);
        }
    }

    /// A message was published. Gives for how many it is.
    pub(super) fn published(&mut self, message: &Message, origin: &'static str) -> u64 {
        self.messages += 1;
        let mut message = message.clone();
        let topic = message[0].clone();
        let has_topic = message.len() > 1;
        if self.rules.is_sequenced {
            let number = self.numbers.entry(topic.clone()).or_default();
            *number += 1;
            let frame = [[0; 8], number.to_be_bytes()].concat();
            message.push(frame.into());
        }
        if self.rules.is_retained && has_topic {
            let kept = (message.clone(), origin);
            self.retained.insert(topic.clone(), kept);
        }
        let mut count = 0;
        for subscriber in self.subscribers.values_mut() {
            let is_for_it = subscriber.topics.iter().any(|it| topic.starts_with(it));
            if is_for_it && subscriber.wants.is_none_or(|it| it == origin) {
                subscriber.matched.push(message.clone());
                count += 1;
            }
        }
        count
    }

    pub(super) fn subscribed(&mut self, conn: Conn, topic: &Bytes, is_on: bool) {
        let Some(subscriber) = self.subscribers.get_mut(&conn) else {
            return;
        };
        let at = subscriber.topics.iter().position(|it| it == topic);
        if !is_on {
            at.map(|at| subscriber.topics.swap_remove(at));
            return;
        }
        subscriber.topics.push(topic.clone());
        if at.is_some() {
            return;
        }
        if let Some(welcome) = self.rules.welcome
            && welcome.as_bytes().starts_with(topic)
            && !std::mem::replace(&mut subscriber.is_welcomed, true)
        {
            subscriber.matched.push(vec![welcome.into()]);
        }
        for (name, (message, origin)) in &self.retained {
            if name.starts_with(topic) && subscriber.wants.is_none_or(|it| it == *origin) {
                subscriber.matched.push(message.clone());
            }
        }
        if topic.starts_with(READY_PREFIX) {
            subscriber.matched.push(vec![topic.clone()]);
        }
    }

    /// A request to publish: what must be answered, nothing where it was published before.
    pub(super) fn asked(&mut self, frames: &Message) -> Option<u64> {
        let request = Request::decode(frames.clone()).expect("they speak ZN1");
        if self.ids.contains_key(&request.id) {
            self.repeated += 1;
            return None;
        }
        let count = self.published(&request.body, "");
        self.ids.insert(request.id, count);
        Some(count)
    }

    pub(super) fn answered(&mut self, answer: &Message, told: Option<u64>) {
        let reply = Reply::decode(answer.clone()).expect("the bus speaks ZN1");
        assert!(reply.is_ok());
        match told {
            Some(matched) => {
                assert_eq!(reply.result["matched"], matched, "it is for all it matches");
                let queued = reply.result["queued"].as_u64();
                assert!(queued.is_some_and(|queued| queued <= matched));
            }
            None => assert_eq!(reply.result["repeated"], true, "it is published once"),
        }
    }

    /// A subscriber's account, and what it was given so far.
    pub(super) fn check(&mut self, conn: Conn, account: &Account, delivered: &[Message]) {
        let subscriber = self.subscribers.get_mut(&conn).expect("it is there");
        assert_eq!(account.matched, subscriber.matched.len() as u64, "{conn:?}");
        assert!(account.is_exact(), "{account:?}");
        // One may be handed over in part.
        let whole = delivered.len() as u64;
        assert!(account.sent == whole || account.sent == whole + 1);
        let Account {
            newest,
            oldest,
            conflated,
            disconnected,
            left,
            ..
        } = *account;
        let others = match self.rules.overflow {
            Overflow::DropNewest | Overflow::Block => oldest + conflated + disconnected,
            Overflow::DropOldest => newest + conflated + disconnected,
            Overflow::Conflate => newest + oldest + disconnected,
            Overflow::Disconnect => newest + oldest + conflated,
        };
        assert_eq!(others + left, 0, "dropped for a reason that there is not");
        // Each is one that it matched, behind the one before it, and the same.
        for message in &delivered[subscriber.delivered..] {
            let rest = &subscriber.matched[subscriber.seen..];
            let skipped = rest.iter().position(|it| it == message);
            let skipped = skipped.unwrap_or_else(|| panic!("{conn:?} got {message:?}"));
            subscriber.seen += skipped + 1;
        }
        subscriber.delivered = delivered.len();
    }

    /// Whoever stayed and read has all that was not dropped, and the last where older ones are.
    pub(super) fn check_end(&mut self, conn: Conn, account: &Account, delivered: &[Message]) {
        self.check(conn, account, delivered);
        let subscriber = &self.subscribers[&conn];
        assert_eq!(
            delivered.len() as u64 + account.dropped(),
            account.matched,
            "{conn:?}"
        );
        if matches!(
            self.rules.overflow,
            Overflow::DropOldest | Overflow::Conflate
        ) {
            assert_eq!(delivered.last(), subscriber.matched.last(), "{conn:?}");
        }
        if !self.rules.is_retained {
            self.check_order(delivered);
        }
    }

    /// What one publisher said comes in its order, and once.
    fn check_order(&self, delivered: &[Message]) {
        let mut last = HashMap::new();
        for (who, number) in delivered.iter().filter_map(number_of) {
            let before = last.insert(who.clone(), number);
            assert!(before < Some(number), "{who:?}: {number} after {before:?}");
        }
    }

    pub(super) fn check_total(&self, total: &Account) {
        assert!(total.is_exact(), "{total:?}");
        let all = self.subscribers.values().map(|it| it.matched.len() as u64);
        assert_eq!(total.matched, self.gone.matched + all.sum::<u64>());
    }

    /// What was met in this world.
    pub(super) fn met(&self, total: &Account) -> BTreeMap<&'static str, u64> {
        BTreeMap::from([
            ("messages", self.messages),
            ("acknowledged", self.ids.len() as u64),
            ("repeated", self.repeated),
            ("matched", total.matched),
            ("sent", total.sent),
            ("newest", total.newest),
            ("oldest", total.oldest),
            ("conflated", total.conflated),
            ("disconnected", total.disconnected),
            ("left", total.left),
        ])
    }
}
