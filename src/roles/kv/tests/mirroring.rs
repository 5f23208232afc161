//! Clone: snapshots, updates, signs of life, and mirrors that read slowly or not at all.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{Bench, config};
use crate::protocol::clone::{self, About};
use crate::roles::kv::COLLECTOR;
use crate::roles::machine::{Conn, Event, Machine as _};

/// A mirror's frames.
fn asks(subtree: &'static str) -> Vec<Bytes> {
    vec![Bytes::from_static(clone::ICANHAZ), subtree.into()]
}

pub(super) fn numbered(frames: &[Bytes]) -> (String, u64, String) {
    let number = u64::from_be_bytes(frames[1][..].try_into().unwrap());
    let text = |at: usize| String::from_utf8_lossy(&frames[at]).into_owned();
    (text(0), number, text(4))
}

#[test]
fn a_mirror_gets_a_snapshot_of_its_subtree_then_updates() {
    let mut bench = Bench::new();
    for (key, value) in [("/a/1", "x"), ("/b/1", "y"), ("/a/2", ""), ("/a/3", "z")] {
        bench.set(key, value);
    }
    let (port, conn): (Arc<str>, _) = ("main".into(), Conn(5));
    let frames = asks("/a/");
    bench.step(Event::Message { port, conn, frames });
    bench.pass(0);
    let sent: Vec<_> = bench.sent[&conn].iter().map(|it| numbered(it)).collect();
    let row = |key: &str, value: &str| (key.to_owned(), 4, value.to_owned());
    assert_eq!(
        sent,
        [row("/a/1", "x"), row("/a/3", "z"), row("KTHXBAI", "/a/")]
    );
    bench.published.clear();
    let about = About {
        uuid: Bytes::from_static(&[7; 16]),
        properties: Bytes::from_static(b"ttl=1\n"),
    };
    let frames = clone::command("/a/4", 0, about.clone(), "v".into());
    let port: Arc<str> = COLLECTOR.into();
    bench.step(Event::Message { port, conn, frames });
    assert_eq!(
        bench.published,
        [clone::command("/a/4", 5, about, "v".into())]
    );
    bench.pass(999);
    assert_eq!(bench.published.len(), 1);
    bench.pass(1);
    let said = bench.published.iter().map(|it| numbered(it));
    let said: Vec<_> = said.filter(|it| it.0 != "HUGZ").collect();
    let gone = ("/a/4".to_owned(), 6, String::new());
    assert_eq!(said.last(), Some(&gone), "its end is an update");
    bench.published.clear();
    bench.pass(1_000);
    assert_eq!(numbered(&bench.published[0]).0, "HUGZ");
    let port: Arc<str> = COLLECTOR.into();
    let frames = vec![Bytes::from_static(b"junk")];
    bench.step(Event::Message { port, conn, frames });
    assert_eq!(bench.machine.counters().malformed, 1);
}

#[test]
fn a_mirror_that_reads_slowly_gets_all_the_same() {
    let mut bench = Bench::with(&config(1 << 30, true));
    for number in 0..2_000 {
        bench.set(&format!("k{number:04}"), "v");
    }
    let conn = Conn(5);
    let frames = asks("");
    bench.step(Event::Message {
        port: "main".into(),
        conn,
        frames,
    });
    let mut rounds = 0;
    while !bench.machine.mirrors.is_empty() {
        rounds += 1;
        assert!(rounds < 1_000);
        bench.step(Event::Tick);
        if rounds % 3 == 0 {
            // None of this chunk was taken.
            bench.step(Event::Unsent { conn });
            assert_eq!(bench.machine.deadline(), Some(Duration::from_secs(1)));
            bench.step(Event::Writable { conn });
        }
    }
    let sent: Vec<_> = bench.sent[&conn].iter().map(|it| numbered(it).0).collect();
    let keys: BTreeSet<_> = sent.iter().collect();
    assert_eq!(
        (keys.len(), sent.last().unwrap().as_str()),
        (2_001, "KTHXBAI")
    );
    // One that takes nothing at all is given up.
    bench.step(Event::Message {
        port: "main".into(),
        conn,
        frames: asks(""),
    });
    for _ in 0..65 {
        bench.step(Event::Tick);
        bench.step(Event::Unsent { conn });
        bench.step(Event::Writable { conn });
    }
    assert!(bench.machine.mirrors.is_empty());
}
