//! `keys revoke`: keys that are good for nothing any more, from now on.

use super::{Outcome, PlaceArgs, failure, written, written_by, written_key};
use crate::cli::Global;
use crate::cli::exit::{Exit, Failure};
use crate::cli::ui;
use crate::model::key::PublicKey;

/// Take keys back: who uses them is disconnected at once and admitted nowhere.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// An instance, also one whose key is written in the manifest, a client that was allowed, a public
    /// key, or a file that holds one.
    #[arg(value_name = "NAME|KEY|FILE")]
    what: String,
    #[command(flatten)]
    place: PlaceArgs,
}

impl Args {
    pub(super) fn run(self, global: &Global) -> Outcome {
        let place = self.place.find_dir(global)?;
        let dir = place.open()?;
        let what = &self.what;
        // A manifest that cannot be read must not keep anybody from taking a key back.
        let plan = (place.plan).or_else(|| self.place.find(global).ok()?.plan);
        let plan = plan.as_ref();
        let who = |key: &PublicKey| {
            let written = plan.and_then(|plan| written_by(plan, key));
            dir.who(key).or(written)
        };
        let one = |key: PublicKey| vec![(key, who(&key))];
        let keys: Vec<(PublicKey, Option<String>)> = match what.parse::<PublicKey>() {
            Ok(key) => one(key),
            // No name has a `/`, and a file without one is written `./FILE`.
            Err(_) if what.contains('/') => one(written_key(what)?),
            Err(_) => {
                let mut keys = dir.keys_of(what).map_err(failure)?;
                let written = plan.and_then(|plan| written(plan, what));
                keys.extend(written.filter(|key| !keys.contains(key)));
                let keys = keys.into_iter();
                keys.map(|key| (key, Some(what.clone()))).collect()
            }
        };
        if keys.is_empty() {
            let message = format!("there is no key of `{what}`");
            return Err(Failure::new(Exit::Failed, message).help("`zmqnet keys ls` lists them"));
        }
        dir.revoke(&keys).map_err(failure)?;
        for (key, who) in keys {
            ui::data(format_args!("{}  {key}", who.as_deref().unwrap_or("-")));
        }
        ui::talk("revoked on this host; other hosts have key directories of their own");
        Ok(Exit::Done)
    }
}
