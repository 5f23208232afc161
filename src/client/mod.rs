//! Floor 7: talking to replicas from outside: one exchange, and many in a row.
//!
//! It prints nothing and finds no endpoints: the command line does both.

pub mod asking;
pub mod bench;
pub mod bus;
pub mod call;
pub mod courier;
pub mod file_fault;
pub mod kv;
pub mod persizmq;
pub mod pydistributed;
pub mod queue;
pub mod spool;
pub mod stream;
