//! The map of the house.
//!
//! ```text
//! text -scan-> Tree -validate-> Manifest -resolve-> Topology -check-> Topology -make-> Plan
//!                                                                                       |- run
//! everything left of Plan, and Plan, is pure                                            |- diff
//! ```
//!
//! Floors import downward only, siblings never; `tests/it/tidy.rs` reads the imports and enforces it.
//!
//! | floor | what | what it must never do |
//! |---|---|---|
//! | 0 | [`model`]: names, endpoints, socket types, policies, limits, quantities | import another floor |
//! | 1 | [`source`]: text to a tree of values with spans | know what a manifest means |
//! | 2 | [`diagnostics`]: what is wrong, rendered for people and for machines; [`protocol`]: bytes on the wire, within limits | read a file, open a socket |
//! | 3 | [`roles`]: one file a role, a row in `ROLES`, state machines without sockets | know the time |
//! | 4 | [`manifest`]: what a user may write; [`wire`]: the only door to the network; [`disk`]: the only door to files that must survive | decide (manifest); be bypassed (wire, disk) |
//! | 5 | `schema`: generate and validate; `topology`: resolve and check | touch the machine |
//! | 6 | [`plan`]: the narrow waist, order, diff; [`lifecycle`]: the supervised child as a pure machine | choose anything later |
//! | 7 | [`compile`]: the pipeline on one screen; [`run`]: keeper, supervisor, roles; [`client`] | decide what the compiler should have |
//! | 8 | `cli`: one file a command | print anywhere but in `cli/ui.rs` |

pub mod cli;
pub mod client;
pub mod compile;
pub mod diagnostics;
pub mod disk;
pub mod lifecycle;
pub mod manifest;
pub mod model;
pub mod plan;
pub mod protocol;
pub mod roles;
pub mod run;
pub mod schema;
pub mod source;
pub mod topology;
pub mod wire;
