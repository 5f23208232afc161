//! What peers can have the queue hold, and that what is full is so for nobody for ever.

use serde_json::json;

use super::bench::Bench;
use crate::model::limits::queue::{KNOWN_BYTES_MAX, WAITERS_MAX};

#[test]
fn who_gave_up_waiting_for_a_task_takes_no_place_of_those_who_wait() {
    let mut bench = Bench::new(1 << 20);
    let submit = json!({"service": "slow", "wait": true, "id": "s1"});
    // One client that asks again and again, each time by another connection.
    for conn in 0..2 * WAITERS_MAX as u64 {
        bench.open("front", conn);
        assert_eq!(bench.ask(conn, "submit", submit.clone(), &["x"]), None);
        bench.close(conn);
        bench.pass(1);
    }
    // As many as may wait are there, and one more is not.
    for conn in 100..100 + WAITERS_MAX as u64 {
        bench.open("front", conn);
        assert_eq!(bench.ask(conn, "submit", submit.clone(), &["x"]), None);
    }
    bench.open("front", 99);
    let refused = bench.asks(99, "submit", submit.clone(), &["x"]);
    assert_eq!(refused.status, 429);
    // Who waits already asks again by the same request.
    assert_eq!(bench.ask(100, "submit", submit, &["x"]), None);
    let taken = bench.asks(99, "take", json!({"service": "slow"}), &[]);
    let token = &taken.result["token"];
    bench.asks(99, "done", json!({"token": token}), &["done"]);
    for conn in 100..100 + WAITERS_MAX as u64 {
        assert_eq!(bench.reply(conn).unwrap().body, ["done"]);
    }
    assert_eq!(bench.counters().unclaimed, 0);
}

#[test]
fn a_task_with_a_large_answer_is_done_once_and_who_asks_for_the_answer_hears_that_it_is_gone() {
    let mut bench = Bench::new(1 << 20);
    bench.open("front", 1);
    let submit = json!({"service": "large", "id": "l1", "wait": true});
    bench.open("front", 2);
    assert_eq!(bench.ask(1, "submit", submit.clone(), &["x"]), None);
    let taken = bench.asks(2, "take", json!({"service": "large"}), &[]);
    let large = "x".repeat(KNOWN_BYTES_MAX / 8 + 1);
    let token = &taken.result["token"];
    bench.asks(2, "done", json!({"token": token}), &[&large]);
    assert_eq!(bench.reply(1).unwrap().body, [large]);
    let again = bench.asks(1, "submit", submit, &["x"]);
    assert_eq!(again.status, 404);
    assert_eq!(
        again.result,
        json!({"error": "`l1` is done, and its answer is not kept", "task": "l1", "attempts": 1})
    );
    let submit = json!({"service": "large", "id": "l1"});
    let known = bench.asks(1, "submit", submit, &["x"]);
    assert_eq!((known.status, bench.counters().accepted), (200, 1));
}
