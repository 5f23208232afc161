//! `zmqnet probe NAME`: whether a replica answers, without leaving a trace in its counters.

use crate::client::courier::{Ask, Courier};
use crate::model::quantity::Duration;
use crate::protocol::mesh::MessageType;

use super::Global;
use super::exit::{Exit, Failure, Outcome};
use super::members::TargetArgs;
use super::seed::{PirateArgs, SeedEnv, block_on};
use super::ui;

/// Options of `probe`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    pirate: PirateArgs,
    /// The node to probe, as `-n`
    #[arg(value_name = "NAME", conflicts_with_all = ["name", "endpoint"])]
    node: Option<String>,
}

impl Args {
    pub(super) fn run(self, global: &Global) -> Outcome {
        let env = SeedEnv::load();
        let schedule = self.pirate.schedule(&env, Duration::from_millis(500), 3)?;
        let target = self.target.or_name(self.node).find(&env, global)?;
        let mut courier = Courier::new(target.endpoint.clone(), target.keys.clone(), schedule);
        let ask = Ask::Ping {
            sender: target.name.clone(),
        };
        let endpoint = &target.endpoint;
        let failed = |what: String| Failure::new(Exit::Failed, what);
        // The attempts of a probe are its business; what counts is how it ends.
        match block_on(courier.deliver(&ask, &mut drop))? {
            Ok(delivery) if delivery.reply.ty == MessageType::Error => Err(failed(format!(
                "{endpoint} answered with an error: {}",
                delivery.reply.message
            ))),
            Ok(delivery) => {
                ui::data(format_args!("ACK rtt={:.1?}", delivery.took));
                Ok(Exit::Done)
            }
            Err(dropped) => Err(failed(format!(
                "{endpoint} did not answer {} attempts: {}",
                dropped.attempts, dropped.reason
            ))),
        }
    }
}
