//! `stream replay`: events of a stream are published at a bus, at their own pace or another.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::read::ago;
use super::record::BusArgs;
use super::skipped::{Room, Skipped};
use super::{Stream, WAIT};
use crate::cli::Global;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::members::TargetArgs;
use crate::cli::seed::block_on;
use crate::cli::ui;
use crate::client::bus::{BusError, Publisher};
use crate::client::stream::{From, StreamEvent};
use crate::model::limits::stream::READ_RECORDS;
use crate::model::quantity;
use crate::protocol::parts;
use crate::protocol::zn1;
use crate::roles::bus;

/// Publish events of a stream at a bus, in their order, each once the bus has the one before
///
/// An event that the bus does not take is left out and counted; the command fails at its end then.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    bus: BusArgs,
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
    /// `original`: as far apart as they were; `10x`: ten times as fast; `fast`: without a rest
    #[arg(long, value_name = "PACE", default_value = "original")]
    pace: quantity::Pace,
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
        let mut from = self.begin();
        let mut stream = Stream::find(self.target, global)?;
        let bus = self.bus.find(global, bus::ACKED)?;
        let mut publisher = Publisher::new(bus.endpoint.clone(), bus.keys.clone());
        let mut left = self.count.unwrap_or(u64::MAX);
        let mut until = u64::MAX;
        let mut began: Option<(Instant, u64)> = None;
        let (mut matched, mut skipped) = (0, Skipped::default());
        block_on(async {
            let lost = |error: &BusError, help: String| {
                let words = format!("{}: {error}", bus.endpoint);
                Failure::new(Exit::Failed, words).help(help)
            };
            let status = publisher.status(WAIT).await;
            let status = status.map_err(|error| lost(&error, "`zmqnet status`".to_owned()))?;
            let room = Room::of(&status, &bus);
            while left > 0 {
                let read = stream.client.read(from, READ_RECORDS, Duration::ZERO, WAIT);
                let page = read.await.map_err(|error| stream.failure(&error))?;
                // What comes while it is replayed, perhaps by the replay, is for another time.
                until = until.min(page.end);
                from = From::Offset(page.next);
                let is_wanted = |event: &&StreamEvent| event.offset < until;
                let wanted = usize::try_from(left).unwrap_or(usize::MAX);
                for event in page.events.iter().filter(is_wanted).take(wanted) {
                    let (at, first_ns) = *began.get_or_insert((Instant::now(), event.time_ns));
                    let due = at.checked_add(self.pace.after(first_ns, event.time_ns));
                    if let Some(due) = due.filter(|due| *due > Instant::now()) {
                        sleep_until(due).await;
                    }
                    let mut frames = parts::frames(event.data.clone());
                    left -= 1;
                    if let Some(why) = room.refusal(&frames) {
                        skipped.add(why);
                        continue;
                    }
                    let body = frames.split_off(1);
                    let topic = frames.remove(0);
                    match publisher.publish(topic, body, WAIT).await {
                        Ok(sent) => matched += sent.matched,
                        Err(BusError::Refused(zn1::TOO_LARGE | zn1::BAD_REQUEST, words)) => {
                            skipped.add(words);
                        }
                        Err(error) => {
                            let help = format!("`--from {}` goes on", event.offset);
                            return Err(lost(&error, help));
                        }
                    }
                }
                if page.next >= until {
                    break;
                }
            }
            Ok::<(), Failure>(())
        })??;
        let done = self.count.unwrap_or(u64::MAX) - left;
        let published = done - skipped.count();
        ui::talk(format_args!("{published} published, matched {matched}"));
        skipped.outcome("events")?;
        match self.count {
            Some(wanted) if left > 0 => {
                let words = format!("{done} of {wanted} events are there");
                Err(Failure::new(Exit::Failed, words))
            }
            Some(_) | None => Ok(Exit::Done),
        }
    }
}
