//! `zmqnet bench -n NAME`: ZMQ Net's benchmark and its results file, one JSON line a run.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::client::bench::{self, Results};
use crate::client::courier::Courier;
use crate::model::quantity::Duration;

use super::Global;
use super::exit::{Exit, Failure, Outcome};
use super::members::TargetArgs;
use super::seed::{PirateArgs, SeedEnv, Whole, block_on};
use super::send::talk;
use super::ui;

/// Options of `bench`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    target: TargetArgs,
    /// How long to send [env: KILO_BENCH_DURATION] [default: 30s]
    #[arg(short, long, value_name = "DURATION")]
    duration: Option<String>,
    #[command(flatten)]
    pirate: PirateArgs,
    /// How many clients run beside this one; only recorded
    #[arg(short, long, value_name = "N", default_value_t = 1)]
    clients: u32,
    /// Where to append the results [env: KILO_RESULTS_PATH] [default: results.json]
    #[arg(short = 'o', long, value_name = "FILE")]
    results: Option<String>,
    /// Do nothing and succeed [env: KILO_DISABLED]
    #[arg(short = 'X', long)]
    disabled: bool,
    /// How much to say: 0 trace, 1 debug, 2 info, 3 warn, 4 silent [env: ALIA_VERBOSITY] [default: 2]
    #[arg(long, value_name = "LEVEL")]
    verbosity: Option<String>,
}

impl Args {
    pub(super) fn run(self, global: &Global) -> Outcome {
        let env = SeedEnv::load();
        let is_disabled = |value: String| matches!(value.as_str(), "1" | "t" | "true" | "TRUE");
        if self.disabled || env.get("KILO_DISABLED").is_some_and(is_disabled) {
            ui::talk("this client is disabled, exiting");
            return Ok(Exit::Done);
        }
        let verbosity = env
            .value(self.verbosity, ("--verbosity", "ALIA_VERBOSITY"))?
            .map_or(2, |Whole(level)| level);
        let schedule = self
            .pirate
            .schedule(&env, Duration::from_millis(5_000), 3)?;
        let duration: Duration = env
            .value(self.duration, ("--duration", "KILO_BENCH_DURATION"))?
            .unwrap_or(Duration::from_millis(30_000));
        if duration.as_std().is_zero() {
            return Err(Failure::new(
                Exit::Usage,
                "`--duration` must be longer than nothing",
            ));
        }
        let file = env.text(self.results, "KILO_RESULTS_PATH");
        let file = PathBuf::from(file.as_deref().unwrap_or("results.json"));
        let target = self.target.find(&env, global)?;
        let mut courier = Courier::new(target.endpoint.clone(), target.keys.clone(), schedule);
        let mut say = |incident| {
            if verbosity <= 2 {
                talk(incident, &target.endpoint);
            }
        };
        let results = block_on(bench::run(
            &mut courier,
            &target.name,
            duration.as_std(),
            &mut say,
        ))?;
        let kept = append(&file, &line(&results, &target.name, self.clients));
        // What was measured is told, also where it cannot be kept.
        if verbosity <= 2 || kept.is_err() {
            summarise(&results);
        }
        kept?;
        if results.latencies.count() == 0 || results.dropped > 0 {
            let dropped = results.dropped;
            return Err(Failure::new(
                Exit::Failed,
                format!("{dropped} messages were dropped"),
            ));
        }
        Ok(Exit::Done)
    }
}

/// Messages in a second of waiting, as ZMQ Net computes it; 0 where there are none.
fn throughput(results: &Results) -> f64 {
    let seconds = results.latencies.sum().as_secs_f64();
    if seconds == 0.0 {
        return 0.0;
    }
    results.latencies.count() as f64 / seconds
}

fn nanos(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn line(results: &Results, name: &str, clients: u32) -> Value {
    let latencies = &results.latencies;
    json!({
        "latency (nsec)": nanos(latencies.sum()),
        "messages": latencies.count(),
        "n_clients": clients,
        "name": name,
        "throughput (msg/sec)": throughput(results),
        "p50 (nsec)": nanos(latencies.quantile(0.5)),
        "p99 (nsec)": nanos(latencies.quantile(0.99)),
        "dropped": results.dropped,
    })
}

fn append(file: &Path, line: &Value) -> Result<(), Failure> {
    let written = OpenOptions::new()
        .create(true)
        .append(true)
        .open(file)
        // One write, so that clients that share the file do not mix their lines.
        .and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
    written.map_err(|error| {
        Failure::new(
            Exit::File,
            format!("cannot append to `{}`: {error}", file.display()),
        )
    })
}

fn summarise(results: &Results) {
    let latencies = &results.latencies;
    ui::talk(format_args!(
        "{} messages in {:.1?}, {:.0} msg/sec, p50 {:.1?}, p99 {:.1?}, {} dropped",
        latencies.count(),
        results.took,
        throughput(results),
        latencies.quantile(0.5),
        latencies.quantile(0.99),
        results.dropped,
    ));
}
