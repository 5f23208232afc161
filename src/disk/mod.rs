//! Floor 4: the only door to files that must survive.
//!
//! A **log** is a directory of segments: batches under a checksum, numbered and with dense offsets.
//! One thread writes it, any number read it. `docs/formats.md` has every byte, and what is promised.
//!
//! ```text
//! role --Ask--> Store ---> writer's thread: Log   (groups: written once, synced once, then shown)
//!      <-Told--        \-> reader's thread: Reader (only what is synced, checksums looked at)
//!                             both through the seam `Files`, by which a test's disk fails
//! ```
//!
//! # How a role uses it
//!
//! 1. Its `Config` has a `store: Option<StoreConfig>` ([`crate::model::store`]), and
//!    `roles::Config::store` names it. Whoever drives the role opens it before the role listens.
//! 2. First the role is told what it knew: [`Told::Restored`] (its last checkpoint), a
//!    [`Told::Replayed`] for every batch since, then [`Told::Recovered`]. All of it comes as
//!    `Event::Disk`.
//! 3. It stores by `Action::Disk(Ask::Store{ticket, entry})` and answers when [`Told::Stored`] comes
//!    back, in the order in which it asked. An entry is kept whole or not at all; its records take
//!    the next offsets; its note comes back with a replay. An entry may have no records: a note alone
//!    takes no offset. A role bounds what it has under way, and takes `StoreFault::Busy` as 429.
//! 4. It reads by `Ask::Fetch`. Only what is synced can be read.
//! 5. When [`Told::CheckpointDue`] comes, it says by `Ask::Checkpoint` what it knows of all batches up
//!    to the last it was told of. Segments are removed (`retain`, `Ask::Trim`) only when a checkpoint
//!    contains their batches.
//! 6. A fault is answered by 503: [`StoreFault`]'s `ReadOnly`, `Failed`, `NoSpace`. Reads go on.
//!
//! | file | what |
//! |---|---|
//! | `files` `memory` | the seam; a directory of this machine, a directory in memory |
//! | `batch` `segment` `index` `mark` `checkpoint` | the bytes |
//! | `kind` `clock` | whose it is; what time it is, whatever the clock is set to |
//! | `log` `view` `reader` | writing, what is shown, reading |
//! | `recover` `replay` | opening: what is whole, torn or damaged; what could not be told |
//! | `store` `writer` | the two threads |
//! | `audit` `backup` `extents` | every byte read, whole copies, while it is written; what they consist of |
//! | `dying` | a debug build that kills itself at a named step, for tests |

mod audit;
mod backup;
mod batch;
mod checkpoint;
mod clock;
mod dying;
mod extents;
mod fault;
mod files;
mod index;
mod kind;
mod log;
mod mark;
mod memory;
mod reader;
mod recover;
mod replay;
mod segment;
mod store;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod view;
mod writer;

#[cfg(doc)]
use crate::model::store::{StoreFault, Told};

pub use audit::{Audit, Fault};
pub use backup::{BackupError, backup, restore, verify};
pub use clock::began_ns;
pub use extents::{About, Extent, Extents, Said, about};
pub use fault::OpenError;
pub use files::{File, Files, RealFiles};
pub use kind::kind_of;
pub use log::{Clock, Log, LogConfig};
pub use memory::MemoryFiles;
pub use reader::{Reader, Verified};
pub use recover::open;
pub use store::{Owner, Store, StoreFacts};
pub use view::Health;
