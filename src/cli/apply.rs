//! `apply`: from a manifest to a running network: compile, compare, do, wait until it stands.
//!
//! It starts nothing while the manifest has faults or asks for what is not built. What it starts
//! stays when it ends: the keeper and the supervisor hold it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Global;
use super::attach::{self, Interrupts, OnInterrupt};
use super::down;
use super::exit::{Exit, Failure, Outcome};
use super::given::Given;
use super::keys;
use super::load;
use super::network::{self, Running, control_failure};
use super::progress::{self, Waiting};
use super::status::nodes_table;
use super::ui;
use crate::model::layout::Layout;
use crate::model::name::InstanceName;
use crate::model::policy::Run;
use crate::model::quantity;
use crate::plan::Plan;
use crate::plan::change::Op;
use crate::plan::diff::diff;
use crate::roles::Kind;
use crate::run::control::{Applied, Control, Look};
use crate::run::status::Status;
use crate::run::{facts, ledger};

/// What programs are given of the environment of whoever applies.
const BASE_ENV: [&str; 6] = ["PATH", "HOME", "USER", "LANG", "TZ", "TMPDIR"];

/// Why somebody starts whom no change is about.
pub(super) const AGAIN: &str = "it had failed or was stopped";

/// Start a network, or bring a running one to what its manifest says, and wait until it is ready.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    manifest: load::ManifestArgs,
    /// How long to wait until everything is ready; past it the exit code is 4 and what runs, runs on.
    #[arg(long, value_name = "DURATION", default_value = "60s")]
    timeout: quantity::Duration,
    /// Take over a running network of the same name that another manifest started.
    #[arg(long)]
    replace: bool,
    /// Keep the logs in front; Ctrl-C leaves the network running.
    #[arg(long)]
    attach: bool,
    /// Only counts change: what does not run stays so, and nothing is begun.
    #[arg(skip)]
    only_counts: bool,
}

/// The same as `apply --attach`, but Ctrl-C takes the network down.
#[derive(Debug, clap::Args)]
pub(super) struct UpArgs {
    #[command(flatten)]
    args: Args,
}

impl Args {
    /// The same for who has compiled already, and changes counts only.
    pub(super) fn scaling(timeout: quantity::Duration) -> Self {
        Self {
            manifest: load::ManifestArgs::default(),
            timeout,
            replace: false,
            attach: false,
            only_counts: true,
        }
    }

    pub(super) fn run(self, global: &Global) -> Outcome {
        let interrupts = self.attach.then(Interrupts::noted).transpose()?;
        let (running, exit) = self.bring_up(global, interrupts.as_ref())?;
        match interrupts {
            Some(signals) if exit == Exit::Done => {
                attach::follow(&running.layout, OnInterrupt::Leave, &signals)
            }
            Some(_) | None => Ok(exit),
        }
    }

    fn bring_up(
        &self,
        global: &Global,
        interrupts: Option<&Interrupts>,
    ) -> Result<(Running, Exit), Failure> {
        let loaded = load::plan(global, &self.manifest)?;
        self.follow(loaded, interrupts)
    }

    /// Brings a network to what was compiled.
    pub(super) fn follow(
        &self,
        loaded: load::Loaded,
        interrupts: Option<&Interrupts>,
    ) -> Result<(Running, Exit), Failure> {
        refuse_unbuilt(&loaded.plan)?;
        loaded.refuse_hindered()?;
        keys::missing::make(&loaded.topology, &loaded.plan)?;
        let load::Loaded {
            plan,
            layout,
            given,
            ..
        } = loaded;
        let running = Running {
            name: plan.topology.clone(),
            layout,
        };
        let layout = &running.layout;
        let is_forgotten = down::is_forgotten(layout);
        let mut is_begun = false;
        if !is_forgotten && ledger::is_running(layout) {
            refuse_stranger(layout, &plan, self.replace)?;
        } else if self.only_counts {
            return Err(progress::taken_down());
        } else {
            if !is_forgotten {
                // What an earlier boot left is no plan to follow.
                down::forget(layout);
            }
            is_begun = network::begin(layout, &plan, &base_env())?;
        }
        let mut has_told = is_begun;
        if is_begun {
            tell(&from_nothing(&plan), &plan);
            remember(layout, &plan, &given);
            std::thread::sleep(network::BEGIN_PAUSE);
        }
        let exit = network::converse(layout, |control| {
            if std::mem::take(&mut is_begun) {
                return self.stand(control, &Applied::default(), interrupts);
            }
            let base_env = (!self.only_counts).then(base_env);
            let applied = control.apply(&plan, base_env).map_err(control_failure)?;
            // The next supervisor has the plan already: it would say that nothing changes.
            if !std::mem::replace(&mut has_told, true) {
                tell(&applied, &plan);
                remember(layout, &plan, &given);
            }
            self.stand(control, &applied, interrupts)
        })?;
        Ok((running, exit))
    }

    /// Waits until everything stands as planned, and says where it stands.
    fn stand(
        &self,
        control: &mut Control,
        applied: &Applied,
        interrupts: Option<&Interrupts>,
    ) -> Outcome {
        // Who scales answers for what that changes: others may have failed before.
        let changed = applied.changes.iter().filter(|_| self.only_counts);
        let waiting = Waiting {
            after: applied.version,
            names: changed.map(|change| change.node.clone()).collect(),
            timeout: Some(Duration::from_millis(self.timeout.as_millis())),
            interrupts: interrupts.cloned(),
        };
        let waited = progress::wait(control, waiting)?;
        if let Some(exit) = interrupts.and_then(Interrupts::exit) {
            return Ok(exit);
        }
        if waited.is_going_down {
            return Err(progress::taken_down());
        }
        let exit = match (waited.missed, waited.pending) {
            (0, 0) => Exit::Done,
            (0, _) => Exit::NotReady,
            _ => Exit::Failed,
        };
        conclude(control, exit)?;
        Ok(exit)
    }
}

/// What a supervisor does that starts with a plan: all of it.
fn from_nothing(plan: &Plan) -> Applied {
    let nothing = Plan::empty(plan.topology.clone());
    Applied {
        changes: diff(&nothing, plan),
        ..Applied::default()
    }
}

/// Ports that cannot be remembered are chosen anew next time, and without what was given `scale` sees
/// another manifest; what runs, runs.
fn remember(layout: &Layout, plan: &Plan, given: &Given) {
    for (what, kept) in [
        ("the ports", facts::write_pins(layout, plan)),
        ("the variables", given.keep(layout)),
    ] {
        if let Err(error) = kept {
            ui::talk(format_args!(
                "zmqnet: {what} will not be remembered: {error}"
            ));
        }
    }
}

impl UpArgs {
    pub(super) fn run(self, global: &Global) -> Outcome {
        let interrupts = Interrupts::noted()?;
        let (running, mut exit) = self.args.bring_up(global, Some(&interrupts))?;
        if exit == Exit::Done {
            exit = attach::follow(&running.layout, OnInterrupt::TakeDown, &interrupts)?;
        } else if interrupts.exit().is_none() {
            return Ok(exit);
        }
        down::take_down(&running)?;
        Ok(exit)
    }
}

/// What is not built is named, all of it, and nothing is started.
fn refuse_unbuilt(plan: &Plan) -> Result<(), Failure> {
    if plan.unbuilt.is_empty() {
        return Ok(());
    }
    for unbuilt in &plan.unbuilt {
        let origin = &unbuilt.origin;
        ui::talk(format_args!(
            "zmqnet: {} is not built yet ({}:{}:{}, `{}`)",
            unbuilt.what,
            origin.file.display(),
            origin.line,
            origin.column,
            origin.path
        ));
    }
    Err(Failure::new(Exit::Failed, "nothing was started"))
}

/// The name is the identity of a network: another manifest of the same name is not it.
pub(super) fn refuse_stranger(
    layout: &Layout,
    plan: &Plan,
    may_replace: bool,
) -> Result<(), Failure> {
    let Some(present) = network::plan_of(layout) else {
        return Ok(());
    };
    if may_replace || present.manifest == plan.manifest {
        return Ok(());
    }
    let (name, theirs, ours) = (
        &plan.topology,
        present.manifest.display(),
        plan.manifest.display(),
    );
    let message = format!("`{name}` is running from `{theirs}`, and `{ours}` has the same name");
    Err(Failure::new(Exit::Failed, message)
        .help("`--replace` lets this manifest take over; `name:` gives it another name"))
}

fn base_env() -> BTreeMap<String, String> {
    let value = |name: &str| Some((name.to_owned(), std::env::var(name).ok()?));
    BASE_ENV.into_iter().filter_map(value).collect()
}

/// The steps that are being done, with their causes.
fn tell(applied: &Applied, plan: &Plan) {
    if applied.changes.is_empty() && applied.again.is_empty() {
        ui::talk("nothing to change");
    }
    let is_manual = |name: &InstanceName| {
        let process = plan
            .instance(name.as_str())
            .and_then(|i| i.process.as_ref());
        process.is_some_and(|process| process.run == Run::Manual)
    };
    for change in &applied.changes {
        if change.op == Op::Start && is_manual(&change.node) {
            let name = &change.node;
            ui::talk(format_args!(
                "+ new {name}: {}; `zmqnet start {name}` starts it",
                change.cause
            ));
            continue;
        }
        let sign = match change.op {
            Op::Start => "+ start",
            Op::Stop => "- stop",
            Op::Restart => "~ restart",
            Op::Update => "~ update",
        };
        ui::talk(format_args!("{sign} {}: {}", change.node, change.cause));
    }
    for name in &applied.again {
        ui::talk(format_args!("+ start {name}: {AGAIN}"));
    }
}

/// Shows where everything stands, and what to try next or what is wrong.
fn conclude(control: &mut Control, exit: Exit) -> Result<(), Failure> {
    let status = control.status(Look::default()).map_err(control_failure)?;
    ui::data(nodes_table(&status));
    match exit {
        Exit::Done => ui::talk(try_next(&status)),
        _ => ui::talk(super::status::what_is_wrong(&status, |_| true)),
    }
    Ok(())
}

fn try_next(status: &Status) -> String {
    let replica = status
        .nodes
        .iter()
        .find(|node| node.kind == Kind::Replica.as_str());
    let mut lines = Vec::new();
    if let Some(replica) = replica {
        lines.push(format!(
            "  zmqnet send -n {} \"this is a test message\"",
            replica.name
        ));
    }
    lines.extend(["  zmqnet status", "  zmqnet logs -f", "  zmqnet down"].map(str::to_owned));
    format!("{} is up. Try next:\n{}", status.topology, lines.join("\n"))
}
