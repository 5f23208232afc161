//! `keys new`: pairs that are not there yet.

use super::{Failure, KeyDir, Outcome, Place, PlaceArgs, failure, shown};
use crate::cli::Global;
use crate::cli::exit::Exit;
use crate::cli::ui;
use crate::model::security::OPERATOR;
use crate::plan::{Instance, Plan};
use crate::roles::Kind;
use crate::run::keys::{KeyDirError, Made, check_name};

/// Make the keys of instances; without names, of all that this host starts and of zmqnet's own
/// commands.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The instances.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    place: PlaceArgs,
}

impl Args {
    pub(super) fn run(self, global: &Global) -> Outcome {
        let is_named = !self.names.is_empty();
        let place = match is_named {
            true => self.place.find_dir(global)?,
            false => self.place.find(global)?,
        };
        let names = match is_named {
            true => self.names,
            false => started_here(&place)?,
        };
        for name in &names {
            check_name(name).map_err(failure)?;
        }
        let dir = KeyDir::make_dir(&place.dir).map_err(failure)?;
        dir.check_secrets().map_err(failure)?;
        let (mut made, mut refused) = (0, None);
        for name in names {
            match dir.make(&name) {
                Ok(Made::New(key)) => {
                    made += 1;
                    ui::data(format_args!("{name}  {key}"));
                }
                Ok(Made::Present(_)) if is_named => refused = Some(KeyDirError::Present(name)),
                Ok(Made::Present(_)) => {}
                Err(error) => return Err(failure(error)),
            }
        }
        let at = shown(&place.dir);
        match made {
            0 if refused.is_none() => ui::talk(format_args!("{at} has all keys already")),
            0 => {}
            1 => ui::talk(format_args!("1 pair made in {at}")),
            made => ui::talk(format_args!("{made} pairs made in {at}")),
        }
        match refused {
            Some(error) => Err(failure(error)),
            None => Ok(Exit::Done),
        }
    }
}

/// All that this host starts, encrypted or not, and the operator: who asks for keys wants them.
fn started_here(place: &Place) -> Result<Vec<String>, Failure> {
    let Some(plan) = &place.plan else {
        let failure = Failure::new(Exit::Usage, "no manifest says whose keys to make");
        return Err(failure.help("name them: `zmqnet keys new NAME...`"));
    };
    let mut names = names_here(plan);
    names.push(OPERATOR.to_owned());
    Ok(names)
}

/// The instances that this host starts.
fn names_here(plan: &Plan) -> Vec<String> {
    // A gate uses the key of its program.
    let is_own = |it: &&Instance| it.process.is_some() && it.kind != Kind::Gate;
    let started = plan.instances.iter().filter(is_own);
    started.map(|instance| instance.name.to_string()).collect()
}
