//! Floor 7: running a Plan on this machine.
//!
//! Two processes run a network. The **keeper** (`keeper`) is the parent of every child: it spawns,
//! signals, waits and opens log files, and knows neither the plan nor the network. The supervisor
//! beside it decides: plan, probes, restarts. Killing either or both stops nothing: what lives is
//! found again by its tag (`tag`), its kernel start time and the ledger (`ledger`).
//!
//! ```text
//! cli --(ensure: under the lock)--> keeper --(spawns, restarts)--> supervisor
//!                                     |  ^------(frames)--------------/
//!                                     '--> children: roles and programs, each with a log file
//! ```
//!
//! Nothing here chooses what the compiler should have chosen, and no signal is ever sent to a
//! process that is not proven to be ours.

pub mod control;
pub mod facts;
pub mod gate;
pub mod keeper;
pub mod keys;
pub mod ledger;
pub mod logs;
pub mod looking;
pub mod node;
pub mod paths;
pub mod private;
pub mod procfs;
pub mod status;
pub mod supervisor;
pub mod tag;
