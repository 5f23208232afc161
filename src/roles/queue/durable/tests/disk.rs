//! A durable queue whose disk is slow or full.

use serde_json::json;

use super::bench::{Bench, Fate};

#[test]
fn what_the_disk_does_not_take_is_refused_and_undone_and_goes_on_later() {
    let mut bench = Bench::new();
    bench.open("front", 1);
    bench.open("front", 2);
    bench.open("back", 3);
    assert_eq!(
        bench
            .asks(
                1,
                "submit",
                json!({"service": "mail", "id": "kept"}),
                &["1"]
            )
            .status,
        200
    );
    let taken = bench.asks(2, "take", json!({"service": "mail"}), &[]);
    bench.fate = Fate::Full;
    let refused = bench.asks(
        1,
        "submit",
        json!({"service": "mail", "id": "refused"}),
        &["2"],
    );
    assert_eq!(refused.status, 503);
    assert!(
        refused.result["error"]
            .as_str()
            .unwrap()
            .contains("no space"),
        "{refused:?}"
    );
    assert!(bench.closed.contains(&3), "workers are to begin anew");
    // Readers go on, and nothing is done meanwhile; a plain client waits.
    assert_eq!(bench.asks(1, "ls", json!({}), &[]).result["all"], 1);
    assert_eq!(
        bench
            .asks(2, "done", json!({"token": taken.result["token"]}), &["x"])
            .status,
        503
    );
    bench.open("front", 4);
    bench.say("front", 4, &["", "plain"]);
    assert_eq!(bench.facts()["waiting"], 1);
    bench.pass(5_000);
    assert!(bench.facts()["fault"].is_string());
    bench.fate = Fate::Stored;
    bench.pass(1_500);
    assert!(bench.facts()["fault"].is_null());
    assert_eq!(bench.facts()["waiting"], 0);
    assert_eq!(
        bench
            .asks(2, "done", json!({"token": taken.result["token"]}), &["x"])
            .status,
        200
    );
    bench.restart();
    bench.open("front", 1);
    let refused = bench.asks(1, "ls", json!({"task": "refused"}), &[]);
    assert_eq!(refused.status, 404, "what was refused was not done");
    assert_eq!(
        (bench.counters().completed, bench.counters().queued),
        (1, 1)
    );
}

#[test]
fn who_waits_for_a_stored_task_waits_on_when_the_disk_is_full() {
    let mut bench = Bench::new();
    bench.open("front", 1);
    bench.open("front", 2);
    bench.ask(
        1,
        "submit",
        json!({"service": "mail", "wait": true}),
        &["1"],
    );
    bench.fate = Fate::Full;
    bench.ask(2, "take", json!({"service": "mail", "wait_ms": 1000}), &[]);
    assert_eq!(
        bench.one(2).status,
        503,
        "nothing is given that is not stored as given"
    );
    bench.fate = Fate::Stored;
    bench.pass(1_000);
    let taken = bench.asks(2, "take", json!({"service": "mail"}), &[]);
    assert_eq!(
        (&taken.result["attempt"], bench.heard(1).len()),
        (&json!(1), 0)
    );
    bench.asks(2, "done", json!({"token": taken.result["token"]}), &["x"]);
    assert_eq!(bench.one(1).body[0].as_ref(), b"x");
}

#[test]
fn a_lease_counts_from_when_its_worker_can_have_it() {
    let mut bench = Bench::new();
    for (port, conn) in [("front", 1), ("front", 2), ("back", 3)] {
        bench.open(port, conn);
    }
    assert_eq!(
        bench
            .asks(1, "submit", json!({"service": "mail", "id": "a"}), &["a"])
            .status,
        200
    );
    // The disk takes longer than the lease lasts.
    bench.fate = Fate::Waits;
    bench.ask(
        2,
        "take",
        json!({"service": "mail", "lease_ms": 1_000}),
        &[],
    );
    bench.say("front", 1, &["", "plain"]);
    bench.pass(45_000);
    assert_eq!(
        (bench.counters().expired, bench.counters().attempts),
        (0, 2)
    );
    bench.disk();
    let taken = bench.one(2);
    assert_eq!(taken.result["lease_ms"], 1_000);
    bench.disk();
    assert_eq!(
        bench.sent(3).len(),
        1,
        "what a plain worker has is stored too"
    );
    bench.pass(999);
    let token = json!({"token": taken.result["token"], "lease_ms": 2_000});
    // Nor does a lease end while it is stored that it is extended.
    bench.ask(2, "extend", token.clone(), &[]);
    bench.pass(5_000);
    bench.fate = Fate::Stored;
    bench.disk();
    assert_eq!(bench.one(2).status, 200);
    bench.pass(1_999);
    assert_eq!(bench.counters().expired, 0);
    // After a restart as before: it lasts from when it was stored.
    bench.restart();
    bench.open("front", 4);
    assert_eq!((bench.counters().leased, bench.counters().expired), (1, 0));
    bench.pass(1);
    assert_eq!((bench.counters().leased, bench.counters().expired), (0, 1));
    assert_eq!(bench.asks(4, "done", token, &["late"]).status, 409);
}

#[test]
fn a_plain_workers_lease_counts_from_when_it_can_have_its_task() {
    let mut bench = Bench::new();
    bench.open("front", 1);
    bench.open("back", 3);
    bench.fate = Fate::Waits;
    bench.say("front", 1, &["", "plain"]);
    bench.pass(100_000);
    bench.disk();
    assert_eq!((bench.sent(3).len(), bench.counters().expired), (1, 0));
    bench.fate = Fate::Stored;
    bench.pass(29_999);
    assert_eq!(bench.counters().expired, 0);
    bench.pass(1);
    assert_eq!(bench.counters().expired, 1);
}

/// What a plain worker answers a task that it was sent.
fn answers(bench: &mut Bench, worker: u64) -> usize {
    let given = bench.sent(worker);
    for task in &given {
        let did = format!("did {}", String::from_utf8_lossy(&task[2]));
        bench.say_frames("back", worker, vec![task[0].clone(), "".into(), did.into()]);
    }
    given.len()
}

fn text(frames: &[bytes::Bytes]) -> String {
    String::from_utf8_lossy(frames.last().unwrap()).into_owned()
}

#[test]
fn plain_and_majordomo_requests_that_were_not_stored_are_done_once_the_disk_takes_them() {
    let mut bench = Bench::new();
    for conn in [1, 2, 3] {
        bench.open("front", conn);
    }
    bench.open("back", 9);
    bench.fate = Fate::Waits;
    // A DEALER has several under way; the first is being stored, the others wait for that.
    for number in 0..3 {
        bench.say("front", 1, &["", &format!("one {number}")]);
    }
    bench.say("front", 2, &["", "MDPC01", "tasks", "two"]);
    bench.say(
        "front",
        3,
        &["", "MDPC01", "titanic.request", "tasks", "three"],
    );
    bench.say("front", 3, &["", "MDPC01", "mmi.service", "tasks"]);
    bench.fate = Fate::Full;
    bench.disk();
    assert!(bench.closed.remove(&9), "workers are to begin anew");
    bench.close(9);
    let heard = bench.sent(3);
    assert!(text(&heard[0]).starts_with("500 "), "{heard:?}");
    assert_eq!(text(&heard[1]), "200");
    assert_eq!(bench.facts()["waiting"], 4);
    bench.pass(10_000);
    assert!(bench.said.is_empty());
    // Nothing was accepted meanwhile, so that a crash loses nothing that anybody was told of.
    assert_eq!(bench.counters().accepted, 0);
    bench.fate = Fate::Stored;
    bench.pass(1_500);
    bench.open("back", 10);
    while answers(&mut bench, 10) > 0 {}
    let ones: Vec<String> = bench.sent(1).iter().map(|it| text(it)).collect();
    assert_eq!(ones, ["did one 0", "did one 1", "did one 2"]);
    assert_eq!(text(&bench.sent(2)[0]), "did two");
    assert_eq!(
        (bench.counters().accepted, bench.counters().completed),
        (4, 4)
    );
}

#[test]
fn who_waits_for_an_answer_that_was_not_stored_gets_one_once_the_disk_takes_it() {
    let mut bench = Bench::new();
    bench.open("front", 1);
    bench.open("front", 2);
    bench.open("back", 9);
    bench.say("front", 1, &["", "one"]);
    bench.fate = Fate::Full;
    assert_eq!(answers(&mut bench, 9), 1);
    assert!(bench.closed.remove(&9) && bench.sent(1).is_empty());
    bench.close(9);
    // It may be that the disk fails again and again.
    for _ in 0..5 {
        bench.fate = Fate::Stored;
        bench.pass(1_500);
        bench.fate = Fate::Full;
        bench.say("front", 2, &["", "two"]);
        bench.pass(5_000);
    }
    bench.fate = Fate::Stored;
    bench.pass(1_500);
    bench.open("back", 10);
    while answers(&mut bench, 10) > 0 {}
    assert_eq!(text(&bench.sent(1)[0]), "did one");
    assert_eq!(text(&bench.sent(2)[0]), "did two");
}

#[test]
fn who_asked_and_is_gone_is_not_held_and_who_works_too_begins_anew() {
    let mut bench = Bench::new();
    for conn in [1, 2] {
        bench.open("front", conn);
    }
    bench.fate = Fate::Waits;
    bench.say("front", 1, &["", "one"]);
    bench.say("front", 1, &["", "another"]);
    bench.say("front", 2, &["", "two"]);
    bench.ask(
        2,
        "take",
        json!({"service": "mail", "wait_ms": 60_000}),
        &[],
    );
    bench.fate = Fate::Full;
    bench.disk();
    assert!(
        bench.closed.contains(&2),
        "it has to be read as long as it works"
    );
    assert_eq!(bench.facts()["waiting"], 2);
    bench.close(1);
    bench.close(2);
    assert_eq!(bench.facts()["waiting"], 0);
    bench.fate = Fate::Stored;
    bench.pass(1_500);
    assert_eq!(bench.counters().accepted, 0);
}
