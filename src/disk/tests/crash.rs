//! A history is cut at each of its operations, and for each cut the disk holds each of what it may.
//! Exhaustive where there are few possibilities, drawn where there are many.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{all, config, entry, opened};
use crate::disk::Health;
use crate::disk::testing::{Cut, Op, TestDisk};
use crate::model::store::Told;

/// What was done, and what was acknowledged after so many operations.
struct History {
    ops: Vec<Op>,
    /// After so many operations: all records up to before this offset, and batches before this one.
    acked: Vec<(usize, u64, u64)>,
    /// Every record that was ever written, by its offset.
    records: Vec<Bytes>,
    /// After so many operations: the oldest offset that must be there.
    starts: Vec<(usize, u64)>,
}

/// Groups of entries over several segments, with checkpoints and segments that are removed.
fn history(groups: &[&[usize]], segment_bytes: u64) -> History {
    let disk = TestDisk::default();
    let (mut log, _) = opened(&disk, &config(segment_bytes));
    let (mut acked, mut records, mut starts) = (vec![(0, 0, 0)], Vec::new(), vec![(0, 0)]);
    let (mut offset, mut seq) = (0_u64, 0_u64);
    for (round, group) in groups.iter().enumerate() {
        let entries: Vec<_> = group
            .iter()
            .map(|size| {
                let data = vec![b'a' + (records.len() % 26) as u8; *size];
                records.push(Bytes::from(data.clone()));
                offset += 1;
                seq += 1;
                entry(&format!("{}", seq - 1), &[&data])
            })
            .collect();
        log.write(&entries).unwrap();
        acked.push((disk.ops().len(), offset, seq));
        if round % 3 == 2 {
            log.checkpoint(seq - 1, &Bytes::from(seq.to_string()).into())
                .unwrap();
            // What is to go may be gone from its first removal on.
            let before = disk.ops().len();
            log.trim(offset.saturating_sub(2));
            let (start, _) = log.reader().range();
            starts.push((before, start));
        }
    }
    History {
        ops: disk.ops(),
        acked,
        records,
        starts,
    }
}

impl History {
    /// What must hold of a disk after a cut.
    fn check(&self, cut: usize, files: &BTreeMap<String, Vec<u8>>, segment_bytes: u64, what: &str) {
        let acked = self.acked.iter().rfind(|(ops, ..)| *ops <= cut).unwrap();
        let start_max = self.starts.iter().rfind(|(ops, _)| *ops <= cut).unwrap().1;
        let disk = TestDisk::holding(files);
        let (mut log, told) = opened(&disk, &config(segment_bytes));
        assert_eq!(log.health(), Health::Good, "{what}");
        let (start, end) = log.reader().range();
        assert!(
            start <= start_max,
            "{what}: begins at {start} of {start_max}"
        );
        assert!(end >= acked.1, "{what}: {end} of {} acknowledged", acked.1);
        let (found, damaged) = all(&mut log.reader());
        assert!(damaged.is_empty(), "{what}: {damaged:?}");
        for (offset, data) in &found {
            assert_eq!(*data, self.records[*offset as usize], "{what}: at {offset}");
        }
        // Every batch is known, by the checkpoint or by its note, once and in order.
        let mut known = 0;
        for told in told {
            match told {
                Told::Restored(data) => {
                    known = std::str::from_utf8(&data).unwrap().parse().unwrap();
                }
                Told::Replayed(batch) => {
                    assert_eq!(batch.seq, known, "{what}");
                    assert_eq!(batch.note, known.to_string(), "{what}");
                    known += 1;
                }
                _ => {}
            }
        }
        assert!(known >= acked.2, "{what}: {known} of {} batches", acked.2);
        // It goes on, and after another start all of it is there.
        let next = log.write(&[entry("next", &[b"next"])]).expect(what);
        assert_eq!(next[0].first_offset, end, "{what}");
        drop(log);
        let (log, _) = opened(&disk, &config(segment_bytes));
        let (again, _) = all(&mut log.reader());
        assert_eq!(again.len(), found.len() + 1, "{what}");
        assert_eq!(again[&end], "next", "{what}");
    }

    /// All possibilities of a cut, or as many as a bound says. Gives how many there were.
    fn exhaust(&self, cut: usize, sector: u64, segment_bytes: u64, most: usize) -> usize {
        let mut chosen: Vec<(usize, usize)> = Vec::new();
        for count in 1..=most {
            let mut place = 0;
            let mut choose = |bound: usize| {
                if place == chosen.len() {
                    chosen.push((0, bound));
                }
                place += 1;
                chosen[place - 1].0
            };
            let ops = &self.ops[..cut];
            let choose = &mut choose;
            let files = Cut {
                ops,
                choose,
                sector,
            }
            .disk();
            let what = format!("cut after {cut} at {sector}, {chosen:?}");
            self.check(cut, &files, segment_bytes, &what);
            // The next one: the last choice that can be another is.
            while chosen
                .last()
                .is_some_and(|(chosen, bound)| chosen + 1 == *bound)
            {
                chosen.pop();
            }
            match chosen.last_mut() {
                Some((chosen, _)) => *chosen += 1,
                None => return count,
            }
        }
        most
    }
}

#[test]
fn a_power_cut_loses_nothing_that_was_acknowledged_in_small_histories() {
    let groups: &[&[usize]] = &[
        &[10],
        &[300, 20, 200],
        &[],
        &[5],
        &[900],
        &[30, 30],
        &[1, 2, 3],
    ];
    let segment_bytes = 1_200;
    let history = history(groups, segment_bytes);
    let mut states = 0;
    for cut in 0..=history.ops.len() {
        for sector in [512, 4_096] {
            let count = history.exhaust(cut, sector, segment_bytes, 3_000);
            assert!(count < 3_000, "cut {cut} was exhausted");
            states += count;
        }
    }
    assert!(states > 500, "only {states} states");
}

#[test]
fn a_power_cut_loses_nothing_that_was_acknowledged_in_long_histories() {
    let rounds: usize = std::env::var("ZMQNET_CRASHES").map_or(40, |it| it.parse().unwrap());
    let mut random = fastrand::Rng::with_seed(7);
    for round in 0..rounds {
        let groups: Vec<Vec<usize>> = (0..random.usize(3..40))
            .map(|_| {
                (0..random.usize(1..6))
                    .map(|_| random.usize(0..3_000))
                    .collect()
            })
            .collect();
        let groups: Vec<&[usize]> = groups.iter().map(Vec::as_slice).collect();
        let segment_bytes = random.u64(500..20_000);
        let history = history(&groups, segment_bytes);
        for _ in 0..20 {
            let cut = random.usize(..=history.ops.len());
            let sector = if random.bool() { 512 } else { 4_096 };
            let mut choose = |bound: usize| random.usize(..bound);
            let files = Cut {
                ops: &history.ops[..cut],
                choose: &mut choose,
                sector,
            }
            .disk();
            let what = format!("round {round}, cut after {cut} at {sector}");
            history.check(cut, &files, segment_bytes, &what);
        }
    }
}
