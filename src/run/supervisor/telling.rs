//! How a living role learns that its plan changed: by the verb `reconfigure` of its health socket,
//! so often, one telling at a time. A role that does not take it is restarted.
//!
//! The file that a role is told by holds what its present life is known to have been told, and is
//! written anew only when the role has taken more: a supervisor that dies in between leaves a file
//! that differs from the plan, and its successor tells the role again. To be told twice changes
//! nothing.

use std::fmt;
use std::fs;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Semaphore;

use super::acting::{Outcome, Supervisor};
use super::network::Life;
use super::spawning;
use crate::lifecycle::{Child, Event, Phase};
use crate::model::limits::runner::{TELL_ANSWER_MS, TELL_TRIES_MAX};
use crate::model::name::InstanceName;
use crate::plan::Exec;
use crate::protocol::zn1::{self, Malformed, Reply, Request};
use crate::roles::Config;
use crate::wire::dial::{self, DialError};

/// The pause before the second try, and the longest.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// What came of a telling.
#[derive(Debug)]
pub(super) struct Told {
    life: Life,
    config: Config,
    result: Result<(), TellError>,
}

/// Why a role was not told.
#[derive(Debug)]
enum TellError {
    /// It cannot be asked.
    Dial(DialError),
    /// Its answer is none.
    Malformed(Malformed),
    /// It refused: a ZN1 status, and what it said.
    Refused(u16, String),
}

impl fmt::Display for TellError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dial(error) => write!(f, "its health socket: {error}"),
            Self::Malformed(fault) => write!(f, "its answer: {fault}"),
            Self::Refused(status, said) => write!(f, "it answered {status}: {said}"),
        }
    }
}

impl TellError {
    /// Whether another try may end otherwise.
    fn may_pass(&self) -> bool {
        match self {
            Self::Dial(_) => true,
            Self::Malformed(_) => false,
            Self::Refused(status, _) => matches!(*status, zn1::BACK_PRESSURE | zn1::UNAVAILABLE),
        }
    }
}

impl Supervisor {
    /// Begins to tell every living role that does not know yet what the plan says.
    pub(super) fn tell_stale(&mut self) {
        for (name, member) in &mut self.network.members {
            if !member.is_stale || !lives(&member.child) || member.telling.is_some() {
                continue;
            }
            member.is_stale = false;
            let Exec::Role(config) = &member.process().exec else {
                continue;
            };
            let (config, life) = (config.clone(), (name.clone(), member.child.generation()));
            let (outcomes, permits) = (self.outcomes.clone(), self.probes.clone());
            let task = self.tasks.spawn(async move {
                let result = tell(&config, &permits).await;
                let told = Told {
                    life,
                    config,
                    result,
                };
                drop(outcomes.send(Outcome::Told(told)).await);
            });
            member.telling = Some(task);
        }
    }

    /// Takes what came of a telling.
    pub(super) fn was_told(&mut self, now: Duration, told: Told) {
        let Told {
            life: (name, generation),
            config,
            result,
        } = told;
        let Some(member) = self.network.members.get_mut(&name) else {
            return;
        };
        if member.child.generation() != generation {
            return;
        }
        member.telling = None;
        if !lives(&member.child) {
            // It ends; its next life, if there is one, is told when it begins.
            return;
        }
        match result {
            Ok(()) => {
                tracing::info!(instance = %name, "took its new plan");
                let file = self.layout.told_file(name.as_str());
                // A successor that reads the old one tells it again.
                if let Err(fault) = spawning::tell(&file, &config) {
                    tracing::error!(%fault, instance = %name, "cannot keep what it was told");
                }
            }
            Err(error) => {
                tracing::warn!(%error, instance = %name, "did not take its new plan, restarted");
                self.network.step(now, &name, Event::Restart);
            }
        }
    }

    /// Compares what a life of an earlier supervisor was told with the plan.
    pub(super) fn recall(&mut self, name: &InstanceName) {
        let Some(member) = self.network.members.get_mut(name) else {
            return;
        };
        if let Exec::Role(config) = &member.process().exec {
            let file = self.layout.told_file(name.as_str());
            let told = fs::read(file).ok();
            let told = told.and_then(|text| serde_json::from_slice::<Config>(&text).ok());
            member.is_stale = told.as_ref() != Some(config);
        }
    }
}

/// Whether a child runs and is to go on.
fn lives(child: &Child) -> bool {
    match child.phase() {
        Phase::Probing | Phase::Ready | Phase::Suspect => true,
        Phase::Waiting
        | Phase::Starting
        | Phase::Stopping
        | Phase::BackingOff
        | Phase::Stopped
        | Phase::Failed => false,
    }
}

/// Tells a role its configuration, until it takes or refuses it, or has been asked often enough.
async fn tell(config: &Config, permits: &Semaphore) -> Result<(), TellError> {
    let mut pause = PAUSE_MIN;
    let mut tries = 1;
    loop {
        let permit = permits.acquire().await;
        let result = attempt(config).await;
        // While it rests, others may ask.
        drop(permit);
        match result {
            Err(error) if error.may_pass() && tries < TELL_TRIES_MAX => {
                tracing::debug!(%error, tries, "a role was not told");
            }
            result => return result,
        }
        tries += 1;
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

async fn attempt(config: &Config) -> Result<(), TellError> {
    let request = Request::new("reconfigure", Bytes::new(), config.params());
    let timeout = Duration::from_millis(TELL_ANSWER_MS);
    let reply = dial::request(config.health(), request.encode(), timeout).await;
    let reply = Reply::decode(reply.map_err(TellError::Dial)?).map_err(TellError::Malformed)?;
    if reply.is_ok() {
        return Ok(());
    }
    let said = reply.result["error"].as_str().unwrap_or_default();
    Err(TellError::Refused(reply.status, said.to_owned()))
}
