//! What is kept on disk, as roles speak of it: entries that are stored, records that are read, and
//! why that may fail. How it is done is `disk`'s.

use std::fmt;
use std::path::PathBuf;

use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// When a write is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Durability {
    /// Once it is on the disk: survives a power cut.
    #[default]
    Fsync,
    /// Once the kernel has it: survives a crash of the process.
    Os,
    /// Once it is in memory: survives nothing.
    Memory,
}

impl Durability {
    /// What an acknowledged write survives.
    pub fn promise(self) -> &'static str {
        match self {
            Self::Fsync => "a write that is acknowledged survives a power cut",
            Self::Os => {
                "a write that is acknowledged survives a crash of the process, not of the machine"
            }
            Self::Memory => "a write that is acknowledged survives nothing",
        }
    }
}

/// What a role is told of its store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreConfig {
    /// Its directory, absolute; nothing is there with [`Durability::Memory`].
    pub path: PathBuf,
    /// When a write is acknowledged.
    #[serde(default)]
    pub durability: Durability,
    /// What is older goes, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub retain_ms: Option<u64>,
    /// With more bytes the oldest go.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub retain_bytes: Option<u64>,
    /// With as many bytes nothing more is taken.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub bytes_max: Option<u64>,
}

impl StoreConfig {
    /// What of another configuration a store with this one cannot take while it is open.
    pub fn fixed_change(&self, next: &Self) -> Option<&'static str> {
        (self != next).then_some("its store")
    }
}

/// A record to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    /// When it happened, in nanoseconds since 1970; nothing is now.
    pub time_ns: Option<u64>,
    /// What it is.
    pub data: Bytes,
}

/// What is stored at once: all of it or nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// What its role wants to know of it again, which is no record.
    pub note: Bytes,
    /// Its records, which take the next offsets; there may be none.
    pub records: Vec<Put>,
}

/// A record that was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// When it happened, in nanoseconds since 1970.
    pub time_ns: u64,
    /// What it is.
    pub data: Bytes,
}

/// An entry as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Its number: every batch has the next one.
    pub seq: u64,
    /// The offset of its first record, or of the next one where it has none.
    pub first_offset: u64,
    /// When it was stored, in nanoseconds since 1970; never before the batch in front of it.
    pub time_ns: u64,
    /// What its role wants to know again.
    pub note: Bytes,
    /// Its records.
    pub records: Vec<Record>,
}

impl Batch {
    /// The offset after its last record.
    pub fn next_offset(&self) -> u64 {
        self.first_offset + self.records.len() as u64
    }
}

/// Bytes in parts: what is large is shared, so that a role that tells much of what it knows copies
/// little of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rope {
    parts: Vec<Bytes>,
    /// What was put since the last part.
    open: Vec<u8>,
}

/// What is smaller is copied.
const SHARED_BYTES_MIN: usize = 1_024;
/// After so many bytes that were copied a part ends.
const PART_BYTES: usize = 256 * 1_024;

impl Rope {
    /// Adds bytes.
    pub fn put(&mut self, bytes: &[u8]) {
        self.open.extend_from_slice(bytes);
        if self.open.len() >= PART_BYTES {
            self.close();
        }
    }

    /// Adds bytes that others have too.
    pub fn put_shared(&mut self, bytes: &Bytes) {
        if bytes.len() < SHARED_BYTES_MIN {
            return self.put(bytes);
        }
        self.close();
        self.parts.push(bytes.clone());
    }

    /// Adds what another has.
    pub fn append(&mut self, mut other: Self) {
        self.close();
        other.close();
        self.parts.append(&mut other.parts);
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            self.parts.push(std::mem::take(&mut self.open).into());
        }
    }

    /// How many bytes it has.
    pub fn len(&self) -> usize {
        self.parts.iter().map(Bytes::len).sum::<usize>() + self.open.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its parts, in their order.
    pub fn parts(&self) -> impl Iterator<Item = &[u8]> {
        let parts = self.parts.iter().map(|part| &part[..]);
        parts.chain(std::iter::once(&self.open[..]))
    }

    /// All of it in one piece.
    pub fn into_bytes(self) -> Bytes {
        if self.parts.is_empty() {
            return self.open.into();
        }
        let mut all = Vec::with_capacity(self.len());
        self.parts().for_each(|part| all.extend_from_slice(part));
        all.into()
    }
}

impl From<Vec<u8>> for Rope {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<Bytes> for Rope {
    fn from(bytes: Bytes) -> Self {
        Self {
            parts: vec![bytes],
            open: Vec::new(),
        }
    }
}

/// Where an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// The number of its batch.
    pub seq: u64,
    /// The offset of its first record.
    pub first_offset: u64,
    /// When it was stored, in nanoseconds since 1970.
    pub time_ns: u64,
}

/// Where reading begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At an offset.
    Offset(u64),
    /// At the first record that is not older, in nanoseconds since 1970.
    Time(u64),
}

/// Records that were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The offset of the first of them.
    pub first_offset: u64,
    /// The records, in their order and without a gap.
    pub records: Vec<Record>,
    /// The oldest offset there is.
    pub start: u64,
    /// The offset after the newest that may be read.
    pub end: u64,
}

/// Why something was not stored or read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreFault {
    /// Too much is waiting to be stored.
    Busy,
    /// More than one entry may be.
    TooLarge,
    /// Something was stored, so that it begins where it begins.
    Begun,
    /// The store holds as much as it may.
    AtMax,
    /// There is no space on the disk; what comes when there is again is stored.
    NoSpace,
    /// Something in it is damaged, so that nothing is added to it.
    ReadOnly(String),
    /// The disk failed; only a restart tells what it kept.
    Failed(String),
    /// These offsets were removed: the oldest that is left.
    Gone(u64),
    /// These offsets are damaged: from, and the first that is not.
    Damaged(u64, u64),
}

impl fmt::Display for StoreFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => f.write_str("too much is waiting to be stored"),
            Self::Begun => f.write_str("the store has begun: its offsets go on where they are"),
            Self::TooLarge => f.write_str("it is larger than what is stored at once"),
            Self::AtMax => f.write_str("the store holds as much as its `max` lets it"),
            Self::NoSpace => f.write_str("there is no space left on the disk"),
            Self::ReadOnly(why) => write!(f, "the store is read-only: {why}"),
            Self::Failed(why) => write!(f, "the disk failed, restart the node: {why}"),
            Self::Gone(start) => write!(f, "it is no longer kept; the oldest is {start}"),
            Self::Damaged(from, next) => {
                write!(f, "the records from {from} to before {next} are damaged")
            }
        }
    }
}

impl std::error::Error for StoreFault {}

/// What a role asks of its store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// Store an entry; [`Told::Stored`] follows, in the order in which it was asked.
    Store {
        /// The role's number for it.
        ticket: u64,
        /// What.
        entry: Entry,
    },
    /// Read records; [`Told::Fetched`] follows. At least one record is read where there is one.
    Fetch {
        /// The role's number for it.
        ticket: u64,
        /// Where to begin.
        start: Start,
        /// Records at most.
        records_max: usize,
        /// Bytes of them at most, but for the first.
        bytes_max: usize,
    },
    /// Keep what the role knows of all batches up to one, so that they need not be told again at
    /// the next start; [`Told::Checkpointed`] follows.
    Checkpoint {
        /// The last batch that it contains.
        through: u64,
        /// What the role knows.
        data: Rope,
    },
    /// Have a log that nothing was ever stored in begin at an offset; [`Told::Stored`] follows.
    Begin {
        /// The role's number for it.
        ticket: u64,
        /// What its first record is to have.
        offset: u64,
    },
    /// Forget records before an offset, where that frees whole segments of batches that a
    /// checkpoint contains.
    Trim {
        /// The oldest offset to keep.
        before: u64,
    },
}

/// What a store tells its role. At the start, before anything else: [`Told::Restored`] where there is
/// a checkpoint, [`Told::Replayed`] for every batch after it, [`Told::Incomplete`] where those are not
/// all that there were, and then [`Told::Recovered`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// What the role kept by its last checkpoint.
    Restored(Bytes),
    /// A batch that was stored since.
    Replayed(Batch),
    /// What was told is not all that was stored: which records are damaged or missing. Whoever makes
    /// of them what is true now does not know it.
    Incomplete(String),
    /// There is no more; the oldest offset, and the one that the next record will have.
    Recovered {
        /// The oldest offset there is.
        start: u64,
        /// The offset that the next record will have.
        end: u64,
    },
    /// What became of an entry.
    Stored {
        /// The role's number for it.
        ticket: u64,
        /// Where it is, or why not.
        result: Result<Stored, StoreFault>,
    },
    /// What was read.
    Fetched {
        /// The role's number for it.
        ticket: u64,
        /// The records, or why not.
        result: Result<Fetched, StoreFault>,
    },
    /// So much was stored since the last checkpoint that another is due.
    CheckpointDue,
    /// A checkpoint was written, or not.
    Checkpointed {
        /// The last batch that it contains.
        through: u64,
        /// Why it was not.
        result: Result<(), StoreFault>,
    },
}
