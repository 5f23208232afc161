//! Keeping the supervisor alive: started with the keeper, started again with growing pauses when it
//! dies, adopted when it outlived an earlier keeper, left alone once the keeper is told to quit.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::launch::Supervision;
use super::note;
use super::protocol::Status;
use super::start::open_log;
use crate::model::layout::Layout;
use crate::run::procfs::Handle;
use crate::run::tag::{NetworkId, SUPERVISOR, TAG_ENV, Tag};

/// The hidden entry point of the supervisor: `__supervisor STATE_DIR`.
const SUPERVISOR_ENTRY: &str = "__supervisor";

const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// A supervisor that lived this long was well: the next pause is the shortest again.
const STABLE: Duration = Duration::from_secs(10);
/// How long a supervisor may take to end after the keeper was told to quit.
const QUIT_WAIT: Duration = Duration::from_secs(2);

#[derive(Debug)]
enum State {
    /// The keeper runs without one.
    None,
    /// One is started when this moment comes.
    Due(Instant),
    /// It runs; the handle is of one that an earlier keeper started.
    Running {
        pid: u32,
        since: Instant,
        adopted: Option<Handle>,
    },
}

/// The supervisor, as its keeper sees it.
#[derive(Debug)]
pub(super) struct Supervisor {
    state: State,
    pause: Duration,
    generation: u64,
    /// When it is killed, once the keeper was told to quit.
    quitting: Option<Instant>,
}

impl Supervisor {
    /// Plans the first start.
    pub(super) fn new(supervision: Supervision) -> Self {
        let state = match supervision {
            Supervision::Supervised => State::Due(Instant::now()),
            Supervision::Alone => State::None,
        };
        Self {
            state,
            pause: PAUSE_MIN,
            generation: 0,
            quitting: None,
        }
    }

    /// Takes over one that lives. Where ours runs already, another one goes: it holds no truth.
    pub(super) fn take_over(&mut self, living: Handle) {
        match &self.state {
            State::Running { pid, .. } if *pid == living.pid() => {}
            // It may just have ended.
            State::Running { .. } => drop(living.signal(Signal::KILL)),
            State::None | State::Due(_) => {
                self.state = State::Running {
                    pid: living.pid(),
                    since: Instant::now(),
                    adopted: Some(living),
                };
            }
        }
    }

    /// Its process, while it runs.
    pub(super) fn pid(&self) -> Option<u32> {
        match &self.state {
            State::Running { pid, .. } => Some(*pid),
            State::None | State::Due(_) => None,
        }
    }

    /// What tells of the end of one that is not our child.
    pub(super) fn handle(&self) -> Option<&Handle> {
        match &self.state {
            State::Running { adopted, .. } => adopted.as_ref(),
            State::None | State::Due(_) => None,
        }
    }

    /// Takes note that a process ended, if it was this one.
    pub(super) fn ended(&mut self, ended: u32, status: Status) {
        let State::Running { pid, since, .. } = &self.state else {
            return;
        };
        if *pid != ended {
            return;
        }
        if self.quitting.is_some() {
            self.state = State::None;
            return;
        }
        if since.elapsed() >= STABLE {
            self.pause = PAUSE_MIN;
        }
        note(format_args!(
            "the supervisor ended, {status}; started again in {:?}",
            self.pause
        ));
        self.state = State::Due(Instant::now() + self.pause);
        self.pause = (self.pause * 2).min(PAUSE_MAX);
    }

    /// The keeper ends: starts no more. One that did not ask for it is told to end.
    pub(super) fn quit(&mut self, asker: Option<u32>) {
        if let State::Due(_) = self.state {
            self.state = State::None;
        }
        if asker != self.pid() {
            self.signal(Signal::TERM);
        }
        self.quitting
            .get_or_insert_with(|| Instant::now() + QUIT_WAIT);
    }

    /// Whether the keeper was told to quit.
    pub(super) fn is_quitting(&self) -> bool {
        self.quitting.is_some()
    }

    /// Whether the keeper was told to quit and may.
    pub(super) fn is_over(&self) -> bool {
        self.quitting.is_some() && matches!(self.state, State::None)
    }

    /// The next moment at which [`Supervisor::tick`] has something to do.
    pub(super) fn due(&self) -> Option<Instant> {
        match &self.state {
            State::None => None,
            State::Due(at) => Some(*at),
            State::Running { .. } => self.quitting,
        }
    }

    /// Does what is due.
    pub(super) fn tick(&mut self, layout: &Layout, network: &NetworkId) {
        let now = Instant::now();
        if self.due().is_none_or(|due| due > now) {
            return;
        }
        match &self.state {
            State::None => {}
            State::Due(_) => self.start(layout, network),
            State::Running { .. } => {
                self.signal(Signal::KILL);
                // KILL takes effect soon; asked again if not.
                self.quitting = Some(now + QUIT_WAIT);
            }
        }
    }

    fn start(&mut self, layout: &Layout, network: &NetworkId) {
        self.generation += 1;
        let tag = Tag {
            network: network.clone(),
            instance: SUPERVISOR.into(),
            generation: self.generation,
        };
        let log = open_log(&layout.log_file(SUPERVISOR));
        let spawned = log.and_then(|log| {
            Command::new("/proc/self/exe")
                .arg0("zmqnet")
                .arg(SUPERVISOR_ENTRY)
                .arg(&layout.state)
                .env(TAG_ENV, tag.to_string())
                .process_group(0)
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log)
                .spawn()
        });
        self.state = match spawned {
            Ok(child) => State::Running {
                pid: child.id(),
                since: Instant::now(),
                adopted: None,
            },
            Err(error) => {
                note(format_args!("cannot start the supervisor: {error}"));
                let at = Instant::now() + self.pause;
                self.pause = (self.pause * 2).min(PAUSE_MAX);
                State::Due(at)
            }
        };
    }

    /// Signals it, and the programs it runs as probes with KILL.
    fn signal(&self, signal: Signal) {
        let State::Running { pid, adopted, .. } = &self.state else {
            return;
        };
        if let Some(handle) = adopted {
            // It may just have ended.
            drop(handle.signal(signal));
            return;
        }
        let Some(pid) = i32::try_from(*pid).ok().and_then(Pid::from_raw) else {
            return;
        };
        if signal == Signal::KILL {
            kill_process_group(pid, signal).ok();
        } else {
            rustix::process::kill_process(pid, signal).ok();
        }
    }
}
