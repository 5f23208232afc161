//! `kv set`, `kv cas` and `kv del`: they print the revision of what they wrote.

use bytes::Bytes;

use super::{KvArgs, json, missing};
use crate::cli::Global;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::seed::block_on;
use crate::cli::stdin;
use crate::cli::ui::{self, Format, FormatArgs};
use crate::client::kv::{Given, Swapped};
use crate::model::limits::kv::VALUE_BYTES_MAX;
use crate::model::quantity;

/// A value, as it is given.
#[derive(Debug, clap::Args)]
struct ValueArgs {
    /// Refuse a value that is not JSON
    #[arg(long)]
    json: bool,
    /// How long the key lives
    #[arg(long, value_name = "DURATION")]
    ttl: Option<quantity::Duration>,
    #[command(flatten)]
    format: FormatArgs,
}

impl ValueArgs {
    /// The value: the argument, or standard input where there is none.
    fn given(&self, given: Option<String>) -> Result<Given, Failure> {
        let value = match given {
            Some(text) if text != "-" => Bytes::from(text),
            Some(_) | None => stdin::whole(VALUE_BYTES_MAX, "a value")?,
        };
        if self.json {
            let usage = |words| Failure::new(Exit::Usage, words);
            let text = std::str::from_utf8(&value);
            let text = text.map_err(|_| usage("the value is not JSON: no text".to_owned()))?;
            json::value(text).map_err(|why| usage(format!("the value is not JSON: {why}")))?;
        }
        let ttl = self.ttl.map(quantity::Duration::as_std);
        if ttl.is_some_and(|ttl| ttl.as_millis() == 0) {
            let words = "`--ttl` is at least 1ms: a key cannot live for no time";
            return Err(Failure::new(Exit::Usage, words));
        }
        Ok(Given { value, ttl })
    }
}

fn report(format: Format, revision: u64) {
    match format {
        Format::Table => ui::data(revision),
        format => ui::document(format, &serde_json::json!({ "revision": revision })),
    }
}

/// Give a key a value; prints the revision
#[derive(Debug, clap::Args)]
pub(super) struct SetArgs {
    #[command(flatten)]
    kv: KvArgs,
    #[command(flatten)]
    how: ValueArgs,
    /// The key.
    #[arg(value_name = "KEY")]
    key: String,
    /// The value; `-`, or nothing, for standard input.
    #[arg(value_name = "VALUE", allow_hyphen_values = true)]
    value: Option<String>,
}

impl SetArgs {
    pub(super) fn run(self, global: &Global) -> Outcome {
        let given = self.how.given(self.value)?;
        let mut kv = self.kv.find(global)?;
        let wait = kv.wait();
        let set = block_on(kv.client.set(&self.key, given, wait))?;
        let revision = set.map_err(|error| kv.failure(&error))?;
        report(self.how.format.format, revision);
        Ok(Exit::Done)
    }
}

/// Give a key a value only if it has a revision; 0 is only if there is no such key
#[derive(Debug, clap::Args)]
pub(super) struct CasArgs {
    #[command(flatten)]
    kv: KvArgs,
    #[command(flatten)]
    how: ValueArgs,
    /// The key.
    #[arg(value_name = "KEY")]
    key: String,
    /// The revision that it must have.
    #[arg(value_name = "REVISION")]
    revision: u64,
    /// The value; `-`, or nothing, for standard input.
    #[arg(value_name = "VALUE", allow_hyphen_values = true)]
    value: Option<String>,
}

impl CasArgs {
    pub(super) fn run(self, global: &Global) -> Outcome {
        let given = self.how.given(self.value)?;
        let mut kv = self.kv.find(global)?;
        let wait = kv.wait();
        let swapped = block_on(kv.client.cas(&self.key, self.revision, given, wait))?;
        match swapped.map_err(|error| kv.failure(&error))? {
            Swapped::Done(revision) => {
                report(self.how.format.format, revision);
                Ok(Exit::Done)
            }
            Swapped::Conflict(0) => Err(missing(&self.key)),
            Swapped::Conflict(revision) => {
                let words = format!("the key `{}` has the revision {revision}", self.key);
                Err(Failure::new(Exit::Failed, words))
            }
        }
    }
}

/// Delete keys; prints the revision of each, exit code 1 where one was not there
#[derive(Debug, clap::Args)]
pub(super) struct DelArgs {
    #[command(flatten)]
    kv: KvArgs,
    #[command(flatten)]
    format: FormatArgs,
    /// The keys.
    #[arg(value_name = "KEY", required = true)]
    wanted: Vec<String>,
}

impl DelArgs {
    pub(super) fn run(self, global: &Global) -> Outcome {
        let mut kv = self.kv.find(global)?;
        let wait = kv.wait();
        let mut last = Ok(Exit::Done);
        for key in &self.wanted {
            let deleted = block_on(kv.client.delete(key, wait))?;
            match deleted.map_err(|error| kv.failure(&error))? {
                Some(revision) => report(self.format.format, revision),
                None => {
                    ui::failure(&missing(key));
                    last = Err(Failure::said(Exit::Failed));
                }
            }
        }
        last
    }
}
