//! `logs`: the last lines of instances, and those that come.
//!
//! Reads the files that the instances write, so it works whatever else of the network lives.

use std::ffi::OsString;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::environment::Environment;
use super::exit::{Exit, Failure, Outcome};
use super::ui::Format;
use super::{Global, manifest_file, ui};
use crate::model::layout::Layout;
use crate::model::name::TopologyName;
use crate::plan::Plan;
use crate::run::logs::{Cursor, Follower, tail, tail_then};
use crate::run::{ledger, paths};

/// Lines shown of each instance where nobody says how many.
const LINES: usize = 100;
/// The most lines and bytes of one instance that are held in memory at a time.
const LINES_MAX: usize = 1_000_000;
const BYTES_MAX: usize = 256 * 1024 * 1024;

/// The colours that tell instances apart; red is left to what went wrong.
const COLOURS: [u8; 6] = [36, 33, 32, 35, 34, 96];

/// Show what instances wrote: the last lines, and with `--follow` those that come
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Instances or nodes; `@keeper` and `@supervisor` are the runner's own. Default: every instance.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Go on with the lines that come, until interrupted. Here `-f` is this, not `--file`.
    #[arg(long)]
    follow: bool,
    /// How many of the last lines of each instance.
    #[arg(short = 'n', long, value_name = "N", default_value_t = LINES)]
    tail: usize,
    /// How to print: lines for people, or one JSON document a line.
    #[arg(short = 'o', long, value_name = "FORMAT", default_value = "table")]
    format: Format,
}

/// One line, for programs.
#[derive(Debug, Serialize)]
struct Line<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<&'a str>,
    instance: &'a str,
    line: &'a str,
}

impl Args {
    pub(super) fn run(self, global: &Global) -> Outcome {
        if matches!(self.format, Format::Yaml) {
            let message = "logs are printed as `table` or `json`";
            return Err(Failure::new(Exit::Usage, message));
        }
        let (topology, layout) = network(global)?;
        let names = self.chosen(&topology, &layout)?;
        let printer = Printer::new(&names, self.format);
        let mut cursors = Vec::new();
        for (at, name) in names.iter().enumerate() {
            let log = layout.log_file(name);
            let count = self.tail.min(LINES_MAX);
            let lines = if self.follow {
                let (lines, cursor) =
                    tail_then(&log, count, BYTES_MAX).map_err(|error| unreadable(&log, &error))?;
                cursors.push(cursor);
                lines
            } else {
                tail(&log, count, BYTES_MAX).map_err(|error| unreadable(&log, &error))?
            };
            lines.iter().for_each(|line| printer.print(at, line));
        }
        if self.follow {
            // What comes from now on came now; when older lines were written is not known.
            let printer = Printer {
                is_timed: true,
                ..printer
            };
            follow(&layout, &mut cursors, &printer)?;
        }
        Ok(Exit::Done)
    }

    /// The instances that are meant, in the order of the plan.
    fn chosen(&self, topology: &TopologyName, layout: &Layout) -> Result<Vec<String>, Failure> {
        let plan = plan_of(layout);
        let planned = |wanted: Option<&str>| -> Vec<String> {
            let instances = plan.iter().flat_map(|plan| &plan.instances);
            instances
                .filter(|instance| instance.process.is_some())
                .filter(|instance| {
                    wanted
                        .is_none_or(|w| instance.name.as_str() == w || instance.node.as_str() == w)
                })
                .map(|instance| instance.name.to_string())
                .collect()
        };
        if self.names.is_empty() {
            let all = planned(None);
            return Ok(if all.is_empty() { written(layout) } else { all });
        }
        let mut chosen: Vec<String> = Vec::new();
        for name in &self.names {
            let mut meant = planned(Some(name));
            // An instance that the plan has dropped may still have left its log.
            if meant.is_empty() && is_file_name(name) && layout.log_file(name).is_file() {
                meant.push(name.clone());
            }
            if meant.is_empty() {
                return Err(unknown(name, topology, &planned(None)));
            }
            meant.retain(|name| !chosen.contains(name));
            chosen.extend(meant);
        }
        Ok(chosen)
    }
}

/// Prints what comes, until the network has ended, if it ran at all.
fn follow(layout: &Layout, cursors: &mut [Cursor], printer: &Printer) -> Result<(), Failure> {
    let follower = Follower::new(&layout.logs_dir());
    let ran = ledger::is_running(layout);
    loop {
        // Asked before the last look, so that no last word is missed.
        let has_ended = ran && plan_of(layout).is_none() && !ledger::is_running(layout);
        let mut is_more = false;
        for (at, cursor) in cursors.iter_mut().enumerate() {
            let (lines, may_be_more) = cursor
                .read()
                .map_err(|error| unreadable(&layout.logs_dir(), &error))?;
            lines.iter().for_each(|line| printer.print(at, line));
            is_more |= may_be_more;
        }
        if !is_more && has_ended {
            ui::talk("the network has ended");
            return Ok(());
        }
        if !is_more {
            follower.wait();
        }
    }
}

/// How each line is printed.
struct Printer<'a> {
    names: &'a [String],
    format: Format,
    width: usize,
    /// Whether the time is told with each line.
    is_timed: bool,
}

impl<'a> Printer<'a> {
    fn new(names: &'a [String], format: Format) -> Self {
        Self {
            names,
            format,
            width: names.iter().map(String::len).max().unwrap_or_default(),
            is_timed: false,
        }
    }

    fn print(&self, at: usize, line: &str) {
        let instance = self.names[at].as_str();
        let time = self.is_timed.then(time_of_day);
        match self.format {
            Format::Json => {
                let line = Line {
                    time: time.as_deref(),
                    instance,
                    line,
                };
                ui::data(serde_json::to_string(&line).expect("two texts are JSON"));
            }
            Format::Table | Format::Yaml => {
                let colour = COLOURS[at % COLOURS.len()];
                let width = self.width;
                let time = time.map(|time| format!("{time} ")).unwrap_or_default();
                ui::data(format_args!(
                    "{time}\x1b[{colour}m{instance:width$} |\x1b[0m {line}"
                ));
            }
        }
    }
}

/// The time of day in UTC, as our own roles write it: `13:19:45.569Z`.
fn time_of_day() -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let (day, ms) = (now.as_secs() % 86_400, now.subsec_millis());
    let (hour, minute, second) = (day / 3_600, day / 60 % 60, day % 60);
    format!("{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

/// The network that is meant: by name, by the manifest here, else the only one that runs, else the
/// only one there is.
fn network(global: &Global) -> Result<(TopologyName, Layout), Failure> {
    let unusable = |error: paths::PathsError| Failure::new(Exit::File, error.to_string());
    if let Some(name) = &global.topology {
        let name = TopologyName::new(name.as_str());
        let layout = paths::layout_of(&name).map_err(unusable)?;
        if layout.logs_dir().is_dir() {
            return Ok((name, layout));
        }
        let message = format!("no network `{name}` was ever started here");
        return Err(Failure::new(Exit::NotRunning, message));
    }
    let mut known = paths::networks().map_err(unusable)?;
    known.retain(|(_, layout)| layout.logs_dir().is_dir());
    if let Ok(manifest) = manifest_file::find(None, global, &Environment::load())
        && let Ok(manifest) = std::path::absolute(manifest)
    {
        let of_it = |(_, layout): &(TopologyName, Layout)| {
            plan_of(layout).is_some_and(|plan| plan.manifest == manifest)
        };
        if let Some(at) = known.iter().position(of_it) {
            return Ok(known.swap_remove(at));
        }
    }
    if known.len() > 1 {
        let running: Vec<bool> = known.iter().map(|(_, l)| ledger::is_running(l)).collect();
        if running.contains(&true) {
            let mut running = running.into_iter();
            known.retain(|_| running.next().unwrap_or(false));
        }
    }
    match known.len() {
        0 => Err(
            Failure::new(Exit::NotRunning, "nothing was ever started here")
                .help("`zmqnet apply FILE` starts a network"),
        ),
        1 => Ok(known.remove(0)),
        _ => {
            let names: Vec<String> = known.iter().map(|(name, _)| format!("`{name}`")).collect();
            let message = format!("which network: {}?", names.join(", "));
            Err(Failure::new(Exit::Usage, message).help("name one with `-T NAME`"))
        }
    }
}

fn plan_of(layout: &Layout) -> Option<Plan> {
    serde_json::from_slice(&std::fs::read(layout.plan_file()).ok()?).ok()
}

/// The instances that left a log.
fn written(layout: &Layout) -> Vec<String> {
    let entries = std::fs::read_dir(layout.logs_dir()).into_iter().flatten();
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter_map(|name| Some(name.strip_suffix(".log")?.to_owned()))
        .filter(|name| !name.starts_with('@'))
        .collect();
    names.sort();
    names
}

fn is_file_name(name: &str) -> bool {
    !name.contains('/') && !name.starts_with('.')
}

fn unknown(name: &str, topology: &TopologyName, planned: &[String]) -> Failure {
    let message = format!("`{name}` is no instance or node of `{topology}`");
    let failure = Failure::new(Exit::Usage, message);
    if planned.is_empty() {
        return failure;
    }
    let names: Vec<&str> = planned.iter().take(10).map(String::as_str).collect();
    failure.help(format!("there are: {}", names.join(", ")))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    let message = format!("cannot read `{}`: {error}", path.display());
    Failure::new(Exit::File, message)
}

/// After the verb `logs`, `-f` is `--follow`: everywhere else it names the manifest.
pub(super) fn with_follow(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut given: Vec<OsString> = Vec::new();
    let (mut is_logs, mut is_verb_due, mut is_value) = (false, true, false);
    for (at, arg) in args.enumerate() {
        let text = arg.to_string_lossy().into_owned();
        if is_logs && text.starts_with("-f") {
            given.push("--follow".into());
            if text.len() > 2 {
                given.push(format!("-{}", &text[2..]).into());
            }
            continue;
        }
        let takes_value = ["-f", "-p", "-T", "--file", "--peers", "--topology"];
        if at > 0 && is_verb_due && !is_value && !text.starts_with('-') {
            is_verb_due = false;
            is_logs = text == "logs";
        }
        is_value = takes_value.contains(&text.as_str());
        given.push(arg);
    }
    given
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(line: &str) -> String {
        let args = line.split(' ').map(OsString::from);
        let given = with_follow(args);
        let words: Vec<_> = given.iter().map(|arg| arg.to_string_lossy()).collect();
        words.join(" ")
    }

    #[test]
    fn the_short_option_means_follow_after_logs_only() {
        assert_eq!(given("zmqnet logs -f a"), "zmqnet logs --follow a");
        assert_eq!(given("zmqnet logs -fn 3"), "zmqnet logs --follow -n 3");
        assert_eq!(given("zmqnet -f x logs -f"), "zmqnet -f x logs --follow");
        assert_eq!(
            given("zmqnet -f logs plan -f x"),
            "zmqnet -f logs plan -f x"
        );
        assert_eq!(
            given("zmqnet send -n logs -f x"),
            "zmqnet send -n logs -f x"
        );
    }
}
