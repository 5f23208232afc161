//! `keys`: the keys of a network: made, listed, admitted, revoked, replaced. A secret is never shown.

mod allow;
mod ls;
pub(super) mod missing;
mod new;
mod revoke;
mod rotate;

use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::environment::Environment;
use super::exit::{Exit, Failure, Outcome};
use super::load::{self, ManifestArgs, SettingArgs};
use super::{Global, manifest_file, network};
use crate::model::key::{KeyError, PublicKey};
use crate::model::security::KEYS_DIR;
use crate::plan::Plan;
use crate::run::keys::{KeyDir, KeyDirError, public_key_of};

/// Make, list, admit, revoke and replace the keys of encrypted links.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    New(new::Args),
    Ls(ls::Args),
    Allow(allow::Args),
    Revoke(revoke::Args),
    Rotate(rotate::Args),
}

impl Args {
    pub(super) fn run(self, global: &Global) -> Outcome {
        match self.command {
            Command::New(args) => args.run(global),
            Command::Ls(args) => args.run(global),
            Command::Allow(args) => args.run(global),
            Command::Revoke(args) => args.run(global),
            Command::Rotate(args) => args.run(global),
        }
    }
}

/// Where the keys are.
#[derive(Debug, Clone, clap::Args)]
struct PlaceArgs {
    /// The key directory. Default: `security.keys` of the manifest, else `keys` beside it, else
    /// `./keys`.
    #[arg(long, value_name = "DIR")]
    keys: Option<PathBuf>,
    #[command(flatten)]
    settings: SettingArgs,
}

/// A key directory, and the network it belongs to, where that is known.
struct Place {
    dir: PathBuf,
    plan: Option<Plan>,
}

impl PlaceArgs {
    /// The key directory and the plan: of the running network that is named, else of the manifest
    /// here.
    fn find(&self, global: &Global) -> Result<Place, Failure> {
        if global.topology.is_some() {
            let running = network::find(global)?;
            let plan = network::plan_of(&running.layout);
            let named = plan.as_ref().and_then(|plan| plan.keys.clone());
            let dir = self.keys.clone().or(named).ok_or_else(|| {
                let name = &running.name;
                Failure::new(Exit::Failed, format!("nothing of `{name}` is encrypted"))
            })?;
            return Ok(Place { dir, plan });
        }
        if manifest_file::find(None, global, &Environment::load()).is_err() {
            let dir = self.keys.clone().unwrap_or_else(|| KEYS_DIR.into());
            return Ok(Place { dir, plan: None });
        }
        let loaded = load::plan(global, &ManifestArgs::here(self.settings.clone()))?;
        let dir = self.keys.clone();
        Ok(Place {
            dir: dir.unwrap_or_else(|| loaded.topology.keys_dir()),
            plan: Some(loaded.plan),
        })
    }

    /// The key directory alone: a manifest is not read where the directory is named.
    fn find_dir(&self, global: &Global) -> Result<Place, Failure> {
        match &self.keys {
            Some(dir) => Ok(Place {
                dir: dir.clone(),
                plan: None,
            }),
            None => self.find(global),
        }
    }
}

impl Place {
    /// The directory, of which nothing is open to others.
    fn open(&self) -> Result<KeyDir, Failure> {
        let dir = KeyDir::open(&self.dir).map_err(failure)?;
        dir.check_secrets().map_err(failure)?;
        Ok(dir)
    }
}

/// The key of an instance that is written in the manifest.
fn written(plan: &Plan, name: &str) -> Option<PublicKey> {
    let mut all = plan.written_keys();
    all.find_map(|(who, key)| (who.as_str() == name).then_some(key))
}

/// Whose a key is that is written in the manifest.
fn written_by(plan: &Plan, key: &PublicKey) -> Option<String> {
    let mut all = plan.written_keys();
    all.find_map(|(who, its)| (its == *key).then(|| who.to_string()))
}

/// How a command ends that keys are in the way of.
pub(super) fn failure(error: KeyDirError) -> Failure {
    let exit = match &error {
        KeyDirError::NoKey { .. }
        | KeyDirError::Present(_)
        | KeyDirError::NoSecret { .. }
        | KeyDirError::Revoked(_) => Exit::Failed,
        KeyDirError::BadName(_) => Exit::Usage,
        KeyDirError::NoDirectory(_)
        | KeyDirError::NotADirectory(_)
        | KeyDirError::NotOurs { .. }
        | KeyDirError::Loose { .. }
        | KeyDirError::File { .. }
        | KeyDirError::Line { .. }
        | KeyDirError::Io { .. } => Exit::File,
    };
    let failure = Failure::new(exit, error.to_string());
    match error.help() {
        Some(help) => failure.help(help),
        None => failure,
    }
}

/// A key, or the one that a file holds.
pub(super) fn written_key(text: &str) -> Result<PublicKey, Failure> {
    let fault = match text.parse() {
        Ok(key) => return Ok(key),
        Err(fault) => fault,
    };
    let path = Path::new(text);
    match (path.exists(), &fault) {
        (true, _) => public_key_of(path).map_err(failure),
        (false, KeyError::NotZ85) => Err(Failure::new(Exit::Usage, format!("`{text}`: {fault}"))),
        (false, KeyError::Length(_)) => {
            let message = format!("`{text}` is no key and no file");
            Err(Failure::new(Exit::File, message).help(fault.to_string()))
        }
    }
}

/// A path as a person reads it: from here, where it is below.
fn shown(path: &Path) -> String {
    let here = std::env::current_dir().ok();
    let below = here.and_then(|here| path.strip_prefix(here).ok().map(Path::to_owned));
    below.as_deref().unwrap_or(path).display().to_string()
}
