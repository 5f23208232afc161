//! Clone: snapshots for mirrors, their updates, and the updates of everybody for them.
//!
//! A snapshot is sent in chunks, as its mirror reads. It is of the revision at which it began: what is
//! written meanwhile may be in it already and comes as an update too, in its order, so that a mirror
//! ends with the same map.

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;

use crate::model::limits::kv::{KEY_BYTES_MAX, SNAPSHOTS_MAX};
use crate::protocol::clone::{self, About};
use crate::roles::machine::{Action, Conn};

use super::Machine;
use super::staging::{Op, Wish};
use super::state::{Change, Key, State, Write};
use super::verbs;

/// Keys and bytes of a chunk.
const CHUNK_KEYS: usize = 512;
const CHUNK_BYTES: usize = 256 * 1024;
/// Times that a mirror takes nothing of a chunk before it is given up.
const TRIES: u32 = 64;
/// Snapshots that one connection waits for.
const OF_ONE_MAX: usize = 16;

/// A snapshot on its way.
#[derive(Debug)]
struct Snapshot {
    subtree: String,
    revision: u64,
    /// The last key that was taken.
    after: Option<Key>,
    /// What was sent and is not known to be taken: its last key, or the end.
    offered: Option<Option<Key>>,
}

/// A mirror.
#[derive(Debug)]
struct Mirror {
    snapshots: VecDeque<Snapshot>,
    keys: usize,
    tries: u32,
    /// It took none of the last chunk, and has not said that there is room since.
    is_full: bool,
}

/// Mirrors that wait for snapshots.
#[derive(Debug, Default)]
pub(super) struct Mirrors {
    all: BTreeMap<Conn, Mirror>,
}

impl Mirrors {
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Something can be sent.
    pub(super) fn is_due(&self) -> bool {
        self.all.values().any(|mirror| !mirror.is_full)
    }

    pub(super) fn closed(&mut self, conn: Conn) {
        self.all.remove(&conn);
    }

    pub(super) fn writable(&mut self, conn: Conn) {
        if let Some(mirror) = self.all.get_mut(&conn) {
            mirror.is_full = false;
        }
    }

    /// A chunk was too much: it is sent again, and less of it. Says whether there was one.
    pub(super) fn unsent(&mut self, conn: Conn, actions: &mut Vec<Action>) -> bool {
        let Some(mirror) = self.all.get_mut(&conn) else {
            return false;
        };
        // Several messages of one chunk come back; the chunk is one.
        let offered = mirror.snapshots.front_mut().map(|it| it.offered.take());
        if offered.flatten().is_some() {
            mirror.is_full = true;
            mirror.keys = (mirror.keys / 2).max(1);
            mirror.tries += 1;
            if mirror.tries > TRIES {
                self.all.remove(&conn);
                actions.push(Action::Close { conn });
            }
        }
        true
    }

    /// Sends what comes next to everybody who reads. What did not come back was taken.
    pub(super) fn go_on(&mut self, state: &State, actions: &mut Vec<Action>) {
        self.all.retain(|conn, mirror| {
            mirror.is_full || mirror.go_on(*conn, state, actions).is_continue()
        });
    }
}

impl Mirror {
    fn go_on(&mut self, conn: Conn, state: &State, actions: &mut Vec<Action>) -> ControlFlow<()> {
        let Some(snapshot) = self.snapshots.front_mut() else {
            return ControlFlow::Break(());
        };
        match snapshot.offered.take() {
            Some(Some(key)) => {
                self.tries = 0;
                snapshot.after = Some(key);
            }
            Some(None) => {
                self.tries = 0;
                self.snapshots.pop_front();
                return self.go_on(conn, state, actions);
            }
            None => {}
        }
        let about = About::default;
        let (mut last, mut bytes, mut keys) = (None, 0, 0);
        for (key, item) in state.list(&snapshot.subtree, snapshot.after.as_deref()) {
            bytes += key.len() + item.value.len();
            keys += 1;
            last = Some(Arc::clone(key));
            // For a mirror an empty value is a key that is not there.
            if !item.value.is_empty() {
                let value = item.value.clone();
                let frames = clone::command(key, snapshot.revision, about(), value);
                actions.push(Action::Send { conn, frames });
            }
            if keys >= self.keys || bytes >= CHUNK_BYTES {
                break;
            }
        }
        if last.is_none() {
            let subtree = Bytes::copy_from_slice(snapshot.subtree.as_bytes());
            let frames = clone::command(clone::KTHXBAI, snapshot.revision, about(), subtree);
            actions.push(Action::Send { conn, frames });
        }
        snapshot.offered = Some(last);
        ControlFlow::Continue(())
    }
}

impl Machine {
    /// A mirror asks for a snapshot.
    pub(super) fn snapshot(&mut self, conn: Conn, subtree: &Bytes, actions: &mut Vec<Action>) {
        let subtree = match std::str::from_utf8(subtree) {
            // The root is written as nothing, or as a slash by some.
            Ok(subtree) if subtree.len() <= KEY_BYTES_MAX => subtree.to_owned(),
            Ok(_) | Err(_) => {
                self.counters.malformed += 1;
                return;
            }
        };
        let is_new = !self.mirrors.all.contains_key(&conn);
        let is_full = is_new && self.mirrors.all.len() >= SNAPSHOTS_MAX;
        let waiting = self.mirrors.all.get(&conn);
        let is_many = waiting.is_some_and(|it| it.snapshots.len() >= OF_ONE_MAX);
        if is_full || is_many || self.kept.is_unknown() {
            // The protocol has no way to refuse: whoever is cut off asks again.
            self.counters.refused += 1;
            return actions.push(Action::Close { conn });
        }
        self.counters.snapshots += 1;
        let revision = self.state.revision();
        let mirror = self.mirrors.all.entry(conn).or_insert(Mirror {
            snapshots: VecDeque::new(),
            keys: CHUNK_KEYS,
            tries: 0,
            is_full: false,
        });
        mirror.snapshots.push_back(Snapshot {
            subtree,
            revision,
            after: None,
            offered: None,
        });
    }

    /// A mirror sends an update.
    pub(super) fn collected(&mut self, conn: Conn, frames: &[Bytes], actions: &mut Vec<Action>) {
        let read = clone::update(frames).and_then(|update| {
            let key = verbs::key(&update.key).ok()?;
            let is_small = verbs::value(&update.value).is_ok();
            is_small.then_some((key, update))
        });
        let Some((key, update)) = read else {
            self.counters.malformed += 1;
            return;
        };
        let wish = match update.value.is_empty() {
            true => Wish::Delete,
            false => {
                let until_ms = update.ttl_ms.map(|ttl| self.now_ms().saturating_add(ttl));
                Wish::Set(verbs::compact(&update.value), until_ms)
            }
        };
        let op = Op {
            key,
            wish,
            revision: None,
        };
        self.update(conn, (op, update.about), actions);
    }

    /// Tells mirrors of a write.
    pub(super) fn publish(
        &mut self,
        write: &Write,
        about: Option<About>,
        actions: &mut Vec<Action>,
    ) {
        self.spoke = self.now;
        let about = about.unwrap_or_else(|| {
            let ttl_ms = match &write.change {
                Change::Set { until_ms, .. } => *until_ms,
                Change::Delete | Change::Expire => None,
            };
            let ttl_ms = ttl_ms.map(|at| at.saturating_sub(self.now_ms()));
            About {
                uuid: Bytes::new(),
                properties: ttl_ms.map_or_else(Bytes::new, |ttl| {
                    format!("ttl={}\n", ttl.div_ceil(1_000)).into()
                }),
            }
        });
        let value = write.value().cloned().unwrap_or_default();
        let frames = clone::command(&write.key, write.revision, about, value);
        actions.push(Action::Fan { frames });
    }
}
