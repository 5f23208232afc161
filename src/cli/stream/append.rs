//! `stream append [EVENT...|-]`: what is written, or each line of standard input, is an event.

use std::io::{BufRead, BufReader, Read};
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;

use super::{Stream, wait};
use crate::cli::Global;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::members::TargetArgs;
use crate::cli::seed::block_on;
use crate::cli::stdin;
use crate::cli::ui::{self, Format, FormatArgs};
use crate::model::limits::WireLimits;
use crate::model::quantity;

/// Events in one request: with its other parts as many as a listener takes.
pub(super) const BATCH_MAX: usize = 56;

/// Append events, and print the offset of the first
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    target: TargetArgs,
    /// Standard input is one event, and not one a line
    #[arg(long)]
    whole: bool,
    /// How long to wait for the stream, each time [default: 5s]
    #[arg(short, long, value_name = "DURATION")]
    timeout: Option<quantity::Duration>,
    #[command(flatten)]
    format: FormatArgs,
    /// The events; `-` alone for standard input, one event a line.
    #[arg(value_name = "EVENT", required = true)]
    events: Vec<String>,
}

/// What was appended.
#[derive(Default)]
struct Appended {
    first: Option<u64>,
    count: u64,
}

/// The next line, without its end; nothing at the end.
fn line(input: &mut impl BufRead) -> Result<Option<Bytes>, Failure> {
    let max = WireLimits::default().message_bytes_max / BATCH_MAX;
    let mut line = Vec::new();
    let mut limited = input.by_ref().take(max as u64 + 2);
    let got = limited.read_until(b'\n', &mut line);
    if got.map_err(|error| stdin::unread(&error))? == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    }
    if line.len() > max {
        let words = format!("a line has at most {max} bytes; `--whole` takes more");
        return Err(Failure::new(Exit::Usage, words));
    }
    Ok(Some(line.into()))
}

impl Args {
    pub(super) fn run(self, global: &Global) -> Outcome {
        let mut stream = Stream::find(self.target, global)?;
        let wait = wait(self.timeout);
        let mut appended = Appended::default();
        match (&self.events[..], self.whole) {
            ([one], true) if one == "-" => {
                let max = WireLimits::default().message_bytes_max;
                let whole = stdin::whole(max, "an event")?;
                append(&mut stream, vec![whole], wait, &mut appended)?;
            }
            ([one], false) if one == "-" => from_stdin(&mut stream, wait, &mut appended)?,
            (_, true) => {
                let words = "`--whole` goes with `-`, standard input";
                return Err(Failure::new(Exit::Usage, words));
            }
            (events, false) => {
                for part in events.chunks(BATCH_MAX) {
                    let events = part.iter().map(|it| Bytes::copy_from_slice(it.as_bytes()));
                    append(&mut stream, events.collect(), wait, &mut appended)?;
                }
            }
        }
        match (self.format.format, appended.first) {
            (Format::Table, Some(first)) => ui::data(first),
            (Format::Table, None) => ui::talk("nothing was appended"),
            (format, first) => {
                ui::document(format, &json!({"offset": first, "count": appended.count}));
            }
        }
        Ok(Exit::Done)
    }
}

fn from_stdin(stream: &mut Stream, wait: Duration, to: &mut Appended) -> Result<(), Failure> {
    let mut input = BufReader::with_capacity(256 * 1024, std::io::stdin().lock());
    while let Some(first) = line(&mut input)? {
        // What is typed line by line is appended line by line, what is piped in by many.
        let mut events = vec![first];
        while events.len() < BATCH_MAX && input.buffer().contains(&b'\n') {
            events.extend(line(&mut input)?);
        }
        append(stream, events, wait, to)?;
    }
    Ok(())
}

fn append(
    stream: &mut Stream,
    events: Vec<Bytes>,
    wait: Duration,
    to: &mut Appended,
) -> Result<(), Failure> {
    let count = events.len() as u64;
    let first = block_on(stream.client.append(events, wait))?;
    let first = first.map_err(|error| match to.count {
        0 => stream.failure(&error),
        done => {
            let help = format!("{done} events were appended before");
            stream.failure(&error).help(help)
        }
    })?;
    to.first.get_or_insert(first);
    to.count += count;
    Ok(())
}
