//! What is promised of a log, on a disk that fails, forgets and tears.

mod crash;
mod damage;
mod faults;
mod missing;
mod times;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::testing::TestDisk;
use super::{Health, Log, LogConfig, Reader, open};
use crate::model::store::{Entry, Put, Record, Start, StoreFault, Told};

fn config(segment_bytes: u64) -> LogConfig {
    LogConfig {
        syncs: true,
        retain_ns: None,
        retain_bytes: None,
        bytes_max: None,
        segment_bytes,
    }
}

/// Opens a log on a disk, with a clock that goes on by one each time.
fn opened(disk: &TestDisk, config: &LogConfig) -> (Log, Vec<Told>) {
    let now = AtomicU64::new(1_000);
    let clock = Box::new(move || now.fetch_add(1, Ordering::Relaxed));
    let mut told = Vec::new();
    let log = open(disk.shared(), config.clone(), clock, &mut |it| {
        told.push(it)
    });
    (log.expect("it opens"), told)
}

fn entry(note: &str, records: &[&[u8]]) -> Entry {
    let put = |data: &&[u8]| Put {
        time_ns: None,
        data: Bytes::copy_from_slice(data),
    };
    Entry {
        note: Bytes::copy_from_slice(note.as_bytes()),
        records: records.iter().map(put).collect(),
    }
}

/// Every record that can be read, by its offset; and the offsets that are damaged.
fn all(reader: &mut Reader) -> (BTreeMap<u64, Bytes>, Vec<(u64, u64)>) {
    let (mut found, mut damaged) = (BTreeMap::new(), Vec::new());
    let (mut at, end) = reader.range();
    while at < end {
        match reader.fetch(Start::Offset(at), 3, 1_000) {
            Ok(fetched) => {
                assert!(!fetched.records.is_empty(), "nothing at {at} of {end}");
                for record in fetched.records {
                    found.insert(at, record.data);
                    at += 1;
                }
            }
            Err(StoreFault::Damaged(from, next)) => {
                assert!(from == at && next > at, "{from}..{next} at {at}");
                damaged.push((from, next));
                at = next;
            }
            Err(other) => panic!("{other} at {at} of {end}"),
        }
    }
    (found, damaged)
}

fn texts(found: &BTreeMap<u64, Bytes>) -> Vec<&str> {
    let each = found.values();
    each.map(|it| std::str::from_utf8(it).unwrap()).collect()
}

#[test]
fn what_is_written_is_read_from_any_offset_and_after_any_restart() {
    let disk = TestDisk::default();
    let (mut log, told) = opened(&disk, &config(600));
    assert_eq!(told, [Told::Recovered { start: 0, end: 0 }]);
    for round in 0..40_u64 {
        let data = [format!("a{round}"), format!("b{round}")];
        let records = [data[0].as_bytes(), data[1].as_bytes()];
        let stored = log.write(&[entry("n", &records), entry("no records", &[])]);
        assert_eq!(stored.unwrap()[0].first_offset, round * 2);
        if round % 7 == 3 {
            drop(log);
            let told;
            (log, told) = opened(&disk, &config(600));
            let replayed = told.iter().filter(|it| matches!(it, Told::Replayed(_)));
            assert_eq!(replayed.count() as u64, (round + 1) * 2);
        }
    }
    let mut reader = log.reader();
    assert!(reader.size().1 > 5, "several segments");
    let (found, damaged) = all(&mut reader);
    assert_eq!((found.len(), damaged.len()), (80, 0));
    assert_eq!(found[&17], "b8");
    for from in 0..80 {
        let fetched = reader.fetch(Start::Offset(from), 1, 0).unwrap();
        assert_eq!((fetched.first_offset, fetched.records.len()), (from, 1));
        assert_eq!(fetched.records[0].data, found[&from]);
        assert_eq!((fetched.start, fetched.end), (0, 80));
    }
    let end = reader.fetch(Start::Offset(80), 5, 5).unwrap();
    assert!(end.records.is_empty());
    assert_eq!(reader.verify().unwrap().records, 80);
}

#[test]
fn reading_begins_at_a_time() {
    let disk = TestDisk::default();
    let (mut log, _) = opened(&disk, &config(500));
    for time in [10, 20, 20, 30, 40, 40, 50] {
        let record = Put {
            time_ns: Some(time),
            data: vec![b'x'; 100].into(),
        };
        let entry = Entry {
            note: Bytes::new(),
            records: vec![record],
        };
        log.write(&[entry]).unwrap();
    }
    let mut reader = log.reader();
    for (time, offset) in [
        (0, 0),
        (10, 0),
        (11, 1),
        (20, 1),
        (21, 3),
        (40, 4),
        (50, 6),
        (51, 7),
    ] {
        let fetched = reader.fetch(Start::Time(time), 1, 1_000).unwrap();
        assert_eq!(fetched.first_offset, offset, "from {time}");
        let times = fetched.records.iter().map(|it: &Record| it.time_ns);
        assert!(times.into_iter().all(|it| it >= time));
    }
}

#[test]
fn bounds_of_a_read_are_kept_and_a_record_larger_than_them_is_read() {
    let disk = TestDisk::default();
    let (mut log, _) = opened(&disk, &config(1 << 20));
    let records: Vec<Vec<u8>> = (1..=9).map(|it| vec![0; it * 10]).collect();
    let records: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
    log.write(&[entry("", &records)]).unwrap();
    let mut reader = log.reader();
    let mut count = |from, max, bytes| {
        let fetched = reader.fetch(Start::Offset(from), max, bytes).unwrap();
        fetched.records.len()
    };
    assert_eq!((count(0, 100, 60), count(0, 100, 59)), (3, 2));
    assert_eq!((count(0, 2, 60), count(8, 2, 1), count(0, 0, 1)), (2, 1, 0));
}

#[test]
fn what_is_too_old_or_too_much_goes_once_a_checkpoint_has_it() {
    let disk = TestDisk::default();
    let mut small = config(300);
    small.retain_bytes = Some(900);
    let (mut log, _) = opened(&disk, &small);
    for number in 0..20 {
        log.write(&[entry("", &[format!("{number:0100}").as_bytes()])])
            .unwrap();
    }
    assert!(log.retain(), "a checkpoint is wanted");
    assert_eq!(log.reader().range().0, 0, "nothing goes without");
    log.checkpoint(9, &Bytes::from_static(b"ten").into())
        .unwrap();
    assert!(log.retain());
    assert_eq!(log.reader().range(), (10, 20));
    log.checkpoint(19, &Bytes::from_static(b"all").into())
        .unwrap();
    assert!(!log.retain());
    let (start, _) = log.reader().range();
    assert!(start > 10 && log.bytes() <= 900, "{start} {}", log.bytes());
    let gone = log.reader().fetch(Start::Offset(3), 1, 1);
    assert_eq!(gone, Err(StoreFault::Gone(start)));
    assert!(!log.trim(start), "no whole segment is before it");
    drop(log);
    let (log, told) = opened(&disk, &small);
    let told_all = [
        Told::Restored("all".into()),
        Told::Recovered { start, end: 20 },
    ];
    assert_eq!(told, told_all);
    let (found, _) = all(&mut log.reader());
    assert_eq!(found.len() as u64, 20 - start);
    // By age, what was idle goes too, and no offset is used again.
    let mut young = config(300);
    young.retain_ns = Some(10);
    drop(log);
    let now = Arc::new(AtomicU64::new(10_000));
    let clock = Arc::clone(&now);
    let clock = Box::new(move || clock.load(Ordering::Relaxed));
    let mut log = open(disk.shared(), young, clock, &mut drop).unwrap();
    assert!(!log.retain());
    assert_eq!(log.reader().range(), (20, 20));
    assert_eq!(
        log.write(&[entry("", &[b"z"])]).unwrap()[0].first_offset,
        20
    );
}

#[test]
fn a_bound_is_kept_at_it_and_one_over() {
    let disk = TestDisk::default();
    let mut bounded = config(1 << 20);
    // A header, and two batches of a head, a record's head and a byte.
    bounded.bytes_max = Some(64 + 2 * (56 + 12 + 1));
    let (mut log, _) = opened(&disk, &bounded);
    log.write(&[entry("", &[b"a"])]).unwrap();
    log.write(&[entry("", &[b"b"])]).unwrap();
    assert_eq!(log.write(&[entry("", &[b"c"])]), Err(StoreFault::AtMax));
    assert_eq!(texts(&all(&mut log.reader()).0), ["a", "b"]);
    assert_eq!(log.health(), Health::Good);
}

#[test]
fn a_lost_index_is_made_again() {
    let disk = TestDisk::default();
    let (mut log, _) = opened(&disk, &config(300));
    for number in 0..10 {
        log.write(&[entry("", &[format!("{number:0100}").as_bytes()])])
            .unwrap();
    }
    drop(log);
    let mut files = disk.files();
    let indexes = files.keys().filter(|name| name.ends_with(".idx")).count();
    files.retain(|name, _| !name.ends_with(".idx"));
    let disk = TestDisk::holding(&files);
    let (log, _) = opened(&disk, &config(300));
    assert_eq!(log.health(), Health::Good);
    assert_eq!(all(&mut log.reader()).0.len(), 10);
    let again = disk
        .files()
        .keys()
        .filter(|name| name.ends_with(".idx"))
        .count();
    assert!(indexes > 2 && again == indexes, "{indexes} {again}");
}
