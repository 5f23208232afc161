//! Finding the living children of a keeper that died, when a new one starts.
//!
//! A process is adopted when it carries our tag, or when the ledger names exactly it: pid, start
//! time and boot. The second matters for programs that write over their own environment. What is
//! proven by neither is left alone.

use std::collections::BTreeMap;

use super::children::{Adoption, Kid, RotateRule};
use super::fifo::Fifo;
use super::note;
use super::protocol::Spawned;
use crate::model::layout::Layout;
use crate::model::name::InstanceName;
use crate::run::ledger::{self, Entries};
use crate::run::procfs::{self, Handle, Seen};
use crate::run::tag::{NetworkId, SUPERVISOR};

/// Handles held at a time: well below the 1,024 files that a process may open by default, a limit
/// that is not raised because children would inherit it.
const WATCHED_MAX: usize = 512;

/// What lived when this keeper started.
#[derive(Debug, Default)]
pub(super) struct Adopted {
    pub(super) kids: Vec<(InstanceName, Kid)>,
    pub(super) supervisor: Option<Handle>,
}

/// One candidate for an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Candidate {
    generation: u64,
    pid: u32,
    start_time: u64,
}

/// Adopts every instance of the network that lives, and its supervisor.
pub(super) fn adopt(layout: &Layout, network: &NetworkId) -> Adopted {
    let seen = procfs::scan();
    let entries = ledger::load(layout).unwrap_or_else(|error| {
        // Tags alone still find everything but programs that wrote over their environment.
        note(format_args!("the ledger: {error}"));
        Entries::default()
    });
    let mut leaders = tagged(&seen, network);
    for (instance, candidate) in ledgered(&seen, &entries, network) {
        leaders.insert(instance, candidate);
    }
    let mut adopted = Adopted::default();
    for (instance, leader) in leaders {
        let Some(handle) = Handle::open(leader.pid, leader.start_time) else {
            continue;
        };
        if instance.as_str() == SUPERVISOR {
            adopted.supervisor = Some(handle);
            continue;
        }
        let started_at_ms = entries
            .get(&instance)
            .filter(|entry| entry.generation == leader.generation)
            .map_or_else(super::now_ms, |entry| entry.started_at_ms);
        let kid = Kid {
            generation: leader.generation,
            spawned: Spawned {
                pid: leader.pid,
                start_time: leader.start_time,
                started_at_ms,
            },
            adopted: Some(match adopted.kids.len() < WATCHED_MAX {
                true => Adoption::Watched(handle),
                false => Adoption::Unwatched,
            }),
            notice: None,
            ended: None,
            rotate: RotateRule::default(),
            fifo: Fifo::found(layout, instance.as_str()),
            kin: Vec::new(),
        };
        adopted.kids.push((instance, kid));
    }
    adopted
}

/// The leader of each tagged instance: of its latest life, the oldest process that leads a group.
fn tagged(seen: &BTreeMap<u32, Seen>, network: &NetworkId) -> BTreeMap<InstanceName, Candidate> {
    let mut leaders: BTreeMap<InstanceName, Candidate> = BTreeMap::new();
    for process in seen.values() {
        let (Some(tag), stat) = (&process.tag, &process.stat) else {
            continue;
        };
        let is_other =
            tag.network != *network || (tag.is_runner() && tag.instance.as_str() != SUPERVISOR);
        if is_other || stat.pid != stat.group {
            continue;
        }
        let fresh = Candidate {
            generation: tag.generation,
            pid: stat.pid,
            start_time: stat.start_time,
        };
        leaders
            .entry(tag.instance.clone())
            .and_modify(|best| {
                let is_later = fresh.generation > best.generation;
                let is_older = fresh.generation == best.generation
                    && (fresh.start_time, fresh.pid) < (best.start_time, best.pid);
                if is_later || is_older {
                    *best = fresh;
                }
            })
            .or_insert(fresh);
    }
    leaders
}

/// The instances whose process the ledger names exactly. One that carries the tag of another
/// network is a stranger all the same.
fn ledgered(
    seen: &BTreeMap<u32, Seen>,
    entries: &Entries,
    network: &NetworkId,
) -> Vec<(InstanceName, Candidate)> {
    let boot_id = procfs::boot_id();
    entries
        .iter()
        .filter_map(|(instance, entry)| {
            let process = entry.process.as_ref().filter(|p| p.boot_id == boot_id)?;
            let now = seen.get(&process.pid)?;
            let is_it = now.stat.is_alive()
                && now.stat.start_time == process.start_time
                && now.tag.as_ref().is_none_or(|tag| tag.network == *network);
            is_it.then(|| {
                let candidate = Candidate {
                    generation: entry.generation,
                    pid: process.pid,
                    start_time: process.start_time,
                };
                (instance.clone(), candidate)
            })
        })
        .collect()
}
