//! The queue's promises, step by step, without a socket.

mod age;
mod ahead;
mod bench;
mod bounds;
mod deadlines;
mod pins;

use serde_json::json;

use crate::roles::machine::Machine as _;

use super::*;
use bench::{Bench, bytes};

/// A queue with a client on 1 and a worker on 2, both plain.
fn plain() -> Bench {
    let mut bench = Bench::new(1 << 20);
    bench.open("front", 1);
    bench.open("back", 2);
    bench
}

/// The answer of a worker to a request.
fn answer(request: &[Bytes], text: &str) -> Vec<Bytes> {
    let empty = request.iter().rposition(|frame| frame.is_empty()).unwrap();
    let mut frames = request[..=empty].to_vec();
    frames.extend(bytes(&[text]));
    frames
}

#[test]
fn a_plain_request_goes_to_a_plain_worker_and_its_answer_back() {
    let mut bench = plain();
    bench.front(1, &["", "question", "more"]);
    let request = bench.one(2);
    assert_eq!(request[1..], bytes(&["", "question", "more"]));
    bench.say("back", 2, answer(&request[..2], "answer"));
    assert_eq!(bench.one(1), bytes(&["", "answer"]));
    assert_eq!(
        (bench.counters().completed, bench.counters().attempts),
        (1, 1)
    );
}

#[test]
fn the_worker_that_has_waited_longest_is_next() {
    let mut bench = plain();
    bench.open("back", 3);
    let mut order = Vec::new();
    for number in 0..6 {
        bench.front(1, &["", &number.to_string()]);
        let worker = [2, 3].into_iter().find(|worker| {
            let Some(request) = bench.sent(*worker).pop() else {
                return false;
            };
            bench.say("back", *worker, answer(&request[..2], "done"));
            true
        });
        order.push(worker.unwrap());
    }
    assert_eq!(order, [2, 3, 2, 3, 2, 3]);
}

#[test]
fn what_a_lost_worker_had_goes_to_another_at_once_and_before_the_rest() {
    let mut bench = plain();
    bench.front(1, &["", "first"]);
    bench.front(1, &["", "second"]);
    assert_eq!(bench.one(2)[2], "first");
    bench.close(2);
    bench.open("back", 3);
    assert_eq!(bench.one(3)[2], "first");
    assert_eq!(bench.counters().lost, 1);
}

#[test]
fn a_hanging_worker_loses_its_task_and_its_late_answer_is_dropped() {
    let mut bench = plain();
    bench.front(1, &["", "question"]);
    let first = bench.one(2);
    bench.open("back", 3);
    bench.pass(29_999);
    assert!(bench.sent(3).is_empty(), "one lease a task");
    bench.pass(1);
    let second = bench.one(3);
    assert_ne!(first[0], second[0], "another attempt, another token");
    bench.say("back", 2, answer(&first[..2], "late"));
    assert_eq!((bench.counters().late, bench.sent(1).len()), (1, 0));
    // The late worker is free again, and has the next task.
    bench.front(1, &["", "next"]);
    assert_eq!(bench.one(2)[2], "next");
    bench.say("back", 3, answer(&second[..2], "in time"));
    assert_eq!(bench.one(1), bytes(&["", "in time"]));
}

#[test]
fn a_task_that_ends_its_workers_is_a_dead_letter_and_can_be_tried_again() {
    let mut bench = plain();
    bench.front(1, &["", "poison"]);
    for worker in 3..6 {
        bench.close(worker - 1);
        bench.open("back", worker);
    }
    assert_eq!((bench.counters().dead, bench.counters().attempts), (1, 3));
    let listed = bench.asks(1, "ls", json!({"dead": true}), &[]).result;
    assert_eq!(listed["tasks"][0]["state"], "dead");
    assert_eq!(listed["tasks"][0]["failure"]["kind"], "lost");
    let task = listed["tasks"][0]["task"].clone();
    let retried = bench.asks(1, "retry", json!({"task": task}), &[]);
    assert_eq!(retried.result["retried"], 1);
    let request = bench.one(5);
    bench.say("back", 5, answer(&request[..2], "cured"));
    assert_eq!((bench.counters().dead, bench.counters().completed), (0, 1));
    let again = bench.asks(1, "retry", json!({"task": task}), &[]);
    assert_eq!(again.status, 404);
}

#[test]
fn majordomo_clients_and_workers_meet_by_service() {
    let mut bench = Bench::new(1 << 20);
    bench.open("front", 1);
    bench.open("front", 2);
    let found = |bench: &mut Bench| {
        bench.front(1, &["", "MDPC01", "mmi.service", "echo"]);
        bench.one(1)[3].clone()
    };
    assert_eq!(found(&mut bench), "404");
    bench.front(2, &["", "MDPW01", "\x01", "echo"]);
    assert_eq!(found(&mut bench), "200");
    bench.front(1, &["", "MDPC01", "echo", "hello"]);
    let request = bench.one(2);
    assert_eq!(request[..3], bytes(&["", "MDPW01", "\x02"]));
    assert_eq!(request[4..], bytes(&["", "hello"]));
    let reply = [
        &bytes(&["", "MDPW01", "\x03"]),
        &request[3..4],
        &bytes(&["", "world"]),
    ]
    .concat();
    bench.say("front", 2, reply.clone());
    assert_eq!(bench.one(1), bytes(&["", "MDPC01", "echo", "world"]));
    // The same again is late, and one that never said READY is sent away.
    bench.say("front", 2, reply.clone());
    assert_eq!(bench.counters().late, 1);
    bench.say("front", 1, reply);
    assert_eq!(bench.one(1), bytes(&["", "MDPW01", "\x05"]));
    bench.front(1, &["", "MDPC01", "mmi.other", "x"]);
    assert_eq!(bench.one(1)[3], "501");
}

#[test]
fn a_majordomo_worker_that_waits_shows_that_it_lives_and_one_that_works_need_not() {
    let mut bench = Bench::new(1 << 20);
    bench.open("front", 1);
    bench.open("front", 2);
    bench.front(2, &["", "MDPW01", "\x01", "echo"]);
    bench.pass(10_000);
    let beats = bench.sent(2);
    assert_eq!(beats.len(), 4);
    assert_eq!(beats[0], bytes(&["", "MDPW01", "\x04"]));
    bench.pass(2_500);
    assert_eq!(
        bench.one(2),
        bytes(&["", "MDPW01", "\x05"]),
        "it was silent"
    );
    bench.front(2, &["", "MDPW01", "\x01", "echo"]);
    bench.front(1, &["", "MDPC01", "echo", "hello"]);
    assert_eq!(bench.one(2)[2], "\x02");
    bench.pass(29_000);
    assert!(bench.sent(2).is_empty(), "no heartbeats while it works");
    assert_eq!(bench.counters().silent, 1);
    bench.front(2, &["", "MDPW01", "\x05"]);
    assert_eq!(bench.counters().queued, 1, "its task waits for another");
}

#[test]
fn a_task_is_taken_done_failed_and_extended_by_zn1() {
    let mut bench = Bench::new(1 << 20);
    bench.open("front", 1);
    bench.open("front", 2);
    let nothing = bench.asks(2, "take", json!({"service": "mail"}), &[]);
    assert_eq!(nothing.status, 404);
    assert!(
        bench
            .ask(2, "take", json!({"service": "mail", "wait_ms": 50}), &[])
            .is_none()
    );
    bench.pass(50);
    assert_eq!(bench.reply(2).unwrap().status, 404);
    let submit = json!({"service": "mail", "wait": true, "id": "m1"});
    assert!(
        bench
            .ask(1, "submit", submit.clone(), &["letter"])
            .is_none()
    );
    let take = json!({"service": "mail", "lease_ms": 1_000});
    let taken = bench.asks(2, "take", take.clone(), &[]);
    assert_eq!(
        (&taken.result["task"], &taken.body[0][..]),
        (&json!("m1"), &b"letter"[..])
    );
    let token = taken.result["token"].clone();
    bench.pass(900);
    assert_eq!(
        bench.asks(2, "extend", json!({"token": token}), &[]).status,
        200
    );
    bench.pass(900);
    let fail = json!({"token": token, "kind": "IOError", "message": "no paper"});
    let failed = bench.asks(2, "fail", fail.clone(), &[]);
    assert_eq!(failed.result["again"], true);
    assert_eq!(bench.asks(2, "fail", fail, &[]).status, 409);
    assert_eq!(
        bench.asks(2, "take", take.clone(), &[]).status,
        404,
        "it rests first"
    );
    bench.pass(100);
    let taken = bench.asks(2, "take", take, &[]);
    assert_eq!(taken.result["attempt"], 2);
    let stale = bench.asks(2, "done", json!({"token": token}), &["x"]);
    assert_eq!((stale.status, bench.counters().late), (409, 2));
    let token = &taken.result["token"];
    assert_eq!(
        bench
            .asks(2, "done", json!({"token": token}), &["sent"])
            .status,
        200
    );
    let answered = bench.reply(1).unwrap();
    assert_eq!(
        (answered.status, &answered.body[0][..]),
        (200, &b"sent"[..])
    );
    // The same id is the same task, done already.
    let again = bench.asks(1, "submit", submit, &["letter"]);
    assert_eq!((again.status, &again.body[0][..]), (200, &b"sent"[..]));
    assert_eq!(
        (bench.counters().accepted, bench.counters().duplicates),
        (1, 1)
    );
}

#[test]
fn everybody_who_waits_for_one_task_is_answered_once() {
    let mut bench = Bench::new(1 << 20);
    for conn in 1..=3 {
        bench.open("front", conn);
    }
    let submit = json!({"service": "mail", "wait": true, "id": "m1"});
    // Two clients whose requests have the same id, and one of them asks again.
    for conn in [1, 2, 1] {
        assert!(
            bench
                .ask(conn, "submit", submit.clone(), &["letter"])
                .is_none()
        );
    }
    let taken = bench.asks(3, "take", json!({"service": "mail"}), &[]);
    let token = &taken.result["token"];
    bench.asks(3, "done", json!({"token": token}), &["sent"]);
    for conn in [1, 2] {
        assert_eq!(bench.reply(conn).unwrap().status, 200);
    }
}

#[test]
fn who_waits_for_a_task_that_fails_for_good_hears_why() {
    let mut bench = Bench::new(1 << 20);
    bench.open("front", 1);
    bench.open("front", 2);
    let submit = json!({"service": "mail", "wait": true});
    assert!(bench.ask(1, "submit", submit, &["letter"]).is_none());
    for attempt in 1..=3 {
        bench.pass(1_000);
        let taken = bench.asks(2, "take", json!({"service": "mail"}), &[]);
        assert_eq!(taken.result["attempt"], attempt);
        let fail =
            json!({"token": taken.result["token"], "kind": "E", "message": "no", "trace": "t"});
        let failed = bench.asks(2, "fail", fail, &[]);
        assert_eq!(failed.result["again"], attempt < 3);
    }
    let reply = bench.reply(1).unwrap();
    assert_eq!(reply.status, 500);
    assert_eq!(reply.result["error"], "no");
    assert_eq!(
        (&reply.result["kind"], &reply.result["trace"]),
        (&json!("E"), &json!("t"))
    );
    assert_eq!(reply.result["attempts"], 3);
}

#[test]
fn priorities_go_first_and_delayed_tasks_wait_for_their_time() {
    let mut bench = Bench::new(1 << 20);
    bench.open("front", 1);
    for (priority, delay_ms, text) in [(0, 0, "b"), (-1, 0, "c"), (5, 0, "a"), (9, 500, "later")] {
        let asked = json!({"service": "tasks", "priority": priority, "delay_ms": delay_ms});
        assert_eq!(bench.asks(1, "submit", asked, &[text]).status, 200);
    }
    bench.open("back", 2);
    let mut order = Vec::new();
    for _ in 0..3 {
        let request = bench.one(2);
        order.push(request[2].clone());
        bench.say("back", 2, answer(&request[..2], "done"));
    }
    assert_eq!(order, bytes(&["a", "b", "c"]));
    bench.pass(499);
    assert!(bench.sent(2).is_empty());
    bench.pass(1);
    assert_eq!(bench.one(2)[2], "later");
}

#[test]
fn where_there_is_no_room_zn1_hears_429_and_a_plain_socket_waits() {
    let mut bench = Bench::new(1_000);
    bench.open("front", 1);
    bench.open("front", 2);
    let large = "x".repeat(500);
    bench.front(1, &["", &large]);
    bench.front(2, &["", &large]);
    assert_eq!(bench.said, [Action::Pause { conn: Conn(2) }]);
    bench.said.clear();
    let submit = json!({"service": "tasks"});
    assert_eq!(
        bench.asks(1, "submit", submit.clone(), &["small"]).status,
        429
    );
    assert_eq!(
        bench
            .asks(1, "submit", submit.clone(), &[&"x".repeat(2_000)])
            .status,
        413
    );
    bench.front(1, &["", &"x".repeat(2_000)]);
    assert_eq!(
        (bench.counters().accepted, bench.counters().refused),
        (1, 3)
    );
    // A worker makes room, and the other is read again.
    bench.open("back", 3);
    let request = bench.one(3);
    bench.say("back", 3, answer(&request[..2], "done"));
    assert!(bench.said.contains(&Action::Resume { conn: Conn(2) }));
    assert_eq!((bench.counters().accepted, bench.counters().leased), (2, 1));
}

#[test]
fn tasks_that_wait_are_purged_and_those_at_work_are_not() {
    let mut bench = plain();
    for number in 0..4 {
        bench.front(1, &["", &number.to_string()]);
    }
    let purged = bench.asks(1, "purge", json!({"service": "tasks"}), &[]);
    assert_eq!(purged.result["purged"], 3);
    assert_eq!((bench.counters().leased, bench.counters().dead), (1, 3));
    let request = bench.one(2);
    bench.say("back", 2, answer(&request[..2], "done"));
    assert!(bench.sent(2).is_empty(), "nothing is left to do");
    assert_eq!(bench.counters().completed, 1);
}

#[test]
fn nonsense_is_counted_and_harms_nobody() {
    let mut bench = plain();
    bench.front(1, &["", "MDPC01"]);
    bench.front(1, &["", "MDPC01", "", "x"]);
    bench.front(1, &["", "MDPW01", "\x09"]);
    bench.say("back", 2, bytes(&["junk"]));
    bench.say("back", 2, bytes(&["0123456789abcdef"]));
    bench.say("back", 9, bytes(&["0123456789abcdef", "", "x"]));
    bench.front(1, &["ZN1", "!", ""]);
    assert_eq!(bench.one(1)[1], "400");
    assert_eq!((bench.counters().malformed, bench.counters().late), (6, 1));
    for (verb, asked) in [
        ("submit", json!({"service": ""})),
        ("submit", json!({"service": "mmi.service"})),
        ("submit", json!({"service": "a", "priority": 101})),
        ("submit", json!({"service": "a", "id": ""})),
        ("submit", json!({"service": "a", "nope": 1})),
        ("take", json!({})),
        ("done", json!({"token": "no"})),
        ("ls", json!([1])),
    ] {
        assert_eq!(
            bench.asks(1, verb, asked.clone(), &[]).status,
            400,
            "{verb} {asked}"
        );
    }
    bench.front(1, &["", "still"]);
    assert_eq!(bench.one(2)[2], "still");
}

#[test]
fn an_answer_for_which_nobody_waits_is_counted() {
    let mut bench = plain();
    bench.front(1, &["", "question"]);
    let request = bench.one(2);
    bench.close(1);
    bench.say("back", 2, answer(&request[..2], "done"));
    assert_eq!(
        (bench.counters().completed, bench.counters().unclaimed),
        (1, 1)
    );
    assert!(bench.said.is_empty());
}

#[test]
fn services_that_nobody_uses_make_room_for_others() {
    let mut bench = Bench::new(1 << 20);
    bench.open("front", 1);
    for number in 0..2_000 {
        let take = json!({"service": format!("s{number}")});
        assert_eq!(bench.asks(1, "take", take, &[]).status, 404);
    }
    // One client asks for a quarter of all places at most.
    for number in 0..256 {
        let submit = json!({"service": format!("t{number}")});
        assert_eq!(bench.asks(1, "submit", submit, &[]).status, 200);
    }
    let one_more = bench.asks(1, "submit", json!({"service": "more"}), &[]);
    assert_eq!(one_more.status, 429);
}

#[test]
fn once_it_ends_nothing_new_is_begun_and_what_was_begun_is_finished() {
    let mut bench = plain();
    bench.front(1, &["", "first"]);
    bench.front(1, &["", "second"]);
    let request = bench.one(2);
    bench.tell(Event::Drain);
    assert!(!bench.queue.is_idle());
    bench.say("back", 2, answer(&request[..2], "done"));
    assert_eq!(bench.one(1), bytes(&["", "done"]));
    assert!(bench.queue.is_idle() && bench.sent(2).is_empty());
    assert_eq!(
        bench
            .asks(1, "submit", json!({"service": "tasks"}), &[])
            .status,
        503
    );
}
