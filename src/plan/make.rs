//! A checked [`Topology`] becomes a [`Plan`].
//!
//! This cannot fail and chooses nothing: names, ports and endpoints were settled by `topology`, and
//! whatever can be wrong with them was found by its checks.

mod driven;

use std::collections::{BTreeMap, HashSet};
use std::path::{Path as FsPath, PathBuf};

use super::{After, Condition, Exec, Instance, Origin, PLAN_VERSION, Plan, Port, Process, Run};
use super::{Socket, Wire, buses, digest, gates, order, unbuilt};
use crate::manifest::node::{AfterCondition, EnvDecl, RunDecl};
use crate::manifest::topology::Ordered;
use crate::model::endpoint::Endpoint;
use crate::model::policy::{Probe, ProbeHow};
use crate::model::socket::{Mode, Side};
use crate::roles::{self, Kind, echo, replica};
use crate::source::path::Path;
use crate::topology::expand::Scope;
use crate::topology::paths::{absolute, program};
use crate::topology::{self, Topology, Why, guards, sockets};

/// How long a broadcast waits for a member that is connected and silent.
const BROADCAST_MS: u64 = 1_000;

/// Makes the plan. `origin` turns a path into a place for faults that are found while running.
pub fn make(topology: &Topology, origin: &dyn Fn(&Path) -> Origin) -> Plan {
    let maker = Maker {
        topology,
        origin,
        ranks: order::ranks(topology),
    };
    let mut plan = Plan {
        version: PLAN_VERSION,
        topology: topology.name.clone(),
        manifest: topology.manifest.clone(),
        digest: String::new(),
        host: topology.host.clone(),
        instances: topology
            .instances
            .iter()
            .enumerate()
            .flat_map(|(index, instance)| {
                let gate = topology.gate_of(index);
                let gate = gate.map(|gate| gates::instance(topology, gate, origin));
                gate.into_iter().chain([maker.instance(instance)])
            })
            .collect(),
        wires: maker.wires(),
        keys: maker.keys(),
        unbuilt: unbuilt::of(topology, origin),
    };
    plan.digest = digest::digest(&plan);
    plan
}

struct Maker<'a> {
    topology: &'a Topology,
    origin: &'a dyn Fn(&Path) -> Origin,
    ranks: Vec<u16>,
}

impl Maker<'_> {
    fn instance(&self, instance: &topology::Instance) -> Instance {
        let node = &self.topology.nodes[instance.node];
        let scope = Scope::new(self.topology, instance);
        Instance {
            name: instance.name.clone(),
            node: node.name.clone(),
            kind: node.kind,
            index: instance.index,
            origin: (self.origin)(&instance.at),
            process: self.process(instance, &scope),
            ports: self.ports(instance),
            sockets: scope.sockets().iter().map(Socket::from).collect(),
        }
    }

    fn ports(&self, instance: &topology::Instance) -> Vec<Port> {
        let node = &self.topology.nodes[instance.node];
        let mut ports = Vec::new();
        for (position, (listen, number)) in node.listens.iter().zip(&instance.numbers).enumerate() {
            let origin = match &number.why {
                Why::Written(at) => (self.origin)(at),
                Why::Pinned | Why::Chosen | Why::Without | Why::Exhausted => {
                    (self.origin)(&instance.at)
                }
            };
            let index = self.topology.index_of(instance);
            if let Some((port, inner)) = gates::inner_port(self.topology, index, position) {
                ports.push(Port {
                    port,
                    bind: inner.clone(),
                    address: inner,
                    origin: (self.origin)(&instance.at),
                    guarded: None,
                });
                continue;
            }
            let (bind, address) = sockets::endpoints(self.topology, instance, position);
            let guarded = guards::listener(self.topology, instance, position);
            ports.extend(bind.into_iter().zip(address).map(|(bind, address)| Port {
                port: listen.port.clone(),
                bind,
                address,
                origin: origin.clone(),
                guarded: guarded.clone(),
            }));
        }
        ports
    }

    /// How an instance runs here; nothing where somebody else, or another host, starts it, or where
    /// its kind is not built yet.
    fn process(&self, instance: &topology::Instance, scope: &Scope<'_>) -> Option<Process> {
        let node = &self.topology.nodes[instance.node];
        if !self.is_started_here(instance) {
            return None;
        }
        let text = |text: &str| expanded(scope, text);
        let dir = &self.topology.units[node.unit].dir;
        let cwd = node
            .decl
            .cwd
            .as_deref()
            .map_or_else(|| dir.clone(), |cwd| absolute(dir, FsPath::new(&text(cwd))));
        let exec = self.exec(instance, scope)?;
        let mut env = BTreeMap::new();
        let mut env_files = BTreeMap::new();
        let mut set = |decl: &Ordered<EnvDecl>| {
            for (key, value) in decl.iter() {
                match value {
                    EnvDecl::Text(value) => {
                        env.insert(key.to_owned(), text(value));
                    }
                    EnvDecl::File(file) => {
                        let path = absolute(dir, FsPath::new(&text(&file.file)));
                        env_files.insert(key.to_owned(), path);
                    }
                }
            }
        };
        set(&node.decl.env);
        set(&instance.env);
        env.extend(self.told(instance, scope));
        Some(Process {
            exec,
            cwd,
            env,
            env_files,
            run: match node.decl.run.unwrap_or(RunDecl::Always) {
                RunDecl::Always => Run::Always,
                RunDecl::Once => Run::Once,
                RunDecl::Manual => Run::Manual,
            },
            rank: self.ranks[instance.node],
            after: self.after(node),
            late_ms: instance.late_ms,
            probe: self.probe(instance, scope),
            restart: node.policies.restart,
            stop: node.policies.stop.clone(),
            logs: node.policies.logs.clone(),
            limits: node.policies.limits.clone(),
        })
    }

    fn is_started_here(&self, instance: &topology::Instance) -> bool {
        let kind = self.topology.nodes[instance.node].kind;
        self.topology.place_of(instance).is_here && kind != Kind::External
    }

    fn exec(&self, instance: &topology::Instance, scope: &Scope<'_>) -> Option<Exec> {
        let node = &self.topology.nodes[instance.node];
        match node.kind {
            Kind::Replica => Some(Exec::Role(roles::Config::Replica(self.replica(instance)))),
            Kind::Echo => {
                let common = self.common(instance);
                Some(Exec::Role(roles::Config::Echo(echo::Config { common })))
            }
            Kind::Proxy => Some(Exec::Role(roles::Config::Proxy(self.proxy(instance)))),
            Kind::Cache => Some(Exec::Role(roles::Config::Cache(self.cache(instance)))),
            Kind::Feedback => {
                let config = self.feedback(instance);
                Some(Exec::Role(roles::Config::Feedback(config)))
            }
            Kind::Queue => Some(Exec::Role(roles::Config::Queue(self.queue(instance)))),
            Kind::Stream => {
                let config = self.stream(instance);
                Some(Exec::Role(roles::Config::Stream(config)))
            }
            Kind::Kv => Some(Exec::Role(roles::Config::Kv(self.kv(instance)))),
            Kind::Command => {
                let command = node.decl.command.iter().flatten();
                let args: Vec<String> = command.map(|arg| expanded(scope, arg)).collect();
                let written = args.first().map(String::as_str).unwrap_or_default();
                let key = program(&self.topology.units[node.unit].dir, written);
                let program = self.topology.programs.get(&key).unwrap_or(&key).clone();
                Some(Exec::Program { program, args })
            }
            Kind::Bus => {
                let common = self.common(instance);
                let config = buses::config(self.topology, instance, common);
                Some(Exec::Role(roles::Config::Bus(config)))
            }
            Kind::Spool => {
                let config = Box::new(self.spool(instance, scope));
                Some(Exec::Role(roles::Config::Spool(config)))
            }
            Kind::Peer | Kind::Lighthouse | Kind::External | Kind::Gate => None,
        }
    }

    fn replica(&self, instance: &topology::Instance) -> replica::Config {
        let node = &self.topology.nodes[instance.node];
        let mut peers = Vec::new();
        let mut known = HashSet::new();
        for (leg_index, side) in &node.ends {
            let leg = &self.topology.legs[*leg_index];
            if leg.pattern.is_symmetric() && *side == Side::From {
                for peer in sockets::peers(self.topology, instance, *leg_index, Side::From) {
                    if known.insert(&peer.name) {
                        let endpoint = sockets::dial(self.topology, peer, *leg_index);
                        peers.push((peer.name.clone(), endpoint));
                    }
                }
            }
        }
        let ports = self.ports(instance);
        replica::Config {
            name: instance.name.clone(),
            guarded: ports.first().and_then(|port| port.guarded.clone()),
            listen: ports.into_iter().map(|port| port.bind).collect(),
            peers,
            health: self.topology.layout.health(instance.name.as_str()),
            broadcast_ms: BROADCAST_MS,
            limits: Box::new(node.policies.wire.clone()),
        }
    }

    /// What a program is told of itself and of its sockets.
    fn told(&self, instance: &topology::Instance, scope: &Scope<'_>) -> Vec<(String, String)> {
        if !self.topology.nodes[instance.node].is_program() {
            return Vec::new();
        }
        let mut env = scope.env();
        let layout = &self.topology.layout;
        let path = |path: PathBuf| path.to_string_lossy().into_owned();
        let name = instance.name.as_str();
        env.push(("ZMQNET_SOCKETS".to_owned(), path(layout.told_file(name))));
        // A gate has the keys of what it speaks for.
        let is_keyed =
            |socket: &sockets::Socket| socket.guarded.is_some() || !socket.servers.is_empty();
        if scope.sockets().iter().any(is_keyed) {
            env.push(("ZMQNET_KEYS".to_owned(), path(layout.keys_file(name))));
        }
        if scope
            .sockets()
            .iter()
            .any(|socket| !socket.peers.is_empty())
        {
            env.push(("PEERS_PATH".to_owned(), path(layout.peers_file(name))));
        }
        env
    }

    fn after(&self, node: &topology::Node) -> Vec<After> {
        node.after
            .iter()
            .map(|after| After {
                instances: self
                    .topology
                    .instances_of(after.node)
                    .iter()
                    .filter(|instance| self.is_started_here(instance))
                    .map(|instance| instance.name.clone())
                    .collect(),
                condition: match after.condition {
                    AfterCondition::Started => Condition::Started,
                    AfterCondition::Ready => Condition::Ready,
                    AfterCondition::Linked => Condition::Linked,
                    AfterCondition::Done => Condition::Done,
                },
            })
            .filter(|after| !after.instances.is_empty())
            .collect()
    }

    fn probe(&self, instance: &topology::Instance, scope: &Scope<'_>) -> Probe {
        let node = &self.topology.nodes[instance.node];
        Probe {
            how: self.probe_how(instance, scope),
            ..node.policies.probe.clone()
        }
    }

    fn probe_how(&self, instance: &topology::Instance, scope: &Scope<'_>) -> ProbeHow {
        let node = &self.topology.nodes[instance.node];
        let text = |text: &str| expanded(scope, text);
        let layout = &self.topology.layout;
        if !node.is_program() {
            let endpoint = layout.health(instance.name.as_str());
            return ProbeHow::Health { endpoint };
        }
        let Some(decl) = &node.decl.probe else {
            return ProbeHow::Alive;
        };
        if let Some(leg) = sockets::probed_leg(self.topology, instance.node) {
            let send = decl.send.as_deref().map_or_else(|| "PING".to_owned(), text);
            let expect = decl.expect.as_deref().map(text);
            let secured = guards::probe(self.topology, instance, leg).map(Box::new);
            return match self.topology.legs[leg].mode(Side::To) {
                Mode::Bind => ProbeHow::Request {
                    endpoint: sockets::probed(self.topology, instance, leg),
                    send,
                    expect,
                    secured,
                },
                Mode::Connect => ProbeHow::Dialled {
                    endpoint: layout.prober(instance.name.as_str()),
                    send,
                    expect,
                    secured,
                },
            };
        }
        if let Some(command) = &decl.exec {
            let command = command.iter().map(|arg| text(arg)).collect();
            return ProbeHow::Exec { command };
        }
        if let Some(port) = decl.tcp {
            let endpoint = Endpoint::tcp("127.0.0.1", port);
            return ProbeHow::Tcp { endpoint };
        }
        if let Some(url) = &decl.http {
            return ProbeHow::Http { url: text(url) };
        }
        if decl.notify == Some(true) {
            return ProbeHow::Notify;
        }
        match &decl.log {
            Some(regex) => ProbeHow::Log { regex: text(regex) },
            None => ProbeHow::Alive,
        }
    }

    /// The key directory, where anything is encrypted.
    fn keys(&self) -> Option<PathBuf> {
        let mut instances = self.topology.instances.iter();
        let is_any = instances.any(|instance| self.topology.needs_key(instance));
        is_any.then(|| self.topology.keys_dir())
    }

    fn wires(&self) -> Vec<Wire> {
        let mut wires = Vec::new();
        for (index, leg) in self.topology.legs.iter().enumerate() {
            let link = &self.topology.links[leg.link];
            let instances = |side: Side| {
                leg.ends(side)
                    .iter()
                    .flat_map(|end| self.topology.instances_of(end.node))
            };
            for from in instances(Side::From) {
                for to in instances(Side::To).filter(|to| to.name != from.name) {
                    let (binder, dialler) = match leg.binds {
                        Side::From => (from, to),
                        Side::To => (to, from),
                    };
                    let (from_index, to_index) =
                        (self.topology.index_of(from), self.topology.index_of(to));
                    let gate = |own: (usize, Side), peer: usize| {
                        let gate = self.topology.gate_on(own, index, peer);
                        gate.map(|gate| gate.name.clone())
                    };
                    wires.push(Wire {
                        from_gate: gate((from_index, Side::From), to_index),
                        to_gate: gate((to_index, Side::To), from_index),
                        link: link.name.clone(),
                        from: from.name.clone(),
                        to: to.name.clone(),
                        pattern: leg.pattern,
                        endpoint: sockets::dial(self.topology, binder, index),
                        dialler: dialler.name.clone(),
                        types: (
                            sockets::type_of(self.topology, index, Side::From, from.node),
                            sockets::type_of(self.topology, index, Side::To, to.node),
                        ),
                        mechanism: if leg.is_curve { "CURVE" } else { "NULL" }.to_owned(),
                    });
                }
            }
        }
        wires
    }
}

fn expanded(scope: &Scope<'_>, text: &str) -> String {
    scope
        .text(text)
        .expect("checks::expressions found no fault in it")
}

impl From<&sockets::Socket> for Socket {
    fn from(socket: &sockets::Socket) -> Self {
        Self {
            env: socket.env.clone(),
            links: socket.links.clone(),
            ty: socket.ty,
            mode: socket.mode,
            endpoints: socket.endpoints.clone(),
            topics: socket.topics.clone(),
            peers: socket.peers.clone(),
            guarded: socket.guarded.clone(),
            servers: socket.servers.clone(),
        }
    }
}

#[cfg(test)]
#[path = "make_tests.rs"]
mod tests;
