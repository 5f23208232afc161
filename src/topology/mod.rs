//! Floor 5: what a manifest means. Names are resolved, instances are spread out, sockets are
//! derived, ports are numbered.
//!
//! [`resolve::resolve`] never fails: what it cannot make sense of is kept (dangling names, ports
//! without a number) for [`checks`] to report, so that one run shows all faults. Nothing here reads
//! a file or asks the machine; what is known of the machine comes in as [`facts::Facts`].

pub mod checks;
pub mod expand;
pub mod facts;
pub mod feedback;
pub mod gates;
pub mod guards;
pub mod paths;
pub mod resolve;
pub mod sockets;

pub mod legs;
mod nodes;
mod policies;
pub mod ports;
#[cfg(test)]
pub(crate) mod sample;

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::PathBuf;

use serde_json::Value;

use crate::manifest::link::LinkDecl;
use crate::manifest::node::{AfterCondition, EnvDecl, NodeDecl};
use crate::manifest::peers::Member;
use crate::manifest::topology::{Ordered, TopologyDecl};
use crate::model::layout::Layout;
use crate::model::limits::WireLimits;
use crate::model::name::{InstanceName, LinkName, NodeName, TopologyName};
use crate::model::policy::{Logs, Probe, ProcessLimits, Restart, Stop};
use crate::model::socket::{Mode, Pattern, Side, SocketType};
use crate::roles::{Kind, Role};
use crate::source::path::Path;

/// One file of a compilation: the manifest itself, or one use of an included one.
#[derive(Debug, Clone)]
pub struct Unit {
    /// What stands before its names: empty for the manifest itself, else `PREFIX.`.
    pub prefix: String,
    /// The top of its file.
    pub top: Path,
    /// The directory its paths are relative to, absolute.
    pub dir: PathBuf,
    /// What is written in it, variables already replaced.
    pub decl: TopologyDecl,
    /// The values of its variables, for `when`.
    pub vars: BTreeMap<String, Value>,
    /// The members of each `peers.json` that it imports, by the name it is written under.
    pub imports: BTreeMap<String, Vec<Member>>,
    /// Whether it is a bare `peers.json`, which has no words for encryption.
    pub is_bare: bool,
}

/// A manifest, resolved.
#[derive(Debug, Clone)]
pub struct Topology {
    /// The identity of the network on a machine.
    pub name: TopologyName,
    /// The manifest, absolute.
    pub manifest: PathBuf,
    /// Its files, the manifest itself first.
    pub units: Vec<Unit>,
    /// Where the network keeps its files and sockets on this machine.
    pub layout: Layout,
    /// Where instances are.
    pub places: Vec<Place>,
    /// The host that is acted for, where the manifest has hosts.
    pub host: Option<String>,
    /// Whether that is only because there is no other, and not known of this machine.
    pub is_host_assumed: bool,
    /// What runs, in written order.
    pub nodes: Vec<Node>,
    /// Every instance, in the order of nodes.
    pub instances: Vec<Instance>,
    /// Who may talk to whom, in written order.
    pub links: Vec<Link>,
    /// The direct halves of links: one a link, two where a broker stands between.
    pub legs: Vec<Leg>,
    /// The local gates beside programs, in the order of their instances.
    pub gates: Vec<gates::Gate>,
    /// Names that lead nowhere.
    pub dangling: Vec<Dangling>,
    /// `--curve`, which overrides what is written under `security`.
    pub curve_override: Option<crate::manifest::topology::CurveMode>,
    /// Where each program is, by what is written and made absolute; empty while nothing was asked
    /// of the machine.
    pub programs: BTreeMap<PathBuf, PathBuf>,
    /// Of which kind of node the stores are that there are on this host, by their directories.
    pub kept: BTreeMap<PathBuf, String>,
    node_index: HashMap<String, usize>,
    link_index: HashMap<String, usize>,
    /// Which of a node's `listens` a leg ends at.
    listen_index: HashMap<(usize, usize), usize>,
    /// Which door of which gate a wire passes.
    doors: gates::Doors,
}

/// Where instances are: a host of the manifest, this machine, or an address of a `peers.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its name under `hosts`.
    pub host: Option<String>,
    /// What others dial.
    pub address: String,
    /// What is listened on.
    pub bind: String,
    /// Whether it is the machine, or the host, that is acted for.
    pub is_here: bool,
    /// Places with the same number are one machine.
    pub machine: usize,
    /// Whether everything binds `bind`, even where no wire leaves the machine.
    pub is_literal: bool,
}

/// What runs, resolved.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its name, include prefixes and all.
    pub name: NodeName,
    /// What it is.
    pub kind: Kind,
    /// Where it is written.
    pub at: Path,
    /// The file it is written in, an index into `Topology::units`.
    pub unit: usize,
    /// What is written.
    pub decl: NodeDecl,
    /// Its instances, indices into `Topology::instances`.
    pub instances: Range<usize>,
    /// Its policies, nothing left open.
    pub policies: Policies,
    /// What must hold before it starts.
    pub after: Vec<After>,
    /// The legs it stands on, indices into `Topology::legs`, and on which side.
    pub ends: Vec<(usize, Side)>,
    /// Its listening sockets, in the order that ports are numbered.
    pub listens: Vec<Listen>,
}

/// The policies of a node.
#[derive(Debug, Clone)]
pub struct Policies {
    /// How its instances show that they are alive; `how` is decided for each instance.
    pub probe: Probe,
    /// When they are started again.
    pub restart: Restart,
    /// How they are asked to end.
    pub stop: Stop,
    /// Where their output goes.
    pub logs: Logs,
    /// Limits of their processes.
    pub limits: ProcessLimits,
    /// Limits of their listening sockets, where those are ours.
    pub wire: WireLimits,
}

/// A node that must be in a condition first.
#[derive(Debug, Clone)]
pub struct After {
    /// The node, an index into `Topology::nodes`.
    pub node: usize,
    /// The condition.
    pub condition: AfterCondition,
    /// Where it is written.
    pub at: Path,
}

/// One process to be.
#[derive(Debug, Clone)]
pub struct Instance {
    /// Its name, unique in the topology.
    pub name: InstanceName,
    /// Its node, an index into `Topology::nodes`.
    pub node: usize,
    /// Its position among the node's instances.
    pub index: u32,
    /// Where it is, an index into `Topology::places`.
    pub place: usize,
    /// Where it is written.
    pub at: Path,
    /// Its own first port, where one is written for it alone.
    pub port: Option<(u16, Path)>,
    /// Its own environment, beside its node's.
    pub env: Ordered<EnvDecl>,
    /// How much later than the others it starts.
    pub late_ms: Option<u64>,
    /// Its port numbers, one for each of the node's `listens`.
    pub numbers: Vec<Number>,
    /// Its gate, an index into `Topology::gates`.
    pub gate: Option<usize>,
}

/// The number of a listening port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Number {
    /// The number; 0 where none could be found.
    pub port: u16,
    /// Why it is this one.
    pub why: Why,
    /// Who holds it on this machine, when that is neither we nor nobody.
    pub holder: Option<facts::Holder>,
}

/// Why a port has its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// It is written here.
    Written(Path),
    /// The network had it before.
    Pinned,
    /// It was the lowest free one.
    Chosen,
    /// The socket has no TCP port.
    Without,
    /// The range has none left, or the written ones run past 65535.
    Exhausted,
}

/// A listening socket of a node: all its instances have one.
#[derive(Debug, Clone)]
pub struct Listen {
    /// The port's name: the role's own, or the socket's or link's.
    pub port: String,
    /// Its type.
    pub ty: SocketType,
    /// The legs that end here.
    pub legs: Vec<usize>,
    /// Whether it listens on TCP.
    pub is_tcp: bool,
    /// Whether it listens on a unix socket.
    pub is_ipc: bool,
    /// Whether a wire of it leaves the machine.
    pub is_beyond: bool,
    /// Whether its wires are encrypted.
    pub is_curve: bool,
}

/// Who may talk to whom, resolved.
#[derive(Debug, Clone)]
pub struct Link {
    /// Its name, include prefixes and all.
    pub name: LinkName,
    /// Where it is written.
    pub at: Path,
    /// The file it is written in.
    pub unit: usize,
    /// What is written.
    pub decl: LinkDecl,
    /// The `from` side, or `among`.
    pub from: Vec<End>,
    /// The `to` side, or `among`.
    pub to: Vec<End>,
    /// The broker between them.
    pub via: Option<End>,
}

/// A node on a side of a link.
#[derive(Debug, Clone)]
pub struct End {
    /// The node, an index into `Topology::nodes`.
    pub node: usize,
    /// Where it is written.
    pub at: Path,
    /// The topic prefixes it asks for; empty is everything.
    pub topics: Vec<String>,
}

/// A link between nodes with nobody between them.
#[derive(Debug, Clone)]
pub struct Leg {
    /// Its link, an index into `Topology::links`.
    pub link: usize,
    /// The link's pattern.
    pub pattern: Pattern,
    /// Who asks, publishes or pushes.
    pub from: Vec<End>,
    /// Who answers, subscribes or pulls.
    pub to: Vec<End>,
    /// Which side listens.
    pub binds: Side,
    /// The type of the `from` side where it is a program's.
    pub from_type: SocketType,
    /// The type of the `to` side where it is a program's.
    pub to_type: SocketType,
    /// Whether it goes through unix sockets.
    pub is_ipc: bool,
    /// Whether it leaves the machine.
    pub is_beyond: bool,
    /// Whether it is encrypted.
    pub is_curve: bool,
}

/// A name that leads nowhere.
#[derive(Debug, Clone)]
pub struct Dangling {
    /// The name, as written.
    pub name: String,
    /// What it should have been the name of.
    pub of: Named,
    /// Where it is written.
    pub at: crate::diagnostics::At,
    /// The file it is written in, an index into `Topology::units`.
    pub unit: usize,
}

/// What a name can be the name of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    /// A node.
    Node,
    /// A host.
    Host,
}

impl Named {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Host => "host",
        }
    }
}

impl Node {
    /// The row of its kind.
    pub fn role(&self) -> &'static Role {
        self.kind.role()
    }

    /// Whether it is a program of somebody else's: its sockets are told to it, not made by us.
    pub fn is_program(&self) -> bool {
        matches!(self.kind, Kind::Command | Kind::External)
    }

    /// Whether it is written without `replicas`.
    pub fn is_single(&self) -> bool {
        self.decl.replicas.is_none()
    }
}

impl Leg {
    /// The ends of a side.
    pub fn ends(&self, side: Side) -> &[End] {
        match side {
            Side::From => &self.from,
            Side::To => &self.to,
        }
    }

    /// Whether the nodes of a side bind or connect.
    pub fn mode(&self, side: Side) -> Mode {
        if self.binds == side {
            Mode::Bind
        } else {
            Mode::Connect
        }
    }
}

/// The other side.
pub fn other(side: Side) -> Side {
    match side {
        Side::From => Side::To,
        Side::To => Side::From,
    }
}

impl Topology {
    /// A node by its full name.
    pub fn node_named(&self, name: &str) -> Option<usize> {
        self.node_index.get(name).copied()
    }

    /// A link by its full name.
    pub fn link_named(&self, name: &str) -> Option<usize> {
        self.link_index.get(name).copied()
    }

    /// The instances of a node.
    pub fn instances_of(&self, node: usize) -> &[Instance] {
        &self.instances[self.nodes[node].instances.clone()]
    }

    /// Where an instance is among all of them.
    pub fn index_of(&self, instance: &Instance) -> usize {
        self.nodes[instance.node].instances.start + instance.index as usize
    }

    /// The place of an instance.
    pub fn place_of(&self, instance: &Instance) -> &Place {
        &self.places[instance.place]
    }

    /// The leg by which a proxy or cache reaches its backend: the one that `backend` names, else the
    /// only one on which it asks.
    pub fn backend_of(&self, node: usize) -> Option<usize> {
        let node = &self.nodes[node];
        let asks = |(leg, side): &(usize, Side)| {
            *side == Side::From && self.legs[*leg].pattern == Pattern::Request
        };
        let mut legs = node
            .ends
            .iter()
            .filter(|end| asks(end))
            .map(|(leg, _)| *leg);
        match &node.decl.role.backend {
            None => legs.next().filter(|_| legs.next().is_none()),
            Some(name) => {
                let full = format!("{}{name}", self.units[node.unit].prefix);
                legs.find(|leg| self.links[self.legs[*leg].link].name.as_str() == full)
            }
        }
    }

    /// The name of a listening socket or socket of a program for a leg: the socket of `sockets`
    /// that carries the leg's link, else the link's own name.
    pub fn socket_name(&self, node: usize, leg: usize) -> String {
        let link = &self.links[self.legs[leg].link];
        let node = &self.nodes[node];
        let prefix = &self.units[node.unit].prefix;
        let shared = node.decl.sockets.iter().find(|(_, links)| {
            links
                .iter()
                .any(|name| link.name.as_str().strip_prefix(prefix.as_str()) == Some(name))
        });
        shared.map_or_else(
            || link.name.as_str().to_owned(),
            |(name, _)| name.to_owned(),
        )
    }
}
