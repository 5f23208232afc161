//! `tap LINK`: messages of a link as they pass, without changing what is delivered.
//!
//! It asks whoever sees the link's wires, a gate, a replica or a bus, a few times a second for copies of
//! what passed. What it could not be shown is counted and said at the end.

use std::time::Duration;

use bytes::Bytes;
use clap::ValueEnum;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::Global;
use super::exit::{Exit, Failure, Outcome};
use super::{network, seed, ui};
use crate::model::layout::Layout;
use crate::model::name::InstanceName;
use crate::model::quantity;
use crate::plan::{Plan, Wire};
use crate::protocol::zn1::{Reply, Request};
use crate::roles::Kind;
use crate::run::looking;
use crate::wire::dial;

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(50);
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(2);

/// Show messages of a link live. It needs a gate on the link, or a replica or a bus that listens there;
/// it never changes what is delivered, and says at the end what it could not show.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The link.
    #[arg(value_name = "LINK")]
    link: String,
    /// Only of wires that start at this instance.
    #[arg(long, value_name = "NAME")]
    from: Option<String>,
    /// Only of wires that end at this instance.
    #[arg(long, value_name = "NAME")]
    to: Option<String>,
    /// Only messages whose first frame starts with this; before it, an envelope of empty frames counts
    /// for nothing.
    #[arg(long, value_name = "PREFIX")]
    topic: Option<String>,
    /// Only messages one of whose frames matches this.
    #[arg(long, value_name = "REGEX")]
    regex: Option<String>,
    /// End after so many messages.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after this long; with fewer messages than `--count` the exit code is 1.
    #[arg(long, value_name = "DURATION")]
    timeout: Option<quantity::Duration>,
    /// Show at most so many in a second from each that sees them, such as `100/s`.
    #[arg(long, value_name = "N/s")]
    rate: Option<PerSecond>,
    /// How to print each message: a line of text, or a line of JSON.
    #[arg(short = 'o', long, value_name = "FORMAT", default_value = "text")]
    format: Lines,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Lines {
    /// A line of text a message.
    Text,
    /// A line of JSON a message.
    Json,
}

/// `100/s`, or `100`.
#[derive(Debug, Clone, Copy)]
struct PerSecond(u32);

impl std::str::FromStr for PerSecond {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = text.strip_suffix("/s").unwrap_or(text);
        match number.parse() {
            Ok(number) if number > 0 => Ok(Self(number)),
            Ok(_) | Err(_) => Err("a rate is a number from 1, such as `100/s`"),
        }
    }
}

/// What has come so far.
#[derive(Default)]
struct Tally {
    shown: u64,
    missed: u64,
    over_rate: u64,
}

impl Args {
    pub(super) fn run(self, global: &Global) -> Outcome {
        // Before anybody is asked: with none to ask it would never be found wrong.
        if let Some(regex) = &self.regex {
            looking::check(regex)
                .map_err(|fault| Failure::new(Exit::Usage, format!("`--regex`: {fault}")))?;
        }
        let running = network::find(global)?;
        let plan = network::plan_of(&running.layout)
            .ok_or_else(|| Failure::new(Exit::Failed, "the network keeps no plan"))?;
        let sources = self.sources(&plan)?;
        let among = self.among(&plan);
        seed::block_on(self.look(&running.layout, &sources, among))?
    }

    /// Who sees the link's wires: each is seen by one.
    fn sources(&self, plan: &Plan) -> Result<Vec<InstanceName>, Failure> {
        let is_own = |wire: &&Wire| wire.link.as_str() == self.link;
        let wires: Vec<&Wire> = plan.wires.iter().filter(is_own).collect();
        if wires.is_empty() {
            let mut links: Vec<&str> = plan.wires.iter().map(|wire| wire.link.as_str()).collect();
            links.dedup();
            return Err(network::no_wires(&self.link, &links));
        }
        self.ends(&wires)?;
        let mut sources: Vec<InstanceName> = wires
            .iter()
            .filter_map(|wire| seen_by(plan, wire))
            .collect();
        sources.sort();
        sources.dedup();
        if sources.is_empty() {
            let words = format!("nobody of zmqnet's sees what passes on `{}`", self.link);
            return Err(Failure::new(Exit::Failed, words).help(format!(
                "write `gate: true` in `links.{}` and apply it",
                self.link
            )));
        }
        let is_bus = |name: &InstanceName| {
            let instance = plan.instance(name.as_str());
            instance.is_some_and(|it| it.kind == Kind::Bus)
        };
        let is_one_end = self.from.is_some() || self.to.is_some();
        if let Some(bus) = sources.iter().find(|name| is_one_end && is_bus(name)) {
            let words = format!("the bus `{bus}` shows what it fans out, not from whom or to whom");
            return Err(Failure::new(Exit::Usage, words).help("leave out `--from` and `--to`"));
        }
        Ok(sources)
    }

    /// Refuses a name that is at no end of the link: nothing would ever be shown.
    fn ends(&self, wires: &[&Wire]) -> Result<(), Failure> {
        let mut names: Vec<&str> = wires
            .iter()
            .flat_map(|wire| [wire.from.as_str(), wire.to.as_str()])
            .collect();
        names.sort_unstable();
        names.dedup();
        for name in self.from.iter().chain(&self.to) {
            if !names.contains(&name.as_str()) {
                let words = format!("no instance `{name}` is on the link `{}`", self.link);
                let help = format!("on it are: {}", names.join(", "));
                return Err(Failure::new(Exit::Usage, words).help(help));
            }
        }
        Ok(())
    }

    /// Who starts the link's wires, where all of them are roles of ours: those are known by name
    /// wherever they dial.
    fn among(&self, plan: &Plan) -> Option<Vec<InstanceName>> {
        let wires = plan
            .wires
            .iter()
            .filter(|wire| wire.link.as_str() == self.link);
        let mut names: Vec<InstanceName> = wires.map(|wire| wire.from.clone()).collect();
        names.sort();
        names.dedup();
        let is_role = |name: &InstanceName| {
            let instance = plan.instance(name.as_str());
            instance.is_some_and(|it| it.kind == Kind::Replica)
        };
        names.iter().all(is_role).then_some(names)
    }

    async fn look(
        &self,
        layout: &Layout,
        sources: &[InstanceName],
        among: Option<Vec<InstanceName>>,
    ) -> Outcome {
        let looker = format!("tap#{}.{:08x}", std::process::id(), fastrand::u32(..));
        let params = json!({
            "looker": looker,
            "link": self.link,
            "from": self.from,
            "to": self.to,
            "among": among,
            "topic": self.topic,
            "regex": self.regex,
            "rate": self.rate.map(|PerSecond(rate)| rate),
        });
        let end = self
            .timeout
            .map(|timeout| Instant::now() + timeout.as_std());
        let mut tally = Tally::default();
        let mut interrupted = Box::pin(tokio::signal::ctrl_c());
        let is_interrupted = loop {
            for source in sources {
                let shown = ask(layout, source, &params).await?;
                if self.show(&shown, &mut tally) {
                    tally.say();
                    return Ok(Exit::Done);
                }
            }
            if end.is_some_and(|end| Instant::now() >= end) {
                break false;
            }
            tokio::select! {
                // Cancel safe, both: nothing is lost by not waiting on.
                _ = &mut interrupted => break true,
                () = sleep(PAUSE) => {}
            }
        };
        tally.say();
        Ok(match self.count {
            Some(_) if !is_interrupted => Exit::Failed,
            Some(_) | None => Exit::Done,
        })
    }

    /// Prints what came; whether that is enough.
    fn show(&self, shown: &Value, tally: &mut Tally) -> bool {
        tally.missed += shown["missed"].as_u64().unwrap_or(0);
        tally.over_rate += shown["over_rate"].as_u64().unwrap_or(0);
        for message in shown["messages"].as_array().into_iter().flatten() {
            match self.format {
                Lines::Json => ui::data(message),
                Lines::Text => ui::data(line(message)),
            }
            tally.shown += 1;
            if self.count.is_some_and(|count| tally.shown >= count) {
                return true;
            }
        }
        false
    }
}

/// Who sees a wire: the gate that dials it, else the one that listens, else a role of ours that
/// listens.
fn seen_by(plan: &Plan, wire: &Wire) -> Option<InstanceName> {
    let (own, other) = match wire.dialler == wire.from {
        true => (&wire.from_gate, &wire.to_gate),
        false => (&wire.to_gate, &wire.from_gate),
    };
    let listener = match wire.dialler == wire.from {
        true => &wire.to,
        false => &wire.from,
    };
    let gate = own.as_ref().or(other.as_ref());
    let is_here = |name: &&InstanceName| {
        let instance = plan.instance(name.as_str());
        instance.is_some_and(|it| it.process.is_some())
    };
    let is_role = |name: &&InstanceName| {
        let instance = plan.instance(name.as_str());
        instance.is_some_and(|it| matches!(it.kind, Kind::Replica | Kind::Bus))
    };
    gate.filter(is_here)
        .or_else(|| Some(listener).filter(is_role).filter(is_here))
        .cloned()
}

/// What one of them saw since it was asked last.
async fn ask(layout: &Layout, source: &InstanceName, params: &Value) -> Result<Value, Failure> {
    let health = layout.health(source.as_str());
    let request = Request::new("tap", Bytes::new(), params.clone());
    let failed = |why: &dyn std::fmt::Display| {
        Failure::new(Exit::Failed, format!("`{source}` cannot be asked: {why}"))
    };
    let frames = dial::request(&health, request.encode(), ANSWER).await;
    let reply = Reply::decode(frames.map_err(|error| failed(&error))?);
    let reply = reply.map_err(|error| failed(&error))?;
    match reply.is_ok() {
        true => Ok(reply.result),
        false => Err(failed(&reply.result["error"].as_str().unwrap_or_default())),
    }
}

impl Tally {
    fn say(&self) {
        let Self {
            shown,
            missed,
            over_rate,
        } = self;
        let mut words = format!("{shown} shown");
        if *over_rate > 0 {
            words.push_str(&format!(", {over_rate} more were over the rate"));
        }
        if *missed > 0 {
            words.push_str(&format!(
                ", {missed} that passed could not be kept for looking at"
            ));
        }
        ui::talk(words);
    }
}

/// A message as a line: when, on which wire, which way, its frames.
fn line(message: &Value) -> String {
    let ms = message["time_ms"].as_u64().unwrap_or(0);
    let (seconds, part) = (ms / 1000 % 86_400, ms % 1000);
    let time = format!(
        "{:02}:{:02}:{:02}.{part:03}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    );
    let text = |key: &str| message[key].as_str().unwrap_or_default();
    let arrow = match text("direction") {
        "forward" => ">",
        _ => "<",
    };
    let frames = message["frames"].as_array().into_iter().flatten();
    let frames: Vec<String> = frames.map(frame).collect();
    format!(
        "{time} {} {arrow} {} {}",
        text("from"),
        text("to"),
        frames.join(" ")
    )
}

fn frame(frame: &Value) -> String {
    let bytes = frame["bytes"].as_u64().unwrap_or(0);
    let cut = if frame["is_cut"] == true { "..." } else { "" };
    match (frame["text"].as_str(), frame["base64"].as_str()) {
        (Some(text), _) => format!("{text:?}{cut}"),
        (None, Some(base64)) => format!("<{bytes} bytes {base64}{cut}>"),
        (None, None) => format!("<{bytes} bytes>"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line() {
        let message = json!({
            "time_ms": 3_661_007, "link": "l", "from": "a", "to": "b", "direction": "back",
            "frames": [{"text": "x\ny", "bytes": 3}, {"base64": "/w==", "bytes": 9, "is_cut": true}],
        });
        assert_eq!(
            line(&message),
            r#"01:01:01.007 a < b "x\ny" <9 bytes /w==...>"#
        );
    }

    #[test]
    fn a_rate_is_a_number_a_second() {
        assert_eq!("100/s".parse::<PerSecond>().unwrap().0, 100);
        assert_eq!("7".parse::<PerSecond>().unwrap().0, 7);
        assert!("0/s".parse::<PerSecond>().is_err() && "x/s".parse::<PerSecond>().is_err());
    }
}
