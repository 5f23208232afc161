//! What people and plans wish: begin, start, stop, restart. Ends only what `ending` can finish.

use std::time::Duration;

use super::{Action, Child, State, Then};
use crate::model::policy::Run;

impl Child {
    pub(super) fn begin(&mut self, now: Duration) {
        let is_idle = matches!(self.state, State::Stopped { .. }) && self.is_clean;
        if is_idle && self.rules.run != Run::Manual {
            let not_before = now + self.rules.late;
            self.enter(
                now,
                State::Waiting {
                    not_before,
                    may_start: false,
                },
                None,
            );
        }
    }

    pub(super) fn start(&mut self, now: Duration, actions: &mut Vec<Action>) {
        match &mut self.state {
            State::Waiting { not_before, .. } => *not_before = now,
            State::Starting | State::Probing(_) | State::Ready(_) | State::Suspect(_) => {}
            State::Stopping { then, .. } => *then = Then::StartAgain,
            State::BackingOff { until, .. } => {
                *until = now;
                self.forget_failures();
            }
            State::Stopped { .. } | State::Failed => {
                self.forget_failures();
                if self.is_clean {
                    let waiting = State::Waiting {
                        not_before: now,
                        may_start: false,
                    };
                    self.enter(now, waiting, None);
                } else {
                    self.begin_stopping(now, Then::StartAgain, None);
                    actions.push(Action::Sweep(self.generation));
                }
            }
        }
        self.tick(now, actions);
    }

    pub(super) fn stop(&mut self, now: Duration, actions: &mut Vec<Action>) {
        match &mut self.state {
            State::Waiting { .. } => self.enter(now, State::Stopped { is_done: false }, None),
            State::Starting | State::Probing(_) | State::Ready(_) | State::Suspect(_) => {
                self.ask_to_end(now, Then::Rest, None, actions);
            }
            State::Stopping { then, .. } => *then = Then::Rest,
            State::BackingOff { .. } if self.is_clean => {
                self.enter(now, State::Stopped { is_done: false }, None);
            }
            State::BackingOff { .. } => {
                self.begin_stopping(now, Then::Rest, None);
                actions.push(Action::Sweep(self.generation));
            }
            State::Failed if self.is_clean => {
                self.enter(now, State::Stopped { is_done: false }, None);
            }
            State::Failed => {
                self.begin_stopping(now, Then::Rest, None);
                actions.push(Action::Sweep(self.generation));
            }
            State::Stopped { .. } => {}
        }
    }

    pub(super) fn restart(&mut self, now: Duration, actions: &mut Vec<Action>) {
        match &self.state {
            State::Starting | State::Probing(_) | State::Ready(_) | State::Suspect(_) => {
                self.forget_failures();
                self.ask_to_end(now, Then::StartAgain, None, actions);
            }
            State::Waiting { .. } => {}
            State::Stopping { .. }
            | State::BackingOff { .. }
            | State::Stopped { .. }
            | State::Failed => self.start(now, actions),
        }
    }

    pub(super) fn forget_failures(&mut self) {
        self.attempt = 0;
        self.recent.clear();
    }
}
