//! `bus sub TOPIC...`: messages as they come.

use std::time::Duration;

use bytes::Bytes;
use clap::ValueEnum;
use serde_json::json;
use tokio::time::Instant;

use crate::cli::Global;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::members::TargetArgs;
use crate::cli::message;
use crate::cli::seed::block_on;
use crate::cli::ui;
use crate::client::bus::{BusError, Subscriber};
use crate::model::limits::WireLimits;
use crate::model::quantity;
use crate::run::looking;

use super::handler::Handler;
use super::{WAIT, failure, find};

/// Far enough away for whoever waits for ever.
const FOR_EVER: Duration = Duration::from_secs(86_400 * 365);

/// Print messages as they come; on standard error it says when no further message is missed
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    target: TargetArgs,
    /// Only messages with exactly these topics, not those that begin with them
    #[arg(long)]
    exact: bool,
    /// End after so many messages
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// End after this long; with fewer messages than `--count` the exit code is 1
    #[arg(short, long, value_name = "DURATION")]
    timeout: Option<quantity::Duration>,
    /// Print the topic before each message
    #[arg(long, conflicts_with = "command")]
    topics: bool,
    /// How to print: the bytes of each message, or a line of JSON
    #[arg(short = 'o', long, value_name = "FORMAT", default_value = "text")]
    #[arg(conflicts_with = "command")]
    format: Lines,
    /// The topics, each a prefix; none is all.
    #[arg(value_name = "TOPIC")]
    wanted: Vec<String>,
    /// A command that is run for each message, one after the other: the message is its standard input,
    /// its topic is `$ZMQNET_TOPIC`. One that fails is told and counted, and the next message comes.
    #[arg(value_name = "COMMAND", last = true)]
    command: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Lines {
    /// The bytes of a message and the end of a line.
    Text,
    /// A line of JSON a message.
    Json,
}

impl Args {
    pub(super) fn run(mut self, global: &Global) -> Outcome {
        let target = find(std::mem::take(&mut self.target), "out", global)?;
        let wait = self.timeout.map(quantity::Duration::as_std);
        let deadline = Instant::now() + wait.unwrap_or(FOR_EVER);
        let mut topics: Vec<Bytes> = self.wanted.iter().cloned().map(Bytes::from).collect();
        if topics.is_empty() {
            topics.push(Bytes::new());
        }
        let max = WireLimits::default().topic_bytes_max;
        if topics.iter().any(|topic| topic.len() > max) {
            let message = format!("a topic that is subscribed to has at most {max} bytes");
            return Err(Failure::new(Exit::Usage, message));
        }
        let mut handler = Handler::find(std::mem::take(&mut self.command))?;
        let ended = block_on(async {
            let mut subscriber = Subscriber::new(&target.endpoint, &target.keys, topics);
            let ready = subscriber.ready(wait.unwrap_or(WAIT)).await;
            match ready {
                Ok(()) => ui::talk(format_args!("subscribed at {}", target.endpoint)),
                Err(error) => return Err(failure(&target, &error)),
            }
            let mut seen = 0;
            while self.count.is_none_or(|count| seen < count) {
                let left = deadline.saturating_duration_since(Instant::now());
                match subscriber.next(left).await {
                    Ok(frames) if !self.is_wanted(&frames) => {}
                    Ok(frames) => {
                        seen += 1;
                        match &mut handler {
                            Some(handler) => handler.run(&frames).await,
                            None => self.show(&frames),
                        }
                    }
                    Err(BusError::TimedOut) => break,
                    Err(error) => return Err(failure(&target, &error)),
                }
            }
            match self.count {
                Some(count) if seen < count => {
                    let message = format!("{seen} of {count} messages in time");
                    Err(Failure::new(Exit::Failed, message))
                }
                _ => Ok(Exit::Done),
            }
        })?;
        let failed = handler.map_or(Ok(()), Handler::end);
        ended.and_then(|exit| failed.map(|()| exit))
    }

    fn is_wanted(&self, frames: &[Bytes]) -> bool {
        let topic = frames.first().cloned().unwrap_or_default();
        !self.exact || self.wanted.iter().any(|wanted| *wanted == topic)
    }

    /// Prints a message.
    fn show(&self, frames: &[Bytes]) {
        match self.format {
            Lines::Text => {
                message::print(frames, self.topics);
            }
            Lines::Json => {
                let shown: Vec<_> = frames.iter().map(looking::frame).collect();
                let topic = String::from_utf8_lossy(frames.first().map_or(&[], |topic| &topic[..]));
                let frames = &shown[1.min(shown.len())..];
                ui::data(json!({"topic": topic, "frames": frames}));
            }
        }
    }
}
