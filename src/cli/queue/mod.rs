//! `queue`: tasks are submitted, worked on, looked at, tried again and taken away.
//!
//! The queue is found in the ledger or by `--endpoint` and asked directly, without the supervisor.

mod letters;
mod ls;
mod submit;
mod work;

use std::time::Duration;

use clap::Subcommand;

use super::Global;
use super::exit::{Failure, Outcome};
use super::members::{Target, TargetArgs};
use super::seed::SeedEnv;
use crate::client::queue::{QueueClient, QueueError};
use crate::model::quantity;
use crate::roles::Kind;

/// Submit tasks to a queue, work for it, look after it.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Submit(submit::Args),
    Work(work::Args),
    Ls(ls::Args),
    /// Try dead letters again
    Retry(letters::Args),
    /// Take away tasks that wait, or dead letters
    Purge(letters::Args),
}

impl Args {
    pub(super) fn run(self, global: &Global) -> Outcome {
        match self.command {
            Command::Submit(args) => args.run(global),
            Command::Work(args) => args.run(global),
            Command::Ls(args) => args.run(global),
            Command::Retry(args) => args.retry(global),
            Command::Purge(args) => args.purge(global),
        }
    }
}

/// Which queue, and how long it may take.
#[derive(Debug, clap::Args)]
struct QueueArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// How long to wait in all, for the queue and for its answer [default: 5s]
    #[arg(long, value_name = "DURATION")]
    timeout: Option<quantity::Duration>,
}

/// A queue to talk to.
struct Queue {
    client: QueueClient,
    target: Target,
    timeout: Option<Duration>,
}

/// The port that clients and workers dial.
pub(super) const FRONT: &str = "front";
/// How long to wait where nobody says.
const TIMEOUT: Duration = Duration::from_secs(5);

impl QueueArgs {
    fn find(self, global: &Global) -> Result<Queue, Failure> {
        let target = self
            .target
            .find_port(&SeedEnv::load(), global, (Kind::Queue, FRONT))?;
        Ok(Queue {
            client: QueueClient::new(target.endpoint.clone(), target.keys.clone()),
            target,
            timeout: self.timeout.map(quantity::Duration::as_std),
        })
    }
}

impl Queue {
    fn wait(&self) -> Duration {
        self.timeout.unwrap_or(TIMEOUT)
    }

    /// What it means that the queue did not do what was asked.
    fn failure(&self, error: &QueueError) -> Failure {
        self.target.failure(error)
    }
}
