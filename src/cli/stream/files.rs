//! `stream import` and `stream export`: PyDistributed's event files, byte for byte.

use std::path::PathBuf;

use bytes::Bytes;
use clap::ValueEnum;

use super::append::BATCH_MAX;
use super::{Stream, wait};
use crate::cli::Global;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::foreign_files::failure;
use crate::cli::members::TargetArgs;
use crate::cli::seed::block_on;
use crate::cli::ui;
use crate::client::pydistributed::{self, SEGMENT_BYTES_MAX, Torn, Writer};
use crate::client::stream::From;
use crate::model::limits::stream::READ_RECORDS_MAX;
use crate::model::quantity;

/// Whose files.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Files {
    /// Its event source: `%020d.log` and `%020d.index`.
    Pydistributed,
}

/// Which stream, and which files.
#[derive(Debug, clap::Args)]
struct Both {
    #[command(flatten)]
    target: TargetArgs,
    /// Whose files they are
    #[arg(long, value_name = "FORMAT")]
    format: Files,
    /// How long to wait for the stream, each time [default: 5s]
    #[arg(short, long, value_name = "DURATION")]
    timeout: Option<quantity::Duration>,
    /// The directory.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

/// Append the events of another program's files.
#[derive(Debug, clap::Args)]
pub(super) struct ImportArgs {
    #[command(flatten)]
    both: Both,
    /// Append them though the stream has events already: their offsets will be others
    #[arg(long)]
    append: bool,
}

/// Write all events as another program's files.
#[derive(Debug, clap::Args)]
pub(super) struct ExportArgs {
    #[command(flatten)]
    both: Both,
    /// The bytes after which a file ends [default: 4GiB]
    #[arg(long, value_name = "SIZE")]
    segment: Option<quantity::Size>,
}

fn said(verb: &str, count: u64) {
    ui::talk(format_args!("{count} events {verb}"));
}

impl ImportArgs {
    pub(super) fn run(self, global: &Global) -> Outcome {
        let Files::Pydistributed = self.both.format;
        let wait = wait(self.both.timeout);
        // All is read once before anything is appended, so that damage costs nothing.
        let mut count = 0_u64;
        let first = pydistributed::each(&self.both.dir, |_| {
            count += 1;
            Ok::<(), Failure>(())
        });
        let torn = first.map_err(|fault| failure(&fault))??;
        let base = pydistributed::first(&self.both.dir).map_err(|fault| failure(&fault))?;
        let mut stream = Stream::find(self.both.target, global)?;
        let read = stream
            .client
            .read(From::Last(0), 1, std::time::Duration::ZERO, wait);
        let page = block_on(read)?.map_err(|error| stream.failure(&error))?;
        // One that begins where the files do was begun by an import before.
        let is_begun = page.start == page.end && base == Some(page.end);
        if page.end > 0 && !is_begun && !self.append {
            let words = format!("the stream has had {} events already", page.end);
            let help = "`--append` appends to them; the offsets will be others";
            return Err(Failure::new(Exit::Failed, words).help(help));
        }
        if let Some(base) = base.filter(|base| *base != page.end && !self.append) {
            let begun = block_on(stream.client.begin(base, wait))?;
            begun.map_err(|error| stream.failure(&error))?;
        }
        let (mut events, mut times, mut bytes) = (Vec::<Bytes>::new(), Vec::new(), 0);
        let mut send = |events: Vec<Bytes>, times: Vec<u64>| -> Result<(), Failure> {
            let sent = block_on(stream.client.append_at(events, Some(times), wait))?;
            sent.map(drop).map_err(|error| stream.failure(&error))
        };
        let done = pydistributed::each(&self.both.dir, |event| {
            bytes += event.data.len();
            events.push(event.data);
            times.push(event.time_ns);
            if events.len() < BATCH_MAX && bytes < 1024 * 1024 {
                return Ok(());
            }
            bytes = 0;
            send(std::mem::take(&mut events), std::mem::take(&mut times))
        });
        done.map_err(|fault| failure(&fault))??;
        if !events.is_empty() {
            send(events, times)?;
        }
        said("were imported", count);
        if let Some(Torn { path, at, bytes }) = torn {
            let path = path.display();
            ui::talk(format_args!(
                "{path}: the last record, at byte {at}, is not whole and was left out ({bytes} bytes)"
            ));
        }
        Ok(Exit::Done)
    }
}

impl ExportArgs {
    pub(super) fn run(self, global: &Global) -> Outcome {
        let Files::Pydistributed = self.both.format;
        let wait = wait(self.both.timeout);
        let max = self.segment.map_or(SEGMENT_BYTES_MAX, |size| size.0);
        let mut stream = Stream::find(self.both.target, global)?;
        let mut writer: Option<Writer> = None;
        let (mut from, mut count, mut until) = (From::Oldest, 0, None);
        loop {
            let read = stream
                .client
                .read(from, READ_RECORDS_MAX, std::time::Duration::ZERO, wait);
            let page = block_on(read)?.map_err(|error| stream.failure(&error))?;
            let until = *until.get_or_insert(page.end);
            let mut open = match writer.take() {
                Some(writer) => writer,
                None => {
                    let made = Writer::create(&self.both.dir, page.start, max);
                    made.map_err(|fault| failure(&fault))?
                }
            };
            for event in page.events.iter().filter(|event| event.offset < until) {
                let added = open.add(event.time_ns, &event.data);
                added.map_err(|fault| failure(&fault))?;
                count += 1;
            }
            if page.next >= until {
                open.finish().map_err(|fault| failure(&fault))?;
                break;
            }
            writer = Some(open);
            from = From::Offset(page.next);
        }
        said("were exported", count);
        Ok(Exit::Done)
    }
}
