//! Which connection of a queue an instance works by: the supervisor knows it of every planned wire, the
//! queue itself of whoever has told it a name.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::Global;
use super::conns;
use super::exit::{Exit, Failure};
use super::network::{self, Running, control_failure};
use crate::plan::{Plan, Wire};
use crate::roles::Kind;
use crate::run::control::Look;
use crate::run::status::WireStatus;

/// Between two looks at whether a worker has come.
const REST: Duration = Duration::from_millis(200);

/// A worker of a queue.
pub(super) struct Provider {
    /// The queue's instance.
    pub(super) queue: String,
    /// Its connection there.
    pub(super) conn: u64,
}

/// Finds the connection of an instance at the queue that it works for, or at the one that is named, and waits
/// for it while there is none. Nothing where the instance listens itself: it is asked directly.
pub(super) fn find(
    global: &Global,
    (node, queue): (&str, Option<&str>),
    service: &str,
    timeout: Duration,
) -> Result<Option<Provider>, Failure> {
    let deadline = Instant::now() + timeout;
    let Some((running, plan, queue)) = place(global, node, queue)? else {
        return Ok(None);
    };
    loop {
        let found = match works(&plan, node, &queue) {
            true => planned(&running, (node, &queue), service)?,
            false => named(&plan, node, &queue)?,
        };
        match found {
            Ok(conn) => return Ok(Some(Provider { queue, conn })),
            Err(why) if Instant::now() >= deadline => {
                let words = format!("`{node}` does not work for `{queue}` now: {why}");
                return Err(Failure::new(Exit::Failed, words));
            }
            Err(_) => sleep(REST.min(deadline.saturating_duration_since(Instant::now()))),
        }
    }
}

/// The running network, its plan, and the queue that is meant.
fn place(
    global: &Global,
    node: &str,
    queue: Option<&str>,
) -> Result<Option<(Running, Plan, String)>, Failure> {
    let wanted = global.topology.as_deref();
    let running = network::running()?.into_iter();
    let running = running.filter(|it| wanted.is_none_or(|wanted| wanted == it.name.as_str()));
    let plans = running.filter_map(|it| network::plan_of(&it.layout).map(|plan| (it, plan)));
    for (running, plan) in plans {
        if let Some(queue) = queue {
            let named = plan.instance(queue);
            if named.is_some_and(|instance| instance.kind == Kind::Queue) {
                return Ok(Some((running, plan, queue.to_owned())));
            }
            continue;
        }
        let listens = |instance: &crate::plan::Instance| !instance.ports.is_empty();
        if plan.instance(node).is_none_or(listens) {
            continue;
        }
        let mut wires = plan.wires.iter();
        let its = wires.find_map(|wire| {
            let listener = plan.instance(listener(wire))?;
            (wire.dialler.as_str() == node && listener.kind == Kind::Queue)
                .then(|| listener.name.to_string())
        });
        if let Some(queue) = its {
            return Ok(Some((running, plan, queue)));
        }
    }
    match queue {
        Some(queue) => Err(Failure::new(
            Exit::NotRunning,
            format!("no queue `{queue}` is running"),
        )),
        None => Ok(None),
    }
}

fn listener(wire: &Wire) -> &str {
    match wire.dialler == wire.from {
        true => wire.to.as_str(),
        false => wire.from.as_str(),
    }
}

/// Whether an instance is planned as a worker of a queue.
fn works(plan: &Plan, node: &str, queue: &str) -> bool {
    let is_its = |wire: &Wire| wire.from.as_str() == queue && wire.to.as_str() == node;
    plan.wires.iter().any(is_its)
}

/// What was found: a connection, or why there is none.
type Found = Result<Result<u64, String>, Failure>;

/// The connection of a planned wire, rather of the link that has the service's name.
fn planned(running: &Running, (node, queue): (&str, &str), service: &str) -> Found {
    let look = Look { wires: true };
    let status = network::converse(&running.layout, |control| {
        control.status(look).map_err(control_failure)
    })?;
    let is_its = |wire: &&WireStatus| wire.from == queue && wire.to == node;
    let mut its: Vec<&WireStatus> = status.wires.iter().filter(is_its).collect();
    its.sort_by_key(|wire| wire.link != service);
    if let Some(conn) = its.iter().find_map(|wire| wire.conn) {
        return Ok(Ok(conn));
    }
    let reason = its.iter().find_map(|wire| wire.reason.clone());
    Ok(Err(
        reason.unwrap_or_else(|| "its wire is not seen".to_owned())
    ))
}

/// The connection of whoever told the queue that name, or has the key of it.
fn named(plan: &Plan, node: &str, queue: &str) -> Found {
    let all = conns::connections(plan, queue)?;
    let mut its = all.iter().filter(|it| {
        let is_named = it["identity"] == node || it["who"] == node;
        is_named && it["handshake_done"] == true
    });
    let conn = its.find_map(|it| it["conn"].as_u64());
    Ok(conn.ok_or_else(|| "no worker there calls itself so".to_owned()))
}
