//! `stream read`: events from an offset, from a time, or the last ones, one a line.

use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

use super::{Stream, WAIT, print, shown};
use crate::cli::Global;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::members::TargetArgs;
use crate::cli::seed::block_on;
use crate::cli::ui::{self, Format, FormatArgs};
use crate::client::stream::From;
use crate::model::limits::stream::READ_RECORDS_MAX;
use crate::model::quantity;

/// Read events, one a line
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    target: TargetArgs,
    /// The offset to begin at [default: the oldest]
    #[arg(long, value_name = "OFFSET", conflicts_with_all = ["since", "last"])]
    from: Option<u64>,
    /// Begin with what is so old, such as `1h`
    #[arg(long, value_name = "DURATION", conflicts_with = "last")]
    since: Option<quantity::Duration>,
    /// Only the last so many
    #[arg(long, value_name = "N")]
    last: Option<u64>,
    /// How many; fewer are a failure [default: all there are]
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// How long to wait for so many events as `--count` says [default: not at all]
    #[arg(short, long, value_name = "DURATION", requires = "count")]
    timeout: Option<quantity::Duration>,
    /// The offset in front of each event, and a tab
    #[arg(long)]
    offsets: bool,
    #[command(flatten)]
    format: FormatArgs,
}

/// A moment so long ago, in nanoseconds since 1970.
pub(super) fn ago(age: quantity::Duration) -> u64 {
    let then = SystemTime::now().checked_sub(age.as_std());
    let then = then.unwrap_or(SystemTime::UNIX_EPOCH);
    let since = then.duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_nanos()).unwrap_or(u64::MAX)
}

impl Args {
    fn begin(&self) -> From {
        match (self.from, self.since, self.last) {
            (Some(offset), _, _) => From::Offset(offset),
            (None, Some(age), _) => From::Time(ago(age)),
            (None, None, Some(count)) => From::Last(count),
            (None, None, None) => From::Oldest,
        }
    }

    pub(super) fn run(self, global: &Global) -> Outcome {
        let from = self.begin();
        let mut stream = Stream::find(self.target, global)?;
        let patience = self.timeout.map(quantity::Duration::as_std);
        let deadline = Instant::now() + patience.unwrap_or_default();
        let is_table = self.format.format == Format::Table;
        let mut documents: Vec<Value> = Vec::new();
        let mut from = from;
        let mut left = self.count.unwrap_or(u64::MAX);
        // What comes while it is read is not waited for, where nobody says how much is wanted.
        let mut until = u64::MAX;
        while left > 0 {
            let count =
                usize::try_from(left).map_or(READ_RECORDS_MAX, |it| it.min(READ_RECORDS_MAX));
            let wait = deadline.saturating_duration_since(Instant::now());
            let read = stream.client.read(from, count, wait.min(LONGEST), WAIT);
            let page = block_on(read)?.map_err(|error| stream.failure(&error))?;
            if until == u64::MAX && self.count.is_none() {
                until = page.end;
            }
            for event in &page.events {
                match is_table {
                    true => print(event, self.offsets),
                    false => documents.push(shown(event)),
                }
            }
            left -= page.events.len() as u64;
            from = From::Offset(page.next);
            let is_over = page.events.is_empty() && Instant::now() >= deadline;
            if is_over || page.next >= until {
                break;
            }
        }
        if !is_table {
            ui::document(self.format.format, &documents);
        }
        match self.count {
            Some(wanted) if left > 0 => {
                let words = format!("{} of {wanted} events are there", wanted - left);
                Err(Failure::new(Exit::Failed, words))
            }
            Some(_) | None => Ok(Exit::Done),
        }
    }
}

/// How long one request waits at most; it is asked again.
const LONGEST: Duration = Duration::from_secs(30);
