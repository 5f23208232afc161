//! One instance as the supervisor sees it: its plan, its machine, what its probes found.

use std::time::Duration;

use tokio::task::AbortHandle;

use super::samples::Samples;
use crate::lifecycle::{Child, Phase, Rules, State};
use crate::model::endpoint::Endpoint;
use crate::model::policy::Run;
use crate::plan::{Exec, Instance, Process};
use crate::run::status::Goal;

/// What people want of an instance beside what the plan says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// What the plan says.
    Planned,
    /// That it runs: somebody started it by hand.
    Wanted,
    /// That it does not: somebody stopped it by hand.
    Held,
    /// That it goes: it is in the plan no more.
    Leaving,
}

/// An instance of this machine.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) instance: Instance,
    pub(super) child: Child,
    pub(super) wish: Wish,
    pub(super) samples: Samples,
    /// Whether its present life was ever Ready.
    pub(super) was_ready: bool,
    /// When its present process started.
    pub(super) started: Option<Duration>,
    /// Where in its log its present life began.
    pub(super) log_from: u64,
    /// Where its present life may listen beside what the plan says now.
    held: Vec<Endpoint>,
    /// Whether its present life was told something else than the plan says now.
    pub(super) is_stale: bool,
    /// The task that tells it, while one does.
    pub(super) telling: Option<AbortHandle>,
}

impl Member {
    /// An instance that nobody wants yet. It must be one that runs on this machine.
    pub(super) fn new(instance: Instance, now: Duration, seed: u64) -> Self {
        let child = Child::new(rules(process(&instance)), now, seed);
        Self {
            instance,
            child,
            wish: Wish::Planned,
            samples: Samples::default(),
            was_ready: false,
            started: None,
            log_from: 0,
            held: Vec::new(),
            is_stale: false,
            telling: None,
        }
    }

    pub(super) fn process(&self) -> &Process {
        process(&self.instance)
    }

    /// Follows a new plan; what is spawned next is what it says, and what lives is told of it.
    pub(super) fn follow(&mut self, instance: Instance) {
        let is_role = matches!(process(&instance).exec, Exec::Role(_));
        self.is_stale |= is_role && process(&instance).exec != self.process().exec;
        if self.is_alive() {
            for port in &self.instance.ports {
                if !self.held.contains(&port.bind) {
                    self.held.push(port.bind.clone());
                }
            }
        }
        self.child.set_rules(rules(process(&instance)));
        self.instance = instance;
    }

    /// Whether its present life does not know yet what the plan says.
    pub(super) fn is_behind(&self) -> bool {
        self.is_stale || self.telling.is_some()
    }

    /// A new life begins and is told what the plan says; nobody tells it what was meant for the
    /// last one.
    pub(super) fn told_anew(&mut self) {
        self.is_stale = false;
        self.held.clear();
        if let Some(telling) = self.telling.take() {
            telling.abort();
        }
    }

    /// Whether a process of it may live.
    fn is_alive(&self) -> bool {
        match self.child.phase() {
            Phase::Starting | Phase::Probing | Phase::Ready | Phase::Suspect | Phase::Stopping => {
                true
            }
            Phase::Waiting | Phase::BackingOff | Phase::Stopped | Phase::Failed => false,
        }
    }

    /// Whether it may listen where the plan says that another does.
    pub(super) fn may_hold(&self, bind: &Endpoint) -> bool {
        let is_leaving = self.wish == Wish::Leaving;
        let mut leaving = self.instance.ports.iter().filter(|_| is_leaving);
        self.is_alive() && (self.held.contains(bind) || leaving.any(|port| port.bind == *bind))
    }

    /// Whether nothing of it lives and nothing is under way.
    pub(super) fn is_at_rest(&self) -> bool {
        matches!(self.child.state(), State::Stopped { .. } | State::Failed)
    }

    /// Whether it ended by itself with exit code 0.
    pub(super) fn is_done(&self) -> bool {
        *self.child.state() == State::Stopped { is_done: true }
    }

    /// How it is expected to stand, and whether it does, its conditions left aside.
    pub(super) fn goal(&self) -> Goal {
        let process = self.process();
        let is_waited_for = match self.wish {
            Wish::Held | Wish::Leaving if self.is_at_rest() => return Goal::Excluded,
            Wish::Held | Wish::Leaving => return Goal::Pending,
            Wish::Wanted => true,
            Wish::Planned => process.run != Run::Manual && process.late_ms.is_none(),
        };
        if !is_waited_for {
            return Goal::Excluded;
        }
        match self.child.phase() {
            Phase::Failed => Goal::Missed,
            Phase::Ready if process.run != Run::Once => Goal::Reached,
            Phase::Stopped if self.is_done() && (self.was_ready || process.run == Run::Once) => {
                Goal::Reached
            }
            Phase::Stopped => Goal::Missed,
            Phase::Ready
            | Phase::Waiting
            | Phase::Starting
            | Phase::Probing
            | Phase::Suspect
            | Phase::Stopping
            | Phase::BackingOff => Goal::Pending,
        }
    }
}

fn process(instance: &Instance) -> &Process {
    let process = instance.process.as_ref();
    process.expect("a member is made only of an instance that runs on this machine")
}

fn rules(process: &Process) -> Rules {
    let stop_ms = process.stop.grace_ms;
    Rules::new(
        process.run,
        process.late_ms,
        &process.probe,
        process.restart,
        stop_ms,
    )
}
