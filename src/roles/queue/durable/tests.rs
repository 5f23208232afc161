//! The durable queue's promises, step by step, with a disk in memory; and by seed in a simulated storm.

mod bench;
mod disk;
mod storm;

use serde_json::json;

use crate::model::store::Told;
use crate::roles::machine::{Event, Machine as _};
use bench::{Bench, Fate};

#[test]
fn nobody_hears_of_anything_before_it_is_stored() {
    let mut bench = Bench::new();
    bench.open("front", 1);
    bench.open("front", 2);
    bench.fate = Fate::Waits;
    bench.ask(
        1,
        "submit",
        json!({"service": "mail", "id": "m"}),
        &["letter"],
    );
    bench.ask(2, "take", json!({"service": "mail", "wait_ms": 1000}), &[]);
    bench.ask(2, "ls", json!({}), &[]);
    assert!(bench.heard(1).is_empty() && bench.heard(2).is_empty());
    bench.disk();
    assert_eq!(bench.one(1).status, 200);
    // What was given to a worker is stored as given before it has it.
    assert!(bench.heard(2).is_empty());
    bench.disk();
    let heard = bench.heard(2);
    assert_eq!(heard[0].result["task"], "m");
    let token = heard[0].result["token"].clone();
    bench.ask(2, "done", json!({"token": token}), &["sent"]);
    assert!(bench.heard(2).is_empty());
    bench.disk();
    assert_eq!(bench.one(2).status, 200);
}

#[test]
fn tasks_leases_attempts_and_tokens_are_as_they_were_after_a_restart() {
    let mut bench = Bench::new();
    bench.open("front", 1);
    for (id, more) in [
        ("a", json!({})),
        ("b", json!({"priority": 5})),
        ("c", json!({"delay_ms": 500})),
    ] {
        let mut params = json!({"service": "mail", "id": id});
        params
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        assert_eq!(bench.asks(1, "submit", params, &[id]).status, 200);
    }
    let taken = bench.asks(1, "take", json!({"service": "mail", "lease_ms": 900}), &[]);
    assert_eq!(
        (&taken.result["task"], &taken.result["attempt"]),
        (&json!("b"), &json!(1))
    );
    bench.pass(100);
    bench.restart();
    bench.open("front", 7);
    assert_eq!((bench.counters().leased, bench.counters().queued), (1, 2));
    let next = bench.asks(7, "take", json!({"service": "mail", "lease_ms": 900}), &[]);
    assert_eq!(
        next.result["task"], "a",
        "the other is somebody's, and the third has its time"
    );
    bench.pass(400);
    assert_eq!(
        bench
            .asks(7, "take", json!({"service": "mail"}), &[])
            .result["task"],
        "c"
    );
    // The token of the earlier life fits on any connection while its lease lasts.
    let done = bench.asks(7, "done", json!({"token": taken.result["token"]}), &["B"]);
    assert_eq!(done.status, 200);
    let again = bench.asks(7, "done", json!({"token": taken.result["token"]}), &["B"]);
    assert_eq!(again.status, 409);
    // The same id is the same task, and its answer is known.
    bench.restart();
    bench.open("front", 8);
    let known = bench.asks(
        8,
        "submit",
        json!({"service": "mail", "id": "b", "wait": true}),
        &["x"],
    );
    assert_eq!((known.status, known.body[0].as_ref()), (200, &b"B"[..]));
    // A lease that is over in the meantime costs its attempt.
    bench.restart();
    bench.open("front", 9);
    bench.pass(1_000);
    let again = bench.asks(9, "take", json!({"service": "mail"}), &[]);
    assert_eq!(
        (&again.result["task"], &again.result["attempt"]),
        (&json!("a"), &json!(2))
    );
    assert_ne!(again.result["token"], next.result["token"]);
}

#[test]
fn what_a_plain_worker_had_is_given_again_and_its_attempts_are_counted() {
    let mut bench = Bench::new();
    bench.open("back", 2);
    bench.open("front", 1);
    bench.say("front", 1, &["", "question"]);
    for attempt in 1..=3_u64 {
        let request = bench.sent(2 + attempt - 1);
        assert_eq!(request[0][2], "question", "attempt {attempt}");
        bench.restart();
        bench.open("back", 2 + attempt);
    }
    // The queue tries it three times in all.
    assert!(bench.sent(5).is_empty());
    assert_eq!((bench.counters().dead, bench.counters().accepted), (1, 1));
    bench.open("front", 1);
    let listed = bench.asks(1, "ls", json!({"dead": true}), &[]);
    assert_eq!(listed.result["tasks"][0]["failure"]["kind"], "lost");
    let task = listed.result["tasks"][0]["task"].clone();
    bench.restart();
    bench.open("front", 1);
    bench.open("back", 6);
    assert_eq!(
        bench.asks(1, "retry", json!({"task": task}), &[]).result["retried"],
        1
    );
    assert_eq!(bench.sent(6)[0][2], "question");
}

#[test]
fn what_one_connection_alone_was_to_do_is_a_dead_letter_after_a_restart() {
    let mut bench = Bench::new();
    bench.open("front", 1);
    bench.open("back", 2);
    let params = json!({"service": "tasks", "id": "its", "worker": 2, "delay_ms": 1000});
    assert_eq!(bench.asks(1, "submit", params, &["x"]).status, 200);
    bench.restart();
    bench.open("front", 1);
    bench.open("back", 3);
    bench.pass(2_000);
    assert!(bench.sent(3).is_empty(), "nobody else does it");
    let dead = bench.asks(1, "ls", json!({"dead": true}), &[]).result;
    assert_eq!(dead["tasks"][0]["failure"]["kind"], "lost");
    bench.restart();
    bench.open("front", 1);
    bench.open("back", 4);
    assert_eq!(
        bench.asks(1, "retry", json!({"task": "its"}), &[]).status,
        200
    );
    assert_eq!(bench.sent(4)[0][2], "x", "by hand anybody may");
}

#[test]
fn what_was_handed_ahead_costs_no_attempt() {
    let mut bench = Bench::new();
    bench.open("back", 2);
    bench.open("front", 1);
    for number in 0..12 {
        bench.say("front", 1, &["", &number.to_string()]);
    }
    // It is fast, so that it has several.
    loop {
        let Some(request) = bench.sent(2).into_iter().next() else {
            break;
        };
        if bench.counters().ahead > 2 {
            break;
        }
        bench.say_frames("back", 2, vec![request[0].clone(), "".into(), "x".into()]);
    }
    let ahead = bench.counters().leased;
    assert!(ahead > 1, "{:?}", bench.counters());
    bench.restart();
    assert_eq!(
        (bench.counters().unbegun, bench.counters().lost),
        (ahead - 1, 1)
    );
    let attempts = bench.attempts();
    assert_eq!(attempts.iter().filter(|attempt| **attempt == 1).count(), 1);
}

#[test]
fn titanics_requests_outlive_the_client_and_the_queue() {
    let mut bench = Bench::new();
    bench.open("front", 1);
    let left = bench.titanic(1, &["titanic.request", "mail", "letter"]);
    assert_eq!((left[0].as_str(), left[1].len()), ("200", 32));
    let id = left[1].as_str();
    assert!(bench.titanic(1, &["titanic.reply", id])[0].starts_with("300"));
    bench.restart();
    bench.open("front", 2);
    let taken = bench.asks(2, "take", json!({"service": "mail"}), &[]);
    assert_eq!(taken.body[0].as_ref(), b"letter");
    bench.asks(
        2,
        "done",
        json!({"token": taken.result["token"]}),
        &["sent", "twice"],
    );
    for _ in 0..2 {
        assert_eq!(
            bench.titanic(2, &["titanic.reply", id]),
            ["200", "sent", "twice"]
        );
        bench.restart();
        bench.open("front", 2);
    }
    for _ in 0..2 {
        assert!(bench.titanic(2, &["titanic.close", id])[0].starts_with("200"));
        bench.restart();
        bench.open("front", 2);
        assert!(bench.titanic(2, &["titanic.reply", id])[0].starts_with("400"));
    }
    // One that is closed before it is done is not done.
    let left = bench.titanic(2, &["titanic.request", "mail", "letter"]);
    bench.titanic(2, &["titanic.close", &left[1]]);
    assert_eq!(
        bench
            .asks(2, "take", json!({"service": "mail"}), &[])
            .status,
        404
    );
    for wrong in [
        &["titanic.request", "mail"][..],
        &["titanic.sink", "x"],
        &["titanic.request", "mmi.x", "y"],
    ] {
        assert!(bench.titanic(2, wrong)[0].starts_with("400"), "{wrong:?}");
    }
    assert_eq!(bench.titanic(2, &["mmi.service", "titanic.reply"]), ["200"]);
}

#[test]
fn an_answer_that_nobody_fetches_is_kept_as_long_as_is_said_and_counts_until_then() {
    let mut bench = Bench::new();
    bench.open("front", 1);
    let left = bench.titanic(1, &["titanic.request", "mail", "letter"]);
    let taken = bench.asks(1, "take", json!({"service": "mail"}), &[]);
    let large = "x".repeat(900_000);
    bench.asks(
        1,
        "done",
        json!({"token": taken.result["token"]}),
        &[&large],
    );
    let other = "y".repeat(200_000);
    assert!(bench.titanic(1, &["titanic.request", "mail", &other])[0].starts_with("500"));
    bench.pass(bench::KEEP_MS - 1);
    assert!(bench.titanic(1, &["titanic.reply", &left[1]])[0].starts_with("200"));
    bench.pass(1);
    assert!(bench.titanic(1, &["titanic.reply", &left[1]])[0].starts_with("400"));
    assert_eq!(
        bench.titanic(1, &["titanic.request", "mail", &other])[0],
        "200"
    );
    bench.restart();
    bench.open("front", 1);
    assert!(bench.titanic(1, &["titanic.reply", &left[1]])[0].starts_with("400"));
}

#[test]
fn a_checkpoint_has_all_of_it() {
    let mut bench = Bench::new();
    bench.open("front", 1);
    for id in ["a", "b"] {
        bench.asks(1, "submit", json!({"service": "mail", "id": id}), &[id]);
    }
    let taken = bench.asks(1, "take", json!({"service": "mail"}), &[]);
    bench.asks(1, "done", json!({"token": taken.result["token"]}), &["A"]);
    bench.checkpoint();
    bench.asks(1, "submit", json!({"service": "mail", "id": "c"}), &["c"]);
    bench.restart();
    bench.open("front", 1);
    assert_eq!(
        (bench.counters().completed, bench.counters().queued),
        (1, 2)
    );
    let known = bench.asks(
        1,
        "submit",
        json!({"service": "mail", "id": "a", "wait": true}),
        &["x"],
    );
    assert_eq!(known.body[0].as_ref(), b"A");
    // A place that was used is used under no token again.
    let next = bench.asks(1, "take", json!({"service": "mail"}), &[]);
    assert_ne!(next.result["token"], taken.result["token"]);
}

#[test]
fn a_log_of_something_else_is_not_taken_for_tasks() {
    let mut bench = Bench::new();
    bench
        .batches
        .push((b"\x07strange".as_slice().into(), vec!["record".into()], 0));
    bench.restart();
    bench.open("front", 1);
    let refused = bench.asks(1, "submit", json!({"service": "mail"}), &["x"]);
    assert_eq!(refused.status, 503);
    assert!(
        bench.facts()["fault"]
            .as_str()
            .unwrap()
            .contains("not of a queue")
    );
}

#[test]
fn where_the_end_of_a_task_is_damaged_its_place_has_the_one_after_it() {
    let mut bench = Bench::new();
    bench.open("front", 1);
    let submit = |bench: &mut Bench, id: &'static str| {
        let params = json!({"service": "mail", "id": id});
        assert_eq!(bench.asks(1, "submit", params, &[id]).status, 200);
    };
    submit(&mut bench, "first");
    let taken = bench.asks(1, "take", json!({"service": "mail"}), &[]);
    let token = json!({"token": taken.result["token"]});
    let before = bench.batches.len();
    assert_eq!(bench.asks(1, "done", token, &["answer"]).status, 200);
    assert_eq!(bench.batches.len(), before + 1);
    submit(&mut bench, "second");
    bench.batches.remove(before);
    bench.restart();
    bench.open("front", 2);
    let next = bench.asks(2, "take", json!({"service": "mail"}), &[]);
    assert_eq!(next.result["task"], "second");
}

#[test]
fn a_lease_that_is_extended_after_a_restart_has_its_whole_length_again() {
    let mut bench = Bench::new();
    bench.open("front", 1);
    let params = json!({"service": "mail", "id": "a"});
    assert_eq!(bench.asks(1, "submit", params, &["a"]).status, 200);
    let taken = bench.asks(1, "take", json!({"service": "mail"}), &[]);
    bench.pass(29_900);
    bench.restart();
    bench.open("front", 2);
    let token = json!({"token": taken.result["token"]});
    assert_eq!(bench.asks(2, "extend", token.clone(), &[]).status, 200);
    bench.pass(29_000);
    assert_eq!(bench.asks(2, "done", token, &["answer"]).status, 200);
}

#[test]
fn the_age_of_what_waits_goes_on_over_a_restart_and_while_it_is_down() {
    let mut bench = Bench::new();
    bench.open("front", 1);
    for (id, delay_ms) in [("now", 0), ("later", 400)] {
        let params = json!({"service": "mail", "id": id, "delay_ms": delay_ms});
        assert_eq!(bench.asks(1, "submit", params, &["x"]).status, 200);
    }
    let taken = bench.asks(1, "take", json!({"service": "mail"}), &[]);
    assert_eq!(taken.result["task"], "now");
    bench.pass(1_000);
    bench.tell(Event::Tick);
    assert_eq!(bench.facts()["age_ms"], 600);
    bench.restart();
    bench.ms += 50;
    bench.open("front", 2);
    assert_eq!(bench.facts()["age_ms"], 650);
    // What a worker had that was lost with its connection waits since then.
    let taken = bench.asks(2, "take", json!({"service": "mail"}), &[]);
    assert_eq!(taken.result["task"], "later");
    assert_eq!(bench.facts()["age_ms"], 0);
}

#[test]
fn answers_that_nobody_fetches_take_as_much_as_the_queue_and_the_oldest_go() {
    let mut bench = Bench::new();
    bench.open("front", 1);
    let large = |letter: &str| letter.repeat(400_000);
    let mut ids = Vec::new();
    // Four requests of a few bytes are taken, and answered by 400,000 each: together more than there is.
    for _ in 0..4 {
        let left = bench.titanic(1, &["titanic.request", "mail", "letter"]);
        ids.push(left[1].clone());
    }
    let answer = |bench: &mut Bench, body: &str| {
        let taken = bench.asks(1, "take", json!({"service": "mail"}), &[]);
        let token = json!({"token": taken.result["token"]});
        assert_eq!(bench.asks(1, "done", token, &[body]).status, 200);
    };
    for letter in ["a", "b", "c"] {
        answer(&mut bench, &large(letter));
        bench.pass(1);
    }
    let status = |bench: &mut Bench, id: &str| bench.titanic(1, &["titanic.reply", id])[0].clone();
    assert!(
        status(&mut bench, &ids[0]).starts_with("400"),
        "it made room for the third"
    );
    assert_eq!(
        (status(&mut bench, &ids[1]), status(&mut bench, &ids[2])),
        ("200".into(), "200".into())
    );
    assert_eq!(bench.counters().unfetched, 1);
    // One that is larger than all may be is not kept, and nothing goes for it.
    answer(&mut bench, &"d".repeat((1 << 20) + 1));
    assert!(status(&mut bench, &ids[3]).starts_with("400"));
    assert_eq!(bench.counters().unfetched, 2);
    assert!(bench.facts()["results_bytes"].as_u64().unwrap() <= 1 << 20);
    // After a restart it is the same, and where there may be less, less is kept.
    bench.restart();
    bench.open("front", 1);
    assert!(
        status(&mut bench, &ids[0]).starts_with("400")
            && status(&mut bench, &ids[3]).starts_with("400")
    );
    assert_eq!(status(&mut bench, &ids[1]), "200");
    let mut less = bench::config();
    less.bytes_max = 500_000;
    bench.durable.adopt(&crate::roles::Config::Queue(less));
    bench.pass(0);
    assert!(status(&mut bench, &ids[1]).starts_with("400"));
    assert_eq!(status(&mut bench, &ids[2]), "200");
}

#[test]
fn a_checkpoint_in_parts_is_what_was_stored_when_it_was_begun() {
    let mut bench = Bench::new();
    bench.open("front", 1);
    let submit = |bench: &mut Bench, id: &str| {
        let params = json!({"service": "mail", "id": id});
        assert_eq!(bench.asks(1, "submit", params, &[id]).status, 200);
    };
    for number in 0..40 {
        submit(&mut bench, &format!("t{number:02}"));
        bench.titanic(1, &["titanic.request", "post", "letter"]);
    }
    for _ in 0..20 {
        let taken = bench.asks(1, "take", json!({"service": "post"}), &[]);
        bench.asks(
            1,
            "done",
            json!({"token": taken.result["token"]}),
            &["sent"],
        );
    }
    bench.tell(Event::Disk(Told::CheckpointDue));
    // Between its parts tasks come and go and change, before and behind where it is.
    let mut parts = 0;
    while bench.durable.shadow.is_writing() {
        bench.tell(Event::Tick);
        parts += 1;
        submit(&mut bench, &format!("new{parts}"));
        let service = ["mail", "post"][parts % 2];
        let taken = bench.asks(1, "take", json!({"service": service}), &[]);
        let token = json!({"token": taken.result["token"]});
        if parts % 3 > 0 {
            bench.asks(1, "done", token, &["sent"]);
        }
    }
    assert!(parts > 20, "{parts}");
    let all = |bench: &mut Bench| {
        let listed = bench.asks(1, "ls", json!({"limit": 1_000}), &[]).result;
        let tasks = listed["tasks"].as_array().unwrap().iter();
        let mut tasks: Vec<String> = tasks
            .map(|it| format!("{} {} {}", it["task"], it["state"], it["attempts"]))
            .collect();
        tasks.sort();
        (
            tasks,
            bench.facts()["results"].clone(),
            bench.counters().completed,
        )
    };
    let before = all(&mut bench);
    bench.restart();
    bench.open("front", 1);
    assert_eq!(all(&mut bench), before);
}

#[test]
fn a_checkpoint_that_is_not_taken_is_said_and_tried_again() {
    let mut bench = Bench::new();
    bench.open("front", 1);
    bench.refuses_checkpoints = true;
    bench.asks(1, "submit", json!({"service": "mail"}), &["x"]);
    bench.checkpoint();
    assert!(bench.facts()["checkpoint_fault"].is_string());
    bench.refuses_checkpoints = false;
    bench.asks(1, "submit", json!({"service": "mail"}), &["x"]);
    assert!(bench.facts()["checkpoint_fault"].is_string(), "not at once");
    bench.pass(10_000);
    bench.asks(1, "submit", json!({"service": "mail"}), &["x"]);
    bench.pass(0);
    assert!(bench.facts()["checkpoint_fault"].is_null());
}
