//! The keeper: the only parent of a network's processes. Small, single-threaded, without network or
//! plan, and without any state that cannot be found again, so that it may be killed at any moment.
//!
//! | file | what |
//! |---|---|
//! | `protocol`, `frame` | the frozen frames between it and its clients, and their bytes |
//! | `client` | the async client of the supervisor, and a blocking one for commands |
//! | `signals` | signals by name |

pub mod client;
pub mod frame;
pub mod protocol;
mod signals;

pub use signals::{signal_name, signal_of};
