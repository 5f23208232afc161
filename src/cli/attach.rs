//! The logs of a running network in front of a person, until they interrupt or it ends.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use super::exit::{Exit, Failure, Outcome};
use super::network;
use super::ui;
use crate::model::layout::Layout;
use crate::run::ledger;
use crate::run::logs::{Cursor, Follower};

/// Notes that a person interrupts, instead of ending at once.
#[derive(Debug, Clone)]
pub(super) struct Interrupts {
    int: Arc<AtomicBool>,
    term: Arc<AtomicBool>,
}

impl Interrupts {
    /// From now on.
    pub(super) fn noted() -> Result<Self, Failure> {
        let (int, term) = <(Arc<AtomicBool>, Arc<AtomicBool>)>::default();
        for (signal, is_set) in [(SIGINT, &int), (SIGTERM, &term)] {
            flag::register(signal, is_set.clone()).map_err(|error| {
                Failure::new(Exit::Failed, format!("no signal handler: {error}"))
            })?;
        }
        Ok(Self { int, term })
    }

    /// The exit code of whoever is interrupted, once that has happened.
    pub(super) fn exit(&self) -> Option<Exit> {
        let is_set = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        match (is_set(&self.int), is_set(&self.term)) {
            (true, _) => Some(Exit::Interrupted),
            (false, true) => Some(Exit::Terminated),
            (false, false) => None,
        }
    }
}

/// What becomes of the network when the person interrupts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnInterrupt {
    /// It runs on.
    Leave,
    /// The caller takes it down.
    TakeDown,
}

/// Prints the lines that come, each with its instance, until Ctrl-C, TERM or the network's end.
pub(super) fn follow(
    layout: &Layout,
    on_interrupt: OnInterrupt,
    interrupts: &Interrupts,
) -> Outcome {
    let follower = Follower::new(&layout.logs_dir());
    let mut cursors = BTreeMap::new();
    ui::talk(match on_interrupt {
        OnInterrupt::Leave => "following the logs; Ctrl-C leaves the network running",
        OnInterrupt::TakeDown => "following the logs; Ctrl-C takes the network down",
    });
    while interrupts.exit().is_none() {
        // Another apply may have brought instances since.
        let plan = network::plan_of(layout);
        for instance in plan.iter().flat_map(|plan| &plan.instances) {
            let name = instance.name.to_string();
            let log = layout.log_file(&name);
            cursors.entry(name).or_insert_with(|| Cursor::at_end(&log));
        }
        let mut has_more = false;
        for (name, cursor) in &mut cursors {
            // A log that cannot be read now is read when it can be.
            let Ok((lines, more)) = cursor.read() else {
                continue;
            };
            has_more |= more;
            for line in lines {
                ui::data(format_args!("{name} | {line}"));
            }
        }
        if has_more {
            continue;
        }
        if plan.is_none() && !ledger::is_running(layout) {
            ui::talk("the network has ended");
            break;
        }
        follower.wait();
    }
    Ok(interrupts.exit().unwrap_or(Exit::Done))
}
