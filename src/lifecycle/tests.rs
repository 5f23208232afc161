//! Each transition, one test each.

mod any_order;

use std::time::Duration;

use super::{ALIVE, Action, Child, End, Event, Phase, Rules, State};
use crate::model::policy::{Probe, ProbeHow, Restart, RestartWhen, Run};

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn rules(how: ProbeHow, when: RestartWhen, run: Run) -> Rules {
    let probe = Probe {
        how,
        every_ms: 2_000,
        timeout_ms: 500,
        retries: 3,
        grace_ms: 1_000,
    };
    let restart = Restart {
        when,
        backoff_min_ms: 200,
        backoff_max_ms: 30_000,
        limit_count: 5,
        limit_period_ms: 60_000,
    };
    Rules::new(run, None, &probe, restart, 5_000)
}

fn tcp() -> ProbeHow {
    ProbeHow::Tcp {
        endpoint: "tcp://127.0.0.1:1".parse().unwrap(),
    }
}

/// A child with a clock, whose actions are kept.
struct Bench {
    child: Child,
    now: Duration,
    actions: Vec<Action>,
}

impl Bench {
    fn new(rules: Rules) -> Self {
        Self {
            child: Child::new(rules, ms(1_000), 7),
            now: ms(1_000),
            actions: Vec::new(),
        }
    }

    fn step(&mut self, event: Event) -> Vec<Action> {
        self.actions.clear();
        self.child.step(self.now, event, &mut self.actions);
        self.actions.clone()
    }

    fn at_deadline(&mut self) -> Vec<Action> {
        self.now = self
            .child
            .next_deadline()
            .expect("it waits for a time")
            .max(self.now);
        self.step(Event::Tick)
    }

    fn running(rules: Rules) -> Self {
        let mut bench = Self::new(rules);
        bench.step(Event::Begin);
        assert_eq!(bench.step(Event::MayStart), [Action::Spawn(1)]);
        bench.step(Event::Spawned {
            generation: 1,
            pid: 10,
        });
        bench
    }

    fn ready(rules: Rules) -> Self {
        let mut bench = Self::running(rules);
        bench.step(Event::Succeeded { generation: 1 });
        assert_eq!(bench.child.phase(), Phase::Ready);
        bench
    }

    fn exit(&mut self, end: End) -> Vec<Action> {
        let generation = self.child.generation();
        self.step(Event::Exited { generation, end })
    }

    fn swept(&mut self, left: &[u32]) -> Vec<Action> {
        let generation = self.child.generation();
        self.step(Event::Swept {
            generation,
            left: left.to_vec(),
        })
    }

    fn missed(&mut self) -> Vec<Action> {
        let generation = self.child.generation();
        self.now += ms(500);
        self.step(Event::Missed {
            generation,
            reason: "no answer".into(),
        })
    }
}

#[test]
fn it_starts_when_its_conditions_hold_and_is_ready_at_the_first_success() {
    let mut bench = Bench::new(rules(tcp(), RestartWhen::Failure, Run::Always));
    assert!(bench.step(Event::Begin).is_empty());
    assert_eq!(bench.child.phase(), Phase::Waiting);
    assert_eq!(bench.child.next_deadline(), None);
    assert_eq!(bench.step(Event::MayStart), [Action::Spawn(1)]);
    assert_eq!(bench.child.phase(), Phase::Starting);
    assert_eq!(
        bench.step(Event::Spawned {
            generation: 1,
            pid: 10
        }),
        [Action::Probe(1)]
    );
    assert_eq!(
        (bench.child.phase(), bench.child.pid()),
        (Phase::Probing, Some(10))
    );
    bench.step(Event::Succeeded { generation: 1 });
    assert_eq!(bench.child.phase(), Phase::Ready);
    let next = bench.child.next_deadline().unwrap() - bench.now;
    assert!(next >= ms(1_000) && next <= ms(2_000), "{next:?}");
    assert_eq!(bench.at_deadline(), [Action::Probe(1)]);
}

#[test]
fn a_late_one_waits_and_a_manual_one_is_not_begun() {
    let mut late = rules(tcp(), RestartWhen::Failure, Run::Always);
    late.late = ms(3_000);
    let mut bench = Bench::new(late);
    bench.step(Event::Begin);
    assert!(bench.step(Event::MayStart).is_empty());
    assert_eq!(bench.child.next_deadline(), Some(ms(4_000)));
    assert_eq!(bench.at_deadline(), [Action::Spawn(1)]);

    let mut manual = Bench::new(rules(tcp(), RestartWhen::Failure, Run::Manual));
    manual.step(Event::Begin);
    assert_eq!(manual.child.phase(), Phase::Stopped);
    manual.step(Event::Start);
    assert_eq!(manual.step(Event::MayStart), [Action::Spawn(1)]);
}

#[test]
fn without_a_probe_it_is_ready_once_it_has_lived() {
    let mut bench = Bench::running(rules(ProbeHow::Alive, RestartWhen::Failure, Run::Always));
    assert_eq!(bench.child.next_deadline(), Some(bench.now + ALIVE));
    assert!(bench.at_deadline().is_empty());
    assert_eq!(
        (bench.child.phase(), bench.child.next_deadline()),
        (Phase::Ready, None)
    );
}

#[test]
fn one_that_tells_is_ready_when_it_tells_and_restarted_when_it_does_not() {
    let mut told = Bench::running(rules(ProbeHow::Notify, RestartWhen::Failure, Run::Always));
    told.step(Event::Succeeded { generation: 1 });
    assert_eq!(
        (told.child.phase(), told.child.next_deadline()),
        (Phase::Ready, None)
    );
    let mut silent = Bench::running(rules(ProbeHow::Notify, RestartWhen::Failure, Run::Always));
    assert_eq!(silent.at_deadline(), [Action::Ask(1)]);
    assert!(
        silent.child.reason().unwrap().contains("did not tell"),
        "{:?}",
        silent.child
    );
}

#[test]
fn misses_in_grace_do_not_count_and_are_tried_again_soon() {
    let mut bench = Bench::running(rules(tcp(), RestartWhen::Failure, Run::Always));
    for _ in 0..5 {
        bench.step(Event::Missed {
            generation: 1,
            reason: "refused".into(),
        });
        assert_eq!(
            (bench.child.phase(), bench.child.misses()),
            (Phase::Probing, 0)
        );
        assert_eq!(bench.at_deadline(), [Action::Probe(1)]);
    }
    assert!(bench.now < ms(1_200), "{:?}", bench.now);
}

#[test]
fn as_many_misses_as_retries_end_it_and_one_fewer_does_not() {
    let mut bench = Bench::ready(rules(tcp(), RestartWhen::Failure, Run::Always));
    for _ in 0..2 {
        assert_eq!(bench.at_deadline(), [Action::Probe(1)]);
        assert!(bench.missed().is_empty());
    }
    assert_eq!(
        (bench.child.phase(), bench.child.misses()),
        (Phase::Ready, 2)
    );
    bench.at_deadline();
    bench.step(Event::Succeeded { generation: 1 });
    assert_eq!(bench.child.misses(), 0);
    for _ in 0..2 {
        bench.at_deadline();
        bench.missed();
    }
    bench.at_deadline();
    assert_eq!(bench.missed(), [Action::Ask(1)]);
    assert_eq!(bench.child.phase(), Phase::Stopping);
    assert!(
        bench.child.reason().unwrap().contains("3 probes"),
        "{:?}",
        bench.child
    );
    assert_eq!(bench.exit(End::Signal(15)), [Action::Sweep(1)]);
    bench.swept(&[]);
    assert_eq!(bench.child.phase(), Phase::BackingOff);
    assert_eq!(bench.at_deadline(), [Action::Spawn(2)]);
    assert_eq!(bench.child.restarts(), 1);
}

#[test]
fn without_restarts_a_suspect_is_left_alone_and_ready_at_its_next_success() {
    let mut bench = Bench::ready(rules(tcp(), RestartWhen::Never, Run::Always));
    for _ in 0..3 {
        bench.at_deadline();
        bench.missed();
    }
    assert_eq!(
        (bench.child.phase(), bench.child.pid()),
        (Phase::Suspect, Some(10))
    );
    assert_eq!(bench.at_deadline(), [Action::Probe(1)]);
    assert!(bench.missed().is_empty());
    assert_eq!(bench.at_deadline(), [Action::Probe(1)]);
    bench.step(Event::Succeeded { generation: 1 });
    assert_eq!(bench.child.phase(), Phase::Ready);
    bench.exit(End::Code(1));
    bench.swept(&[]);
    assert_eq!(
        (bench.child.phase(), bench.child.restarts()),
        (Phase::Failed, 0)
    );
}

#[test]
fn an_exit_is_followed_by_a_backoff_that_grows_and_the_sixth_restart_by_failed() {
    let mut bench = Bench::running(rules(tcp(), RestartWhen::Failure, Run::Always));
    let mut last = Duration::ZERO;
    for life in 1..=5 {
        assert_eq!(bench.exit(End::Code(3)), [Action::Sweep(life)]);
        assert_eq!(bench.child.phase(), Phase::BackingOff);
        assert!(bench.swept(&[]).is_empty());
        let wait = bench.child.next_deadline().unwrap() - bench.now;
        assert!(wait > last && wait <= ms(30_000), "{wait:?} after {last:?}");
        assert!(life != 1 || wait == ms(200), "{wait:?}");
        last = wait;
        assert_eq!(bench.at_deadline(), [Action::Spawn(life + 1)]);
        bench.step(Event::Spawned {
            generation: life + 1,
            pid: 10,
        });
    }
    bench.exit(End::Code(3));
    bench.swept(&[]);
    assert_eq!(
        (bench.child.phase(), bench.child.restarts()),
        (Phase::Failed, 5)
    );
    let reason = bench.child.reason().unwrap();
    assert!(
        reason.contains("code 3") && reason.contains("limit"),
        "{reason}"
    );
    bench.step(Event::Start);
    assert_eq!(bench.step(Event::MayStart), [Action::Spawn(7)]);
}

#[test]
fn a_stable_time_makes_the_next_failure_the_first() {
    let mut bench = Bench::running(rules(tcp(), RestartWhen::Failure, Run::Always));
    for life in 1..=3 {
        bench.exit(End::Code(3));
        bench.swept(&[]);
        bench.at_deadline();
        bench.step(Event::Spawned {
            generation: life + 1,
            pid: 10,
        });
    }
    bench.step(Event::Succeeded { generation: 4 });
    bench.now += ms(61_000);
    bench.exit(End::Code(3));
    bench.swept(&[]);
    assert_eq!(bench.child.next_deadline(), Some(bench.now + ms(200)));
}

#[test]
fn exit_code_0_is_the_end_unless_it_is_always_restarted() {
    for (run, when, phase) in [
        (Run::Once, RestartWhen::Always, Phase::Stopped),
        (Run::Once, RestartWhen::Failure, Phase::Stopped),
        (Run::Always, RestartWhen::Failure, Phase::Stopped),
        (Run::Always, RestartWhen::Always, Phase::BackingOff),
    ] {
        let mut bench = Bench::running(rules(ProbeHow::Alive, when, run));
        bench.exit(End::Code(0));
        bench.swept(&[]);
        assert_eq!(bench.child.phase(), phase, "{run:?} {when:?}");
        let is_done = *bench.child.state() == State::Stopped { is_done: true };
        assert_eq!(is_done, phase == Phase::Stopped);
    }
    let mut failed = Bench::running(rules(ProbeHow::Alive, RestartWhen::Failure, Run::Once));
    failed.exit(End::Code(1));
    assert_eq!(failed.child.phase(), Phase::BackingOff);
}

#[test]
fn stop_asks_then_kills_what_is_left_and_names_what_would_not_die() {
    let mut bench = Bench::ready(rules(tcp(), RestartWhen::Failure, Run::Always));
    assert_eq!(bench.step(Event::Stop), [Action::Ask(1)]);
    assert_eq!(bench.exit(End::Code(0)), [Action::Sweep(1)]);
    assert!(bench.swept(&[11]).is_empty());
    assert_eq!(bench.at_deadline(), [Action::Sweep(1)]);
    bench.now += ms(5_000);
    assert_eq!(bench.step(Event::Tick), [Action::Kill(1)]);
    let mut stuck = Bench {
        child: bench.child.clone(),
        now: bench.now,
        actions: Vec::new(),
    };
    assert_eq!(bench.at_deadline(), [Action::Sweep(1)]);
    bench.swept(&[]);
    assert_eq!(*bench.child.state(), State::Stopped { is_done: false });

    stuck.now += ms(6_000);
    stuck.step(Event::Tick);
    stuck.swept(&[11]);
    assert_eq!(stuck.child.phase(), Phase::Failed);
    assert!(
        stuck.child.reason().unwrap().contains("11"),
        "{:?}",
        stuck.child
    );
    // Nothing new starts while something old lives.
    assert_eq!(stuck.step(Event::Start), [Action::Sweep(1)]);
    assert!(stuck.swept(&[]).is_empty());
    assert_eq!(stuck.step(Event::MayStart), [Action::Spawn(2)]);
}

#[test]
fn a_stop_before_the_pid_is_known_reaches_the_process() {
    let mut bench = Bench::new(rules(tcp(), RestartWhen::Failure, Run::Always));
    bench.step(Event::Begin);
    bench.step(Event::MayStart);
    assert!(bench.step(Event::Stop).is_empty());
    assert!(bench.swept(&[]).is_empty());
    assert_eq!(bench.child.phase(), Phase::Stopping);
    assert_eq!(
        bench.step(Event::Spawned {
            generation: 1,
            pid: 10
        }),
        [Action::Ask(1)]
    );
    bench.exit(End::Signal(15));
    bench.swept(&[]);
    assert_eq!(bench.child.phase(), Phase::Stopped);
}

#[test]
fn a_restart_by_hand_has_no_backoff_and_does_not_count() {
    let mut bench = Bench::ready(rules(tcp(), RestartWhen::Failure, Run::Always));
    assert_eq!(bench.step(Event::Restart), [Action::Ask(1)]);
    bench.exit(End::Signal(15));
    assert!(bench.swept(&[]).is_empty());
    assert_eq!(bench.step(Event::MayStart), [Action::Spawn(2)]);
    assert_eq!(bench.child.restarts(), 0);
}

#[test]
fn a_failed_spawn_is_a_failed_life() {
    let mut bench = Bench::new(rules(tcp(), RestartWhen::Never, Run::Always));
    bench.step(Event::Begin);
    bench.step(Event::MayStart);
    bench.step(Event::SpawnFailed {
        generation: 1,
        reason: "no such file".into(),
    });
    assert_eq!(bench.child.phase(), Phase::Failed);
    assert_eq!(bench.child.reason(), Some("no such file"));
}

#[test]
fn a_doomed_life_is_not_followed_by_another() {
    let mut bench = Bench::running(rules(tcp(), RestartWhen::Always, Run::Always));
    let doomed = Event::Doomed {
        generation: 1,
        end: End::Code(98),
        reason: "its port is taken".into(),
    };
    assert_eq!(bench.step(doomed), [Action::Sweep(1)]);
    bench.swept(&[]);
    assert_eq!(bench.child.phase(), Phase::Failed);
    assert_eq!(bench.child.reason(), Some("its port is taken"));
}

#[test]
fn an_adopted_one_is_probed_and_keeps_its_life() {
    let mut bench = Bench::new(rules(tcp(), RestartWhen::Failure, Run::Always));
    bench.child = bench.child.clone().resumed(4, 2);
    bench.now = ms(90_000);
    let actions = bench.step(Event::Adopted {
        generation: 4,
        pid: 44,
        started: ms(2_000),
    });
    assert_eq!(actions, [Action::Probe(4)]);
    assert_eq!((bench.child.pid(), bench.child.restarts()), (Some(44), 2));
    bench.step(Event::Succeeded { generation: 4 });
    assert_eq!(bench.child.phase(), Phase::Ready);
}

#[test]
fn events_of_an_earlier_life_change_nothing() {
    let mut bench = Bench::ready(rules(tcp(), RestartWhen::Failure, Run::Always));
    bench.step(Event::Restart);
    bench.exit(End::Signal(15));
    bench.swept(&[]);
    bench.step(Event::MayStart);
    bench.step(Event::Spawned {
        generation: 2,
        pid: 20,
    });
    let before = format!("{:?}", bench.child);
    for event in [
        Event::Exited {
            generation: 1,
            end: End::Code(0),
        },
        Event::Swept {
            generation: 1,
            left: vec![],
        },
        Event::Succeeded { generation: 1 },
        Event::Missed {
            generation: 1,
            reason: String::new(),
        },
        Event::Spawned {
            generation: 1,
            pid: 10,
        },
    ] {
        assert!(bench.step(event).is_empty());
    }
    assert_eq!(before, format!("{:?}", bench.child));
}
