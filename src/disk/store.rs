//! A log with its two threads: one writes, one reads, and whoever owns the store is told what came of
//! it. No call here waits for a disk.
//!
//! What comes while a group is being synced is the next group; an idle log syncs at once. There is no
//! timer. On the way out, what was asked is finished first: dropping a store waits for its threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;
use tokio::sync::mpsc;

use crate::model::limits::store::{
    GROUP_BYTES_MAX, GROUP_ENTRIES_MAX, MEMORY_BYTES_MAX, READS_MAX, SEGMENT_BYTES,
    SEGMENT_BYTES_MIN, WAITING_MAX,
};
use crate::model::store::{Ask, Durability, Entry, Rope, Start, StoreConfig, StoreFault, Told};

use super::batch::{bytes_of, fits};
use super::files::{Files, RealFiles};
use super::log::{Log, LogConfig};
use super::memory::MemoryFiles;
use super::reader::Reader;
use super::recover::{self, OpenError};
use super::view::Health;

/// How often an idle log looks for what is too old.
const RETAIN_EVERY: Duration = Duration::from_secs(10);

/// What the writer is asked.
enum Write {
    Store(u64, Entry),
    Checkpoint(u64, Rope),
    Trim(u64),
}

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
}

#[derive(Default)]
struct Counted {
    groups: AtomicU64,
    entries: AtomicU64,
    bytes: AtomicU64,
    group_us_last: AtomicU64,
    group_us_max: AtomicU64,
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

fn log_config(told: &StoreConfig) -> LogConfig {
    let nanos = |ms: u64| ms.saturating_mul(1_000_000);
    let is_memory = told.durability == Durability::Memory;
    let retain_bytes = match (told.retain_bytes, told.bytes_max) {
        // What only memory has must have a bound.
        (None, None) if is_memory => Some(MEMORY_BYTES_MAX),
        (retain, _) => retain,
    };
    let part = |all: u64| (all / 8).clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES);
    LogConfig {
        syncs: told.durability == Durability::Fsync,
        retain_ns: told.retain_ms.map(nanos),
        retain_bytes,
        bytes_max: told.bytes_max,
        segment_bytes: retain_bytes.map_or(SEGMENT_BYTES, part),
    }
}

fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_nanos()).unwrap_or(u64::MAX)
}

/// The directory that a store is kept in.
fn files(told: &StoreConfig) -> Result<Arc<dyn Files>, OpenError> {
    if told.durability == Durability::Memory {
        return Ok(Arc::new(MemoryFiles::default()));
    }
    let opened = RealFiles::open(&told.path);
    let files = opened.map_err(|error| OpenError::System("opening the directory", error))?;
    Ok(super::dying::wrapped(files))
}

impl Store {
    /// Opens a store, and tells what its role has to know first.
    pub fn open(told: &StoreConfig, tell: &mut dyn FnMut(Told)) -> Result<Self, OpenError> {
        let log = recover::open(files(told)?, log_config(told), Box::new(now_ns), tell)?;
        let (writes, write_jobs) = sync_channel(WAITING_MAX);
        let (reads, read_jobs) = sync_channel(READS_MAX);
        // As many answers as there can be questions, so that no thread waits for its owner.
        let (say, heard) = mpsc::channel(WAITING_MAX + READS_MAX);
        let counted = Arc::new(Counted::default());
        let shown = log.reader();
        let reader = log.reader();
        let writer = Writer {
            log,
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
        })
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

/// The writer's thread.
struct Writer {
    log: Log,
    jobs: Receiver<Write>,
    say: mpsc::Sender<Vec<Told>>,
    counted: Arc<Counted>,
}

impl Writer {
    fn run(mut self) {
        let mut next = None;
        let mut looked = Instant::now();
        loop {
            let job = match next
                .take()
                .map_or_else(|| self.jobs.recv_timeout(RETAIN_EVERY), Ok)
            {
                Ok(job) => Some(job),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let mut told = Vec::new();
            match job {
                Some(Write::Store(ticket, entry)) => {
                    next = self.group((ticket, entry), &mut told);
                    if self.log.is_checkpoint_due() {
                        told.push(Told::CheckpointDue);
                    }
                    if self.log.has_rolled() {
                        self.retain(&mut told);
                    }
                }
                Some(Write::Checkpoint(through, data)) => {
                    let result = self.log.checkpoint(through, &data);
                    told.push(Told::Checkpointed { through, result });
                    self.retain(&mut told);
                }
                Some(Write::Trim(before)) => {
                    let is_kept = self.log.trim(before);
                    told.extend(is_kept.then_some(Told::CheckpointDue));
                }
                None => {}
            }
            if looked.elapsed() >= RETAIN_EVERY {
                looked = Instant::now();
                self.retain(&mut told);
            }
            if !told.is_empty() {
                // Where nobody hears, what was asked is done all the same.
                self.say.blocking_send(told).ok();
            }
        }
    }

    fn retain(&mut self, told: &mut Vec<Told>) {
        if self.log.retain() && !told.contains(&Told::CheckpointDue) {
            told.push(Told::CheckpointDue);
        }
    }

    /// Stores an entry and what came since. Gives what came and is no entry.
    fn group(&mut self, first: (u64, Entry), told: &mut Vec<Told>) -> Option<Write> {
        let mut bytes = bytes_of(&first.1);
        let mut tickets = vec![first.0];
        let mut entries = vec![first.1];
        let mut next = None;
        while entries.len() < GROUP_ENTRIES_MAX && bytes < GROUP_BYTES_MAX {
            match self.jobs.try_recv() {
                Ok(Write::Store(ticket, entry)) => {
                    bytes += bytes_of(&entry);
                    tickets.push(ticket);
                    entries.push(entry);
                }
                Ok(other) => {
                    next = Some(other);
                    break;
                }
                Err(_) => break,
            }
        }
        let began = Instant::now();
        let written = self.log.write(&entries);
        self.count(bytes, entries.len(), began.elapsed());
        match written {
            Ok(stored) => {
                let each = tickets.into_iter().zip(stored);
                told.extend(each.map(|(ticket, stored)| Told::Stored {
                    ticket,
                    result: Ok(stored),
                }));
            }
            Err(fault) => told.extend(tickets.into_iter().map(|ticket| Told::Stored {
                ticket,
                result: Err(fault.clone()),
            })),
        }
        next
    }

    fn count(&self, bytes: usize, entries: usize, took: Duration) {
        let counted = &self.counted;
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        counted.groups.fetch_add(1, Ordering::Relaxed);
        counted.entries.fetch_add(entries as u64, Ordering::Relaxed);
        counted.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        counted.group_us_last.store(us, Ordering::Relaxed);
        counted.group_us_max.fetch_max(us, Ordering::Relaxed);
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
