//! `stream groups`: consumer groups, where each is and who owns it.

use std::time::Duration;

use comfy_table::{Table, presets};
use serde_json::{Value, json};

use super::{Stream, wait};
use crate::cli::Global;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::members::TargetArgs;
use crate::cli::seed::block_on;
use crate::cli::status::trimmed;
use crate::cli::ui::{self, Format, FormatArgs};

use crate::model::quantity;

/// List consumer groups: where each is, and who owns it
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    target: TargetArgs,
    /// Forget this group and where it is
    #[arg(long, value_name = "GROUP")]
    forget: Option<String>,
    /// How long to wait for the stream [default: 5s]
    #[arg(short, long, value_name = "DURATION")]
    timeout: Option<quantity::Duration>,
    #[command(flatten)]
    format: FormatArgs,
}

fn ask(stream: &mut Stream, verb: &str, asked: Value, wait: Duration) -> Result<Value, Failure> {
    let reply = block_on(stream.client.ask(verb, asked, Vec::new(), wait))?;
    Ok(reply.map_err(|error| stream.failure(&error))?.result)
}

impl Args {
    pub(super) fn run(self, global: &Global) -> Outcome {
        let mut stream = Stream::find(self.target, global)?;
        let wait = wait(self.timeout);
        if let Some(group) = self.forget {
            ask(&mut stream, "forget", json!({ "group": group }), wait)?;
            return Ok(Exit::Done);
        }
        let told = ask(&mut stream, "groups", Value::Null, wait)?;
        if self.format.format != Format::Table {
            ui::document(self.format.format, &told);
            return Ok(Exit::Done);
        }
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(["GROUP", "OFFSET", "LAG", "CONSUMER", "GENERATION"]);
        for group in told["groups"].as_array().into_iter().flatten() {
            let text = |key: &str| match &group[key] {
                Value::String(text) => ui::plain(text),
                other => other.to_string(),
            };
            table.add_row(["group", "offset", "lag", "consumer", "generation"].map(text));
        }
        ui::data(trimmed(&table));
        Ok(Exit::Done)
    }
}
