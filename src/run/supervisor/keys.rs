//! The keys of programs: their `ZMQNET_KEYS` files, written when they start and again when the key
//! directory or the plan changes. Roles read the directory themselves.

use std::path::Path;
use std::time::SystemTime;

use zeroize::Zeroizing;

use super::acting::Supervisor;
use crate::model::layout::Layout;
use crate::model::name::InstanceName;
use crate::model::policy::Secured;
use crate::plan::Instance;
use crate::run::keys::{KeyDir, KeyDirError, ProgramKeys, Watch, of_program, public_of_program};
use crate::run::private;
use crate::wire::keyed::Keys;

/// Which plan's keys are minded, and what tells that they changed.
#[derive(Debug, Default)]
pub(super) struct Minding {
    digest: String,
    watch: Option<Watch>,
}

impl Minding {
    /// Waits until the key directory has changed, for ever where nothing is encrypted. Cancel safe.
    pub(super) async fn changed(&mut self) {
        match &mut self.watch {
            Some(watch) => watch.changed().await,
            None => std::future::pending().await,
        }
    }
}

impl Supervisor {
    /// Watches the key directory of the plan, and tells programs whom a new plan lets them admit.
    pub(super) fn mind_keys(&mut self) {
        if self.minding.digest == self.network.plan.digest {
            return;
        }
        self.minding.digest.clone_from(&self.network.plan.digest);
        self.minding.watch = self.network.plan.keys.as_ref().and_then(|keys| {
            let watch = Watch::new(keys);
            watch
                .map_err(|error| tracing::error!(%error, "changed keys will not be noticed"))
                .ok()
        });
        self.tell_keys();
    }

    /// Writes the files of living programs again, where their keys have changed.
    pub(super) fn tell_keys(&mut self) {
        let Some(keys) = self.network.plan.keys.clone() else {
            return;
        };
        let mut due: Option<SystemTime> = None;
        for (name, member) in &self.network.members {
            if member.child.pid().is_none() || !has_keys_file(&member.instance) {
                continue;
            }
            match of_living(&self.layout, &keys, &member.instance) {
                Ok(told) => {
                    due = [due, told.good_until].into_iter().flatten().min();
                    let path = self.layout.keys_file(name.as_str());
                    let present = std::fs::read(&path).map(Zeroizing::new);
                    if present.is_ok_and(|present| present == told.text) {
                        continue;
                    }
                    if let Err(error) = private::write(&path, &told.text) {
                        tracing::error!(%error, instance = %name, "its keys cannot be written");
                    }
                }
                Err(error) => {
                    tracing::error!(%error, instance = %name, "its keys stay as they were");
                }
            }
        }
        if let Some(watch) = &mut self.minding.watch {
            watch.due_at(due);
        }
    }
}

/// Whether an instance is a program that is told keys.
pub(super) fn has_keys_file(instance: &Instance) -> bool {
    let process = instance.process.as_ref();
    process.is_some_and(|process| process.env.contains_key("ZMQNET_KEYS"))
}

/// What a living program is told: the pair it uses already, as long as that is good.
fn of_living(
    layout: &Layout,
    keys: &Path,
    instance: &Instance,
) -> Result<ProgramKeys, KeyDirError> {
    let used = |name: &InstanceName| public_of_program(&layout.keys_file(name.as_str()));
    of_program(keys, instance, &used)
}

/// What a program that is being started is told: its current pair.
pub(super) fn of_starting(
    layout: &Layout,
    keys: &Path,
    instance: &Instance,
) -> Result<ProgramKeys, KeyDirError> {
    let used = |name: &InstanceName| match *name == instance.name {
        true => None,
        false => public_of_program(&layout.keys_file(name.as_str())),
    };
    of_program(keys, instance, &used)
}

/// The keys by which a prober dials.
pub(super) fn to_probe(secured: Option<&Secured>) -> Result<Keys, KeyDirError> {
    match secured {
        Some(Secured::Dials { keys, own, server }) => {
            let dir = KeyDir::open(keys)?;
            Ok(Keys::each(&dir.own(own.as_str())?, &dir.servers(server)?))
        }
        Some(Secured::Listens(_)) | None => Ok(Keys::Open),
    }
}
