//! `ls`: the networks that run on this machine under this user.

use comfy_table::{Table, presets};
use serde::Serialize;

use super::Global;
use super::exit::{Exit, Outcome};
use super::network;
use super::status::trimmed;
use super::ui::{self, Format, FormatArgs};
use crate::run::keeper::client;

/// List the networks that are running.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    format: FormatArgs,
}

/// One running network.
#[derive(Debug, Serialize)]
struct Row {
    topology: String,
    manifest: Option<String>,
    instances: usize,
    keeper: Option<u32>,
    supervisor: Option<u32>,
}

impl Args {
    pub(super) fn run(self, _global: &Global) -> Outcome {
        let rows: Vec<Row> = network::running()?
            .into_iter()
            .map(|running| {
                let plan = network::plan_of(&running.layout);
                let keeper = client::connect(&running.layout)
                    .ok()
                    .map(|k| k.hello().clone());
                let instances = plan.iter().flat_map(|plan| &plan.instances);
                Row {
                    topology: running.name.to_string(),
                    instances: instances.filter(|i| i.process.is_some()).count(),
                    manifest: plan.map(|plan| plan.manifest.display().to_string()),
                    keeper: keeper.as_ref().map(|hello| hello.pid),
                    supervisor: keeper.and_then(|hello| hello.supervisor),
                }
            })
            .collect();
        match self.format.format {
            Format::Table if rows.is_empty() => ui::talk("nothing is running"),
            Format::Table => {
                let mut table = Table::new();
                table.load_style(presets::NOTHING);
                table.set_header(["TOPOLOGY", "INSTANCES", "KEEPER", "SUPERVISOR", "MANIFEST"]);
                let pid = |pid: Option<u32>| pid.map_or("-".to_owned(), |pid| pid.to_string());
                for row in rows {
                    table.add_row([
                        row.topology,
                        row.instances.to_string(),
                        pid(row.keeper),
                        pid(row.supervisor),
                        row.manifest.unwrap_or_default(),
                    ]);
                }
                ui::data(trimmed(&table));
            }
            format => ui::document(format, &rows),
        }
        Ok(Exit::Done)
    }
}
