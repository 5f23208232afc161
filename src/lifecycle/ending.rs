//! The end of a life: asked, killed, looked after until nothing of it is left.

use std::time::Duration;

use super::{Action, Child, End, KILL_PATIENCE, LOOK_PAUSE, State, Then};

impl Child {
    pub(super) fn begin_stopping(&mut self, now: Duration, then: Then, reason: Option<String>) {
        self.forgive(now);
        let kill_at = now + self.rules.stop_grace;
        let stopping = State::Stopping {
            then,
            kill_at,
            is_asked: false,
            is_killed: false,
            look_at: None,
        };
        self.enter(now, stopping, reason);
    }

    pub(super) fn ask_to_end(
        &mut self,
        now: Duration,
        then: Then,
        reason: Option<String>,
        actions: &mut Vec<Action>,
    ) {
        self.begin_stopping(now, then, reason);
        // Without a pid it is asked as soon as it has one.
        if self.pid.is_some()
            && let State::Stopping { is_asked, .. } = &mut self.state
        {
            *is_asked = true;
            actions.push(Action::Ask(self.generation));
        }
    }

    pub(super) fn look(&mut self, now: Duration, actions: &mut Vec<Action>) {
        if self.is_clean {
            self.gone(now, actions);
        } else {
            actions.push(Action::Sweep(self.generation));
        }
    }

    pub(super) fn swept(&mut self, now: Duration, left: &[u32], actions: &mut Vec<Action>) {
        // Nothing found means nothing while a process is still being started.
        if self.is_spawning {
            return;
        }
        match &mut self.state {
            State::Stopping { .. } | State::BackingOff { .. } if left.is_empty() => {
                self.pid = None;
                self.is_clean = true;
                self.gone(now, actions);
            }
            State::Stopping {
                kill_at,
                is_killed,
                is_asked,
                look_at,
                ..
            } => {
                if *is_killed && now >= *kill_at + KILL_PATIENCE {
                    let pids: Vec<String> = left.iter().map(u32::to_string).collect();
                    let reason = format!("would not die: {}", pids.join(" "));
                    self.enter(now, State::Failed, Some(reason));
                    return;
                }
                *look_at = Some(now + LOOK_PAUSE);
                if !*is_asked {
                    *is_asked = true;
                    actions.push(Action::Ask(self.generation));
                }
            }
            // What a crash left behind has no grace: its port may be needed at once.
            State::BackingOff { look_at, .. } => {
                *look_at = Some(now + LOOK_PAUSE);
                actions.push(Action::Kill(self.generation));
            }
            _late => {}
        }
    }

    /// Nothing of the last life is left.
    pub(super) fn gone(&mut self, now: Duration, actions: &mut Vec<Action>) {
        self.is_clean = true;
        self.pid = None;
        let reason = self.reason.take();
        match &mut self.state {
            State::Stopping { then, .. } => match then {
                Then::Rest => {
                    let is_done = reason.is_some() && self.end.is_some_and(End::is_success);
                    self.enter(now, State::Stopped { is_done }, reason);
                }
                // What it needs may have changed since it began: a port of it may be another's still.
                Then::StartAgain => {
                    let waiting = State::Waiting {
                        not_before: now,
                        may_start: false,
                    };
                    self.enter(now, waiting, None);
                    self.tick(now, actions);
                }
                Then::BackOff => self.back_off(now, reason.unwrap_or_default(), actions),
                Then::Fail => self.enter(now, State::Failed, reason),
            },
            State::BackingOff { look_at, .. } => {
                *look_at = None;
                self.reason = reason;
                self.tick(now, actions);
            }
            _late => self.reason = reason,
        }
    }
}
