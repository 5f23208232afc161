//! Whose process is this? Decides, in one pass over all processes, which of them belong to our
//! network and to which instance: by being the process that was started, by its group, by its tag,
//! or by descent.
//!
//! Fails closed: what none of these prove is a stranger, and so is whatever carries the tag of
//! another network, with all that descends from it.

use std::collections::{BTreeMap, HashMap};

use rustix::process::Signal;

use super::children::{Children, Identity};
use super::protocol::{Proof, Remain};
use crate::model::name::InstanceName;
use crate::run::procfs::{Handle, Seen};
use crate::run::tag::NetworkId;

/// How far up a line of descent is followed.
const ANCESTORS_MAX: usize = 256;

/// A process of ours, and the start time that proves that it is still the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Relative {
    pub(super) remain: Remain,
    pub(super) start_time: u64,
}

impl Relative {
    /// Sends it a signal, and CONT after it where asked, if it is still the process that was seen.
    pub(super) fn signal(&self, signal: Signal, resume: bool) -> bool {
        let Some(handle) = Handle::open(self.remain.pid, self.start_time) else {
            return false;
        };
        let is_sent = handle.signal(signal).is_ok();
        if resume {
            // A process that the signal ended needs none.
            drop(handle.signal(Signal::CONT));
        }
        is_sent
    }

    /// Whether it belongs to an instance, in one life of it or in any.
    pub(super) fn is_of(&self, instance: &InstanceName, generation: Option<u64>) -> bool {
        self.remain.instance.as_ref() == Some(instance)
            && generation.is_none_or(|wanted| self.remain.generation.is_none_or(|g| g == wanted))
    }
}

/// Whose a process is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Owner {
    /// The keeper, the supervisor and what they run for themselves.
    Runner,
    /// Another network's, or nobody's we know.
    Stranger,
    /// An instance's; absent where it descends from the keeper and shows no more.
    Ours(Option<(InstanceName, u64)>, Proof),
}

/// What the pass is made over.
pub(super) struct Family<'a> {
    pub(super) network: &'a NetworkId,
    pub(super) keeper: u32,
    pub(super) supervisor: Option<u32>,
    pub(super) children: &'a Children,
    pub(super) seen: &'a BTreeMap<u32, Seen>,
}

impl Family<'_> {
    /// Every living process of the network's instances, by pid.
    pub(super) fn relatives(&self) -> Vec<Relative> {
        let remembered = self.remembered();
        let mut owners: HashMap<u32, Owner> = HashMap::new();
        let mut found = Vec::new();
        for (pid, seen) in self.seen {
            let owner = self.owner(*pid, &remembered, &mut owners);
            if let (Owner::Ours(whose, by), true) = (owner, seen.stat.is_alive()) {
                let (instance, generation) = whose.unzip();
                let remain = Remain {
                    instance,
                    generation,
                    pid: *pid,
                    name: seen.stat.name.clone(),
                    state: seen.stat.state,
                    by,
                };
                found.push(Relative {
                    remain,
                    start_time: seen.stat.start_time,
                });
            }
        }
        found
    }

    /// What was known to descend from an instance while its parents lived.
    fn remembered(&self) -> HashMap<Identity, (InstanceName, u64)> {
        self.children
            .iter()
            .flat_map(|(instance, kid)| {
                kid.kin
                    .iter()
                    .map(|identity| (*identity, (instance.clone(), kid.generation)))
            })
            .collect()
    }

    /// Follows the parents up to the first process whose owner shows, and remembers it for all on
    /// the way.
    fn owner(
        &self,
        pid: u32,
        remembered: &HashMap<Identity, (InstanceName, u64)>,
        owners: &mut HashMap<u32, Owner>,
    ) -> Owner {
        let mut line = Vec::new();
        let mut at = pid;
        let owner = loop {
            if let Some(owner) = owners.get(&at) {
                break owner.clone();
            }
            let Some(seen) = self.seen.get(&at) else {
                break Owner::Stranger;
            };
            if let Some(owner) = self.own_word(seen, remembered) {
                owners.insert(at, owner.clone());
                break owner;
            }
            if line.len() >= ANCESTORS_MAX {
                break Owner::Stranger;
            }
            line.push(at);
            at = seen.stat.parent;
        };
        let inherited = match owner {
            Owner::Ours(whose, _) if !line.is_empty() => Owner::Ours(whose, Proof::Descendant),
            Owner::Runner if at == self.keeper && !line.is_empty() => self.orphan(&line),
            other => other,
        };
        for pid in line {
            owners.insert(pid, inherited.clone());
        }
        inherited
    }

    /// A process whose parent is the keeper and that shows nothing: perhaps its group still does.
    fn orphan(&self, line: &[u32]) -> Owner {
        let group = line
            .last()
            .and_then(|top| self.seen.get(top))
            .map(|seen| seen.stat.group);
        let by_group = self
            .children
            .iter()
            .find(|(_, kid)| Some(kid.spawned.pid) == group);
        match by_group {
            Some((instance, kid)) => {
                Owner::Ours(Some((instance.clone(), kid.generation)), Proof::Group)
            }
            None => Owner::Ours(None, Proof::Descendant),
        }
    }

    /// What a process shows by itself.
    fn own_word(
        &self,
        seen: &Seen,
        remembered: &HashMap<Identity, (InstanceName, u64)>,
    ) -> Option<Owner> {
        let stat = &seen.stat;
        if stat.pid == self.keeper || Some(stat.pid) == self.supervisor {
            return Some(Owner::Runner);
        }
        let identity = (stat.pid, stat.start_time);
        let leader = |pid| {
            let (instance, kid) = self.children.by_pid(pid)?;
            let is_same = self.seen.get(&pid)?.stat.start_time == kid.spawned.start_time;
            is_same.then(|| (instance.clone(), kid.generation))
        };
        if let Some(whose) = leader(stat.pid) {
            return Some(Owner::Ours(Some(whose), Proof::Leader));
        }
        if let Some(tag) = &seen.tag {
            return Some(match tag {
                tag if tag.network != *self.network => Owner::Stranger,
                tag if tag.is_runner() => Owner::Runner,
                tag => Owner::Ours(Some((tag.instance.clone(), tag.generation)), Proof::Tag),
            });
        }
        if let Some(whose) = leader(stat.group) {
            return Some(Owner::Ours(Some(whose), Proof::Group));
        }
        let whose = remembered.get(&identity)?;
        Some(Owner::Ours(Some(whose.clone()), Proof::Descendant))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::keeper::children::{Kid, RotateRule};
    use crate::run::keeper::protocol::Spawned;
    use crate::run::procfs::Stat;
    use crate::run::tag::Tag;
    use std::path::Path;

    const KEEPER: u32 = 10;

    fn seen(pid: u32, parent: u32, group: u32, tag: Option<Tag>) -> (u32, Seen) {
        let stat = Stat {
            pid,
            name: format!("p{pid}"),
            state: 'S',
            parent,
            group,
            session: group,
            threads: 1,
            start_time: u64::from(pid) * 100,
        };
        (pid, Seen { stat, tag })
    }

    fn tag(state: &str, instance: &str) -> Option<Tag> {
        Some(Tag {
            network: NetworkId::of_state(Path::new(state)),
            instance: instance.into(),
            generation: 1,
        })
    }

    fn children() -> Children {
        let mut children = Children::default();
        let spawned = Spawned {
            pid: 20,
            start_time: 2000,
            started_at_ms: 0,
        };
        let kid = Kid {
            generation: 1,
            spawned,
            adopted: None,
            notice: None,
            ended: None,
            rotate: RotateRule::default(),
            fifo: None,
            kin: vec![(40, 4000), (41, 1)],
        };
        children.insert("a".into(), kid);
        children
    }

    fn relatives(processes: Vec<(u32, Seen)>) -> Vec<(u32, Option<String>, Proof)> {
        let (network, children) = (NetworkId::of_state(Path::new("/ours")), children());
        let family = Family {
            network: &network,
            keeper: KEEPER,
            supervisor: Some(11),
            children: &children,
            seen: &processes.into_iter().collect(),
        };
        family
            .relatives()
            .into_iter()
            .map(|r| {
                let instance = r.remain.instance.map(|i| i.to_string());
                (r.remain.pid, instance, r.remain.by)
            })
            .collect()
    }

    #[test]
    fn each_proof_is_found_and_strangers_are_left_alone() {
        let a = || Some("a".to_owned());
        let found = relatives(vec![
            seen(1, 0, 1, None),
            seen(KEEPER, 1, KEEPER, tag("/ours", "@keeper")),
            seen(11, KEEPER, 11, tag("/ours", "@supervisor")),
            seen(12, 11, 11, tag("/ours", "@supervisor")),
            seen(20, KEEPER, 20, tag("/ours", "a")),
            seen(21, 20, 20, None),
            seen(22, 1, 22, tag("/ours", "b")),
            seen(23, 22, 23, None),
            seen(24, KEEPER, 24, None),
            seen(30, 1, 30, tag("/theirs", "a")),
            seen(31, KEEPER, 31, tag("/theirs", "a")),
            seen(32, 31, 31, None),
            seen(33, 1, 33, None),
            seen(40, 1, 40, None),
            seen(41, 1, 41, None),
        ]);
        let b = || Some("b".to_owned());
        let expected = vec![
            (20, a(), Proof::Leader),
            (21, a(), Proof::Group),
            (22, b(), Proof::Tag),
            (23, b(), Proof::Descendant),
            (24, None, Proof::Descendant),
            (40, a(), Proof::Descendant),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_stranger_with_the_leaders_pid_is_no_leader_and_its_group_not_ours() {
        let mut reused = seen(20, 1, 20, None);
        reused.1.stat.start_time = 9;
        assert_eq!(relatives(vec![reused, seen(21, 1, 20, None)]), vec![]);
    }

    #[test]
    fn a_zombie_is_gone() {
        let mut zombie = seen(20, KEEPER, 20, None);
        zombie.1.stat.state = 'Z';
        assert_eq!(relatives(vec![zombie]), vec![]);
    }
}
