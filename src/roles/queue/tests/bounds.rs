//! What peers can have the queue hold, and that what is full is so for nobody for ever.

use serde_json::json;

use super::bench::Bench;
use crate::model::limits::PARTS_MAX;
use crate::model::limits::queue::{
    FAILURE_BYTES_MAX, KNOWN_BYTES_MAX, SERVICES_ASKED_MAX, SERVICES_MAX, SERVICES_OF_ONE_MAX,
    WAITERS_MAX,
};
use crate::model::limits::request::ENVELOPE_BYTES_MAX;
use crate::roles::queue::{Action, Conn};

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

#[test]
fn who_waits_counts_with_their_envelopes_and_a_large_envelope_is_refused() {
    let mut bench = Bench::new(20_000);
    bench.open("front", 1);
    bench.front(1, &[&"e".repeat(ENVELOPE_BYTES_MAX), "", "x"]);
    bench.front(1, &[&"e".repeat(60_000), "", "ZN1", "submit", "1", "{}"]);
    bench.front(1, &[&["e"; 128][..], &["", "x"]].concat());
    assert_eq!(bench.counters().refused, 3);
    assert_eq!(bench.counters().accepted, 0);
    let hop = "e".repeat(ENVELOPE_BYTES_MAX - 64);
    for conn in 2..9 {
        bench.open("front", conn);
        bench.front(conn, &[&hop, "", "x"]);
    }
    // Five such tasks are 20,000 bytes and more.
    assert_eq!((bench.counters().accepted, bench.counters().held), (4, 3));
    bench.open("back", 20);
    let request = bench.one(20);
    bench.say("back", 20, super::answer(&request[..2], "done"));
    assert_eq!(bench.one(2), super::bytes(&[&hop, "", "done"]));
    assert_eq!(bench.counters().accepted, 5);
}

#[test]
fn those_who_join_a_task_count_and_who_takes_the_place_of_another_needs_none() {
    let mut bench = Bench::new(20_000);
    let hop = "e".repeat(ENVELOPE_BYTES_MAX - 64);
    let submit = json!({"service": "slow", "wait": true, "id": "s1"}).to_string();
    let mut joined = 0;
    for conn in 1..9 {
        bench.open("front", conn);
        let id = conn.to_string();
        bench.front(conn, &[&hop, "", "ZN1", "submit", &id, &submit, "x"]);
        joined += u64::from(bench.sent(conn).is_empty());
    }
    assert_eq!((joined, bench.counters().refused), (4, 4));
    bench.close(1);
    bench.open("front", 9);
    bench.front(9, &[&hop, "", "ZN1", "submit", "1", &submit, "x"]);
    assert!(bench.sent(9).is_empty(), "it waits");
}

/// A worker by ZN1 that takes a task and fails with as many words as there may be.
fn fail(bench: &mut Bench, conn: u64) -> bool {
    let taken = bench.asks(conn, "take", json!({"service": "mail"}), &[]);
    let words = "w".repeat(2 * FAILURE_BYTES_MAX);
    let token = &taken.result["token"];
    let asked = json!({"token": token, "kind": words, "message": words, "trace": words});
    bench.asks(conn, "fail", asked, &[]).result["again"] == true
}

#[test]
fn the_words_of_failures_count_among_dead_letters() {
    let max = 1 << 20;
    let mut bench = Bench::new(max);
    bench.open("front", 1);
    bench.reconfigure(|config| config.attempts = 1);
    for _ in 0..20 {
        bench.asks(1, "submit", json!({"service": "mail"}), &["x"]);
        assert!(!fail(&mut bench, 1), "it was the last attempt");
    }
    let words = 3 * FAILURE_BYTES_MAX;
    let kept = (max / 4 / (words + 300)) as u64;
    assert_eq!(bench.counters().dead, 20);
    assert_eq!(bench.counters().forgotten, 20 - kept);
    // The last one has all its words.
    assert!(bench.queue.tasks.bytes() > words && bench.queue.tasks.bytes() <= max / 4);
}

#[test]
fn where_there_is_no_room_for_words_a_task_rests_without_them() {
    let mut bench = Bench::new(100_000);
    bench.open("front", 1);
    for _ in 0..10 {
        bench.asks(1, "submit", json!({"service": "mail"}), &["x"]);
    }
    for _ in 0..10 {
        assert!(fail(&mut bench, 1), "it is tried again");
    }
    assert!(bench.queue.tasks.bytes() <= 100_000);
    let listed = bench.asks(1, "ls", json!({}), &[]).result;
    let messages: Vec<&str> = listed["tasks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|task| task["failure"]["message"].as_str().unwrap())
        .collect();
    let short = "there was no room for its words";
    assert_eq!(messages.iter().filter(|it| **it == short).count(), 9);
}

/// A queue of 10,000 bytes with a client on 1 and one dead letter of some bytes.
fn with_a_letter(bytes: usize) -> Bench {
    let mut bench = Bench::new(10_000);
    bench.open("front", 1);
    bench.reconfigure(|config| config.attempts = 1);
    let submit = json!({"service": "mail"});
    bench.asks(1, "submit", submit, &[&"x".repeat(bytes)]);
    let taken = bench.asks(1, "take", json!({"service": "mail"}), &[]);
    let asked = json!({"token": taken.result["token"]});
    bench.asks(1, "fail", asked, &[]);
    assert_eq!((bench.counters().dead, bench.counters().forgotten), (1, 0));
    bench
}

#[test]
fn a_task_that_fits_beside_dead_letters_at_no_time_is_taken_in_their_place() {
    for is_zn1 in [false, true] {
        let mut bench = with_a_letter(2_000);
        bench.open("front", 2);
        let ask = |bench: &mut Bench, size: usize| {
            let task = "x".repeat(size);
            match is_zn1 {
                true => {
                    bench
                        .asks(2, "submit", json!({"service": "mail"}), &[&task])
                        .status
                }
                false => {
                    bench.front(2, &["", &task]);
                    200
                }
            }
        };
        // It fits beside the letter, which is kept.
        assert_eq!(ask(&mut bench, 1_000), 200);
        assert_eq!(bench.counters().forgotten, 0);
        // This one never would; but now there is another task, that will be done.
        let status = ask(&mut bench, 8_500);
        assert_eq!(status, if is_zn1 { 429 } else { 200 });
        assert_eq!(
            (bench.counters().accepted, bench.counters().forgotten),
            (2, 0)
        );
        let service = if is_zn1 { "mail" } else { "tasks" };
        let taken = bench.asks(1, "take", json!({"service": service}), &[]);
        let token = &taken.result["token"];
        bench.asks(1, "done", json!({"token": token}), &[]);
        if is_zn1 {
            assert_eq!(ask(&mut bench, 8_500), 200);
        }
        bench.assert_held(0);
        assert_eq!(
            (bench.counters().accepted, bench.counters().forgotten),
            (3, 1)
        );
    }
}

#[test]
fn another_max_counts_at_once_for_who_waits_for_room() {
    let mut bench = Bench::new(10_000);
    for conn in 1..=4 {
        bench.open("front", conn);
    }
    let size = [6_000, 9_000, 5_000, 100];
    for (conn, size) in (1..=4).zip(size) {
        bench.front(conn, &["", &"x".repeat(size)]);
    }
    bench.assert_held(3);
    bench.said.clear();
    // All but the largest fit now; it comes first and is taken alone.
    bench.reconfigure(|config| config.bytes_max = 16_000);
    bench.assert_held(2);
    assert_eq!(bench.said, [Action::Resume { conn: Conn(2) }]);
    // The next one would never fit, and the last is not to wait for that.
    bench.reconfigure(|config| config.bytes_max = 5_000);
    bench.assert_held(1);
    assert_eq!(bench.said[1], Action::Resume { conn: Conn(3) });
    assert_eq!(
        (bench.counters().accepted, bench.counters().refused),
        (2, 1)
    );
    bench.open("front", 5);
    bench.asks(5, "purge", json!({}), &[]);
    bench.assert_held(0);
    assert_eq!((bench.counters().accepted, bench.counters().queued), (3, 1));
}

#[test]
fn with_less_room_the_oldest_dead_letters_go() {
    let mut bench = with_a_letter(2_000);
    bench.reconfigure(|config| config.bytes_max = 9_000);
    bench.assert_held(0);
    assert_eq!(bench.counters().forgotten, 1);
}

#[test]
fn who_waits_behind_a_client_that_is_gone_is_taken() {
    let mut bench = Bench::new(10_000);
    for (conn, size) in [(1, 6_000), (2, 9_000), (3, 100)] {
        bench.open("front", conn);
        bench.front(conn, &["", &"x".repeat(size)]);
    }
    bench.assert_held(2);
    bench.close(2);
    bench.assert_held(0);
    assert_eq!(bench.counters().accepted, 2);
}

#[test]
fn the_service_of_a_task_that_waits_for_room_is_given_to_nobody_else() {
    let mut bench = Bench::new(1_000_000);
    bench.open("front", 1);
    bench.open("front", 2);
    bench.front(1, &["", &"x".repeat(999_000)]);
    bench.front(2, &["", "MDPC01", "named", &"x".repeat(1_000)]);
    bench.assert_held(1);
    // More names than there are places, each used once.
    bench.open("front", 3);
    for number in 0..2 * SERVICES_MAX {
        let take = json!({"service": format!("s{number}")});
        assert_eq!(bench.asks(3, "take", take, &[]).status, 404);
    }
    bench.open("front", 4);
    bench.front(4, &["", "MDPW01", "\x01", "named"]);
    bench.asks(3, "purge", json!({"service": "tasks"}), &[]);
    let request = bench.one(4);
    assert_eq!(request[2], "\x02");
    let reply = [
        &super::bytes(&["", "MDPW01", "\x03"]),
        &request[3..5],
        &super::bytes(&["done"]),
    ];
    bench.say("front", 4, reply.concat());
    assert_eq!(bench.one(2), super::bytes(&["", "MDPC01", "named", "done"]));
}

#[test]
fn one_client_cannot_take_all_services() {
    let mut bench = Bench::new(10_000_000);
    for number in 0..SERVICES_MAX + 76 {
        bench.unchecked(1, &["", "MDPC01", &format!("s{number}"), "x"]);
    }
    let of_one = SERVICES_OF_ONE_MAX as u64;
    assert_eq!(bench.counters().accepted, of_one);
    // Another client's, and a worker's, find a place; so does what has one.
    bench.open("front", 2);
    bench.front(2, &["", "MDPC01", "other", "y"]);
    bench.front(2, &["", "MDPC01", "s0", "y"]);
    let submit = json!({"service": "kept"});
    assert_eq!(bench.asks(1, "submit", submit.clone(), &["x"]).status, 429);
    assert_eq!(bench.asks(2, "submit", submit, &["x"]).status, 200);
    assert_eq!(bench.counters().accepted, of_one + 3);
}

#[test]
fn many_clients_leave_places_to_workers() {
    let mut bench = Bench::new(10_000_000);
    for number in 0..SERVICES_MAX as u64 {
        bench.unchecked(number, &["", "MDPC01", &format!("s{number}"), "x"]);
    }
    // The queue's own service is one of those that nobody works for.
    assert_eq!(bench.counters().accepted, SERVICES_ASKED_MAX as u64 - 1);
    bench.open("front", 5_000);
    bench.front(5_000, &["", "MDPW01", "\x01", "new"]);
    assert!(bench.sent(5_000).is_empty(), "it may stay");
}

#[test]
fn a_request_over_the_limits_is_refused_and_its_envelope_does_not_count() {
    let mut bench = Bench::new(1 << 20);
    bench.open("front", 1);
    let body = |parts: usize| vec!["x"; parts];
    bench.front(1, &[&["a", "b", ""][..], &body(PARTS_MAX)].concat());
    bench.front(
        1,
        &[&["", "MDPC01", "named"][..], &body(PARTS_MAX - 2)].concat(),
    );
    assert_eq!(
        (bench.counters().accepted, bench.counters().refused),
        (2, 0)
    );
    bench.front(1, &[&[""][..], &body(PARTS_MAX + 1)].concat());
    bench.front(
        1,
        &[&["", "MDPC01", "named"][..], &body(PARTS_MAX - 1)].concat(),
    );
    assert_eq!(
        (bench.counters().accepted, bench.counters().refused),
        (2, 2)
    );
    let submit = json!({"service": "named"});
    let large = bench.asks(1, "submit", submit.clone(), &body(PARTS_MAX + 1));
    assert_eq!(large.status, 413);
    assert!(
        large.result["error"]
            .as_str()
            .unwrap()
            .contains("64 frames")
    );
    assert_eq!(
        bench.asks(1, "submit", submit, &body(PARTS_MAX)).status,
        200
    );
}
