//! `bus ls`: topics, subscribers, rates.

use std::time::Duration;

use comfy_table::Table;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::cli::Global;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::members::TargetArgs;
use crate::cli::seed::block_on;
use crate::cli::ui::{self, Format, FormatArgs};
use crate::client::bus::Publisher;
use crate::model::quantity;

use super::{WAIT, failure, find};

/// Between the two looks that make a rate.
const LOOK: Duration = Duration::from_millis(500);

/// List what is subscribed to, by how many, and how many messages a second come
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    target: TargetArgs,
    /// How long the bus may take to answer [default: 5s]
    #[arg(short, long, value_name = "DURATION")]
    timeout: Option<quantity::Duration>,
    #[command(flatten)]
    format: FormatArgs,
}

impl Args {
    pub(super) fn run(self, global: &Global) -> Outcome {
        let target = find(self.target, "acked", global)?;
        let wait = self.timeout.map_or(WAIT, quantity::Duration::as_std);
        let mut asker = Publisher::new(target.endpoint.clone(), target.keys.clone());
        let looks = block_on(async {
            let first = asker.status(wait).await?;
            let start = Instant::now();
            sleep(LOOK).await;
            let second = asker.status(wait).await?;
            Ok((first, second, start.elapsed()))
        })?;
        let (first, second, between) = looks.map_err(|error| failure(&target, &error))?;
        let fan = &second["fan"];
        if fan.is_null() {
            let message = format!("{} is no bus", target.endpoint);
            return Err(Failure::new(Exit::Failed, message));
        }
        let rate = |key: &[&str], before: &Value, after: &Value| {
            let count = |value: &Value| {
                let value = key.iter().fold(value, |value, key| &value[key]);
                value.as_u64().unwrap_or_default()
            };
            let count = count(after).saturating_sub(count(before));
            (count as f64 / between.as_secs_f64()).round()
        };
        let topics: Vec<Value> = fan["topics"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|topic| {
                let mut before = first["fan"]["topics"].as_array().into_iter().flatten();
                let before = before.find(|it| it["topic"] == topic["topic"]);
                let mut row = topic.clone();
                // One that is new has no rate yet.
                row["per_second"] = json!(before.map(|it| rate(&["messages"], it, topic)));
                row
            })
            .collect();
        let report = json!({
            "schema": 1,
            "endpoint": target.endpoint,
            "published": fan["published"],
            "published_per_second": rate(&["published"], &first["fan"], fan),
            "sent_per_second": rate(&["passed", "sent"], &first["fan"], fan),
            "unmatched": fan["unmatched"],
            "oversized": fan["oversized"],
            "passed": fan["passed"],
            "retained": fan["retained"],
            "subscribers": fan["subscribers"],
            "buses": fan["buses"],
            "topics": topics,
            "more": fan["topics_more"],
        });
        match self.format.format {
            Format::Table => {
                ui::data(table(&report));
                if let Some(more) = report["more"].as_u64().filter(|more| *more > 0) {
                    ui::talk(format_args!("{more} more topics"));
                }
                if let Some(over) = report["oversized"].as_u64().filter(|over| *over > 0) {
                    ui::talk(format_args!(
                        "{over} messages of other buses were over the limits here, and dropped"
                    ));
                }
            }
            format => ui::document(format, &report),
        }
        Ok(Exit::Done)
    }
}

fn table(report: &Value) -> String {
    let mut topics = Table::new();
    topics.load_style(comfy_table::presets::NOTHING);
    topics.set_header(["TOPIC", "SUBSCRIBERS", "MESSAGES", "PER SECOND"]);
    for row in report["topics"].as_array().into_iter().flatten() {
        let topic = match row["topic"].as_str().unwrap_or_default() {
            "" => "(all)".to_owned(),
            topic => topic.escape_debug().to_string(),
        };
        topics.add_row([
            topic,
            row["subscribers"].to_string(),
            row["messages"].to_string(),
            number(&row["per_second"]),
        ]);
    }
    let passed = &report["passed"];
    let dropped = passed["dropped"].as_object().into_iter().flatten();
    let dropped: u64 = dropped.filter_map(|(_, count)| count.as_u64()).sum();
    format!(
        "{topics}\n\n{} published ({}/s), {} of them for nobody; to {} subscribers and \
         those that left: {} matched, {} sent ({}/s), {} queued, {dropped} dropped",
        report["published"],
        number(&report["published_per_second"]),
        report["unmatched"],
        report["subscribers"],
        passed["matched"],
        passed["sent"],
        number(&report["sent_per_second"]),
        passed["queued"],
    )
}

fn number(value: &Value) -> String {
    value
        .as_f64()
        .map_or_else(|| "-".to_owned(), |rate| format!("{rate:.0}"))
}
