//! `why LINK`: each wire of a link, and why it is silent.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Global;
use super::exit::{Exit, Outcome};
use super::network::{self, control_failure};
use super::status::{ago, wires_table};
use super::ui::{self, Format, FormatArgs};
use crate::run::control::Look;
use crate::run::node::HEALTH;
use crate::run::status::{RefusedStatus, Status};

/// Say of each wire of a link whether it is connected, and why not.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The link.
    #[arg(value_name = "LINK")]
    link: String,
    #[command(flatten)]
    format: FormatArgs,
}

/// Refusals that are shown; the roles remember a few more.
const SHOWN_MAX: usize = 16;

impl Args {
    pub(super) fn run(self, global: &Global) -> Outcome {
        let running = network::find(global)?;
        let look = Look { wires: true };
        let mut status = network::converse(&running.layout, |control| {
            control.status(look).map_err(control_failure)
        })?;
        let mut links: Vec<String> = status.wires.iter().map(|wire| wire.link.clone()).collect();
        links.dedup();
        status.wires.retain(|wire| wire.link == self.link);
        if status.wires.is_empty() {
            return Err(network::no_wires(&self.link, &links));
        }
        match self.format.format {
            Format::Table => {
                ui::data(wires_table(&status));
                let lines = refusals(&status);
                if !lines.is_empty() {
                    ui::data("");
                }
                for line in lines {
                    ui::data(line);
                }
            }
            format => ui::document(format, &status.wires),
        }
        Ok(Exit::Done)
    }
}

/// Who was refused at an end of these wires, last refused first, one a line.
fn refusals(status: &Status) -> Vec<String> {
    let ends: BTreeSet<&str> = status
        .wires
        .iter()
        .flat_map(|wire| [wire.from.as_str(), wire.to.as_str()])
        .collect();
    // A gate refuses for the program it stands beside.
    let behind = |node: &str| ends.contains(node.strip_suffix("-gate").unwrap_or(node));
    // Who was refused at another port of theirs has nothing to do with these wires.
    let endpoints: BTreeSet<&str> = (status.wires.iter())
        .map(|wire| wire.endpoint.as_str())
        .collect();
    let is_there = |refused: &RefusedStatus| {
        let mut at = refused.at.iter();
        refused.port != HEALTH && (at.len() == 0 || at.any(|at| endpoints.contains(at.as_str())))
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.unwrap_or_default();
    let refused = status.refused.iter();
    let mut refused: Vec<&RefusedStatus> = refused
        .filter(|refused| ends.contains(refused.node.as_str()) || behind(&refused.node))
        .filter(|refused| is_there(refused))
        .collect();
    refused.sort_by_key(|refused| std::cmp::Reverse(refused.last_ms));
    let lines = refused.iter().take(SHOWN_MAX).map(|refused| {
        let from = match refused.address.as_str() {
            "" => "somebody on this machine",
            address => address,
        };
        let whose = match (&refused.key, &refused.who) {
            (Some(key), Some(who)) => format!(" with the key of {who} ({key})"),
            (Some(key), None) => format!(", a stranger, with the key {key}"),
            (None, _) => String::new(),
        };
        let times = match refused.count {
            1 => String::new(),
            count => format!(", {count} times"),
        };
        let since = now.saturating_sub(Duration::from_millis(refused.last_ms));
        format!(
            "{} refused {from}{whose}: {}{times}, {} ago",
            refused.node,
            refused.reason,
            ago(since)
        )
    });
    let mut lines: Vec<String> = lines.collect();
    if refused.len() > SHOWN_MAX {
        lines.push(format!("and {} more", refused.len() - SHOWN_MAX));
    }
    lines
}
