//! `kv export` and `kv import`: all keys as one JSON object, which is PyDistributed's file.
//!
//! A value there is any JSON; here it is the text of that JSON, byte for byte in both directions.
//! `--text` is for values that are text themselves: such a value is a JSON string there. Nothing is
//! imported of a file of which not everything can be.

use std::io::Read;
use std::path::PathBuf;

use bytes::Bytes;

use super::{Kv, KvArgs, json};
use crate::cli::Global;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::seed::block_on;
use crate::cli::ui;
use crate::client::kv::BatchOp;
use crate::roles::kv::refused_key;

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
        let mut all = String::from("{");
        for (number, (key, (value, _))) in found.iter().enumerate() {
            let value = read_back(self.text, key, value)?;
            all.push_str(if number == 0 { "\n" } else { ",\n" });
            all.push_str(&format!("  {}: {value}", quoted(key)));
        }
        all.push_str(if found.is_empty() { "}\n" } else { "\n}\n" });
        ui::raw(all.as_bytes());
        let count = found.len();
        ui::talk(format_args!("{count} keys, as of revision {revision}"));
        Ok(Exit::Done)
    }
}

/// A text as a JSON string.
fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a text is a JSON string")
}

/// A stored value as JSON.
fn read_back(is_text: bool, key: &str, value: &Bytes) -> Result<String, Failure> {
    let text = std::str::from_utf8(value).ok();
    let read = text.and_then(|text| match is_text {
        true => Some(quoted(text)),
        false => json::value(text).ok().map(str::to_owned),
    });
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
        let wrong = |words: String| Failure::new(Exit::Manifest, words);
        let text = String::from_utf8(text);
        let text = text.map_err(|_| wrong(format!("{name} is no JSON object: it is no text")))?;
        let parsed = json::object(&text);
        let parsed = parsed.map_err(|why| wrong(format!("{name} is no JSON object: {why}")))?;
        let each = parsed.into_iter().map(|(key, value)| {
            let value = match self.text {
                true => serde_json::from_str(value)
                    .map_err(|_| wrong(format!("the value of `{key}` is no JSON string")))?,
                false => value.to_owned(),
            };
            // Before anything is set, so that a file is imported whole or not at all.
            match refused_key(&key, value.len()) {
                Some(why) => Err(wrong(format!("`{}`: {why}", key.escape_debug()))),
                None => Ok((key, value)),
            }
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
