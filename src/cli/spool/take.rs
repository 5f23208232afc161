//! `spool front` and `spool pop`: the oldest message, which stays or is taken once it is printed.

use std::time::Duration;

use super::{Spool, WAIT, print};
use crate::cli::Global;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::members::TargetArgs;
use crate::cli::seed::block_on;
use crate::cli::ui::FormatArgs;
use crate::model::quantity;

/// What becomes of the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// It is there for the next who asks.
    Stays,
    /// It is gone once its output is written.
    IsTaken,
}

/// The oldest message: its frames behind the topic, on a line.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    target: TargetArgs,
    /// So many messages, one after the other; fewer are a failure
    #[arg(long, value_name = "N", default_value_t = 1)]
    count: u64,
    /// How long to wait for a message, each time [default: not at all]
    #[arg(short, long, value_name = "DURATION")]
    timeout: Option<quantity::Duration>,
    /// The topic too, which is the first of several frames
    #[arg(long)]
    topics: bool,
    #[command(flatten)]
    format: FormatArgs,
}

impl Args {
    pub(super) fn run(self, global: &Global, then: Then) -> Outcome {
        if then == Then::Stays && self.count != 1 {
            let words = "`front` is one message; `tail --from` shows more";
            return Err(Failure::new(Exit::Usage, words));
        }
        let patience = self
            .timeout
            .map_or(Duration::ZERO, quantity::Duration::as_std);
        let mut spool = Spool::find(self.target, global)?;
        for done in 0..self.count {
            let front = block_on(spool.client.front(patience, WAIT))?;
            let front = front.map_err(|error| spool.failure(&error))?;
            let Some(message) = front else {
                let words = match done {
                    0 => "the spool is empty".to_owned(),
                    done => format!("{done} of {} messages were there", self.count),
                };
                return Err(Failure::new(Exit::Failed, words));
            };
            print(&message, self.topics, self.format.format);
            if then == Then::IsTaken {
                let popped = block_on(spool.client.pop(message.offset, WAIT))?;
                popped.map_err(|error| spool.failure(&error))?;
            }
        }
        Ok(Exit::Done)
    }
}
