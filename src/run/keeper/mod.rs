//! The keeper: the only parent of a network's processes. Small, single-threaded, without network or
//! plan, and without any state that cannot be found again, so that it may be killed at any moment.
//!
//! | file | what |
//! |---|---|
//! | `protocol`, `frame` | the frozen frames between it and its clients, and their bytes |
//! | `client` | the async client of the supervisor, and a blocking one for commands |
//! | `launch` | makes sure that one keeper lives: the only place that starts one |
//! | `serve` | the process: one loop that waits for frames, ends, notices and time |
//! | `clients` | its connections, all bounded |
//! | `children` | what it started or adopted |
//! | `answer` | what it does for each verb |
//! | `start`, `fifo` | one process: files, limits, exec; a pipe in place of its log |
//! | `rotating` | when logs are rotated |
//! | `kin` | whose process is this: leader, group, tag, descendant |
//! | `adopt` | finding the living children of a keeper that died |
//! | `supervise` | keeping the supervisor alive |
//! | `notices` | the socket of the systemd notification protocol |
//! | `signals` | signals by name |

mod adopt;
mod answer;
mod children;
pub mod client;
mod clients;
mod fifo;
pub mod frame;
mod kin;
pub mod launch;
mod notices;
pub mod protocol;
mod rotating;
mod serve;
mod signals;
mod start;
mod supervise;

pub use launch::{KEEPER_ENTRY, main};
pub use signals::{signal_name, signal_of};
pub use start::{LIMITED_ENTRY, limited};

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970.
fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}

/// Writes a line to the keeper's own log, its standard error.
fn note(message: impl std::fmt::Display) {
    use std::io::Write;
    // A log that cannot be written must not end the keeper.
    drop(writeln!(std::io::stderr(), "{} {message}", now_ms()));
}
