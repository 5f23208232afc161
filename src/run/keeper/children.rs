//! What a keeper started or adopted: one entry an instance, kept after its end until the instance
//! is started again, so that a supervisor that was away learns how it ended.

use std::collections::{BTreeMap, HashMap};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::fifo::Fifo;
use super::protocol::{Child, Ended, Event, Notice, Scope, Spawned, Status};
use crate::model::name::InstanceName;
use crate::run::procfs::{self, Handle};

/// Descendants remembered per instance from before it was asked to stop.
const KIN_MAX: usize = 1_024;

/// A process by what no other process ever shares.
pub(super) type Identity = (u32, u64);

/// When a log file is rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RotateRule {
    pub(super) size_bytes: u64,
    pub(super) keep: u32,
}

impl Default for RotateRule {
    /// What a manifest that says nothing means; the supervisor tells more after an adoption.
    fn default() -> Self {
        Self {
            size_bytes: 10 * 1024 * 1024,
            keep: 5,
        }
    }
}

/// How the end of an adopted process is noticed.
#[derive(Debug)]
pub(super) enum Adoption {
    /// Its handle is polled.
    Watched(Handle),
    /// It is looked at now and then, since files are few.
    Unwatched,
}

/// The last known life of an instance.
#[derive(Debug)]
pub(super) struct Kid {
    pub(super) generation: u64,
    pub(super) spawned: Spawned,
    /// How the end of a process that an earlier keeper started is noticed; our own we wait for.
    pub(super) adopted: Option<Adoption>,
    pub(super) notice: Option<Notice>,
    pub(super) ended: Option<Ended>,
    pub(super) rotate: RotateRule,
    pub(super) fifo: Option<Fifo>,
    /// Descendants seen while their parents lived: they stay ours whatever they cast off.
    pub(super) kin: Vec<Identity>,
}

impl Kid {
    pub(super) fn is_alive(&self) -> bool {
        self.ended.is_none()
    }

    /// Sends a signal to the process that was started, or to its group, while it lives: nobody but
    /// us can make its pid free, or its handle proves that it is still the one we adopted.
    pub(super) fn signal(&self, signal: Signal, scope: Scope) -> bool {
        if !self.is_alive() {
            return false;
        }
        if self.adopted.is_some() {
            let Some(handle) = Handle::open(self.spawned.pid, self.spawned.start_time) else {
                return false;
            };
            if scope == Scope::Leader {
                return handle.signal(signal).is_ok();
            }
        }
        let Some(pid) = i32::try_from(self.spawned.pid).ok().and_then(Pid::from_raw) else {
            return false;
        };
        match scope {
            Scope::Leader => kill_process(pid, signal).is_ok(),
            Scope::Group | Scope::All => kill_process_group(pid, signal).is_ok(),
        }
    }

    /// Who of those remembered still lives: they outlast the life they came from.
    pub(super) fn living_kin(&self) -> Vec<Identity> {
        let is_same = |(pid, start_time): &Identity| {
            procfs::stat(*pid).is_some_and(|stat| stat.start_time == *start_time)
        };
        self.kin.iter().copied().filter(is_same).collect()
    }

    /// Remembers who descends from it now: after its end, nothing else may show whose they are.
    pub(super) fn remember_kin(&mut self) {
        let mut parents = vec![self.spawned.pid];
        while let Some(parent) = parents.pop() {
            for pid in procfs::children(parent) {
                let known = self.kin.iter().any(|(known, _)| *known == pid);
                if let Some(stat) = procfs::stat(pid)
                    && self.kin.len() < KIN_MAX
                    && !known
                {
                    self.kin.push((pid, stat.start_time));
                    parents.push(pid);
                }
            }
        }
    }
}

/// Every instance, by name and by pid.
#[derive(Debug, Default)]
pub(super) struct Children {
    by_name: BTreeMap<InstanceName, Kid>,
    by_pid: HashMap<u32, InstanceName>,
}

impl Children {
    /// Takes in a process that runs.
    pub(super) fn insert(&mut self, instance: InstanceName, kid: Kid) {
        self.by_pid.insert(kid.spawned.pid, instance.clone());
        self.by_name.insert(instance, kid);
    }

    pub(super) fn get(&self, instance: &str) -> Option<&Kid> {
        self.by_name.get(instance)
    }

    pub(super) fn get_mut(&mut self, instance: &str) -> Option<&mut Kid> {
        self.by_name.get_mut(instance)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&InstanceName, &Kid)> {
        self.by_name.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&InstanceName, &mut Kid)> {
        self.by_name.iter_mut()
    }

    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    /// The living instance whose process this is.
    pub(super) fn by_pid(&self, pid: u32) -> Option<(&InstanceName, &Kid)> {
        self.by_name.get_key_value(self.by_pid.get(&pid)?)
    }

    /// Records an end, if the process is one of ours.
    pub(super) fn ended(&mut self, pid: u32, status: Status) -> Option<Event> {
        let instance = self.by_pid.remove(&pid)?;
        let kid = self.by_name.get_mut(&instance)?;
        kid.ended = Some(Ended {
            status,
            at_ms: super::now_ms(),
        });
        kid.adopted = None;
        if let Some(fifo) = kid.fifo.take() {
            fifo.close();
        }
        Some(Event::Exited {
            instance,
            generation: kid.generation,
            pid,
            status,
        })
    }

    /// The adopted ones that ended, which no signal tells us about: of those that `is_asked_for`.
    pub(super) fn gone(&self, is_asked_for: impl Fn(&Adoption) -> bool) -> Vec<u32> {
        self.by_name
            .values()
            .filter(|kid| kid.adopted.as_ref().is_some_and(&is_asked_for))
            .filter(|kid| !is_living(kid))
            .map(|kid| kid.spawned.pid)
            .collect()
    }

    /// Whether any adopted one lives whose end nothing tells.
    pub(super) fn has_unwatched(&self) -> bool {
        let mut adoptions = self.by_name.values().filter_map(|kid| kid.adopted.as_ref());
        adoptions.any(|adoption| matches!(adoption, Adoption::Unwatched))
    }

    /// What is answered to `list`.
    pub(super) fn list(&self) -> Vec<Child> {
        self.by_name
            .iter()
            .map(|(instance, kid)| Child {
                instance: instance.clone(),
                generation: kid.generation,
                pid: kid.spawned.pid,
                start_time: kid.spawned.start_time,
                started_at_ms: kid.spawned.started_at_ms,
                adopted: kid.adopted.is_some(),
                notice: kid.notice.clone(),
                ended: kid.ended,
            })
            .collect()
    }
}

fn is_living(kid: &Kid) -> bool {
    procfs::stat(kid.spawned.pid)
        .is_some_and(|stat| stat.is_alive() && stat.start_time == kid.spawned.start_time)
}
