//! `keys allow`: one more client of a listener, beside those of the manifest.

use super::{Outcome, PlaceArgs, failure, written_key};
use crate::cli::Global;
use crate::cli::exit::{Exit, Failure};
use crate::cli::ui;
use crate::diagnostics::suggest::did_you_mean;
use crate::plan::Plan;

/// Admit one more client to the encrypted listeners of a node.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The client's public key, or a file that holds it.
    #[arg(value_name = "KEY|FILE")]
    key: String,
    /// What the client is called.
    #[arg(long = "as", value_name = "NAME")]
    who: String,
    /// The node, or one instance of it, that admits the client.
    #[arg(short, long, value_name = "NODE")]
    node: String,
    #[command(flatten)]
    place: PlaceArgs,
}

impl Args {
    pub(super) fn run(self, global: &Global) -> Outcome {
        let place = self.place.find(global)?;
        if let Some(plan) = &place.plan {
            listens(plan, &self.node)?;
        }
        let key = written_key(&self.key)?;
        let dir = place.open()?;
        dir.allow(key, &self.who, &self.node).map_err(failure)?;
        ui::data(format_args!("{}  {key}", self.who));
        ui::talk(format_args!("`{}` admits `{}`", self.node, self.who));
        Ok(Exit::Done)
    }
}

/// Whether a node or an instance has an encrypted listener.
fn listens(plan: &Plan, node: &str) -> Result<(), Failure> {
    let named = |it: &&crate::plan::Instance| it.name.as_str() == node || it.node.as_str() == node;
    let mut instances = plan.instances.iter().filter(named).peekable();
    if instances.peek().is_none() {
        let names = plan
            .instances
            .iter()
            .flat_map(|it| [it.name.as_str(), it.node.as_str()]);
        let failure = Failure::new(Exit::Usage, format!("no instance or node `{node}`"));
        return Err(match did_you_mean(node, names) {
            Some(help) => failure.help(help),
            None => failure,
        });
    }
    let is_guarded = |it: &crate::plan::Instance| it.ports.iter().any(|p| p.guarded.is_some());
    if instances.any(is_guarded) {
        return Ok(());
    }
    let message = format!("`{node}` has no encrypted listener");
    Err(Failure::new(Exit::Failed, message).help("`zmqnet plan --explain` says what is encrypted"))
}
