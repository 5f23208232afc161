//! `scale`: more or fewer instances of a node, inside the range its `replicas` give.
//!
//! The manifest is compiled again with what it was applied with, and must still say what runs: nobody
//! who scales is to change anything else by it.

use std::collections::BTreeMap;
use std::str::FromStr;

use super::Global;
use super::apply;
use super::exit::{Exit, Failure, Outcome};
use super::given::Given;
use super::load::{self, Loaded};
use super::network;
use super::ui;
use crate::diagnostics::suggest::did_you_mean;
use crate::manifest::node::ReplicasDecl;
use crate::model::quantity;
use crate::topology::Topology;

/// Change how many instances a node has, inside its `replicas: A..B`, and wait until they are ready.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A node, and how many instances it is to have.
    #[arg(value_name = "NODE=N", required = true)]
    counts: Vec<Count>,
    /// How long to wait until everything is ready; past it the exit code is 4 and what runs, runs on.
    #[arg(long, value_name = "DURATION", default_value = "60s")]
    timeout: quantity::Duration,
}

#[derive(Debug, Clone)]
struct Count {
    node: String,
    count: u32,
}

impl FromStr for Count {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (node, count) = text.split_once('=').ok_or("write `NODE=N`")?;
        Ok(Self {
            node: node.to_owned(),
            count: count
                .parse()
                .map_err(|_| "write a whole number after `=`")?,
        })
    }
}

impl Args {
    pub(super) fn run(self, global: &Global) -> Outcome {
        let running = network::find(global)?;
        let Some(applied) = network::plan_of(&running.layout) else {
            let message = format!("the plan of `{}` cannot be read", running.name);
            return Err(Failure::new(Exit::Failed, message).help("`zmqnet apply` makes another"));
        };
        let mut given = Given::of(&running.layout);
        let present = load::again(&applied.manifest, &given)?;
        let mut counts = BTreeMap::new();
        for Count { node, count } in &self.counts {
            if counts.insert(node.clone(), *count).is_some() {
                let message = format!("`{node}` is named twice");
                return Err(Failure::new(Exit::Usage, message).help("name each node once"));
            }
        }
        for (node, count) in &counts {
            within(&present.topology, node, *count)?;
        }
        if present.plan.digest != applied.digest {
            return Err(stale(&present));
        }
        given.counts = counts;
        let loaded = load::again(&applied.manifest, &given)?;
        if loaded.plan.digest == applied.digest {
            ui::talk("nothing to change");
            return Ok(Exit::Done);
        }
        let (_, exit) = apply::Args::scaling(self.timeout).follow(loaded, None)?;
        Ok(exit)
    }
}

/// Whether a node may have so many instances.
fn within(topology: &Topology, name: &str, count: u32) -> Result<(), Failure> {
    let Some(index) = topology.node_named(name) else {
        let failure = Failure::new(Exit::Usage, format!("no node `{name}`"));
        let names = topology.nodes.iter().map(|node| node.name.as_str());
        let known: Vec<&str> = names.clone().take(20).collect();
        let help = did_you_mean(name, names);
        return Err(
            failure.help(help.unwrap_or_else(|| format!("there are: {}", known.join(", "))))
        );
    };
    let node = &topology.nodes[index];
    match &node.decl.replicas {
        Some(ReplicasDecl::Range(range)) if (range.min..=range.max).contains(&count) => Ok(()),
        Some(ReplicasDecl::Range(range)) => Err(Failure::new(
            Exit::Usage,
            format!(
                "`{name}` has {} to {} instances, not {count}",
                range.min, range.max
            ),
        )
        .help("`replicas: A..B` in the manifest says how many it may have")),
        Some(
            ReplicasDecl::Count(_)
            | ReplicasDecl::Names(_)
            | ReplicasDecl::Import(_)
            | ReplicasDecl::Named(_),
        )
        | None => Err(
            Failure::new(Exit::Usage, format!("`{name}` has no range to scale in"))
                .help("write `replicas: A..B` in the manifest, and apply it"),
        ),
    }
}

fn stale(present: &Loaded) -> Failure {
    let manifest = present.plan.manifest.display();
    let message = format!("`{manifest}` says something else than what runs");
    Failure::new(Exit::Stale, message).help(format!(
        "`zmqnet plan {manifest}` shows what; `zmqnet apply {manifest}` does it"
    ))
}
