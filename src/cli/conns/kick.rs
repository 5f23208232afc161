//! `conns kick`: ends one connection, which may come back at once.

use serde_json::json;

use super::NodeArgs;
use crate::cli::Global;
use crate::cli::exit::{Exit, Outcome};
use crate::cli::ui;

/// End a connection; its peer may connect again at once, unlike after `ban`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    node: NodeArgs,
    /// The connection's number, as `conns ls` shows it.
    #[arg(value_name = "CONN", value_parser = number)]
    conn: u64,
}

impl Args {
    pub(super) fn run(self, global: &Global) -> Outcome {
        let door = self.node.one(global)?;
        door.ask("kick", json!({ "conn": self.conn }))?;
        ui::talk(format_args!(
            "{}: connection {} is ended",
            door.name, self.conn
        ));
        Ok(Exit::Done)
    }
}

fn number(text: &str) -> Result<u64, &'static str> {
    text.parse()
        .map_err(|_| "a connection is a number, as `conns ls` shows it")
}
