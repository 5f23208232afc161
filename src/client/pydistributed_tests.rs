use super::*;

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("zn-pyd-{name}-{}", std::process::id()));
        fs::remove_dir_all(&dir).ok();
        Self(dir)
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.0.join(name)).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

fn all(dir: &Path) -> Result<Vec<FileEvent>, FileFault> {
    let mut events = Vec::new();
    each(dir, |event| {
        events.push(event);
        Ok::<(), ()>(())
    })
    .map(|_| events)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_bytes_are_those_of_its_own_code() {
    let scratch = Scratch::new("golden");
    let mut writer = Writer::create(&scratch.0, 0, SEGMENT_BYTES_MAX).unwrap();
    for data in ["hello", "", "world!"] {
        writer.add(0x18ea_0571_bf06_1322, data.as_bytes()).unwrap();
    }
    writer.finish().unwrap();
    let golden = concat!(
        "0000000000000000221306bf7105ea180500000068656c6c6f",
        "0100000000000000221306bf7105ea1800000000",
        "0200000000000000221306bf7105ea1806000000776f726c6421",
    );
    assert_eq!(hex(&scratch.read("00000000000000000000.log")), golden);
    assert_eq!(
        hex(&scratch.read("00000000000000000000.index")),
        "00".repeat(8)
    );
    let events = all(&scratch.0).unwrap();
    let datas: Vec<&[u8]> = events.iter().map(|it| &*it.data).collect();
    assert_eq!(datas, [&b"hello"[..], b"", b"world!"]);
    assert_eq!(first(&scratch.0).unwrap(), Some(0));
    assert!(matches!(
        Writer::create(&scratch.0, 0, 1),
        Err(FileFault::NotEmpty(_))
    ));
}

#[test]
fn the_index_is_as_sparse_as_its_own() {
    let scratch = Scratch::new("index");
    let mut writer = Writer::create(&scratch.0, 0, SEGMENT_BYTES_MAX).unwrap();
    for _ in 0..100 {
        writer.add(1, &[7; 256]).unwrap();
    }
    writer.finish().unwrap();
    let index = scratch.read("00000000000000000000.index");
    let entry = |entry: &[u8]| {
        let word = |at: usize| u32::from_le_bytes(*entry[at..].first_chunk().unwrap());
        (word(0), word(4))
    };
    let entries: Vec<(u32, u32)> = index.chunks(8).map(entry).collect();
    let wanted: Vec<(u32, u32)> = (0..7).map(|it| (it * 15, it * 4_140)).collect();
    assert_eq!(entries, wanted);
}

#[test]
fn files_end_where_its_own_do() {
    let scratch = Scratch::new("roll");
    let mut writer = Writer::create(&scratch.0, 0, 1 << 20).unwrap();
    for _ in 0..5_000 {
        writer.add(1, &[7; 256]).unwrap();
    }
    writer.finish().unwrap();
    let size = |name: &str| scratch.read(name).len();
    assert_eq!(size("00000000000000000000.log"), 1_048_524);
    assert_eq!(size("00000000000000003799.log"), 331_476);
    assert_eq!(size("00000000000000000000.index"), 2_032);
    assert_eq!(size("00000000000000003799.index"), 648);
    assert_eq!(all(&scratch.0).unwrap().len(), 5_000);
}

#[test]
fn limits_hold_at_them_and_one_over() {
    let scratch = Scratch::new("limits");
    let mut writer = Writer::create(&scratch.0, 0, SEGMENT_BYTES_MAX).unwrap();
    writer.add(1, &[0; EVENT_BYTES_MAX]).unwrap();
    let over = writer.add(1, &[0; EVENT_BYTES_MAX + 1]);
    assert!(matches!(over, Err(FileFault::TooLarge { offset: 1, .. })));
    // Its own code never came back from this.
    let small = Scratch::new("small");
    let mut writer = Writer::create(&small.0, 0, 30).unwrap();
    writer.add(1, &[0; 10]).unwrap();
    assert!(matches!(
        writer.add(1, &[0; 11]),
        Err(FileFault::TooLarge { max: 10, .. })
    ));
}

#[test]
fn a_torn_end_is_left_out_and_damage_elsewhere_is_said() {
    let scratch = Scratch::new("torn");
    let mut writer = Writer::create(&scratch.0, 0, 300).unwrap();
    for number in 0..20_u8 {
        writer.add(1, &[number; 80]).unwrap();
    }
    writer.finish().unwrap();
    let cut = |name: &str, to: usize| {
        let bytes = scratch.read(name);
        fs::write(scratch.0.join(name), &bytes[..to]).unwrap();
    };
    // The last log has two records of 100 bytes.
    for (to, count) in [(199, 19), (120, 19), (101, 19), (100, 19), (5, 18), (0, 18)] {
        cut("00000000000000000018.log", to);
        assert_eq!(all(&scratch.0).unwrap().len(), count, "{to}");
    }
    cut("00000000000000000003.log", 250);
    assert!(matches!(
        all(&scratch.0),
        Err(FileFault::Damaged { at: 200, .. })
    ));
    fs::remove_file(scratch.0.join("00000000000000000003.log")).unwrap();
    assert!(matches!(
        all(&scratch.0),
        Err(FileFault::Damaged { at: 0, .. })
    ));
    let missing = all(&scratch.0.join("nowhere"));
    assert!(matches!(missing, Err(FileFault::System(..))));
}

#[test]
fn a_size_that_no_record_has_or_that_reaches_over_records_is_damage() {
    let scratch = Scratch::new("size");
    let mut writer = Writer::create(&scratch.0, 0, SEGMENT_BYTES_MAX).unwrap();
    for number in 0..20_u8 {
        writer.add(1, &[number; 80]).unwrap();
    }
    writer.finish().unwrap();
    let name = "00000000000000000000.log";
    let whole = scratch.read(name);
    let sized = |record: usize, size: u32| {
        let mut bytes = whole.clone();
        bytes[record * 100 + 16..][..4].copy_from_slice(&size.to_le_bytes());
        fs::write(scratch.0.join(name), bytes).unwrap();
        each(&scratch.0, |_| Ok::<(), ()>(()))
    };
    // A flipped high bit, one over the largest, and one that swallows all that follows.
    for (record, size) in [
        (3, 0x8000_0050),
        (3, 65_537),
        (3, 65_536),
        (18, 181),
        (19, 65_537),
    ] {
        let read = sized(record, size);
        let is_it =
            matches!(&read, Err(FileFault::Damaged { at, .. }) if *at == record as u64 * 100);
        assert!(is_it, "{record} {size}: {read:?}");
    }
    // The last one may have been larger than what was written of it.
    let torn = sized(19, 200).unwrap().unwrap().unwrap();
    assert_eq!((torn.at, torn.bytes), (1_900, 100));
    assert_eq!(sized(19, 80).unwrap().unwrap(), None);
}

#[test]
fn what_is_not_finished_is_removed() {
    let scratch = Scratch::new("unfinished");
    let mut writer = Writer::create(&scratch.0, 7, 300).unwrap();
    for _ in 0..10 {
        writer.add(1, &[1; 80]).unwrap();
    }
    assert!(fs::read_dir(&scratch.0).unwrap().count() > 4);
    drop(writer);
    assert_eq!(fs::read_dir(&scratch.0).unwrap().count(), 0);
    let mut writer = Writer::create(&scratch.0, 7, 300).unwrap();
    writer.add(1, b"again").unwrap();
    writer.finish().unwrap();
    assert_eq!(first(&scratch.0).unwrap(), Some(7));
}
