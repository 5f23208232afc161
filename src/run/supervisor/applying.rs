//! From one plan to the next: what is gone stops, what changed restarts, what is new starts, and
//! what neither changed nor failed is left alone.

use std::collections::BTreeSet;
use std::time::Duration;

use super::member::{Member, Wish};
use super::network::Network;
use crate::lifecycle::{Event, Phase};
use crate::model::name::InstanceName;
use crate::model::policy::Run;
use crate::plan::change::{Change, Op};
use crate::plan::{Instance, Plan};

/// What becomes of instances that no change is about and that do not run as planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Others {
    /// They begin again: the plan was applied.
    Begin,
    /// They stay: the plan has other counts, and nobody spoke of them.
    Stay,
}

impl Network {
    /// Follows a new plan, given its difference from the present one, and returns the instances
    /// that did not run as planned and are started again.
    pub(super) fn apply(
        &mut self,
        now: Duration,
        plan: Plan,
        (changes, others): (&[Change], Others),
    ) -> Vec<InstanceName> {
        self.is_going_down = false;
        self.is_dirty = true;
        self.plan = plan;
        let ours: Vec<Instance> = self
            .plan
            .instances
            .iter()
            .filter(|i| i.process.is_some())
            .cloned()
            .collect();
        let kept: BTreeSet<&InstanceName> = ours.iter().map(|instance| &instance.name).collect();
        let gone: Vec<InstanceName> = self
            .members
            .keys()
            .filter(|name| !kept.contains(name))
            .cloned()
            .collect();
        for name in gone {
            self.let_go(now, &name);
        }
        let restarted: BTreeSet<&InstanceName> = changes
            .iter()
            .filter(|change| change.op == Op::Restart)
            .map(|change| &change.node)
            .collect();
        let mut again = Vec::new();
        for instance in &ours {
            let is_changed = restarted.contains(&instance.name);
            if self.carry_over(now, instance, (is_changed, others)) {
                again.push(instance.name.clone());
            }
        }
        again
    }

    fn let_go(&mut self, now: Duration, name: &InstanceName) {
        if let Some(member) = self.members.get_mut(name) {
            member.wish = Wish::Leaving;
            self.step(now, name, Event::Stop);
        }
    }

    /// Brings one instance to where the plan wants it; whether it had failed, or was stopped by hand.
    fn carry_over(
        &mut self,
        now: Duration,
        instance: &Instance,
        (is_changed, others): (bool, Others),
    ) -> bool {
        let name = &instance.name;
        let Some(member) = self.members.get_mut(name) else {
            self.admit(now, instance.clone());
            self.step(now, name, Event::Begin);
            return false;
        };
        member.follow(instance.clone());
        let was_leaving = member.wish == Wish::Leaving;
        let is_manual = member.process().run == Run::Manual;
        let has_failed = has_failed(member);
        if has_failed && !was_leaving && others == Others::Stay {
            return false;
        }
        let is_idle = member.is_at_rest();
        if member.wish != Wish::Wanted {
            member.wish = Wish::Planned;
        }
        if is_manual && is_idle {
            return false;
        }
        if is_changed {
            self.step(now, name, Event::Restart);
        } else if has_failed {
            self.step(now, name, Event::Start);
        }
        has_failed && !is_changed && !was_leaving
    }

    /// The instances that [`Network::apply`] would start again.
    pub(super) fn foresee(&self, plan: &Plan, changes: &[Change]) -> Vec<InstanceName> {
        let is_changed = |name: &InstanceName| {
            let mut own = changes.iter().filter(|change| change.node == *name);
            own.any(|change| change.op == Op::Restart)
        };
        let is_again = |instance: &&Instance| {
            let Some(process) = &instance.process else {
                return false;
            };
            let Some(member) = self.members.get(&instance.name) else {
                return false;
            };
            let stays = process.run == Run::Manual && member.is_at_rest();
            has_failed(member)
                && member.wish != Wish::Leaving
                && !stays
                && !is_changed(&instance.name)
        };
        let again = plan.instances.iter().filter(is_again);
        again.map(|instance| instance.name.clone()).collect()
    }

    /// Starts instances by hand.
    pub(super) fn start(&mut self, now: Duration, names: &[InstanceName]) {
        for name in names {
            if let Some(member) = self.members.get_mut(name) {
                member.wish = Wish::Wanted;
                self.step(now, name, Event::Start);
            }
        }
    }

    /// Stops instances by hand; they stay stopped until they are started or applied again.
    pub(super) fn stop(&mut self, now: Duration, names: &[InstanceName]) {
        for name in names {
            if let Some(member) = self.members.get_mut(name) {
                member.wish = Wish::Held;
                self.is_dirty = true;
                self.step(now, name, Event::Stop);
            }
        }
    }

    /// Stops instances and starts them again, without a backoff.
    pub(super) fn restart(&mut self, now: Duration, names: &[InstanceName]) {
        for name in names {
            if let Some(member) = self.members.get_mut(name) {
                member.wish = Wish::Wanted;
                self.step(now, name, Event::Restart);
            }
        }
    }
}

/// Whether a member does not run as planned, and would start again where its plan is applied.
fn has_failed(member: &Member) -> bool {
    match member.child.phase() {
        Phase::Failed => true,
        Phase::Stopped | Phase::Stopping => matches!(member.wish, Wish::Held | Wish::Leaving),
        Phase::Waiting
        | Phase::Starting
        | Phase::Probing
        | Phase::Ready
        | Phase::Suspect
        | Phase::BackingOff => false,
    }
}
