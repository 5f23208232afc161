//! Bits that flip and files that end early: all of it is noticed, and none of it is served.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{config, entry, opened};
use crate::disk::audit::audit;
use crate::disk::testing::TestDisk;
use crate::disk::{Health, OpenError, open};
use crate::model::store::{Start, StoreFault};

/// A disk's files, by their names.
type Files = BTreeMap<String, Vec<u8>>;

const SEGMENT_BYTES: u64 = 4_000;

/// A log of several segments, and its records with the batch that each is in.
fn made() -> (Files, Vec<(u64, Bytes)>) {
    let disk = TestDisk::default();
    let (mut log, _) = opened(&disk, &config(SEGMENT_BYTES));
    let mut random = fastrand::Rng::with_seed(3);
    let mut records = Vec::new();
    let mut seq = 0;
    for round in 0..30 {
        let mut entries = Vec::new();
        for _ in 0..random.usize(1..4) {
            let datas: Vec<Vec<u8>> = (0..random.usize(1..4))
                .map(|_| (0..random.usize(0..200)).map(|_| random.u8(..)).collect())
                .collect();
            records.extend(datas.iter().map(|it| (seq, Bytes::from(it.clone()))));
            let datas: Vec<&[u8]> = datas.iter().map(Vec::as_slice).collect();
            entries.push(entry("note", &datas));
            seq += 1;
        }
        log.write(&entries).unwrap();
        if round == 10 {
            log.checkpoint(seq - 1, &Bytes::from_static(b"known").into())
                .unwrap();
        }
    }
    (disk.files(), records)
}

/// Opens what was damaged and reads all of it.
fn judge(files: &Files, records: &[(u64, Bytes)], name: &str, what: &str) -> Seen {
    let disk = TestDisk::holding(files);
    let opened = open(
        disk.shared(),
        config(SEGMENT_BYTES),
        Box::new(|| 1),
        &mut drop,
    );
    let log = match opened {
        Ok(log) => log,
        Err(OpenError::Mixed | OpenError::Version(_) | OpenError::Unreadable) => {
            return Seen::Refused;
        }
        Err(other) => panic!("{what}: {other}"),
    };
    let mut reader = log.reader();
    let (mut at, end) = reader.range();
    let mut missing: Vec<u64> = (0..at).collect();
    let mut is_cut = false;
    while at < end {
        match reader.fetch(Start::Offset(at), 10, 10_000) {
            Ok(fetched) => {
                for record in fetched.records {
                    assert_eq!(
                        record.data, records[at as usize].1,
                        "{what}: wrong bytes at {at}"
                    );
                    at += 1;
                }
            }
            Err(StoreFault::Damaged(from, next)) => {
                assert!(from == at && next > at, "{what}");
                missing.extend(from..next);
                at = next;
            }
            Err(other) => panic!("{what}: {other}"),
        }
    }
    if end < records.len() as u64 {
        missing.extend(end..records.len() as u64);
        is_cut = true;
    }
    reader.verify().expect(what);
    if !missing.is_empty() {
        assert_ne!(
            log.health(),
            Health::Good,
            "{what}: {missing:?} and nobody knows"
        );
    }
    if name.ends_with(".seg") {
        assert_ne!(log.health(), Health::Good, "{what}: nobody knows");
    }
    let mut batches: Vec<u64> = missing.iter().map(|it| records[*it as usize].0).collect();
    batches.dedup();
    Seen::Read {
        batches: batches.len(),
        is_cut,
    }
}

enum Seen {
    Refused,
    Read { batches: usize, is_cut: bool },
}

#[test]
fn flipped_bits_are_noticed_and_cost_one_batch() {
    let rounds: usize = std::env::var("ZMQNET_FLIPS").map_or(3_000, |it| it.parse().unwrap());
    let (files, records) = made();
    let names: Vec<&String> = files.keys().collect();
    let mut random = fastrand::Rng::with_seed(11);
    let (mut refused, mut lost) = (0, 0);
    for round in 0..rounds {
        let name = names[random.usize(..names.len())];
        let mut files = files.clone();
        let bytes = files.get_mut(name).unwrap();
        let bit = random.usize(..bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        let what = format!("round {round}: bit {bit} of {name}");
        match judge(&files, &records, name, &what) {
            Seen::Refused => refused += 1,
            Seen::Read { batches, .. } => {
                assert!(batches <= 1, "{what}: {batches} batches are lost");
                lost += batches;
            }
        }
    }
    assert!(refused <= rounds / 100, "{refused} were not opened at all");
    assert!(lost > rounds / 4, "only {lost} were hit");
}

#[test]
fn a_file_that_ends_early_is_noticed_and_nothing_wrong_is_served() {
    let rounds: usize = std::env::var("ZMQNET_FLIPS").map_or(1_000, |it| it.parse().unwrap());
    let (files, records) = made();
    let names: Vec<&String> = files.keys().collect();
    let mut random = fastrand::Rng::with_seed(13);
    let mut cuts = 0;
    for round in 0..rounds {
        let name = names[random.usize(..names.len())];
        let mut files = files.clone();
        let bytes = files.get_mut(name).unwrap();
        bytes.truncate(random.usize(..bytes.len()));
        let what = format!("round {round}: {name} ends after {}", bytes.len());
        if let Seen::Read { is_cut, .. } = judge(&files, &records, name, &what) {
            cuts += usize::from(is_cut);
        }
    }
    assert!(cuts > 0, "the last segment was among them");
}

#[test]
fn what_is_damaged_is_read_around_and_never_written_to() {
    let (mut files, records) = made();
    let first = files.keys().find(|it| it.ends_with(".seg")).unwrap();
    let first = first.clone();
    files.get_mut(&first).unwrap()[64 + 60] ^= 1;
    let disk = TestDisk::holding(&files);
    let (mut log, _) = opened(&disk, &config(SEGMENT_BYTES));
    // Its index is well, so that nothing is wrong until somebody looks.
    let damaged = log.reader().fetch(Start::Offset(0), 1, 1);
    let Err(StoreFault::Damaged(0, next)) = damaged else {
        panic!("{damaged:?}");
    };
    let after = log.reader().fetch(Start::Offset(next), 1, 1).unwrap();
    assert_eq!(after.records[0].data, records[next as usize].1);
    let refused = log.write(&[entry("", &[b"x"])]);
    assert!(
        matches!(refused, Err(StoreFault::ReadOnly(_))),
        "{refused:?}"
    );
    let verified = log.reader().verify().unwrap();
    assert_eq!(verified.damaged, [(0, next)]);
    assert_eq!(verified.records + next, records.len() as u64);
}

#[test]
fn a_log_of_which_nothing_can_be_read_is_not_begun_anew() {
    let (files, _) = made();
    let opened = |keep: &str| {
        let mut files = files.clone();
        files.retain(|name, _| name == keep);
        if let Some(segment) = files.get_mut("00000000000000000000.seg") {
            segment.truncate(20);
        }
        let disk = TestDisk::holding(&files);
        let opened = open(disk.shared(), config(1), Box::new(|| 1), &mut drop);
        assert_eq!(disk.files().len(), files.len(), "nothing is added");
        matches!(opened, Err(OpenError::Unreadable))
    };
    assert!(opened("00000000000000000000.seg"));
    assert!(opened("checkpoint"));
}

#[test]
fn another_logs_segment_and_a_newer_format_are_refused() {
    let (mut files, _) = made();
    let last = files
        .keys()
        .rfind(|it| it.ends_with(".seg"))
        .unwrap()
        .clone();
    let header = files.get_mut(&last).unwrap();
    header[8] = 2;
    let crc = crc32c::crc32c(&header[..60]);
    header[60..64].copy_from_slice(&crc.to_le_bytes());
    let disk = TestDisk::holding(&files);
    let opened = open(disk.shared(), config(1), Box::new(|| 1), &mut drop);
    assert!(matches!(opened, Err(OpenError::Version(2))));
    let header = files.get_mut(&last).unwrap();
    (header[8], header[16]) = (1, header[16] ^ 1);
    let crc = crc32c::crc32c(&header[..60]);
    header[60..64].copy_from_slice(&crc.to_le_bytes());
    let disk = TestDisk::holding(&files);
    let opened = open(disk.shared(), config(1), Box::new(|| 1), &mut drop);
    assert!(matches!(opened, Err(OpenError::Mixed)));
}

/// Some flipped bit or early end in a file; nothing where that is what the file was.
fn harmed(files: &Files, random: &mut fastrand::Rng) -> Option<(Files, String, String)> {
    let names: Vec<&String> = files.keys().filter(|name| *name != "torn").collect();
    let name = names[random.usize(..names.len())].clone();
    let mut files = files.clone();
    let bytes = files.get_mut(&name)?;
    // How long the mark is says nothing: it may be older than all there is.
    let what = if random.u32(..4) == 0 && name != "synced" {
        let length = random.usize(..bytes.len());
        bytes.truncate(length);
        format!("{name} ends at {length}")
    } else {
        let (at, bit) = (random.usize(..bytes.len()), random.u8(..8));
        bytes[at] ^= 1 << bit;
        format!("{name}: bit {bit} of byte {at} flipped")
    };
    Some((files, name, what))
}

#[test]
fn who_reads_every_byte_notices_each_flipped_bit_and_names_the_batch() {
    let (files, records) = made();
    let whole = audit(&*TestDisk::holding(&files).shared()).unwrap();
    assert!(whole.is_good(), "{:?}", whole.faults);
    assert_eq!(whole.records, records.len() as u64);
    assert!(whole.segments > 3);
    let tries = std::env::var("ZMQNET_FLIPS").map_or(3_000, |it| it.parse().unwrap());
    let mut random = fastrand::Rng::with_seed(11);
    for _ in 0..tries {
        let Some((files, name, what)) = harmed(&files, &mut random) else {
            continue;
        };
        let found = audit(&*TestDisk::holding(&files).shared()).unwrap();
        assert!(!found.is_good(), "{what}: nobody knows");
        assert!(
            found.faults.iter().any(|fault| fault.file == name) || what.contains("ends at"),
            "{what}: {:?}",
            found.faults
        );
        for (from, next) in found.faults.iter().filter_map(|fault| fault.offsets) {
            let mut batches: Vec<u64> = (from..next).map(|it| records[it as usize].0).collect();
            batches.dedup();
            assert!(
                batches.len() <= 1 || what.contains("ends at"),
                "{what}: {from} to {next}"
            );
        }
    }
}

#[test]
fn what_a_writer_has_under_way_is_no_damage() {
    let (mut files, records) = made();
    let last = files
        .keys()
        .rfind(|name| name.ends_with(".seg"))
        .unwrap()
        .clone();
    let next = files[&last].clone();
    // The first half of a batch that is being written.
    let half = next[64..next.len().min(64 + 80)].to_vec();
    files.get_mut(&last).unwrap().extend_from_slice(&half[..60]);
    let found = audit(&*TestDisk::holding(&files).shared()).unwrap();
    assert!(found.is_good(), "{:?}", found.faults);
    assert_eq!(
        (found.records, found.unfinished_bytes),
        (records.len() as u64, 60)
    );
}
