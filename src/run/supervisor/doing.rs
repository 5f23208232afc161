//! Does what was decided: signals, looks for what is left, new processes, probes.
//!
//! Nothing here waits: what takes time is a task of its own, whose [`Outcome`] comes back to the
//! loop. A life is in the ledger before the keeper is asked for it.

use std::collections::BTreeMap;
use std::mem;

use super::acting::{Outcome, Supervisor};
use super::network::{Life, Todo};
use super::prober;
use super::spawning::Ground;
use crate::model::policy::ProbeHow;
use crate::plan::digest;
use crate::run::keeper::client::{KeeperClient, KeeperError};
use crate::run::keeper::protocol::{Scope, SendSignal, Target};
use crate::run::ledger::Record;

/// Processes that the keeper is asked for in one turn.
const SPAWNS_A_TURN: usize = 8;

impl Supervisor {
    /// Does what stands in the todo, where there is a keeper to do it with.
    pub(super) fn act(&mut self) {
        let probes = mem::take(&mut self.network.todo.probes);
        for life in probes {
            self.probe(life);
        }
        let Some(keeper) = self.keeping.client() else {
            return;
        };
        let mut todo = mem::take(&mut self.network.todo);
        if self.is_sweeping {
            self.network.todo.sweeps = mem::take(&mut todo.sweeps);
        } else if self.may_leave(&todo) {
            self.network.todo.sweeps = mem::take(&mut todo.sweeps);
            self.leave(keeper.clone());
        }
        if !todo.asks.is_empty() || !todo.kills.is_empty() {
            let sends = self.signals(&todo);
            let (keeper, outcomes) = (keeper.clone(), self.outcomes.clone());
            let again = Todo {
                asks: todo.asks,
                kills: todo.kills,
                ..Todo::default()
            };
            self.tasks.spawn(async move {
                for send in sends {
                    if let Err(error) = keeper.signal(send).await {
                        tracing::warn!(%error, "a signal was not sent");
                        if !matches!(error, KeeperError::Refused(_)) {
                            drop(outcomes.send(Outcome::Unsent(again)).await);
                            return;
                        }
                    }
                }
            });
        }
        if !todo.sweeps.is_empty() {
            self.is_sweeping = true;
            let (keeper, outcomes) = (keeper.clone(), self.outcomes.clone());
            let lives = todo.sweeps;
            self.tasks.spawn(async move {
                let names = lives.iter().map(|(name, _)| name.clone()).collect();
                let remains = keeper.remains(Some(names)).await;
                drop(outcomes.send(Outcome::Swept(lives, remains)).await);
            });
        }
        // The intent is on disk before the process is.
        self.intend(&todo.spawns);
        let count = match self.to_spawn.is_empty() {
            // The first of many starts while the files of the next ones are written.
            true => 1,
            false => SPAWNS_A_TURN,
        };
        self.to_spawn.extend(todo.spawns);
        for _ in 0..count {
            let Some(life) = self.to_spawn.pop_front() else {
                break;
            };
            self.spawn(keeper.clone(), life);
        }
    }

    /// One request a signal, for all lives that are to get it.
    fn signals(&self, todo: &Todo) -> Vec<SendSignal> {
        let mut by_signal: BTreeMap<String, Vec<Target>> = BTreeMap::new();
        let target = |(instance, generation): &Life| Target {
            instance: instance.clone(),
            generation: Some(*generation),
        };
        for life in &todo.asks {
            let Some(member) = self.network.members.get(&life.0) else {
                continue;
            };
            let signal = member.process().stop.signal.clone();
            by_signal.entry(signal).or_default().push(target(life));
        }
        let kills: Vec<Target> = todo.kills.iter().map(target).collect();
        if !kills.is_empty() {
            by_signal
                .entry("KILL".to_owned())
                .or_default()
                .extend(kills);
        }
        by_signal
            .into_iter()
            .map(|(signal, targets)| SendSignal {
                targets,
                signal,
                scope: Scope::All,
                resume: true,
            })
            .collect()
    }

    fn spawn(&mut self, keeper: KeeperClient, life: Life) {
        let Some(member) = self.network.members.get_mut(&life.0) else {
            return;
        };
        let log = self.layout.log_file(life.0.as_str());
        member.log_from = std::fs::metadata(log).map_or(0, |meta| meta.len());
        member.told_anew();
        let ground = Ground {
            layout: &self.layout,
            topology: &self.network.plan.topology,
            keys: self.network.plan.keys.as_deref(),
            base_env: &self.base_env,
        };
        let asked = ground.spawn(&member.instance, member.process(), life.1);
        self.expect_dialler(&life.0);
        let outcomes = self.outcomes.clone();
        self.tasks.spawn(async move {
            let result = match asked {
                Ok(asked) => keeper.spawn(asked).await,
                Err(fault) => Err(KeeperError::Refused(super::keeping::refusal(&fault))),
            };
            drop(outcomes.send(Outcome::Spawned(life, result)).await);
        });
    }

    fn probe(&mut self, life: Life) {
        let Some(member) = self.network.members.get(&life.0) else {
            return;
        };
        let process = member.process().clone();
        if let ProbeHow::Dialled { .. } = process.probe.how {
            self.ask_dialler(life, &process.probe);
            return;
        }
        let (outcomes, permits) = (self.outcomes.clone(), self.probes.clone());
        self.tasks.spawn(async move {
            let permit = permits.acquire_owned().await;
            let tried = prober::attempt(process).await;
            drop(permit);
            drop(outcomes.send(Outcome::Tried(life, tried)).await);
        });
    }

    fn intend(&mut self, lives: &[Life]) {
        if lives.is_empty() {
            return;
        }
        let at_ms = self.clock.now_ms();
        for (instance, generation) in lives {
            let Some(member) = self.network.members.get(instance) else {
                continue;
            };
            let restarts = member.child.restarts();
            self.lines.push(Record::Intent {
                instance: instance.clone(),
                generation: *generation,
                digest: digest::life(&member.instance, member.process()),
                restarts: u32::try_from(restarts).unwrap_or(u32::MAX),
                at_ms,
            });
        }
        // The ledger says enough of what is started; the records follow when there is a pause.
        self.write_lines();
    }
}
