//! The loop: waits for what happens next, lets the network decide, has it done by `doing`.
//!
//! Everything that takes time is a task that ends with one [`Outcome`] in the inbox. The inbox is
//! bounded; a task that finds it full waits, so nothing is lost and nothing piles up.

use std::collections::{BTreeMap, VecDeque};
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::keeping::Keeping;
use super::keys::Minding;
use super::leaving::Leaving;
use super::listening::Listening;
use super::network::{Life, Network, Todo};
use super::prober::Tried;
use super::recovery;
use super::serving::{Answer, ReplyTo, Waiter};
use super::telling::Told;
use super::{Clock, SupervisorError};
use crate::lifecycle::Event;
use crate::model::layout::Layout;
use crate::model::limits::WireLimits;
use crate::model::limits::runner::{LEDGER_PAUSE_MS, PROBES_MAX, SUPERVISOR_QUEUE_MAX};
use crate::model::name::{InstanceName, TopologyName};
use crate::model::socket::SocketType;
use crate::plan::Plan;
use crate::protocol::zn1::Reply;
use crate::run::keeper::client::KeeperError;
use crate::run::keeper::protocol::{Remain, Spawned};
use crate::run::ledger::{Identity, Ledger, Record};
use crate::wire::hub::{Hub, HubEvent, Security};

/// The hub's name for the control socket.
pub(super) const CONTROL: &str = "control";

/// What came of a task.
#[derive(Debug)]
pub(super) enum Outcome {
    /// A process was asked for.
    Spawned(Life, Result<Spawned, KeeperError>),
    /// Lives were looked for.
    Swept(Vec<Life>, Result<Vec<Remain>, KeeperError>),
    /// Signals could not be sent, since the keeper is gone.
    Unsent(Todo),
    /// A try ended.
    Tried(Life, Tried),
    /// A role was told what changed.
    Told(Told),
    /// The time of a try over an instance's own connection is over.
    Unanswered(InstanceName, u64),
    /// A line of a log says that its instance is ready.
    LogTold(Life),
    /// A report is ready for whoever asked.
    Report(Answer),
    /// The keeper was asked to end.
    Left(Result<(), KeeperError>),
    /// Our own command to scale has ended.
    Scaled(ReplyTo, Reply),
}

/// The process that decides.
pub(super) struct Supervisor {
    pub(super) layout: Layout,
    pub(super) clock: Clock,
    pub(super) network: Network,
    pub(super) base_env: BTreeMap<String, String>,
    pub(super) ledger: Ledger,
    /// Lines of the ledger that are not written yet.
    pub(super) lines: Vec<Record>,
    pub(super) hub: Hub,
    pub(super) listening: Listening,
    pub(super) keeping: Keeping,
    pub(super) minding: Minding,
    pub(super) waiters: Vec<Waiter>,
    pub(super) tasks: JoinSet<()>,
    /// Lives whose intent is written and that the keeper has not been asked for yet, a few each
    /// turn: the first processes start while the files of the next ones are written.
    pub(super) to_spawn: VecDeque<Life>,
    /// Whether lives are being looked for: those found to end meanwhile cost one look together.
    pub(super) is_sweeping: bool,
    /// Whether it ends with its network.
    pub(super) leaving: Leaving,
    /// Whether our own command to scale is at it.
    pub(super) is_scaling: bool,
    pub(super) outcomes: mpsc::Sender<Outcome>,
    inbox: mpsc::Receiver<Outcome>,
    pub(super) probes: Arc<Semaphore>,
    term: Signal,
    /// When the records are written, if something changed.
    save_at: Option<Duration>,
}

impl Supervisor {
    /// Takes up the network of a layout: its control socket, its plan, what an earlier supervisor
    /// left. What runs is learnt when the keeper answers.
    pub(super) fn start(layout: Layout) -> Result<Self, SupervisorError> {
        let clock = Clock::start();
        let mut hub = Hub::new(WireLimits::default(), "zmqnet-supervisor");
        let control = crate::model::endpoint::Endpoint::ipc(layout.control_socket());
        hub.listen(CONTROL, &control, SocketType::Router, Security::Open)
            .map_err(SupervisorError::Control)?;
        let term = signal(SignalKind::terminate()).map_err(SupervisorError::Runtime)?;
        let (outcomes, inbox) = mpsc::channel(SUPERVISOR_QUEUE_MAX);
        let plan = recovery::load::<Plan>(&layout.plan_file())?;
        let base_env = recovery::load(&layout.base_env_file())?.unwrap_or_default();
        let records = recovery::load(&layout.wishes_file())?.unwrap_or_default();
        let ledger = Ledger::open(&layout).map_err(SupervisorError::Ledger)?;
        if let Some(why) = ledger.trouble() {
            tracing::error!(why, "cannot write the ledger, and goes on without");
        }
        let seed = fastrand::u64(..);
        let mut supervisor = Self {
            network: Network::new(Plan::empty(TopologyName::new("")), seed),
            listening: Listening::default(),
            keeping: Keeping::new(records, &layout),
            minding: Minding::default(),
            waiters: Vec::new(),
            tasks: JoinSet::new(),
            to_spawn: VecDeque::new(),
            is_sweeping: false,
            leaving: Leaving::No,
            is_scaling: false,
            probes: Arc::new(Semaphore::new(PROBES_MAX)),
            save_at: None,
            layout,
            clock,
            base_env,
            ledger,
            lines: Vec::new(),
            hub,
            outcomes,
            inbox,
            term,
        };
        if let Some(plan) = plan {
            supervisor.adopt(plan);
        }
        Ok(supervisor)
    }

    /// Runs until it is told to end.
    pub(super) async fn run(mut self) {
        // Without its socket nobody can reach it; the keeper starts one that can be reached.
        while self.leaving != Leaving::Done && self.layout.control_socket().exists() {
            self.settle();
            let is_in_a_hurry = !self.to_spawn.is_empty() && self.keeping.is_live();
            let wake = self.clock.instant(self.next_deadline());
            // Lets what was just asked for go out.
            tokio::task::yield_now().await;
            tokio::select! {
                // Cancel safe: a message stays in the channel.
                Some(outcome) = self.inbox.recv() => self.take(outcome),
                // Cancel safe: says so itself. Before it is known what runs, nobody is heard.
                event = self.hub.next(), if self.keeping.has_list() => self.heard(event),
                // Cancel safe: the connection and its wait are kept in `keeping`.
                news = self.keeping.next(&self.layout) => self.kept(news),
                // Cancel safe: a change that is not handed out stays.
                () = self.minding.changed() => self.tell_keys(),
                // Cancel safe: a signal that came is seen by the next call.
                _ = self.term.recv() => break,
                // A sleep counts whole milliseconds, also one that is over already.
                () = std::future::ready(()), if is_in_a_hurry => {}
                () = tokio::time::sleep_until(wake) => {}
            }
            // What else is ready is taken in the same turn, so that it costs one batch.
            for _ in 0..SUPERVISOR_QUEUE_MAX {
                let Ok(outcome) = self.inbox.try_recv() else {
                    break;
                };
                self.take(outcome);
            }
            self.take_ends();
            while self.tasks.try_join_next().is_some() {}
        }
        if self.leaving == Leaving::Done {
            self.end_at_once().await;
        }
        // What is down is forgotten next, and a file costs as much as the rest of this.
        if !self.network.is_down() {
            self.save();
        }
        self.hub.drain(Duration::from_millis(100)).await;
    }

    fn next_deadline(&self) -> Duration {
        let network = self.network.next_deadline();
        let waiters = self.waiters.iter().map(|waiter| waiter.deadline).min();
        [network, waiters, self.save_at]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or_else(|| self.clock.now() + Duration::from_secs(3_600))
    }

    /// Lets the network decide about all that happened, and does it.
    fn settle(&mut self) {
        let now = self.clock.now();
        self.network.tick(now);
        self.network.advance(now);
        self.act();
        self.tell_stale();
        self.mind_keys();
        let gone = mem::take(&mut self.network.gone);
        self.lines.extend(
            gone.into_iter()
                .map(|instance| Record::Forgotten { instance }),
        );
        self.write_lines();
        if mem::take(&mut self.network.is_dirty) {
            self.save_at
                .get_or_insert(now + Duration::from_millis(LEDGER_PAUSE_MS));
        }
        if self.save_at.is_some_and(|at| at <= now) {
            self.save();
        }
        self.answer_waiters(now);
    }

    fn save(&mut self) {
        self.save_at = None;
        let records = recovery::records(&self.network);
        if let Err(error) = recovery::save(&self.layout.wishes_file(), &records) {
            tracing::error!(%error, "cannot write the records");
        }
    }

    /// A ledger that cannot be written costs a successor knowledge, not the network its life.
    pub(super) fn write_lines(&mut self) {
        let lines = mem::take(&mut self.lines);
        if !lines.is_empty()
            && let Err(error) = self.ledger.record(&lines)
        {
            tracing::error!(%error, "cannot write the ledger");
        }
    }

    /// Feeds what came of a task.
    fn take(&mut self, outcome: Outcome) {
        let now = self.clock.now();
        match outcome {
            Outcome::Spawned((name, generation), result) => {
                self.spawned(now, &name, generation, result);
            }
            Outcome::Swept(lives, Ok(remains)) => {
                self.is_sweeping = false;
                for (name, generation) in lives {
                    let of_it = |remain: &&Remain| remain.instance.as_ref() == Some(&name);
                    let left = remains
                        .iter()
                        .filter(of_it)
                        .map(|remain| remain.pid)
                        .collect();
                    self.network
                        .step(now, &name, Event::Swept { generation, left });
                }
            }
            Outcome::Swept(lives, Err(error)) => {
                tracing::warn!(%error, "the keeper did not look for what is left");
                self.is_sweeping = false;
                self.network.todo.sweeps.extend(lives);
                self.keeping.lost();
            }
            Outcome::Unsent(todo) => {
                self.network.todo.asks.extend(todo.asks);
                self.network.todo.kills.extend(todo.kills);
                self.keeping.lost();
            }
            Outcome::Tried((name, generation), tried) => self.tried(now, &name, generation, tried),
            Outcome::Told(told) => self.was_told(now, told),
            Outcome::Unanswered(name, number) => self.unanswered(&name, number),
            Outcome::LogTold((name, generation)) => {
                self.network
                    .step(now, &name, Event::Succeeded { generation });
            }
            Outcome::Report(answer) => self.answer(answer),
            Outcome::Left(result) => self.left(result),
            Outcome::Scaled(to, reply) => self.scaled(&to, reply),
        }
    }

    pub(super) fn tried(
        &mut self,
        now: Duration,
        name: &InstanceName,
        generation: u64,
        tried: Tried,
    ) {
        match tried {
            Ok(round_trip) => {
                if let Some(member) = self.network.members.get_mut(name) {
                    member.samples.push(round_trip);
                }
                self.network
                    .step(now, name, Event::Succeeded { generation });
            }
            Err(reason) => self
                .network
                .step(now, name, Event::Missed { generation, reason }),
        }
    }

    fn spawned(
        &mut self,
        now: Duration,
        name: &InstanceName,
        generation: u64,
        result: Result<Spawned, KeeperError>,
    ) {
        match result {
            Ok(spawned) => {
                self.lines.push(Record::Spawned {
                    instance: name.clone(),
                    generation,
                    process: Identity {
                        pid: spawned.pid,
                        start_time: spawned.start_time,
                        boot_id: self.keeping.boot_id(),
                    },
                });
                self.note_start(name, generation, spawned.pid, spawned.started_at_ms);
                self.network.step(
                    now,
                    name,
                    Event::Spawned {
                        generation,
                        pid: spawned.pid,
                    },
                );
            }
            Err(KeeperError::Refused(refusal)) => {
                let reason = refusal.to_string();
                self.network
                    .step(now, name, Event::SpawnFailed { generation, reason });
            }
            // Whether it was started is learnt from the list of the next keeper.
            Err(error) => {
                tracing::warn!(%error, instance = %name, "a spawn was not answered");
                self.keeping.lost();
            }
        }
    }

    fn heard(&mut self, event: HubEvent) {
        match event {
            HubEvent::Message { port, conn, frames } if &*port == CONTROL => {
                self.serve(conn, frames);
            }
            HubEvent::Closed { port, conn, .. } if &*port == CONTROL => {
                self.waiters.retain(|waiter| waiter.reply.conn != conn);
            }
            HubEvent::Opened { port, conn, .. } => self.dialler_opened(&port, conn),
            HubEvent::Message { port, conn, frames } => self.dialler_answered(&port, conn, &frames),
            HubEvent::Closed { port, conn, .. } => self.dialler_closed(&port, conn),
            // Its sockets are ROUTER and DEALER, and what is too much for a peer is lost.
            HubEvent::Subscribed { .. } | HubEvent::Writable { .. } => {}
            HubEvent::DialFailed { .. } => unreachable!("the supervisor's hub only listens"),
        }
    }
}
