//! `zmqnet send -n NAME MESSAGE...`: one Lazy Pirate exchange a message, as ZMQ Net has it.
//!
//! Differently from it, a dropped message ends with exit code 1, and who did not acknowledge is
//! named.

use serde::Serialize;
use tokio::time::sleep;

use crate::client::courier::{Ask, Courier, Delivery, Dropped, Incident, PeerOutcome};
use crate::model::endpoint::Endpoint;
use crate::model::quantity::Duration;
use crate::protocol::mesh::MessageType;

use super::Global;
use super::exit::{Exit, Failure, Outcome};
use super::members::{Target, TargetArgs};
use super::seed::{PirateArgs, SeedEnv, block_on};
use super::ui::{self, Format, FormatArgs};

/// Options of `send`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    target: TargetArgs,
    /// How long to rest after each message [default: 0s]
    #[arg(short, long, value_name = "DURATION")]
    delay: Option<String>,
    #[command(flatten)]
    pirate: PirateArgs,
    #[command(flatten)]
    format: FormatArgs,
    /// What to say; nothing only connects.
    #[arg(value_name = "MESSAGE")]
    messages: Vec<String>,
}

/// What `-o json` prints.
#[derive(Debug, Serialize)]
struct Report {
    schema: u32,
    name: String,
    endpoint: Endpoint,
    delivered: usize,
    dropped: usize,
    messages: Vec<Sent>,
}

#[derive(Debug, Serialize)]
struct Sent {
    message: String,
    delivered: bool,
    attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    rtt_us: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply: Option<Replied>,
    /// Absent where the replica cannot say.
    #[serde(skip_serializing_if = "Option::is_none")]
    peers: Option<Vec<PeerOutcome>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Debug, Serialize)]
struct Replied {
    #[serde(rename = "type")]
    ty: &'static str,
    sender: String,
    message: String,
}

impl Args {
    pub(super) fn run(self, global: &Global) -> Outcome {
        let env = SeedEnv::load();
        let schedule = self
            .pirate
            .schedule(&env, Duration::from_millis(2_000), 3)?;
        let delay: Option<Duration> = env.value(self.delay, ("--delay", ""))?;
        let target = self.target.find(&env, global)?;
        let mut courier = Courier::new(target.endpoint.clone(), target.keys.clone(), schedule);
        let report = block_on(async {
            if self.messages.is_empty() {
                return connect_only(&mut courier, &target).await;
            }
            let mut sent = Vec::new();
            for message in self.messages {
                let one = send(&mut courier, &target, message, self.format.format).await;
                sent.push(one);
                if let Some(delay) = delay {
                    sleep(delay.as_std()).await;
                }
            }
            Ok(sent)
        })??;
        let dropped = report.iter().filter(|sent| !sent.delivered).count();
        if self.format.format != Format::Table {
            let report = Report {
                schema: 1,
                name: target.name,
                endpoint: target.endpoint,
                delivered: report.len() - dropped,
                dropped,
                messages: report,
            };
            ui::document(self.format.format, &report);
        }
        match dropped {
            0 => Ok(Exit::Done),
            _ => Err(Failure::said(Exit::Failed)),
        }
    }
}

async fn connect_only(courier: &mut Courier, target: &Target) -> Result<Vec<Sent>, Failure> {
    let endpoint = &target.endpoint;
    courier.connect().await.map_err(|error| {
        Failure::new(
            Exit::Failed,
            format!("cannot connect to {endpoint}: {error}"),
        )
    })?;
    ui::talk(format_args!("connected to {endpoint}"));
    Ok(Vec::new())
}

async fn send(courier: &mut Courier, target: &Target, text: String, format: Format) -> Sent {
    let ask = Ask::Message {
        // ZMQ Net's clients name the replica they talk to.
        sender: target.name.clone(),
        text: text.clone(),
    };
    let mut say = |incident| talk(incident, &target.endpoint);
    match courier.deliver(&ask, &mut say).await {
        Ok(delivery) => delivered(text, delivery, format),
        Err(dropped) => lost(text, &dropped),
    }
}

/// What ZMQ Net says on the way, to the letter.
pub(super) fn talk(incident: Incident, endpoint: &Endpoint) {
    match incident {
        Incident::Connected => ui::talk(format_args!("connected to {endpoint}")),
        Incident::Retrying => ui::talk("no response from server, retrying send"),
        Incident::Dropped => ui::talk(format_args!(
            "connection to {endpoint} is offline, message dropped"
        )),
    }
}

fn delivered(message: String, delivery: Delivery, format: Format) -> Sent {
    let Delivery {
        reply,
        peers,
        attempts,
        took,
    } = delivery;
    if format == Format::Table {
        ui::data(format_args!("received: {reply}"));
        for peer in peers.iter().flatten().filter(|peer| !peer.acked) {
            let reason = peer.reason.as_deref().unwrap_or("no reason given");
            ui::talk(format_args!("{} did not acknowledge: {reason}", peer.name));
        }
    }
    let is_refused = reply.ty == MessageType::Error;
    Sent {
        message,
        delivered: !is_refused,
        attempts,
        rtt_us: u64::try_from(took.as_micros()).ok(),
        reason: is_refused.then(|| reply.message.clone()),
        reply: Some(Replied {
            ty: match reply.ty {
                MessageType::Single => "SINGLE",
                MessageType::Bounce => "BOUNCE",
                MessageType::Error => "ERROR",
                MessageType::Unknown(_) => "UNKNOWN",
            },
            sender: reply.sender,
            message: reply.message,
        }),
        peers,
    }
}

fn lost(message: String, dropped: &Dropped) -> Sent {
    Sent {
        message,
        delivered: false,
        attempts: dropped.attempts,
        rtt_us: None,
        reply: None,
        peers: None,
        reason: Some(dropped.reason.to_string()),
    }
}
