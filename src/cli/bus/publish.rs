//! `bus pub TOPIC [MESSAGE|-]`: messages that are acknowledged.

use std::io::BufRead;

use bytes::Bytes;
use serde::Serialize;

use crate::cli::Global;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::members::{Target, TargetArgs};
use crate::cli::seed::block_on;
use crate::cli::ui::{self, Format, FormatArgs};
use crate::client::bus::{BusError, Published, Publisher};
use crate::model::quantity;

use super::{WAIT, failure, find};

/// The longest line of standard input that is one message.
const LINE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Publish a message, or each line of standard input; done when the bus has it
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    target: TargetArgs,
    /// How long the bus may take for each message, such as `2s` [default: 5s]
    #[arg(short, long, value_name = "DURATION")]
    timeout: Option<quantity::Duration>,
    #[command(flatten)]
    format: FormatArgs,
    /// The topic: the first frame.
    #[arg(value_name = "TOPIC")]
    topic: String,
    /// The second frame; `-` publishes each line of standard input, nothing an empty frame.
    #[arg(value_name = "MESSAGE")]
    message: Option<String>,
}

/// What `-o json` prints.
#[derive(Debug, Default, Serialize)]
struct Report {
    schema: u32,
    /// Messages that the bus has.
    messages: u64,
    /// Subscribers that they matched, each counted for each message.
    matched: u64,
    /// Those that have them or will.
    queued: u64,
}

impl Report {
    fn add(&mut self, published: Published) {
        self.messages += 1;
        self.matched += published.matched;
        self.queued += published.queued;
    }
}

impl Args {
    pub(super) fn run(self, global: &Global) -> Outcome {
        let target = find(self.target, "acked", global)?;
        let wait = self.timeout.map_or(WAIT, quantity::Duration::as_std);
        let topic = Bytes::from(self.topic);
        let (message, format) = (self.message, self.format.format);
        let mut publisher = Publisher::new(target.endpoint.clone(), target.keys.clone());
        let mut report = Report {
            schema: 1,
            ..Report::default()
        };
        let ended = block_on(async {
            let mut publish = async |body: Bytes| {
                let sent = publisher.publish(topic.clone(), vec![body], wait).await;
                report.add(sent.map_err(|error| unpublished(&target, &error))?);
                Ok::<(), Failure>(())
            };
            if message.as_deref() != Some("-") {
                return publish(Bytes::from(message.unwrap_or_default())).await;
            }
            // One line is acknowledged before the next is read: whoever writes is slowed down.
            let mut stdin = std::io::stdin().lock();
            while let Some(line) = line(&mut stdin)? {
                publish(line).await?;
            }
            Ok(())
        })?;
        match format {
            Format::Table => ui::talk(format_args!(
                "{} published, matched {}, queued {}",
                report.messages, report.matched, report.queued
            )),
            format => ui::document(format, &report),
        }
        ended.map(|()| Exit::Done)
    }
}

/// A failure to publish. Who names an endpoint may have named another port of the bus.
fn unpublished(target: &Target, error: &BusError) -> Failure {
    let failed = failure(target, error);
    match error {
        BusError::Unreached(_) | BusError::Malformed(_) => failed.help(
            "it has to be the port `acked` of a bus: `in` takes messages and answers nothing",
        ),
        BusError::Refused(..) | BusError::TimedOut => failed,
    }
}

/// The next line without its end; nothing at the end of the file.
fn line(stdin: &mut impl BufRead) -> Result<Option<Bytes>, Failure> {
    let mut line = Vec::new();
    let mut limited = std::io::Read::take(stdin, LINE_BYTES_MAX as u64 + 1);
    let read = limited.read_until(b'\n', &mut line);
    let read = read.map_err(|error| {
        Failure::new(Exit::Failed, format!("cannot read standard input: {error}"))
    })?;
    if read == 0 {
        return Ok(None);
    }
    if read > LINE_BYTES_MAX {
        let message = format!("a line has more than {LINE_BYTES_MAX} bytes");
        return Err(Failure::new(Exit::Failed, message));
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    }
    Ok(Some(line.into()))
}
