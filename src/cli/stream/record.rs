//! `stream record`: what a bus says becomes events of a stream, each message one.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::append::BATCH_MAX;
use super::skipped::{Room, Skipped};
use super::{Stream, WAIT};
use crate::cli::Global;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::members::{Target, TargetArgs};
use crate::cli::seed::{SeedEnv, block_on};
use crate::cli::ui;
use crate::client::asking::AskError;
use crate::client::bus::{BusError, Subscriber};
use crate::model::quantity;
use crate::protocol::parts;
use crate::protocol::zn1;
use crate::roles::{Kind, bus};

/// Which bus.
#[derive(Debug, clap::Args)]
pub(super) struct BusArgs {
    /// The bus [default: the only one that runs]
    #[arg(long, value_name = "NAME")]
    bus: Option<String>,
    /// Where it listens, such as `tcp://127.0.0.1:5556`; needs no manifest
    #[arg(long, value_name = "ENDPOINT", conflicts_with = "bus")]
    bus_endpoint: Option<String>,
}

impl BusArgs {
    /// Finds a port of it.
    pub(super) fn find(self, global: &Global, port: &str) -> Result<Target, Failure> {
        let target = TargetArgs::of(self.bus, self.bus_endpoint);
        target.find_port(&SeedEnv::load(), global, (Kind::Bus, port))
    }
}

/// Append what a bus says to a stream: each message with all its frames is an event
///
/// A message that the stream does not take is left out and counted; the command fails at its end then.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    bus: BusArgs,
    /// End after so many messages
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// End after so long; fewer messages than `--count` are a failure then [default: never]
    #[arg(short, long, value_name = "DURATION")]
    timeout: Option<quantity::Duration>,
    /// Topics, as prefixes [default: everything].
    #[arg(value_name = "TOPIC")]
    topics: Vec<String>,
}

/// Bytes that are appended together, but for a message that is larger alone.
const BATCH_BYTES_MAX: usize = 1024 * 1024;
/// Far enough away.
const FOR_EVER: Duration = Duration::from_secs(86_400 * 365);

impl Args {
    pub(super) fn run(self, global: &Global) -> Outcome {
        let mut stream = Stream::find(self.target, global)?;
        let bus = self.bus.find(global, bus::OUT)?;
        let mut topics: Vec<Bytes> = self.topics.into_iter().map(Bytes::from).collect();
        if topics.is_empty() {
            topics.push(Bytes::new());
        }
        let wait = self.timeout.map(quantity::Duration::as_std);
        let deadline = Instant::now() + wait.unwrap_or(FOR_EVER);
        let mut left = self.count.unwrap_or(u64::MAX);
        let mut skipped = Skipped::default();
        let lost = |error: &BusError| {
            let words = format!("{}: {error}", bus.endpoint);
            Failure::new(Exit::Failed, words)
        };
        block_on(async {
            let mut subscriber = Subscriber::new(&bus.endpoint, &bus.keys, topics);
            let ready = subscriber.ready(wait.unwrap_or(WAIT)).await;
            ready.map_err(|error| lost(&error))?;
            let status = stream.client.status(WAIT).await;
            let status = status.map_err(|error| stream.failure(&error))?;
            let room = Room::of(&status, &stream.target);
            ui::talk(format_args!("subscribed at {}", bus.endpoint));
            let mut gathering = Gathering {
                subscriber,
                room,
                early: None,
            };
            while left > 0 {
                let max = usize::try_from(left).unwrap_or(BATCH_MAX);
                let batch = gathering.next(deadline, max).await;
                let batch = batch.map_err(|error| lost(&error))?;
                if batch.is_empty() {
                    break;
                }
                left -= batch.len() as u64;
                append(&mut stream, batch, room, &mut skipped).await?;
            }
            Ok::<(), Failure>(())
        })??;
        skipped.outcome("messages")?;
        match self.count {
            Some(wanted) if left > 0 => {
                let words = format!("{} of {wanted} messages came", wanted - left);
                Err(Failure::new(Exit::Failed, words))
            }
            Some(_) | None => Ok(Exit::Done),
        }
    }
}

/// Appends records together; those that the stream does not take are left out.
async fn append(
    stream: &mut Stream,
    mut batch: Vec<Bytes>,
    room: Room,
    skipped: &mut Skipped,
) -> Result<(), Failure> {
    batch.retain(|record| {
        let why = room.refusal(std::slice::from_ref(record));
        let is_taken = why.is_none();
        why.into_iter().for_each(|why| skipped.add(why));
        is_taken
    });
    if batch.is_empty() {
        return Ok(());
    }
    // One that is refused for its size is refused alone.
    match stream.client.append(batch.clone(), WAIT).await {
        Err(AskError::Refused(zn1::TOO_LARGE, ..)) => {}
        appended => return appended.map(drop).map_err(|error| stream.failure(&error)),
    }
    for record in batch {
        match stream.client.append(vec![record], WAIT).await {
            Err(AskError::Refused(zn1::TOO_LARGE, words, _)) => skipped.add(words),
            appended => drop(appended.map_err(|error| stream.failure(&error))?),
        }
    }
    Ok(())
}

/// Messages on their way into a stream.
struct Gathering {
    subscriber: Subscriber,
    room: Room,
    /// A message that did not fit beside others.
    early: Option<Bytes>,
}

impl Gathering {
    /// The next messages as records: one at least, and what is there with it; none when the time is over.
    async fn next(&mut self, deadline: Instant, max: usize) -> Result<Vec<Bytes>, BusError> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        let max = max.min(BATCH_MAX).min(self.room.parts);
        while batch.len() < max && bytes < BATCH_BYTES_MAX {
            let record = match self.early.take() {
                Some(early) => early,
                None => {
                    let wait = match batch.is_empty() {
                        true => deadline.saturating_duration_since(Instant::now()),
                        false => Duration::ZERO,
                    };
                    match self.subscriber.next(wait).await {
                        Ok(frames) => parts::record(&frames),
                        Err(BusError::TimedOut) => break,
                        Err(error) => return Err(error),
                    }
                }
            };
            let together = bytes + record.len();
            if !batch.is_empty() && together > self.room.bytes.min(2 * BATCH_BYTES_MAX) {
                self.early = Some(record);
                break;
            }
            bytes = together;
            batch.push(record);
        }
        Ok(batch)
    }
}
