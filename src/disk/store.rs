//! A log with its two threads: one writes, one reads, and whoever owns the store is told what came of
//! it. No call here waits for a disk.
//!
//! What comes while a group is being synced is the next group; an idle log syncs at once. There is no
//! timer. On the way out, what was asked is finished first: dropping a store waits for its threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use serde::Serialize;
use tokio::sync::mpsc;

use crate::model::limits::store::{
    MEMORY_BYTES_MAX, READS_MAX, SEGMENT_BYTES, SEGMENT_BYTES_MIN, WAITING_MAX,
};
use crate::model::store::{Ask, Durability, Start, StoreConfig, StoreFault, Told};

use super::batch::fits;
use super::clock::Latest;
use super::fault::OpenError;
use super::files::{Files, RealFiles};
use super::kind;
use super::log::LogConfig;
use super::memory::MemoryFiles;
use super::reader::Reader;
use super::recover;
use super::view::Health;
use super::writer::{Counted, Write, Writer};

/// What the reader is asked.
struct Read {
    ticket: u64,
    start: Start,
    records_max: usize,
    bytes_max: usize,
}

/// An open store.
pub struct Store {
    writes: Option<SyncSender<Write>>,
    reads: Option<SyncSender<Read>>,
    told: mpsc::Receiver<Vec<Told>>,
    threads: Vec<JoinHandle<()>>,
    shown: Reader,
    counted: Arc<Counted>,
    durability: Durability,
    files: Arc<dyn Files>,
}

/// What is known of a store, for `status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoreFacts {
    /// When a write is acknowledged.
    pub durability: Durability,
    /// `good`, `read-only` or `failed`.
    pub health: &'static str,
    /// Why it is not good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The oldest offset.
    pub start_offset: u64,
    /// The offset after the newest that is synced.
    pub synced_offset: u64,
    /// Its bytes.
    pub bytes: u64,
    /// Its segments.
    pub segments: usize,
    /// Groups that were written and synced together, since it was opened.
    pub groups: u64,
    /// Entries in them.
    pub entries: u64,
    /// How long the last group took, in microseconds.
    pub group_us_last: u64,
    /// How long the slowest took, in microseconds.
    pub group_us_max: u64,
}

/// Whose store it is.
#[derive(Debug, Clone, Copy)]
pub struct Owner {
    /// The kind of node.
    pub kind: &'static str,
    /// The bytes of what it holds at most, where they are not those of the log.
    pub bytes_max: Option<u64>,
}

fn log_config(told: &StoreConfig, owner: Owner) -> LogConfig {
    let nanos = |ms: u64| ms.saturating_mul(1_000_000);
    let is_memory = told.durability == Durability::Memory;
    let retain_bytes = match (told.retain_bytes, told.bytes_max) {
        // What only memory has must have a bound.
        (None, None) if is_memory => Some(MEMORY_BYTES_MAX),
        (retain, _) => retain,
    };
    let part = |all: u64| (all / 8).clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES);
    // What is removed goes by segments: they are small where little is held.
    let held = [retain_bytes, owner.bytes_max];
    LogConfig {
        syncs: told.durability == Durability::Fsync,
        retain_ns: told.retain_ms.map(nanos),
        retain_bytes,
        bytes_max: told.bytes_max,
        segment_bytes: held.into_iter().flatten().min().map_or(SEGMENT_BYTES, part),
    }
}

/// The directory that a store is kept in, and the latest time that is known of it.
fn files(told: &StoreConfig, owner: Owner) -> Result<(Arc<dyn Files>, Latest), OpenError> {
    if told.durability == Durability::Memory {
        return Ok((Arc::new(MemoryFiles::default()), Latest::nothing()));
    }
    let opened = RealFiles::open(&told.path);
    let files = opened.map_err(|error| OpenError::System("opening the directory", error))?;
    let is = kind::read(&files);
    let is = is.map_err(|error| OpenError::System("reading whose it is", error))?;
    if let Some(is) = is.filter(|is| is != owner.kind) {
        let wanted = owner.kind;
        return Err(OpenError::Kind { is, wanted });
    }
    let latest = Latest::open(&files);
    Ok((super::dying::wrapped(files), latest))
}

impl Store {
    /// Opens a store, and tells what its role has to know first.
    pub fn open(
        told: &StoreConfig,
        owner: Owner,
        tell: &mut dyn FnMut(Told),
    ) -> Result<Self, OpenError> {
        let (files, latest) = files(told, owner)?;
        let even = latest.even();
        let clock = Box::new(move || even.now_ns());
        let log = recover::open(Arc::clone(&files), log_config(told, owner), clock, tell)?;
        latest.put(log.now_ns());
        let (writes, write_jobs) = sync_channel(WAITING_MAX);
        let (reads, read_jobs) = sync_channel(READS_MAX);
        // As many answers as there can be questions, so that no thread waits for its owner.
        let (say, heard) = mpsc::channel(WAITING_MAX + READS_MAX);
        let counted = Arc::new(Counted::default());
        let shown = log.reader();
        let reader = log.reader();
        let writer = Writer {
            log,
            latest,
            beside: None,
            jobs: write_jobs,
            say: say.clone(),
            counted: Arc::clone(&counted),
        };
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            let built = std::thread::Builder::new().name(name.to_owned());
            let started = built.spawn(work);
            started.map_err(|error| OpenError::System("starting a thread", error))
        };
        let threads = vec![
            spawn("log-writer", Box::new(move || writer.run()))?,
            spawn(
                "log-reader",
                Box::new(move || read(reader, &read_jobs, &say)),
            )?,
        ];
        Ok(Self {
            writes: Some(writes),
            reads: Some(reads),
            told: heard,
            threads,
            shown,
            counted,
            durability: told.durability,
            files,
        })
    }

    /// Says for good whose store it is, once that has found its own in it. Where that fails it is
    /// tried again at the next start.
    pub fn is_of(&self, owner: Owner) {
        if self.durability != Durability::Memory && !matches!(kind::read(&*self.files), Ok(Some(_)))
        {
            kind::write(&*self.files, owner.kind).ok();
        }
    }

    /// Asks something. What cannot be asked now is answered at once.
    pub fn ask(&self, ask: Ask) -> Option<Told> {
        let write = |write: Write| match self.writes.as_ref().map(|it| it.try_send(write)) {
            Some(Ok(())) => Ok(()),
            Some(Err(TrySendError::Full(_))) => Err(StoreFault::Busy),
            Some(Err(TrySendError::Disconnected(_))) | None => Err(ended()),
        };
        match ask {
            Ask::Store { ticket, entry } => {
                let asked = match fits(&entry) {
                    true => write(Write::Store(ticket, entry)),
                    false => Err(StoreFault::TooLarge),
                };
                let fault = asked.err()?;
                let result = Err(fault);
                Some(Told::Stored { ticket, result })
            }
            Ask::Checkpoint { through, data } => {
                let fault = write(Write::Checkpoint(through, data)).err()?;
                let result = Err(fault);
                Some(Told::Checkpointed { through, result })
            }
            Ask::Begin { ticket, offset } => {
                let result = Err(write(Write::Begin(ticket, offset)).err()?);
                Some(Told::Stored { ticket, result })
            }
            Ask::Trim { before } => {
                // A wish that is made again.
                write(Write::Trim(before)).ok();
                None
            }
            Ask::Fetch {
                ticket,
                start,
                records_max,
                bytes_max,
            } => {
                let read = Read {
                    ticket,
                    start,
                    records_max,
                    bytes_max,
                };
                let fault = match self.reads.as_ref().map(|it| it.try_send(read)) {
                    Some(Ok(())) => return None,
                    Some(Err(TrySendError::Full(_))) => StoreFault::Busy,
                    Some(Err(TrySendError::Disconnected(_))) | None => ended(),
                };
                let result = Err(fault);
                Some(Told::Fetched { ticket, result })
            }
        }
    }

    /// What there is to be told next. Cancel safe: what is not handed out stays.
    pub async fn told(&mut self) -> Vec<Told> {
        match self.told.recv().await {
            Some(told) => told,
            // Its threads are gone; what was asked since is answered by `ask`.
            None => std::future::pending().await,
        }
    }

    /// What is known of it.
    pub fn facts(&self) -> StoreFacts {
        let (health, reason) = match self.shown.health() {
            Health::Good => ("good", None),
            Health::ReadOnly(why) => ("read-only", Some(why)),
            Health::Failed(why) => ("failed", Some(why)),
        };
        let (start_offset, synced_offset) = self.shown.range();
        let (bytes, segments) = self.shown.size();
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        StoreFacts {
            durability: self.durability,
            health,
            reason,
            start_offset,
            synced_offset,
            bytes,
            segments,
            groups: of(&self.counted.groups),
            entries: of(&self.counted.entries),
            group_us_last: of(&self.counted.group_us_last),
            group_us_max: of(&self.counted.group_us_max),
        }
    }
}

fn ended() -> StoreFault {
    StoreFault::Failed("its thread has ended".to_owned())
}

impl Drop for Store {
    fn drop(&mut self) {
        drop((self.writes.take(), self.reads.take()));
        // Nobody hears any more: a thread must not wait for that.
        self.told.close();
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so.
            thread.join().ok();
        }
    }
}

/// The reader's thread.
fn read(mut reader: Reader, jobs: &Receiver<Read>, say: &mpsc::Sender<Vec<Told>>) {
    while let Ok(job) = jobs.recv() {
        let result = reader.fetch(job.start, job.records_max, job.bytes_max);
        let ticket = job.ticket;
        if say
            .blocking_send(vec![Told::Fetched { ticket, result }])
            .is_err()
        {
            return;
        }
    }
}
