//! `keys rotate`: another pair; the one before stays good for a while.

use std::time::SystemTime;

use super::{Outcome, PlaceArgs, failure};
use crate::cli::Global;
use crate::cli::exit::Exit;
use crate::cli::ui;
use crate::model::quantity;
use crate::plan::{Exec, Plan};
use crate::run::keys::time;

/// Replace an instance's pair; the one before stays good for the overlap, and no connection is lost.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The instance, or `operator`.
    #[arg(value_name = "NAME")]
    name: String,
    /// How long the pair before stays good.
    #[arg(long, value_name = "DURATION", default_value = "24h")]
    overlap: quantity::Duration,
    #[command(flatten)]
    place: PlaceArgs,
}

impl Args {
    pub(super) fn run(self, global: &Global) -> Outcome {
        let place = self.place.find(global)?;
        let dir = place.open()?;
        let name = &self.name;
        let rotated = dir.rotate(name, self.overlap.as_std());
        let (key, stays) = rotated.map_err(failure)?;
        ui::data(format_args!("{name}  {key}"));
        if stays {
            let until = time::text(SystemTime::now() + self.overlap.as_std());
            ui::talk(format_args!("the pair before stays good until {until}"));
        }
        for word in place.plan.iter().flat_map(|plan| next(plan, name)) {
            ui::talk(word);
        }
        Ok(Exit::Done)
    }
}

/// What is left to do by hand.
fn next(plan: &Plan, name: &str) -> Vec<String> {
    let mut words = Vec::new();
    let Some(instance) = plan.instance(name) else {
        return words;
    };
    let process = instance.process.as_ref().map(|process| &process.exec);
    if matches!(process, Some(Exec::Program { .. })) {
        words.push(format!(
            "`{name}` reads its keys when it starts: `zmqnet restart {name}`"
        ));
    }
    let is_far = |other: &str| {
        let other = plan.instance(other);
        other.is_some_and(|other| other.process.is_none())
    };
    let is_known_afar = plan.wires.iter().any(|wire| {
        let (from, to) = (wire.from.as_str(), wire.to.as_str());
        (from == name && is_far(to)) || (to == name && is_far(from))
    });
    if is_known_afar {
        words.push(format!(
            "copy `{name}.key` to the key directories of the other hosts before that"
        ));
    }
    words
}
