//! `services [NAME]`: which services a queue has providers of; with a name, waits for enough of them.

use std::time::Duration;

use comfy_table::{Table, presets};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::Global;
use super::exit::{Exit, Failure, Outcome};
use super::members::TargetArgs;
use super::queue;
use super::seed::{SeedEnv, block_on};
use super::status::trimmed;
use super::ui::{self, Format, FormatArgs};
use crate::client::queue::{QueueClient, QueueError};
use crate::model::quantity;
use crate::roles::Kind;

/// How long the queue may take to answer, and the rest before it is asked again.
const ANSWER_WAIT: Duration = Duration::from_secs(5);
const REST: Duration = Duration::from_millis(200);

/// List the services of a queue and how many provide them
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    target: TargetArgs,
    /// How many providers there must be
    #[arg(long, value_name = "N", default_value_t = 1, requires = "service")]
    min: u64,
    /// How long to wait for them; without it, what is there now
    #[arg(long, value_name = "DURATION", requires = "service")]
    timeout: Option<quantity::Duration>,
    #[command(flatten)]
    format: FormatArgs,
    /// One service: exit code 1 where it has fewer providers than `--min`.
    #[arg(value_name = "NAME")]
    service: Option<String>,
}

/// A service and its providers.
type Row = (String, u64);

impl Args {
    pub(super) fn run(self, global: &Global) -> Outcome {
        let target =
            self.target
                .find_port(&SeedEnv::load(), global, (Kind::Queue, queue::FRONT))?;
        let mut queue = QueueClient::new(target.endpoint.clone(), target.keys.clone());
        let timeout = self
            .timeout
            .map_or(Duration::ZERO, quantity::Duration::as_std);
        let (service, min) = (self.service.as_deref(), self.min);
        let found = block_on(discover(&mut queue, (service, min), timeout))?;
        let found = found.map_err(|error| {
            let words = format!("{}: {error}", target.endpoint);
            Failure::new(Exit::Failed, words)
        })?;
        match self.format.format {
            Format::Table => {
                let mut table = Table::new();
                table.load_style(presets::NOTHING);
                table.set_header(["SERVICE", "PROVIDERS"]);
                for (name, providers) in &found {
                    table.add_row([ui::plain(name), providers.to_string()]);
                }
                ui::data(trimmed(&table));
            }
            format => {
                let row = |(name, providers): &Row| json!({"name": name, "providers": providers});
                let rows: Vec<Value> = found.iter().map(row).collect();
                ui::document(format, &rows);
            }
        }
        match service {
            Some(_) if !is_enough(&found, min) => Err(Failure::said(Exit::Failed)),
            _ => Ok(Exit::Done),
        }
    }
}

fn is_enough(found: &[Row], min: u64) -> bool {
    let providers = found.first().map_or(0, |(_, providers)| *providers);
    providers >= min
}

/// What is there when there is enough, or when the time is over.
async fn discover(
    queue: &mut QueueClient,
    (service, min): (Option<&str>, u64),
    timeout: Duration,
) -> Result<Vec<Row>, QueueError> {
    let deadline = Instant::now() + timeout;
    loop {
        let asked = json!({"limit": 0});
        let listed = queue
            .ask("ls", asked, Vec::new(), ANSWER_WAIT)
            .await?
            .result;
        let all = listed["services"].as_array().into_iter().flatten();
        let rows = all.map(|row| {
            let name = row["name"].as_str().unwrap_or_default().to_owned();
            (name, row["providers"].as_u64().unwrap_or_default())
        });
        let provided = rows.filter(|(name, providers)| match service {
            Some(wanted) => name == wanted && *providers > 0,
            None => *providers > 0,
        });
        let found: Vec<Row> = provided.collect();
        let left = deadline.saturating_duration_since(Instant::now());
        if service.is_none() || is_enough(&found, min) || left.is_zero() {
            return Ok(found);
        }
        sleep(REST.min(left)).await;
    }
}
