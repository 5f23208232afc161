//! The logs of instances: a file each, that only the instance writes to.
//!
//! | file | what |
//! |---|---|
//! | `archive` | the rotated parts of a log, named by the bytes they hold |
//! | `rotate` | moving whole lines from a log into an archive |
//! | `tail` | the last lines |
//! | `follow` | the lines that come |
//!
//! A log's offsets never change: rotation copies lines away and leaves a hole, so an offset is a
//! lasting cursor over the archives and the log together. Nothing here is ever between a program and
//! its file, so no reader can stop a program.

mod archive;
mod follow;
mod rotate;
mod tail;

pub use follow::{Cursor, Follower};
pub use rotate::{ROTATE_ENTRY, RotateError, Rotated, rotate, rotate_main};
pub use tail::{tail, tail_of, tail_then};
