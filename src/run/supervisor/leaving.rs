//! Taken down by word of the keeper: stops everything, has the keeper end, and ends itself.
//!
//! It never ends while something of the network may live: the keeper, which proves that, refuses then,
//! and whoever wanted it down finds out by the silence and has it done step by step.

use std::time::Duration;

use super::acting::{Outcome, Supervisor};
use super::keeping::News;
use super::network::Todo;
use crate::model::limits::runner::SUPERVISOR_QUEUE_MAX;
use crate::run::keeper::client::{KeeperClient, KeeperError};

/// Whether the supervisor ends with its network, and how far that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaving {
    /// It does not.
    No,
    /// As soon as every process has ended: that nothing else is left, the keeper finds out.
    Soon,
    /// Something was left: when all of it has been looked after.
    AtRest,
    /// The keeper ends, and so do we.
    Done,
}

impl Supervisor {
    /// Begins to stop everything, and ends when that is done.
    pub(super) fn take_down(&mut self) {
        if self.leaving == Leaving::No {
            self.leaving = Leaving::Soon;
        }
        self.network.go_down(self.clock.now());
    }

    /// Takes what else the keeper has told, where everything ends and each batch costs the same.
    pub(super) fn take_ends(&mut self) {
        if self.leaving == Leaving::No {
            return;
        }
        for _ in 0..SUPERVISOR_QUEUE_MAX {
            let Some(event) = self.keeping.ready_event() else {
                break;
            };
            self.kept(News::Event(event));
        }
    }

    /// Whether the keeper may be asked to end: nothing else is to be done, and whoever is not at rest
    /// only waits for a look at what is left of it, which the keeper takes anyway.
    pub(super) fn may_leave(&self, todo: &Todo) -> bool {
        let most = match self.leaving {
            Leaving::No | Leaving::Done => return false,
            Leaving::Soon => todo.sweeps.len(),
            Leaving::AtRest => 0,
        };
        let is_idle = todo.asks.is_empty()
            && todo.kills.is_empty()
            && todo.spawns.is_empty()
            && self.to_spawn.is_empty();
        let members = self.network.members.values();
        let busy = members.filter(|member| !member.is_at_rest()).count();
        self.network.is_going_down && is_idle && busy <= most && todo.sweeps.len() <= most
    }

    /// Asks the keeper to end. Nobody looks for lives meanwhile.
    pub(super) fn leave(&mut self, keeper: KeeperClient) {
        self.is_sweeping = true;
        let outcomes = self.outcomes.clone();
        self.tasks.spawn(async move {
            let result = keeper.quit().await;
            drop(outcomes.send(Outcome::Left(result)).await);
        });
    }

    /// Feeds what the keeper said to that.
    pub(super) fn left(&mut self, result: Result<(), KeeperError>) {
        self.is_sweeping = false;
        self.leaving = match (result, self.leaving) {
            (Ok(()), _) => Leaving::Done,
            (Err(KeeperError::Refused(_)), Leaving::Soon) => Leaving::AtRest,
            (Err(KeeperError::Refused(_)), _) => Leaving::No,
            (Err(error), _) => {
                tracing::warn!(%error, "the keeper was not told to end");
                self.keeping.lost();
                Leaving::No
            }
        };
    }

    /// Ends this process, threads and all: to end each by itself takes as long as all the rest of it.
    /// What it listened on, the keeper removes.
    pub(super) async fn end_at_once(&mut self) -> ! {
        if !self.waiters.is_empty() {
            self.answer_waiters(Duration::MAX);
            self.hub.drain(Duration::from_millis(100)).await;
        }
        std::process::exit(0)
    }
}
