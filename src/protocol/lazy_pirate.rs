//! The Lazy Pirate: a request, a fresh socket on each try, a bounded number of tries.
//!
//! A pure machine: it is told the time and what happened and says what to do next. `retries` is the
//! number of attempts in all, as ZMQ Net counts. Whoever drives it opens and drops the sockets.

use std::num::NonZeroU32;
use std::time::Duration;

/// How often and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// How long one attempt may take.
    pub timeout: Duration,
    /// Attempts in all.
    pub attempts: NonZeroU32,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The exchange begins.
    Start,
    /// The reply to the current attempt came.
    Replied,
    /// The current attempt cannot succeed any more: refused, lost or reset.
    Lost,
    /// The time came that [`Action::Wait`] asked for.
    Tick,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Open a fresh socket and send the request; the first attempt is 1.
    Send {
        /// Which attempt this is.
        attempt: u32,
        /// When it is over.
        until: Duration,
    },
    /// Drop the socket of the attempt, and say so: another follows.
    Retry,
    /// Do nothing until this time.
    Wait(Duration),
    /// The exchange succeeded.
    Done,
    /// The exchange failed: every attempt was silent or lost.
    Dropped,
}

/// One exchange.
#[derive(Debug, Clone)]
pub struct LazyPirate {
    schedule: Schedule,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// `Start` begins.
    Idle,
    /// A request is out.
    Waiting { attempt: u32, until: Duration },
    /// The attempt was lost early: the next one keeps its place in the schedule, so that a server
    /// that is late meets it.
    Resting { attempt: u32, until: Duration },
    /// Nothing more happens.
    Over,
}

impl LazyPirate {
    /// An exchange that has not begun.
    pub fn new(schedule: Schedule) -> Self {
        Self {
            schedule,
            state: State::Idle,
        }
    }

    /// Takes one step. Events that no longer matter change nothing.
    pub fn step(&mut self, now: Duration, event: Event, actions: &mut Vec<Action>) {
        match (self.state, event) {
            (State::Idle, Event::Start) => self.send(now, 1, actions),
            (State::Waiting { .. }, Event::Replied) => {
                self.state = State::Over;
                actions.push(Action::Done);
            }
            (State::Waiting { attempt, until }, Event::Lost) if now < until => {
                self.state = State::Resting { attempt, until };
                actions.push(Action::Wait(until));
            }
            (State::Waiting { attempt, until }, Event::Lost | Event::Tick)
            | (State::Resting { attempt, until }, Event::Tick) => {
                if now < until {
                    actions.push(Action::Wait(until));
                } else if attempt >= self.schedule.attempts.get() {
                    self.state = State::Over;
                    actions.push(Action::Dropped);
                } else {
                    actions.push(Action::Retry);
                    self.send(now, attempt + 1, actions);
                }
            }
            (State::Waiting { .. }, Event::Start)
            | (State::Resting { .. }, Event::Start | Event::Replied | Event::Lost)
            | (State::Idle, Event::Replied | Event::Lost | Event::Tick)
            | (State::Over, _) => {}
        }
    }

    fn send(&mut self, now: Duration, attempt: u32, actions: &mut Vec<Action>) {
        let until = now + self.schedule.timeout;
        self.state = State::Waiting { attempt, until };
        actions.push(Action::Send { attempt, until });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn exchange(attempts: u32) -> LazyPirate {
        LazyPirate::new(Schedule {
            timeout: ms(2_000),
            attempts: NonZeroU32::new(attempts).unwrap(),
        })
    }

    fn step(machine: &mut LazyPirate, at: u64, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        machine.step(ms(at), event, &mut actions);
        actions
    }

    #[test]
    fn three_attempts_of_two_seconds_take_six() {
        let mut machine = exchange(3);
        let send = |attempt, until| Action::Send {
            attempt,
            until: ms(until),
        };
        assert_eq!(step(&mut machine, 0, Event::Start), [send(1, 2_000)]);
        assert_eq!(
            step(&mut machine, 1_999, Event::Tick),
            [Action::Wait(ms(2_000))]
        );
        assert_eq!(
            step(&mut machine, 2_000, Event::Tick),
            [Action::Retry, send(2, 4_000)]
        );
        assert_eq!(
            step(&mut machine, 4_000, Event::Tick),
            [Action::Retry, send(3, 6_000)]
        );
        assert_eq!(step(&mut machine, 6_000, Event::Tick), [Action::Dropped]);
        assert_eq!(step(&mut machine, 6_001, Event::Replied), []);
    }

    #[test]
    fn a_reply_ends_it_and_a_refusal_keeps_the_schedule() {
        let mut machine = exchange(2);
        step(&mut machine, 0, Event::Start);
        assert_eq!(
            step(&mut machine, 1, Event::Lost),
            [Action::Wait(ms(2_000))]
        );
        // A reply to an attempt that was given up is nobody's.
        assert_eq!(step(&mut machine, 2, Event::Replied), []);
        step(&mut machine, 2_000, Event::Tick);
        assert_eq!(step(&mut machine, 2_100, Event::Replied), [Action::Done]);
        assert_eq!(step(&mut machine, 4_000, Event::Tick), []);
    }

    #[test]
    fn one_attempt_never_retries() {
        let mut machine = exchange(1);
        step(&mut machine, 0, Event::Start);
        assert_eq!(step(&mut machine, 2_000, Event::Tick), [Action::Dropped]);
    }
}
