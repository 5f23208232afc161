//! Floor 6: the supervised child as a pure machine: the time and an event in, actions out.
//!
//! ```text
//! Waiting -> Starting -> Probing -> Ready <-> Suspect (restart.when: never)
//!    ^                      |         |
//!    |        an end, or misses       v
//!    +---- BackingOff <---- or a wish: Stopping -> Stopped, Failed
//! ```
//!
//! Each life has a generation; an event of an earlier life changes nothing. A new life is asked for
//! only when nothing of the last one is left. It never touches a process, a socket or a clock: the
//! supervisor performs the actions and brings back what came of them, each try exactly once.

mod ending;
mod life;
mod rules;
mod state;
mod watching;
mod wish;

use std::collections::VecDeque;
use std::time::Duration;

pub use rules::{Rules, Shows};
pub use state::{End, Phase, State, Then, Watch};

/// How long a child without a probe must live to be Ready.
pub const ALIVE: Duration = Duration::from_millis(500);
/// Pause between two looks for what is left of a life.
const LOOK_PAUSE: Duration = Duration::from_millis(20);
/// How long after KILL something may still be left before it is given up and named.
const KILL_PATIENCE: Duration = Duration::from_secs(5);

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The plan wants it: a manual one stays stopped, a late one waits for its time.
    Begin,
    /// Somebody wants it to run, now.
    Start,
    /// Somebody wants it to stop.
    Stop,
    /// Somebody wants it stopped and started, or its plan changed.
    Restart,
    /// What is written under `after` holds.
    MayStart,
    /// Its process runs.
    Spawned {
        /// The life it belongs to.
        generation: u64,
        /// The process.
        pid: u32,
    },
    /// Its process could not be started.
    SpawnFailed {
        /// The life it belongs to.
        generation: u64,
        /// Why, in words.
        reason: String,
    },
    /// A living process of an earlier supervisor was found.
    Adopted {
        /// Its life.
        generation: u64,
        /// The process.
        pid: u32,
        /// When it started.
        started: Duration,
    },
    /// Its first process ended.
    Exited {
        /// The life it belongs to.
        generation: u64,
        /// How.
        end: End,
    },
    /// Its first process ended, and another life would end the same way.
    Doomed {
        /// The life it belongs to.
        generation: u64,
        /// How it ended.
        end: End,
        /// Why there is no use in another one, in words.
        reason: String,
    },
    /// What is left of a life was looked for.
    Swept {
        /// The life it belongs to.
        generation: u64,
        /// The processes found alive; none means that nothing is left.
        left: Vec<u32>,
    },
    /// A try succeeded, or it told that it is ready.
    Succeeded {
        /// The life it belongs to.
        generation: u64,
    },
    /// A try was missed.
    Missed {
        /// The life it belongs to.
        generation: u64,
        /// Why, in words.
        reason: String,
    },
    /// A deadline passed.
    Tick,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Start a process; answered by Spawned or SpawnFailed.
    Spawn(u64),
    /// Make one try; answered by Succeeded or Missed.
    Probe(u64),
    /// Send the first signal, and CONT, to all that is left of a life.
    Ask(u64),
    /// Send KILL to all that is left of a life.
    Kill(u64),
    /// Look for what is left of a life; answered by Swept.
    Sweep(u64),
}

/// One supervised child.
#[derive(Debug, Clone)]
pub struct Child {
    rules: Rules,
    state: State,
    since: Duration,
    generation: u64,
    pid: Option<u32>,
    /// Whether a process was asked for and has not been heard of.
    is_spawning: bool,
    /// Whether nothing of the last life can be left.
    is_clean: bool,
    /// How the last life ended.
    end: Option<End>,
    /// Why it is in its state, where there is more to say than the state's name.
    reason: Option<String>,
    /// Lives started without being asked to, in all.
    restarts: u64,
    /// When the restarts that count against the limit were decided; at most `limit_count`.
    recent: VecDeque<Duration>,
    /// Restarts in a row without a stable time between them.
    attempt: u32,
    random: u64,
}

impl Child {
    /// A child that nobody wants yet. The seed spreads its backoffs and probes.
    pub fn new(rules: Rules, now: Duration, seed: u64) -> Self {
        Self {
            rules,
            state: State::Stopped { is_done: false },
            since: now,
            generation: 0,
            pid: None,
            is_spawning: false,
            is_clean: true,
            end: None,
            reason: None,
            restarts: 0,
            recent: VecDeque::new(),
            attempt: 0,
            random: seed,
        }
    }

    /// Goes on counting where an earlier supervisor stopped.
    #[must_use]
    pub fn resumed(mut self, generation: u64, restarts: u64) -> Self {
        (self.generation, self.restarts) = (generation, restarts);
        self
    }

    /// Counts the restarts of an earlier supervisor's time against the limit too.
    #[must_use]
    pub fn remembering(mut self, recent: impl IntoIterator<Item = Duration>) -> Self {
        self.recent = recent.into_iter().collect();
        self
    }

    /// Rests where an earlier supervisor left it: ended by itself, or stopped.
    pub fn rest(&mut self, since: Duration, is_done: bool, end: Option<End>) {
        self.enter(since, State::Stopped { is_done }, None);
        (self.since, self.end) = (since, end);
    }

    /// Is Failed where an earlier supervisor left it so.
    pub fn fail(&mut self, since: Duration, reason: String, end: Option<End>) {
        self.enter(since, State::Failed, Some(reason));
        self.end = end;
    }

    /// Whether a process was asked for and has not been heard of.
    pub fn is_spawning(&self) -> bool {
        self.is_spawning
    }

    /// Its state.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Its state's name.
    pub fn phase(&self) -> Phase {
        self.state.phase()
    }

    /// When it entered its state.
    pub fn since(&self) -> Duration {
        self.since
    }

    /// Its life's number.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Its process, while one lives.
    pub fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// How its last life ended.
    pub fn end(&self) -> Option<End> {
        self.end
    }

    /// Why it is in its state, where there is more to say than the state's name.
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// Lives started without being asked to.
    pub fn restarts(&self) -> u64 {
        self.restarts
    }

    /// When it was restarted lately, as far as that counts against the limit.
    pub fn recent(&self) -> impl Iterator<Item = Duration> {
        self.recent.iter().copied()
    }

    /// Tries missed in a row.
    pub fn misses(&self) -> u32 {
        match &self.state {
            State::Probing(watch) | State::Ready(watch) | State::Suspect(watch) => watch.misses,
            _idle => 0,
        }
    }

    /// Changes what it is held to, while it runs.
    pub fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// When `Tick` is due, if nothing happens before.
    pub fn next_deadline(&self) -> Option<Duration> {
        match &self.state {
            State::Waiting {
                not_before,
                may_start,
            } => may_start.then_some(*not_before),
            State::Probing(watch) | State::Ready(watch) | State::Suspect(watch) => watch.next,
            State::Stopping {
                kill_at,
                is_killed,
                look_at,
                ..
            } => {
                let kill_at = (!is_killed).then_some(*kill_at);
                [kill_at, *look_at].into_iter().flatten().min()
            }
            State::BackingOff { until, look_at } => {
                let until = self.is_clean.then_some(*until);
                [until, *look_at].into_iter().flatten().min()
            }
            State::Starting | State::Stopped { .. } | State::Failed => None,
        }
    }

    /// Takes one event and says what is to be done.
    pub fn step(&mut self, now: Duration, event: Event, actions: &mut Vec<Action>) {
        match event {
            Event::Begin => self.begin(now),
            Event::Start => self.start(now, actions),
            Event::Stop => self.stop(now, actions),
            Event::Restart => self.restart(now, actions),
            Event::MayStart => {
                if let State::Waiting { may_start, .. } = &mut self.state {
                    *may_start = true;
                }
                self.tick(now, actions);
            }
            Event::Adopted {
                generation,
                pid,
                started,
            } => {
                self.adopted(now, generation, pid, started);
                self.tick(now, actions);
            }
            Event::Tick => self.tick(now, actions),
            Event::Spawned { generation, .. }
            | Event::SpawnFailed { generation, .. }
            | Event::Exited { generation, .. }
            | Event::Doomed { generation, .. }
            | Event::Swept { generation, .. }
            | Event::Succeeded { generation }
            | Event::Missed { generation, .. }
                if generation != self.generation => {}
            Event::Spawned { pid, .. } => self.spawned(now, pid, actions),
            Event::SpawnFailed { reason, .. } => self.spawn_failed(now, reason, actions),
            Event::Exited { end, .. } => self.exited(now, end, actions),
            Event::Doomed { end, reason, .. } => self.doomed(now, end, reason, actions),
            Event::Swept { left, .. } => self.swept(now, &left, actions),
            Event::Succeeded { .. } => self.succeeded(now),
            Event::Missed { reason, .. } => self.missed(now, reason, actions),
        }
    }

    fn tick(&mut self, now: Duration, actions: &mut Vec<Action>) {
        match &mut self.state {
            State::Waiting {
                not_before,
                may_start,
            } if *may_start && *not_before <= now => {
                self.spawn(now, actions);
            }
            State::BackingOff { until, .. } if self.is_clean && *until <= now => {
                self.restarts += 1;
                self.spawn(now, actions);
            }
            State::BackingOff { look_at, .. } if look_at.is_some_and(|at| at <= now) => {
                *look_at = None;
                actions.push(Action::Sweep(self.generation));
            }
            State::Probing(watch) | State::Ready(watch) | State::Suspect(watch)
                if watch.next.is_some_and(|at| at <= now) =>
            {
                watch.next = None;
                self.look_at_living(now, actions);
            }
            State::Stopping {
                kill_at,
                is_killed,
                look_at,
                ..
            } => {
                if !*is_killed && *kill_at <= now {
                    *is_killed = true;
                    *look_at = Some(now + LOOK_PAUSE);
                    actions.push(Action::Kill(self.generation));
                } else if look_at.is_some_and(|at| at <= now) {
                    *look_at = None;
                    actions.push(Action::Sweep(self.generation));
                }
            }
            _idle => {}
        }
    }

    fn enter(&mut self, now: Duration, state: State, reason: Option<String>) {
        if state.phase() != self.state.phase() {
            self.since = now;
        }
        self.state = state;
        self.reason = reason;
    }

    /// A number that differs from child to child and from draw to draw (splitmix64).
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests;
