//! What the commands taken over from ZMQ Net share: a flag, else a variable, else a line of `.env`.

use std::fmt::Display;
use std::num::NonZeroU32;
use std::str::FromStr;

use crate::model::quantity::Duration;
use crate::protocol::lazy_pirate::Schedule;

use super::environment::Environment;
use super::exit::{Exit, Failure};

/// The environment, and the `.env` of the working directory behind it.
#[derive(Debug)]
pub(super) struct SeedEnv(pub(super) Environment);

impl SeedEnv {
    /// Reads both.
    pub(super) fn load() -> Self {
        Self(Environment::load())
    }

    /// A variable; an empty one is none.
    pub(super) fn get(&self, variable: &str) -> Option<String> {
        self.0.get(variable).map(str::to_owned)
    }

    /// A flag, else its variable.
    pub(super) fn text(&self, flag: Option<String>, variable: &str) -> Option<String> {
        flag.or_else(|| self.get(variable))
    }

    /// A flag, else its variable, read as a value.
    pub(super) fn value<T>(
        &self,
        flag: Option<String>,
        (name, variable): (&str, &str),
    ) -> Result<Option<T>, Failure>
    where
        T: FromStr,
        T::Err: Display,
    {
        let (text, named) = match flag {
            Some(text) => (text, name),
            None => match self.get(variable) {
                Some(text) => (text, variable),
                None => return Ok(None),
            },
        };
        let wrong = |error| {
            Failure::new(
                Exit::Usage,
                format!("bad value `{text}` for {named}: {error}"),
            )
        };
        text.parse().map(Some).map_err(wrong)
    }
}

/// The flags of a Lazy Pirate.
#[derive(Debug, clap::Args)]
pub(super) struct PirateArgs {
    /// How long one attempt may take, such as `300ms` or `1m30s` [env: KILO_TIMEOUT]
    #[arg(short, long, value_name = "DURATION")]
    timeout: Option<String>,
    /// Attempts in all, at least 1 [env: KILO_RETRIES]
    #[arg(short, long, value_name = "N")]
    retries: Option<String>,
}

impl PirateArgs {
    /// The schedule, with defaults where nothing is said.
    pub(super) fn schedule(
        self,
        env: &SeedEnv,
        timeout: Duration,
        attempts: u32,
    ) -> Result<Schedule, Failure> {
        let timeout = env
            .value(self.timeout, ("--timeout", "KILO_TIMEOUT"))?
            .unwrap_or(timeout);
        let attempts = env
            .value(self.retries, ("--retries", "KILO_RETRIES"))?
            .map_or(attempts, |Whole(attempts)| attempts);
        let usage = |text: &str| Failure::new(Exit::Usage, text);
        if timeout.as_std().is_zero() {
            return Err(usage("a timeout is longer than nothing"));
        }
        let attempts = NonZeroU32::new(attempts)
            .ok_or_else(|| usage("retries count every attempt: at least 1"))?;
        Ok(Schedule {
            timeout: timeout.as_std(),
            attempts,
        })
    }
}

/// A number as a person writes it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whole(pub(super) u32);

impl FromStr for Whole {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read = text.parse().map(Self);
        read.map_err(|_| "expected a whole number")
    }
}

/// Runs a future on the one thread a command needs.
pub(super) fn block_on<F: Future>(future: F) -> Result<F::Output, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot start: {error}")))?;
    Ok(runtime.block_on(future))
}
