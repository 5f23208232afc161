//! Tasks that nobody waits for any more, and what clients hear of those that are given up.

use serde_json::json;

use super::bench::{Bench, bytes};

/// A queue with clients on 1 and 3 and who takes on 2.
fn mail() -> Bench {
    let mut bench = Bench::new(1 << 20);
    for conn in 1..=3 {
        bench.open("front", conn);
    }
    bench
}

fn submit(bench: &mut Bench, id: &str, deadline_ms: u64) {
    let asked = json!({
        "service": "mail", "id": id, "wait": true, "deadline_ms": deadline_ms, "trace_id": "t1",
    });
    assert!(bench.ask(1, "submit", asked, &["letter"]).is_none());
}

#[test]
fn a_task_that_nobody_began_before_its_deadline_is_answered_504_and_never_given() {
    let mut bench = mail();
    submit(&mut bench, "m1", 500);
    bench.pass(499);
    assert!(bench.reply(1).is_none());
    bench.pass(1);
    let reply = bench.reply(1).unwrap();
    assert_eq!(
        (reply.status, &reply.result["kind"]),
        (504, &json!("deadline"))
    );
    assert_eq!(reply.result["trace_id"], "t1");
    let taken = bench.asks(2, "take", json!({"service": "mail"}), &[]);
    assert_eq!(taken.status, 404);
    let counters = bench.counters();
    assert_eq!(
        (counters.overdue, counters.dead, counters.attempts),
        (1, 1, 0)
    );
    // It is no dead letter, and its id is free again.
    let dead = bench.asks(1, "ls", json!({"dead": true}), &[]).result;
    assert_eq!(dead["all"], 0);
    submit(&mut bench, "m1", 500);
    assert_eq!(bench.counters().duplicates, 0);
}

#[test]
fn whoever_has_a_task_may_answer_it_late_and_knows_how_long_it_is_waited_for() {
    let mut bench = mail();
    submit(&mut bench, "m1", 500);
    bench.pass(200);
    let taken = bench.asks(2, "take", json!({"service": "mail"}), &[]);
    let result = &taken.result;
    assert_eq!(
        (&result["deadline_ms"], &result["trace_id"]),
        (&json!(300), &json!("t1"))
    );
    bench.pass(600);
    assert!(bench.reply(1).is_none());
    bench.asks(2, "done", json!({"token": result["token"]}), &["sent"]);
    assert_eq!(bench.reply(1).unwrap().status, 200);
    assert_eq!(bench.counters().overdue, 0);
}

#[test]
fn a_task_that_failed_or_was_lost_after_its_deadline_is_not_tried_again() {
    for is_lost in [true, false] {
        let mut bench = mail();
        submit(&mut bench, "m1", 500);
        let taken = bench.asks(2, "take", json!({"service": "mail"}), &[]);
        bench.pass(600);
        if is_lost {
            bench.close(2);
        } else {
            let fail = json!({"token": taken.result["token"]});
            assert_eq!(bench.asks(2, "fail", fail, &[]).result["again"], false);
        }
        let reply = bench.reply(1).unwrap();
        assert_eq!((reply.status, &reply.result["attempts"]), (504, &json!(1)));
        assert_eq!(bench.counters().overdue, 1);
    }
    // While it rests after a failure its deadline passes too.
    let mut bench = mail();
    submit(&mut bench, "m1", 50);
    let taken = bench.asks(2, "take", json!({"service": "mail"}), &[]);
    let fail = json!({"token": taken.result["token"]});
    assert_eq!(bench.asks(2, "fail", fail, &[]).result["again"], true);
    bench.pass(50);
    assert_eq!(bench.reply(1).unwrap().status, 504);
}

#[test]
fn who_asks_again_moves_the_deadline_and_who_sets_none_takes_it_away() {
    let mut bench = mail();
    submit(&mut bench, "m1", 500);
    bench.pass(400);
    submit(&mut bench, "m1", 500);
    bench.pass(499);
    assert!(bench.reply(1).is_none());
    let asked = json!({"service": "mail", "id": "m1", "wait": true});
    assert!(bench.ask(3, "submit", asked, &["letter"]).is_none());
    bench.pass(10_000);
    assert!(bench.reply(1).is_none() && bench.reply(3).is_none());
    assert_eq!((bench.counters().overdue, bench.counters().queued), (0, 1));
}

#[test]
fn tasks_behind_an_overdue_one_keep_their_order_and_the_list_does_not_grow() {
    let mut bench = mail();
    for number in 0..5_000 {
        let asked =
            json!({"service": "mail", "deadline_ms": 1 + number % 2, "id": number.to_string()});
        bench.asks(1, "submit", asked, &["x"]);
        if number % 100 == 0 {
            let asked = json!({"service": "mail", "id": format!("kept-{number}")});
            bench.asks(1, "submit", asked, &["x"]);
            bench.pass(2);
        }
    }
    bench.pass(2);
    let counters = bench.counters();
    assert_eq!((counters.overdue, counters.queued), (5_000, 50));
    let ready = |bench: &Bench| {
        let facts = crate::roles::machine::Machine::facts(&bench.queue);
        let services = facts["services"].as_array().unwrap().clone();
        services.iter().find(|it| it["name"] == "mail").unwrap()["ready"].clone()
    };
    assert_eq!(ready(&bench), 50);
    for number in (0..5_000).step_by(100) {
        let taken = bench.asks(2, "take", json!({"service": "mail"}), &[]);
        assert_eq!(taken.result["task"], format!("kept-{number}"));
        bench.asks(2, "done", json!({"token": taken.result["token"]}), &[]);
    }
    assert_eq!(ready(&bench), 0);
}

#[test]
fn a_deadline_of_nothing_and_names_that_are_too_long_are_refused() {
    let mut bench = mail();
    for asked in [
        json!({"service": "mail", "deadline_ms": 0}),
        json!({"service": "mail", "trace_id": ""}),
        json!({"service": "mail", "trace_id": "x".repeat(65)}),
    ] {
        assert_eq!(bench.asks(1, "submit", asked, &[]).status, 400);
    }
    let most = json!({"service": "mail", "trace_id": "x".repeat(64), "deadline_ms": u64::MAX});
    assert_eq!(bench.asks(1, "submit", most, &[]).status, 200);
}

#[test]
fn plain_and_majordomo_clients_hear_of_a_dead_task_only_where_that_is_wanted() {
    for tells in [false, true] {
        let mut bench = super::plain();
        bench.reconfigure(|config| config.tells_dead = tells);
        bench.open("front", 20);
        bench.front(1, &["", "poison"]);
        bench.front(20, &["", "MDPC01", "tasks", "poison"]);
        for worker in 3..9 {
            bench.close(worker - 1);
            bench.open("back", worker);
        }
        assert_eq!(bench.counters().dead, 2);
        let error = r#"{"error":{"kind":"lost","message":"its worker was lost","trace":""}}"#;
        let (plain, majordomo) = (bench.sent(1), bench.sent(20));
        if tells {
            assert_eq!(plain, [bytes(&["", error])]);
            assert_eq!(majordomo, [bytes(&["", "MDPC01", "tasks", error])]);
        } else {
            assert!(plain.is_empty() && majordomo.is_empty());
        }
    }
}
