//! `stream`: events are appended, read, followed; consumer groups are looked at; files of other
//! programs come in and go out.
//!
//! The stream is found in the ledger or by `--endpoint` and asked directly, without the supervisor.

mod append;
mod files;
mod groups;
mod read;
mod record;
mod replay;
mod skipped;
mod tail;

use std::time::Duration;

use clap::Subcommand;
use serde_json::{Value, json};

use super::Global;
use super::exit::{Failure, Outcome};
use super::members::{Target, TargetArgs};
use super::seed::SeedEnv;
use super::ui;
use crate::client::stream::{StreamClient, StreamError, StreamEvent};
use crate::model::quantity;
use crate::protocol::parts;
use crate::roles::{Kind, stream};

/// Append events to a stream, read them, follow it.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Append(append::Args),
    Read(read::Args),
    Tail(tail::Args),
    Groups(groups::Args),
    Record(record::Args),
    Replay(replay::Args),
    /// Append the events of another program's files
    Import(files::ImportArgs),
    /// Write all events as another program's files
    Export(files::ExportArgs),
}

impl Args {
    pub(super) fn run(self, global: &Global) -> Outcome {
        match self.command {
            Command::Append(args) => args.run(global),
            Command::Read(args) => args.run(global),
            Command::Tail(args) => args.run(global),
            Command::Groups(args) => args.run(global),
            Command::Record(args) => args.run(global),
            Command::Replay(args) => args.run(global),
            Command::Import(args) => args.run(global),
            Command::Export(args) => args.run(global),
        }
    }
}

/// How long to wait for the stream where nobody says.
const WAIT: Duration = Duration::from_secs(5);

/// A stream to talk to.
struct Stream {
    client: StreamClient,
    target: Target,
}

impl Stream {
    fn find(target: TargetArgs, global: &Global) -> Result<Self, Failure> {
        let target = target.find_port(&SeedEnv::load(), global, (Kind::Stream, stream::MAIN))?;
        Ok(Self {
            client: StreamClient::new(target.endpoint.clone(), target.keys.clone()),
            target,
        })
    }

    /// What it means that the stream did not do what was asked.
    fn failure(&self, error: &StreamError) -> Failure {
        self.target.failure(error)
    }
}

/// How long to wait in all.
fn wait(given: Option<quantity::Duration>) -> Duration {
    given.map_or(WAIT, quantity::Duration::as_std)
}

/// An event on a line of its own: of a message of several frames all, with a space between two.
fn print(event: &StreamEvent, has_offset: bool) {
    let mut line = match has_offset {
        true => format!("{}\t", event.offset).into_bytes(),
        false => Vec::new(),
    };
    line.extend(parts::frames(event.data.clone()).join(&b' '));
    line.push(b'\n');
    ui::raw(&line);
}

/// An event in JSON: text, or bytes in hex where it is none; of a message of several frames each.
fn shown(event: &StreamEvent) -> Value {
    let mut told = json!({"offset": event.offset, "time_ns": event.time_ns});
    match &parts::frames(event.data.clone())[..] {
        [data] => told["data"] = ui::shown(data),
        frames => told["frames"] = frames.iter().map(|it| ui::shown(it)).collect(),
    }
    told
}
