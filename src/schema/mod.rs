//! Floor 5: the schema of manifests, for editors and for `check`.
//!
//! One schema decides for both: [`generate`] makes it from the manifest types and the rows of
//! `ROLES`, [`validate`] walks a tree along it and reports every fault at once. Nothing here
//! touches the machine.

pub mod branches;
mod conditions;
mod foreign;
pub mod front;
pub mod generate;
mod judge;
pub mod peers;
mod prune;
mod quantities;
mod simplify;
mod snippets;
pub mod substitute;
pub mod validate;
pub mod variables;
mod words;

#[cfg(test)]
pub(crate) mod mutation_tests;
