//! `kv`: keys are set, read, compared, deleted, listed, watched, imported and exported.
//!
//! The store is found in the ledger or by `--endpoint` and asked directly, without the supervisor.

mod change;
mod dump;
mod ls;
mod watch;

use std::io::{IsTerminal, Read};
use std::time::Duration;

use bytes::Bytes;
use clap::Subcommand;
use serde_json::{Value, json};

use super::Global;
use super::exit::{Exit, Failure, Outcome};
use super::members::{Target, TargetArgs};
use super::seed::{SeedEnv, block_on};
use super::ui::{self, Format, FormatArgs};
use crate::client::kv::{KvClient, KvError};
use crate::model::limits::kv::VALUE_BYTES_MAX;
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
        let words = match error {
            KvError::Unreached(_) => format!("{}: {error}", self.target.endpoint),
            KvError::Refused(..) | KvError::Malformed(_) | KvError::Outrun => error.to_string(),
        };
        Failure::new(Exit::Failed, words)
    }
}

/// A key that is not there.
fn missing(key: &str) -> Failure {
    Failure::new(Exit::Failed, format!("there is no key `{key}`"))
}

/// Standard input to its end, as long as a value may be.
fn read_stdin() -> Result<Bytes, Failure> {
    let mut data = Vec::new();
    let limited = std::io::stdin()
        .lock()
        .take(VALUE_BYTES_MAX as u64 + 1)
        .read_to_end(&mut data);
    limited.map_err(|error| Failure::new(Exit::File, format!("standard input: {error}")))?;
    match data.len() > VALUE_BYTES_MAX {
        true => Err(Failure::new(
            Exit::Usage,
            format!("a value has at most {VALUE_BYTES_MAX} bytes"),
        )),
        false => Ok(data.into()),
    }
}

/// A value in JSON: text, or bytes in hex where it is none.
fn shown(value: &Bytes) -> Value {
    match std::str::from_utf8(value) {
        Ok(text) => text.into(),
        Err(_) => {
            let hex: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
            json!({ "hex": hex })
        }
    }
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
                    "value": shown(&item.value),
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
