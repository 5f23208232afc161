//! Replays by links: what the stream has is published at a bus, in its order, at its own pace or faster,
//! and then what comes.
//!
//! Each goes on where it was: its place is that of a group of its own, kept as every group's is, some
//! time after the bus has acknowledged what is before it. So a crash has some of it published again, and
//! none left out. While nobody subscribes at the bus it waits. What the bus cannot take is left out and
//! counted.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::model::quantity::Pace;
use crate::model::store::{Ask, Entry, Fetched, Start, StoreFault, Stored};
use crate::protocol::parts;
use crate::protocol::zn1::{self, Reply, Request};
use crate::roles::machine::{Action, Conn};

use super::known::Note;
use super::{Machine, Pending};

/// Messages, and bytes of theirs, that are published and not acknowledged.
const FLIGHT_MAX: usize = 64;
const FLIGHT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Records, and bytes of theirs, that are read at a time.
const PAGE_MAX: usize = 256;
const PAGE_BYTES_MAX: usize = 1024 * 1024;
/// How long it waits before it asks again who did not do something, and for an acknowledgement.
const REST: Duration = Duration::from_millis(100);
const SILENCE: Duration = Duration::from_secs(5);
/// How often its place is kept, at the latest, and after how many messages.
const KEEP_EVERY: Duration = Duration::from_secs(1);
const KEEP_EVERY_MESSAGES: u64 = 1_000;
/// The id of the question whether anybody subscribes.
const WHO: &str = "who";

/// What is to be replayed by a dial, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replay {
    /// How far apart.
    pub pace: Pace,
    /// What of it, by the beginnings of its first frames.
    pub topics: Vec<String>,
    /// Bytes of a message that the bus takes at most.
    pub bytes_max: usize,
    /// Frames of a message that the bus takes at most.
    pub parts_max: usize,
}

/// What became of something that was published.
#[derive(Debug)]
struct Flying {
    offset: u64,
    bytes: usize,
    is_done: bool,
    is_left_out: bool,
}

/// What is to become of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Published,
    /// The bus does not take it.
    LeftOut,
    /// It is of no topic that is replayed.
    PassedOver,
}

/// A replay at work.
#[derive(Debug)]
pub(super) struct Replaying {
    told: Replay,
    /// The group that has its place.
    group: String,
    /// The number of its ownership, once that is stored: no life has that of another.
    generation: Option<u64>,
    is_keeping: bool,
    conn: Option<Conn>,
    /// Somebody subscribed when it was asked last.
    is_heard: bool,
    is_asking: bool,
    /// Until when it rests, where something was not done.
    rests_until: Option<Duration>,
    page: VecDeque<(u64, u64, Bytes)>,
    is_reading: bool,
    flight: VecDeque<Flying>,
    /// What was published before it began anew is acknowledged in vain.
    attempt: u64,
    silent_at: Duration,
    /// The next to be published.
    next: u64,
    /// All before it is published, or left out.
    done: u64,
    kept: u64,
    keeps_at: Duration,
    /// When the first of this life was published, and its own time.
    base: Option<(Duration, u64)>,
    /// When the next is to be.
    due: Option<Duration>,
    published: u64,
    left_out: u64,
}

/// All replays, by the names of the dials.
pub(super) fn all(told: &BTreeMap<String, Replay>) -> BTreeMap<String, Replaying> {
    let each = told.iter();
    each.map(|(dial, told)| (dial.clone(), Replaying::new(dial, told)))
        .collect()
}

impl Replaying {
    fn new(dial: &str, told: &Replay) -> Self {
        Self {
            told: told.clone(),
            group: format!("replay {dial}"),
            generation: None,
            is_keeping: false,
            conn: None,
            is_heard: false,
            is_asking: false,
            rests_until: None,
            page: VecDeque::new(),
            is_reading: false,
            flight: VecDeque::new(),
            attempt: 0,
            silent_at: Duration::ZERO,
            next: 0,
            done: 0,
            kept: 0,
            keeps_at: Duration::ZERO,
            base: None,
            due: None,
            published: 0,
            left_out: 0,
        }
    }

    /// Begins anew with what is not acknowledged.
    fn rewind(&mut self) {
        self.attempt += 1;
        self.flight.clear();
        self.page.clear();
        self.next = self.done;
        self.due = None;
    }

    pub(super) fn is_idle(&self) -> bool {
        self.conn.is_none() || self.flight.is_empty()
    }

    /// When it has something to do.
    pub(super) fn next(&self) -> Option<Duration> {
        let is_dirty = self.done > self.kept && !self.is_keeping;
        let is_on = self.conn.is_some();
        let is_answered = self.flight.is_empty() && !self.is_asking;
        let all = [
            self.rests_until.filter(|_| is_on),
            self.due.filter(|_| is_on),
            (is_on && !is_answered).then_some(self.silent_at),
            is_dirty.then_some(self.keeps_at),
        ];
        all.into_iter().flatten().min()
    }

    pub(super) fn facts(&self, end: u64) -> Value {
        json!({
            "offset": self.done,
            "lag": end.saturating_sub(self.done),
            "published": self.published,
            "left_out": self.left_out,
            "connected": self.conn.is_some(),
            "heard": self.is_heard,
        })
    }

    /// What is done at the front is.
    fn settle(&mut self) {
        while self.flight.front().is_some_and(|it| it.is_done) {
            if let Some(done) = self.flight.pop_front() {
                self.done = done.offset + 1;
                self.left_out += u64::from(done.is_left_out);
            }
        }
        if self.flight.is_empty() {
            self.done = self.next;
        }
    }

    fn fate(&self, frames: &[Bytes]) -> Fate {
        let topic = frames.first().map_or(&[][..], |frame| &frame[..]);
        let mut topics = self.told.topics.iter();
        if !topics.any(|it| topic.starts_with(it.as_bytes())) {
            return Fate::PassedOver;
        }
        let is_too_large = parts::bytes_of(frames) > self.told.bytes_max;
        match is_too_large || frames.len() > self.told.parts_max {
            true => Fate::LeftOut,
            false => Fate::Published,
        }
    }
}

impl Machine {
    /// Whether a dial is one that something is replayed by.
    pub(super) fn is_replayed_to(&self, port: &str) -> bool {
        self.replaying.contains_key(port)
    }

    pub(super) fn replay_opened(&mut self, port: &str, conn: Conn, actions: &mut Vec<Action>) {
        if let Some(replaying) = self.replaying.get_mut(port) {
            (replaying.conn, replaying.is_heard) = (Some(conn), false);
            replaying.is_asking = false;
            replaying.rewind();
            self.replay_all(actions);
        }
    }

    pub(super) fn replay_closed(&mut self, port: &str, conn: Conn) {
        if let Some(replaying) = self.replaying.get_mut(port)
            && replaying.conn == Some(conn)
        {
            replaying.conn = None;
        }
    }

    /// What a bus answers.
    pub(super) fn replay_answer(
        &mut self,
        port: &str,
        frames: Vec<Bytes>,
        actions: &mut Vec<Action>,
    ) {
        let now = self.now;
        let Some(it) = self.replaying.get_mut(port) else {
            return;
        };
        let Ok(reply) = Reply::decode(frames) else {
            self.counters.malformed += 1;
            return;
        };
        if reply.id == WHO {
            it.is_asking = false;
            let topics = reply.result["fan"]["topics"].as_array();
            it.is_heard = topics.is_some_and(|topics| !topics.is_empty());
            it.rests_until = (!it.is_heard).then_some(now + REST);
            return self.replay_all(actions);
        }
        let id = std::str::from_utf8(&reply.id).unwrap_or_default();
        let mut words = id.rsplit('/').map(|word| word.parse::<u64>().ok());
        let (offset, attempt) = (words.next().flatten(), words.next().flatten());
        if attempt != Some(it.attempt) {
            return;
        }
        let flying = it.flight.iter_mut().find(|it| Some(it.offset) == offset);
        match (flying, reply.status) {
            (Some(flying), zn1::OK) => {
                flying.is_done = true;
                it.published += 1;
                // Nobody wanted it: it is asked whether anybody is there, before more is published.
                it.is_heard &= reply.result["matched"] != 0;
            }
            (Some(flying), zn1::BAD_REQUEST | zn1::TOO_LARGE) => {
                (flying.is_done, flying.is_left_out) = (true, true);
            }
            (Some(_), _) => {
                it.rewind();
                it.rests_until = Some(now + REST);
            }
            (None, _) => {}
        }
        it.settle();
        it.silent_at = now + SILENCE;
        self.replay_all(actions);
    }

    /// Goes on with every replay.
    pub(super) fn replay_all(&mut self, actions: &mut Vec<Action>) {
        let mut all = std::mem::take(&mut self.replaying);
        for (dial, it) in &mut all {
            self.replay_one(dial, it, actions);
        }
        self.replaying = all;
    }

    fn replay_one(&mut self, dial: &str, it: &mut Replaying, actions: &mut Vec<Action>) {
        let is_old = self.now >= it.keeps_at || self.is_draining && it.is_idle();
        let is_much = it.done.saturating_sub(it.kept) >= KEEP_EVERY_MESSAGES;
        if it.done > it.kept && !it.is_keeping && (is_old || is_much) {
            let note = Note::Commit {
                group: it.group.clone(),
                offset: it.done,
            };
            self.keep_place(dial, it, note, actions);
        }
        let Some(conn) = it.conn.filter(|_| !self.is_draining) else {
            return;
        };
        let is_answered = it.flight.is_empty() && !it.is_asking;
        if !is_answered && self.now >= it.silent_at {
            it.conn = None;
            return actions.push(Action::Close { conn });
        }
        if it.rests_until.is_some_and(|until| self.now < until) {
            return;
        }
        it.rests_until = None;
        if it.generation.is_none() {
            if !it.is_keeping {
                let note = Note::Take {
                    group: it.group.clone(),
                    consumer: self.config.common.name.to_string(),
                    generation: self.groups.next_generation(),
                };
                self.keep_place(dial, it, note, actions);
            }
            return;
        }
        if !it.is_heard {
            if !it.is_asking && it.flight.is_empty() {
                it.is_asking = true;
                it.silent_at = self.now + SILENCE;
                let request = Request::new("status", WHO, Value::Null);
                let frames = request.encode();
                actions.push(Action::Send { conn, frames });
            }
            return;
        }
        self.publish_on(dial, it, conn, actions);
    }

    /// Publishes what is due, as far as there is room.
    fn publish_on(
        &mut self,
        dial: &str,
        it: &mut Replaying,
        conn: Conn,
        actions: &mut Vec<Action>,
    ) {
        it.due = None;
        loop {
            let flying: usize = it.flight.iter().map(|it| it.bytes).sum();
            if it.flight.len() >= FLIGHT_MAX || flying >= FLIGHT_BYTES_MAX {
                return;
            }
            let Some((offset, time_ns, data)) = it.page.front().cloned() else {
                return self.read_on(dial, it, actions);
            };
            let mut frames = parts::frames(data);
            let fate = it.fate(&frames);
            if fate == Fate::Published {
                let (at, first_ns) = *it.base.get_or_insert((self.now, time_ns));
                let due = at.saturating_add(it.told.pace.after(first_ns, time_ns));
                if due > self.now {
                    it.due = Some(due);
                    return;
                }
            }
            it.page.pop_front();
            it.next = offset + 1;
            if it.flight.is_empty() {
                it.silent_at = self.now + SILENCE;
            }
            it.flight.push_back(Flying {
                offset,
                bytes: parts::bytes_of(&frames),
                is_done: fate != Fate::Published,
                is_left_out: fate == Fate::LeftOut,
            });
            if fate != Fate::Published {
                it.settle();
                continue;
            }
            let (generation, attempt) = (it.generation.unwrap_or_default(), it.attempt);
            let name = &self.config.common.name;
            let id = format!("{name}/{dial}/{time_ns}/{generation}/{attempt}/{offset}");
            let mut request = Request::new("publish", id, Value::Null);
            request.body.append(&mut frames);
            let frames = request.encode();
            actions.push(Action::Send { conn, frames });
        }
    }

    fn read_on(&mut self, dial: &str, it: &mut Replaying, actions: &mut Vec<Action>) {
        if it.is_reading || it.next >= self.end {
            return;
        }
        it.is_reading = true;
        let ticket = self.ticket(Pending::Replay(dial.to_owned()));
        actions.push(Action::Disk(Ask::Fetch {
            ticket,
            start: Start::Offset(it.next),
            records_max: PAGE_MAX,
            bytes_max: PAGE_BYTES_MAX,
        }));
    }

    /// What was read for a replay.
    pub(super) fn replay_read(
        &mut self,
        dial: &str,
        result: Result<Fetched, StoreFault>,
        actions: &mut Vec<Action>,
    ) {
        let (now, end) = (self.now, self.end);
        let Some(it) = self.replaying.get_mut(dial) else {
            return;
        };
        it.is_reading = false;
        let passes = |it: &mut Replaying, to: u64| {
            it.left_out += to.saturating_sub(it.next);
            (it.next, it.done) = (to, if it.flight.is_empty() { to } else { it.done });
        };
        match result {
            Ok(fetched) => {
                let first = fetched.first_offset;
                let records = (first..end).zip(fetched.records);
                let records = records.map(|(offset, record)| (offset, record.time_ns, record.data));
                // It may have begun anew meanwhile.
                if first <= it.next && it.page.is_empty() {
                    it.page
                        .extend(records.filter(|(offset, ..)| *offset >= it.next));
                }
            }
            Err(StoreFault::Gone(start)) => passes(it, start),
            Err(StoreFault::Damaged(_, next)) => passes(it, next),
            Err(_) => it.rests_until = Some(now + REST),
        }
        self.replay_all(actions);
    }

    fn keep_place(
        &mut self,
        dial: &str,
        it: &mut Replaying,
        note: Note,
        actions: &mut Vec<Action>,
    ) {
        it.is_keeping = true;
        let entry = Entry {
            note: note.encode(),
            records: Vec::new(),
        };
        let ticket = self.ticket(Pending::Place(dial.to_owned(), note));
        actions.push(Action::Disk(Ask::Store { ticket, entry }));
    }

    /// The place of a replay is stored, or not.
    pub(super) fn place_kept(
        &mut self,
        dial: &str,
        note: &Note,
        result: Result<Stored, StoreFault>,
        actions: &mut Vec<Action>,
    ) {
        let (now, start) = (self.now, self.start);
        if result.is_ok() {
            self.groups.apply(note);
        }
        let Some(it) = self.replaying.get_mut(dial) else {
            return;
        };
        it.is_keeping = false;
        it.keeps_at = now + KEEP_EVERY;
        match (result, note) {
            (Ok(_), Note::Take { generation, .. }) => {
                it.generation = Some(*generation);
                let place = self.groups.place(&it.group).unwrap_or_default();
                (it.done, it.kept) = (place.max(start), place);
                it.rewind();
            }
            (Ok(_), Note::Commit { offset, .. }) => it.kept = *offset,
            (Ok(_), Note::Forget { .. } | Note::Producer(..)) => {}
            (Err(_), _) => it.rests_until = Some(now + REST),
        }
        self.replay_all(actions);
    }
}
