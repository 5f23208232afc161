//! `selftest`: one of each kind on loopback, checked by real traffic, and taken down again.
//!
//! The network is a manifest like any other, brought up and taken down by this binary's own commands
//! in directories of its own ([`stage`]), and the traffic goes by the clients that the commands use
//! ([`checks`]). It must never touch a network of the person who runs it, nor leave anything behind.

mod checks;
mod stage;

use std::time::Duration;

use serde::Serialize;

use super::attach::Interrupts;
use super::exit::{Exit, Failure, Outcome};
use super::ui::{self, Format, FormatArgs};
use crate::model::quantity;
use checks::{CHECKS, Fault, Network};
use stage::Stage;

/// What a line is about that is about no single kind.
const WHOLE: &str = "network";

/// Bring up one of each kind on loopback, check each by real traffic, and leave nothing behind
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The ports to take some of.
    #[arg(long, value_name = "A..B", default_value = "7000..7999")]
    ports: quantity::PortRange,
    /// How long the network may take to be ready, and each check after it.
    #[arg(long, value_name = "DURATION", default_value = "20s")]
    timeout: quantity::Duration,
    #[command(flatten)]
    format: FormatArgs,
}

/// What was found of one kind, or of the whole network.
#[derive(Debug, Serialize)]
struct Found {
    what: &'static str,
    ok: bool,
    saw: String,
}

/// What `-o json` prints.
#[derive(Debug, Serialize)]
struct Report {
    schema: u32,
    ok: bool,
    checks: Vec<Found>,
}

/// All that is found, said at once where a person reads it.
struct Findings {
    format: Format,
    all: Vec<Found>,
}

impl Findings {
    fn add(&mut self, what: &'static str, seen: Result<String, Fault>) {
        let (ok, saw) = match seen {
            Ok(saw) => (true, saw),
            Err(fault) => (false, fault.to_string()),
        };
        if self.format == Format::Table {
            let word = if ok { "ok  " } else { "FAIL" };
            // That nobody reads it any more must not end this before it has cleaned up.
            ui::data_if_read(format_args!("{word}  {what:<8}  {saw}"));
        }
        self.all.push(Found { what, ok, saw });
    }
}

impl Args {
    pub(super) fn run(self) -> Outcome {
        let interrupts = Interrupts::noted()?;
        let mut findings = Findings {
            format: self.format.format,
            all: Vec::new(),
        };
        let stage = Stage::set(&interrupts).map_err(|error| {
            let message = format!("no place for a network of its own: {error}");
            Failure::new(Exit::File, message).help("`TMPDIR` names another directory")
        })?;
        self.perform(&stage, &mut findings);
        let struck = stage.strike();
        if let Some(exit) = interrupts.exit() {
            struck.map_err(|fault| Failure::new(Exit::Failed, fault.to_string()))?;
            ui::talk("zmqnet: interrupted; nothing is left");
            return Ok(exit);
        }
        findings.add(WHOLE, struck);
        let ok = findings.all.iter().all(|found| found.ok);
        if self.format.format != Format::Table {
            let report = Report {
                schema: 1,
                ok,
                checks: findings.all,
            };
            ui::document(self.format.format, &report);
        }
        Ok(if ok { Exit::Done } else { Exit::Failed })
    }

    /// Brings the network up and checks it; stops at once when a person interrupts.
    fn perform(&self, stage: &Stage, findings: &mut Findings) {
        let timeout = self.timeout.as_std();
        let brought_up = stage.bring_up(self.ports, timeout);
        if stage.is_interrupted() {
            return;
        }
        findings.add(WHOLE, brought_up);
        let Some(plan) = stage.plan() else {
            return;
        };
        let network = Network::new(&plan, timeout, stage.interrupts());
        for (kind, check) in CHECKS {
            let seen = check(&network);
            if stage.is_interrupted() {
                return;
            }
            findings.add(kind.as_str(), seen);
        }
        findings.add(WHOLE, stage.stands(timeout.min(LOOK_WAIT)));
    }
}

/// How long the supervisor may take to say how everything stands.
const LOOK_WAIT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roles::{Kind, ROLES};

    /// Kinds that nothing is checked of: what is somebody else's, and what is not built.
    const UNCHECKED: [Kind; 5] = [
        Kind::Peer,
        Kind::Lighthouse,
        Kind::External,
        Kind::Command,
        Kind::Gate,
    ];

    #[test]
    fn every_kind_is_checked_or_named_as_unchecked() {
        for role in &ROLES {
            let is_checked = CHECKS.iter().any(|(kind, _)| *kind == role.kind);
            assert!(
                is_checked != UNCHECKED.contains(&role.kind),
                "`{}`: a row in CHECKS and a node in network.yaml, or a name in UNCHECKED",
                role.name
            );
        }
    }
}
