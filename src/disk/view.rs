//! What the writer of a log shows its readers: which segments there are, how far they may be read,
//! and whether the log is well. The writer alone changes it.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::model::store::StoreFault;

use super::files::{File, Files};
use super::index::{End, Index};
use super::segment::Header;

/// A segment that nothing is added to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sealed {
    pub(super) header: Header,
    pub(super) end: End,
}

/// The segment that is written.
pub(super) struct Active {
    pub(super) header: Header,
    pub(super) file: Arc<dyn File>,
    pub(super) index: Mutex<Index>,
    /// Up to where it may be read: what is synced, where syncing is promised.
    pub(super) readable: AtomicU64,
}

/// Which segments there are at a moment.
#[derive(Clone)]
pub(super) struct View {
    /// Oldest first.
    pub(super) sealed: Arc<[Sealed]>,
    pub(super) active: Arc<Active>,
    /// The oldest offset.
    pub(super) start: u64,
    /// The offset after the newest that may be read.
    pub(super) end: u64,
}

/// Whether anything can be added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It is well.
    Good,
    /// Something is damaged: it is read and not written.
    ReadOnly(String),
    /// The disk failed: only a restart tells what it kept.
    Failed(String),
}

/// What the writer and the readers of a log share.
pub(super) struct Shared {
    pub(super) files: Arc<dyn Files>,
    /// The number of the log.
    pub(super) log: u64,
    view: Mutex<View>,
    health: Mutex<Health>,
}

/// A lock whose holder cannot have left it half changed.
pub(super) fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(files: Arc<dyn Files>, log: u64, view: View, health: Health) -> Self {
        Self {
            files,
            log,
            view: Mutex::new(view),
            health: Mutex::new(health),
        }
    }

    pub(super) fn view(&self) -> View {
        held(&self.view).clone()
    }

    pub(super) fn show(&self, change: impl FnOnce(&mut View)) {
        change(&mut held(&self.view));
    }

    pub(super) fn health(&self) -> Health {
        held(&self.health).clone()
    }

    /// Says that it is not well; what was worse stays.
    pub(super) fn worsen(&self, health: Health) {
        let mut now = held(&self.health);
        match (&*now, &health) {
            (Health::Failed(_), _) | (Health::ReadOnly(_), Health::ReadOnly(_)) => {}
            (Health::Good | Health::ReadOnly(_), _) => *now = health,
        }
    }

    /// Why nothing can be added, if nothing can.
    pub(super) fn refusal(&self) -> Option<StoreFault> {
        match &*held(&self.health) {
            Health::Good => None,
            Health::ReadOnly(why) => Some(StoreFault::ReadOnly(why.clone())),
            Health::Failed(why) => Some(StoreFault::Failed(why.clone())),
        }
    }
}

impl Active {
    pub(super) fn readable(&self) -> u64 {
        self.readable.load(Ordering::Acquire)
    }

    pub(super) fn release(&self, to: u64) {
        self.readable.store(to, Ordering::Release);
    }
}

/// What a failed operation on files means for who asked.
pub(super) fn fault(what: &str, error: &io::Error) -> StoreFault {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreFault::NoSpace,
        _ => StoreFault::Failed(format!("{what}: {error}")),
    }
}
