//! The keys that a plan needs on this host: `apply` makes those of what it starts and names those
//! that must come from elsewhere; `plan` and `check` only say what is missing.

use std::collections::BTreeSet;
use std::path::Path;

use super::{failure, shown};
use crate::cli::exit::{Exit, Failure};
use crate::cli::ui;
use crate::diagnostics::{Diagnostic, codes};
use crate::model::name::InstanceName;
use crate::model::security::OPERATOR;
use crate::plan::{Instance, Plan};
use crate::run::keys::{KeyDir, KeyDirError, Made};
use crate::topology::Topology;

/// Names in one line.
const NAMED_MAX: usize = 8;

/// Makes the keys of what this host starts that are not there yet, and ends with 1 where a public
/// key of another host is missing.
pub(in crate::cli) fn make(topology: &Topology, plan: &Plan) -> Result<(), Failure> {
    let Some(path) = &plan.keys else {
        return Ok(());
    };
    let dir = KeyDir::make_dir(path).map_err(failure)?;
    let mut made = Vec::new();
    for name in own(plan) {
        if let Made::New(_) = dir.make(name).map_err(failure)? {
            made.push(name);
        }
    }
    if !made.is_empty() {
        let words = listed(&made);
        let pairs = if made.len() == 1 { "pair" } else { "pairs" };
        let at = shown(path);
        ui::talk(format_args!("key {pairs} made in {at}: {words}"));
    }
    match away(&dir, plan).map_err(failure)? {
        missing if missing.is_empty() => Ok(()),
        missing => Err(must_come(topology, path, &missing)),
    }
}

/// What is missing, in words; nothing where nothing is encrypted or nothing is missing.
pub(in crate::cli) fn words(topology: &Topology, plan: &Plan) -> Vec<String> {
    let Some(path) = &plan.keys else {
        return Vec::new();
    };
    let at = shown(path);
    let dir = match KeyDir::open(path) {
        Ok(dir) => dir,
        Err(KeyDirError::NoDirectory(_)) => {
            return vec![format!("keys: there is no {at} yet; `apply` makes it")];
        }
        Err(error) => {
            let help = error.help().map(|help| format!("; {help}"));
            return vec![format!("keys: {error}{}", help.unwrap_or_default())];
        }
    };
    let unmade: Vec<&str> = own(plan)
        .into_iter()
        .filter(|name| !dir.secret_file(name).exists())
        .collect();
    let mut words = Vec::new();
    if !unmade.is_empty() {
        words.push(format!("keys: `apply` makes {} in {at}", listed(&unmade)));
    }
    match away(&dir, plan) {
        Ok(missing) if missing.is_empty() => {}
        Ok(missing) => {
            let failure = must_come(topology, path, &missing);
            let help = failure.help.unwrap_or_default();
            words.push(format!("keys: {}; {help}", failure.message));
        }
        Err(error) => words.push(format!("keys: {error}")),
    }
    words
}

/// That something else is where the key directory of a manifest would be.
pub(in crate::cli) fn misplaced(topology: &Topology) -> Option<Diagnostic> {
    let root = &topology.units[0];
    let written = root.decl.security.as_ref();
    let is_written = written.is_some_and(|security| security.keys.is_some());
    let dir = topology.keys_dir();
    let needs = |instance| topology.needs_key(instance);
    if !(is_written || topology.instances.iter().any(needs)) || !KeyDir::is_misplaced(&dir) {
        return None;
    }
    let error = KeyDirError::NotADirectory(dir);
    let fault = Diagnostic::error(codes::WRONG_VALUE, error.to_string());
    let fault = match is_written {
        true => fault.at_value(root.top.key("security").key("keys"), "keys are kept in one"),
        false => fault,
    };
    Some(match error.help() {
        Some(help) => fault.help(help),
        None => fault,
    })
}

/// What is wrong with the key directory of a manifest whose links are encrypted: that it is not
/// there yet is no fault.
pub(in crate::cli) fn fault(topology: &Topology) -> Option<String> {
    let instances = topology.instances.iter();
    let names = instances.filter(|instance| topology.needs_key(instance));
    let mut names = names.map(|instance| instance.name.as_str()).peekable();
    names.peek()?;
    let looked = KeyDir::open(&topology.keys_dir()).and_then(|dir| {
        for name in names {
            match dir.own(name) {
                Ok(_) | Err(KeyDirError::NoKey { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    });
    match looked {
        Ok(()) | Err(KeyDirError::NoDirectory(_)) => None,
        Err(error) => {
            let help = error.help().map(|help| format!("; {help}"));
            Some(format!("{error}{}", help.unwrap_or_default()))
        }
    }
}

/// Whose pairs this host must have: of what it starts and is encrypted, and the operator's.
fn own(plan: &Plan) -> Vec<&str> {
    let started = plan.instances.iter().filter(|it| it.process.is_some());
    let mut known = BTreeSet::new();
    let used = started.flat_map(Instance::keys_used);
    let mut names: Vec<&str> = used
        .filter(|name| known.insert(*name))
        .map(InstanceName::as_str)
        .collect();
    if !names.is_empty() {
        names.push(OPERATOR);
    }
    names
}

/// Whose public keys are used here and are not here.
fn away(dir: &KeyDir, plan: &Plan) -> Result<Vec<InstanceName>, KeyDirError> {
    let started = plan.instances.iter().filter(|it| it.process.is_some());
    let met = started.flat_map(Instance::met);
    let unwritten = met.filter(|admitted| admitted.key.is_none());
    let wanted: BTreeSet<&InstanceName> = unwritten.map(|admitted| &admitted.who).collect();
    let own = own(plan);
    let mut missing = Vec::new();
    for name in wanted {
        if own.contains(&name.as_str()) || name.as_str() == OPERATOR {
            continue;
        }
        match dir.public(name.as_str()) {
            Ok(_) => {}
            Err(KeyDirError::NoKey { .. }) => missing.push(name.clone()),
            Err(error) => return Err(error),
        }
    }
    Ok(missing)
}

fn must_come(topology: &Topology, path: &Path, missing: &[InstanceName]) -> Failure {
    let at = shown(path);
    let files: Vec<String> = missing
        .iter()
        .map(|name| format!("{at}/{name}.key"))
        .collect();
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    let message = match missing {
        [_] => format!(
            "a public key of another host is missing: {}",
            listed(&files)
        ),
        more => format!(
            "{} public keys of other hosts are missing: {}",
            more.len(),
            listed(&files)
        ),
    };
    let mut hosts: Vec<&str> = missing
        .iter()
        .filter_map(|name| host(topology, name))
        .collect();
    hosts.sort_unstable();
    hosts.dedup();
    let from = match hosts.as_slice() {
        [] => "the host that runs it".to_owned(),
        hosts => listed(hosts),
    };
    Failure::new(Exit::Failed, message).help(format!(
        "copy from the key directory of {from}; `zmqnet keys new` there makes what is not there yet"
    ))
}

fn host<'a>(topology: &'a Topology, name: &InstanceName) -> Option<&'a str> {
    let mut instances = topology.instances.iter();
    let instance = instances.find(|instance| instance.name == *name)?;
    topology.place_of(instance).host.as_deref()
}

/// The first few of a list, each in backticks.
fn listed(items: &[&str]) -> String {
    let shown: Vec<String> = items
        .iter()
        .take(NAMED_MAX)
        .map(|item| format!("`{item}`"))
        .collect();
    match items.len().saturating_sub(NAMED_MAX) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
