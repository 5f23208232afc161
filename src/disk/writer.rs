//! The thread that writes a log: groups are stored, checkpoints kept, what is too old removed, one
//! after the other; a large checkpoint is written beside.
//!
//! Where it is asked nothing any more, it finishes what it was asked and ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::model::limits::store::{GROUP_BYTES_MAX, GROUP_ENTRIES_MAX};
use crate::model::store::{Entry, Rope, StoreFault, Told};

use super::batch::bytes_of;
use super::clock::Latest;
use super::log::{Log, write_checkpoint};

/// How often an idle log looks for what is too old, and says what time it is.
const RETAIN_EVERY: Duration = Duration::from_secs(10);

/// How often it is looked whether a large checkpoint is written.
const CHECKPOINT_LOOK: Duration = Duration::from_millis(20);
/// A checkpoint that is larger is written by a thread of its own, so that no group waits for it.
const CHECKPOINT_BESIDE_BYTES: usize = 1024 * 1024;

/// What the writer is asked.
pub(super) enum Write {
    Store(u64, Entry),
    Checkpoint(u64, Rope),
    Trim(u64),
    Begin(u64, u64),
}

/// What it has done since it was opened.
#[derive(Default)]
pub(super) struct Counted {
    pub(super) groups: AtomicU64,
    pub(super) entries: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) group_us_last: AtomicU64,
    pub(super) group_us_max: AtomicU64,
}

/// The writer's thread.
pub(super) struct Writer {
    pub(super) log: Log,
    pub(super) latest: Latest,
    /// A checkpoint that is being written, where it is large.
    pub(super) beside: Option<Beside>,
    pub(super) jobs: Receiver<Write>,
    pub(super) say: mpsc::Sender<Vec<Told>>,
    pub(super) counted: Arc<Counted>,
}

/// A checkpoint that a thread of its own writes.
pub(super) struct Beside {
    through: u64,
    bytes: u64,
    thread: JoinHandle<Result<(), StoreFault>>,
}

impl Writer {
    /// What comes next: nothing, where it is time to look at what is beside.
    fn next(&self) -> Result<Write, RecvTimeoutError> {
        self.jobs.recv_timeout(match &self.beside {
            Some(_) => CHECKPOINT_LOOK,
            None => RETAIN_EVERY,
        })
    }

    pub(super) fn run(mut self) {
        let mut next = None;
        let mut looked = Instant::now();
        loop {
            let mut told = Vec::new();
            let job = match next.take().map_or_else(|| self.next(), Ok) {
                Ok(job) => Some(job),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => {
                    self.finish_checkpoint(&mut told);
                    return self.latest.put(self.log.now_ns());
                }
            };
            if self
                .beside
                .as_ref()
                .is_some_and(|it| it.thread.is_finished())
            {
                self.finish_checkpoint(&mut told);
            }
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
                    // There is one at a time.
                    self.finish_checkpoint(&mut told);
                    self.checkpoint(through, data, &mut told);
                }
                Some(Write::Begin(ticket, offset)) => {
                    let result = self.log.begin_at(offset);
                    told.push(Told::Stored { ticket, result });
                }
                Some(Write::Trim(before)) => {
                    let is_kept = self.log.trim(before);
                    told.extend(is_kept.then_some(Told::CheckpointDue));
                }
                None => {}
            }
            if looked.elapsed() >= RETAIN_EVERY {
                looked = Instant::now();
                self.latest.put(self.log.now_ns());
                self.retain(&mut told);
            }
            if !told.is_empty() {
                // Where nobody hears, what was asked is done all the same.
                self.say.blocking_send(told).ok();
            }
        }
    }

    /// Keeps what a role knows: at once, or beside what is stored meanwhile.
    fn checkpoint(&mut self, through: u64, data: Rope, told: &mut Vec<Told>) {
        let bytes = data.len();
        if let Err(fault) = self.log.begin_checkpoint(&data) {
            return self.checkpointed(through, bytes as u64, Err(fault), told);
        }
        let (files, log) = self.log.files();
        let write = move || write_checkpoint(&*files, log, through, &data);
        if bytes < CHECKPOINT_BESIDE_BYTES {
            return self.checkpointed(through, bytes as u64, write(), told);
        }
        let thread = std::thread::Builder::new().name("log-checkpoint".to_owned());
        match thread.spawn(write) {
            Ok(thread) => {
                self.beside = Some(Beside {
                    through,
                    bytes: bytes as u64,
                    thread,
                });
            }
            Err(error) => {
                let fault = StoreFault::Failed(format!("starting a thread: {error}"));
                self.checkpointed(through, bytes as u64, Err(fault), told);
            }
        }
    }

    /// Waits for a checkpoint that is written beside, where one is.
    fn finish_checkpoint(&mut self, told: &mut Vec<Told>) {
        if let Some(beside) = self.beside.take() {
            let ended = beside.thread.join();
            let died = || StoreFault::Failed("its thread has ended".to_owned());
            let result = ended.unwrap_or_else(|_| Err(died()));
            self.checkpointed(beside.through, beside.bytes, result, told);
        }
    }

    fn checkpointed(
        &mut self,
        through: u64,
        bytes: u64,
        result: Result<(), StoreFault>,
        told: &mut Vec<Told>,
    ) {
        if result.is_ok() {
            self.log.end_checkpoint(through, bytes);
        }
        told.push(Told::Checkpointed { through, result });
        self.retain(told);
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
        let bytes_max = GROUP_BYTES_MAX.min(self.log.segment_bytes());
        while entries.len() < GROUP_ENTRIES_MAX && bytes < bytes_max {
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
