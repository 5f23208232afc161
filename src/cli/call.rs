//! `call SERVICE [ARG...]`: asks a service by a queue, or with `--node` one of its providers: directly where
//! it listens, else through the queue it works for.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::Global;
use super::exit::{Exit, Failure, Outcome};
use super::members::{Target, TargetArgs};
use super::provider;
use super::queue;
use super::seed::{SeedEnv, block_on};
use super::ui::{self, Format, FormatArgs};
use crate::client::call::{Answer, Call};
use crate::client::queue::{QueueClient, QueueError, Submission, Submitted, TaskFailure};
use crate::model::quantity;
use crate::protocol::zn1;
use crate::roles::Kind;
use crate::wire::dial::DialError;
use crate::wire::keyed::KeyedDialler;

/// Call a service and print what it answers
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    target: TargetArgs,
    /// One provider: an instance that listens is asked directly, one that works for a queue through it
    #[arg(long, value_name = "INSTANCE", conflicts_with = "endpoint")]
    node: Option<String>,
    /// How long one attempt may take
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    timeout: quantity::Duration,
    /// Attempts in all; by a queue they are all the same task, done once
    #[arg(long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1000))]
    retries: u32,
    #[command(flatten)]
    format: FormatArgs,
    /// The service.
    #[arg(value_name = "SERVICE")]
    service: String,
    /// What it is given: JSON, or else text.
    #[arg(value_name = "ARG", allow_negative_numbers = true)]
    args: Vec<String>,
}

/// What the answer of a queue may take beside the time that the call itself has.
const ON_THE_WAY: Duration = Duration::from_millis(250);

/// What came of a call that was not answered.
enum CallError {
    Queue(QueueError),
    Dial(DialError),
}

impl Args {
    pub(super) fn run(self, global: &Global) -> Outcome {
        let timeout = self.timeout.as_std();
        let worker = match &self.node {
            Some(node) => {
                let which = (node.as_str(), self.target.name());
                provider::find(global, which, &self.service, timeout)?
            }
            None => None,
        };
        let direct = self.node.is_some() && worker.is_none();
        let env = SeedEnv::load();
        let target = match (&worker, direct) {
            (Some(worker), _) => {
                let target = self.target.named(worker.queue.clone());
                target.find_port(&env, global, (Kind::Queue, queue::FRONT))?
            }
            (None, true) => self.target.or_name(self.node).find(&env, global)?,
            (None, false) => self
                .target
                .find_port(&env, global, (Kind::Queue, queue::FRONT))?,
        };
        let args = self.args.into_iter().map(value).collect();
        let call = Call::new(self.service, args, self.timeout.as_millis());
        let asked = block_on(async {
            let mut last = Err(CallError::Dial(DialError::Silent));
            let mut task = Submission::new(call.service.as_str(), vec![call.frame()]);
            task.waits = true;
            task.deadline = Some(timeout);
            task.trace_id = Some(call.trace.clone());
            task.worker = worker.map(|worker| worker.conn);
            for _ in 0..self.retries {
                last = match direct {
                    true => directly(&target, &call, timeout).await,
                    false => by_queue(&target, &task, timeout).await,
                };
                if !matches!(
                    last,
                    Err(CallError::Dial(_) | CallError::Queue(QueueError::Unreached(_)))
                ) {
                    break;
                }
            }
            last
        })?;
        match asked {
            Ok(answer) => report(self.format.format, answer),
            Err(CallError::Queue(QueueError::Refused(zn1::FAILED | zn1::TIMEOUT, words, told))) => {
                let word = |key: &str| told[key].as_str().unwrap_or_default().to_owned();
                let failure = TaskFailure {
                    kind: word("kind"),
                    message: words,
                    trace: word("trace"),
                };
                report(self.format.format, Answer::Error(failure))
            }
            Err(CallError::Queue(QueueError::Unreached(DialError::Silent)))
            | Err(CallError::Dial(DialError::Silent)) => Err(Failure::new(
                Exit::Failed,
                format!("`{}` did not answer within {timeout:?}", call.service),
            )),
            Err(CallError::Queue(error)) => Err(target.failure(&error)),
            Err(CallError::Dial(error)) => Err(Failure::new(
                Exit::Failed,
                format!("{}: {error}", target.endpoint),
            )),
        }
    }
}

/// An argument: JSON where it is some, else text.
fn value(text: String) -> Value {
    serde_json::from_str(&text).unwrap_or(Value::String(text))
}

async fn by_queue(
    target: &Target,
    task: &Submission,
    timeout: Duration,
) -> Result<Answer, CallError> {
    let mut queue = QueueClient::new(target.endpoint.clone(), target.keys.clone());
    // The queue answers at the deadline; a little more is for the way.
    match queue.submit(task, timeout + ON_THE_WAY).await {
        Ok(Submitted::Done { body, .. }) => Ok(Answer::read(body)),
        Ok(Submitted::Accepted { .. }) => Ok(Answer::Other(Vec::new())),
        Err(error) => Err(CallError::Queue(error)),
    }
}

async fn directly(target: &Target, call: &Call, timeout: Duration) -> Result<Answer, CallError> {
    let deadline = Instant::now() + timeout;
    let mut dialler = KeyedDialler::new(target.endpoint.clone(), None, target.keys.clone());
    let asked = async {
        dialler.connect_patiently(deadline).await?;
        dialler.request(vec![call.frame()], deadline).await
    };
    asked.await.map(Answer::read).map_err(CallError::Dial)
}

fn report(format: Format, answer: Answer) -> Outcome {
    match (format, answer) {
        (Format::Table, Answer::Result(Value::String(text))) => ui::data(text),
        (Format::Table, Answer::Result(value)) => ui::data(value),
        (Format::Table, Answer::Other(frames)) => {
            for frame in frames {
                ui::lines(&frame);
            }
        }
        (Format::Table, Answer::Error(failure)) => {
            if !failure.trace.is_empty() {
                ui::talk(ui::plain_lines(failure.trace.trim_end()));
            }
            let words = format!("{}: {}", failure.kind, failure.message);
            return Err(Failure::new(Exit::Failed, words));
        }
        (format, Answer::Result(value)) => ui::document(format, &json!({ "result": value })),
        (format, Answer::Other(frames)) => {
            let text = |frame: &bytes::Bytes| String::from_utf8_lossy(frame).into_owned();
            let frames: Vec<String> = frames.iter().map(text).collect();
            ui::document(format, &json!({ "frames": frames }));
        }
        (format, Answer::Error(failure)) => {
            let error = json!({
                "kind": failure.kind, "message": failure.message, "trace": failure.trace,
            });
            ui::document(format, &json!({ "error": error }));
            return Err(Failure::said(Exit::Failed));
        }
    }
    Ok(Exit::Done)
}
