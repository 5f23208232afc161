//! `down`: everything of a network ends, and it is proven that nothing is left.
//!
//! One word to the keeper is enough where all ends soon. Else it is done step by step: the supervisor
//! stops the instances, last rank first; what is left of the network after that, and is proven to be
//! ours, is killed here; then keeper and supervisor end, and their sockets go.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::Global;
use super::exit::{Exit, Failure, Outcome};
use super::network::{self, Running};
use super::progress::{self, Waiting};
use super::ui;
use crate::model::layout::Layout;
use crate::run::keeper::client::{self, Blocking, KeeperError};
use crate::run::keeper::launch::{self, Supervision};
use crate::run::keeper::protocol::{RefusalKind, Remain};
use crate::run::ledger::{self, Living};
use crate::run::procfs::{self, Handle};

/// How long everything may take to end before it is waited for with a word about each.
const SOON_WAIT: Duration = Duration::from_millis(100);
/// How long it is waited for in silence.
const SILENCE_MAX: Duration = Duration::from_secs(2);
/// How often it is begun anew when the supervisor is lost on the way.
const TRIES: u32 = 3;
/// How long what was killed may take to be gone.
const KILL_WAIT: Duration = Duration::from_secs(5);
/// How long the supervisor may take to end by itself once nothing else is left.
const RUNNER_WAIT: Duration = Duration::from_secs(1);
/// Between two looks for what is left.
const LOOK_PAUSE: Duration = Duration::from_millis(10);

/// Stop everything of a network, and return when nothing of it is left.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

impl Args {
    pub(super) fn run(self, global: &Global) -> Outcome {
        if let Some(running) = network::named(global)?
            && is_down_soon(&running.layout)?
        {
            return Ok(done(&running));
        }
        let running = match network::find(global) {
            Ok(running) => running,
            Err(failure) if failure.exit == Exit::NotRunning => {
                clear_away(global)?;
                ui::talk(format_args!("{}: nothing to take down", failure.message));
                return Ok(Exit::Done);
            }
            Err(failure) => return Err(failure),
        };
        take_down(&running)?;
        Ok(done(&running))
    }
}

/// Removes what networks left whose processes were all killed.
fn clear_away(global: &Global) -> Result<(), Failure> {
    let left = network::meant(global)?;
    for Running { layout, .. } in left.iter().filter(|it| !is_forgotten(&it.layout)) {
        launch::while_nothing_lives(layout, || ledger::is_running(layout), || forget(layout))
            .map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
    }
    Ok(())
}

/// Says after a while what is waited for, and goes with what it watches over.
struct Patience {
    _ended: mpsc::Sender<()>,
}

impl Patience {
    fn with(running: &Running) -> Self {
        let (ended, is_over) = mpsc::channel::<()>();
        let Running { name, layout } = running.clone();
        std::thread::spawn(move || {
            let waited = is_over.recv_timeout(SILENCE_MAX);
            if waited == Err(RecvTimeoutError::Timeout) {
                let lives = ledger::living(&layout);
                ui::talk(format_args!("{name}: waiting for {} to end", shown(&lives)));
            }
        });
        Self { _ended: ended }
    }
}

/// The first few of those that live; keeper and supervisor only where nobody else does.
fn shown(lives: &[Living]) -> String {
    const SHOWN: usize = 8;
    let is_instance = |one: &&Living| !one.tag.instance.as_str().starts_with('@');
    let instances: Vec<&Living> = lives.iter().filter(is_instance).collect();
    let lives = match instances.is_empty() {
        true => lives.iter().collect(),
        false => instances,
    };
    let named = lives.iter().take(SHOWN);
    let named: Vec<String> = named
        .map(|one| format!("{} (pid {})", one.tag.instance, one.pid))
        .collect();
    let more = match lives.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    match named.is_empty() {
        true => "the last of it".to_owned(),
        false => named.join(", ") + &more,
    }
}

fn done(running: &Running) -> Exit {
    ui::talk(format_args!("{} is down", running.name));
    Exit::Done
}

/// Takes a network down; what would not die is a failure that names it.
pub(super) fn take_down(running: &Running) -> Result<(), Failure> {
    let layout = &running.layout;
    let _patience = Patience::with(running);
    if is_down_soon(layout)? {
        return Ok(());
    }
    let mut keeper = None;
    for left in (0..TRIES).rev() {
        match stop_instances(layout) {
            Ok(connected) => {
                keeper = Some(connected);
                break;
            }
            Err(failure) if left == 0 => return Err(failure),
            // Who was told before came to the end of it meanwhile.
            Err(_) if !ledger::is_running(layout) => {
                forget(layout);
                return Ok(());
            }
            // The supervisor was lost on the way: the next one goes on.
            Err(_) => {}
        }
    }
    end_keeper(layout, keeper)?;
    forget(layout);
    Ok(())
}

/// Tells the keeper, whose supervisor then does all of it, and says whether nothing is left. Where that
/// takes longer, or one of them cannot, it is done step by step, with a word about each.
fn is_down_soon(layout: &Layout) -> Result<bool, Failure> {
    let Ok(mut keeper) = client::connect_within(layout, SOON_WAIT) else {
        return Ok(false);
    };
    let pid = keeper.hello().pid;
    let handle = procfs::stat(pid).and_then(|stat| Handle::open(pid, stat.start_time));
    let Some(handle) = handle else {
        return Ok(false);
    };
    if keeper.take_down(SOON_WAIT).is_err() {
        return Ok(false);
    }
    // Nobody is left to read them, nobody else starts while the keeper lives, and there is time until
    // it has ended.
    forget_records(layout);
    if !handle.await_end(KILL_WAIT) || !launch::has_left_nothing(layout, pid) {
        await_end(layout, None, Instant::now() + KILL_WAIT)?;
        forget(layout);
    }
    Ok(true)
}

/// Ends keeper and supervisor. A keeper refuses while anything of its network lives: what does is
/// killed, until nothing is left or the time is over. It begins with the connection that is there.
fn end_keeper(layout: &Layout, mut connected: Option<Blocking>) -> Result<(), Failure> {
    let lost = |error: KeeperError| Failure::new(Exit::Failed, error.to_string());
    let deadline = Instant::now() + KILL_WAIT;
    loop {
        let was_connected = connected.is_some();
        let mut keeper = match connected.take() {
            Some(keeper) => keeper,
            None => launch::ensure(layout, Supervision::Supervised)
                .map_err(|error| Failure::new(Exit::Failed, error.to_string()))?,
        };
        let pid = keeper.hello().pid;
        let handle = procfs::stat(pid).and_then(|stat| Handle::open(pid, stat.start_time));
        match keeper.ask_to_quit() {
            // It was lost since: the next one says what is left.
            Err(KeeperError::Lost | KeeperError::NotRunning) if was_connected => continue,
            Ok(()) | Err(KeeperError::Lost | KeeperError::NotRunning) => {
                // Nobody is left to read it, and there is time until the keeper has ended.
                drop(std::fs::remove_dir_all(told(layout)));
                // Without a handle, all that tells of its end is the connection.
                if handle.is_none() {
                    drop(keeper.await_end());
                }
                return await_end(layout, handle.as_ref(), deadline);
            }
            Err(KeeperError::Refused(refusal)) if refusal.kind == RefusalKind::Busy => {}
            Err(error) => return Err(lost(error)),
        }
        let left = keeper.remains(None).map_err(lost)?;
        if !left.is_empty() && Instant::now() >= deadline {
            return Err(would_not_die(&left));
        }
        left.iter().for_each(kill);
        std::thread::sleep(LOOK_PAUSE);
    }
}

/// Stops all instances, and gives a connection to their keeper.
fn stop_instances(layout: &Layout) -> Result<Blocking, Failure> {
    let (keeper, mut control) = network::reach_both(layout)?;
    control.down().map_err(network::control_failure)?;
    let waiting = Waiting {
        after: progress::NOTHING_OLD,
        names: Vec::new(),
        timeout: Some(patience(layout)),
        interrupts: None,
    };
    progress::wait(&mut control, waiting).map(|_| keeper)
}

/// How long the instances may take in all: rank after rank, each its longest grace. What is left
/// after that is killed.
fn patience(layout: &Layout) -> Duration {
    let plan = network::plan_of(layout);
    let mut graces: BTreeMap<u16, u64> = BTreeMap::new();
    for process in plan
        .iter()
        .flat_map(|plan| &plan.instances)
        .filter_map(|i| i.process.as_ref())
    {
        let grace = graces.entry(process.rank).or_default();
        *grace = (*grace).max(process.stop.grace_ms);
    }
    Duration::from_millis(graces.values().sum()) + KILL_WAIT * 2
}

/// Kills a process of the network that the supervisor has no instance for. Its start time is read
/// after the keeper has proven it ours, and checked again through the handle.
fn kill(remain: &Remain) {
    let handle = procfs::stat(remain.pid).and_then(|stat| Handle::open(stat.pid, stat.start_time));
    if let Some(handle) = handle {
        // One that has ended meanwhile is what was wanted.
        drop(handle.signal(Signal::KILL));
    }
}

fn would_not_die(left: &[Remain]) -> Failure {
    let named: Vec<String> = left
        .iter()
        .map(|remain| format!("{} ({}, state {})", remain.pid, remain.name, remain.state))
        .collect();
    Failure::new(Exit::Failed, format!("would not die: {}", named.join(", ")))
        .help("state D waits for the kernel, a disk most likely; `zmqnet down` again later")
}

/// Waits until keeper and supervisor have ended too, and proves it. The keeper is the last to end; where
/// it could prove itself that it left nothing, that stands, else all processes are looked at.
fn await_end(layout: &Layout, keeper: Option<&Handle>, deadline: Instant) -> Result<(), Failure> {
    if let Some(keeper) = keeper {
        let left = deadline.saturating_duration_since(Instant::now());
        if keeper.await_end(left) && launch::has_left_nothing(layout, keeper.pid()) {
            return Ok(());
        }
    }
    let patience = Instant::now() + RUNNER_WAIT;
    while ledger::is_running(layout) {
        // The supervisor, or what it ran for a probe, which nobody waits for any more.
        if Instant::now() >= patience {
            launch::replace_supervisor(layout);
        }
        if Instant::now() >= deadline {
            return Err(Failure::new(
                Exit::Failed,
                "the keeper or the supervisor does not end",
            ));
        }
        std::thread::sleep(LOOK_PAUSE);
    }
    Ok(())
}

/// What means that the network runs, beside its sockets.
fn records(layout: &Layout) -> [PathBuf; 5] {
    [
        layout.plan_file(),
        layout.wishes_file(),
        layout.ledger_file(),
        layout.base_env_file(),
        layout.given_file(),
    ]
}

/// Removes what means that the network runs: its plan, its records, its sockets. Logs and ports stay.
pub(super) fn forget(layout: &Layout) {
    forget_records(layout);
    remove_sockets(&layout.runtime);
}

fn forget_records(layout: &Layout) {
    for file in records(layout) {
        drop(std::fs::remove_file(file));
    }
    drop(std::fs::remove_dir_all(told(layout)));
}

/// Whether there is nothing to forget.
pub(super) fn is_forgotten(layout: &Layout) -> bool {
    let mut left = records(layout).into_iter().chain([told(layout)]);
    !left.any(|path| path.exists()) && !layout.runtime.exists()
}

fn told(layout: &Layout) -> PathBuf {
    layout.state.join("told")
}

fn remove_sockets(dir: &Path) {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()) {
        if Layout::is_transient(&path) {
            drop(std::fs::remove_file(path));
        }
    }
    // Not empty means that somebody keeps something else there.
    drop(std::fs::remove_dir(dir));
}
