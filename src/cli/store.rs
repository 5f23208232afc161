//! `store`: what a node keeps on disk is looked at, copied and put back, also while it runs.
//!
//! The directory is found by the plan of what runs here, else by the manifest; nobody is asked for it.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::{Value, json};

use super::Global;
use super::exit::{Exit, Failure, Outcome};
use super::members;
use super::seed::SeedEnv;
use super::ui::{self, Format, FormatArgs};
use crate::disk::{self, About, Audit, BackupError, Said};
use crate::model::store::Durability;

/// Look at what a node keeps on disk, copy it, and put it back.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Backup(BackupArgs),
    Restore(RestoreArgs),
    Verify(VerifyArgs),
}

impl Args {
    pub(super) fn run(self, global: &Global) -> Outcome {
        match self.command {
            Command::Backup(args) => args.run(global),
            Command::Restore(args) => args.run(global),
            Command::Verify(args) => args.run(global),
        }
    }
}

/// Copy the store of a node into a new directory, while it runs or not; the copy is read and checked
#[derive(Debug, clap::Args)]
struct BackupArgs {
    /// The node.
    #[arg(value_name = "NODE")]
    node: String,
    /// The directory, new or empty.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    #[command(flatten)]
    format: FormatArgs,
}

/// Make a copy the store of a node that does not run and has none
#[derive(Debug, clap::Args)]
struct RestoreArgs {
    /// The node.
    #[arg(value_name = "NODE")]
    node: String,
    /// The copy.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    #[command(flatten)]
    format: FormatArgs,
}

/// Read every byte of a store, while its node runs or not, and say what is damaged
#[derive(Debug, clap::Args)]
struct VerifyArgs {
    /// The node.
    #[arg(value_name = "NODE", required_unless_present = "dir")]
    node: Option<String>,
    /// A directory rather than the store of a node: a copy.
    #[arg(long, value_name = "DIR", conflicts_with = "node")]
    dir: Option<PathBuf>,
    #[command(flatten)]
    format: FormatArgs,
}

/// The store of a node.
struct Kept {
    kind: &'static str,
    path: PathBuf,
}

fn kept(global: &Global, node: &str) -> Result<Kept, Failure> {
    let (kind, told) = members::store(&SeedEnv::load(), global, node)?;
    if told.durability == Durability::Memory {
        let words = format!("`{node}` keeps what it has in memory alone");
        return Err(Failure::new(Exit::Failed, words));
    }
    Ok(Kept {
        kind: kind.as_str(),
        path: told.path,
    })
}

fn failure(error: &BackupError) -> Failure {
    let exit = match error {
        BackupError::Nothing(_) | BackupError::System(..) => Exit::File,
        BackupError::Exists(_) | BackupError::InUse(_) | BackupError::Damaged(..) => Exit::Failed,
    };
    let failure = Failure::new(exit, error.to_string());
    match error {
        BackupError::InUse(_) => failure.help("stop its node first: `zmqnet stop NODE`"),
        BackupError::Exists(_) => failure.help("move it away, or name another directory"),
        BackupError::Damaged(dir, faults) => {
            for fault in faults {
                ui::talk(fault);
            }
            failure.help(format!("`zmqnet store verify --dir {}`", dir.display()))
        }
        BackupError::Nothing(_) | BackupError::System(..) => failure,
    }
}

fn report(audit: &Audit) -> Value {
    let faults = audit.faults.iter().map(|fault| {
        json!({
            "file": fault.file,
            "what": fault.what,
            "from": fault.offsets.map(|(from, _)| from),
            "next": fault.offsets.map(|(_, next)| next),
        })
    });
    json!({
        "segments": audit.segments,
        "batches": audit.batches,
        "records": audit.records,
        "bytes": audit.bytes,
        "unfinished_bytes": audit.unfinished_bytes,
        "damage": faults.collect::<Vec<_>>(),
    })
}

fn show(audit: &Audit, format: Format, what: impl std::fmt::Display) {
    match format {
        Format::Table => ui::data(format_args!(
            "{what}: {} records in {} batches, {} bytes",
            audit.records, audit.batches, audit.bytes
        )),
        format => ui::document(format, &report(audit)),
    }
}

fn absolute(dir: &Path) -> Result<PathBuf, Failure> {
    let made = std::path::absolute(dir);
    made.map_err(|error| Failure::new(Exit::File, format!("{}: {error}", dir.display())))
}

impl BackupArgs {
    fn run(self, global: &Global) -> Outcome {
        let kept = kept(global, &self.node)?;
        let dir = absolute(&self.dir)?;
        let about = About {
            kind: kept.kind.to_owned(),
            node: self.node.clone(),
            extents: None,
        };
        let audit = disk::backup(&kept.path, &dir, about).map_err(|error| failure(&error))?;
        show(
            &audit,
            self.format.format,
            format_args!("{} copied", self.node),
        );
        Ok(Exit::Done)
    }
}

fn said_of(dir: &Path) -> Result<Said, Failure> {
    let system = |error| failure(&BackupError::System(dir.to_owned(), error));
    disk::about(dir).map_err(system)
}

/// Says of a copy that nothing says of it whether it is whole. A store is one too, and of it that is
/// asked only where it is put back as one.
fn warn_of(said: &Said, dir: &Path, is_copy: bool) {
    let why = match said {
        Said::About(about) if about.extents.is_none() => "it is a copy of before copies said so",
        Said::Nothing if is_copy => "it has no backup.json",
        Said::Nothing | Said::About(_) | Said::Unreadable => return,
    };
    let dir = dir.display();
    ui::talk(format_args!(
        "{dir}: {why}: nothing tells whether it is all that was copied"
    ));
}

impl RestoreArgs {
    fn run(self, global: &Global) -> Outcome {
        let kept = kept(global, &self.node)?;
        let dir = absolute(&self.dir)?;
        let said = said_of(&dir)?;
        if let Said::About(about) = &said
            && about.kind != kept.kind
        {
            let words = format!(
                "{} is a copy of a {}, and `{}` is a {}",
                self.dir.display(),
                about.kind,
                self.node,
                kept.kind
            );
            return Err(Failure::new(Exit::Failed, words));
        }
        let audit = disk::restore(&dir, &kept.path).map_err(|error| failure(&error))?;
        warn_of(&said, &dir, true);
        show(
            &audit,
            self.format.format,
            format_args!("{} restored", self.node),
        );
        Ok(Exit::Done)
    }
}

impl VerifyArgs {
    fn run(self, global: &Global) -> Outcome {
        let (what, path) = match (&self.node, &self.dir) {
            (Some(node), _) => (node.clone(), kept(global, node)?.path),
            (None, Some(dir)) => (dir.display().to_string(), absolute(dir)?),
            (None, None) => unreachable!("one of them is required"),
        };
        let audit = disk::verify(&path).map_err(|error| failure(&error))?;
        show(&audit, self.format.format, &what);
        if self.dir.is_some() {
            warn_of(&said_of(&path)?, &path, false);
        }
        if audit.is_good() {
            return Ok(Exit::Done);
        }
        for fault in &audit.faults {
            ui::talk(fault);
        }
        let count = audit.faults.len();
        let words = format!(
            "{what}: {count} damaged {}",
            if count == 1 { "place" } else { "places" }
        );
        Err(Failure::new(Exit::Failed, words))
    }
}
