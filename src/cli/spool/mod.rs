//! `spool`: messages that wait are looked at, taken, counted, followed; persizmq's directories come in
//! and go out.
//!
//! The spool is found in the ledger or by `--endpoint` and asked directly, without the supervisor.

mod files;
mod tail;
mod take;

use std::time::Duration;

use clap::Subcommand;
use serde_json::{Value, json};

use super::Global;
use super::exit::{Exit, Failure, Outcome};
use super::members::{Target, TargetArgs};
use super::message;
use super::seed::{SeedEnv, block_on};
use super::ui::{self, Format, FormatArgs};
use crate::client::spool::{SpoolClient, SpoolError, SpoolMessage};
use crate::model::quantity;
use crate::roles::{Kind, spool};

/// Look at the messages of a spool, take them, count them, follow them
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the oldest message, which stays
    Front(take::Args),
    /// Print the oldest message, and take it once it is printed
    Pop(take::Args),
    Len(LenArgs),
    Tail(tail::Args),
    /// Store the messages of a persizmq directory
    Import(files::ImportArgs),
    /// Write the messages that wait as a persizmq directory
    Export(files::ExportArgs),
}

impl Args {
    pub(super) fn run(self, global: &Global) -> Outcome {
        match self.command {
            Command::Front(args) => args.run(global, take::Then::Stays),
            Command::Pop(args) => args.run(global, take::Then::IsTaken),
            Command::Len(args) => args.run(global),
            Command::Tail(args) => args.run(global),
            Command::Import(args) => args.run(global),
            Command::Export(args) => args.run(global),
        }
    }
}

/// How long to wait for the spool where nobody says.
const WAIT: Duration = Duration::from_secs(5);

/// A spool to talk to.
struct Spool {
    client: SpoolClient,
    target: Target,
}

impl Spool {
    fn find(target: TargetArgs, global: &Global) -> Result<Self, Failure> {
        let target = target.find_port(&SeedEnv::load(), global, (Kind::Spool, spool::MAIN))?;
        Ok(Self {
            client: SpoolClient::new(target.endpoint.clone(), target.keys.clone()),
            target,
        })
    }

    /// What it means that the spool did not do what was asked.
    fn failure(&self, error: &SpoolError) -> Failure {
        self.target.failure(error)
    }
}

/// Print how many messages wait
#[derive(Debug, clap::Args)]
struct LenArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// How long to wait in all, for the spool and for its answer [default: 5s]
    #[arg(short, long, value_name = "DURATION")]
    timeout: Option<quantity::Duration>,
    #[command(flatten)]
    format: FormatArgs,
}

impl LenArgs {
    fn run(self, global: &Global) -> Outcome {
        let mut spool = Spool::find(self.target, global)?;
        let wait = self.timeout.map_or(WAIT, quantity::Duration::as_std);
        let told = block_on(spool.client.length(wait))?;
        let told = told.map_err(|error| spool.failure(&error))?;
        match self.format.format {
            Format::Table => ui::data(told.length),
            format => ui::document(
                format,
                &json!({
                    "length": told.length,
                    "bytes": told.bytes,
                    "head": told.head,
                    "end": told.end,
                }),
            ),
        }
        Ok(Exit::Done)
    }
}

/// A message in JSON: each frame as text, or as bytes in hex where it is none.
fn shown(message: &SpoolMessage) -> Value {
    let frames: Vec<Value> = message.frames.iter().map(|it| ui::shown(it)).collect();
    let mut told = json!({
        "offset": message.offset,
        "time_ns": message.time_ns,
        "frames": frames,
    });
    if let Some(is_new) = message.is_new {
        told["new"] = is_new.into();
    }
    told
}

/// Prints a message.
fn print(message: &SpoolMessage, has_topic: bool, format: Format) {
    match format {
        Format::Table => message::print(&message.frames, has_topic),
        format => ui::document(format, &shown(message)),
    }
}
