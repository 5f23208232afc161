//! `queue retry` and `queue purge`: dead letters are tried again, tasks are taken away. Nothing is
//! meant unless it is said: tasks by id, a service, or `--all`.

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Queue, QueueArgs};
use crate::cli::Global;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::seed::block_on;
use crate::cli::ui::{self, Format, FormatArgs};

/// Which tasks.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    queue: QueueArgs,
    /// All of one service
    #[arg(long, value_name = "SERVICE", conflicts_with = "tasks")]
    service: Option<String>,
    /// All there are
    #[arg(long, conflicts_with_all = ["tasks", "service"])]
    all: bool,
    /// Dead letters rather than tasks that wait; `retry` means them in any case
    #[arg(long)]
    dead: bool,
    #[command(flatten)]
    format: FormatArgs,
    /// The ids of tasks.
    #[arg(value_name = "TASK")]
    tasks: Vec<String>,
}

impl Args {
    /// Tries dead letters again.
    pub(super) fn retry(self, global: &Global) -> Outcome {
        self.each(global, ("retry", "retried"), true)
    }

    /// Takes tasks away.
    pub(super) fn purge(self, global: &Global) -> Outcome {
        let dead = self.dead;
        self.each(global, ("purge", "purged"), dead)
    }

    fn each(self, global: &Global, (verb, counted): (&str, &str), dead: bool) -> Outcome {
        let asked: Vec<Value> = match (&self.service, self.all) {
            (Some(service), _) => vec![json!({"service": service, "dead": dead})],
            (None, true) => vec![json!({"dead": dead})],
            (None, false) => {
                let of = |task: &String| json!({"task": task, "dead": dead});
                self.tasks.iter().map(of).collect()
            }
        };
        if asked.is_empty() {
            let words = "which tasks? their ids, `--service SERVICE` or `--all`";
            return Err(Failure::new(Exit::Usage, words));
        }
        let mut queue = self.queue.find(global)?;
        let count = block_on(ask(&mut queue, verb, (asked, counted)))??;
        match self.format.format {
            Format::Table => ui::data(format_args!("{count} {counted}")),
            format => ui::document(format, &json!({ counted: count })),
        }
        Ok(Exit::Done)
    }
}

/// Asks one after the other; gives how many tasks were met.
async fn ask(
    queue: &mut Queue,
    verb: &str,
    (asked, counted): (Vec<Value>, &str),
) -> Result<u64, Failure> {
    let deadline = Instant::now() + queue.wait();
    let mut count = 0;
    for one in asked {
        let wait = deadline.saturating_duration_since(Instant::now());
        let answered = queue.client.ask(verb, one, Vec::new(), wait).await;
        let reply = answered.map_err(|error| queue.failure(&error))?;
        count += reply.result[counted].as_u64().unwrap_or_default();
    }
    Ok(count)
}
