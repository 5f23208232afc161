//! `spool import` and `spool export`: persizmq's directories, byte for byte.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use clap::ValueEnum;

use super::{Spool, WAIT};
use crate::cli::Global;
use crate::cli::exit::{Exit, Outcome};
use crate::cli::foreign_files::failure;
use crate::cli::members::TargetArgs;
use crate::cli::seed::block_on;
use crate::cli::ui;
use crate::client::persizmq::{self, Writer};
use crate::client::spool::Peek;
use crate::model::limits::spool::PAGE_MAX;
use crate::model::quantity;

/// Messages in one request: with its other parts as many as a listener takes.
const BATCH_MAX: usize = 56;
/// Bytes of one, but for a message that is larger alone.
const BATCH_BYTES_MAX: usize = 1024 * 1024;

/// Whose files.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Files {
    /// Its storages: `%030d.bin`, or `persistent_message.bin`.
    Persizmq,
}

/// Which spool, and which files.
#[derive(Debug, clap::Args)]
struct Both {
    #[command(flatten)]
    target: TargetArgs,
    /// Whose files they are
    #[arg(long, value_name = "FORMAT")]
    format: Files,
    /// How long to wait for the spool, each time [default: 5s]
    #[arg(short, long, value_name = "DURATION")]
    timeout: Option<quantity::Duration>,
    /// The directory.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

impl Both {
    fn wait(&self) -> Duration {
        self.timeout.map_or(WAIT, quantity::Duration::as_std)
    }
}

/// Store the messages of another program's files, behind those that wait.
#[derive(Debug, clap::Args)]
pub(super) struct ImportArgs {
    #[command(flatten)]
    both: Both,
}

/// Write the messages that wait as another program's files; they stay.
#[derive(Debug, clap::Args)]
pub(super) struct ExportArgs {
    #[command(flatten)]
    both: Both,
    /// Only the newest message, as `PersistentLatestStorage` keeps it
    #[arg(long)]
    latest: bool,
}

impl ImportArgs {
    pub(super) fn run(self, global: &Global) -> Outcome {
        let Files::Persizmq = self.both.format;
        let wait = self.both.wait();
        // All names are looked at before anything is stored.
        let paths = persizmq::messages(&self.both.dir).map_err(|fault| failure(&fault))?;
        let mut spool = Spool::find(self.both.target, global)?;
        let (mut batch, mut bytes, mut done) = (Vec::<Vec<Bytes>>::new(), 0, 0);
        let count = paths.len();
        for (at, path) in paths.into_iter().enumerate() {
            let message = persizmq::read(&path).map_err(|fault| failure(&fault))?;
            bytes += message.len();
            batch.push(vec![message]);
            if batch.len() < BATCH_MAX && bytes < BATCH_BYTES_MAX && at + 1 < count {
                continue;
            }
            let put = block_on(spool.client.put(std::mem::take(&mut batch), wait))?;
            put.map_err(|error| {
                let help = format!("{done} of {count} messages were imported before");
                spool.failure(&error).help(help)
            })?;
            (bytes, done) = (0, at + 1);
        }
        ui::talk(format_args!("{count} messages were imported"));
        Ok(Exit::Done)
    }
}

impl ExportArgs {
    pub(super) fn run(self, global: &Global) -> Outcome {
        let Files::Persizmq = self.both.format;
        let wait = self.both.wait();
        let mut spool = Spool::find(self.both.target, global)?;
        let told = block_on(spool.client.length(wait))?;
        let until = told.map_err(|error| spool.failure(&error))?.end;
        let writer = Writer::create(&self.both.dir, self.latest);
        let mut writer = writer.map_err(|fault| failure(&fault))?;
        let mut from = match self.latest {
            true => Peek::Last(1),
            false => Peek::Oldest,
        };
        loop {
            let read = block_on(spool.client.peek(from, PAGE_MAX, Duration::ZERO, wait))?;
            let page = read.map_err(|error| spool.failure(&error))?;
            let messages = page.messages.iter();
            for message in messages.filter(|message| message.offset < until) {
                let added = writer.add(&message.frames);
                added.map_err(|fault| failure(&fault))?;
            }
            if page.next >= until || page.messages.is_empty() {
                break;
            }
            from = Peek::Offset(page.next);
        }
        ui::talk(format_args!("{} files were written", writer.finish()));
        Ok(Exit::Done)
    }
}
