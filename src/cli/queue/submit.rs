//! `queue submit SERVICE [DATA|-]`: one task; with `--wait`, what came of it.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Queue, QueueArgs};
use crate::cli::Global;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::seed::block_on;
use crate::cli::stdin;
use crate::cli::ui::{self, Format, FormatArgs};
use crate::client::queue::{QueueError, Submission, Submitted};
use crate::model::limits::WireLimits;
use crate::model::quantity;
use crate::wire::dial::DialError;

/// How long a queue may take to say what it takes at most.
const ASK: Duration = Duration::from_secs(1);

/// Submit one task
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    queue: QueueArgs,
    /// Wait until it is done, and print the answer
    #[arg(long)]
    wait: bool,
    /// -100 to 100; higher ones go first
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        allow_hyphen_values = true
    )]
    #[arg(value_parser = clap::value_parser!(i16).range(-100..=100))]
    priority: i16,
    /// How long it waits before it is begun
    #[arg(long, value_name = "DURATION")]
    delay: Option<quantity::Duration>,
    /// After so long it is begun no more, and who waits hears of it
    #[arg(long, value_name = "DURATION")]
    deadline: Option<quantity::Duration>,
    /// Its id: the same id is the same task, which is done once
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    #[command(flatten)]
    format: FormatArgs,
    /// Who is to do it.
    #[arg(value_name = "SERVICE")]
    service: String,
    /// What is to be done; `-` for standard input. Default: nothing.
    #[arg(value_name = "DATA")]
    data: Option<String>,
}

impl Args {
    pub(super) fn run(self, global: &Global) -> Outcome {
        let data = match self.data.as_deref() {
            Some("-") => stdin::whole(WireLimits::default().message_bytes_max, "a task")?,
            Some(text) => Bytes::copy_from_slice(text.as_bytes()),
            None => Bytes::new(),
        };
        let mut queue = self.queue.find(global)?;
        let size = data.len() as u64;
        let mut task = Submission::new(self.service, vec![data]);
        task.priority = self.priority;
        task.delay = self
            .delay
            .map_or(Duration::ZERO, quantity::Duration::as_std);
        task.deadline = self.deadline.map(quantity::Duration::as_std);
        task.waits = self.wait;
        if let Some(id) = self.id {
            task.id = id;
        }
        let wait = queue.wait();
        let submitted = block_on(queue.client.submit(&task, wait))?;
        if let Err(QueueError::Unreached(_)) = &submitted
            && let Some(max) = over(&mut queue, size)?
        {
            let words = format!("the task has {size} bytes, and the queue takes {max} at most");
            let help = "`limits: {message: ...}` of the queue says how many";
            return Err(Failure::new(Exit::Failed, words).help(help));
        }
        match submitted {
            Ok(submitted) => {
                report(self.format.format, submitted);
                Ok(Exit::Done)
            }
            Err(QueueError::Refused(_, _, result)) if self.format.format != Format::Table => {
                ui::document(self.format.format, &result);
                Err(Failure::said(Exit::Failed))
            }
            // Nobody knows whether it was taken; the same id would be the same task.
            Err(error @ QueueError::Unreached(DialError::Silent)) => {
                let help = format!(
                    "the task may be done yet: ask again with `--id {}`",
                    task.id
                );
                Err(queue.failure(&error).help(help))
            }
            Err(error) => Err(queue.failure(&error)),
        }
    }
}

/// The bytes of a message that a queue takes, where a task has more: it closes the connection then, and has
/// no word for it.
fn over(queue: &mut Queue, size: u64) -> Result<Option<u64>, Failure> {
    let asked = queue.client.ask("status", Value::Null, Vec::new(), ASK);
    let max = block_on(asked)?
        .ok()
        .and_then(|reply| reply.result["limits"]["message_bytes_max"].as_u64());
    Ok(max.filter(|max| size > *max))
}

fn report(format: Format, submitted: Submitted) {
    match (format, submitted) {
        (Format::Table, Submitted::Accepted { task, .. }) => ui::data(ui::plain(&task)),
        (Format::Table, Submitted::Done { body, .. }) => {
            for frame in body {
                ui::lines(&frame);
            }
        }
        (format, Submitted::Accepted { task, is_duplicate }) => {
            ui::document(format, &json!({"task": task, "duplicate": is_duplicate}));
        }
        (
            format,
            Submitted::Done {
                task,
                attempts,
                body,
            },
        ) => {
            let body: Vec<Value> = body.iter().map(|frame| ui::shown(frame)).collect();
            ui::document(
                format,
                &json!({"task": task, "attempts": attempts, "body": body}),
            );
        }
    }
}
