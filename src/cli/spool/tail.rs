//! `spool tail`: messages as they are stored, which stay.

use std::time::{Duration, Instant};

use super::{Spool, WAIT, print};
use crate::cli::Global;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::members::TargetArgs;
use crate::cli::seed::block_on;
use crate::cli::ui::{self, FormatArgs};
use crate::client::spool::{Peek, SpoolError};
use crate::model::limits::spool::PAGE_MAX;
use crate::model::quantity;

/// Follow a spool: print messages as they are stored; they stay
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    target: TargetArgs,
    /// The offset to begin at [default: what comes from now on]
    #[arg(long, value_name = "OFFSET", conflicts_with = "last")]
    from: Option<u64>,
    /// Begin with the last so many
    #[arg(long, value_name = "N")]
    last: Option<u64>,
    /// End after so many messages
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// End after so long; fewer messages than `--count` are a failure then [default: never]
    #[arg(short, long, value_name = "DURATION")]
    timeout: Option<quantity::Duration>,
    /// The topic too, which is the first of several frames
    #[arg(long)]
    topics: bool,
    #[command(flatten)]
    format: FormatArgs,
}

/// How long one request waits; it is asked again.
const POLL: Duration = Duration::from_secs(20);

impl Args {
    pub(super) fn run(self, global: &Global) -> Outcome {
        let mut spool = Spool::find(self.target, global)?;
        let deadline = self.timeout.map(|it| Instant::now() + it.as_std());
        let left_of = |deadline: Instant| deadline.saturating_duration_since(Instant::now());
        let mut from = match (self.from, self.last) {
            (Some(offset), _) => Peek::Offset(offset),
            (None, last) => Peek::Last(last.unwrap_or_default()),
        };
        let mut left = self.count.unwrap_or(u64::MAX);
        while left > 0 {
            let count = usize::try_from(left).map_or(PAGE_MAX, |it| it.min(PAGE_MAX));
            let patience = deadline.map_or(POLL, |it| left_of(it).min(POLL));
            let is_over = || deadline.is_some_and(|it| left_of(it).is_zero());
            let page = match block_on(spool.client.peek(from, count, patience, WAIT))? {
                Ok(page) => page,
                Err(SpoolError::Unreached(_)) if !is_over() => {
                    ui::talk(format_args!("{} is away, waiting", spool.target.endpoint));
                    continue;
                }
                Err(error) => return Err(spool.failure(&error)),
            };
            for message in &page.messages {
                print(message, self.topics, self.format.format);
            }
            left -= page.messages.len() as u64;
            from = Peek::Offset(page.next);
            if page.messages.is_empty() && is_over() {
                break;
            }
        }
        match self.count {
            Some(wanted) if left > 0 => {
                let words = format!("{} of {wanted} messages came", wanted - left);
                Err(Failure::new(Exit::Failed, words))
            }
            Some(_) | None => Ok(Exit::Done),
        }
    }
}
