//! `bus`: publish at a bus, subscribe to it, look at it.

mod handler;
mod ls;
mod publish;
mod subscribe;

use std::time::Duration;

use clap::Subcommand;

use super::Global;
use super::exit::{Exit, Failure, Outcome};
use super::members::{Target, TargetArgs};
use super::seed::SeedEnv;
use crate::client::bus::BusError;
use crate::roles::Kind;

/// How long a command waits for its bus, unless `--timeout` says otherwise.
const WAIT: Duration = Duration::from_secs(5);

/// Publish at a bus, subscribe to it, look at it
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Pub(publish::Args),
    Sub(subscribe::Args),
    Ls(ls::Args),
}

impl Args {
    pub(super) fn run(self, global: &Global) -> Outcome {
        match self.command {
            Command::Pub(args) => args.run(global),
            Command::Sub(args) => args.run(global),
            Command::Ls(args) => args.run(global),
        }
    }
}

/// A port of the bus that is meant; where none is named, of the only one.
fn find(target: TargetArgs, port: &str, global: &Global) -> Result<Target, Failure> {
    target.find_port(&SeedEnv::load(), global, (Kind::Bus, port))
}

/// A failure to talk to a bus.
fn failure(target: &Target, error: &BusError) -> Failure {
    let message = format!("no answer from {}: {error}", target.endpoint);
    Failure::new(Exit::Failed, message)
}
