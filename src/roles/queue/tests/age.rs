//! How old a queue is: the age of what waits, whatever happens to tasks. Each step is checked against
//! a look at all of them, by the audit.

use serde_json::json;

use crate::roles::machine::{Event, Machine as _};

use super::bench::Bench;
use super::{answer, plain};

/// The age that the facts show, after a tick.
fn age(bench: &mut Bench) -> u64 {
    bench.tell(Event::Tick);
    let facts = bench.queue.facts();
    let of_services = facts["services"].as_array().unwrap().iter();
    let oldest = of_services.map(|service| service["age_ms"].as_u64().unwrap());
    let age_ms = facts["age_ms"].as_u64().unwrap();
    assert_eq!(oldest.max(), Some(age_ms));
    age_ms
}

#[test]
fn it_is_the_time_that_the_oldest_has_waited_whatever_goes_first() {
    let mut bench = plain();
    bench.pass(1_000);
    assert_eq!(age(&mut bench), 0, "nothing waits");
    bench.open("front", 3);
    bench.front(3, &["", "given"]);
    bench.pass(700);
    assert_eq!(age(&mut bench), 0, "what a worker has does not wait");
    for (id, priority) in [("low", -5), ("high", 5), ("mid", 0)] {
        let asked = json!({"service": "tasks", "id": id, "priority": priority});
        bench.asks(1, "submit", asked, &[id]);
        bench.pass(100);
    }
    assert_eq!(age(&mut bench), 300, "of the one that goes last");
    let given = bench.one(2);
    bench.say("back", 2, answer(&given[..2], "done"));
    assert_eq!(bench.one(2)[2], "high");
    assert_eq!(age(&mut bench), 300);
    bench.asks(1, "purge", json!({"task": "low"}), &[]);
    assert_eq!(age(&mut bench), 100, "of the one that is left");
    bench.asks(1, "purge", json!({"service": "tasks"}), &[]);
    assert_eq!(age(&mut bench), 0);
}

#[test]
fn a_delay_and_a_rest_are_no_wait_and_a_task_that_is_taken_back_waits_anew() {
    let mut bench = Bench::new(1 << 20);
    for conn in [1, 2] {
        bench.open("front", conn);
    }
    let asked = json!({"service": "mail", "id": "m", "delay_ms": 1_000});
    bench.asks(1, "submit", asked, &["letter"]);
    bench.pass(1_250);
    assert_eq!(age(&mut bench), 250);
    let take = json!({"service": "mail", "lease_ms": 2_000});
    let taken = bench.asks(2, "take", take.clone(), &[]).result;
    assert_eq!(age(&mut bench), 0);
    // Failed, it rests for 100 ms and waits then.
    bench.asks(2, "fail", json!({"token": taken["token"]}), &[]);
    bench.pass(140);
    assert_eq!(age(&mut bench), 40);
    bench.asks(2, "take", take.clone(), &[]);
    // Its lease is over after two seconds.
    bench.pass(2_060);
    assert_eq!(age(&mut bench), 60);
    bench.asks(2, "take", take, &[]);
    bench.close(2);
    assert_eq!(age(&mut bench), 0, "given up");
    bench.pass(500);
    bench.asks(1, "retry", json!({"task": "m"}), &[]);
    bench.pass(30);
    assert_eq!(age(&mut bench), 30, "from when it was tried again");
    let soon = json!({"service": "mail", "id": "n", "deadline_ms": 100});
    bench.asks(1, "purge", json!({"task": "m"}), &[]);
    bench.asks(1, "submit", soon, &["letter"]);
    bench.pass(99);
    assert_eq!(age(&mut bench), 99);
    bench.pass(1);
    assert_eq!(age(&mut bench), 0, "nobody waits for it any more");
}

#[test]
fn each_service_has_an_age_of_its_own_and_that_of_the_queue_is_the_greatest() {
    let mut bench = plain();
    for (service, ms) in [("a", 40), ("b", 2)] {
        bench.asks(1, "submit", json!({"service": service}), &[]);
        bench.pass(ms);
    }
    assert_eq!(age(&mut bench), 42);
    let listed = bench.asks(1, "ls", json!({}), &[]).result;
    let of = |name: &str| {
        let mut services = listed["services"].as_array().unwrap().iter();
        services.find(|it| it["name"] == name).unwrap()["age_ms"].clone()
    };
    assert_eq!(
        (of("a"), of("b"), of("tasks")),
        (42.into(), 2.into(), 0.into())
    );
}

/// A task that nobody takes does not have all that pass by it be remembered.
#[test]
fn what_has_passed_by_an_old_task_is_forgotten() {
    let mut bench = Bench::new(1 << 20);
    for conn in [1, 2] {
        bench.open("front", conn);
    }
    let old = json!({"service": "mail", "id": "old", "priority": -1});
    bench.asks(1, "submit", old, &["x"]);
    for number in 0..500 {
        bench.pass(1);
        bench.asks(
            1,
            "submit",
            json!({"service": "mail", "id": number.to_string()}),
            &["x"],
        );
        let taken = bench
            .asks(2, "take", json!({"service": "mail"}), &[])
            .result;
        bench.asks(2, "done", json!({"token": taken["token"]}), &["y"]);
    }
    assert_eq!(age(&mut bench), 500);
    let service = bench.queue.services.find(b"mail").unwrap();
    assert!(bench.queue.services.at(service).waits.len() <= 64);
}
