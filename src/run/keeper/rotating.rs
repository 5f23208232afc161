//! When logs are rotated: looks at the sizes every other second while anything runs, and has a
//! process of this binary do the work, so that a slow disk never holds up the keeper.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::children::{Children, RotateRule};
use super::note;
use crate::model::layout::Layout;
use crate::run::logs::ROTATE_ENTRY;
use crate::run::tag::{KEEPER, SUPERVISOR};

/// Between two looks at the sizes. A log may grow beyond its size by what is written meanwhile.
const PAUSE: Duration = Duration::from_secs(2);
/// Rotations under way at a time; the others wait for the next look.
const ROTATIONS_MAX: usize = 4;

/// The rotations under way, by process, and when to look next.
#[derive(Debug)]
pub(super) struct Rotating {
    running: HashMap<u32, String>,
    next_look: Instant,
}

impl Rotating {
    /// Nothing under way; the first look is at once.
    pub(super) fn new() -> Self {
        Self {
            running: HashMap::new(),
            next_look: Instant::now(),
        }
    }

    /// The next moment at which [`Rotating::tick`] has something to do.
    pub(super) fn due(&self, children: &Children) -> Option<Instant> {
        let is_any = children.iter().any(|(_, kid)| kid.is_alive());
        is_any.then_some(self.next_look)
    }

    /// Starts what is due.
    pub(super) fn tick(&mut self, layout: &Layout, children: &mut Children) {
        let now = Instant::now();
        if self.due(children).is_none_or(|due| due > now) {
            return;
        }
        self.next_look = now + PAUSE;
        let own = [KEEPER, SUPERVISOR].map(|name| (name.to_owned(), RotateRule::default()));
        let theirs = children
            .iter()
            .filter(|(_, kid)| kid.is_alive())
            .map(|(instance, kid)| (instance.to_string(), kid.rotate));
        for (instance, rule) in own.into_iter().chain(theirs) {
            // What it takes on disk: the part that was rotated away is a hole.
            let used =
                std::fs::metadata(layout.log_file(&instance)).map_or(0, |m| m.blocks() * 512);
            if used > rule.size_bytes && self.running.len() < ROTATIONS_MAX {
                self.start(layout, &instance, rule);
            }
        }
    }

    /// Starts one rotation, unless one of the same log is under way.
    pub(super) fn start(&mut self, layout: &Layout, instance: &str, rule: RotateRule) {
        if self.running.values().any(|running| running == instance) {
            return;
        }
        let spawned = Command::new("/proc/self/exe")
            .arg0("zmqnet")
            .arg(ROTATE_ENTRY)
            .arg(layout.log_file(instance))
            .args([rule.size_bytes.to_string(), rule.keep.to_string()])
            .stdin(Stdio::null())
            .process_group(0)
            .spawn();
        match spawned {
            Ok(child) => drop(self.running.insert(child.id(), instance.to_owned())),
            Err(error) => note(format_args!("cannot rotate the log of {instance}: {error}")),
        }
    }

    /// Whether this process is a rotation.
    pub(super) fn is_running(&self, pid: u32) -> bool {
        self.running.contains_key(&pid)
    }

    /// Takes note that a process ended, if it was a rotation.
    pub(super) fn ended(&mut self, pid: u32) {
        self.running.remove(&pid);
    }
}
