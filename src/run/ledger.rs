//! What was started: for each instance the intent, then the process, then the end.
//!
//! A file of JSON lines that only grows, and is written anew when it is mostly history. A batch is
//! one write, so 300 starts cost 300 lines and not 300 files. It survives the death of any process;
//! it is not synced, since after a power cut nothing that it names lives. A last line cut short is
//! left out. One supervisor writes; whoever likes reads.

mod records;

pub use records::{Entries, Entry, Identity, Record, Wanted};

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::model::layout::Layout;
use crate::run::procfs;
use crate::run::tag::{NetworkId, Tag};

/// Lines that may be history before the file is written anew, beside four for each instance.
const HISTORY_LINES_MAX: usize = 1_000;

/// Why a ledger cannot be used.
#[derive(Debug)]
pub struct LedgerError {
    /// The file.
    pub path: PathBuf,
    /// What the system said.
    pub error: io::Error,
}

impl fmt::Display for LedgerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot use `{}`: {}", self.path.display(), self.error)
    }
}

impl std::error::Error for LedgerError {}

/// An open ledger. One that cannot be written, on a full disk, is kept in memory, and written whole as
/// soon as that can be done: it costs a successor knowledge, not the network its supervisor.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    file: Option<File>,
    entries: Entries,
    lines: usize,
    trouble: Option<String>,
}

impl Ledger {
    /// Opens the ledger of a network, empty where there is none yet. Fails where it cannot be read.
    pub fn open(layout: &Layout) -> Result<Self, LedgerError> {
        let path = layout.ledger_file();
        let (entries, lines) = read(&path)?;
        let mut ledger = Self {
            file: None,
            path,
            entries,
            lines,
            trouble: None,
        };
        if let Err(error) = ledger.begin() {
            ledger.trouble = Some(error.to_string());
        }
        Ok(ledger)
    }

    fn begin(&mut self) -> Result<(), LedgerError> {
        let file = create(&self.path)?;
        // Whatever a death left at the end is behind us then.
        if file.metadata().is_ok_and(|meta| meta.len() > 0) {
            return self.compact();
        }
        self.file = Some(file);
        Ok(())
    }

    /// Takes a batch into account, and writes it in one write.
    pub fn record(&mut self, records: &[Record]) -> Result<(), LedgerError> {
        for record in records {
            self.entries.apply(record.clone());
        }
        let written = self.write(records);
        self.trouble = written.as_ref().err().map(ToString::to_string);
        written
    }

    fn write(&mut self, records: &[Record]) -> Result<(), LedgerError> {
        // What could not be written before is missing in the file, and may end in half a line.
        let Some(file) = self.file.as_mut().filter(|_| self.trouble.is_none()) else {
            return self.compact();
        };
        let mut text = Vec::new();
        for record in records {
            serde_json::to_writer(&mut text, record).expect("records have only text keys");
            text.push(b'\n');
        }
        file.write_all(&text)
            .map_err(|error| failed(&self.path, error))?;
        self.lines += records.len();
        if self.lines > HISTORY_LINES_MAX + 4 * self.entries.len() {
            self.compact()?;
        }
        Ok(())
    }

    /// Why it is not written, while it is not.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// What is known of each instance.
    pub fn entries(&self) -> &Entries {
        &self.entries
    }

    /// Writes only what still counts to a new file, and puts it in place of the old one.
    fn compact(&mut self) -> Result<(), LedgerError> {
        let fresh = self.path.with_extension("new");
        let wrap = |error| failed(&fresh, error);
        drop(fs::remove_file(&fresh));
        let mut text = Vec::new();
        let records = self.entries.records();
        for record in &records {
            serde_json::to_writer(&mut text, record).expect("records have only text keys");
            text.push(b'\n');
        }
        let mut file = create(&fresh)?;
        file.write_all(&text).map_err(wrap)?;
        fs::rename(&fresh, &self.path).map_err(wrap)?;
        self.file = Some(file);
        self.lines = records.len();
        Ok(())
    }
}

fn failed(path: &Path, error: io::Error) -> LedgerError {
    LedgerError {
        path: path.to_owned(),
        error,
    }
}

fn create(path: &Path) -> Result<File, LedgerError> {
    let mut options = File::options();
    options.append(true).create(true).mode(0o600);
    options.open(path).map_err(|error| failed(path, error))
}

/// What a network's ledger says; empty where there is none.
pub fn load(layout: &Layout) -> Result<Entries, LedgerError> {
    read(&layout.ledger_file()).map(|(entries, _)| entries)
}

fn read(path: &Path) -> Result<(Entries, usize), LedgerError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(failed(path, error)),
    };
    let mut entries = Entries::default();
    let mut lines = 0;
    for line in text.split(|byte| *byte == b'\n') {
        // A line that is not understood is one cut short, or of a later version.
        if let Ok(record) = serde_json::from_slice(line) {
            entries.apply(record);
            lines += 1;
        }
    }
    Ok((entries, lines))
}

/// The living processes of a network, keeper and supervisor included: those with its tag, and those
/// that its ledger names exactly. One pass over `/proc`.
pub fn living(layout: &Layout) -> Vec<Living> {
    let network = NetworkId::of(layout);
    let entries = load(layout).unwrap_or_default();
    let boot_id = procfs::boot_id();
    let ledgered = |pid: u32, start_time: u64| {
        let (instance, entry) = entries.iter().find(|(_, entry)| {
            let process = entry.process.as_ref();
            process.is_some_and(|p| (p.pid, p.start_time) == (pid, start_time))
        })?;
        let process = entry.process.as_ref()?;
        (process.boot_id == boot_id).then(|| Tag {
            network: network.clone(),
            instance: instance.clone(),
            generation: entry.generation,
        })
    };
    let named = entries
        .iter()
        .filter_map(|(_, entry)| entry.process.as_ref());
    procfs::scan_tagged(&named.map(|process| process.pid).collect())
        .into_values()
        .filter(|seen| seen.stat.is_alive())
        .filter_map(|seen| {
            let tag = match seen.tag {
                Some(tag) => (tag.network == network).then_some(tag)?,
                None => ledgered(seen.stat.pid, seen.stat.start_time)?,
            };
            Some(Living {
                pid: seen.stat.pid,
                start_time: seen.stat.start_time,
                tag,
            })
        })
        .collect()
}

/// A living process of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Living {
    /// The process.
    pub pid: u32,
    /// When it started, in clock ticks since boot.
    pub start_time: u64,
    /// Whose it is.
    pub tag: Tag,
}

/// Whether any process of the network lives, its keeper and supervisor included.
pub fn is_running(layout: &Layout) -> bool {
    super::keeper::client::connect(layout).is_ok() || !living(layout).is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::keeper::protocol::{Ended, Status};

    fn scratch(name: &str) -> Layout {
        let state = std::env::temp_dir().join(format!("zn-ledger-{}-{name}", std::process::id()));
        drop(fs::remove_dir_all(&state));
        fs::create_dir_all(&state).unwrap();
        Layout {
            runtime: state.join("run"),
            state,
        }
    }

    fn intent(instance: &str, generation: u64) -> Record {
        Record::Intent {
            instance: instance.into(),
            generation,
            digest: "d".into(),
            restarts: 0,
            at_ms: 5,
        }
    }

    #[test]
    fn what_was_recorded_is_there_after_a_death_and_a_torn_line_is_not() {
        let layout = scratch("torn");
        let mut ledger = Ledger::open(&layout).unwrap();
        let process = Identity {
            pid: 7,
            start_time: 8,
            boot_id: "b".into(),
        };
        let spawned = Record::Spawned {
            instance: "a".into(),
            generation: 1,
            process: process.clone(),
        };
        let wanted = Record::Wanted {
            instance: "b".into(),
            wanted: Wanted::Stopped,
        };
        ledger
            .record(&[intent("a", 1), intent("b", 1), spawned, wanted])
            .unwrap();
        let mut file = File::options()
            .append(true)
            .open(layout.ledger_file())
            .unwrap();
        file.write_all(b"{\"ended\":{\"instance\":\"a\",\"gen")
            .unwrap();
        drop(ledger);
        let again = Ledger::open(&layout).unwrap();
        let a = again.entries().get(&"a".into()).unwrap();
        assert_eq!((a.process.as_ref(), a.ended), (Some(&process), None));
        let b = again.entries().get(&"b".into()).unwrap();
        assert_eq!(b.wanted, Wanted::Stopped);
        assert_eq!(load(&layout).unwrap(), *again.entries());
    }

    #[test]
    fn one_that_cannot_be_written_is_kept_in_memory_and_written_whole_later() {
        let layout = scratch("full");
        let mut ledger = Ledger::open(&layout).unwrap();
        ledger.record(&[intent("a", 1)]).unwrap();
        assert_eq!(ledger.trouble(), None);
        drop(ledger);
        // Nothing can be written beside it: a directory stands there.
        let fresh = layout.ledger_file().with_extension("new");
        fs::create_dir(&fresh).unwrap();
        let mut ledger = Ledger::open(&layout).unwrap();
        assert!(
            ledger
                .trouble()
                .is_some_and(|why| why.contains("ledger.new"))
        );
        assert!(ledger.record(&[intent("b", 1)]).is_err());
        assert_eq!(ledger.entries().len(), 2);
        assert_eq!(load(&layout).unwrap().len(), 1, "what was there stays");
        fs::remove_dir(&fresh).unwrap();
        ledger.record(&[intent("c", 1)]).unwrap();
        assert_eq!(ledger.trouble(), None);
        assert_eq!(load(&layout).unwrap(), *ledger.entries());
        assert_eq!(ledger.entries().len(), 3);
    }

    #[test]
    fn an_end_of_an_earlier_life_changes_nothing() {
        let layout = scratch("late");
        let mut ledger = Ledger::open(&layout).unwrap();
        let ended = Record::Ended {
            instance: "a".into(),
            generation: 1,
            ended: Ended {
                status: Status::Code(1),
                at_ms: 9,
            },
        };
        ledger
            .record(&[intent("a", 1), intent("a", 2), ended])
            .unwrap();
        let a = ledger.entries().get(&"a".into()).unwrap();
        assert_eq!((a.generation, a.ended), (2, None));
    }

    #[test]
    fn history_is_dropped_and_nothing_that_counts() {
        let layout = scratch("compact");
        let mut ledger = Ledger::open(&layout).unwrap();
        for generation in 1..=2 * HISTORY_LINES_MAX as u64 {
            ledger.record(&[intent("a", generation)]).unwrap();
        }
        let text = fs::read_to_string(layout.ledger_file()).unwrap();
        assert!(text.lines().count() < HISTORY_LINES_MAX + 10);
        assert_eq!(load(&layout).unwrap(), *ledger.entries());
        ledger
            .record(&[Record::Forgotten {
                instance: "a".into(),
            }])
            .unwrap();
        assert_eq!(load(&layout).unwrap().len(), 0);
    }

    #[test]
    fn a_process_that_the_ledger_names_exactly_lives_and_its_namesake_does_not() {
        let layout = scratch("living");
        let mut ledger = Ledger::open(&layout).unwrap();
        let own = procfs::stat(std::process::id()).unwrap();
        let spawned = |start_time| Record::Spawned {
            instance: "a".into(),
            generation: 1,
            process: Identity {
                pid: own.pid,
                start_time,
                boot_id: procfs::boot_id(),
            },
        };
        ledger
            .record(&[intent("a", 1), spawned(own.start_time)])
            .unwrap();
        assert_eq!(living(&layout).len(), 1);
        ledger.record(&[spawned(own.start_time + 1)]).unwrap();
        assert!(!is_running(&layout));
    }
}
