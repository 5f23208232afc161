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
    /// Whether anything of an instance lived, adopted or not: it does not descend from us.
    pub(super) has_heirs: bool,
    /// Whether nothing tagged of the network lived, runners included, but this keeper and the
    /// supervisor it had started already. Without heirs, all that comes descends from it then.
    pub(super) is_first: bool,
}

/// One candidate for an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Candidate {
    generation: u64,
    pid: u32,
    start_time: u64,
}

/// Adopts every instance of the network that lives, and its supervisor. `own` is the supervisor that
/// this keeper has started already.
pub(super) fn adopt(layout: &Layout, network: &NetworkId, own: Option<u32>) -> Adopted {
    let entries = ledger::load(layout).unwrap_or_else(|error| {
        // Tags alone still find everything but programs that wrote over their environment.
        note(format_args!("the ledger: {error}"));
        Entries::default()
    });
    let named = entries
        .iter()
        .filter_map(|(_, entry)| entry.process.as_ref());
    let seen = procfs::scan_tagged(&named.map(|process| process.pid).collect());
    let leaders = leaders(&seen, &entries, network);
    let is_instance = |process: &Seen| {
        let tag = process.tag.as_ref();
        tag.is_some_and(|tag| tag.network == *network && !tag.is_runner())
    };
    let is_other = |process: &Seen| {
        let (tag, pid) = (process.tag.as_ref(), process.stat.pid);
        let is_own = pid == std::process::id() || Some(pid) == own;
        tag.is_some_and(|tag| tag.network == *network) && !is_own
    };
    let mut adopted = Adopted {
        has_heirs: seen.values().any(is_instance),
        is_first: !seen.values().any(is_other),
        ..Adopted::default()
    };
    for (instance, leader) in leaders {
        let Some(handle) = Handle::open(leader.pid, leader.start_time) else {
            continue;
        };
        if instance.as_str() == SUPERVISOR {
            adopted.supervisor = Some(handle);
            continue;
        }
        adopted.has_heirs = true;
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

/// The process of each instance that lives.
fn leaders(
    seen: &BTreeMap<u32, Seen>,
    entries: &Entries,
    network: &NetworkId,
) -> BTreeMap<InstanceName, Candidate> {
    let boot_id = procfs::boot_id();
    let mut leaders = tagged(seen, network);
    // Where the ledger knows the process of that life, another one is only what it left behind.
    leaders.retain(|instance, found| {
        let entry = entries.get(instance);
        let known = entry
            .filter(|entry| entry.generation == found.generation)
            .and_then(|entry| entry.process.as_ref())
            .filter(|process| process.boot_id == boot_id);
        known.is_none_or(|p| (p.pid, p.start_time) == (found.pid, found.start_time))
    });
    leaders.extend(ledgered(seen, entries, network, &boot_id));
    leaders
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
    boot_id: &str,
) -> Vec<(InstanceName, Candidate)> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::ledger::{Identity, Record};
    use crate::run::procfs::Stat;
    use crate::run::tag::Tag;
    use std::path::Path;

    fn network() -> NetworkId {
        NetworkId::of_state(Path::new("/ours"))
    }

    fn seen(pid: u32, group: u32, generation: u64) -> (u32, Seen) {
        let stat = Stat {
            pid,
            name: "x".into(),
            state: 'S',
            parent: 1,
            group,
            session: group,
            threads: 1,
            start_time: u64::from(pid),
        };
        let tag = Tag {
            network: network(),
            instance: "a".into(),
            generation,
        };
        (
            pid,
            Seen {
                stat,
                tag: Some(tag),
            },
        )
    }

    fn ledger(pid: u32, start_time: u64, boot_id: String) -> Entries {
        let mut entries = Entries::default();
        entries.apply(Record::Spawned {
            instance: "a".into(),
            generation: 2,
            process: Identity {
                pid,
                start_time,
                boot_id,
            },
        });
        entries
    }

    fn leader(processes: Vec<(u32, Seen)>, entries: &Entries) -> Option<u32> {
        let leaders = leaders(&processes.into_iter().collect(), entries, &network());
        leaders.get(&InstanceName::new("a")).map(|found| found.pid)
    }

    #[test]
    fn the_leader_is_the_oldest_group_leader_of_the_latest_life() {
        let processes = vec![seen(3, 3, 1), seen(5, 5, 2), seen(6, 6, 2), seen(4, 9, 2)];
        assert_eq!(leader(processes, &Entries::default()), Some(5));
    }

    #[test]
    fn what_a_dead_leader_left_behind_is_not_the_instance() {
        let left = || vec![seen(6, 6, 2)];
        let known = ledger(5, 5, procfs::boot_id());
        assert_eq!(leader(left(), &known), None);
        assert_eq!(leader(left(), &ledger(6, 6, procfs::boot_id())), Some(6));
        // A ledger of an earlier boot knows no process of this one.
        assert_eq!(leader(left(), &ledger(5, 5, "earlier".into())), Some(6));
        assert_eq!(leader(vec![seen(6, 6, 3)], &known), Some(6));
    }
}
