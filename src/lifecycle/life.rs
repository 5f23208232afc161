//! One life: asked for, begun, adopted, ended, and what follows an end nobody asked for.

use std::time::Duration;

use super::{ALIVE, Action, Child, End, Shows, State, Then, Watch};

impl Child {
    pub(super) fn spawn(&mut self, now: Duration, actions: &mut Vec<Action>) {
        assert!(
            self.is_clean && self.pid.is_none(),
            "a child has one life at a time"
        );
        self.generation += 1;
        self.is_spawning = true;
        self.is_clean = false;
        self.end = None;
        self.enter(now, State::Starting, None);
        actions.push(Action::Spawn(self.generation));
    }

    pub(super) fn spawned(&mut self, now: Duration, pid: u32, actions: &mut Vec<Action>) {
        if !std::mem::take(&mut self.is_spawning) {
            // Its end overtook its pid.
            return;
        }
        self.pid = Some(pid);
        match &mut self.state {
            State::Starting => {
                let watch = self.watch(now, now);
                self.enter(now, State::Probing(watch), None);
                self.tick(now, actions);
            }
            // Somebody wished it to end before it had a pid.
            State::Stopping { is_asked, .. } => {
                *is_asked = true;
                actions.push(Action::Ask(self.generation));
            }
            _other => unreachable!("a spawn is awaited only in Starting and Stopping"),
        }
    }

    pub(super) fn spawn_failed(
        &mut self,
        now: Duration,
        reason: String,
        actions: &mut Vec<Action>,
    ) {
        self.is_spawning = false;
        match &self.state {
            State::Starting => {
                self.is_clean = true;
                self.end_of_life(now, false, reason, actions);
            }
            State::Stopping { .. } if self.pid.is_none() => self.gone(now, actions),
            _late => {}
        }
    }

    pub(super) fn adopted(&mut self, now: Duration, generation: u64, pid: u32, started: Duration) {
        let is_idle = self.pid.is_none() && generation >= self.generation;
        let may = matches!(
            self.state,
            State::Waiting { .. } | State::Stopped { .. } | State::Starting | State::Failed
        );
        if is_idle && may {
            self.generation = generation;
            self.is_clean = false;
            self.is_spawning = false;
            self.pid = Some(pid);
            self.end = None;
            let watch = self.watch(now, started);
            self.enter(now, State::Probing(watch), None);
        }
    }

    pub(super) fn watch(&self, now: Duration, started: Duration) -> Watch {
        let next = match self.rules.shows {
            Shows::Living => started + ALIVE,
            Shows::Answering => now,
            Shows::Telling => now + self.rules.grace,
        };
        Watch {
            started,
            next: Some(next),
            asked: None,
            tries: 0,
            misses: 0,
        }
    }

    pub(super) fn exited(&mut self, now: Duration, end: End, actions: &mut Vec<Action>) {
        // The end may overtake the pid.
        let was_alive = self.pid.take().is_some() | std::mem::take(&mut self.is_spawning);
        if !was_alive {
            return;
        }
        self.end = Some(end);
        match &self.state {
            State::Starting | State::Probing(_) | State::Ready(_) | State::Suspect(_) => {
                self.end_of_life(now, end.is_success(), end.to_string(), actions);
            }
            State::Stopping { .. } => actions.push(Action::Sweep(self.generation)),
            State::Waiting { .. }
            | State::BackingOff { .. }
            | State::Stopped { .. }
            | State::Failed => {}
        }
    }

    pub(super) fn doomed(
        &mut self,
        now: Duration,
        end: End,
        reason: String,
        actions: &mut Vec<Action>,
    ) {
        let is_unasked = !matches!(self.state, State::Stopping { .. });
        if !is_unasked {
            return self.exited(now, end, actions);
        }
        let was_alive = self.pid.take().is_some() | std::mem::take(&mut self.is_spawning);
        if was_alive {
            self.end = Some(end);
            self.begin_stopping(now, Then::Fail, Some(reason));
            self.look(now, actions);
        }
    }

    /// Decides what follows a life that ended without being asked to.
    pub(super) fn end_of_life(
        &mut self,
        now: Duration,
        success: bool,
        reason: String,
        actions: &mut Vec<Action>,
    ) {
        if self.rules.restarts_after(success) {
            self.back_off(now, reason, actions);
            return;
        }
        let then = if success { Then::Rest } else { Then::Fail };
        self.begin_stopping(now, then, Some(reason));
        self.look(now, actions);
    }

    pub(super) fn back_off(&mut self, now: Duration, reason: String, actions: &mut Vec<Action>) {
        self.forgive(now);
        let restart = self.rules.restart;
        let period = Duration::from_millis(restart.limit_period_ms);
        while self.recent.front().is_some_and(|at| *at + period <= now) {
            self.recent.pop_front();
        }
        if self.recent.len() >= restart.limit_count as usize {
            let limit = restart.limit_count;
            let seconds = period.as_secs_f64();
            let reason =
                format!("{reason}; restarted {limit} times within {seconds} s, which is its limit");
            self.begin_stopping(now, Then::Fail, Some(reason));
            self.look(now, actions);
            return;
        }
        self.recent.push_back(now);
        let jitter = self.draw();
        let until = now + self.rules.backoff(self.attempt, jitter);
        self.attempt = self.attempt.saturating_add(1);
        self.enter(
            now,
            State::BackingOff {
                until,
                look_at: None,
            },
            Some(reason),
        );
        if self.is_clean {
            self.tick(now, actions);
        } else {
            actions.push(Action::Sweep(self.generation));
        }
    }

    /// A child that was Ready for long enough fails for the first time again.
    pub(super) fn forgive(&mut self, now: Duration) {
        if matches!(self.state, State::Ready(_)) && self.since + self.rules.stable() <= now {
            self.attempt = 0;
        }
    }
}
