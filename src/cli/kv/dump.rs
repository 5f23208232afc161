//! `kv export` and `kv import`: all keys as one JSON object, which is PyDistributed's file.
//!
//! A value there is any JSON; here it is the text of that JSON. `--text` is for values that are text
//! themselves: such a value is a JSON string there.

use std::io::Read;
use std::path::PathBuf;

use bytes::Bytes;
use serde_json::{Map, Value};

use super::{Kv, KvArgs};
use crate::cli::Global;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::seed::block_on;
use crate::cli::ui::{self, Format};
use crate::client::kv::BatchOp;

/// Bytes of one batch: less than the JSON of a request may have, even where all of it is escaped.
const BATCH_BYTES: usize = 150 * 1024;
/// Keys of one batch.
const BATCH_KEYS: usize = 500;
/// Bytes of a file that is imported.
const FILE_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// Print all keys and values as one JSON object
#[derive(Debug, clap::Args)]
pub(super) struct ExportArgs {
    #[command(flatten)]
    kv: KvArgs,
    /// Values are text, and become JSON strings
    #[arg(long)]
    text: bool,
    /// Only keys that begin so.
    #[arg(value_name = "PREFIX", default_value = "")]
    prefix: String,
}

impl ExportArgs {
    pub(super) fn run(self, global: &Global) -> Outcome {
        let mut kv = self.kv.find(global)?;
        let wait = kv.wait();
        let snapshot = block_on(kv.client.snapshot(&self.prefix, wait))?;
        let (found, revision) = snapshot.map_err(|error| kv.failure(&error))?;
        let mut all = Map::new();
        for (key, (value, _)) in found {
            let value = read_back(self.text, &key, &value)?;
            all.insert(key, value);
        }
        ui::document(Format::Json, &all);
        ui::talk(format_args!(
            "{} keys, as of revision {revision}",
            all.len()
        ));
        Ok(Exit::Done)
    }
}

/// A stored value as JSON.
fn read_back(is_text: bool, key: &str, value: &Bytes) -> Result<Value, Failure> {
    let read = match is_text {
        true => std::str::from_utf8(value).ok().map(Value::from),
        false => serde_json::from_slice(value).ok(),
    };
    read.ok_or_else(|| {
        let what = if is_text { "text" } else { "JSON" };
        let words = format!("the value of `{key}` is not {what}");
        let failure = Failure::new(Exit::Failed, words);
        match is_text {
            true => failure,
            false => failure.help("`--text` exports all values as JSON strings"),
        }
    })
}

/// Set all keys of a JSON object; keys that are not in it stay
#[derive(Debug, clap::Args)]
pub(super) struct ImportArgs {
    #[command(flatten)]
    kv: KvArgs,
    /// Values are JSON strings, and become text
    #[arg(long)]
    text: bool,
    /// The file; `-` for standard input.
    #[arg(value_name = "FILE")]
    source: PathBuf,
}

impl ImportArgs {
    pub(super) fn run(self, global: &Global) -> Outcome {
        let all = self.read()?;
        let mut kv = self.kv.find(global)?;
        let count = all.len();
        block_on(import(&mut kv, all))??;
        ui::data(format_args!("{count} keys"));
        Ok(Exit::Done)
    }

    /// The keys and the values, as they are to be.
    fn read(&self) -> Result<Vec<(String, String)>, Failure> {
        let name = self.source.display();
        let mut text = Vec::new();
        let read = match self.source.as_os_str() == "-" {
            true => std::io::stdin()
                .lock()
                .take(FILE_BYTES_MAX)
                .read_to_end(&mut text),
            false => std::fs::File::open(&self.source)
                .and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut text)),
        };
        read.map_err(|error| Failure::new(Exit::File, format!("{name}: {error}")))?;
        let parsed: Result<Map<String, Value>, _> = serde_json::from_slice(&text);
        let parsed = parsed.map_err(|error| {
            Failure::new(Exit::Manifest, format!("{name} is no JSON object: {error}"))
        })?;
        let each = parsed.into_iter().map(|(key, value)| {
            let value = match (self.text, value) {
                (true, Value::String(text)) => text,
                (true, _) => {
                    let words = format!("the value of `{key}` is no JSON string");
                    return Err(Failure::new(Exit::Manifest, words));
                }
                (false, value) => value.to_string(),
            };
            Ok((key, value))
        });
        each.collect()
    }
}

async fn import(kv: &mut Kv, all: Vec<(String, String)>) -> Result<(), Failure> {
    let wait = kv.wait();
    let (mut ops, mut bytes) = (Vec::new(), 0);
    for (key, value) in all {
        let size = key.len() + value.len() + 64;
        if bytes + size > BATCH_BYTES || ops.len() >= BATCH_KEYS {
            send(kv, &mut ops).await?;
            bytes = 0;
        }
        if size > BATCH_BYTES {
            let set = kv.client.set(&key, value.into(), wait).await;
            set.map_err(|error| kv.failure(&error))?;
            continue;
        }
        bytes += size;
        ops.push(BatchOp::Set(key, value));
    }
    send(kv, &mut ops).await
}

async fn send(kv: &mut Kv, ops: &mut Vec<BatchOp>) -> Result<(), Failure> {
    if ops.is_empty() {
        return Ok(());
    }
    let wait = kv.wait();
    let done = kv.client.batch(ops, wait).await;
    done.map_err(|error| kv.failure(&error))?;
    ops.clear();
    Ok(())
}
