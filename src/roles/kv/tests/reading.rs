//! Lists in pages, and watches: what waits, what is given, what is no longer kept.

use serde_json::{Value, json};

use super::{Bench, config};
use crate::model::limits::kv::HISTORY_BYTES_MAX;
use crate::model::store::Told;
use crate::protocol::clone;
use crate::protocol::zn1::Reply;
use crate::roles::machine::{Conn, Event, Machine as _};

#[test]
fn a_list_has_pages_and_a_prefix() {
    let mut bench = Bench::new();
    for key in ["b/2", "a", "b/1", "c", "b/3"] {
        bench.set(key, "v");
    }
    let page = bench.ask(
        "list",
        json!({"prefix": "b/", "limit": 2, "values": true}),
        &[],
    );
    let names = |reply: &Reply| {
        let keys = reply.result["keys"].as_array().unwrap().iter();
        keys.map(|it| it["key"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (names(&page), page.body.len()),
        (vec!["b/1".to_owned(), "b/2".to_owned()], 2)
    );
    assert_eq!(
        (&page.result["more"], &page.result["revision"]),
        (&json!(true), &json!(5))
    );
    let rest = bench.ask("list", json!({"prefix": "b/", "after": "b/2"}), &[]);
    assert_eq!(
        (names(&rest), &rest.result["more"]),
        (vec!["b/3".to_owned()], &json!(false))
    );
    assert!(rest.body.is_empty());
    assert_eq!(names(&bench.ask("list", Value::Null, &[])).len(), 5);
    assert_eq!(bench.ask("list", json!({"limit": 0}), &[]).status, 400);
}

#[test]
fn a_page_ends_before_it_is_too_large() {
    let mut bench = Bench::with(&config(1 << 30, true));
    for number in 0..3 {
        bench.set(&format!("k{number}"), &"v".repeat(700 * 1024));
    }
    let page = bench.ask("list", json!({"values": true}), &[]);
    assert_eq!((page.body.len(), &page.result["more"]), (1, &json!(true)));
    let seen = bench.ask("watch", json!({"after": 0}), &[]);
    assert_eq!(seen.result["revision"], 1);
    let seen = bench.ask("watch", json!({"after": 2}), &[]);
    assert_eq!(seen.result["revision"], 3);
}

#[test]
fn a_watch_waits_for_a_write_of_its_prefix_and_goes_on_from_it() {
    let mut bench = Bench::new();
    bench.set("a/1", "x");
    bench.tell(
        1,
        "watch",
        json!({"prefix": "a/", "after": 1, "wait_ms": 1_000}),
        &[],
    );
    bench.set("b", "y");
    assert!(bench.replies(1).is_empty());
    bench.set("a/2", "z");
    let seen = bench.replies(1).remove(0);
    let events = json!([{"op": "set", "key": "a/2", "revision": 3}]);
    assert_eq!(
        (&seen.result["events"], &seen.result["revision"]),
        (&events, &json!(3))
    );
    assert_eq!(seen.body, ["z"]);
    bench.tell(
        1,
        "watch",
        json!({"prefix": "a/", "after": 3, "wait_ms": 1_000}),
        &[],
    );
    bench.set("b", "y");
    bench.pass(999);
    assert!(bench.replies(1).is_empty());
    bench.pass(1);
    assert_eq!(
        bench.replies(1)[0].result,
        json!({"events": [], "revision": 4})
    );
    bench.tell(1, "watch", json!({"after": 4, "wait_ms": 1_000}), &[]);
    bench.step(Event::Drain);
    assert_eq!(
        bench.replies(1)[0].status,
        200,
        "whoever waits is told at the end"
    );
    assert_eq!(bench.ask("set", json!({"key": "a"}), &["1"]).status, 503);
}

#[test]
fn watches_are_bounded_and_end_with_their_connection() {
    let mut bench = Bench::new();
    for _ in 0..64 {
        bench.tell(1, "watch", json!({"after": 0, "wait_ms": 60_000}), &[]);
    }
    assert!(bench.replies(1).is_empty());
    bench.tell(1, "watch", json!({"after": 0, "wait_ms": 60_000}), &[]);
    assert_eq!(bench.replies(1)[0].status, 429);
    let (port, conn) = ("main".into(), Conn(1));
    bench.step(Event::Closed { port, conn });
    assert_eq!(bench.machine.facts()["watches"], 0);
}

#[test]
fn who_watches_from_too_long_ago_is_told_to_take_a_snapshot() {
    let mut bench = Bench::with(&config(1 << 30, true));
    let value = "v".repeat(HISTORY_BYTES_MAX / 4);
    for _ in 0..5 {
        bench.set("a", &value);
    }
    let gone = bench.ask("watch", json!({"after": 1}), &[]);
    assert_eq!((gone.status, &gone.result["oldest"]), (409, &json!(2)));
    assert_eq!(bench.ask("watch", json!({"after": 2}), &[]).status, 200);
    assert_eq!(bench.ask("watch", json!({"after": 5}), &[]).status, 200);
    let ahead = bench.ask("watch", json!({"after": 6}), &[]);
    assert_eq!((ahead.status, &ahead.result["revision"]), (409, &json!(5)));
}

#[test]
fn a_store_that_does_not_know_all_writes_knows_no_key() {
    let mut bench = Bench::new();
    bench.set("a", "old");
    bench.restart();
    assert_eq!(bench.get("a"), Some(("old".to_owned(), 1)));
    let what = "record 1: damaged or missing".to_owned();
    bench.step(Event::Disk(Told::Incomplete(what)));
    for (verb, params, body) in [
        ("get", json!({"key": "a"}), &[][..]),
        ("get", json!({"key": "gone"}), &[]),
        ("list", json!({}), &[]),
        ("watch", json!({"after": 0}), &[]),
        ("watch", json!({"after": 9, "wait_ms": 1_000}), &[]),
        ("set", json!({"key": "a"}), &["new"]),
        ("del", json!({"key": "a"}), &[]),
        ("cas", json!({"key": "a", "revision": 1}), &["new"]),
        ("batch", json!({"ops": [{"op": "del", "key": "a"}]}), &[]),
    ] {
        let reply = bench.ask(verb, params, body);
        assert_eq!(reply.status, 503, "{verb}");
        let words = reply.result["error"].as_str().unwrap();
        for wanted in [
            "record 1: damaged or missing",
            "store verify params",
            "store restore",
        ] {
            assert!(words.contains(wanted), "{verb}: {words}");
        }
    }
    // A mirror that asks for a snapshot is sent nothing, and its connection ends.
    let frames = vec![clone::ICANHAZ.into(), "".into()];
    let (port, conn) = ("main".into(), Conn(5));
    bench.step(Event::Message { port, conn, frames });
    bench.pass(0);
    assert!(!bench.sent.contains_key(&Conn(5)));
    assert!(
        bench.machine.facts()["fault"]
            .as_str()
            .unwrap()
            .contains("record 1")
    );
    assert!(
        bench.asked.is_empty(),
        "nothing is written, a checkpoint neither"
    );
    assert_eq!(
        bench.machine.refusal(),
        None,
        "it runs, and says why it knows nothing"
    );
}

#[test]
fn a_batch_that_deletes_what_is_not_there_is_done() {
    let mut bench = Bench::new();
    bench.set("a", "x");
    let batch = |keys: &[&str]| {
        let ops: Vec<Value> = keys
            .iter()
            .map(|key| json!({"op": "del", "key": key}))
            .collect();
        json!({ "ops": ops })
    };
    let nothing = bench.ask("batch", batch(&["b", "c"]), &[]);
    assert_eq!(
        (nothing.status, nothing.result),
        (200, json!({"revision": 1, "writes": 0}))
    );
    let one = bench.ask("batch", batch(&["b", "a"]), &[]);
    assert_eq!(
        (one.status, one.result),
        (200, json!({"revision": 2, "writes": 1}))
    );
    assert_eq!(bench.ask("del", json!({"key": "b"}), &[]).status, 404);
}
