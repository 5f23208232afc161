//! `status`: what the network knows at once, then what its roles and the kernel say, asked beside
//! the loop.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::acting::Supervisor;
use super::member::{Member, Wish};
use super::{refused, wires};
use crate::lifecycle::{End, Phase};
use crate::model::endpoint::Endpoint;
use crate::model::layout::Layout;
use crate::model::limits::runner::PROBES_MAX;
use crate::model::name::InstanceName;
use crate::model::policy::ProbeHow;
use crate::plan::{Exec, Instance, Wire};
use crate::protocol::zn1;
use crate::run::control::Look;
use crate::run::logs;
use crate::run::procfs;
use crate::run::status::{
    EndpointStatus, Goal, ListenersStatus, NodeStatus, ProbeStatus, Runner, STATUS_SCHEMA, Status,
};
use crate::wire::dial;

/// How long a role may take to tell what it knows; one that takes longer is reported without.
const FACTS_WAIT: Duration = Duration::from_millis(500);

/// What is known at once, and where the rest can be asked.
pub(super) struct Gathered {
    status: Status,
    wires: Vec<Wire>,
    known: refused::Known,
    /// Health sockets of the roles that live.
    health: Vec<(InstanceName, Endpoint)>,
    layout: Layout,
}

/// What roles say of themselves, by instance.
pub(super) type Facts = BTreeMap<InstanceName, Value>;

impl Supervisor {
    /// Everything that can be said without asking anybody.
    pub(super) fn gather(&self) -> Gathered {
        let plan = &self.network.plan;
        let mut nodes: Vec<NodeStatus> = plan
            .instances
            .iter()
            .map(|instance| self.node(instance))
            .collect();
        // What is leaving is still there until it has left.
        let leaving = self
            .network
            .members
            .values()
            .filter(|m| plan.instance(m.instance.name.as_str()).is_none());
        nodes.extend(leaving.map(|member| self.member_status(member)));
        let health = self.network.members.iter().filter_map(|(name, member)| {
            let endpoint = match &member.process().probe.how {
                ProbeHow::Health { endpoint } => endpoint.clone(),
                _ => match &member.process().exec {
                    Exec::Role(_) => self.layout.health(name.as_str()),
                    Exec::Program { .. } => return None,
                },
            };
            member.child.pid().map(|_| (name.clone(), endpoint))
        });
        Gathered {
            health: health.collect(),
            status: Status {
                schema: STATUS_SCHEMA,
                topology: plan.topology.to_string(),
                digest: plan.digest.clone(),
                manifest: plan.manifest.display().to_string(),
                supervisor: Runner {
                    pid: std::process::id(),
                },
                keeper: Runner {
                    pid: self.keeping.pid(),
                },
                trouble: self.ledger.trouble().map(str::to_owned),
                nodes,
                wires: Vec::new(),
                refused: Vec::new(),
            },
            wires: plan.wires.clone(),
            known: refused::Known::of(plan),
            layout: self.layout.clone(),
        }
    }

    fn node(&self, instance: &Instance) -> NodeStatus {
        match self.network.members.get(&instance.name) {
            Some(member) => self.member_status(member),
            None => elsewhere(instance),
        }
    }

    fn member_status(&self, member: &Member) -> NodeStatus {
        let child = &member.child;
        let blocked = self.network.blocked_by(member);
        let reason = match (blocked, child.phase()) {
            (Some(other), _) => Some(format!("waits for `{other}`, which will not come")),
            (None, Phase::Waiting) => self.network.waits_for(member),
            (None, Phase::Ready) if member.is_behind() => {
                Some("has not taken its new plan yet".to_owned())
            }
            (None, Phase::Stopped) if member.wish == Wish::Held => {
                Some("stopped by hand".to_owned())
            }
            (None, Phase::Stopped) => child
                .reason()
                .map(str::to_owned)
                .or_else(|| child.end().map(|end| end.to_string())),
            (None, _) => child.reason().map(str::to_owned),
        };
        NodeStatus {
            state: child.phase(),
            pid: child.pid(),
            restarts: child.restarts(),
            exit: child.end().and_then(End::number),
            since: millis(child.since()),
            started: child.pid().and(member.started).map(millis),
            probe: ProbeStatus {
                p50_us: member.samples.percentile_us(50),
                p99_us: member.samples.percentile_us(99),
                misses: child.misses(),
            },
            reason,
            goal: self.network.goal(member),
            ..elsewhere(&member.instance)
        }
    }
}

/// An instance that does not run on this machine, or is not ours to run.
fn elsewhere(instance: &Instance) -> NodeStatus {
    let origin = &instance.origin;
    NodeStatus {
        name: instance.name.to_string(),
        node: instance.node.to_string(),
        kind: instance.kind.as_str().to_owned(),
        state: Phase::Waiting,
        pid: None,
        restarts: 0,
        exit: None,
        since: 0,
        started: None,
        endpoints: instance
            .ports
            .iter()
            .filter(|port| port.address.port().is_some())
            .map(|port| EndpointStatus {
                port: port.port.clone(),
                address: port.address.to_string(),
            })
            .collect(),
        probe: ProbeStatus::default(),
        listeners: None,
        facts: Map::new(),
        reason: Some("somebody else starts it".to_owned()),
        log: Vec::new(),
        origin: format!(
            "{}:{}:{}",
            origin.file.display(),
            origin.line,
            origin.column
        ),
        goal: Goal::Excluded,
    }
}

fn millis(at: Duration) -> u64 {
    u64::try_from(at.as_millis()).unwrap_or(u64::MAX)
}

/// Adds what only others know: the roles' facts, the wires, the last lines of failing logs.
pub(super) async fn complete(gathered: Gathered, look: Look) -> Status {
    let Gathered {
        mut status,
        wires,
        known,
        health,
        layout,
    } = gathered;
    let mut facts = ask_roles(health).await;
    known.complete(&mut facts);
    for node in &mut status.nodes {
        let known = facts.get(node.name.as_str());
        if let Some(Value::Object(facts)) = known.and_then(|known| known.get("facts")) {
            node.facts = facts.clone();
            if let Some(why) = sick_store(facts) {
                node.reason.get_or_insert(why);
            }
        }
        node.listeners = known.and_then(listeners);
    }
    let looked = tokio::task::spawn_blocking(move || {
        for node in &mut status.nodes {
            look_around(&layout, node);
        }
        if look.wires {
            status.refused = refused::of(&status.nodes, &facts);
            status.wires = wires::observe(&layout, &wires, &status.nodes, &facts);
        }
        status
    });
    looked.await.expect("looking around does not panic")
}

/// What is wrong with the store of a role, where anything is.
fn sick_store(facts: &Map<String, Value>) -> Option<String> {
    let store = facts.get("store")?;
    let (health, why) = (store["health"].as_str()?, store["reason"].as_str()?);
    // A role that knows what it means for what it keeps says so.
    let fault = facts.get("fault").and_then(Value::as_str);
    Some(match fault {
        Some(fault) => format!("its store is {health}: {fault}"),
        None => format!("its store is {health}: {why}"),
    })
}

/// What a role says of its listening sockets.
fn listeners(facts: &Value) -> Option<ListenersStatus> {
    let count = |whose: &str, key: &str| facts[whose][key].as_u64();
    Some(ListenersStatus {
        open: count("connected", "open")?,
        pending: count("connected", "pending")?,
        accepted: count("listeners", "accepted")?,
        rejected: facts["listeners"]["rejected"].as_object()?.clone(),
        limits: serde_json::from_value(facts["limits"].clone()).ok()?,
    })
}

/// Reads the log of what fails or is not ready yet, and whether somebody listens where an external one should.
fn look_around(layout: &Layout, node: &mut NodeStatus) {
    let is_failing = matches!(node.state, Phase::Failed | Phase::BackingOff)
        || (node.restarts > 0 && node.state != Phase::Ready);
    if is_failing || (node.goal == Goal::Pending && node.pid.is_some()) {
        node.log = logs::tail_of(layout, &node.name);
    }
    if node.kind == "external" && !node.endpoints.is_empty() {
        let listening = procfs::listening_tcp();
        let is_there = node.endpoints.iter().all(|endpoint| {
            let address = endpoint
                .address
                .strip_prefix("tcp://")
                .and_then(|text| text.parse().ok());
            address.is_some_and(|address| listening.iter().any(|at| at.covers(address)))
        });
        if is_there {
            node.state = Phase::Ready;
            node.reason = Some("somebody else starts it; its ports are listened on".to_owned());
        }
    }
}

async fn ask_roles(health: Vec<(InstanceName, Endpoint)>) -> Facts {
    let permits = Arc::new(Semaphore::new(PROBES_MAX));
    let mut asked = JoinSet::new();
    for (name, endpoint) in health {
        let permits = permits.clone();
        asked.spawn(async move {
            let permit = permits.acquire_owned().await;
            let request = zn1::Request::new("status", Bytes::new(), Value::Null);
            let reply = dial::request(&endpoint, request.encode(), FACTS_WAIT).await;
            drop(permit);
            let reply = zn1::Reply::decode(reply.ok()?).ok()?;
            reply.is_ok().then_some((name, reply.result))
        });
    }
    let mut facts = Facts::new();
    while let Some(told) = asked.join_next().await {
        facts.extend(told.ok().flatten());
    }
    facts
}
