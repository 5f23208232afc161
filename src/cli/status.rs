//! `status`: every instance and, where asked, every wire: as planned or not, since when and why.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use comfy_table::{Table, presets};

use super::Global;
use super::exit::{Exit, Failure, Outcome};
use super::listeners;
use super::network::{self, control_failure};
use super::ui::{self, Format, FormatArgs};
use crate::lifecycle::Phase;
use crate::run::control::Look;
use crate::run::ledger;
use crate::run::status::{Goal, NodeStatus, Status, WireState};

/// Show every instance: state, process, restarts, endpoints, probes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    format: FormatArgs,
    /// Show the wires too: connected or not, and why; and the limits of listening sockets, and what
    /// they refused.
    #[arg(long)]
    wires: bool,
    /// Exit with 5 where something does not stand as planned.
    #[arg(long)]
    check: bool,
    /// Show it again every second, until interrupted.
    #[arg(long)]
    watch: bool,
}

impl Args {
    pub(super) fn run(self, global: &Global) -> Outcome {
        let running = network::find(global)?;
        let is_document = !matches!(self.format.format, Format::Table);
        let look = Look {
            wires: self.wires || self.check || is_document,
        };
        loop {
            let status = network::converse(&running.layout, |control| {
                control.status(look).map_err(control_failure)
            })?;
            if is_document {
                ui::document(self.format.format, &status);
            } else {
                if self.watch {
                    ui::clear();
                }
                ui::data(nodes_table(&status));
                if self.wires {
                    ui::data(format_args!("\n{}", wires_table(&status)));
                    if let Some(listeners) = listeners::text(&status) {
                        ui::data(format_args!("\n{listeners}"));
                    }
                }
            }
            if self.watch {
                std::thread::sleep(Duration::from_secs(1));
                if !ledger::is_running(&running.layout) {
                    let message = format!("`{}` has ended", running.name);
                    return Err(Failure::new(Exit::NotRunning, message));
                }
                continue;
            }
            let is_drift = self.check && has_drift(&status);
            return Ok(if is_drift { Exit::Drift } else { Exit::Done });
        }
    }
}

/// Whether something does not stand as planned.
fn has_drift(status: &Status) -> bool {
    let nodes = status
        .nodes
        .iter()
        .any(|node| matches!(node.goal, Goal::Pending | Goal::Missed));
    // Whoever is done needs no wire any more.
    let is_done = |name: &String| {
        let mut nodes = status.nodes.iter();
        nodes.any(|node| {
            node.name == *name && node.state == Phase::Stopped && node.goal == Goal::Reached
        })
    };
    let mut wires = status.wires.iter();
    nodes
        || wires
            .any(|wire| wire.state == WireState::Down && !is_done(&wire.from) && !is_done(&wire.to))
}

/// The instances as a table, the reason of each beneath it where there is one.
pub(super) fn nodes_table(status: &Status) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "NAME",
        "STATE",
        "PID",
        "RESTARTS",
        "SINCE",
        "PROBE p50/p99",
        "ENDPOINTS",
    ]);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    for node in &status.nodes {
        let since = Duration::from_millis(node.since);
        table.add_row([
            node.name.clone(),
            node.state.to_string(),
            node.pid.map_or("-".to_owned(), |pid| pid.to_string()),
            node.restarts.to_string(),
            if node.since == 0 {
                "-".to_owned()
            } else {
                ago(now.saturating_sub(since))
            },
            round_trips(node),
            endpoints(node),
        ]);
    }
    let mut text = trimmed(&table);
    if let Some(why) = &status.trouble {
        text.push_str(&format!(
            "\nsupervisor: runs on without its ledger, which a successor would miss: {why}"
        ));
    }
    for node in &status.nodes {
        if let Some(reason) = &node.reason {
            text.push_str(&format!("\n{}: {reason}", node.name));
        }
        for line in &node.log {
            text.push_str(&format!("\n  | {line}"));
        }
    }
    text
}

/// The wires as a table.
pub(super) fn wires_table(status: &Status) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "LINK",
        "FROM",
        "TO",
        "STATE",
        "MESSAGES in/out",
        "ENDPOINT",
        "WHY",
    ]);
    for wire in &status.wires {
        let messages = wire
            .messages
            .map_or("-".to_owned(), |m| format!("{}/{}", m.r#in, m.out));
        table.add_row([
            wire.link.clone(),
            wire.from.clone(),
            wire.to.clone(),
            wire.state.as_str().to_owned(),
            messages,
            wire.endpoint.clone(),
            wire.reason.clone().unwrap_or_default(),
        ]);
    }
    trimmed(&table)
}

/// A table without the blanks at the ends of its lines.
pub(super) fn trimmed(table: &Table) -> String {
    let lines: Vec<String> = table
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect();
    lines.join("\n")
}

/// Which instances do not stand as planned, why, and where they are written.
pub(super) fn what_is_wrong(status: &Status, is_asked: impl Fn(&str) -> bool) -> String {
    let mut lines = Vec::new();
    for node in status.nodes.iter().filter(|node| is_asked(&node.name)) {
        let word = match node.goal {
            Goal::Missed => "failed",
            Goal::Pending => "not ready",
            Goal::Reached | Goal::Excluded => continue,
        };
        let why = node.reason.clone().unwrap_or_else(|| match node.state {
            Phase::Ready => "it runs, and is not done yet".to_owned(),
            state => state.to_string(),
        });
        lines.push(format!(
            "zmqnet: {} {word}: {why} ({})",
            node.name, node.origin
        ));
        lines.extend(node.log.iter().map(|line| format!("  | {line}")));
    }
    lines.join("\n")
}

fn endpoints(node: &NodeStatus) -> String {
    let addresses: Vec<&str> = node.endpoints.iter().map(|e| e.address.as_str()).collect();
    if addresses.is_empty() {
        "-".to_owned()
    } else {
        addresses.join(" ")
    }
}

fn round_trips(node: &NodeStatus) -> String {
    match (node.probe.p50_us, node.probe.p99_us) {
        (Some(p50), Some(p99)) => format!("{}/{}", micros(p50), micros(p99)),
        _ => "-".to_owned(),
    }
}

fn micros(us: u64) -> String {
    match us {
        0..1_000 => format!("{us}us"),
        1_000..1_000_000 => format!("{:.1}ms", us as f64 / 1_000.0),
        _ => format!("{:.1}s", us as f64 / 1_000_000.0),
    }
}

/// A time span in its two largest units.
pub(super) fn ago(span: Duration) -> String {
    let s = span.as_secs();
    match s {
        0..60 => format!("{s}s"),
        60..3_600 => format!("{}m{}s", s / 60, s % 60),
        3_600..86_400 => format!("{}h{}m", s / 3_600, s % 3_600 / 60),
        _ => format!("{}d{}h", s / 86_400, s % 86_400 / 3_600),
    }
}
