//! `bus sub TOPIC... -- COMMAND`: a command for each message, one after the other.
//!
//! A message is the command's standard input, its topic a variable; what it prints is printed. One that
//! fails, or cannot be started, is told and counted, and must never stop who subscribes.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::{ExitStatus, Stdio};

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::cli::environment;
use crate::cli::exit::{Exit, Failure};
use crate::cli::ui;

/// What is run for each message.
pub(super) struct Handler {
    command: Vec<String>,
    runs: u64,
    failed: u64,
}

impl Handler {
    /// A command as it is written; nothing where none is. One that is not there is refused at once.
    pub(super) fn find(command: Vec<String>) -> Result<Option<Self>, Failure> {
        let Some(program) = command.first() else {
            return Ok(None);
        };
        environment::refuse_absent(program)?;
        Ok(Some(Self {
            command,
            runs: 0,
            failed: 0,
        }))
    }

    /// Runs it for a message, to its end.
    pub(super) async fn run(&mut self, frames: &[Bytes]) {
        self.runs += 1;
        let why = match start(&self.command, frames).await {
            Ok(status) if status.success() => return,
            Ok(status) => status.to_string(),
            Err(error) => format!("cannot be started: {error}"),
        };
        self.failed += 1;
        let (name, topic) = (&self.command[0], topic(frames).escape_ascii());
        ui::talk(format_args!("`{name}` for `{topic}`: {why}"));
    }

    /// Whether all of them were good.
    pub(super) fn end(self) -> Result<(), Failure> {
        match (self.failed, self.runs) {
            (0, _) => Ok(()),
            (failed, runs) => {
                let message = format!("{failed} of {runs} commands failed");
                Err(Failure::new(Exit::Failed, message))
            }
        }
    }
}

fn topic(frames: &[Bytes]) -> &[u8] {
    frames.first().map_or(&[], |topic| &topic[..])
}

async fn start(command: &[String], frames: &[Bytes]) -> std::io::Result<ExitStatus> {
    // No variable has a zero byte in it: what follows one is left out.
    let name = topic(frames).split(|byte| *byte == 0).next();
    let mut child = Command::new(&command[0])
        .args(&command[1..])
        .env("ZMQNET_TOPIC", OsStr::from_bytes(name.unwrap_or_default()))
        .stdin(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut stdin = child.stdin.take().expect("it was asked for");
    let writing = async move {
        for frame in frames.iter().skip(1) {
            // A command need not read what it does not want.
            if stdin.write_all(frame).await.is_err() {
                break;
            }
        }
    };
    let (status, ()) = tokio::join!(child.wait(), writing);
    status
}
