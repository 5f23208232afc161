//! What is not there any more is missed: no offset is used again, and a role is told that it does not
//! know all.

use std::collections::BTreeMap;

use super::{all, config, entry, opened};
use crate::disk::audit::audit;
use crate::disk::testing::TestDisk;
use crate::disk::{Health, OpenError, open};
use crate::model::store::{StoreFault, Told};

type Files = BTreeMap<String, Vec<u8>>;

/// A log of twelve batches in several segments, with a checkpoint of the first so many.
fn made(syncs: bool, checkpoint: Option<u64>) -> Files {
    let disk = TestDisk::default();
    let mut config = config(300);
    config.syncs = syncs;
    let (mut log, _) = opened(&disk, &config);
    for number in 0..12_u64 {
        log.write(&[entry("", &[format!("{number:0100}").as_bytes()])])
            .unwrap();
        if checkpoint == Some(number) {
            let data = bytes::Bytes::from_static(b"known").into();
            log.checkpoint(number, &data).unwrap();
        }
    }
    disk.files()
}

fn segments(files: &Files) -> Vec<String> {
    let names = files.keys().filter(|name| name.ends_with(".seg"));
    names.cloned().collect()
}

/// Opens files: whether the log is well, and what the role is told that it does not know.
fn judged(files: &Files) -> (bool, Option<String>) {
    let disk = TestDisk::holding(files);
    let (mut log, told) = opened(&disk, &config(300));
    let is_good = log.health() == Health::Good;
    let written = log.write(&[entry("", &[b"new"])]);
    assert_eq!(written.is_ok(), is_good, "{written:?}");
    if let Err(fault) = written {
        assert!(matches!(fault, StoreFault::ReadOnly(_)), "{fault}");
    }
    let incomplete = told.into_iter().find_map(|it| match it {
        Told::Incomplete(what) => Some(what),
        _ => None,
    });
    (is_good, incomplete)
}

#[test]
fn a_last_segment_that_is_gone_is_missed_and_its_offsets_are_not_used_again() {
    for syncs in [true, false] {
        let whole = made(syncs, None);
        assert_eq!(judged(&whole), (true, None));
        assert!(
            audit(&*TestDisk::holding(&whole).shared())
                .unwrap()
                .is_good()
        );
        let names = segments(&whole);
        assert!(names.len() > 3);
        for kept in 1..names.len() {
            let mut files = whole.clone();
            files.retain(|name, _| !names[kept..].contains(name));
            let (is_good, incomplete) = judged(&files);
            assert!(!is_good, "{kept} are left");
            let incomplete = incomplete.unwrap();
            assert!(
                incomplete.contains("on: damaged or missing"),
                "{incomplete}"
            );
            let disk = TestDisk::holding(&files);
            let found = audit(&*disk.shared()).unwrap();
            let last = names.last().unwrap();
            assert!(
                found.faults.iter().any(|it| it.file == *last),
                "{:?}",
                found.faults
            );
            // What is left is read.
            let (log, _) = opened(&disk, &config(300));
            let (read, damaged) = all(&mut log.reader());
            assert!(!read.is_empty() && damaged.is_empty());
        }
    }
}

#[test]
fn a_log_whose_segments_are_all_gone_is_not_begun_anew() {
    let whole = made(true, None);
    for keep in ["synced", ".idx"] {
        let mut files = whole.clone();
        files.retain(|name, _| name.ends_with(keep));
        let disk = TestDisk::holding(&files);
        let opened = open(disk.shared(), config(300), Box::new(|| 1), &mut drop);
        assert!(matches!(opened, Err(OpenError::Unreadable)), "{keep}");
        assert!(!audit(&*disk.shared()).unwrap().is_good(), "{keep}");
    }
    // One that nothing was stored in is missed as well; a directory without anything is new.
    let disk = TestDisk::default();
    drop(opened(&disk, &config(300)));
    let mut files = disk.files();
    assert_eq!(judged(&files), (true, None));
    files.retain(|name, _| !name.ends_with(".seg"));
    let opened = open(
        TestDisk::holding(&files).shared(),
        config(300),
        Box::new(|| 1),
        &mut drop,
    );
    assert!(matches!(opened, Err(OpenError::Unreadable)));
    assert_eq!(judged(&Files::new()), (true, None));
}

#[test]
fn a_role_is_told_what_it_does_not_know_and_not_what_its_checkpoint_contains() {
    // Batches of 168 bytes behind a header of 64: one in each segment.
    let harmed = |checkpoint, batch: usize| {
        let mut files = made(true, checkpoint);
        let names = segments(&files);
        assert_eq!(names.len(), 12);
        files.get_mut(&names[batch]).unwrap()[64 + 100] ^= 1;
        // Its index would say that all is well.
        files.retain(|name, _| !name.ends_with(".idx"));
        judged(&files)
    };
    let what = |words: &str| Some(format!("{words}: damaged or missing"));
    assert_eq!(harmed(None, 3), (false, what("record 3")));
    assert_eq!(harmed(Some(2), 3), (false, what("record 3")));
    assert_eq!(harmed(Some(3), 3), (false, None), "the checkpoint has it");
    assert_eq!(harmed(Some(8), 3), (false, None));
    // How many records a damaged end had nobody knows.
    assert_eq!(harmed(None, 11), (false, what("what was stored at 11")));
    assert_eq!(harmed(Some(11), 11), (false, None));
    // A checkpoint that is damaged itself is none; the segments have all.
    let mut files = made(true, Some(8));
    files.get_mut("checkpoint").unwrap()[42] ^= 1;
    assert_eq!(judged(&files), (false, None));
    files.remove(&segments(&files)[0]);
    assert_eq!(judged(&files), (false, what("record 0")));
    // Segments behind a checkpoint may be gone, but not behind its end.
    let mut files = made(true, Some(8));
    for name in &segments(&files)[..=9] {
        files.remove(name);
    }
    let (is_good, incomplete) = judged(&files);
    assert!(!is_good && incomplete.is_some());
}

#[test]
fn a_log_begins_at_an_offset_once() {
    let disk = TestDisk::default();
    let (mut log, _) = opened(&disk, &config(300));
    assert_eq!(log.begin_at(1_000).unwrap().first_offset, 1_000);
    assert_eq!(log.begin_at(2_000).unwrap().first_offset, 2_000);
    assert_eq!(log.begin_at(1_000).unwrap().first_offset, 1_000);
    drop(log);
    let (mut log, told) = opened(&disk, &config(300));
    let (start, end) = (1_000, 1_000);
    assert_eq!(told, [Told::Recovered { start, end }]);
    for number in 0..5_u64 {
        let stored = log.write(&[entry("", &[&[b'x'; 100]])]).unwrap();
        assert_eq!(stored[0].first_offset, 1_000 + number);
    }
    assert_eq!(log.begin_at(7), Err(StoreFault::Begun));
    drop(log);
    let (log, told) = opened(&disk, &config(300));
    assert_eq!(log.health(), Health::Good);
    assert_eq!(told.len(), 6, "five batches, and where it ends");
    let (read, damaged) = all(&mut log.reader());
    assert_eq!(
        read.keys().copied().collect::<Vec<_>>(),
        [1_000, 1_001, 1_002, 1_003, 1_004]
    );
    assert!(damaged.is_empty());
    assert!(audit(&*disk.shared()).unwrap().is_good());
}
