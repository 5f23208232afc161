//! Tasks that one worker alone is to do, and services with ports of their own.

use serde_json::json;

use crate::protocol::zn1::Reply;
use crate::roles::queue::Machine;

use super::bench::{Bench, bytes};
use super::{answer, plain};

/// What a connection was answered by ZN1 since the last look.
fn replies(bench: &mut Bench, conn: u64) -> Vec<Reply> {
    let sent = bench.sent(conn).into_iter();
    sent.map(|frames| Reply::decode(frames).unwrap()).collect()
}

/// A task for one worker alone, by a client that waits; what is said at once.
fn submit(bench: &mut Bench, id: &str, worker: u64, text: &str) {
    let params = json!({"service": "tasks", "id": id, "wait": true, "worker": worker});
    bench.ask(1, "submit", params, &[text]);
}

#[test]
fn a_task_for_one_worker_waits_for_it_and_goes_before_what_anybody_may_do() {
    let mut bench = plain();
    bench.open("back", 3);
    bench.open("front", 4);
    // 2 is busy; the other one is idle, and is not asked.
    bench.front(4, &["", "anybody's"]);
    let first = bench.one(2);
    bench.front(4, &["", "more"]);
    assert_eq!(bench.one(3)[2], "more");
    bench.front(4, &["", "even more"]);
    submit(&mut bench, "mine", 2, "yours alone");
    assert!(bench.sent(2).is_empty() && bench.sent(3).is_empty());
    bench.say("back", 2, answer(&first[..2], "done"));
    let mine = bench.one(2);
    assert_eq!(mine[2], "yours alone");
    bench.sent(4);
    bench.say("back", 2, answer(&mine[..2], "by me"));
    let answered = replies(&mut bench, 1).remove(0);
    assert_eq!(
        (answered.status, &*answered.body),
        (200, &bytes(&["by me"])[..])
    );
    // An idle one has it at once, in the middle of those that wait.
    let even_more = bench.one(2);
    bench.say("back", 2, answer(&even_more[..2], "done"));
    submit(&mut bench, "again", 2, "again");
    assert_eq!(bench.one(2)[2], "again");
}

#[test]
fn what_a_lost_worker_alone_was_to_do_is_given_up_and_may_be_tried_by_others() {
    let mut bench = plain();
    bench.open("back", 3);
    for (id, text) in [("one", "begun"), ("two", "waits")] {
        submit(&mut bench, id, 2, text);
    }
    let later = json!({"service": "tasks", "id": "three", "delay_ms": 5_000, "worker": 2});
    assert_eq!(bench.asks(1, "submit", later, &["later"]).status, 200);
    assert_eq!(bench.one(2)[2], "begun");
    bench.close(2);
    let heard = replies(&mut bench, 1);
    let kinds: Vec<_> = heard
        .iter()
        .map(|it| (it.status, it.result["kind"].clone()))
        .collect();
    assert_eq!(kinds, [(500, json!("lost")), (500, json!("lost"))]);
    assert!(bench.sent(3).is_empty(), "nobody else does it");
    assert_eq!((bench.counters().dead, bench.counters().queued), (3, 0));
    let listed = bench.asks(1, "ls", json!({"dead": true, "service": "tasks"}), &[]);
    assert_eq!(listed.result["all"], 3);
    let services = listed.result["services"].as_array().unwrap();
    assert_eq!(services.len(), 1, "its list is gone: {services:?}");
    // By hand anybody may.
    assert_eq!(
        bench.asks(1, "retry", json!({"task": "two"}), &[]).status,
        200
    );
    assert_eq!(bench.one(3)[2], "waits");
}

#[test]
fn who_is_no_worker_of_a_service_is_asked_nothing() {
    let mut bench = plain();
    for (service, worker) in [("tasks", 1), ("tasks", 9), ("other", 2)] {
        let params = json!({"service": service, "worker": worker});
        let refused = bench.asks(1, "submit", params, &["x"]);
        assert_eq!(refused.status, 404, "{}", refused.result);
    }
    // One that asks by `take` is one as long as it is connected.
    let take = json!({"service": "other", "wait_ms": 0});
    bench.open("front", 5);
    let taken = bench.asks(5, "take", take.clone(), &[]);
    assert_eq!(taken.status, 404);
    let params = json!({"service": "other", "worker": 5, "id": "x"});
    assert_eq!(bench.asks(1, "submit", params, &["for 5"]).status, 200);
    bench.open("front", 6);
    let taken = bench.asks(6, "take", take.clone(), &[]);
    assert_eq!(taken.status, 404, "it is not for 6");
    let taken = bench.asks(5, "take", take, &[]);
    assert_eq!(
        (&taken.result["task"], &*taken.body),
        (&json!("x"), &bytes(&["for 5"])[..])
    );
    assert_eq!(taken.result["service"], "other");
}

#[test]
fn purged_and_overdue_tasks_of_one_worker_leave_nothing_behind() {
    let mut bench = plain();
    bench.front(1, &["", "keeps it busy"]);
    let busy = bench.one(2);
    for (id, deadline) in [("soon", 1_000), ("late", 60_000)] {
        let params = json!({"service": "tasks", "id": id, "worker": 2, "deadline_ms": deadline});
        assert_eq!(bench.asks(1, "submit", params, &["x"]).status, 200);
    }
    bench.pass(1_000);
    assert_eq!((bench.counters().overdue, bench.counters().queued), (1, 1));
    let purged = bench.asks(1, "purge", json!({"service": "tasks"}), &[]);
    assert_eq!(purged.result["purged"], 1);
    bench.say("back", 2, answer(&busy[..2], "done"));
    bench.front(1, &["", "next"]);
    assert_eq!(bench.one(2)[2], "next");
}

#[test]
fn a_worker_that_is_handed_tasks_ahead_gets_its_own_as_soon_as_it_has_none() {
    let mut bench = plain();
    bench.open("front", 4);
    // It is fast, and has several at a time.
    for _ in 0..64 {
        bench.front(4, &["", "quick"]);
        let task = bench.one(2);
        bench.say("back", 2, answer(&task[..2], "done"));
    }
    for _ in 0..40 {
        bench.front(4, &["", "backlog"]);
    }
    submit(&mut bench, "mine", 2, "yours alone");
    let mut given = bench.sent(2);
    assert!(given.len() > 1, "it is handed tasks ahead");
    let mut passed = 0;
    while !given.iter().any(|task| task[2] == "yours alone") {
        let task = given.remove(0);
        bench.say("back", 2, answer(&task[..2], "done"));
        given.extend(bench.sent(2));
        passed += 1;
    }
    assert!(passed <= 16, "after {passed}");
}

#[test]
fn each_further_service_has_ports_of_its_own_for_plain_programs() {
    let mut bench = Bench::new(1 << 20);
    let mut config = bench.queue.config.clone();
    config.others = vec!["mails".to_owned(), "in.voices".to_owned()];
    bench.queue = Machine::new(&config, 7);
    for (port, conn) in [
        ("front", 1),
        ("mails.front", 2),
        ("in.voices.front", 3),
        ("back", 4),
        ("mails.back", 5),
        ("in.voices.back", 6),
    ] {
        bench.open(port, conn);
    }
    for (port, client, worker) in [("mails", 2, 5), ("in.voices", 3, 6)] {
        bench.say(&format!("{port}.front"), client, bytes(&["", port]));
        let task = bench.one(worker);
        assert_eq!(task[2], *port);
        bench.say(&format!("{port}.back"), worker, answer(&task[..2], "done"));
        assert_eq!(bench.one(client), bytes(&["", "done"]));
    }
    bench.front(1, &["", "plain"]);
    assert_eq!(bench.one(4)[2], "plain");
    // Who names a service finds it by any of the ports.
    bench.say(
        "in.voices.front",
        3,
        bytes(&["", "MDPC01", "mails", "by name"]),
    );
    assert_eq!(bench.one(5)[2], "by name");
    let listed = bench.asks(1, "ls", json!({}), &[]).result;
    let names = listed["services"].as_array().unwrap().iter();
    let names: Vec<_> = names.map(|it| it["name"].clone()).collect();
    assert_eq!(names, ["tasks", "mails", "in.voices"]);
}

/// A Majordomo worker of a service on a connection.
fn ready(bench: &mut Bench, conn: u64, service: &str) {
    bench.front(conn, &["", "MDPW01", "\u{1}", service]);
}

#[test]
fn what_a_majordomo_worker_alone_was_to_do_is_given_up_when_it_says_disconnect() {
    let mut bench = plain();
    for conn in [5, 6] {
        bench.open("front", conn);
    }
    // It took by `take` once, and what it takes so stays its own.
    let take = json!({"service": "mail", "wait_ms": 0});
    assert_eq!(bench.asks(5, "take", take.clone(), &[]).status, 404);
    for conn in [5, 6] {
        ready(&mut bench, conn, "echo");
    }
    for (id, service) in [("one", "echo"), ("two", "echo"), ("mail", "mail")] {
        let params = json!({"service": service, "id": id, "wait": true, "worker": 5});
        assert!(bench.ask(1, "submit", params, &[id]).is_none());
    }
    let later = json!({"service": "echo", "id": "three", "delay_ms": 5_000, "worker": 5});
    assert_eq!(bench.asks(1, "submit", later, &["later"]).status, 200);
    assert_eq!(bench.one(5)[5], "one");
    bench.front(5, &["", "MDPW01", "\u{5}"]);
    let heard = replies(&mut bench, 1);
    let kinds = heard
        .iter()
        .map(|it| (it.status, it.result["kind"].clone()));
    let lost = (500, json!("lost"));
    assert_eq!(kinds.collect::<Vec<_>>(), [lost.clone(), lost]);
    assert!(bench.sent(6).is_empty(), "nobody else does it");
    assert_eq!((bench.counters().dead, bench.counters().queued), (3, 1));
    // It may be a worker again, of another service too, and gets what is its own then.
    ready(&mut bench, 5, "other");
    let params = json!({"service": "other", "id": "four", "worker": 5});
    assert_eq!(bench.asks(1, "submit", params, &["four"]).status, 200);
    assert_eq!(bench.one(5)[5], "four");
    bench.front(5, &["", "MDPW01", "\u{5}"]);
    let taken = bench.asks(5, "take", take, &[]);
    assert_eq!(taken.result["task"], "mail", "that was not given up");
    // By hand anybody may.
    assert_eq!(
        bench.asks(1, "retry", json!({"task": "two"}), &[]).status,
        200
    );
    assert_eq!(bench.one(6)[5], "two");
}

#[test]
fn what_a_silent_majordomo_worker_alone_was_to_do_is_given_up() {
    let mut bench = plain();
    bench.open("front", 5);
    ready(&mut bench, 5, "echo");
    let later = json!({"service": "echo", "id": "later", "delay_ms": 20_000, "worker": 5});
    assert_eq!(bench.asks(1, "submit", later, &["later"]).status, 200);
    bench.pass(15_000);
    assert_eq!((bench.counters().silent, bench.counters().dead), (1, 1));
    assert_eq!(bench.counters().queued, 0);
}
