//! `conns`: the connections of a node's own sockets: listed, kicked, banned.
//!
//! The node's role is asked by its health socket, without the supervisor: it answers also while that
//! is being replaced.

mod ban;
mod kick;
mod ls;

use std::time::Duration;

use bytes::Bytes;
use clap::Subcommand;
use serde_json::Value;

use super::exit::{Exit, Failure, Outcome};
use super::seed::block_on;
use super::{Global, network};
use crate::model::endpoint::Endpoint;
use crate::plan::{Exec, Instance, Plan};
use crate::protocol::zn1::{Reply, Request};
use crate::wire::dial;

/// How long a role may take to answer.
const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// Names that a failure lists.
const LISTED_MAX: usize = 20;

/// List, kick and ban the connections of a node.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Ls(ls::Args),
    Kick(kick::Args),
    Ban(ban::Args),
}

impl Args {
    pub(super) fn run(self, global: &Global) -> Outcome {
        match self.command {
            Command::Ls(args) => args.run(global),
            Command::Kick(args) => args.run(global),
            Command::Ban(args) => args.run(global),
        }
    }
}

/// Which node.
#[derive(Debug, clap::Args)]
struct NodeArgs {
    /// The node, or one instance of it.
    #[arg(short = 'n', long = "node", value_name = "NODE")]
    node: String,
}

/// An instance whose sockets are ours, and where it answers.
#[derive(Debug)]
struct Door {
    name: String,
    health: Endpoint,
}

impl NodeArgs {
    /// The instances that are meant.
    fn find(&self, global: &Global) -> Result<Vec<Door>, Failure> {
        let running = network::find(global)?;
        let plan = network::plan_of(&running.layout).ok_or_else(|| {
            let message = format!("the plan of `{}` cannot be read", running.name);
            Failure::new(Exit::Failed, message)
        })?;
        doors(&plan, &self.node)
    }

    /// The one instance that is meant.
    fn one(&self, global: &Global) -> Result<Door, Failure> {
        let mut doors = self.find(global)?;
        let names: Vec<&str> = doors.iter().map(|door| door.name.as_str()).collect();
        if names.len() > 1 {
            let message = format!("`{}` has several instances", self.node);
            let help = format!("name one of them: {}", listed(&names));
            return Err(Failure::new(Exit::Usage, message).help(help));
        }
        Ok(doors.remove(0))
    }
}

/// Every connection of a node of ours.
pub(super) fn connections(plan: &Plan, node: &str) -> Result<Vec<Value>, Failure> {
    let mut all = Vec::new();
    for door in doors(plan, node)? {
        let told = ls::ask(&door)?;
        all.extend(
            told["connections"]
                .as_array()
                .into_iter()
                .flatten()
                .cloned(),
        );
    }
    Ok(all)
}

fn doors(plan: &Plan, name: &str) -> Result<Vec<Door>, Failure> {
    let instances = plan.instances.iter();
    let mut meant: Vec<&Instance> = instances
        .clone()
        .filter(|it| it.name.as_str() == name)
        .collect();
    if meant.is_empty() {
        meant = instances.filter(|it| it.node.as_str() == name).collect();
    }
    if meant.is_empty() {
        let known: Vec<&str> = plan.instances.iter().map(|it| it.name.as_str()).collect();
        let message = format!("no node or instance `{name}`");
        let help = format!("there are: {}", listed(&known));
        return Err(Failure::new(Exit::Usage, message).help(help));
    }
    let doors: Vec<Door> = meant.iter().filter_map(|it| door(plan, it)).collect();
    if doors.is_empty() {
        let is_here = meant.iter().any(|it| it.process.is_some());
        let (why, help) = if is_here {
            (
                "is a program: its sockets are its own",
                "`gate: true` on its links puts a socket of ours before it",
            )
        } else {
            (
                "is not started here",
                "ask on the host that starts it, or of a node of this one",
            )
        };
        let message = format!("`{name}` {why}");
        return Err(Failure::new(Exit::Usage, message).help(help));
    }
    Ok(doors)
}

/// Where an instance answers: itself where it is a role of ours, else the gate beside it.
fn door(plan: &Plan, instance: &Instance) -> Option<Door> {
    let of_role = |instance: &Instance| match &instance.process.as_ref()?.exec {
        Exec::Role(config) => Some(Door {
            name: instance.name.to_string(),
            health: config.health().clone(),
        }),
        Exec::Program { .. } => None,
    };
    of_role(instance).or_else(|| of_role(plan.instance(&format!("{}-gate", instance.name))?))
}

fn listed(names: &[&str]) -> String {
    let mut text = names[..names.len().min(LISTED_MAX)].join(", ");
    if names.len() > LISTED_MAX {
        text.push_str(&format!(" and {} more", names.len() - LISTED_MAX));
    }
    text
}

impl Door {
    /// Asks its role; what the role refuses is a failure in the role's words.
    fn ask(&self, verb: &str, params: Value) -> Result<Reply, Failure> {
        let failed = |what: String| Failure::new(Exit::Failed, format!("{}: {what}", self.name));
        let request = Request::new(verb, Bytes::new(), params);
        let asked = dial::request(&self.health, request.encode(), ANSWER_WAIT);
        let frames = block_on(asked)?.map_err(|error| failed(format!("no answer: {error}")))?;
        let reply = Reply::decode(frames).map_err(|fault| failed(fault.to_string()))?;
        if reply.is_ok() {
            return Ok(reply);
        }
        let words = reply.result["error"].as_str().unwrap_or("it refused");
        Err(failed(words.to_owned()))
    }
}
