//! The directories of a self test, and this binary's own commands inside them.
//!
//! Everything it makes is below one directory of the temporary ones, which a lock says somebody uses:
//! what a killed self test left is taken down by the next one. Its commands are in process groups of
//! their own, so that Ctrl-C reaches only the self test, which then takes down what it began.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::checks::{Fault, gist};
use crate::cli::attach::Interrupts;
use crate::cli::network;
use crate::model::layout::Layout;
use crate::model::quantity::PortRange;
use crate::plan::Plan;
use crate::run::control::{Control, Look, Wait};
use crate::run::status::{Goal, WireState};
use crate::run::{ledger, paths};

/// How its directories are called, with the pid of who made them.
const PREFIX: &str = "zmqnet-selftest-";
/// The name of its network.
const NAME: &str = "selftest";
const MANIFEST: &str = include_str!("network.yaml");
/// What of the environment would have its commands mean another manifest or host.
const MISLEADING: [&str; 3] = ["ZMQNET_FILE", "PEERS_PATH", "ZMQNET_HOST"];
/// Between two looks at a command.
const LOOK_PAUSE: Duration = Duration::from_millis(10);
/// How long a command that was begun may take until its network can be taken down.
const BEGIN_WAIT: Duration = Duration::from_secs(10);
/// Beyond its own timeout, how long `apply` may take.
const APPLY_EXTRA: Duration = Duration::from_secs(30);

/// Where a self test is performed.
pub(super) struct Stage<'a> {
    dir: PathBuf,
    interrupts: &'a Interrupts,
    /// Held as long as it is used.
    _lock: File,
}

impl<'a> Stage<'a> {
    /// Makes the directories, and takes away what is left of those that nobody uses.
    pub(super) fn set(interrupts: &'a Interrupts) -> io::Result<Self> {
        let root = std::env::temp_dir().canonicalize()?;
        sweep(&root);
        let dir = root.join(format!("{PREFIX}{}", std::process::id()));
        DirBuilder::new().mode(0o700).create(&dir)?;
        let lock = File::create(dir.join("lock"))?;
        lock.lock()?;
        for sub in ["state", "run"] {
            DirBuilder::new().mode(0o700).create(dir.join(sub))?;
        }
        fs::write(dir.join("network.yaml"), MANIFEST)?;
        Ok(Self {
            dir,
            interrupts,
            _lock: lock,
        })
    }

    pub(super) fn interrupts(&self) -> &Interrupts {
        self.interrupts
    }

    pub(super) fn is_interrupted(&self) -> bool {
        self.interrupts.exit().is_some()
    }

    fn layout(&self) -> Option<Layout> {
        paths::layout_at(&self.dir.join("state/zmqnet").join(NAME)).ok()
    }

    /// The plan that its network follows, once there is one.
    pub(super) fn plan(&self) -> Option<Plan> {
        network::plan_of(&self.layout()?)
    }

    /// Applies the manifest.
    pub(super) fn bring_up(&self, ports: PortRange, timeout: Duration) -> Result<String, Fault> {
        let start = Instant::now();
        let manifest = self.dir.join("network.yaml");
        let mut command = command(&self.dir, "apply")?;
        command.arg(&manifest);
        command.args(["--var", &format!("ports={ports}")]);
        command.args(["--timeout", &format!("{}ms", timeout.as_millis())]);
        let mut child = command.spawn().map_err(Fault::Command)?;
        let deadline = start + timeout + APPLY_EXTRA;
        let ended = loop {
            if let Some(ended) = child.try_wait().map_err(Fault::Command)? {
                break ended;
            }
            if self.is_interrupted() || Instant::now() >= deadline {
                self.abandon(&mut child);
                return Err(Fault::Silent);
            }
            std::thread::sleep(LOOK_PAUSE);
        };
        if !ended.success() {
            return Err(said(&self.dir, "apply", ended));
        }
        let count = self.plan().map_or(0, |plan| plan.instances.len());
        let took = start.elapsed().as_millis();
        Ok(format!("{count} instances ready after {took} ms"))
    }

    /// Ends an `apply`, once what it begins can be found and taken down.
    fn abandon(&self, child: &mut Child) {
        let deadline = Instant::now() + BEGIN_WAIT;
        let has_begun = || self.layout().is_some_and(|it| ledger::is_running(&it));
        while matches!(child.try_wait(), Ok(None)) && !has_begun() && Instant::now() < deadline {
            std::thread::sleep(LOOK_PAUSE);
        }
        // It may have ended by itself meanwhile.
        drop(child.kill());
        drop(child.wait());
    }

    /// Whether everything stands as planned, and nothing was started twice or lost on the way.
    pub(super) fn stands(&self, patience: Duration) -> Result<String, Fault> {
        let layout = self.layout().ok_or(Fault::Silent)?;
        let mut control = Control::connect(&layout, patience)?;
        // What the feedback let go may be ending.
        let settled = Wait {
            for_ms: patience.as_millis() as u64,
            ..Wait::default()
        };
        control.wait(&settled)?;
        let status = control.status(Look { wires: true })?;
        for node in &status.nodes {
            if node.goal != Goal::Reached || node.restarts > 0 {
                let why = node.reason.clone().unwrap_or_default();
                let (name, state) = (&node.name, node.state);
                return Err(Fault::Wrong(format!("{name} is {state}: {why}")));
            }
        }
        let wires = status.wires.len();
        let wire = status
            .wires
            .iter()
            .find(|wire| wire.state != WireState::Connected);
        match wire {
            Some(wire) => {
                let (link, from, to) = (&wire.link, &wire.from, &wire.to);
                let why = wire.reason.clone().unwrap_or_default();
                let words = format!("{link} from {from} to {to} is not connected: {why}");
                Err(Fault::Wrong(words))
            }
            None => Ok(format!(
                "{} instances and {wires} wires still stand as planned",
                status.nodes.len()
            )),
        }
    }

    /// Takes everything down and away.
    pub(super) fn strike(self) -> Result<String, Fault> {
        let start = Instant::now();
        take_down(&self.dir)?;
        fs::remove_dir_all(&self.dir).map_err(Fault::Command)?;
        let took = start.elapsed().as_millis();
        Ok(format!("down after {took} ms, and nothing is left"))
    }
}

impl Drop for Stage<'_> {
    /// What could not be struck, or not in order, is tried once more; what is left then is the next
    /// self test's to take away.
    fn drop(&mut self) {
        if self.dir.exists() && take_down(&self.dir).is_ok() {
            drop(fs::remove_dir_all(&self.dir));
        }
    }
}

/// One of this binary's own commands, in the directories of a stage. What it says goes to files there.
fn command(dir: &Path, verb: &str) -> Result<Command, Fault> {
    let said = File::create(dir.join(format!("{verb}.said"))).map_err(Fault::Command)?;
    let mut command = Command::new("/proc/self/exe");
    command
        .arg(verb)
        .current_dir(dir)
        .env("XDG_STATE_HOME", dir.join("state"))
        .env("XDG_RUNTIME_DIR", dir.join("run"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(said)
        .process_group(0);
    for name in MISLEADING {
        command.env_remove(name);
    }
    Ok(command)
}

/// What a command said that failed.
fn said(dir: &Path, verb: &'static str, ended: ExitStatus) -> Fault {
    let text = fs::read_to_string(dir.join(format!("{verb}.said"))).unwrap_or_default();
    let said = gist(&text);
    Fault::Ended { verb, ended, said }
}

fn take_down(dir: &Path) -> Result<(), Fault> {
    let mut command = command(dir, "down")?;
    let ended = command
        .args(["-T", NAME])
        .status()
        .map_err(Fault::Command)?;
    match ended.success() {
        true => Ok(()),
        false if is_nothing_running(dir) => Ok(()),
        false => Err(said(dir, "down", ended)),
    }
}

/// `down` of a network that was never begun says that nothing runs.
fn is_nothing_running(dir: &Path) -> bool {
    !dir.join("state/zmqnet").join(NAME).exists()
}

/// Takes down what a self test left that was killed, and never one that is being performed.
fn sweep(root: &Path) {
    let uid = rustix::process::geteuid().as_raw();
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    for entry in entries.filter(|it| it.file_name().to_string_lossy().starts_with(PREFIX)) {
        let dir = entry.path();
        let is_ours = entry
            .metadata()
            .is_ok_and(|it| it.is_dir() && it.uid() == uid);
        let lock = is_ours.then(|| File::open(dir.join("lock")).ok()).flatten();
        if lock.is_some_and(|lock| lock.try_lock().is_ok()) && take_down(&dir).is_ok() {
            drop(fs::remove_dir_all(&dir));
        }
    }
}
