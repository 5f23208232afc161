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
