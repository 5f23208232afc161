//! Watching from a revision: a request that waits for the writes after it, and gives the revision to
//! go on from. Whoever folds what it is given has the same map.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::model::limits::kv::{PAGE_BYTES_MAX, WATCHES_MAX, WATCHES_OF_ONE_MAX};
use crate::protocol::zn1::{self, Reply};
use crate::roles::machine::{Action, Caller, Conn};

use super::Machine;
use super::state::{Change, Write};

/// What is watched, and from where.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) caller: Caller,
    pub(super) id: Bytes,
    pub(super) prefix: String,
    pub(super) after: u64,
    pub(super) limit: usize,
    pub(super) until: Duration,
}

/// Watches that wait.
#[derive(Debug, Default)]
pub(super) struct Watches {
    all: BTreeMap<u64, Watch>,
    ends: BTreeSet<(Duration, u64)>,
    of: HashMap<Conn, usize>,
    last: u64,
}

impl Watches {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn next(&self) -> Option<Duration> {
        self.ends.first().map(|(at, _)| *at)
    }

    fn is_full(&self, conn: Conn) -> bool {
        let own = self.of.get(&conn).copied().unwrap_or_default();
        self.all.len() >= WATCHES_MAX || own >= WATCHES_OF_ONE_MAX
    }

    fn push(&mut self, watch: Watch) {
        self.last += 1;
        self.ends.insert((watch.until, self.last));
        *self.of.entry(watch.caller.conn).or_default() += 1;
        self.all.insert(self.last, watch);
    }

    fn take(&mut self, number: u64) -> Option<Watch> {
        let watch = self.all.remove(&number)?;
        self.ends.remove(&(watch.until, number));
        let conn = watch.caller.conn;
        if let Some(own) = self.of.get_mut(&conn) {
            *own -= 1;
            if *own == 0 {
                self.of.remove(&conn);
            }
        }
        Some(watch)
    }

    pub(super) fn closed(&mut self, conn: Conn) {
        if !self.of.contains_key(&conn) {
            return;
        }
        let of_it = self.all.iter().filter(|(_, it)| it.caller.conn == conn);
        let numbers: Vec<u64> = of_it.map(|(number, _)| *number).collect();
        for number in numbers {
            self.take(number);
        }
    }
}

/// An event, for a watch.
fn event(write: &Write, began_ms: u64) -> Value {
    let op = match &write.change {
        Change::Set { .. } => "set",
        Change::Delete => "del",
        Change::Expire => "expire",
    };
    let mut event = json!({"op": op, "key": *write.key, "revision": write.revision});
    if let Change::Set {
        until_ms: Some(at), ..
    } = write.change
    {
        event["ttl_ms"] = at.saturating_sub(began_ms).into();
    }
    event
}

impl Machine {
    /// Answers a watch at once, where there is something to say, or has it wait.
    pub(super) fn watch(&mut self, watch: Watch, actions: &mut Vec<Action>) {
        if let Some(why) = self.kept.unknown() {
            let reply = Reply::failure(zn1::UNAVAILABLE, watch.id, why);
            return actions.push(watch.caller.reply(&reply));
        }
        if let Some(reply) = self.look(&watch) {
            return actions.push(watch.caller.reply(&reply));
        }
        if watch.until <= self.now || self.is_draining {
            return self.nothing(watch, actions);
        }
        if self.watches.is_full(watch.caller.conn) {
            self.counters.refused += 1;
            let words = "too many watch already";
            let reply = Reply::failure(zn1::BACK_PRESSURE, watch.id, words);
            return actions.push(watch.caller.reply(&reply));
        }
        let after = self.state.revision();
        self.watches.push(Watch { after, ..watch });
    }

    /// Nothing came of a watch in its time.
    fn nothing(&self, watch: Watch, actions: &mut Vec<Action>) {
        let told = json!({"events": [], "revision": self.state.revision()});
        let reply = Reply::new(zn1::OK, watch.id, told);
        actions.push(watch.caller.reply(&reply));
    }

    /// What there is to say to a watch; nothing is to wait.
    fn look(&self, watch: &Watch) -> Option<Reply> {
        let revision = self.state.revision();
        let writes = self.history.after(watch.after);
        let writes = match writes {
            Some(writes) if watch.after <= revision => writes,
            Some(_) | None => {
                let words = match watch.after > revision {
                    true => "there is no such revision yet: is it of another store?",
                    false => "what was written then is no longer kept",
                };
                let told = json!({
                    "error": format!("{words}; take a snapshot and watch from its revision"),
                    "oldest": self.history.floor(),
                    "revision": revision,
                });
                return Some(Reply::new(zn1::CONFLICT, watch.id.clone(), told));
            }
        };
        let (mut events, mut body, mut bytes) = (Vec::new(), Vec::new(), 0);
        let (mut last, mut through) = (revision, revision);
        for write in writes.filter(|write| write.key.starts_with(&watch.prefix)) {
            // A key may be twice as long in JSON, where every character is escaped.
            bytes += write.bytes() + write.key.len();
            if !events.is_empty() && (events.len() >= watch.limit || bytes > PAGE_BYTES_MAX) {
                through = last;
                break;
            }
            last = write.revision;
            body.extend(write.value().cloned());
            events.push(event(write, self.now_ms()));
        }
        if events.is_empty() {
            return None;
        }
        let told = json!({"events": events, "revision": through});
        let mut reply = Reply::new(zn1::OK, watch.id.clone(), told);
        reply.body = body;
        Some(reply)
    }

    /// Writes were done after a revision: whoever waits for one of them is answered.
    pub(super) fn wake_watches(&mut self, before: u64, actions: &mut Vec<Action>) {
        if self.watches.all.is_empty() {
            return;
        }
        let new = self.history.after(before);
        let new: Option<Vec<&Write>> = new.map(Iterator::collect);
        let is_for = |watch: &Watch| match &new {
            Some(new) => new.iter().any(|it| it.key.starts_with(&watch.prefix)),
            // More was written at once than is kept: they are told so.
            None => true,
        };
        let met = self.watches.all.iter().filter(|(_, watch)| is_for(watch));
        let met: Vec<u64> = met.map(|(number, _)| *number).collect();
        for number in met {
            let watch = self.watches.take(number).expect("it was seen a line above");
            match self.look(&watch) {
                Some(reply) => actions.push(watch.caller.reply(&reply)),
                None => self.nothing(watch, actions),
            }
        }
        // What is not for them is not looked at again, however long they wait.
        let revision = self.state.revision();
        for watch in self.watches.all.values_mut() {
            watch.after = revision;
        }
    }

    /// Watches whose time is over.
    pub(super) fn give_up_watches(&mut self, actions: &mut Vec<Action>) {
        while let Some((at, number)) = self.watches.ends.first().copied()
            && at <= self.now
        {
            let watch = self.watches.take(number).expect("it has an end");
            self.nothing(watch, actions);
        }
    }

    /// It is ending: nobody waits any longer.
    pub(super) fn answer_watches(&mut self, actions: &mut Vec<Action>) {
        while let Some((_, number)) = self.watches.ends.first().copied() {
            let watch = self.watches.take(number).expect("it has an end");
            self.nothing(watch, actions);
        }
    }
}
