//! `scale` for whoever talks to the supervisor and is no person: a feedback.
//!
//! What a node's count means for the plan is the compiler's to say, so our own command is run, as a
//! person would. One at a time: the next would compile what the one before is about to change.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::model::name::TopologyName;
use crate::protocol::zn1::{self, Reply};
use crate::run::control::Scale;

use super::acting::{Outcome, Supervisor};
use super::asked::Asked;
use super::serving::{Refused, ReplyTo};

/// How long it may take until everything stands again.
const SCALE_WAIT: Duration = Duration::from_secs(70);
/// How much of what the command says goes back.
const WORDS_BYTES_MAX: u64 = 1_024;

impl Supervisor {
    /// Has the network scaled, and answers when that is done.
    pub(super) fn scale(&mut self, to: ReplyTo, scale: Scale) -> Result<(), Refused> {
        if std::mem::replace(&mut self.is_scaling, true) {
            let words = "it is being scaled already".to_owned();
            return Err((zn1::CONFLICT, words));
        }
        let (name, outcomes) = (self.network.plan.topology.clone(), self.outcomes.clone());
        self.tasks.spawn(async move {
            let reply = match run(&name, &scale).await {
                Ok(()) => Reply::new(zn1::OK, to.id.clone(), serde_json::Value::Null),
                Err(words) => Reply::failure(zn1::CONFLICT, to.id.clone(), words),
            };
            drop(outcomes.send(Outcome::Scaled(to, reply)).await);
        });
        Ok(())
    }

    /// The command has ended.
    pub(super) fn scaled(&mut self, to: &ReplyTo, reply: Reply) {
        self.is_scaling = false;
        self.reply(to, reply);
    }
}

/// Runs our own command; what it says is the reason where it fails.
async fn run(topology: &TopologyName, scale: &Scale) -> Result<(), String> {
    let child = Command::new("/proc/self/exe")
        .arg0("zmqnet")
        .args(["-T", topology.as_str(), "scale"])
        .arg(format!("{}={}", scale.node, scale.count))
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|error| format!("`zmqnet scale` cannot be run: {error}"))?;
    let mut asked = Asked(child);
    match asked.ended(Instant::now() + SCALE_WAIT).await {
        Ok(Some(status)) if status.success() => Ok(()),
        Ok(Some(_)) => {
            let mut words = Vec::new();
            if let Some(said) = asked.0.stderr.take() {
                // What cannot be read is not said.
                said.take(WORDS_BYTES_MAX).read_to_end(&mut words).ok();
            }
            Err(String::from_utf8_lossy(&words).trim().to_owned())
        }
        Ok(None) => Err("`zmqnet scale` does not end".to_owned()),
        Err(error) => Err(format!("`zmqnet scale`: {error}")),
    }
}
