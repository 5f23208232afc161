//! `conns ban`: ends the connections of a peer and lets it in no more for a while.

use std::net::IpAddr;

use serde_json::json;

use super::NodeArgs;
use crate::cli::Global;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::ui;
use crate::model::key::PublicKey;
use crate::model::quantity::Duration;

/// End the connections of a peer and let it in no more for a while. Bans end with the process that
/// holds them; what is to last is `keys revoke`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    node: NodeArgs,
    #[command(flatten)]
    whom: Whom,
    /// How long.
    #[arg(
        long = "for",
        value_name = "DURATION",
        default_value = "1h",
        conflicts_with = "lift"
    )]
    lasts: Duration,
    /// Let it in again instead.
    #[arg(long)]
    lift: bool,
}

/// Who is banned.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Whom {
    /// Every peer of this IP address; peers on ipc have none.
    #[arg(long, value_name = "IP")]
    address: Option<IpAddr>,
    /// Every peer that shows this public key.
    #[arg(long, value_name = "KEY")]
    key: Option<PublicKey>,
    /// Every peer that calls itself so.
    #[arg(long, value_name = "TEXT")]
    identity: Option<String>,
}

impl Whom {
    fn of(self) -> (&'static str, String) {
        match (self.address, self.key, self.identity) {
            (Some(address), _, _) => ("address", address.to_canonical().to_string()),
            (None, Some(key), _) => ("key", key.to_string()),
            (None, None, identity) => ("identity", identity.unwrap_or_default()),
        }
    }
}

impl Args {
    pub(super) fn run(self, global: &Global) -> Outcome {
        let doors = self.node.find(global)?;
        let (by, who) = self.whom.of();
        let lasts_ms = self.lasts.as_millis();
        if lasts_ms == 0 {
            let message = "a ban lasts for some time: `--for 10m`";
            return Err(Failure::new(Exit::Usage, message));
        }
        for door in doors {
            if self.lift {
                door.ask("lift", json!({ "by": by, "who": who }))?;
                ui::talk(format_args!("{}: {who} may connect again", door.name));
                continue;
            }
            let params = json!({ "by": by, "who": who, "lasts_ms": lasts_ms });
            let ended = &door.ask("ban", params)?.result["ended"];
            let lasts = self.lasts;
            ui::talk(format_args!(
                "{}: {who} is banned for {lasts}, connections ended: {ended}",
                door.name
            ));
        }
        Ok(Exit::Done)
    }
}
