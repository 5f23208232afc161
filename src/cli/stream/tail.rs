//! `stream tail`: events as they come; by a group, from where that is, and stored once printed.

use std::time::{Duration, Instant};

use super::{Stream, WAIT, print, shown};
use crate::cli::Global;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::members::TargetArgs;
use crate::cli::seed::block_on;
use crate::cli::ui::{self, Format, FormatArgs};
use crate::client::stream::{From, Ownership, Page, StreamError};
use crate::model::limits::stream::READ_RECORDS_MAX;
use crate::model::quantity;

/// Follow a stream: print events as they come
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    target: TargetArgs,
    /// The offset to begin at [default: what comes from now on]
    #[arg(long, value_name = "OFFSET", conflicts_with_all = ["last", "group"])]
    from: Option<u64>,
    /// Begin with the last so many
    #[arg(long, value_name = "N", conflicts_with = "group")]
    last: Option<u64>,
    /// Go on where this group is, and store where it is then; whoever had it is fenced
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// As whom to take the group [default: tail]
    #[arg(long, value_name = "NAME", requires = "group")]
    consumer: Option<String>,
    /// End after so many events
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// End after so long; fewer events than `--count` are a failure then [default: never]
    #[arg(short, long, value_name = "DURATION")]
    timeout: Option<quantity::Duration>,
    /// The offset in front of each event, and a tab
    #[arg(long)]
    offsets: bool,
    #[command(flatten)]
    format: FormatArgs,
}

/// How long one request waits; it is asked again.
const POLL: Duration = Duration::from_secs(20);

/// Where a tail is.
struct Tail {
    stream: Stream,
    from: From,
    owned: Option<Ownership>,
    deadline: Option<Instant>,
}

impl Args {
    pub(super) fn run(self, global: &Global) -> Outcome {
        let mut stream = Stream::find(self.target, global)?;
        let deadline = self.timeout.map(|it| Instant::now() + it.as_std());
        let owned = match &self.group {
            Some(group) => {
                let consumer = self.consumer.as_deref().unwrap_or("tail");
                let taken = block_on(stream.client.take(group, consumer, WAIT))?;
                Some(taken.map_err(|error| stream.failure(&error))?)
            }
            None => None,
        };
        let from = match (self.from, self.last, &owned) {
            (Some(offset), ..) => From::Offset(offset),
            (None, last, None) => From::Last(last.unwrap_or_default()),
            (None, _, Some(owned)) => From::Group(owned.clone()),
        };
        let mut tail = Tail {
            stream,
            from,
            owned,
            deadline,
        };
        let mut left = self.count.unwrap_or(u64::MAX);
        while left > 0 {
            let Some(page) = tail.next(left)? else {
                break;
            };
            for event in &page.events {
                match self.format.format {
                    Format::Table => print(event, self.offsets),
                    format => ui::document(format, &shown(event)),
                }
            }
            tail.commit(page.next)?;
            left -= page.events.len() as u64;
        }
        match self.count {
            Some(wanted) if left > 0 => {
                let words = format!("{} of {wanted} events came", wanted - left);
                Err(Failure::new(Exit::Failed, words))
            }
            Some(_) | None => Ok(Exit::Done),
        }
    }
}

impl Tail {
    /// The next events; nothing when the time is over. A stream that is away is waited for.
    fn next(&mut self, left: u64) -> Result<Option<Page>, Failure> {
        let count = usize::try_from(left).map_or(READ_RECORDS_MAX, |it| it.min(READ_RECORDS_MAX));
        loop {
            let wait = match self.deadline {
                Some(deadline) => deadline.saturating_duration_since(Instant::now()).min(POLL),
                None => POLL,
            };
            let read = self
                .stream
                .client
                .read(self.from.clone(), count, wait, WAIT);
            let is_over = || self.deadline.is_some_and(|it| it <= Instant::now());
            match block_on(read)? {
                Ok(page) => {
                    // Of a group that was elsewhere meanwhile nobody is the owner any more.
                    if self.owned.is_none() {
                        self.from = From::Offset(page.next);
                    }
                    if !page.events.is_empty() {
                        return Ok(Some(page));
                    }
                    if is_over() {
                        return Ok(None);
                    }
                }
                Err(StreamError::Unreached(_)) if !is_over() => {
                    ui::talk(format_args!(
                        "{} is away, waiting",
                        self.stream.target.endpoint
                    ));
                }
                Err(error) => return Err(self.stream.failure(&error)),
            }
        }
    }

    /// Stores where the group is, where it is one.
    fn commit(&mut self, next: u64) -> Result<(), Failure> {
        let Some(owned) = &self.owned else {
            return Ok(());
        };
        let committed = block_on(self.stream.client.commit(owned, next, WAIT))?;
        committed.map_err(|error| self.stream.failure(&error))
    }
}
