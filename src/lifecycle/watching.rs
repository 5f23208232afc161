//! Probes: when one is due, what a success and a miss mean. It never makes a try itself.

use std::time::Duration;

use super::{Action, Child, Rules, Shows, State, Then, Watch};

impl Child {
    pub(super) fn succeeded(&mut self, now: Duration) {
        let every = self.rules.every;
        let is_asked = self.rules.shows == Shows::Answering;
        let phase = self.next_phase_spread(every);
        match &mut self.state {
            State::Probing(watch) | State::Suspect(watch) => {
                let started = watch.started;
                let next = is_asked.then_some(now + phase);
                let watch = Watch {
                    started,
                    next,
                    asked: None,
                    tries: 1,
                    misses: 0,
                };
                self.enter(now, State::Ready(watch), None);
            }
            State::Ready(watch) => {
                watch.misses = 0;
                watch.tries = watch.tries.saturating_add(1);
                watch.next = is_asked.then(|| (watch.asked.unwrap_or(now) + every).max(now));
                watch.asked = None;
            }
            _late => {}
        }
    }

    /// A point within the first period, so that children that came up together are not asked
    /// together.
    pub(super) fn next_phase_spread(&mut self, every: Duration) -> Duration {
        let span = u64::try_from(every.as_micros()).unwrap_or(u64::MAX).max(1);
        let part = self.draw() % span;
        Duration::from_micros(span / 2 + part / 2)
    }

    pub(super) fn missed(&mut self, now: Duration, reason: String, actions: &mut Vec<Action>) {
        let Rules {
            every,
            timeout,
            grace,
            retries,
            ..
        } = self.rules;
        let rules = self.rules.clone();
        match &mut self.state {
            State::Probing(watch) | State::Ready(watch) if watch.asked.is_some() => {
                let asked = watch.asked.take().unwrap_or(now);
                watch.tries = watch.tries.saturating_add(1);
                let in_grace = now < watch.started + grace;
                let is_coming_up = matches!(self.state, State::Probing(_)) && in_grace;
                let (State::Probing(watch) | State::Ready(watch)) = &mut self.state else {
                    return;
                };
                self.reason = Some(reason.clone());
                if is_coming_up {
                    watch.next = Some(now + rules.eager_pause(watch.tries));
                    return;
                }
                watch.misses += 1;
                watch.next = Some((asked + timeout).max(now));
                let misses = watch.misses;
                if misses >= retries {
                    let reason = format!("{misses} probes in a row missed: {reason}");
                    self.suspect(now, reason, actions);
                }
            }
            State::Suspect(watch) => {
                let asked = watch.asked.take().unwrap_or(now);
                watch.misses = watch.misses.saturating_add(1);
                watch.next = Some((asked + every).max(now));
            }
            _late => {}
        }
    }

    pub(super) fn suspect(&mut self, now: Duration, reason: String, actions: &mut Vec<Action>) {
        if self.rules.restarts_after(false) {
            self.ask_to_end(now, Then::BackOff, Some(reason), actions);
            return;
        }
        let (State::Probing(watch) | State::Ready(watch)) = &self.state else {
            return;
        };
        let mut watch = watch.clone();
        watch.next = (self.rules.shows == Shows::Answering).then_some(now + self.rules.every);
        self.enter(now, State::Suspect(watch), Some(reason));
    }

    /// The time of a running child has come: to be asked, or to be judged.
    pub(super) fn look_at_living(&mut self, now: Duration, actions: &mut Vec<Action>) {
        match self.rules.shows {
            Shows::Living => self.succeeded(now),
            Shows::Answering => {
                if let State::Probing(watch) | State::Ready(watch) | State::Suspect(watch) =
                    &mut self.state
                {
                    watch.asked = Some(now);
                    actions.push(Action::Probe(self.generation));
                }
            }
            Shows::Telling => {
                let grace = self.rules.grace.as_secs_f64();
                self.suspect(
                    now,
                    format!("did not tell that it is ready within {grace} s"),
                    actions,
                );
            }
        }
    }
}
