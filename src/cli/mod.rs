//! Floor 8: the command line. One file a command, each with its `Args` and its `run`.
//!
//! `ui` is the only printer and `exit` holds the codes. What several commands share (which manifest,
//! which running network) is in [`Global`].

mod apply;
mod attach;
mod bench;
mod bus;
mod call;
pub mod check;
mod completions;
mod conns;
pub mod decisions;
mod down;
pub mod env;
pub mod environment;
pub mod exit;
pub mod explain;
mod foreign_files;
mod given;
pub mod graph;
mod hands;
mod hidden;
pub mod init;
mod keys;
mod kv;
mod listeners;
pub mod load;
mod logs;
pub mod look;
mod ls;
pub mod manifest_file;
mod members;
mod message;
mod network;
pub mod plan;
mod probe;
mod progress;
mod provider;
mod queue;
mod scale;
pub mod schema;
mod seed;
mod selftest;
mod send;
mod serve;
mod services;
mod spool;
mod status;
mod stdin;
mod store;
mod stream;
mod tap;
pub mod ui;
pub mod variables;
mod wait;
mod why;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use exit::{Exit, Outcome};

/// Orchestrates ZeroMQ networks: one manifest, a compiler, a runner.
#[derive(Debug, Parser)]
#[command(
    name = "zmqnet",
    version,
    max_term_width = 100,
    arg_required_else_help = true
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// One command by itself.
#[derive(Debug, Parser)]
struct Alone<A: clap::Args> {
    #[command(flatten)]
    global: Global,
    #[command(flatten)]
    args: A,
}

impl<A: clap::Args> Alone<A> {
    /// Nothing where it is not understood, help asked for included.
    fn parse(line: &[OsString], command: fn(A) -> Command) -> Option<Cli> {
        let Self { global, args } = Self::try_parse_from(line).ok()?;
        let command = command(args);
        Some(Cli { global, command })
    }
}

/// Reads a line of the commands whose start is felt most. To describe all the others to the parser
/// takes a third of a millisecond; it is done where this one cannot say what is meant.
fn soon(line: &[OsString]) -> Option<Cli> {
    let line = line.get(1..)?;
    match line.first()?.to_str()? {
        "apply" => Alone::parse(line, Command::Apply),
        "down" => Alone::parse(line, Command::Down),
        _ => None,
    }
}

/// Options that stand before or after the verb.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Global {
    /// The manifest. Default: `$ZMQNET_FILE`, `$PEERS_PATH`, then `./topology.yaml`, `./topology.yml`,
    /// `./topology.json`, `./zmqnet.yaml`, `./peers.json`.
    #[arg(short = 'f', long = "file", value_name = "FILE", global = true)]
    pub file: Option<PathBuf>,
    /// The same, under ZMQ Net's name.
    #[arg(short = 'p', long = "peers", value_name = "FILE", global = true)]
    pub peers: Option<PathBuf>,
    /// The running network to talk to.
    #[arg(short = 'T', long = "topology", value_name = "NAME", global = true)]
    pub topology: Option<String>,
}

/// One variant a command: `Variant(command::Args)`, its doc is the help line.
#[derive(Debug, Subcommand)]
enum Command {
    Init(init::Args),
    Check(check::Args),
    Plan(plan::Args),
    Graph(graph::Args),
    Env(env::Args),
    Schema(schema::Args),
    Explain(explain::Args),
    /// Send messages to a replica, which bounces them to all others
    Send(send::Args),
    /// Ask a replica whether it answers
    Probe(probe::Args),
    /// Measure a replica: one request at a time for a while
    Bench(bench::Args),
    /// Run one replica in the foreground
    Serve(serve::Args),
    Bus(bus::Args),
    Logs(logs::Args),
    Apply(apply::Args),
    Up(apply::UpArgs),
    Status(status::Args),
    Wait(wait::Args),
    /// Start instances by hand, and wait until they are ready.
    Start(hands::Args),
    /// Stop instances; they stay stopped until they are started or applied again.
    Stop(hands::Args),
    /// Stop instances and start them again, and wait until they are ready.
    Restart(hands::Args),
    Scale(scale::Args),
    Down(down::Args),
    Ls(ls::Args),
    Why(why::Args),
    Conns(conns::Args),
    Tap(tap::Args),
    Queue(queue::Args),
    Stream(stream::Args),
    Spool(spool::Args),
    Kv(kv::Args),
    Store(store::Args),
    Call(call::Args),
    Services(services::Args),
    Keys(keys::Args),
    Selftest(selftest::Args),
    Completions(completions::Args),
    Man(completions::ManArgs),
}

impl Command {
    fn run(self, global: &Global) -> Outcome {
        match self {
            Self::Init(args) => args.run(),
            Self::Check(args) => args.run(global),
            Self::Plan(args) => args.run(global),
            Self::Graph(args) => args.run(global),
            Self::Env(args) => args.run(global),
            Self::Schema(args) => args.run(),
            Self::Explain(args) => args.run(),
            Self::Send(args) => args.run(global),
            Self::Probe(args) => args.run(global),
            Self::Bench(args) => args.run(global),
            Self::Serve(args) => args.run(global),
            Self::Bus(args) => args.run(global),
            Self::Logs(args) => args.run(global),
            Self::Apply(args) => args.run(global),
            Self::Up(args) => args.run(global),
            Self::Status(args) => args.run(global),
            Self::Wait(args) => args.run(global),
            Self::Start(args) => args.start(global),
            Self::Stop(args) => args.stop(global),
            Self::Restart(args) => args.restart(global),
            Self::Scale(args) => args.run(global),
            Self::Down(args) => args.run(global),
            Self::Ls(args) => args.run(global),
            Self::Why(args) => args.run(global),
            Self::Conns(args) => args.run(global),
            Self::Tap(args) => args.run(global),
            Self::Queue(args) => args.run(global),
            Self::Stream(args) => args.run(global),
            Self::Spool(args) => args.run(global),
            Self::Kv(args) => args.run(global),
            Self::Store(args) => args.run(global),
            Self::Call(args) => args.run(global),
            Self::Services(args) => args.run(global),
            Self::Keys(args) => args.run(global),
            Self::Selftest(args) => args.run(),
            Self::Completions(args) => args.run(Cli::command()),
            Self::Man(args) => args.run(Cli::command()),
        }
    }
}

/// Runs the command line and says how it ended.
pub fn main() -> ExitCode {
    if let Some(exit) = hidden::dispatch() {
        return exit;
    }
    let line: Vec<OsString> = std::env::args_os().collect();
    let parsed = match soon(&line) {
        Some(cli) => Ok(cli),
        None => Cli::try_parse_from(logs::with_follow(line.into_iter())),
    };
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are what was asked for; everything else is a usage error.
            drop(error.print());
            return if error.use_stderr() {
                Exit::Usage.into()
            } else {
                Exit::Done.into()
            };
        }
    };
    match cli.command.run(&cli.global) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            ui::failure(&failure);
            failure.exit.into()
        }
    }
}
