//! What is said to a publisher, of all that subscribers want; no connection is made.

use super::*;

fn giver(wants_each: bool) -> Giver {
    Giver {
        conn: ConnId(1),
        wake: Arc::default(),
        wants_each,
    }
}

/// All that there is to say: `+topic` and `-topic`.
fn said(union: &mut Union) -> Vec<String> {
    let topics = std::iter::from_fn(|| union.next_topic());
    let said = topics.map(|wish| match wish {
        Wish::Topic { topic, is_on } => {
            let sign = if is_on { '+' } else { '-' };
            format!("{sign}{}", String::from_utf8_lossy(&topic))
        }
        Wish::Message(_) => panic!("no topic"),
    });
    said.collect()
}

#[test]
fn a_topic_is_asked_for_once_until_nobody_wants_it() {
    let mut union = Union::default();
    union.begin(giver(false));
    union.join(b"a");
    union.join(b"a");
    union.join(b"b");
    assert_eq!(said(&mut union), ["+a", "+b"]);
    union.join(b"a");
    union.leave(b"a");
    union.leave(b"a");
    assert!(said(&mut union).is_empty(), "one wants it still");
    union.leave(b"a");
    assert_eq!(said(&mut union), ["-a"]);
    union.leave(b"b");
    union.join(b"b");
    assert!(said(&mut union).is_empty(), "it was asked for all along");
}

#[test]
fn an_xpub_is_told_of_each_that_wants_it_and_of_the_last_that_does_not() {
    let mut union = Union::default();
    union.begin(giver(true));
    union.join(b"a");
    union.join(b"a");
    assert_eq!(said(&mut union), ["+a", "+a"]);
    union.leave(b"a");
    union.join(b"a");
    assert_eq!(said(&mut union), ["+a"]);
    union.leave(b"a");
    union.leave(b"a");
    assert_eq!(said(&mut union), ["-a"]);
}

#[test]
fn the_next_publisher_is_asked_for_all_that_is_wanted_and_nothing_else() {
    let mut union = Union::default();
    union.join(b"before");
    union.begin(giver(false));
    union.join(b"a");
    assert_eq!(said(&mut union), ["+before", "+a"]);
    union.leave(b"before");
    union.end();
    union.leave(b"a");
    union.join(b"b");
    union.join(b"c");
    union.leave(b"c");
    assert_eq!(union.topics.len(), 1, "what nobody wants is forgotten");
    union.begin(giver(false));
    assert_eq!(said(&mut union), ["+b"]);
}

#[test]
fn who_changes_its_mind_before_a_publisher_reads_costs_nothing() {
    for has_giver in [true, false] {
        let mut union = Union::default();
        if has_giver {
            union.begin(giver(true));
        }
        for n in 0..1_000_u16 {
            union.join(&n.to_be_bytes());
            union.leave(&n.to_be_bytes());
        }
        assert!(union.topics.is_empty() && union.due.is_empty());
        for _ in 0..1_000 {
            union.join(b"a");
            union.leave(b"a");
        }
        union.join(b"a");
        assert!(union.due.len() <= 1);
    }
}

#[test]
fn where_more_is_wanted_than_may_be_asked_for_all_is_until_there_is_less() {
    let mut union = Union {
        asked_max: Some(BUS_TOPICS_MAX),
        ..Union::default()
    };
    union.begin(giver(false));
    for n in 0..BUS_TOPICS_MAX {
        union.join(n.to_string().as_bytes());
    }
    assert_eq!(said(&mut union).len(), BUS_TOPICS_MAX);
    union.join(b"one more");
    union.join(b"and another");
    assert_eq!(said(&mut union), ["+"]);
    // A connection that comes then is asked for all too, and for no more topics than may be.
    union.end();
    union.begin(giver(false));
    let asked = said(&mut union);
    assert!(asked.contains(&"+".to_owned()) && asked.len() <= BUS_TOPICS_MAX + 1);
    for n in 0..BUS_TOPICS_MAX {
        union.leave(n.to_string().as_bytes());
    }
    let mut last = said(&mut union);
    assert_eq!(
        last.pop().unwrap(),
        "-",
        "all, once each is asked for: {last:?}"
    );
    union.end();
    union.begin(giver(false));
    let mut asked = said(&mut union);
    asked.sort();
    assert_eq!(asked, ["+and another", "+one more"]);
    assert_eq!(union.asked, 2);
}

#[test]
fn what_subscribers_send_waits_within_a_bound() {
    let mut union = Union::default();
    let message = || vec![Bytes::from(vec![0; 1_000])];
    let taken = (0..100).filter(|_| union.send(message(), 10_000)).count();
    assert_eq!(taken, 10_000 / cost_of(&message()));
    assert!(union.next_message().is_none(), "nobody is there");
    union.begin(giver(false));
    while union.next_message().is_some() {}
    assert_eq!(union.messages_cost, 0);
    assert!(union.send(vec![vec![0; 20_000].into()], 10_000), "one may");
}
