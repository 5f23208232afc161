//! Which running network a command talks to, and the connection to its supervisor.
//!
//! Finding one starts nothing; [`Running::reach`] makes sure that its keeper and supervisor live.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::environment::Environment;
use super::exit::{Exit, Failure};
use super::{Global, manifest_file};
use crate::model::layout::Layout;
use crate::model::name::TopologyName;
use crate::plan::Plan;
use crate::run::control::{Control, ControlError};
use crate::run::keeper::client::Blocking;
use crate::run::keeper::launch::{self, LaunchError, Supervision};
use crate::run::supervisor;
use crate::run::{ledger, paths};
use crate::wire::dial::DialError;

/// How often a command turns to the next supervisor when one is lost on the way.
const TRIES: u32 = 5;
/// Before the next one is asked: longer than a network that is taken down needs for its last step.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// How long a supervisor that is being started may take to listen.
const START_WAIT: Duration = Duration::from_secs(10);
/// How long it is waited for before it is made sure again that somebody starts it.
const LOOK_WAIT: Duration = Duration::from_secs(1);

/// How often it may let itself be dialled without a word before it is replaced: a stopped one, or one
/// that is stuck. That costs nothing but its connections.
const SILENCES_MAX: u32 = 3;

/// A network some process of which lives.
#[derive(Debug, Clone)]
pub(super) struct Running {
    /// Its name.
    pub(super) name: TopologyName,
    /// Its directories.
    pub(super) layout: Layout,
}

/// The plan that a network follows, where one is kept.
pub(super) fn plan_of(layout: &Layout) -> Option<Plan> {
    let text = std::fs::read(layout.plan_file()).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Every network that runs, by name.
pub(super) fn running() -> Result<Vec<Running>, Failure> {
    let known = paths::networks().map_err(unusable)?;
    let lives = |(_, layout): &(TopologyName, Layout)| ledger::is_running(layout);
    let living = known.into_iter().filter(lives);
    Ok(living
        .map(|(name, layout)| Running { name, layout })
        .collect())
}

/// The network that the command line names, whether it runs or not.
pub(super) fn named(global: &Global) -> Result<Option<Running>, Failure> {
    let Some(name) = &global.topology else {
        return Ok(None);
    };
    let name = TopologyName::new(name.clone());
    let layout = paths::layout_of(&name).map_err(unusable)?;
    Ok(Some(Running { name, layout }))
}

/// The networks that the command line may mean, whether they run or not: the one that it names, those
/// of the manifest that it names, else all.
pub(super) fn meant(global: &Global) -> Result<Vec<Running>, Failure> {
    if let Some(named) = named(global)? {
        return Ok(vec![named]);
    }
    let manifest = match manifest_here(global) {
        (Some(manifest), true) => Some(manifest),
        (_, true) => return Ok(Vec::new()),
        (_, false) => None,
    };
    let of_it = |layout: &Layout| match &manifest {
        Some(manifest) => plan_of(layout).is_some_and(|plan| plan.manifest == *manifest),
        None => true,
    };
    let known = paths::networks().map_err(unusable)?;
    Ok(known
        .into_iter()
        .filter(|(_, layout)| of_it(layout))
        .map(|(name, layout)| Running { name, layout })
        .collect())
}

/// The network that the command line means: by name, by the manifest here, or the only one.
pub(super) fn find(global: &Global) -> Result<Running, Failure> {
    if let Some(named) = named(global)? {
        if ledger::is_running(&named.layout) {
            return Ok(named);
        }
        let name = named.name;
        return Err(
            Failure::new(Exit::NotRunning, format!("no network `{name}` is running"))
                .help("`zmqnet ls` lists what is"),
        );
    }
    let mut running = running()?;
    let (manifest, is_named) = manifest_here(global);
    if let Some(manifest) = manifest {
        let of_it = |running: &Running| {
            plan_of(&running.layout).is_some_and(|plan| plan.manifest == manifest)
        };
        if let Some(at) = running.iter().position(of_it) {
            return Ok(running.swap_remove(at));
        }
        if is_named {
            let manifest = manifest.display();
            return Err(Failure::new(
                Exit::NotRunning,
                format!("nothing of `{manifest}` is running"),
            )
            .help(format!("`zmqnet apply {manifest}` starts it")));
        }
    }
    match running.len() {
        0 => Err(Failure::new(Exit::NotRunning, "nothing is running")
            .help("`zmqnet apply FILE` starts a network")),
        1 => Ok(running.remove(0)),
        _ => {
            let names: Vec<String> = running.iter().map(|r| format!("`{}`", r.name)).collect();
            Err(Failure::new(
                Exit::Usage,
                format!("several networks are running: {}", names.join(", ")),
            )
            .help("name one with `-T NAME`"))
        }
    }
}

/// The manifest that is meant, absolute, and whether it was named.
fn manifest_here(global: &Global) -> (Option<PathBuf>, bool) {
    let is_named = global.file.is_some() || global.peers.is_some();
    // A manifest that is not there is nothing to compare with.
    let found = manifest_file::find(None, global, &Environment::load()).ok();
    (
        found.and_then(|path| std::path::absolute(path).ok()),
        is_named,
    )
}

/// A failure of the directories.
pub(super) fn unusable(error: paths::PathsError) -> Failure {
    Failure::new(Exit::File, error.to_string())
}

/// A failure of the supervisor.
pub(super) fn control_failure(error: ControlError) -> Failure {
    Failure {
        is_lost: matches!(error, ControlError::Dial(_)),
        ..Failure::new(Exit::Failed, error.to_string())
    }
}

/// Has a conversation with a network's supervisor, and has it again with the next one where this
/// one is lost on the way: what is asked must bear being asked twice.
pub(super) fn converse<T>(
    layout: &Layout,
    mut talk: impl FnMut(&mut Control) -> Result<T, Failure>,
) -> Result<T, Failure> {
    for _ in 1..TRIES {
        match talk(&mut reach(layout)?) {
            Err(failure) if failure.is_lost => {
                std::thread::sleep(RETRY_PAUSE);
                // Somebody took it down meanwhile: it is not to rise again for a question.
                if !ledger::is_running(layout) {
                    return Err(failure);
                }
            }
            done => return done,
        }
    }
    talk(&mut reach(layout)?)
}

/// How long a network that was begun is left alone: whoever asks it at once keeps it from starting
/// what it is asked about.
pub(super) const BEGIN_PAUSE: Duration = Duration::from_millis(5);

/// Starts the keeper and the supervisor of a network that does not run, which then follows this plan
/// without being told. Says whether it did: somebody else may have been faster.
pub(super) fn begin(
    layout: &Layout,
    plan: &Plan,
    base_env: &BTreeMap<String, String>,
) -> Result<bool, Failure> {
    let first = || supervisor::leave_plan(layout, base_env, plan);
    launch::ensure_after(layout, Supervision::Supervised, first)
        .map(|(_, is_started)| is_started)
        .map_err(launch_failure)
}

fn launch_failure(error: LaunchError) -> Failure {
    Failure::new(Exit::Failed, error.to_string())
}

/// Makes sure that a network's keeper and supervisor live, and connects to the supervisor.
pub(super) fn reach(layout: &Layout) -> Result<Control, Failure> {
    reach_both(layout).map(|(_, control)| control)
}

/// The same, with a connection to the keeper.
pub(super) fn reach_both(layout: &Layout) -> Result<(Blocking, Control), Failure> {
    let deadline = Instant::now() + START_WAIT;
    let mut patience = SILENCES_MAX;
    loop {
        let keeper = launch::ensure(layout, Supervision::Supervised).map_err(launch_failure)?;
        match Control::connect(layout, LOOK_WAIT) {
            // Whoever was to start it may have been killed meanwhile.
            Err(ControlError::Dial(error)) if Instant::now() < deadline => {
                patience -= u32::from(error == DialError::NoHandshake && patience > 0);
                if patience == 0 {
                    launch::replace_supervisor(layout);
                    patience = SILENCES_MAX;
                }
            }
            connected => {
                let control = connected.map_err(control_failure)?;
                return Ok((keeper, control));
            }
        }
    }
}

/// That a link of this name has no wire, and which have.
pub(super) fn no_wires(link: &str, links: &[impl Borrow<str>]) -> Failure {
    let failure = Failure::new(Exit::Usage, format!("no link `{link}` has a wire here"));
    if links.is_empty() {
        return failure.help("no node dials another in this network: its manifest has no `links`");
    }
    failure.help(format!("links with wires: {}", links.join(", ")))
}
