//! `zmqnet plan`: what `apply` would do, and why.

use std::time::Duration;

use serde::Serialize;

use super::exit::{Exit, Failure, Outcome};
use super::load::{self, Loaded, ManifestArgs};
use super::ui::{self, Format, FormatArgs};
use super::{Global, apply, decisions, keys};
use crate::plan::change::{Change, Class, Op};
use crate::plan::diff::diff;
use crate::plan::{Instance, Plan};
use crate::run::control::{Applied, Control};

/// How long the supervisor of a network may take to be there.
const SUPERVISOR_WAIT: Duration = Duration::from_secs(1);

/// Show what `apply` would do, and change nothing.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    manifest: ManifestArgs,
    /// Say in words who binds, by which transport, on which port, in which order, and why.
    #[arg(long)]
    explain: bool,
    /// Show what taking over a network would do that another manifest of the same name started.
    #[arg(long)]
    replace: bool,
    /// End with 2 when there are changes.
    #[arg(long)]
    detailed_exitcode: bool,
    #[command(flatten)]
    format: FormatArgs,
}

/// What `-o json` prints.
#[derive(Serialize)]
struct Report<'a> {
    schema: u32,
    topology: &'a str,
    digest: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<&'a str>,
    processes: Vec<ProcessRow<'a>>,
    changes: &'a [Change],
    wires: &'a [crate::plan::Wire],
    unbuilt: &'a [crate::plan::Unbuilt],
}

#[derive(Serialize)]
struct ProcessRow<'a> {
    name: &'a str,
    node: &'a str,
    kind: crate::roles::Kind,
    rank: Option<u16>,
    /// What others dial.
    endpoints: Vec<String>,
    sockets: &'a [crate::plan::Socket],
}

impl Args {
    /// Compiles, compares with what runs, prints.
    pub fn run(self, global: &Global) -> Outcome {
        let mut loaded = load::plan(global, &self.manifest)?;
        loaded.refuse_unplannable()?;
        let plan = &loaded.plan;
        let changes = self.changes(&loaded)?;
        if self.format.format == Format::Table {
            table(plan, loaded.applied.is_some(), &changes);
            for words in keys::missing::words(&loaded.topology, plan) {
                ui::data(words);
            }
            if self.explain {
                ui::data("");
                for line in decisions::of(&loaded.topology, plan) {
                    ui::data(line);
                }
            }
        } else {
            let report = Report {
                schema: 1,
                topology: plan.topology.as_str(),
                digest: &plan.digest,
                host: plan.host.as_deref(),
                processes: plan.instances.iter().map(ProcessRow::of).collect(),
                changes: &changes,
                wires: &plan.wires,
                unbuilt: &plan.unbuilt,
            };
            ui::document(self.format.format, &report);
        }
        Ok(if self.detailed_exitcode && !changes.is_empty() {
            Exit::Changes
        } else {
            Exit::Done
        })
    }
}

impl Args {
    /// What `apply` would do, as it would say it.
    fn changes(&self, loaded: &Loaded) -> Result<Vec<Change>, Failure> {
        let plan = &loaded.plan;
        let Some(applied) = &loaded.applied else {
            return Ok(diff(&Plan::empty(plan.topology.clone()), plan));
        };
        apply::refuse_stranger(&loaded.layout, plan, self.replace)?;
        // Nobody is started for a question. Without a supervisor, who had failed is not known.
        let foreseen = Control::connect(&loaded.layout, SUPERVISOR_WAIT)
            .and_then(|mut control| control.foresee(plan));
        let Applied {
            mut changes, again, ..
        } = foreseen.unwrap_or_else(|error| {
            ui::talk(format_args!(
                "zmqnet: {error}; `apply` also starts who had failed or was stopped"
            ));
            Applied {
                changes: diff(applied, plan),
                ..Applied::default()
            }
        });
        for node in again {
            changes.push(Change {
                n: u32::try_from(changes.len() + 1).unwrap_or(u32::MAX),
                needs: Vec::new(),
                op: Op::Start,
                node,
                class: Class::Live,
                cause: apply::AGAIN.to_owned(),
                wires: Vec::new(),
            });
        }
        Ok(changes)
    }
}

impl<'a> ProcessRow<'a> {
    fn of(instance: &'a Instance) -> Self {
        Self {
            name: instance.name.as_str(),
            node: instance.node.as_str(),
            kind: instance.kind,
            rank: instance.process.as_ref().map(|process| process.rank),
            endpoints: addresses(instance),
            sockets: &instance.sockets,
        }
    }
}

fn addresses(instance: &Instance) -> Vec<String> {
    let ports = instance.ports.iter();
    ports.map(|port| port.address.to_string()).collect()
}

fn table(plan: &Plan, is_running: bool, changes: &[Change]) {
    let mut rows = vec![columns(["NAME", "KIND", "SOCKET", "ENDPOINTS"])];
    for instance in &plan.instances {
        rows.extend(socket_rows(instance));
    }
    print(&rows);
    ui::data("");
    if changes.is_empty() {
        ui::data(format_args!("{}: no changes", plan.topology));
    } else {
        let state = if is_running {
            "runs and changes"
        } else {
            "does not run yet"
        };
        ui::data(format_args!("{} {state}:", plan.topology));
        let mut rows = Vec::new();
        for change in changes {
            let wires = match (change.op, change.wires.as_slice()) {
                (_, []) => String::new(),
                (Op::Update, wires) => format!(" (live: {})", shortened(wires, ", ")),
                (Op::Start | Op::Stop | Op::Restart, [wire]) => format!(" (interrupts {wire})"),
                (Op::Start | Op::Stop | Op::Restart, more) => {
                    format!(" (interrupts {} wires)", more.len())
                }
            };
            rows.push(vec![
                format!("{:>4}", change.n),
                op(change.op, change.class).to_owned(),
                change.node.to_string(),
                format!("{}{wires}", change.cause),
            ]);
        }
        print(&rows);
    }
    let count = plan
        .instances
        .iter()
        .filter(|i| i.process.is_some())
        .count();
    ui::data("");
    ui::data(format_args!(
        "{count} processes, {} wires, digest {}",
        plan.wires.len(),
        plan.digest.get(..12).unwrap_or_default()
    ));
    for unbuilt in &plan.unbuilt {
        let origin = &unbuilt.origin;
        ui::data(format_args!(
            "not built yet: {} ({}, line {})",
            unbuilt.what, origin.path, origin.line
        ));
    }
}

fn op(op: Op, class: Class) -> &'static str {
    match (op, class) {
        (_, Class::Refuse) => "refuse",
        (Op::Start, _) => "start",
        (Op::Stop, _) => "stop",
        (Op::Restart, _) => "restart",
        (Op::Update, _) => "update",
    }
}

/// One row a socket; a role's listening sockets are rows by port.
fn socket_rows(instance: &Instance) -> Vec<Vec<String>> {
    let name = instance.name.as_str();
    let kind = instance.kind.as_str();
    if instance.sockets.is_empty() && instance.ports.is_empty() {
        return vec![columns([name, kind, "", ""])];
    }
    if !instance.sockets.is_empty() {
        let sockets = instance.sockets.iter().map(|socket| {
            let endpoints = socket.endpoints.iter().map(ToString::to_string);
            let endpoints: Vec<String> = endpoints.collect();
            let what = format!("{} {} {}", socket.env, socket.ty, socket.mode.as_str());
            columns([name, kind, &what, &shortened(&endpoints, " ")])
        });
        return sockets.collect();
    }
    let mut by_port: Vec<(&str, Vec<String>)> = Vec::new();
    for port in &instance.ports {
        match by_port.iter_mut().find(|(name, _)| *name == port.port) {
            Some((_, endpoints)) => endpoints.push(port.address.to_string()),
            None => by_port.push((&port.port, vec![port.address.to_string()])),
        }
    }
    by_port
        .iter()
        .map(|(port, endpoints)| {
            columns([
                name,
                kind,
                &format!("{port} bind"),
                &shortened(endpoints, " "),
            ])
        })
        .collect()
}

/// The first few of a list.
fn shortened(items: &[String], between: &str) -> String {
    const SHOWN: usize = 3;
    let mut text = items[..items.len().min(SHOWN)].join(between);
    if items.len() > SHOWN {
        text.push_str(&format!(" ... ({} in all)", items.len()));
    }
    text
}

fn columns<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

/// Prints rows as columns, two spaces between them, none at the end of a line.
fn print(rows: &[Vec<String>]) {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    for row in rows {
        let cells = row.iter().zip(&widths);
        let cells: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        ui::data(cells.join("  ").trim_end());
    }
}
