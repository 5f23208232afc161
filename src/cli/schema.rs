//! `zmqnet schema`: the JSON Schema that editors complete and check manifests with.

use clap::ValueEnum;

use super::exit::{Exit, Outcome};
use super::ui;
use crate::schema::{generate, peers};

/// Print the JSON Schema of manifests, for editors.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Of which files.
    #[arg(value_name = "NAME", default_value = "topology")]
    name: Name,
}

/// The schemas there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Name {
    /// Topologies.
    Topology,
    /// ZMQ Net's `peers.json`.
    Peers,
}

impl Args {
    /// Prints the schema as it is committed under `schemas/`.
    pub fn run(self) -> Outcome {
        let schema = match self.name {
            Name::Topology => &generate::generate(),
            Name::Peers => peers::schema(),
        };
        ui::document(ui::Format::Json, schema);
        Ok(Exit::Done)
    }
}
