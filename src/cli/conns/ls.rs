//! `conns ls`: every connection of a node's sockets, and the bans in force.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use comfy_table::{Table, presets};
use serde_json::{Value, json};

use super::{Door, NodeArgs};
use crate::cli::Global;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::status::{ago, trimmed};
use crate::cli::ui::{self, Format, FormatArgs};

/// The version of what `-o json` prints.
const SCHEMA: u32 = 1;

/// List the connections of a node: who, since when, how much.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    node: NodeArgs,
    #[command(flatten)]
    format: FormatArgs,
}

impl Args {
    pub(super) fn run(self, global: &Global) -> Outcome {
        let doors = self.node.find(global)?;
        let asked: Result<Vec<Value>, Failure> = doors.iter().map(ask).collect();
        let instances = asked?;
        match self.format.format {
            Format::Table => {
                ui::data(connections(&instances));
                for line in bans(&instances) {
                    ui::data(line);
                }
            }
            format => ui::document(format, &json!({"schema": SCHEMA, "instances": instances})),
        }
        Ok(Exit::Done)
    }
}

pub(super) fn ask(door: &Door) -> Result<Value, Failure> {
    let reply = door.ask("conns", Value::Null)?;
    let body = reply.body.first().map(|body| serde_json::from_slice(body));
    let connections: Value = match body {
        Some(Ok(connections)) => connections,
        Some(Err(_)) | None => {
            let message = format!("{}: its answer is not understood", door.name);
            return Err(Failure::new(Exit::Failed, message));
        }
    };
    let bans = &reply.result["bans"];
    Ok(json!({"name": door.name, "connections": connections, "bans": bans}))
}

fn connections(instances: &[Value]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "NODE",
        "CONN",
        "PORT",
        "PEER",
        "TYPE",
        "IDENTITY",
        "KEY OF",
        "MESSAGES in/out",
        "QUEUED",
        "DROPPED",
        "SINCE",
    ]);
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.unwrap_or_default();
    for instance in instances {
        for it in instance["connections"].as_array().into_iter().flatten() {
            let text = |key: &str| ui::plain(it[key].as_str().unwrap_or_default());
            let number = |key: &str| it[key].as_u64().unwrap_or(0);
            let or_dash = |text: String| {
                if text.is_empty() {
                    "-".to_owned()
                } else {
                    text
                }
            };
            let dropped = it["dropped"].as_object().into_iter().flatten();
            let dropped: u64 = dropped.filter_map(|(_, count)| count.as_u64()).sum();
            let since = Duration::from_millis(number("since_ms"));
            table.add_row([
                ui::plain(instance["name"].as_str().unwrap_or_default()),
                number("conn").to_string(),
                text("port"),
                match text("peer_address") {
                    address if address.is_empty() => "ipc".to_owned(),
                    address => address,
                },
                match it["handshake_done"].as_bool() {
                    Some(true) => text("socket_type"),
                    _ => "in its handshake".to_owned(),
                },
                or_dash(text("identity")),
                or_dash(text("who")),
                format!("{}/{}", number("messages_in"), number("messages_out")),
                format!("{}B", number("queued_bytes")),
                dropped.to_string(),
                ago(now.saturating_sub(since)),
            ]);
        }
    }
    trimmed(&table)
}

fn bans(instances: &[Value]) -> Vec<String> {
    let mut lines = Vec::new();
    for instance in instances {
        let name = instance["name"].as_str().unwrap_or_default();
        for ban in instance["bans"].as_array().into_iter().flatten() {
            let text = |key: &str| ui::plain(ban[key].as_str().unwrap_or_default());
            let left = Duration::from_millis(ban["left_ms"].as_u64().unwrap_or(0));
            lines.push(format!(
                "{name}: {} {} is banned for another {}",
                text("by"),
                text("who"),
                ago(left)
            ));
        }
    }
    lines
}
