//! Who owned a group never owns it again by its old number, and what is another kind's is nobody's.

use super::*;

#[test]
fn no_number_of_an_ownership_is_given_again_of_a_forgotten_group_too() {
    for checkpoints in [false, true] {
        let mut bench = Bench::new();
        let take = |bench: &mut Bench| {
            bench.ask(1, "take", json!({"group": "g"}), &[]);
            bench.store(None);
            bench.answer().2["generation"].as_u64().unwrap()
        };
        let first = take(&mut bench);
        let mut seen = vec![first];
        for _ in 0..3 {
            bench.ask(1, "forget", json!({"group": "g"}), &[]);
            bench.store(None);
            assert_eq!(bench.answer().1, 200);
            if checkpoints {
                bench.tell(Event::Disk(Told::CheckpointDue));
                bench.store(None);
            }
            bench.restart();
            seen.push(take(&mut bench));
            assert!(seen.is_sorted_by(|a, b| a < b), "{seen:?}");
            let commit = json!({"group": "g", "generation": first, "offset": 0});
            bench.ask(2, "commit", commit, &[]);
            assert_eq!(bench.answer().1, 409, "its first owner is none");
        }
    }
}

#[test]
fn a_checkpoint_without_the_highest_ownership_is_of_fewer_than_its_batches() {
    let mut bench = Bench::new();
    let text = r#"{"last_seq": 40, "producers": [], "groups": []}"#;
    bench.tell(Event::Disk(Told::Restored(Bytes::from_static(
        text.as_bytes(),
    ))));
    bench.ask(1, "take", json!({"group": "g"}), &[]);
    bench.store(None);
    assert!(bench.answer().2["generation"].as_u64() > Some(41));
}

#[test]
fn what_another_kind_has_kept_is_refused_in_words() {
    let batch = |note: &'static [u8]| Batch {
        seq: 0,
        first_offset: 0,
        time_ns: 1,
        note: Bytes::from_static(note),
        records: Vec::new(),
    };
    let told = [
        Told::Restored(Bytes::from_static(b"\x01 keys and values")),
        Told::Replayed(batch(b"\x02\x00id")),
        Told::Replayed(batch(br#"{"p": [0, 12]}"#)),
    ];
    for told in told {
        let mut bench = Bench::new();
        assert_eq!(bench.machine.refusal(), None);
        bench.tell(Event::Disk(told));
        assert!(bench.machine.refusal().unwrap().contains("not of a stream"));
    }
}

#[test]
fn a_read_that_waits_for_a_group_is_refused_when_another_takes_it() {
    let mut bench = Bench::new();
    let take = |bench: &mut Bench, fault| {
        bench.ask(1, "take", json!({"group": "g", "consumer": "me"}), &[]);
        bench.store(fault);
        // The answer to the take comes last.
        bench.answers.pop().unwrap().3["generation"].clone()
    };
    let one = take(&mut bench, None);
    let read =
        |generation: &Value| json!({"group": "g", "generation": generation, "wait_ms": 9_000});
    bench.ask(2, "read", read(&one), &[]);
    bench.ask(3, "read", json!({"from": 0, "wait_ms": 9_000}), &[]);
    // One that is not stored fences nobody.
    take(&mut bench, Some(StoreFault::NoSpace));
    assert!(bench.answers.is_empty());
    let two = take(&mut bench, None);
    let (conn, status, told) = bench.answer();
    assert_eq!((conn, status), (2, 409), "at once, without a record");
    assert!(
        told["error"].as_str().unwrap().contains("taken since"),
        "{told}"
    );
    assert!(bench.answers.is_empty(), "who reads for nobody waits on");
    // A record that came, and a take before it was read.
    bench.ask(2, "read", read(&two), &[]);
    bench.ask(4, "append", json!({}), &["a"]);
    bench.store(None);
    assert_eq!(bench.answer().0, 4);
    bench.ask(5, "take", json!({"group": "g"}), &[]);
    while !bench.asked.is_empty() {
        bench.store(None);
    }
    let answers: Vec<(u64, u16)> = bench.answers.iter().map(|it| (it.0, it.1)).collect();
    assert!(
        answers.contains(&(2, 409)) && answers.contains(&(3, 200)),
        "{answers:?}"
    );
}

#[test]
fn a_stream_that_never_had_a_record_begins_where_it_is_told() {
    let mut bench = Bench::new();
    let begin = |bench: &mut Bench, offset: u64| {
        bench.ask(1, "begin", json!({ "offset": offset }), &[]);
        if !bench.asked.is_empty() {
            bench.store(None);
        }
        bench.answer().1
    };
    bench.ask(2, "read", json!({"wait_ms": 9_000}), &[]);
    bench.ask(1, "begin", json!({"offset": 1_000}), &[]);
    bench.ask(3, "append", json!({}), &["early"]);
    assert_eq!(bench.answer().1, 429, "it is not settled yet");
    bench.store(None);
    let answers: Vec<u64> = bench.answers.drain(..).map(|it| it.0).collect();
    assert_eq!(answers, [2, 1], "who waits is told the new end");
    assert_eq!(bench.machine.facts()["start_offset"], 1_000);
    assert_eq!(bench.machine.facts()["end_offset"], 1_000);
    assert_eq!(begin(&mut bench, 1_000), 200, "asked again");
    assert_eq!(begin(&mut bench, u64::MAX), 400);
    let mut other = Bench::new();
    other.ask(1, "append", json!({}), &["a"]);
    other.store(None);
    other.answer();
    for offset in [0, 1, 1_000] {
        assert_eq!(begin(&mut other, offset), 409);
    }
}
