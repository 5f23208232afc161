//! A disk that is full, that fails to sync, that is somebody else's.

use std::io::ErrorKind;

use super::{all, config, entry, opened, texts};
use crate::disk::testing::{Failing, TestDisk};
use crate::disk::{Health, OpenError, Owner, RealFiles, Store, kind_of, open};
use crate::model::store::{Ask, Durability, Start, StoreConfig, StoreFault, Told};

#[test]
fn a_full_disk_takes_nothing_and_needs_no_restart() {
    let disk = TestDisk::default();
    let (mut log, _) = opened(&disk, &config(400));
    log.write(&[entry("", &[b"before"])]).unwrap();
    for failing in [
        Failing::Write(ErrorKind::StorageFull),
        Failing::Write(ErrorKind::QuotaExceeded),
    ] {
        disk.fail(&[failing]);
        // Its first entry is written whole before the space ends.
        let big = [0; 100];
        let refused = log.write(&[
            entry("", &[b"lost"]),
            entry("", &[&big]),
            entry("", &[&big]),
        ]);
        assert_eq!(refused, Err(StoreFault::NoSpace));
        assert_eq!(texts(&all(&mut log.reader()).0), ["before"]);
    }
    disk.fail(&[Failing::Create(ErrorKind::StorageFull)]);
    let large = [b'x'; 390];
    let refused = log.write(&[entry("", &[&large])]);
    assert_eq!(refused, Err(StoreFault::NoSpace), "no other segment begins");
    disk.fail(&[]);
    assert_eq!(log.health(), Health::Good);
    assert_eq!(
        log.write(&[entry("", &[b"after"])]).unwrap()[0].first_offset,
        1
    );
    drop(log);
    let (log, _) = opened(&disk, &config(400));
    assert_eq!(texts(&all(&mut log.reader()).0), ["before", "after"]);
}

#[test]
fn what_cannot_be_taken_back_is_the_last_thing_that_is_tried() {
    let disk = TestDisk::default();
    let (mut log, _) = opened(&disk, &config(4_000));
    log.write(&[entry("", &[b"before"])]).unwrap();
    let full = ErrorKind::StorageFull;
    disk.fail(&[Failing::Write(full), Failing::Truncate(ErrorKind::Other)]);
    let refused = log.write(&[entry("", &[b"x"])]);
    assert!(matches!(refused, Err(StoreFault::Failed(_))));
    disk.fail(&[]);
    assert!(matches!(
        log.write(&[entry("", &[b"y"])]),
        Err(StoreFault::Failed(_))
    ));
}

#[test]
fn after_a_failed_sync_nothing_is_taken_until_a_restart() {
    let disk = TestDisk::default();
    let (mut log, _) = opened(&disk, &config(4_000));
    log.write(&[entry("", &[b"a"])]).unwrap();
    disk.fail(&[Failing::Sync(ErrorKind::Other)]);
    let refused = log.write(&[entry("", &[b"b"])]);
    assert!(matches!(refused, Err(StoreFault::Failed(_))), "{refused:?}");
    disk.fail(&[]);
    assert!(matches!(
        log.write(&[entry("", &[b"c"])]),
        Err(StoreFault::Failed(_))
    ));
    assert!(matches!(log.health(), Health::Failed(_)));
    assert_eq!(texts(&all(&mut log.reader()).0), ["a"], "readers go on");
    drop(log);
    let (mut log, _) = opened(&disk, &config(4_000));
    assert_eq!(log.health(), Health::Good);
    let found = all(&mut log.reader()).0;
    // What was refused may have been kept: nobody said that it was not.
    assert!(matches!(texts(&found)[..], ["a"] | ["a", "b"]));
    let next = log.write(&[entry("", &[b"d"])]).unwrap();
    assert_eq!(next[0].first_offset, found.len() as u64);
}

/// A directory that goes when the test does.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("zn-disk-{name}-{}", std::process::id()));
        std::fs::remove_dir_all(&dir).ok();
        Self(dir)
    }

    fn config(&self, durability: Durability) -> StoreConfig {
        StoreConfig {
            path: self.0.clone(),
            durability,
            retain_ms: None,
            retain_bytes: None,
            bytes_max: None,
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

#[test]
fn a_log_has_one_writer() {
    let scratch = Scratch::new("lock");
    let one = || std::sync::Arc::new(RealFiles::open(&scratch.0).unwrap());
    let log = open(one(), config(4_000), Box::new(|| 1), &mut drop).unwrap();
    let other = open(one(), config(4_000), Box::new(|| 1), &mut drop);
    assert!(matches!(other, Err(OpenError::Locked)));
    drop(log);
    assert!(open(one(), config(4_000), Box::new(|| 1), &mut drop).is_ok());
}

fn told(store: &mut Store) -> Vec<Told> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(store.told())
}

#[test]
fn a_store_answers_in_order_and_keeps_what_it_acknowledged() {
    for durability in [Durability::Fsync, Durability::Os, Durability::Memory] {
        let scratch = Scratch::new(&format!("store-{durability:?}"));
        let config = scratch.config(durability);
        let owner = Owner {
            kind: "stream",
            bytes_max: None,
        };
        let mut store = Store::open(&config, owner, &mut drop).unwrap();
        for ticket in 0..2_000 {
            let entry = entry("", &[format!("{ticket}").as_bytes()]);
            assert_eq!(store.ask(Ask::Store { ticket, entry }), None);
        }
        let mut next = 0;
        while next < 2_000 {
            for one in told(&mut store) {
                let Told::Stored { ticket, result } = one else {
                    panic!("{one:?}");
                };
                assert_eq!((ticket, result.unwrap().first_offset), (next, next));
                next += 1;
            }
        }
        let facts = store.facts();
        assert!(facts.groups < 2_000, "{} groups of 2,000", facts.groups);
        assert_eq!((facts.synced_offset, facts.health), (2_000, "good"));
        let start = Start::Offset(1_990);
        let fetch = Ask::Fetch {
            ticket: 7,
            start,
            records_max: 100,
            bytes_max: 1_000,
        };
        assert_eq!(store.ask(fetch), None);
        let [
            Told::Fetched {
                ticket: 7,
                result: Ok(fetched),
            },
        ] = &told(&mut store)[..]
        else {
            panic!("one answer");
        };
        assert_eq!(fetched.records.len(), 10);
        drop(store);
        let kept = Store::open(&config, owner, &mut drop)
            .unwrap()
            .facts()
            .synced_offset;
        let is_memory = durability == Durability::Memory;
        assert_eq!(kept, if is_memory { 0 } else { 2_000 });
        assert_eq!(scratch.0.exists(), !is_memory);
    }
}

#[test]
fn the_store_of_another_kind_is_not_opened_and_its_own_is() {
    let scratch = Scratch::new("kind");
    let config = scratch.config(Durability::Fsync);
    let owner = |kind| Owner {
        kind,
        bytes_max: None,
    };
    let store = Store::open(&config, owner("kv"), &mut drop).unwrap();
    assert_eq!(kind_of(&scratch.0), None, "not before it is its own");
    store.is_of(owner("kv"));
    drop(store);
    assert_eq!(kind_of(&scratch.0).as_deref(), Some("kv"));
    let other = Store::open(&config, owner("stream"), &mut drop);
    let Err(OpenError::Kind { is, wanted }) = other else {
        panic!("it is opened");
    };
    assert_eq!((&*is, wanted), ("kv", "stream"));
    assert!(Store::open(&config, owner("kv"), &mut drop).is_ok());
}

#[test]
fn a_large_checkpoint_is_written_beside_what_is_stored_meanwhile() {
    let scratch = Scratch::new("beside");
    let config = scratch.config(Durability::Fsync);
    let owner = Owner {
        kind: "kv",
        bytes_max: None,
    };
    let mut store = Store::open(&config, owner, &mut drop).unwrap();
    let mut known = crate::model::store::Rope::default();
    known.put(&vec![b'k'; 32 * 1024 * 1024]);
    let ask = |store: &Store, ticket| {
        let entry = entry("", &[b"a"]);
        assert_eq!(store.ask(Ask::Store { ticket, entry }), None);
    };
    ask(&store, 0);
    let (through, data) = (0, known.clone());
    assert_eq!(store.ask(Ask::Checkpoint { through, data }), None);
    let (mut stored, mut meanwhile) = (0, 0);
    let mut is_kept = false;
    while !is_kept {
        for one in told(&mut store) {
            match one {
                Told::Stored { result, .. } => {
                    stored += 1;
                    meanwhile = stored;
                    assert!(result.is_ok());
                    ask(&store, stored);
                }
                Told::Checkpointed { result, .. } => {
                    assert_eq!(result, Ok(()));
                    is_kept = true;
                }
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(meanwhile > 1, "nothing waited for it: {meanwhile}");
    drop(store);
    let mut restored = None;
    let again = Store::open(&config, owner, &mut |it| {
        if let Told::Restored(data) = it {
            restored = Some(data);
        }
    });
    assert!(again.is_ok());
    assert_eq!(restored.unwrap().len(), known.len());
}
