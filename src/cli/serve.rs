//! `zmqnet serve -n NAME -p FILE`: one replica in the foreground, as ZMQ Net has it.

use crate::model::quantity::Duration;
use crate::run::node;

use super::Global;
use super::exit::{Exit, Failure, Outcome};
use super::members;
use super::seed::{SeedEnv, Whole};

/// Options of `serve`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The replica to run [env: ALIA_REPLICA_NAME]
    #[arg(short, long, value_name = "NAME")]
    name: Option<String>,
    /// End after this long [env: ALIA_SERVER_UPTIME]
    #[arg(short, long, value_name = "DURATION")]
    uptime: Option<String>,
    /// How much to say: 0 trace, 1 debug, 2 info, 3 warn, 4 silent [env: ALIA_VERBOSITY] [default: 2]
    #[arg(long, value_name = "LEVEL")]
    verbosity: Option<String>,
}

/// The levels of ZMQ Net, by number; larger numbers are silent too.
const LEVELS: [&str; 5] = ["trace", "debug", "info", "warn", "silent"];

impl Args {
    pub(super) fn run(self, global: &Global) -> Outcome {
        let env = SeedEnv::load();
        let uptime: Option<Duration> =
            env.value(self.uptime, ("--uptime", "ALIA_SERVER_UPTIME"))?;
        let verbosity: Option<Whole> =
            env.value(self.verbosity, ("--verbosity", "ALIA_VERBOSITY"))?;
        let name = env
            .text(self.name, "ALIA_REPLICA_NAME")
            .ok_or_else(|| Failure::new(Exit::Usage, "which replica? say `-n NAME`"))?;
        let config = members::replica(&env, global, &name)?;
        let level = verbosity.map(|Whole(level)| LEVELS[level.min(4) as usize]);
        node::start_talking(level);
        let options = node::Options {
            uptime: uptime.map(Duration::as_std),
            is_alone: true,
        };
        node::run(&config, options)
            .map(|()| Exit::Done)
            .map_err(|error| Failure::new(Exit::Failed, error.to_string()))
    }
}
