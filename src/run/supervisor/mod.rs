//! The supervisor: the process that decides. It follows the plan, probes, restarts and answers on
//! the control socket; it holds no process and no truth but the plan, the ledger and the keeper's
//! list, so it may be killed at any moment and its successor goes on.
//!
//! | file | what |
//! |---|---|
//! | `network`, `member`, `applying` | the one owner of all state: decides, never acts |
//! | `acting`, `doing` | the loop; what was decided is done in batches, and what came of it brought back |
//! | `spawning`, `prober`, `asked`, `listening` | how a process is asked for, how a probe asks |
//! | `scaling` | how a role has a node scaled |
//! | `keys` | what programs are told of their keys, also when these change |
//! | `telling` | how a living role learns what changed, restarted where it does not take it |
//! | `keeping` | the connection to the keeper: lost, found again |
//! | `leaving` | taken down: the end of everything, and its own |
//! | `hearing` | what the keeper says, and what it means for the members |
//! | `serving`, `report`, `wires`, `gated`, `refused` | the control socket, and what `status` says |
//! | `recovery`, `samples` | what a successor needs to know, round trips |
//!
//! Shutdown order: the control socket, then the connection to the keeper. Children are not its own
//! and stay. Taken down by word of the keeper it ends at once, and the keeper removes its socket.

mod acting;
mod applying;
mod asked;
mod doing;
mod gated;
mod hearing;
mod keeping;
mod keys;
mod leaving;
mod listening;
mod member;
mod network;
mod prober;
mod recovery;
mod refused;
mod report;
mod samples;
mod scaling;
mod serving;
mod spawning;
mod telling;
mod wires;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

pub use network::Transition;
pub use recovery::leave_plan;
pub use spawning::ROLE_ENTRY;

use acting::Supervisor;

/// The hidden entry point: `zmqnet __supervisor STATE_DIR`.
pub const SUPERVISOR_ENTRY: &str = "__supervisor";

/// Why a supervisor cannot run.
#[derive(Debug)]
pub enum SupervisorError {
    /// The network's directories cannot be used.
    Paths(super::paths::PathsError),
    /// No runtime: out of files, most likely.
    Runtime(std::io::Error),
    /// The control socket cannot be listened on; another supervisor may live.
    Control(crate::wire::hub::ListenError),
    /// The ledger cannot be opened.
    Ledger(super::ledger::LedgerError),
    /// What an earlier one wrote cannot be read.
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
}

impl fmt::Display for SupervisorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Paths(error) => write!(f, "{error}"),
            Self::Runtime(error) => write!(f, "no event loop: {error}"),
            Self::Control(error) => write!(f, "the control socket: {error}"),
            Self::Ledger(error) => write!(f, "{error}"),
            Self::State { path, message } => write!(f, "`{}`: {message}", path.display()),
        }
    }
}

impl std::error::Error for SupervisorError {}

/// Counts time since 1970, and never back: the wall clock once, then the monotonic one.
#[derive(Debug, Clone, Copy)]
struct Clock {
    wall: Duration,
    begun: Instant,
}

impl Clock {
    fn start() -> Self {
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            wall,
            begun: Instant::now(),
        }
    }

    fn now(&self) -> Duration {
        self.wall + self.begun.elapsed()
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.now().as_millis()).unwrap_or(u64::MAX)
    }

    fn instant(&self, at: Duration) -> Instant {
        self.begun + at.saturating_sub(self.wall)
    }
}

/// Runs the supervisor of the network whose state is in `state`, until it is told to end.
pub fn main(state: &Path) -> ExitCode {
    let log = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false);
    drop(log.with_max_level(tracing::Level::INFO).try_init());
    match run(state) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the supervisor cannot run");
            ExitCode::FAILURE
        }
    }
}

fn run(state: &Path) -> Result<(), SupervisorError> {
    let layout = super::paths::layout_at(state).map_err(SupervisorError::Paths)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(SupervisorError::Runtime)?;
    runtime.block_on(async {
        let supervisor = Supervisor::start(layout)?;
        supervisor.run().await;
        Ok(())
    })
}
