//! `kv`: keys are set, read, compared, deleted, listed, watched, imported and exported.
//!
//! The store is found in the ledger or by `--endpoint` and asked directly, without the supervisor.

mod change;
mod dump;
mod json;
mod ls;
mod watch;

use std::io::IsTerminal;
use std::time::Duration;

use clap::Subcommand;
use serde_json::json;

use super::Global;
use super::exit::{Exit, Failure, Outcome};
use super::members::{Target, TargetArgs};
use super::seed::{SeedEnv, block_on};
use super::ui::{self, Format, FormatArgs};
use crate::client::kv::{KvClient, KvError};
use crate::model::quantity;
use crate::roles::Kind;

/// Set, read, compare, delete, list and watch keys of a key-value store
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Get(GetArgs),
    Set(change::SetArgs),
    Cas(change::CasArgs),
    Del(change::DelArgs),
    Ls(ls::Args),
    Watch(watch::Args),
    Import(dump::ImportArgs),
    Export(dump::ExportArgs),
}

impl Args {
    pub(super) fn run(self, global: &Global) -> Outcome {
        match self.command {
            Command::Get(args) => args.run(global),
            Command::Set(args) => args.run(global),
            Command::Cas(args) => args.run(global),
            Command::Del(args) => args.run(global),
            Command::Ls(args) => args.run(global),
            Command::Watch(args) => args.run(global),
            Command::Import(args) => args.run(global),
            Command::Export(args) => args.run(global),
        }
    }
}

/// Which store, and how long it may take.
#[derive(Debug, clap::Args)]
struct KvArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// How long to wait in all, for the store and for its answer [default: 5s]
    #[arg(long, value_name = "DURATION")]
    timeout: Option<quantity::Duration>,
}

/// A store to talk to.
struct Kv {
    client: KvClient,
    target: Target,
    timeout: Option<Duration>,
}

/// The port of everybody who asks.
const MAIN: &str = "main";
/// How long to wait where nobody says.
const TIMEOUT: Duration = Duration::from_secs(5);

impl KvArgs {
    fn find(self, global: &Global) -> Result<Kv, Failure> {
        let target = self
            .target
            .find_port(&SeedEnv::load(), global, (Kind::Kv, MAIN))?;
        Ok(Kv {
            client: KvClient::new(target.endpoint.clone(), target.keys.clone()),
            target,
            timeout: self.timeout.map(quantity::Duration::as_std),
        })
    }
}

impl Kv {
    fn wait(&self) -> Duration {
        self.timeout.unwrap_or(TIMEOUT)
    }

    /// What it means that the store did not do what was asked.
    fn failure(&self, error: &KvError) -> Failure {
        match error {
            KvError::Asked(error) => self.target.failure(error),
            KvError::Outrun => Failure::new(Exit::Failed, error.to_string()),
        }
    }
}

/// A key that is not there.
fn missing(key: &str) -> Failure {
    Failure::new(Exit::Failed, format!("there is no key `{key}`"))
}

/// Print the value of a key: its bytes and nothing else
#[derive(Debug, clap::Args)]
struct GetArgs {
    #[command(flatten)]
    kv: KvArgs,
    #[command(flatten)]
    format: FormatArgs,
    /// The key.
    #[arg(value_name = "KEY")]
    key: String,
}

impl GetArgs {
    fn run(self, global: &Global) -> Outcome {
        let mut kv = self.kv.find(global)?;
        let wait = kv.wait();
        let got = block_on(kv.client.get(&self.key, wait))?;
        let got = got.map_err(|error| kv.failure(&error))?;
        let item = got.ok_or_else(|| missing(&self.key))?;
        match self.format.format {
            Format::Table => {
                ui::raw(&item.value);
                if std::io::stdout().is_terminal() {
                    // The prompt of a shell is not to follow on the same line.
                    ui::raw(b"\n");
                }
            }
            format => {
                let ttl_ms = item.ttl.map(|ttl| ttl.as_millis());
                let mut told = json!({
                    "key": self.key,
                    "revision": item.revision,
                    "value": ui::shown(&item.value),
                });
                if let Some(ttl_ms) = ttl_ms.and_then(|it| u64::try_from(it).ok()) {
                    told["ttl_ms"] = ttl_ms.into();
                }
                ui::document(format, &told);
            }
        }
        Ok(Exit::Done)
    }
}
