//! Waiting in front of a person: a line that moves on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::attach::Interrupts;
use super::exit::{Exit, Failure};
use super::network::control_failure;
use super::ui;
use crate::lifecycle::Phase;
use crate::model::name::InstanceName;
use crate::run::control::{Control, Wait, Waited};
use crate::run::supervisor::Transition;

/// A transition that has not been yet: what was before is no news.
pub(super) const NOTHING_OLD: u64 = u64::MAX;
/// What a command says that waited for what somebody else takes down.
pub(super) fn taken_down() -> Failure {
    Failure::new(Exit::Failed, "the network is being taken down")
}

/// How often a waiting command looks up.
const PAUSE: Duration = Duration::from_millis(100);
/// With more instances than this, only what goes wrong gets a line of its own.
const LINES_MAX: usize = 60;

/// What is waited for, and how long.
pub(super) struct Waiting {
    /// The transition after which news begins.
    pub(super) after: u64,
    /// The instances; empty is all.
    pub(super) names: Vec<InstanceName>,
    /// When to give up; never where absent.
    pub(super) timeout: Option<Duration>,
    /// What ends the waiting early, where Ctrl-C is not to end the whole command.
    pub(super) interrupts: Option<Interrupts>,
}

/// Waits until everything is settled or the time is over, and tells what happens meanwhile.
pub(super) fn wait(control: &mut Control, waiting: Waiting) -> Result<Waited, Failure> {
    let deadline = waiting.timeout.map(|timeout| Instant::now() + timeout);
    let bar = bar();
    let mut after = waiting.after;
    let mut told = 0;
    let waited = loop {
        let left = deadline.map_or(PAUSE, |at| at.saturating_duration_since(Instant::now()));
        let wait = Wait {
            after,
            for_ms: left.min(PAUSE).as_millis() as u64,
            names: waiting.names.clone(),
        };
        let waited = control.wait(&wait).map_err(control_failure)?;
        after = waited.version;
        let total = waited.reached + waited.pending + waited.missed;
        for transition in &waited.transitions {
            if let Some(line) = line(transition)
                && (is_trouble(transition.state) || told < LINES_MAX)
            {
                told += 1;
                match &bar {
                    Some(bar) if is_trouble(transition.state) => bar.println(format!("  {line}")),
                    Some(_) => {}
                    None => ui::talk(format_args!("  {line}")),
                }
            }
        }
        if let Some(bar) = &bar {
            bar.set_message(format!("{} of {total} as planned", waited.reached));
        }
        let is_over = deadline.is_some_and(|at| Instant::now() >= at);
        let interrupts = waiting.interrupts.as_ref();
        let is_interrupted = interrupts.is_some_and(|signals| signals.exit().is_some());
        if waited.is_settled() || is_over || is_interrupted {
            break waited;
        }
    };
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    Ok(waited)
}

fn bar() -> Option<ProgressBar> {
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    if is_dumb || !std::io::stderr().is_terminal() {
        return None;
    }
    let bar = ProgressBar::new_spinner();
    let style = ProgressStyle::with_template("{spinner} {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    bar.enable_steady_tick(PAUSE);
    Some(bar)
}

fn is_trouble(state: Phase) -> bool {
    matches!(state, Phase::Failed | Phase::Suspect | Phase::BackingOff)
}

/// What is worth a line: arrivals and trouble, not every step on the way.
fn line(transition: &Transition) -> Option<String> {
    let Transition {
        name,
        state,
        reason,
        ..
    } = transition;
    let why = reason
        .as_ref()
        .map(|reason| format!(": {reason}"))
        .unwrap_or_default();
    match state {
        Phase::Ready => Some(format!("{name} ready")),
        Phase::Stopped => Some(format!("{name} stopped{why}")),
        Phase::Failed => Some(format!("{name} failed{why}")),
        Phase::Suspect => Some(format!("{name} suspect{why}")),
        Phase::BackingOff => Some(format!("{name} starts again soon{why}")),
        Phase::Waiting | Phase::Starting | Phase::Probing | Phase::Stopping => None,
    }
}
