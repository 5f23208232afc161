//! `start`, `stop`, `restart`: instances by hand, by the name of a node or of an instance.

use std::time::Duration;

use super::Global;
use super::exit::{Exit, Failure, Outcome};
use super::network::{self, control_failure};
use super::progress::{self, Waiting};
use super::ui;
use crate::model::name::InstanceName;
use crate::model::quantity;
use crate::run::control::{self, Control, Look};
use crate::run::status::Status;

/// Which instances, and how long to wait for them.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Nodes or instances.
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
    /// How long to wait until it is done.
    #[arg(long, value_name = "DURATION", default_value = "60s")]
    timeout: quantity::Duration,
}

impl Args {
    /// Starts them, and waits until they are ready.
    pub(super) fn start(self, global: &Global) -> Outcome {
        self.by_hand(global, control::START)
    }

    /// Stops them, and waits until nothing of them is left; they stay stopped.
    pub(super) fn stop(self, global: &Global) -> Outcome {
        self.by_hand(global, control::STOP)
    }

    /// Stops them and starts them again, and waits until they are ready.
    pub(super) fn restart(self, global: &Global) -> Outcome {
        self.by_hand(global, control::RESTART)
    }

    fn by_hand(self, global: &Global, verb: &str) -> Outcome {
        let running = network::find(global)?;
        network::converse(&running.layout, |control| {
            let status = control.status(Look::default()).map_err(control_failure)?;
            let names = instances(&status, &self.names)?;
            let after = control
                .hands(verb, names.clone())
                .map_err(control_failure)?;
            finish(control, after, names, self.timeout)
        })
    }
}

/// Waits for instances, none named for all, and tells what happens after a transition; says how it
/// ended: done, failed, or not in time.
pub(super) fn finish(
    control: &mut Control,
    after: u64,
    names: Vec<InstanceName>,
    timeout: quantity::Duration,
) -> Outcome {
    let waiting = Waiting {
        after,
        names: names.clone(),
        timeout: Some(Duration::from_millis(timeout.as_millis())),
        interrupts: None,
    };
    let waited = progress::wait(control, waiting)?;
    if waited.is_going_down {
        return Err(progress::taken_down());
    }
    if waited.pending == 0 && waited.missed == 0 {
        return Ok(Exit::Done);
    }
    let status = control.status(Look::default()).map_err(control_failure)?;
    let is_asked = |name: &str| names.is_empty() || names.iter().any(|n| n.as_str() == name);
    ui::talk(super::status::what_is_wrong(&status, is_asked));
    Err(Failure::said(if waited.missed > 0 {
        Exit::Failed
    } else {
        Exit::NotReady
    }))
}

/// The instances that names mean: instances, or all of a node.
pub(super) fn instances(status: &Status, names: &[String]) -> Result<Vec<InstanceName>, Failure> {
    let mut found = Vec::new();
    for name in names {
        let by_name = status.nodes.iter().filter(|node| node.name == *name);
        let mut of_name: Vec<&str> = by_name.map(|node| node.name.as_str()).collect();
        if of_name.is_empty() {
            let of_node = status.nodes.iter().filter(|node| node.node == *name);
            of_name = of_node.map(|node| node.name.as_str()).collect();
        }
        if of_name.is_empty() {
            let known: Vec<&str> = status
                .nodes
                .iter()
                .map(|node| node.name.as_str())
                .take(20)
                .collect();
            let failure = Failure::new(Exit::Usage, format!("no node or instance `{name}`"));
            return Err(failure.help(format!("there are: {}", known.join(", "))));
        }
        found.extend(of_name.into_iter().map(InstanceName::from));
    }
    Ok(found)
}
