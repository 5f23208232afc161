//! Whatever happens, in whatever order, in a truthful world: one life at a time, and an end.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::{Action, Bench, Child, End, Event, Phase, ms, rules, tcp};
use crate::model::policy::{RestartWhen, Run};

/// What a world may do to a child: the number says to which of its lives.
#[derive(Debug, Clone)]
enum Move {
    Wish(u8),
    /// Time passes, to the next deadline or by so many milliseconds.
    Wait(Option<u16>),
    /// The oldest unanswered action is answered; the second word chooses how.
    Answer(bool),
    /// The process of the latest life ends.
    End(u8),
    /// An old event comes again.
    Echo,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        2 => (0_u8..5).prop_map(Move::Wish),
        4 => proptest::option::of(0_u16..8_000).prop_map(Move::Wait),
        8 => any::<bool>().prop_map(Move::Answer),
        2 => (0_u8..3).prop_map(Move::End),
        1 => Just(Move::Echo),
    ];
    proptest::collection::vec(one, 1..200)
}

/// A truthful world around one child.
struct Simulated {
    bench: Bench,
    unanswered: VecDeque<Action>,
    /// The living life, if one lives.
    living: Option<u64>,
    /// Whether the living one left something behind when it ended.
    litter: bool,
    past: Vec<Event>,
}

impl Simulated {
    fn feed(&mut self, event: Event) {
        self.past.push(event.clone());
        for action in self.bench.step(event) {
            if let Action::Spawn(_) = action {
                assert!(self.living.is_none() && !self.litter, "two lives at once");
            }
            self.unanswered.push_back(action);
        }
    }

    fn answer(&mut self, well: bool) {
        let Some(action) = self.unanswered.pop_front() else {
            return;
        };
        match action {
            Action::Spawn(generation) if well => {
                self.living = Some(generation);
                self.feed(Event::Spawned {
                    generation,
                    pid: 100,
                });
            }
            Action::Spawn(generation) => {
                self.feed(Event::SpawnFailed {
                    generation,
                    reason: "no".into(),
                });
            }
            Action::Probe(generation) if well => self.feed(Event::Succeeded { generation }),
            Action::Probe(generation) => {
                self.feed(Event::Missed {
                    generation,
                    reason: "no".into(),
                });
            }
            Action::Ask(generation) => {
                if well && self.living == Some(generation) {
                    self.living = None;
                    self.feed(Event::Exited {
                        generation,
                        end: End::Signal(15),
                    });
                }
            }
            Action::Kill(generation) => {
                self.litter = false;
                if self.living == Some(generation) {
                    self.living = None;
                    self.feed(Event::Exited {
                        generation,
                        end: End::Signal(9),
                    });
                }
            }
            Action::Sweep(generation) => {
                let left = if self.living.is_some() || self.litter {
                    vec![100]
                } else {
                    vec![]
                };
                self.feed(Event::Swept { generation, left });
            }
        }
    }

    fn play(&mut self, step: Move) {
        match step {
            Move::Wish(0) => self.feed(Event::Begin),
            Move::Wish(1) => self.feed(Event::Start),
            Move::Wish(2) => self.feed(Event::Stop),
            Move::Wish(3) => self.feed(Event::Restart),
            Move::Wish(_) => self.feed(Event::MayStart),
            Move::Wait(Some(by)) => {
                self.bench.now += ms(u64::from(by));
                self.feed(Event::Tick);
            }
            Move::Wait(None) => {
                if let Some(at) = self.bench.child.next_deadline() {
                    self.bench.now = at.max(self.bench.now);
                    self.feed(Event::Tick);
                }
            }
            Move::Answer(well) => self.answer(well),
            Move::End(how) => {
                if let Some(generation) = self.living.take() {
                    self.litter = how == 2;
                    self.feed(Event::Exited {
                        generation,
                        end: End::Code(i32::from(how)),
                    });
                }
            }
            Move::Echo => {
                let old = self.past.iter().rev().find(|event| {
                    matches!(
                        event,
                        Event::Succeeded { .. } | Event::Exited { .. } | Event::Missed { .. }
                    )
                });
                if let Some(old) = old.cloned() {
                    self.feed(old);
                }
            }
        }
    }
}

proptest! {
    // A failure prints its smallest case; that becomes a test of its own.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn whatever_happens_there_is_one_life_and_stop_ends_it(
        steps in moves(),
        never in any::<bool>(),
        once in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let when = if never { RestartWhen::Never } else { RestartWhen::Failure };
        let run = if once { Run::Once } else { Run::Always };
        let mut bench = Bench::new(rules(tcp(), when, run));
        bench.child = Child::new(bench.child.rules.clone(), bench.now, seed);
        let mut world = Simulated {
            bench,
            unanswered: VecDeque::new(),
            living: None,
            litter: false,
            past: Vec::new(),
        };
        for step in steps {
            world.play(step);
            prop_assert!(world.bench.child.recent.len() <= 5);
        }
        // Whatever it was at, a stop ends it within its grace.
        world.feed(Event::Stop);
        for _ in 0..1_000 {
            while !world.unanswered.is_empty() {
                world.answer(true);
            }
            world.play(Move::Wait(None));
        }
        prop_assert!(world.living.is_none(), "{:?}", world.bench.child);
        let phase = world.bench.child.phase();
        prop_assert!(matches!(phase, Phase::Stopped | Phase::Failed), "{:?}", world.bench.child);
    }
}
