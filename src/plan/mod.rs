//! Floor 6: the Plan, the narrow waist between compiler and runner.
//!
//! Plain, versioned, serialisable data with no choice left in it: every process, every socket,
//! every wire, every policy. The runner obeys it; exports print it; the diff of two of them is what
//! `apply` does. It holds no time, no random id and no secret: the same inputs give the same bytes.

mod admitted;
mod buses;
pub mod change;
pub mod diff;
pub mod digest;
mod gates;
pub mod make;
mod mesh;
pub mod order;
pub mod told;
pub mod unbuilt;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize};

use crate::model::endpoint::Endpoint;
use crate::model::key::PublicKey;
use crate::model::name::{InstanceName, LinkName, NodeName, TopologyName};
pub use crate::model::policy::{Condition, Run};
use crate::model::policy::{Logs, Probe, ProcessLimits, Restart, Stop};
use crate::model::security::{Admitted, Guarded, Server};
use crate::model::socket::{Mode, Pattern, SocketType};
use crate::roles::{self, Kind, ROLES, gate};

/// The version of the Plan's own format.
pub const PLAN_VERSION: u32 = 1;

/// Everything the runner needs to know about a topology.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The version of this format.
    pub version: u32,
    /// The identity of the network on this machine.
    pub topology: TopologyName,
    /// The manifest this was made from, absolute: the same name from another file is refused.
    pub manifest: PathBuf,
    /// A digest of everything below; two plans with the same digest do the same.
    pub digest: String,
    /// The host whose share `apply` starts; absent where the manifest has no hosts.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub host: Option<String>,
    /// Every instance of the topology, those of other hosts too, in manifest order.
    pub instances: Vec<Instance>,
    /// Every wire, in the order of links and instances.
    pub wires: Vec<Wire>,
    /// The key directory, absolute, where anything is encrypted.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub keys: Option<PathBuf>,
    /// What this version plans but cannot run yet; `apply` starts nothing while there is any.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub unbuilt: Vec<Unbuilt>,
}

/// Something the manifest asks for that this version plans but cannot run yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unbuilt {
    /// The key or kind, in words: ``kind `bus` ``.
    pub what: String,
    /// Where it is written.
    pub origin: Origin,
}

/// Where in the manifest something is written, for faults found while running.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Origin {
    /// The file, absolute.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
    /// The path within the file, such as `nodes.bravo.port`.
    pub path: String,
}

/// One process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// Its name, unique in the topology.
    pub name: InstanceName,
    /// Its node.
    pub node: NodeName,
    /// What it is.
    #[serde(deserialize_with = "kind_by_name")]
    pub kind: Kind,
    /// Its position among the instances of its node, from 0.
    pub index: u32,
    /// Where it is written.
    pub origin: Origin,
    /// How it runs on this machine; absent for external nodes, those of other hosts and
    /// kinds that are not built yet.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub process: Option<Process>,
    /// Its listening sockets.
    pub ports: Vec<Port>,
    /// The sockets a program is given in its environment.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub sockets: Vec<Socket>,
}

impl Instance {
    /// Whose keys it uses: its own where a socket of it is encrypted, its program's where it is a
    /// gate.
    pub fn keys_used(&self) -> BTreeSet<&InstanceName> {
        let ports = self.ports.iter().flat_map(|port| &port.guarded);
        let mut used: BTreeSet<&InstanceName> = ports.map(|guarded| &guarded.name).collect();
        let is_secured = |it: &Socket| it.guarded.is_some() || !it.servers.is_empty();
        if self.sockets.iter().any(is_secured) {
            used.insert(&self.name);
        }
        if let Some(gate) = self.gate() {
            let is_secured = |door: &gate::Door| match &door.outer {
                gate::Outer::Listens { guarded, .. } => guarded.is_some(),
                gate::Outer::Dials { server, .. } => server.is_some(),
            };
            if gate.doors.iter().any(is_secured) {
                used.insert(&gate.program);
            }
        }
        used
    }

    /// Whom it meets under CURVE: those it admits and those it dials.
    pub fn met(&self) -> Vec<&Admitted> {
        let ports = self.ports.iter().flat_map(|port| &port.guarded);
        let servers = self.sockets.iter().flat_map(|socket| &socket.servers);
        let mut met: Vec<&Admitted> = ports.flat_map(|guarded| &guarded.allow).collect();
        met.extend(servers.map(|server| &server.is));
        for door in self.gate().iter().flat_map(|gate| &gate.doors) {
            match &door.outer {
                gate::Outer::Listens { guarded, .. } => {
                    met.extend(guarded.iter().flat_map(|guarded| &guarded.allow));
                }
                gate::Outer::Dials { server, .. } => met.extend(server),
            }
        }
        met
    }

    fn gate(&self) -> Option<&gate::Config> {
        match &self.process.as_ref()?.exec {
            Exec::Role(roles::Config::Gate(config)) => Some(config),
            Exec::Role(_) | Exec::Program { .. } => None,
        }
    }
}

/// A plan names every kind, `command` too, which no manifest may write.
fn kind_by_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Kind, D::Error> {
    let name = String::deserialize(deserializer)?;
    let row = ROLES.iter().find(|role| role.name == name);
    row.map(|role| role.kind)
        .ok_or_else(|| serde::de::Error::custom(format!("unknown kind `{name}`")))
}

/// A listening socket of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// The port's name: of the role's port, or the link or socket it belongs to.
    pub port: String,
    /// What it binds.
    pub bind: Endpoint,
    /// What others dial.
    pub address: Endpoint,
    /// Where its number is written, or the instance where it was chosen.
    pub origin: Origin,
    /// Who is admitted, where it is encrypted.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub guarded: Option<Guarded>,
}

/// How an instance runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// What is executed.
    pub exec: Exec,
    /// The working directory, absolute.
    pub cwd: PathBuf,
    /// The environment, complete but for what the runner adds: PATH HOME USER LANG TZ TMPDIR of
    /// whoever applied, `NOTIFY_SOCKET` and the instance tag. `ZMQNET_SOCKETS` and `PEERS_PATH`
    /// name files that the runner writes before it starts the program, from [`told`].
    pub env: BTreeMap<String, String>,
    /// Variables whose values are read from files when the instance starts.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub env_files: BTreeMap<String, PathBuf>,
    /// Kept running, run to its end, or started by hand.
    pub run: Run,
    /// When it starts among the others: every instance of a lower rank is spawned before it; they
    /// are stopped in the reverse order.
    pub rank: u16,
    /// What must hold before it starts.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub after: Vec<After>,
    /// How much later than the others it starts, in milliseconds; `apply` does not wait for it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub late_ms: Option<u64>,
    /// How it shows that it is alive.
    pub probe: Probe,
    /// When it is started again.
    pub restart: Restart,
    /// How it is asked to end.
    pub stop: Stop,
    /// Where its output goes.
    pub logs: Logs,
    /// Limits set before its program starts.
    #[serde(default)]
    pub limits: ProcessLimits,
}

/// What is executed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Exec {
    /// A program of the user's: an absolute path and its arguments.
    Program {
        /// The program, absolute.
        program: PathBuf,
        /// Its name as written, then its arguments.
        args: Vec<String>,
    },
    /// One of our roles, run by this binary.
    Role(crate::roles::Config),
}

/// What must hold before an instance starts: all instances of a node are in a condition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct After {
    /// The instances waited for.
    pub instances: Vec<InstanceName>,
    /// What is waited for.
    pub condition: Condition,
}

/// A socket that a program is given in its environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Socket {
    /// The name in environment form: `TASKS`, `TASKS_IN`, `VOTES_OUT`.
    pub env: String,
    /// The links it carries.
    pub links: Vec<LinkName>,
    /// Its ZeroMQ type.
    #[serde(rename = "type")]
    pub ty: SocketType,
    /// Whether it binds or connects.
    pub mode: Mode,
    /// What it binds or connects to.
    pub endpoints: Vec<Endpoint>,
    /// The topic prefixes a subscriber asks for; empty is everything.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub topics: Vec<String>,
    /// For a mesh: the other members by name.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub peers: Vec<(InstanceName, Endpoint)>,
    /// Who is admitted, where it listens and is encrypted.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub guarded: Option<Guarded>,
    /// Whose key is at which endpoint, where it dials and is encrypted.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub servers: Vec<Server>,
}

impl Socket {
    /// The socket without what may change while its program runs: who is admitted.
    pub fn fixed(&self) -> Self {
        let guarded = self.guarded.as_ref().map(|guarded| Guarded {
            allow: Vec::new(),
            ..guarded.clone()
        });
        Self {
            guarded,
            ..self.clone()
        }
    }
}

/// One planned connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wire {
    /// The link it belongs to.
    pub link: LinkName,
    /// Who asks, publishes or pushes.
    pub from: InstanceName,
    /// Who answers, subscribes or pulls; a broker where there is one.
    pub to: InstanceName,
    /// The link's pattern.
    pub pattern: Pattern,
    /// Where one end listens.
    pub endpoint: Endpoint,
    /// Which of `from` and `to` dials.
    pub dialler: InstanceName,
    /// The socket types of `from` and `to`.
    pub types: (SocketType, SocketType),
    /// `NULL` or `CURVE`.
    pub mechanism: String,
    /// The gate beside `from` that it passes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub from_gate: Option<InstanceName>,
    /// The gate beside `to` that it passes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub to_gate: Option<InstanceName>,
}

impl Plan {
    /// The plan of a topology in which nothing runs: what a first `apply` is the difference from.
    pub fn empty(topology: TopologyName) -> Self {
        Self {
            version: PLAN_VERSION,
            topology,
            manifest: PathBuf::new(),
            digest: String::new(),
            host: None,
            instances: Vec::new(),
            wires: Vec::new(),
            keys: None,
            unbuilt: Vec::new(),
        }
    }

    /// The keys that are written in the manifest, and whose they are.
    pub fn written_keys(&self) -> impl Iterator<Item = (&InstanceName, PublicKey)> {
        let met = self.instances.iter().flat_map(|instance| instance.met());
        met.filter_map(|admitted| Some((&admitted.who, admitted.key?)))
    }

    /// An instance by name.
    pub fn instance(&self, name: &str) -> Option<&Instance> {
        self.instances
            .iter()
            .find(|instance| instance.name.as_str() == name)
    }

    /// The instances of a node, in order.
    pub fn instances_of<'a>(&'a self, node: &'a str) -> impl Iterator<Item = &'a Instance> {
        self.instances
            .iter()
            .filter(move |instance| instance.node.as_str() == node)
    }
}
