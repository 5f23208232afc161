//! The one owner of all state: the plan, every member's machine, what is to be done next.
//!
//! It decides and never acts: no file, no socket, no clock. What it wants done stands in [`Todo`],
//! in one batch for everything that happened at once.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::member::{Member, Wish};
use crate::lifecycle::{Action, Child, Event, Phase};
use crate::model::limits::runner::TRANSITIONS_MAX;
use crate::model::name::InstanceName;
use crate::model::policy::Condition;
use crate::plan::{After, Instance, Plan};
use crate::run::status::Goal;

/// A life of an instance.
pub(super) type Life = (InstanceName, u64);

/// What is to be done, in one batch, in this order.
#[derive(Debug, Default)]
pub(super) struct Todo {
    /// First signals and CONT.
    pub(super) asks: Vec<Life>,
    /// KILL.
    pub(super) kills: Vec<Life>,
    /// Looks for what is left.
    pub(super) sweeps: Vec<Life>,
    /// New processes, lowest rank first.
    pub(super) spawns: Vec<Life>,
    /// Tries of probes.
    pub(super) probes: Vec<Life>,
}

/// A state that an instance entered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transition {
    /// Its number; they grow by one.
    pub version: u64,
    /// The instance.
    pub name: InstanceName,
    /// The state.
    pub state: Phase,
    /// Why, where there is more to say.
    pub reason: Option<String>,
}

/// A running network.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) plan: Plan,
    pub(super) members: BTreeMap<InstanceName, Member>,
    pub(super) todo: Todo,
    /// The last transitions, oldest first, at most `TRANSITIONS_MAX`.
    pub(super) transitions: VecDeque<Transition>,
    /// The number of the last transition.
    pub(super) version: u64,
    /// Instances that have left, for the ledger to forget.
    pub(super) gone: Vec<InstanceName>,
    /// Whether everything is to stop.
    pub(super) is_going_down: bool,
    /// Whether something changed that the ledger does not know yet.
    pub(super) is_dirty: bool,
    seed: u64,
    actions: Vec<Action>,
}

impl Network {
    /// A network in which nothing runs.
    pub(super) fn new(plan: Plan, seed: u64) -> Self {
        Self {
            plan,
            members: BTreeMap::new(),
            todo: Todo::default(),
            transitions: VecDeque::new(),
            version: 0,
            gone: Vec::new(),
            is_going_down: false,
            is_dirty: false,
            seed,
            actions: Vec::new(),
        }
    }

    /// Takes in an instance of the plan that runs on this machine. Nobody wants it yet.
    pub(super) fn admit(&mut self, now: Duration, instance: Instance) -> &mut Member {
        self.seed = self
            .seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let name = instance.name.clone();
        let member = Member::new(instance, now, self.seed);
        self.members.insert(name.clone(), member);
        self.members.get_mut(&name).expect("it was just inserted")
    }

    /// Gives one member one event.
    pub(super) fn step(&mut self, now: Duration, name: &InstanceName, event: Event) {
        let Some(member) = self.members.get_mut(name) else {
            return;
        };
        let before = (member.child.phase(), member.child.generation());
        member.child.step(now, event, &mut self.actions);
        let after = (member.child.phase(), member.child.generation());
        for action in self.actions.drain(..) {
            let (list, generation) = match action {
                Action::Spawn(generation) => (&mut self.todo.spawns, generation),
                Action::Probe(generation) => (&mut self.todo.probes, generation),
                Action::Ask(generation) => (&mut self.todo.asks, generation),
                Action::Kill(generation) => (&mut self.todo.kills, generation),
                Action::Sweep(generation) => (&mut self.todo.sweeps, generation),
            };
            list.push((name.clone(), generation));
        }
        if before == after {
            return;
        }
        if before.1 != after.1 {
            (member.was_ready, member.started) = (false, None);
        }
        member.was_ready |= after.0 == Phase::Ready;
        self.is_dirty = true;
        self.version += 1;
        if self.transitions.len() == TRANSITIONS_MAX {
            self.transitions.pop_front();
        }
        self.transitions.push_back(Transition {
            version: self.version,
            name: name.clone(),
            state: after.0,
            reason: member.child.reason().map(str::to_owned),
        });
    }

    /// Gives every member whose time has come its tick.
    pub(super) fn tick(&mut self, now: Duration) {
        let is_due = |child: &Child| child.next_deadline().is_some_and(|at| at <= now);
        let due: Vec<InstanceName> = self
            .members
            .iter()
            .filter(|(_, member)| is_due(&member.child))
            .map(|(name, _)| name.clone())
            .collect();
        for name in due {
            self.step(now, &name, Event::Tick);
        }
    }

    /// When the next tick is due.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.members
            .values()
            .filter_map(|member| member.child.next_deadline())
            .min()
    }

    /// Lets start what may start, stops what is next to stop, forgets what has left.
    pub(super) fn advance(&mut self, now: Duration) {
        if self.is_going_down {
            self.stop_next_rank(now);
        } else {
            self.release(now);
        }
        let is_gone = |member: &Member| {
            member.wish == Wish::Leaving && member.child.phase() == Phase::Stopped
        };
        let leaving = self.members.iter().filter(|(_, member)| is_gone(member));
        self.gone.extend(leaving.map(|(name, _)| name.clone()));
        self.members.retain(|_, member| !is_gone(member));
        let rank = |life: &Life| self.members.get(&life.0).map(|m| m.process().rank);
        self.todo.spawns.sort_by_key(rank);
    }

    /// Lets every waiting member start whose conditions hold; one that ended may let the next.
    fn release(&mut self, now: Duration) {
        let free: Vec<InstanceName> = self
            .members
            .iter()
            .filter(|(_, member)| member.child.phase() == Phase::Waiting)
            .filter(|(_, member)| member.process().after.iter().all(|after| self.holds(after)))
            .filter(|(_, member)| !self.is_taken(member))
            .map(|(name, _)| name.clone())
            .collect();
        for name in free {
            self.step(now, &name, Event::MayStart);
        }
    }

    /// Whether another that is ending may still hold a port of this one.
    fn is_taken(&self, member: &Member) -> bool {
        let name = &member.instance.name;
        let others = || self.members.values().filter(|it| it.instance.name != *name);
        let mut binds = member.instance.ports.iter().map(|port| &port.bind);
        binds.any(|bind| others().any(|other| other.may_hold(bind)))
    }

    fn holds(&self, after: &After) -> bool {
        after.instances.iter().all(|name| {
            // What does not run on this machine is not waited for: it cannot be seen from here.
            self.members.get(name).is_none_or(|member| {
                let is_ready = member.child.phase() == Phase::Ready || member.is_done();
                match after.condition {
                    Condition::Started => member.child.pid().is_some() || is_ready,
                    Condition::Ready | Condition::Linked => is_ready,
                    Condition::Done => member.is_done(),
                }
            })
        })
    }

    /// Whether it waits for an instance that will not come: the name of that instance.
    pub(super) fn blocked_by<'a>(&self, member: &'a Member) -> Option<&'a InstanceName> {
        if member.child.phase() != Phase::Waiting {
            return None;
        }
        let awaited = member
            .process()
            .after
            .iter()
            .filter(|after| !self.holds(after));
        awaited.flat_map(|after| &after.instances).find(|name| {
            self.members
                .get(*name)
                .is_some_and(|other| self.goal(other) == Goal::Missed)
        })
    }

    /// What a waiting member waits for, in words.
    pub(super) fn waits_for(&self, member: &Member) -> Option<String> {
        let awaited = member
            .process()
            .after
            .iter()
            .find(|after| !self.holds(after));
        if let Some(after) = awaited {
            let names: Vec<&str> = after.instances.iter().map(InstanceName::as_str).collect();
            let condition = match after.condition {
                Condition::Started => "started",
                Condition::Ready => "ready",
                Condition::Linked => "linked",
                Condition::Done => "done",
            };
            return Some(format!("waits until {} is {condition}", names.join(", ")));
        }
        if self.is_taken(member) {
            return Some("waits for a port that is being freed".to_owned());
        }
        member
            .process()
            .late_ms
            .map(|late| format!("starts {late} ms later than the others"))
    }

    /// How a member is expected to stand, and whether it does.
    pub(super) fn goal(&self, member: &Member) -> Goal {
        match member.goal() {
            Goal::Pending if self.blocked_by(member).is_some() => Goal::Missed,
            // It runs, but not yet as the plan says.
            Goal::Reached if member.is_behind() => Goal::Pending,
            goal => goal,
        }
    }

    /// Everything is to stop, highest rank first.
    pub(super) fn go_down(&mut self, now: Duration) {
        self.is_going_down = true;
        let names: Vec<InstanceName> = self.members.keys().cloned().collect();
        for name in names {
            let member = self.members.get_mut(&name).expect("its name was just read");
            if member.wish != Wish::Leaving {
                member.wish = Wish::Held;
            }
            // What does not run yet, or will not of itself, is not to start meanwhile.
            if matches!(
                member.child.phase(),
                Phase::Waiting | Phase::BackingOff | Phase::Stopping | Phase::Failed
            ) {
                self.step(now, &name, Event::Stop);
            }
        }
        self.stop_next_rank(now);
    }

    /// Whether everything was to stop, and has.
    pub(super) fn is_down(&self) -> bool {
        self.is_going_down && self.members.values().all(Member::is_at_rest)
    }

    fn stop_next_rank(&mut self, now: Duration) {
        let is_busy = |member: &&Member| !member.is_at_rest();
        let highest = self
            .members
            .values()
            .filter(is_busy)
            .map(|m| m.process().rank)
            .max();
        let of_rank: Vec<InstanceName> = self
            .members
            .iter()
            .filter(|(_, m)| is_busy(m) && Some(m.process().rank) == highest)
            .map(|(name, _)| name.clone())
            .collect();
        for name in of_rank {
            self.step(now, &name, Event::Stop);
        }
    }
}
