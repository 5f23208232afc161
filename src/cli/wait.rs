//! `wait`: until everything stands as planned.

use super::Global;
use super::exit::Outcome;
use super::network::{self, control_failure};
use super::{hands, progress};
use crate::model::quantity;
use crate::run::control::Look;

/// Wait until everything, or what is named, stands as planned.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Nodes or instances; none is all.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// How long; past it the exit code is 4.
    #[arg(long, value_name = "DURATION", default_value = "60s")]
    timeout: quantity::Duration,
}

impl Args {
    pub(super) fn run(self, global: &Global) -> Outcome {
        let running = network::find(global)?;
        network::converse(&running.layout, |control| {
            let status = control.status(Look::default()).map_err(control_failure)?;
            let names = hands::instances(&status, &self.names)?;
            hands::finish(control, progress::NOTHING_OLD, names, self.timeout)
        })
    }
}
