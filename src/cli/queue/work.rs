//! `queue work SERVICE -- COMMAND`: a worker of shell one-liners. Each task is the standard input of
//! one run of the command, whose standard output is the answer; an exit code is a failure.
//!
//! A task is held by a short lease that is extended while the command runs, so that one that is
//! stopped or cut off loses it soon. When this ends, its task goes to another.

use std::io::ErrorKind;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, interval, sleep};

use super::{Queue, QueueArgs};
use crate::cli::Global;
use crate::cli::environment;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::seed::block_on;
use crate::cli::ui;
use crate::client::queue::{QueueError, Taken, TaskFailure};
use crate::model::limits::WireLimits;
use crate::protocol::zn1;

/// How long a task is held unless that is extended, and how often it is.
const LEASE: Duration = Duration::from_secs(3);
const EXTEND_EVERY: Duration = Duration::from_secs(1);
/// How long one `take` waits.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long an answer may take on its way.
const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// The end of a command's standard error that goes with its failure.
const TRACE_BYTES: usize = 4 * 1024;

/// Work for a queue: each task is a command's standard input, its output the answer
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    queue: QueueArgs,
    /// End after so many tasks; with `--timeout`, fewer in that time are exit code 1
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Which tasks.
    #[arg(value_name = "SERVICE")]
    service: String,
    /// The command, after `--`.
    #[arg(value_name = "COMMAND", required = true, last = true)]
    command: Vec<String>,
}

/// What a command said until it ended.
struct Output {
    status: ExitStatus,
    stdout: Vec<u8>,
    /// The end of it.
    trace: Vec<u8>,
}

/// What became of a task here.
enum Ended {
    /// The command ended.
    Ran(Output),
    /// It said more than an answer may have, and was ended.
    TooMuch,
    /// It could not be started.
    Unable(std::io::Error),
    /// The lease is over: another may have it.
    Lost,
}

impl Args {
    pub(super) fn run(self, global: &Global) -> Outcome {
        let (command, service) = (self.command, self.service);
        environment::refuse_absent(&command[0])?;
        let queue = self.queue.find(global)?;
        block_on(async move {
            let working = work(queue, &service, &command, self.count);
            let failed = |error| Failure::new(Exit::Failed, format!("cannot start: {error}"));
            let mut terminated = signal(SignalKind::terminate()).map_err(failed)?;
            let mut interrupted = signal(SignalKind::interrupt()).map_err(failed)?;
            tokio::select! {
                // Cancel safe: what is dropped ends its command, and its task goes to another.
                ended = working => ended,
                _ = terminated.recv() => Ok(Exit::Terminated),
                _ = interrupted.recv() => Ok(Exit::Interrupted),
            }
        })?
    }
}

async fn work(mut queue: Queue, service: &str, command: &[String], count: Option<u64>) -> Outcome {
    let deadline = queue.timeout.map(|timeout| Instant::now() + timeout);
    let (mut done, mut lost, mut is_away) = (0, 0, false);
    while count.is_none_or(|count| done < count) {
        let left = deadline.map_or(PATIENCE, |deadline| {
            deadline.saturating_duration_since(Instant::now())
        });
        if left.is_zero() {
            return match count {
                None => Ok(Exit::Done),
                Some(_) => Err(Failure::new(
                    Exit::Failed,
                    format!("{done} tasks in that time"),
                )),
            };
        }
        match queue.client.take(service, LEASE, left.min(PATIENCE)).await {
            Ok(Some(taken)) => {
                is_away = false;
                let ended = attend(&mut queue, service, command, &taken).await;
                lost += u64::from(matches!(ended, Ended::Lost));
                settle(&mut queue, &taken, ended, command).await;
                done += 1;
            }
            Ok(None) => is_away = false,
            Err(error @ QueueError::Unreached(_)) => {
                // A worker outlives its queue; said once.
                if !std::mem::replace(&mut is_away, true) {
                    ui::talk(format_args!(
                        "waiting for {}: {error}",
                        queue.target.endpoint
                    ));
                }
                sleep(Duration::from_millis(100)).await;
            }
            Err(error) => return Err(queue.failure(&error)),
        }
    }
    match lost {
        0 => Ok(Exit::Done),
        lost => Err(Failure::new(
            Exit::Failed,
            format!("{lost} of {done} tasks were lost: their leases were over"),
        )),
    }
}

/// Runs the command for a task, and holds the task meanwhile.
async fn attend(queue: &mut Queue, service: &str, command: &[String], taken: &Taken) -> Ended {
    let running = run(service, command, taken);
    tokio::pin!(running);
    let mut extends = interval(EXTEND_EVERY);
    extends.tick().await;
    loop {
        tokio::select! {
            // Cancel safe: it is only polled again, or dropped with its command.
            ended = &mut running => return match ended {
                Ok(output) => Ended::Ran(output),
                Err(error) if error.kind() == ErrorKind::FileTooLarge => Ended::TooMuch,
                Err(error) => Ended::Unable(error),
            },
            // Cancel safe: a tick that is not taken comes again.
            _ = extends.tick() => {
                let extended = queue.client.extend(taken, EXTEND_EVERY).await;
                if let Err(QueueError::Refused(zn1::CONFLICT, ..)) = extended {
                    return Ended::Lost;
                }
            }
        }
    }
}

async fn run(service: &str, command: &[String], taken: &Taken) -> std::io::Result<Output> {
    let mut child = Command::new(&command[0])
        .args(&command[1..])
        .env("ZMQNET_TASK", &taken.task)
        .env("ZMQNET_SERVICE", service)
        .env("ZMQNET_ATTEMPT", taken.attempt.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut stdin = child.stdin.take().expect("it was asked for");
    let stdout = child.stdout.take().expect("it was asked for");
    let stderr = child.stderr.take().expect("it was asked for");
    let body = taken.body.clone();
    let writing = async move {
        for frame in body {
            // A command need not read what it does not want.
            if stdin.write_all(&frame).await.is_err() {
                break;
            }
        }
        Ok(())
    };
    let (stdout, trace, ()) = tokio::try_join!(answer(stdout), end_of(stderr), writing)?;
    let status = child.wait().await?;
    Ok(Output {
        status,
        stdout,
        trace,
    })
}

/// All that is said. More than an answer may have is an error at once: what says it is ended.
async fn answer(said: impl AsyncRead + Unpin) -> std::io::Result<Vec<u8>> {
    let max = WireLimits::default().message_bytes_max;
    let mut answer = Vec::new();
    said.take(max as u64 + 1).read_to_end(&mut answer).await?;
    match answer.len() > max {
        true => Err(ErrorKind::FileTooLarge.into()),
        false => Ok(answer),
    }
}

/// The end of what is said, however much that is.
async fn end_of(mut said: impl AsyncRead + Unpin) -> std::io::Result<Vec<u8>> {
    let mut end = Vec::new();
    while said.read_buf(&mut end).await? > 0 {
        end.drain(..end.len().saturating_sub(TRACE_BYTES));
    }
    Ok(end)
}

/// Tells the queue what became of a task.
async fn settle(queue: &mut Queue, taken: &Taken, ended: Ended, command: &[String]) {
    let name = &command[0];
    let failure = match ended {
        Ended::Ran(output) => {
            let trace = String::from_utf8_lossy(&output.trace).into_owned();
            if !trace.is_empty() {
                ui::talk(trace.trim_end());
            }
            if output.status.success() {
                let answer = vec![Bytes::from(output.stdout)];
                let told = queue.client.done(taken, answer, ANSWER_WAIT).await;
                return say(taken, told);
            }
            TaskFailure {
                kind: "exit".to_owned(),
                message: format!("`{name}`: {}", output.status),
                trace,
            }
        }
        Ended::Unable(error) => TaskFailure {
            kind: "start".to_owned(),
            message: format!("`{name}` cannot be started: {error}"),
            trace: String::new(),
        },
        Ended::TooMuch => TaskFailure {
            kind: "size".to_owned(),
            message: format!("`{name}` said more than an answer may have"),
            trace: String::new(),
        },
        Ended::Lost => {
            return ui::talk(format_args!(
                "task {}: its lease is over, given up",
                ui::plain(&taken.task)
            ));
        }
    };
    let task = ui::plain(&taken.task);
    ui::talk(format_args!("task {task}: {}", failure.message));
    let told = queue.client.fail(taken, &failure, ANSWER_WAIT).await;
    say(taken, told.map(drop));
}

fn say(taken: &Taken, told: Result<(), QueueError>) {
    if let Err(error) = told {
        let (task, error) = (ui::plain(&taken.task), ui::plain(&error.to_string()));
        ui::talk(format_args!("task {task}: {error}"));
    }
}
