//! `kv ls [PREFIX]`: the keys in their order.

use comfy_table::{Table, presets};
use serde_json::{Value, json};

use super::{Kv, KvArgs};
use crate::cli::Global;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::seed::block_on;
use crate::cli::status::trimmed;
use crate::cli::ui::{self, Format, FormatArgs};
use crate::client::kv::Listed;

/// List keys with their revisions, bytes and times to live
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    kv: KvArgs,
    /// Print the keys alone, one a line
    #[arg(long)]
    names: bool,
    /// How many to list at most
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    #[command(flatten)]
    format: FormatArgs,
    /// Only keys that begin so.
    #[arg(value_name = "PREFIX", default_value = "")]
    prefix: String,
}

impl Args {
    pub(super) fn run(self, global: &Global) -> Outcome {
        let mut kv = self.kv.find(global)?;
        let max = self.limit.unwrap_or(usize::MAX);
        let (listed, has_more) = block_on(all(&mut kv, &self.prefix, max))??;
        match self.format.format {
            Format::Table if self.names => {
                for one in &listed {
                    ui::data(&one.key);
                }
            }
            Format::Table => table(&listed),
            format => {
                let told: Vec<Value> = listed.iter().map(told).collect();
                ui::document(format, &told);
            }
        }
        if has_more {
            ui::talk("there are more; see `--limit`");
        }
        Ok(Exit::Done)
    }
}

async fn all(kv: &mut Kv, prefix: &str, max: usize) -> Result<(Vec<Listed>, bool), Failure> {
    let wait = kv.wait();
    let mut found: Vec<Listed> = Vec::new();
    loop {
        let last = found.last().map(|listed| listed.key.clone());
        let page = kv.client.list(prefix, last.as_deref(), false, wait).await;
        let page = page.map_err(|error| kv.failure(&error))?;
        found.extend(page.keys);
        if !page.has_more || found.len() > max {
            let has_more = found.len() > max;
            found.truncate(max);
            return Ok((found, has_more));
        }
    }
}

fn told(listed: &Listed) -> Value {
    let mut told = json!({
        "key": listed.key,
        "revision": listed.revision,
        "bytes": listed.bytes,
    });
    if let Some(ttl) = listed.ttl {
        told["ttl_ms"] = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).into();
    }
    told
}

fn table(listed: &[Listed]) {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["KEY", "REVISION", "BYTES", "TTL"]);
    for one in listed {
        let ttl = match one.ttl {
            Some(ttl) => format!("{:.1}s", ttl.as_secs_f64()),
            None => "-".to_owned(),
        };
        table.add_row([
            ui::plain(&one.key),
            one.revision.to_string(),
            one.bytes.to_string(),
            ttl,
        ]);
    }
    ui::data(trimmed(&table));
}
