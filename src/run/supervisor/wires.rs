//! Whether each planned wire is there, and the plain reason where it is not.
//!
//! Our own roles say what they dial and who dialled them; of programs only the kernel can be asked:
//! who listens at an endpoint, and which processes hold a connection to it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Map, Value};

use super::gated::{self, Counts};
use super::refused::{self, Heard};
use super::report::Facts;
use crate::model::endpoint::Endpoint;
use crate::model::layout::Layout;
use crate::model::name::InstanceName;
use crate::plan::Wire;
use crate::run::procfs::{self, Connection, Listening};
use crate::run::status::{InOut, NodeStatus, WireState, WireStatus};
use crate::run::tag::NetworkId;

/// What the kernel knows of the sockets of this network's processes.
struct Sight {
    /// Which instance holds a socket.
    owners: BTreeMap<u64, InstanceName>,
    listening: Vec<Listening>,
    connections: Vec<Connection>,
    /// Connections whose listening end lets the dialler's greeting lie.
    unheard: BTreeSet<(SocketAddr, SocketAddr)>,
    listening_unix: BTreeMap<std::path::PathBuf, u64>,
    accepted_unix: BTreeMap<std::path::PathBuf, usize>,
}

impl Sight {
    fn look(layout: &Layout) -> Self {
        let network = NetworkId::of(layout);
        let mut owners = BTreeMap::new();
        for (pid, seen) in procfs::scan() {
            let Some(tag) = seen.tag.filter(|tag| tag.network == network) else {
                continue;
            };
            for inode in procfs::sockets_of(pid) {
                owners.insert(inode, tag.instance.clone());
            }
        }
        let connections = procfs::connections_tcp();
        let mut unheard = unheard(&connections);
        if !unheard.is_empty() {
            // One that is just being accepted or read is no longer so a moment later.
            std::thread::sleep(GREETING_WAIT);
            let still = self::unheard(&procfs::connections_tcp());
            unheard.retain(|ends| still.contains(ends));
        }
        Self {
            owners,
            listening: procfs::listening_tcp(),
            connections,
            unheard,
            listening_unix: procfs::listening_unix(),
            accepted_unix: procfs::accepted_unix(),
        }
    }
}

/// Between two looks at a greeting that nobody has read.
const GREETING_WAIT: Duration = Duration::from_millis(50);
/// What a dialler says first and then waits: the signature of ZMTP.
const SIGNATURE_BYTES: u32 = 10;

/// The connections, listening end first, on which nothing but a greeting has come, and lies unread.
fn unheard(connections: &[Connection]) -> BTreeSet<(SocketAddr, SocketAddr)> {
    let lies =
        |end: &&Connection| end.unread == SIGNATURE_BYTES || (end.inode == 0 && end.unread > 0);
    let ends = connections.iter().filter(lies);
    ends.map(|end| (end.local, end.remote)).collect()
}

/// What was found out about a wire.
struct Found {
    state: WireState,
    reason: Option<String>,
}

fn down(reason: impl Into<String>) -> Found {
    Found {
        state: WireState::Down,
        reason: Some(reason.into()),
    }
}

fn connected(how: Option<&str>) -> Found {
    Found {
        state: WireState::Connected,
        reason: how.map(str::to_owned),
    }
}

/// Judges every wire of a plan. Looks into `/proc` once.
pub(super) fn observe(
    layout: &Layout,
    wires: &[Wire],
    nodes: &[NodeStatus],
    facts: &Facts,
) -> Vec<WireStatus> {
    let nodes: BTreeMap<&str, &NodeStatus> = nodes
        .iter()
        .map(|node| (node.name.as_str(), node))
        .collect();
    let sight = Sight::look(layout);
    // Diallers of one ipc endpoint cannot be told apart.
    let mut diallers: BTreeMap<&Endpoint, usize> = BTreeMap::new();
    for wire in wires {
        *diallers.entry(&wire.endpoint).or_default() += 1;
    }
    wires
        .iter()
        .map(|wire| {
            let expected = diallers.get(&wire.endpoint).copied().unwrap_or(1);
            let found = judge(wire, &nodes, facts, &sight, expected);
            describe(wire, found, (facts, &sight))
        })
        .collect()
}

fn listener(wire: &Wire) -> &InstanceName {
    if wire.dialler == wire.from {
        &wire.to
    } else {
        &wire.from
    }
}

fn judge(
    wire: &Wire,
    nodes: &BTreeMap<&str, &NodeStatus>,
    facts: &Facts,
    sight: &Sight,
    expected: usize,
) -> Found {
    let gates = [&wire.from_gate, &wire.to_gate];
    let ends = [listener(wire), &wire.dialler];
    for name in ends.into_iter().chain(gates.into_iter().flatten()) {
        match nodes.get(name.as_str()) {
            Some(node) if is_elsewhere(node) => {}
            Some(node) if node.pid.is_none() && node.kind != "external" => {
                return down(not_running(node));
            }
            Some(_) => {}
            None => return down(format!("{name} is not in the plan")),
        }
    }
    let is_far = |name: &InstanceName| nodes.get(name.as_str()).is_some_and(|it| is_elsewhere(it));
    if ends.into_iter().all(is_far) {
        return Found {
            state: WireState::Unknown,
            reason: Some("it is between other hosts".to_owned()),
        };
    }
    if let Some(judged) = gated::judge(wire, facts) {
        return judged.map_or_else(down, |()| connected(None));
    }
    if let Some(state) = dial_state(wire, facts) {
        return dialled(wire, state, facts);
    }
    match refused::heard(wire, listener(wire), facts) {
        Some(Heard::Admitted) => connected(None),
        Some(Heard::Refused(words)) => down(words),
        Some(Heard::Absent) if is_far(&wire.dialler) => {
            down(format!("{} has not dialled from its host", wire.dialler))
        }
        Some(Heard::Absent) => match by_kernel(wire, sight, expected) {
            Found {
                state: WireState::Connected,
                ..
            } => down("connected, and not admitted yet"),
            found => found,
        },
        None if connection_from(wire, facts, sight).is_some() => connected(None),
        None => by_kernel(wire, sight, expected),
    }
}

/// What the kernel knows of a wire whose ends say nothing of it.
fn by_kernel(wire: &Wire, sight: &Sight, expected: usize) -> Found {
    match &wire.endpoint {
        Endpoint::Tcp { .. } => over_tcp(wire, sight),
        Endpoint::Ipc { path } => match sight.listening_unix.get(path) {
            None => down(format!("nobody listens on {}", wire.endpoint)),
            Some(_) => match sight.accepted_unix.get(path).copied().unwrap_or(0) {
                0 => down("never dialled"),
                count if count >= expected => connected(None),
                count => Found {
                    state: WireState::Unknown,
                    reason: Some(format!("{count} of {expected} diallers are connected")),
                },
            },
        },
    }
}

/// Whether another host starts it: here it has never entered a state.
fn is_elsewhere(node: &NodeStatus) -> bool {
    node.pid.is_none() && node.since == 0 && node.kind != "external"
}

fn not_running(node: &NodeStatus) -> String {
    match node.reason.as_deref() {
        Some(why) => format!("{} is not running ({}: {why})", node.name, node.state),
        None => format!("{} is not running ({})", node.name, node.state),
    }
}

/// What a dialling role says of this wire.
fn dial_state<'a>(wire: &Wire, facts: &'a Facts) -> Option<&'a str> {
    let peers = facts.get(&wire.dialler)?.get("peers")?.as_array()?;
    let listener = listener(wire).as_str();
    let peer = peers.iter().find(|peer| peer["name"] == listener)?;
    peer["state"].as_str()
}

fn dialled(wire: &Wire, state: &str, facts: &Facts) -> Found {
    let (listener, dialler) = (listener(wire), &wire.dialler);
    match state {
        "connected" => connected(None),
        "never-dialled" => down("never dialled"),
        "nobody-listens" => down(format!("nobody listens on {}", wire.endpoint)),
        "not-zmtp" => down(format!(
            "who listens on {} does not speak ZMTP",
            wire.endpoint
        )),
        "speaks-null" => down(format!("{listener} speaks NULL, not CURVE")),
        "speaks-curve" => down(format!("{listener} speaks CURVE, not NULL")),
        "wrong-server-key" => down(format!(
            "wrong server key: {listener} has another key than {dialler} expects"
        )),
        "no-key" => down(format!("the key of {listener} is not here, or is revoked")),
        "key-refused" => down(
            refused::why(wire, listener, facts)
                .filter(|why| why.starts_with(&format!("{listener} refused {dialler}:")))
                .unwrap_or_else(|| format!("{listener} does not admit the key of {dialler}")),
        ),
        other => down(other.replace('-', " ")),
    }
}

fn over_tcp(wire: &Wire, sight: &Sight) -> Found {
    let Some(address) = socket_address(&wire.endpoint) else {
        return Found {
            state: WireState::Unknown,
            reason: Some("a host name cannot be compared with the kernel's tables".to_owned()),
        };
    };
    let connection = sight.connections.iter().find(|connection| {
        connection.remote == address && sight.owners.get(&connection.inode) == Some(&wire.dialler)
    });
    let listeners: Vec<&Listening> = sight
        .listening
        .iter()
        .filter(|listening| listening.covers(address))
        .collect();
    let Some(first) = listeners.first() else {
        return down(format!("nobody listens on {}", wire.endpoint));
    };
    let expected = listener(wire);
    let is_ours = listeners
        .iter()
        .any(|at| sight.owners.get(&at.inode) == Some(expected));
    if !is_ours {
        let holder = match sight.owners.get(&first.inode) {
            Some(other) => format!("{other} listens"),
            None => match procfs::holder(first.inode) {
                Some((pid, name)) => format!("process {pid} ({name}) listens"),
                None => "somebody else listens".to_owned(),
            },
        };
        return down(format!("{holder} on {}, not {expected}", wire.endpoint));
    }
    match connection {
        Some(near) if sight.unheard.contains(&(near.remote, near.local)) => down(format!(
            "no handshake: {expected} does not read what is sent"
        )),
        Some(_) => connected(Some(
            "a TCP connection is there; its handshake is not seen from outside",
        )),
        None => down("never dialled"),
    }
}

fn socket_address(endpoint: &Endpoint) -> Option<SocketAddr> {
    match endpoint {
        Endpoint::Tcp { host, port } if host == "localhost" => {
            Some(SocketAddr::from(([127, 0, 0, 1], *port)))
        }
        Endpoint::Tcp { host, port } => Some(SocketAddr::new(host.parse().ok()?, *port)),
        Endpoint::Ipc { .. } => None,
    }
}

fn describe(wire: &Wire, found: Found, (facts, sight): (&Facts, &Sight)) -> WireStatus {
    let connection = connection(wire, facts).or_else(|| connection_from(wire, facts, sight));
    let counts = gated::counts(wire, facts).unwrap_or_else(|| counts(wire, facts, connection));
    WireStatus {
        link: wire.link.to_string(),
        from: wire.from.to_string(),
        to: wire.to.to_string(),
        pattern: wire.pattern.to_string(),
        endpoint: wire.endpoint.to_string(),
        state: found.state,
        mechanism: wire.mechanism.clone(),
        messages: counts.messages,
        bytes: counts.bytes,
        queued: counts.queued,
        dropped: counts.dropped,
        reason: found.reason,
        conn: connection.and_then(|it| it["conn"].as_u64()),
    }
}

/// What the listening role counts of a wire.
fn counts(wire: &Wire, facts: &Facts, connection: Option<&Value>) -> Counts {
    let count = |key: &str| connection?.get(key)?.as_u64();
    let in_out = |a: &str, b: &str| {
        Some(InOut {
            r#in: count(a)?,
            out: count(b)?,
        })
    };
    let mut dropped = match connection.and_then(|connection| connection.get("dropped")) {
        Some(Value::Object(dropped)) => dropped.clone(),
        _ => Map::new(),
    };
    dropped.extend(fanned(wire, facts, connection).unwrap_or_default());
    Counts {
        messages: in_out("messages_in", "messages_out"),
        bytes: in_out("bytes_in", "bytes_out"),
        queued: count("queued_bytes"),
        dropped,
    }
}

/// What a bus dropped of what it fanned out to a subscriber, by reason.
fn fanned(wire: &Wire, facts: &Facts, connection: Option<&Value>) -> Option<Map<String, Value>> {
    let subscribers = facts.get(listener(wire))?["fan"]["subscribers"].as_array()?;
    let conn = connection?.get("conn")?;
    let subscriber = subscribers.iter().find(|it| it["conn"] == *conn)?;
    subscriber["dropped"].as_object().cloned()
}

/// The connection of a program's wire: the kernel says which process holds its far end.
fn connection_from<'a>(wire: &Wire, facts: &'a Facts, sight: &Sight) -> Option<&'a Value> {
    let connections = facts.get(listener(wire))?.get("connections")?.as_array()?;
    let address = socket_address(&wire.endpoint)?;
    let is_its = |connection: &&Connection| {
        connection.remote == address && sight.owners.get(&connection.inode) == Some(&wire.dialler)
    };
    let mut ends = sight.connections.iter().filter(is_its);
    ends.find_map(|end| {
        let near = end.local.to_string();
        let mut connections = connections.iter();
        connections.find(|it| it["peer_address"] == near && it["handshake_done"] == true)
    })
}

/// The connection of a wire as its listening role counts it: our diallers call themselves
/// `NAME#PID.N`, and under CURVE everybody is told by the key.
fn connection<'a>(wire: &Wire, facts: &'a Facts) -> Option<&'a Value> {
    let connections = facts.get(listener(wire))?.get("connections")?.as_array()?;
    let prefix = format!("{}#", wire.dialler);
    let is_its = |connection: &&Value| {
        connection["who"] == wire.dialler.as_str()
            || connection["identity"]
                .as_str()
                .is_some_and(|identity| identity.starts_with(&prefix))
    };
    connections.iter().rfind(is_its)
}
