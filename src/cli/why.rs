//! `why LINK`: each wire of a link, and why it is silent.

use super::Global;
use super::exit::{Exit, Failure, Outcome};
use super::network::{self, control_failure};
use super::status::wires_table;
use super::ui::{self, Format, FormatArgs};
use crate::run::control::Look;

/// Say of each wire of a link whether it is connected, and why not.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The link.
    #[arg(value_name = "LINK")]
    link: String,
    #[command(flatten)]
    format: FormatArgs,
}

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
            let failure = Failure::new(
                Exit::Usage,
                format!("no link `{}` has a wire here", self.link),
            );
            return Err(failure.help(format!("links with wires: {}", links.join(", "))));
        }
        match self.format.format {
            Format::Table => ui::data(wires_table(&status)),
            format => ui::document(format, &status.wires),
        }
        Ok(Exit::Done)
    }
}
