//! `kv watch [PREFIX]`: writes as they are done, from now on or from a revision.

use std::time::Duration;

use clap::ValueEnum;
use serde_json::json;
use tokio::time::Instant;

use super::{Kv, KvArgs};
use crate::cli::Global;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::seed::block_on;
use crate::cli::ui;
use crate::client::kv::{Change, Seen, Watched};

/// How long one request waits.
const PATIENCE: Duration = Duration::from_secs(10);
/// Far enough away for whoever waits for ever.
const FOR_EVER: Duration = Duration::from_secs(86_400 * 365);
/// How long the store may be away before it is given up.
const AWAY: Duration = Duration::from_secs(5);

/// Print writes as they are done
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    kv: KvArgs,
    /// Begin after this revision; 0 is all that was ever written. Default: after the last
    #[arg(long, value_name = "REVISION")]
    after: Option<u64>,
    /// End after so many writes; with fewer at `--timeout` the exit code is 1
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// How to print: `set KEY VALUE`, `del KEY`, `expire KEY`, or a line of JSON
    #[arg(short = 'o', long, value_name = "FORMAT", default_value = "text")]
    format: Lines,
    /// Only keys that begin so.
    #[arg(value_name = "PREFIX", default_value = "")]
    prefix: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Lines {
    /// A line a write; a value is printed as it is.
    Text,
    /// A line of JSON a write.
    Json,
}

impl Args {
    pub(super) fn run(mut self, global: &Global) -> Outcome {
        let (count, timeout) = (self.count, self.kv.timeout.take());
        let kv = self.kv.find(global)?;
        let wait = timeout.map(crate::model::quantity::Duration::as_std);
        let deadline = Instant::now() + wait.unwrap_or(FOR_EVER);
        let seen = block_on(watch(
            kv,
            (&self.prefix, self.after),
            (count, deadline),
            self.format,
        ))??;
        match count {
            Some(count) if seen < count => {
                let words = format!("{seen} of {count} writes in time");
                Err(Failure::new(Exit::Failed, words))
            }
            Some(_) | None => Ok(Exit::Done),
        }
    }
}

async fn watch(
    mut kv: Kv,
    (prefix, after): (&str, Option<u64>),
    (count, deadline): (Option<u64>, Instant),
    format: Lines,
) -> Result<u64, Failure> {
    let mut seen = 0;
    let mut after = match after {
        Some(after) => after,
        None => {
            let listed = kv.client.list(prefix, None, true, AWAY).await;
            listed.map_err(|error| kv.failure(&error))?.revision
        }
    };
    ui::talk(format_args!(
        "watching {} after revision {after}",
        kv.target.endpoint
    ));
    while count.is_none_or(|count| seen < count) {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        let watched = kv
            .client
            .watch(prefix, after, left.min(PATIENCE), AWAY)
            .await;
        match watched.map_err(|error| kv.failure(&error))? {
            Watched::Writes(writes, revision) => {
                after = revision;
                let left = count.map_or(u64::MAX, |count| count - seen);
                let shown = writes
                    .iter()
                    .take(usize::try_from(left).unwrap_or(usize::MAX));
                for write in shown {
                    show(format, write);
                    seen += 1;
                }
            }
            Watched::Ahead(revision) => {
                let words = format!("there is no revision {after} yet: the last is {revision}");
                let help = "without `--after` it begins there";
                return Err(Failure::new(Exit::Failed, words).help(help));
            }
            Watched::Gone => {
                let words = format!("what was written after revision {after} is no longer kept");
                let help = "`kv export` has what there is now";
                return Err(Failure::new(Exit::Failed, words).help(help));
            }
        }
    }
    Ok(seen)
}

fn show(format: Lines, write: &Seen) {
    let (op, value) = match &write.change {
        Change::Set(value) => ("set", Some(value)),
        Change::Deleted => ("del", None),
        Change::Expired => ("expire", None),
    };
    match format {
        Lines::Text => {
            let mut line = format!("{op} {}", write.key).into_bytes();
            if let Some(value) = value {
                line.push(b' ');
                line.extend_from_slice(value);
            }
            line.push(b'\n');
            ui::raw(&line);
        }
        Lines::Json => {
            let mut told = json!({"op": op, "key": write.key, "revision": write.revision});
            if let Some(value) = value {
                told["value"] = ui::shown(value);
            }
            ui::data(told);
        }
    }
}
