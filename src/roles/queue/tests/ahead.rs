//! What is handed ahead, to whom, and what becomes of it.

use super::bench::Bench;
use super::{answer, bytes};
use crate::roles::machine::Machine as _;
use crate::roles::queue::{Bytes, Event};

/// A queue with a client on 1 and a plain worker on 2 that has shown to be fast.
fn fast() -> Bench {
    let mut bench = super::plain();
    warm(&mut bench, 2);
    bench
}

/// The one worker that waits is given tasks until it has shown that it is fast.
fn warm(bench: &mut Bench, worker: u64) {
    for _ in 0..40 {
        bench.front(1, &["", "warm"]);
        let request = bench.one(worker);
        bench.say("back", worker, answer(&request[..2], "done"));
    }
    assert_eq!(bench.sent(1).len(), 40);
}

fn ask(bench: &mut Bench, tasks: std::ops::Range<usize>) {
    for task in tasks {
        bench.front(1, &["", &task.to_string()]);
    }
}

/// The tasks of some requests.
fn tasks(requests: &[Vec<Bytes>]) -> Vec<Bytes> {
    requests.iter().map(|frames| frames[2].clone()).collect()
}

fn numbers(tasks: std::ops::Range<usize>) -> Vec<Bytes> {
    tasks.map(|task| task.to_string().into()).collect()
}

#[test]
fn a_fast_worker_is_given_sixteen_and_more_when_half_of_them_are_done() {
    let mut bench = fast();
    ask(&mut bench, 0..20);
    let given = bench.sent(2);
    assert_eq!(tasks(&given), numbers(0..16));
    assert_eq!((bench.counters().leased, bench.counters().ahead), (16, 15));
    for request in &given[..7] {
        bench.say("back", 2, answer(&request[..2], "done"));
    }
    assert!(
        bench.sent(2).is_empty(),
        "one write for several wakes it once"
    );
    bench.say("back", 2, answer(&given[7][..2], "done"));
    assert_eq!(tasks(&bench.sent(2)), numbers(16..20));
    for request in &given[8..] {
        bench.say("back", 2, answer(&request[..2], "done"));
    }
    assert_eq!(bench.counters().completed, 56);
}

#[test]
fn a_worker_that_is_new_or_slow_has_one_task() {
    let mut bench = super::plain();
    ask(&mut bench, 0..3);
    assert_eq!(
        tasks(&bench.sent(2)),
        numbers(0..1),
        "nothing is known of it"
    );
    let mut bench = fast();
    for _ in 0..8 {
        bench.front(1, &["", "slow"]);
        let request = bench.one(2);
        bench.pass(2);
        bench.say("back", 2, answer(&request[..2], "done"));
    }
    ask(&mut bench, 0..3);
    assert_eq!(tasks(&bench.sent(2)), numbers(0..1), "2 ms are slow");
}

#[test]
fn nothing_is_handed_ahead_while_somebody_is_idle_or_where_it_is_not_wanted() {
    let mut bench = fast();
    bench.open("back", 3);
    ask(&mut bench, 0..2);
    assert_eq!(tasks(&bench.sent(2)), numbers(0..1));
    assert_eq!(tasks(&bench.sent(3)), numbers(1..2));
    ask(&mut bench, 2..3);
    assert_eq!(tasks(&bench.sent(2)), numbers(2..3), "the fast one's");
    let mut bench = fast();
    bench.reconfigure(|config| config.ahead = 1);
    ask(&mut bench, 0..2);
    assert_eq!(tasks(&bench.sent(2)), numbers(0..1));
}

#[test]
fn majordomo_workers_have_one_task_however_fast_they_are() {
    let mut bench = Bench::new(1 << 20);
    bench.open("front", 1);
    bench.open("front", 2);
    bench.front(2, &["", "MDPW01", "\x01", "echo"]);
    for _ in 0..40 {
        bench.front(1, &["", "MDPC01", "echo", "hello"]);
        let request = bench.one(2);
        let reply = [bytes(&["", "MDPW01", "\x03"]), request[3..].to_vec()].concat();
        bench.say("front", 2, reply);
    }
    bench.front(1, &["", "MDPC01", "echo", "first"]);
    bench.front(1, &["", "MDPC01", "echo", "second"]);
    assert_eq!(bench.one(2)[5], "first");
}

#[test]
fn with_a_lost_worker_only_what_it_had_begun_costs_an_attempt_and_all_keep_their_order() {
    let mut bench = fast();
    ask(&mut bench, 0..5);
    assert_eq!(bench.sent(2).len(), 5);
    bench.close(2);
    let counters = bench.counters();
    assert_eq!(
        (counters.lost, counters.unbegun, counters.queued),
        (1, 4, 5)
    );
    let attempts = |bench: &mut Bench| -> Vec<u64> {
        let listed = bench.asks(1, "ls", serde_json::json!({}), &[]).result;
        let tasks = listed["tasks"].as_array().unwrap();
        let attempts = tasks.iter().map(|task| task["attempts"].as_u64().unwrap());
        attempts.collect()
    };
    assert_eq!(attempts(&mut bench), [1, 0, 0, 0, 0]);
    bench.open("back", 3);
    ask(&mut bench, 5..6);
    let mut order = Vec::new();
    for _ in 0..6 {
        let request = bench.one(3);
        order.push(request[2].clone());
        bench.say("back", 3, answer(&request[..2], "done"));
    }
    assert_eq!(order, numbers(0..6));
}

#[test]
fn with_a_lease_that_ends_all_behind_it_goes_to_others_and_its_answers_are_dropped() {
    let mut bench = fast();
    ask(&mut bench, 0..4);
    let given = bench.sent(2);
    bench.open("back", 3);
    bench.pass(29_999);
    assert!(bench.sent(3).is_empty(), "one lease a task");
    bench.pass(1);
    let first = bench.one(3);
    assert_eq!(first[2], "0");
    let counters = bench.counters();
    assert_eq!((counters.expired, counters.unbegun), (1, 3));
    // It owes three more answers before it is given anything.
    bench.say("back", 2, answer(&given[0][..2], "late"));
    assert!(bench.sent(2).is_empty());
    for request in &given[1..] {
        bench.say("back", 2, answer(&request[..2], "late"));
    }
    assert_eq!((bench.counters().late, bench.sent(1).len()), (4, 0));
    assert_eq!(tasks(&bench.sent(2)), numbers(1..2));
}

#[test]
fn a_lease_counts_from_when_the_one_before_was_answered() {
    let mut bench = fast();
    ask(&mut bench, 0..2);
    let given = bench.sent(2);
    bench.pass(20_000);
    bench.say("back", 2, answer(&given[0][..2], "done"));
    bench.pass(29_999);
    assert_eq!((bench.counters().expired, bench.counters().leased), (0, 1));
    bench.pass(1);
    assert_eq!((bench.counters().expired, bench.counters().queued), (1, 1));
}

#[test]
fn a_worker_that_answers_out_of_order_harms_nobody() {
    let mut bench = fast();
    ask(&mut bench, 0..3);
    let given = bench.sent(2);
    bench.sent(1);
    for number in [2, 0, 0, 1] {
        bench.say("back", 2, answer(&given[number][..2], &number.to_string()));
    }
    let answers: Vec<Bytes> = bench.sent(1).iter().map(|it| it[1].clone()).collect();
    assert_eq!(answers, bytes(&["2", "0", "1"]));
    assert_eq!((bench.counters().late, bench.counters().leased), (1, 0));
    assert!(
        bench.queue.deadline().is_none_or(|due| due.as_secs() < 1),
        "no lease is left"
    );
}

#[test]
fn what_was_lost_with_a_worker_is_given_alone_so_that_nobody_else_is_blamed() {
    let mut bench = fast();
    ask(&mut bench, 0..2);
    bench.open("back", 3);
    let poison = bench.sent(2).remove(0);
    bench.close(2);
    // The other has the poison, and is fast: but nothing is put behind it or before it.
    assert_eq!(bench.one(3)[2], poison[2]);
    ask(&mut bench, 2..6);
    assert!(bench.sent(3).is_empty());
    bench.close(3);
    bench.open("back", 4);
    bench.close(4);
    assert_eq!((bench.counters().dead, bench.counters().lost), (1, 3));
    assert_eq!(
        bench.counters().queued,
        5,
        "the others have lost no attempt"
    );
}

/// Has a task take so many milliseconds, with one behind it, and none put behind those meanwhile.
fn stand_still(bench: &mut Bench, millis: u64) {
    ask(bench, 0..2);
    let given = bench.sent(2);
    assert_eq!(given.len(), 2);
    bench.pass(millis);
    // It is slow already, though it has not answered.
    ask(bench, 2..3);
    assert!(bench.sent(2).is_empty());
    for request in given {
        bench.say("back", 2, answer(&request[..2], "done"));
    }
    let third = bench.one(2);
    bench.say("back", 2, answer(&third[..2], "done"));
    bench.sent(1);
}

#[test]
fn behind_a_slow_task_nothing_more_is_handed_ahead_for_a_while() {
    let mut bench = fast();
    stand_still(&mut bench, 250);
    for _ in 0..20 {
        warm(&mut bench, 2);
    }
    ask(&mut bench, 3..5);
    let third = bench.one(2);
    bench.say("back", 2, answer(&third[..2], "done"));
    let fourth = bench.one(2);
    bench.say("back", 2, answer(&fourth[..2], "done"));
    bench.pass(5_000);
    bench.sent(1);
    ask(&mut bench, 5..8);
    assert_eq!(bench.sent(2).len(), 3, "and then it is again");
}

#[test]
fn a_process_that_had_to_wait_for_its_turn_is_no_slow_task() {
    let mut bench = fast();
    for _ in 0..8 {
        warm(&mut bench, 2);
    }
    stand_still(&mut bench, 20);
    warm(&mut bench, 2);
    ask(&mut bench, 3..19);
    assert_eq!(bench.sent(2).len(), 16);
}

#[test]
fn where_a_share_of_the_tasks_is_slow_nothing_is_handed_ahead_however_fast_the_last_were() {
    let mut bench = fast();
    // One in forty takes 100 ms: 2.5 ms is what it costs to wait behind one.
    for _ in 0..10 {
        bench.front(1, &["", "slow"]);
        let request = bench.one(2);
        bench.pass(100);
        bench.say("back", 2, answer(&request[..2], "done"));
        bench.sent(1);
        warm(&mut bench, 2);
    }
    ask(&mut bench, 0..3);
    assert_eq!(tasks(&bench.sent(2)), numbers(0..1));
}

#[test]
fn what_was_handed_ahead_is_finished_while_the_queue_ends() {
    let mut bench = fast();
    ask(&mut bench, 0..18);
    let given = bench.sent(2);
    bench.tell(Event::Drain);
    for request in given {
        bench.say("back", 2, answer(&request[..2], "done"));
    }
    assert!(bench.queue.is_idle() && bench.sent(2).is_empty());
    assert_eq!(bench.counters().queued, 2);
}
