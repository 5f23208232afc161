//! Floor 0: the words every other floor speaks.
//!
//! Names, endpoints, socket types, quantities, policies and limits. Nothing here reads a file, a
//! clock or the environment, and nothing here imports another floor.

pub mod endpoint;
pub mod key;
pub mod layout;
pub mod limits;
pub mod name;
pub mod policy;
pub mod quantity;
pub mod security;
pub mod socket;
pub mod store;
