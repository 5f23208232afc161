//! The fan-out of a bus as a machine: topics, bounded queues and accounts, one message at a time.
//!
//! A subscriber gets a message as an action. One that its connection does not take comes back as
//! [`Event::Unsent`] before anything else happens; then it waits here until there is room again. What
//! was offered and did not come back was sent.
//!
//! It must never hold more for a subscriber than its bound, and never lose count of a message.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use crate::model::policy::Overflow;
use crate::protocol::topics::{READY_PREFIX, Topics};
use crate::roles::machine::{Action, Conn, Event};

use super::{Account, Config, IN, OUT, RETAINED_MAX};

/// A body of fewer bytes than this has a short header.
const SHORT_BYTES: usize = 256;
/// The bytes of a short and of a long header.
const SHORT_HEADER_BYTES: usize = 2;
const LONG_HEADER_BYTES: usize = 9;

/// The bytes of a message on the wire.
fn wire_bytes(frames: &[Bytes]) -> usize {
    let bytes_of = |frame: &Bytes| match frame.len() {
        short @ ..SHORT_BYTES => SHORT_HEADER_BYTES + short,
        long => LONG_HEADER_BYTES + long,
    };
    frames.iter().map(bytes_of).sum()
}

/// The origin of what was published here first.
pub(super) const HERE: &str = "";

#[derive(Debug, Default)]
struct Subscriber {
    slot: u32,
    /// It is a bus, and gets what was published first there.
    wants: Option<String>,
    is_welcomed: bool,
    /// Its connection took none of the last, and has not said that there is room since.
    is_full: bool,
    is_over: bool,
    /// What it was given in this step, and may come back.
    offered: Option<Vec<Bytes>>,
    /// What comes behind that in the same step: it waits for no room, only for its turn.
    pending: VecDeque<Vec<Bytes>>,
    queue: VecDeque<Vec<Bytes>>,
    bytes: usize,
    account: Account,
}

/// The fan-out.
#[derive(Debug)]
pub(super) struct Fanout {
    config: Config,
    topics: Topics,
    subscribers: BTreeMap<Conn, Subscriber>,
    by_slot: BTreeMap<u32, Conn>,
    last_slot: u32,
    /// Buses that are dialled, and where what they send was published first.
    buses: BTreeMap<Conn, String>,
    retained: BTreeMap<Bytes, (Vec<Bytes>, String)>,
    numbers: BTreeMap<Bytes, u64>,
    gone: Account,
}

impl Fanout {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            config: config.clone(),
            topics: Topics::default(),
            subscribers: BTreeMap::new(),
            by_slot: BTreeMap::new(),
            last_slot: 0,
            buses: BTreeMap::new(),
            retained: BTreeMap::new(),
            numbers: BTreeMap::new(),
            gone: Account::default(),
        }
    }

    pub(super) fn adopt(&mut self, config: &Config) {
        self.config = config.clone();
    }

    /// Something waits for a connection that has room.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let mut all = self.subscribers.values();
        let is_due = all.any(|it| !it.is_full && (it.waits() || !it.pending.is_empty()));
        is_due.then_some(Duration::ZERO)
    }

    pub(super) fn account(&self, conn: Conn) -> Option<Account> {
        let subscriber = self.subscribers.get(&conn)?;
        let offered = u64::from(subscriber.offered.is_some());
        let pending = subscriber.pending.len() as u64;
        Some(Account {
            queued: subscriber.account.queued + offered + pending,
            ..subscriber.account
        })
    }

    pub(super) fn total(&self) -> Account {
        let mut total = self.gone;
        for conn in self.subscribers.keys() {
            total.add(&self.account(*conn).expect("a key of the same map"));
        }
        total
    }

    pub(super) fn step(&mut self, event: &Event, actions: &mut Vec<Action>) {
        if !matches!(event, Event::Unsent { .. }) {
            // What did not come back was taken.
            for subscriber in self.subscribers.values_mut() {
                if subscriber.offered.take().is_some() {
                    subscriber.account.sent += 1;
                }
            }
        }
        match event {
            Event::Opened { port, conn } => self.opened(port, *conn, actions),
            Event::Message { port, conn, frames } if &**port != OUT => {
                let origin = self.buses.get(conn).cloned();
                if &**port == IN || origin.is_some() {
                    let origin = origin.unwrap_or_default();
                    self.publish(frames, &origin, actions);
                }
            }
            Event::Subscribed {
                conn, topic, is_on, ..
            } => self.subscribed(*conn, topic, *is_on, actions),
            Event::Writable { conn } => {
                if let Some(subscriber) = self.subscribers.get_mut(conn) {
                    subscriber.is_full = false;
                    subscriber.go_on(*conn, actions);
                }
            }
            Event::Unsent { conn } => self.unsent(*conn, actions),
            Event::Closed { conn, .. } => self.closed(*conn),
            Event::Tick => {
                for (conn, subscriber) in &mut self.subscribers {
                    subscriber.go_on(*conn, actions);
                }
            }
            Event::Message { .. } | Event::Disk(_) | Event::Drain => {}
        }
    }

    fn opened(&mut self, port: &str, conn: Conn, actions: &mut Vec<Action>) {
        let everything = [String::new()];
        if port == OUT {
            self.last_slot += 1;
            self.by_slot.insert(self.last_slot, conn);
            let subscriber = Subscriber {
                slot: self.last_slot,
                ..Subscriber::default()
            };
            self.subscribers.insert(conn, subscriber);
            return;
        }
        let topics = match self.config.topics.get(port) {
            Some(topics) => {
                let origin = super::origin_of(port).unwrap_or(port);
                self.buses.insert(conn, origin.to_owned());
                match topics.is_empty() {
                    true => &everything[..],
                    false => &topics[..],
                }
            }
            None if port == IN => &everything[..],
            None => &[],
        };
        for topic in topics {
            actions.push(Action::Subscribe {
                conn,
                topic: Bytes::copy_from_slice(topic.as_bytes()),
                is_on: true,
            });
        }
    }

    /// What a peer calls itself is not told to machines: whoever runs one says which are buses.
    #[cfg(test)]
    pub(super) fn is_bus(&mut self, conn: Conn, origin: &str) {
        if let Some(subscriber) = self.subscribers.get_mut(&conn) {
            subscriber.wants = Some(origin.to_owned());
        } else {
            self.buses.insert(conn, origin.to_owned());
        }
    }

    fn closed(&mut self, conn: Conn) {
        self.buses.remove(&conn);
        if let Some(mut subscriber) = self.subscribers.remove(&conn) {
            self.topics.leave(subscriber.slot);
            self.by_slot.remove(&subscriber.slot);
            let account = &mut subscriber.account;
            account.left += std::mem::take(&mut account.queued) + subscriber.pending.len() as u64;
            self.gone.add(account);
        }
    }

    fn subscribed(&mut self, conn: Conn, topic: &Bytes, is_on: bool, actions: &mut Vec<Action>) {
        let Some(subscriber) = self.subscribers.get_mut(&conn) else {
            return;
        };
        if !is_on {
            self.topics.remove(subscriber.slot, topic);
            return;
        }
        if !self.topics.add(subscriber.slot, topic) {
            return;
        }
        let mut told = Vec::new();
        let welcome = self.config.welcome.as_ref().map(String::as_bytes);
        if let Some(welcome) = welcome.filter(|it| it.starts_with(topic))
            && !subscriber.is_welcomed
        {
            subscriber.is_welcomed = true;
            told.push(vec![Bytes::copy_from_slice(welcome)]);
        }
        let kept = self.retained.range(topic.clone()..);
        for (_, (frames, origin)) in kept.take_while(|(name, _)| name.starts_with(topic)) {
            if subscriber.is_for(origin) {
                told.push(frames.clone());
            }
        }
        if topic.starts_with(READY_PREFIX) {
            told.push(vec![topic.clone()]);
        }
        for frames in told {
            subscriber.give(conn, &self.config, frames, actions);
        }
    }

    /// Publishes a message. Gives for how many it is, and how many of them have it or will.
    pub(super) fn publish(
        &mut self,
        frames: &[Bytes],
        origin: &str,
        actions: &mut Vec<Action>,
    ) -> (u64, u64) {
        let topic = frames.first().cloned().unwrap_or_default();
        let mut frames = frames.to_vec();
        let has_topic = frames.len() > 1;
        if self.config.sequence {
            let number = self.numbers.entry(topic.clone()).or_default();
            *number += 1;
            frames.push(Bytes::copy_from_slice(
                &[[0; 8], number.to_be_bytes()].concat(),
            ));
        }
        if self.config.retain && has_topic {
            let is_known = self.retained.contains_key(&topic);
            if is_known || self.retained.len() < RETAINED_MAX {
                self.retained
                    .insert(topic.clone(), (frames.clone(), origin.to_owned()));
            }
        }
        let Some(found) = self.topics.find(&topic) else {
            return (0, 0);
        };
        let slots: BTreeSet<u32> = self.topics.matching(found).collect();
        let (mut matched, mut queued) = (0, 0);
        for slot in slots {
            let conn = self.by_slot[&slot];
            let Some(subscriber) = self.subscribers.get_mut(&conn) else {
                continue;
            };
            if !subscriber.is_for(origin) {
                continue;
            }
            matched += 1;
            let refused = subscriber.account.refused();
            subscriber.give(conn, &self.config, frames.clone(), actions);
            queued += u64::from(subscriber.account.refused() == refused);
        }
        (matched, queued)
    }

    fn unsent(&mut self, conn: Conn, actions: &mut Vec<Action>) {
        let Some(subscriber) = self.subscribers.get_mut(&conn) else {
            return;
        };
        let Some(frames) = subscriber.offered.take() else {
            return;
        };
        subscriber.is_full = true;
        if subscriber.waits() {
            // It was the first of those that wait, and is again.
            subscriber.bytes += wire_bytes(&frames);
            subscriber.account.queued += 1;
            subscriber.queue.push_front(frames);
            return;
        }
        let pending = std::mem::take(&mut subscriber.pending);
        for frames in std::iter::once(frames).chain(pending) {
            subscriber.keep(&self.config, (conn, frames), actions);
        }
    }
}

impl Subscriber {
    /// Whether what was published first there may go to it.
    fn is_for(&self, origin: &str) -> bool {
        self.wants.as_ref().is_none_or(|wants| wants == origin)
    }

    /// A message came for it.
    fn give(&mut self, conn: Conn, config: &Config, frames: Vec<Bytes>, actions: &mut Vec<Action>) {
        self.account.matched += 1;
        if self.is_over {
            self.account.disconnected += 1;
        } else if self.is_full || self.waits() {
            self.keep(config, (conn, frames), actions);
        } else if self.offered.is_some() || !self.pending.is_empty() {
            self.pending.push_back(frames);
        } else {
            self.offered = Some(frames.clone());
            actions.push(Action::Send { conn, frames });
        }
    }

    fn waits(&self) -> bool {
        !self.queue.is_empty()
    }

    fn fits(&self, config: &Config, bytes: usize) -> bool {
        let bytes_max = usize::try_from(config.buffer_bytes).unwrap_or(usize::MAX);
        let is_room = config
            .messages_max
            .is_none_or(|max| self.account.queued < max);
        self.queue.is_empty() || self.bytes + bytes <= bytes_max && is_room
    }

    /// Keeps a message, or drops one.
    fn keep(
        &mut self,
        config: &Config,
        (conn, frames): (Conn, Vec<Bytes>),
        actions: &mut Vec<Action>,
    ) {
        if self.is_over {
            self.account.disconnected += 1;
            return;
        }
        let bytes = wire_bytes(&frames);
        match config.overflow {
            Overflow::Conflate => {
                while self.pop().is_some() {
                    self.account.conflated += 1;
                }
            }
            Overflow::DropOldest => {
                while !self.fits(config, bytes) && self.pop().is_some() {
                    self.account.oldest += 1;
                }
            }
            Overflow::DropNewest | Overflow::Block if !self.fits(config, bytes) => {
                self.account.newest += 1;
                return;
            }
            Overflow::Disconnect if !self.fits(config, bytes) => {
                self.account.disconnected += 1;
                self.is_over = true;
                return actions.push(Action::Close { conn });
            }
            Overflow::DropNewest | Overflow::Block | Overflow::Disconnect => {}
        }
        self.bytes += bytes;
        self.account.queued += 1;
        self.queue.push_back(frames);
    }

    fn pop(&mut self) -> Option<Vec<Bytes>> {
        let frames = self.queue.pop_front()?;
        self.bytes -= wire_bytes(&frames);
        self.account.queued -= 1;
        Some(frames)
    }

    /// Offers the next that waits, where there is room.
    fn go_on(&mut self, conn: Conn, actions: &mut Vec<Action>) {
        if !self.is_full
            && self.offered.is_none()
            && let Some(frames) = self.pending.pop_front().or_else(|| self.pop())
        {
            self.offered = Some(frames.clone());
            actions.push(Action::Send { conn, frames });
        }
    }
}
