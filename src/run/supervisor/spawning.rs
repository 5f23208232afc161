//! From a planned process to what the keeper is asked to start, and the file its instance is told by.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::model::layout::Layout;
use crate::model::name::TopologyName;
use crate::plan::{Exec, Instance, Process, told};
use crate::run::keeper::protocol::Spawn;
use crate::run::keys::KeyDirError;
use crate::run::private;

use super::keys;

/// The hidden entry point of a role's process.
pub const ROLE_ENTRY: &str = "__role";

/// In our own roles, memory that is free goes back to the kernel after so many milliseconds: what an attack
/// took is given back soon, and what each message takes anew is not, which at once would cost a sixth of the
/// messages under CURVE.
const ALLOCATION: (&str, &str) = ("MIMALLOC_PURGE_DELAY", "10");

/// Why a process cannot be asked for.
#[derive(Debug)]
pub(super) enum SpawnFault {
    /// A file that the environment is filled from cannot be read.
    EnvFile {
        variable: String,
        path: PathBuf,
        error: io::Error,
    },
    /// Its keys cannot be had.
    Keys(KeyDirError),
    /// The file that the instance is told by cannot be written.
    Told { path: PathBuf, error: io::Error },
}

impl fmt::Display for SpawnFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EnvFile {
                variable,
                path,
                error,
            } => {
                write!(
                    f,
                    "`{variable}` is to come from `{}`: {error}",
                    path.display()
                )
            }
            Self::Keys(error) => match error.help() {
                Some(help) => write!(f, "{error}: {help}"),
                None => error.fmt(f),
            },
            Self::Told { path, error } => write!(f, "cannot write `{}`: {error}", path.display()),
        }
    }
}

/// Where a network's processes start from.
pub(super) struct Ground<'a> {
    pub(super) layout: &'a Layout,
    pub(super) topology: &'a TopologyName,
    /// The key directory, where anything is encrypted.
    pub(super) keys: Option<&'a Path>,
    /// PATH, HOME and a few more of whoever applied.
    pub(super) base_env: &'a BTreeMap<String, String>,
}

impl Ground<'_> {
    /// What the keeper is asked to start, after the instance's file is written.
    pub(super) fn spawn(
        &self,
        instance: &Instance,
        process: &Process,
        generation: u64,
    ) -> Result<Spawn, SpawnFault> {
        let name = instance.name.as_str();
        let told = self.layout.told_file(name);
        match &process.exec {
            Exec::Role(config) => tell(&told, config)?,
            Exec::Program { .. } => {
                tell(&told, &told::sockets(self.topology.as_str(), instance))?;
                if let Some(keys) = self.keys.filter(|_| keys::has_keys_file(instance)) {
                    self.tell_keys(instance, keys)?;
                }
                if let Some(peers) = told::peers(instance) {
                    tell(&self.layout.peers_file(name), &peers)?;
                }
            }
        }
        let (program, args) = match &process.exec {
            Exec::Role(_) => {
                let args = ["zmqnet", ROLE_ENTRY, &told.to_string_lossy()];
                (
                    PathBuf::from("/proc/self/exe"),
                    args.map(str::to_owned).to_vec(),
                )
            }
            Exec::Program { program, args } => (program.clone(), args.clone()),
        };
        Ok(Spawn {
            instance: instance.name.clone(),
            generation,
            program,
            args,
            cwd: process.cwd.clone(),
            env: self.env(process)?,
            logs: process.logs.clone(),
            limits: process.limits.clone(),
        })
    }

    fn tell_keys(&self, instance: &Instance, keys: &Path) -> Result<(), SpawnFault> {
        let told = keys::of_starting(self.layout, keys, instance).map_err(SpawnFault::Keys)?;
        let path = self.layout.keys_file(instance.name.as_str());
        private::write(&path, &told.text).map_err(|error| SpawnFault::Told { path, error })
    }

    fn env(&self, process: &Process) -> Result<BTreeMap<String, String>, SpawnFault> {
        let mut env = self.base_env.clone();
        env.extend(process.env.clone());
        for (variable, path) in &process.env_files {
            let text = fs::read_to_string(path).map_err(|error| SpawnFault::EnvFile {
                variable: variable.clone(),
                path: path.clone(),
                error,
            })?;
            // A file ends with a newline that nobody means.
            env.insert(
                variable.clone(),
                text.trim_end_matches(['\n', '\r']).to_owned(),
            );
        }
        let notify = self.layout.notify_socket().to_string_lossy().into_owned();
        env.insert("NOTIFY_SOCKET".to_owned(), notify);
        if let Exec::Role(_) = &process.exec {
            env.insert("ZMQNET_LOG".to_owned(), process.logs.level.clone());
            env.insert(ALLOCATION.0.to_owned(), ALLOCATION.1.to_owned());
        }
        Ok(env)
    }
}

/// Writes what an instance is told.
pub(super) fn tell(path: &Path, document: &impl Serialize) -> Result<(), SpawnFault> {
    let text = serde_json::to_vec(document).expect("plans have only text keys");
    let told = match fs::read(path) {
        Ok(present) if present == text => Ok(()),
        Ok(_) => private::write(path, &text),
        // Nobody reads it yet; a new file and a rename for each instance are felt with hundreds.
        Err(_) => private::open(path).and_then(|mut file| io::Write::write_all(&mut file, &text)),
    };
    told.map_err(|error| SpawnFault::Told {
        path: path.to_owned(),
        error,
    })
}
