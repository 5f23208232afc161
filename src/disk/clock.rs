//! What time it is for a store: never before what it was, whatever the machine's clock is set to.
//!
//! When it is opened it is the machine's time, or the latest that the store is known to have had where
//! that is later; from there on it runs evenly. What the clock is set to while it runs moves nothing,
//! and neither does one that was set back before a start. How long a store was closed the machine's
//! clock alone can tell: one that is ahead at a start makes what is kept so much older.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use crate::model::store::{Durability, StoreConfig};

use super::batch::{u32_at, u64_at};
use super::files::{File, Files, RealFiles};

/// The name of the file with the latest time. It is written every few seconds and never synced: what
/// it says is true, and may be old.
const NAME: &str = "time";
const MAGIC: [u8; 4] = *b"ZNT1";
const BYTES: usize = 16;

/// The latest time of a store; nothing where it is not kept.
pub(super) struct Latest(Option<Arc<dyn File>>);

/// A time that runs evenly.
#[derive(Debug, Clone, Copy)]
pub(super) struct Even {
    base_ns: u64,
    since: Instant,
}

/// The machine's time, in nanoseconds since 1970.
fn machine_ns() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_nanos()).unwrap_or(u64::MAX)
}

fn decode(bytes: &[u8]) -> Option<u64> {
    let is_right = bytes.len() == BYTES
        && bytes[..4] == MAGIC
        && crc32c::crc32c(&bytes[8..]) == u32_at(bytes, 4);
    is_right.then(|| u64_at(bytes, 8))
}

fn read(file: &dyn File) -> u64 {
    let mut bytes = [0; BYTES];
    let got = file.read_at(&mut bytes, 0).unwrap_or_default();
    decode(&bytes[..got]).unwrap_or_default()
}

/// When a role that is given a store begins, in nanoseconds since 1970: by the machine's time, and
/// never before what its store knows.
pub fn began_ns(told: Option<&StoreConfig>) -> u64 {
    let kept = told.filter(|told| told.durability != Durability::Memory);
    let file = kept.and_then(|told| std::fs::File::open(told.path.join(NAME)).ok());
    machine_ns().max(file.map_or(0, |file| read(&file)))
}

impl Latest {
    /// None is kept.
    pub(super) fn nothing() -> Self {
        Self(None)
    }

    /// Opens what is kept of it.
    pub(super) fn open(files: &RealFiles) -> Self {
        Self(files.open(NAME).or_else(|_| files.create(NAME)).ok())
    }

    /// Says it anew. Where that fails, what it said before stays true.
    pub(super) fn put(&self, now_ns: u64) {
        let Some(file) = &self.0 else {
            return;
        };
        let mut bytes = [0; BYTES];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[8..].copy_from_slice(&now_ns.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[8..]);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        file.write_at(&bytes, 0).ok();
    }

    /// The time from now on.
    pub(super) fn even(&self) -> Even {
        self.even_from(machine_ns())
    }

    fn even_from(&self, machine_ns: u64) -> Even {
        let latest = self.0.as_ref().map_or(0, |file| read(&**file));
        Even {
            base_ns: machine_ns.max(latest),
            since: Instant::now(),
        }
    }
}

impl Even {
    pub(super) fn now_ns(&self) -> u64 {
        let since = u64::try_from(self.since.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.base_ns.saturating_add(since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::MemoryFiles;

    const DAY_NS: u64 = 86_400_000_000_000;

    #[test]
    fn a_time_that_was_known_is_never_gone_back_behind() {
        let files = MemoryFiles::default();
        let latest = Latest(files.create(NAME).ok());
        let now = 20_000 * DAY_NS;
        assert_eq!(latest.even_from(now).base_ns, now);
        latest.put(now);
        for (machine, base) in [(now - DAY_NS, now), (0, now), (now + DAY_NS, now + DAY_NS)] {
            let even = latest.even_from(machine);
            assert_eq!(even.base_ns, base);
            assert!(even.now_ns() >= base && even.now_ns() < base + DAY_NS);
        }
        // What is no such file says nothing.
        for harm in [4, 8, 15] {
            let file = latest.0.as_ref().unwrap();
            let mut bytes = [0; BYTES];
            file.read_at(&mut bytes, 0).unwrap();
            bytes[harm] ^= 1;
            file.write_at(&bytes, 0).unwrap();
            assert_eq!(latest.even_from(7).base_ns, 7);
            latest.put(now);
        }
        assert_eq!(Latest::nothing().even_from(7).base_ns, 7);
    }

    #[test]
    fn a_role_begins_no_earlier_than_its_store_knows() {
        let dir = std::env::temp_dir().join(format!("zn-time-{}", std::process::id()));
        let files = RealFiles::open(&dir).unwrap();
        let told = |durability| StoreConfig {
            path: dir.clone(),
            durability,
            retain_ms: None,
            retain_bytes: None,
            bytes_max: None,
        };
        let ahead = machine_ns() + DAY_NS;
        Latest::open(&files).put(ahead);
        assert_eq!(began_ns(Some(&told(Durability::Fsync))), ahead);
        assert!(began_ns(Some(&told(Durability::Memory))) < ahead);
        assert!(began_ns(None) < ahead);
        drop(std::fs::remove_dir_all(&dir));
    }
}
