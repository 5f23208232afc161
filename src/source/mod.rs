//! Floor 1: text becomes a tree of values that know where they stand.
//!
//! YAML 1.2 and JSON are one language, read by one event parser. Nothing here knows what a
//! manifest means.

pub mod expression;
pub mod fault;
pub mod lines;
mod merge;
mod offsets;
pub mod path;
pub mod scalar;
pub mod scan;
pub mod span;
pub mod text;
pub mod tree;
