//! What a role says while it runs: messages it received on standard output, as ZMQ Net's listeners
//! have it, everything else on standard error. Under the runner both are its log file.

use std::io::{self, Write};
use std::time::Duration;

use tracing::Metadata;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// The variable that sets how much a role says: `trace`, `debug`, `info`, `warn`, `error`, `silent`.
pub const LOG_VARIABLE: &str = "ZMQNET_LOG";

/// The target of lines that are data.
pub(super) const RECEIVED: &str = "received";

/// Lines about single messages in one second; a benchmark must not fill a disk.
const LINES_MAX: u32 = 100;

/// Sets up talking at a level, else at that of the environment, else at `info`.
pub fn start_talking(level: Option<&str>) {
    let level = level
        .map(str::to_owned)
        .or_else(|| std::env::var(LOG_VARIABLE).ok())
        .unwrap_or_default();
    let filter = match level.as_str() {
        "trace" | "debug" | "warn" | "error" => format!("zmqnet={level},{RECEIVED}={level}"),
        "silent" => "off".to_owned(),
        _ => format!("zmqnet=info,{RECEIVED}=info"),
    };
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_target(false)
        .with_ansi(false)
        .with_writer(Voices);
    // Whoever set one up before wins: there is one voice in a process.
    drop(subscriber.try_init());
}

/// Which stream a line goes to.
struct Voices;

impl MakeWriter<'_> for Voices {
    type Writer = Box<dyn Write>;

    fn make_writer(&self) -> Self::Writer {
        Box::new(io::stderr())
    }

    fn make_writer_for(&self, meta: &Metadata<'_>) -> Self::Writer {
        match meta.target() {
            RECEIVED => Box::new(io::stdout()),
            _ => self.make_writer(),
        }
    }
}

/// How many lines about single messages may still be said in this second.
#[derive(Debug, Default)]
pub(super) struct Quota {
    second: u64,
    said: u32,
}

impl Quota {
    /// Whether one more line may be said; the first that may not is replaced by a word about it.
    pub(super) fn allows(&mut self, now: Duration) -> bool {
        if self.second != now.as_secs() {
            *self = Self {
                second: now.as_secs(),
                said: 0,
            };
        }
        self.said = self.said.saturating_add(1);
        if self.said == LINES_MAX + 1 {
            tracing::info!("more messages in this second are not logged one by one");
        }
        self.said <= LINES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_its_lines_and_the_next_has_new_ones() {
        let mut quota = Quota::default();
        let mut said = |ms| quota.allows(Duration::from_millis(ms));
        assert!((0..LINES_MAX).all(|_| said(10)));
        assert!(!said(999));
        assert!(said(1_000));
    }
}
