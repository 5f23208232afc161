//! Rotation on real files: nothing lost, nothing twice.

use super::*;
use crate::run::logs::tail::tail;
use std::io::Write;

fn scratch(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("zn-rotate-{}-{name}", std::process::id()));
    drop(fs::remove_dir_all(&dir));
    fs::create_dir_all(&dir).unwrap();
    dir.join("a.log")
}

fn writer(log: &Path) -> File {
    File::options().append(true).create(true).open(log).unwrap()
}

fn everything(log: &Path) -> Vec<u64> {
    let lines = tail(log, usize::MAX, usize::MAX).unwrap();
    lines.iter().map(|line| line.parse().unwrap()).collect()
}

#[test]
fn a_fast_writer_loses_no_line_and_sees_none_twice() {
    const LINES: u64 = 300_000;
    let log = scratch("fast");
    let mut file = io::BufWriter::with_capacity(4096, writer(&log));
    let writing = std::thread::spawn(move || {
        for line in 0..LINES {
            writeln!(file, "{line}").unwrap();
        }
    });
    let mut rotations = 0;
    while !writing.is_finished() {
        if let Rotated::Moved(_) = rotate(&log, 100_000, 1_000).unwrap() {
            rotations += 1;
        }
    }
    writing.join().unwrap();
    assert!(rotations > 1, "{rotations}");
    assert!(everything(&log).into_iter().eq(0..LINES));
}

#[test]
fn a_death_between_copy_and_punch_is_made_good() {
    let log = scratch("death");
    let mut file = writer(&log);
    for line in 0..5_000 {
        writeln!(file, "{line}").unwrap();
    }
    let length = file.metadata().unwrap().len();
    let archive = Archive {
        epoch: 0,
        start: 0,
        end: length,
    };
    copy(&log, &File::open(&log).unwrap(), &archive).unwrap();
    writeln!(file, "5000").unwrap();
    assert!(everything(&log).into_iter().eq(0..=5_000));
    assert!(matches!(rotate(&log, 0, 9).unwrap(), Rotated::Moved(_)));
    assert!(everything(&log).into_iter().eq(0..=5_000));
    assert_eq!(rotate(&log, 0, 9).unwrap(), Rotated::Nothing);
}

#[test]
fn only_so_many_archives_are_kept_and_a_half_line_stays() {
    let log = scratch("keep");
    let mut file = writer(&log);
    for line in 0..6 {
        writeln!(file, "{line}").unwrap();
        write!(file, "half").unwrap();
        assert!(matches!(rotate(&log, 0, 2).unwrap(), Rotated::Moved(_)));
        let lines = tail(&log, usize::MAX, usize::MAX).unwrap();
        assert_eq!(lines.last().unwrap(), "half");
        writeln!(file).unwrap();
    }
    assert_eq!(archives(&log).unwrap().len(), 2);
    assert!(matches!(rotate(&log, 0, 0).unwrap(), Rotated::Moved(_)));
    assert_eq!(
        tail(&log, usize::MAX, usize::MAX).unwrap(),
        Vec::<String>::new()
    );
    writeln!(file, "new").unwrap();
    assert_eq!(tail(&log, usize::MAX, usize::MAX).unwrap(), ["new"]);
}

#[test]
fn a_log_that_was_emptied_begins_anew() {
    let log = scratch("emptied");
    let mut file = writer(&log);
    writeln!(file, "0\n1").unwrap();
    rotate(&log, 0, 5).unwrap();
    file.set_len(0).unwrap();
    writeln!(file, "2").unwrap();
    assert!(everything(&log).into_iter().eq(0..3));
    rotate(&log, 0, 5).unwrap();
    assert!(everything(&log).into_iter().eq(0..3));
}

#[test]
fn at_the_size_nothing_is_rotated_and_one_byte_over_it_is() {
    let log = scratch("size");
    let mut file = writer(&log);
    writeln!(file, "123456789").unwrap();
    assert_eq!(rotate(&log, 10, 5).unwrap(), Rotated::Nothing);
    assert!(matches!(rotate(&log, 9, 5).unwrap(), Rotated::Moved(_)));
    assert!(rotate(Path::new("/nowhere/a.log"), 0, 5).is_err());
}

#[test]
fn an_endless_line_is_cut_at_the_size_and_a_long_one_is_not() {
    let log = scratch("endless");
    let mut file = writer(&log);
    let size = 64 * 1024;
    let long = "x".repeat(3 * size as usize);
    write!(file, "{long}").unwrap();
    assert_eq!(
        rotate(&log, size, 99).unwrap(),
        Rotated::Nothing,
        "it may end yet"
    );
    writeln!(file).unwrap();
    assert!(matches!(rotate(&log, size, 99).unwrap(), Rotated::Moved(_)));
    let sizes = |log: &Path| -> Vec<u64> {
        let all = archives(log).unwrap();
        all.iter()
            .map(|archive| archive.end - archive.start)
            .collect()
    };
    assert_eq!(sizes(&log), [3 * size + 1], "it stays whole");
    let endless = "y".repeat(4 * LINE_BYTES_MAX as usize);
    write!(file, "{endless}").unwrap();
    assert!(matches!(rotate(&log, size, 9).unwrap(), Rotated::Moved(_)));
    assert_eq!(sizes(&log), [size; 9]);
    let left = file.metadata().unwrap().len() - archives(&log).unwrap().last().unwrap().end;
    assert!(left < LINE_BYTES_MAX, "{left}");
}
