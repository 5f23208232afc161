//! `queue ls`: the services of a queue and what waits for them; `--dead`: its dead letters.

use std::time::Duration;

use comfy_table::{Table, presets};
use serde_json::{Value, json};

use super::QueueArgs;
use crate::cli::Global;
use crate::cli::exit::{Exit, Outcome};
use crate::cli::seed::block_on;
use crate::cli::status::{ago, trimmed};
use crate::cli::ui::{self, Format, FormatArgs};

/// List services and tasks
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    queue: QueueArgs,
    /// Dead letters: tasks that were given up, and why
    #[arg(long)]
    dead: bool,
    /// Those of one service
    #[arg(long, value_name = "SERVICE")]
    service: Option<String>,
    /// How many tasks to list at most
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    #[command(flatten)]
    format: FormatArgs,
}

impl Args {
    pub(super) fn run(self, global: &Global) -> Outcome {
        let mut queue = self.queue.find(global)?;
        let mut asked = json!({"dead": self.dead, "limit": self.limit});
        if let Some(service) = &self.service {
            asked["service"] = service.as_str().into();
        }
        let wait = queue.wait();
        let listed = block_on(queue.client.ask("ls", asked, Vec::new(), wait))?;
        let listed = listed.map_err(|error| queue.failure(&error))?.result;
        match self.format.format {
            Format::Table if self.dead => letters(&listed),
            Format::Table => services(&listed),
            format => ui::document(format, &listed),
        }
        Ok(Exit::Done)
    }
}

/// A value as a cell.
fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => ui::plain(text),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

fn print<const N: usize>(header: [&str; N], keys: [&str; N], rows: &Value) {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header);
    for row in rows.as_array().into_iter().flatten() {
        table.add_row(keys.map(|key| cell(&row[key])));
    }
    ui::data(trimmed(&table));
}

/// How long the oldest task that is ready has waited; `-` where none is.
fn age(row: &Value) -> String {
    match (row["ready"].as_u64(), row["age_ms"].as_u64()) {
        (Some(0) | None, _) | (_, None) => "-".to_owned(),
        (_, Some(ms @ ..1_000)) => format!("{ms}ms"),
        (_, Some(ms @ ..60_000)) => format!("{:.1}s", ms as f64 / 1_000.0),
        (_, Some(ms)) => ago(Duration::from_millis(ms)),
    }
}

fn services(listed: &Value) {
    let header = ["SERVICE", "TASKS", "READY", "AGE", "IDLE", "WORKERS"];
    let keys = ["name", "tasks", "ready", "age", "idle", "providers"];
    let mut rows = listed["services"].clone();
    for row in rows.as_array_mut().into_iter().flatten() {
        row["age"] = age(row).into();
    }
    print(header, keys, &rows);
    let count = |key: &str| cell(&listed["counters"][key]);
    ui::talk(format_args!(
        "{} accepted: {} done, {} dead, {} queued, {} leased",
        count("accepted"),
        count("done"),
        count("dead"),
        count("queued"),
        count("leased"),
    ));
}

fn letters(listed: &Value) {
    let mut rows = listed["tasks"].clone();
    for row in rows.as_array_mut().into_iter().flatten() {
        row["kind"] = row["failure"]["kind"].clone();
        row["why"] = row["failure"]["message"].clone();
    }
    let header = ["TASK", "SERVICE", "ATTEMPTS", "BYTES", "KIND", "WHY"];
    let keys = ["task", "service", "attempts", "bytes", "kind", "why"];
    print(header, keys, &rows);
    let shown = rows.as_array().map_or(0, Vec::len) as u64;
    let all = listed["all"].as_u64().unwrap_or_default();
    if all > shown {
        ui::talk(format_args!("{} more; see `--limit`", all - shown));
    }
}
