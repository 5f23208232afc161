//! What the roles with the common driver are told: what all of them are, and what each is besides.

use std::collections::BTreeMap;

use super::{Maker, Port, expanded};
use crate::manifest::node::{FilterDecl, OnDeadDecl, RetainDecl, StoreMode};
use crate::model::endpoint::Endpoint;
use crate::model::limits;
use crate::model::limits::queue::{AHEAD_MAX, BYTES_MAX};
use crate::model::name::InstanceName;
use crate::model::quantity::Pace;
use crate::model::socket::{Mode, Pattern, Side, SocketType};
use crate::model::store::{Durability, StoreConfig};
use crate::plan::buses;
use crate::roles::Kind;
use crate::roles::backends::Patience;
use crate::roles::machine::{self, Common};
use crate::roles::{cache, feedback, kv, proxy, queue, spool, stream};
use crate::topology::expand::Scope;
use crate::topology::{self, Link, legs, sockets};

/// How long a request waits for its reply, each try, unless its link says otherwise.
const TIMEOUT_MS: u64 = 2_000;
/// Tries of a request in all, unless its link says otherwise.
const TRIES: u32 = 3;
/// How long a worker of a queue holds a task, where nobody says.
const LEASE_MS: u64 = 30_000;
/// What a store in memory keeps beside what waits in it.
const KEPT_BESIDE_BYTES: u64 = 16 * 1024 * 1024;
/// Frames of a request before its body, and what may be bytes of them.
const HEAD_PARTS: usize = 4;
const HEAD_BYTES: usize = 1_024;
/// How often a queue tries a task in all, where nobody says.
const ATTEMPTS: u32 = 5;

impl Maker<'_> {
    /// What every role with the common driver is told.
    pub(super) fn common(&self, instance: &topology::Instance) -> Common {
        let node = &self.topology.nodes[instance.node];
        let of_port = |port: Port| {
            let mut listens = node.listens.iter();
            let listen = listens.find(|listen| listen.port == port.port);
            machine::Port {
                socket: listen.map_or(SocketType::Router, |listen| listen.ty),
                name: port.port,
                bind: port.bind,
                guarded: port.guarded,
            }
        };
        Common {
            name: instance.name.clone(),
            ports: self.ports(instance).into_iter().map(of_port).collect(),
            dials: self.dials(instance),
            health: self.topology.layout.health(instance.name.as_str()),
            limits: Box::new(node.policies.wire.clone()),
        }
    }

    /// Whom a role with the common driver keeps dialled: everybody it does not listen for, by the
    /// names of the links and never by that of a port.
    fn dials(&self, instance: &topology::Instance) -> Vec<machine::Dial> {
        let node = &self.topology.nodes[instance.node];
        let mut dials = Vec::new();
        for (index, side) in &node.ends {
            let leg = &self.topology.legs[*index];
            if leg.mode(*side) == Mode::Bind {
                continue;
            }
            for peer in sockets::peers(self.topology, instance, *index, *side) {
                let secured = leg.is_curve.then(|| machine::Secured {
                    keys: self.topology.keys_dir(),
                    server: self.topology.admitted(peer),
                });
                dials.push(machine::Dial {
                    name: self.dial_name(*index),
                    peer: peer.name.clone(),
                    endpoint: sockets::dial(self.topology, peer, *index),
                    socket: sockets::type_of(self.topology, *index, *side, instance.node),
                    secured,
                });
            }
        }
        if node.kind == Kind::Bus {
            self.relayed(instance, &mut dials);
        }
        dials
    }

    /// Beside each bus that it dials, a bus dials for what comes by it from others.
    fn relayed(&self, instance: &topology::Instance, dials: &mut Vec<machine::Dial>) {
        for way in buses::relayed(self.topology, instance) {
            let (name, peer) = (self.dial_name(way.leg), &way.peer.name);
            let mut direct = dials
                .iter()
                .filter(|it| it.name == name && it.peer == *peer);
            let direct = direct.next().cloned();
            dials.extend(direct.map(|direct| machine::Dial {
                name: way.dial,
                ..direct
            }));
        }
    }

    fn dial_name(&self, leg: usize) -> String {
        buses::dial_name(self.topology, leg)
    }

    pub(super) fn proxy(&self, instance: &topology::Instance) -> proxy::Config {
        let leg = self.topology.backend_of(instance.node);
        let leg = leg.expect("checks::backend has seen that there is one");
        let link = &self.topology.links[self.topology.legs[leg].link].decl;
        proxy::Config {
            common: self.common(instance),
            backend: self.dial_name(leg),
            patience: Patience {
                timeout_ms: link.timeout.map_or(TIMEOUT_MS, |it| it.as_millis()),
                tries: link.retries.unwrap_or(TRIES),
            },
        }
    }

    pub(super) fn cache(&self, instance: &topology::Instance) -> cache::Config {
        let decl = &self.topology.nodes[instance.node].decl;
        cache::Config {
            proxy: self.proxy(instance),
            ttl_ms: decl.role.ttl.map_or(cache::TTL_MS, |ttl| ttl.as_millis()),
            bytes_max: decl.role.max.map_or(cache::BYTES_MAX, |max| max.0),
        }
    }

    /// A feedback asks those it watches, and the supervisor, by their private sockets.
    pub(super) fn feedback(&self, instance: &topology::Instance) -> feedback::Config {
        let node = &self.topology.nodes[instance.node];
        let told = topology::feedback::of(self.topology, node)
            .expect("checks::feedback has seen that it is whole");
        let layout = &self.topology.layout;
        let dial = |name: &str, peer: InstanceName, endpoint: Endpoint| machine::Dial {
            name: name.to_owned(),
            peer,
            endpoint,
            socket: SocketType::Dealer,
            secured: None,
        };
        let watched = self.topology.instances_of(told.watched).iter();
        let here = watched.filter(|watched| self.topology.place_of(watched).is_here);
        let mut common = self.common(instance);
        common.dials.extend(here.map(|watched| {
            let health = layout.health(watched.name.as_str());
            dial(feedback::WATCH, watched.name.clone(), health)
        }));
        let supervisor = InstanceName::new("@supervisor".to_owned());
        let control = Endpoint::ipc(layout.control_socket());
        common
            .dials
            .push(dial(feedback::CONTROL, supervisor, control));
        let scaled = &self.topology.nodes[told.scaled];
        let every = node.decl.role.every;
        feedback::Config {
            common,
            fact: told.fact,
            target: told.target,
            every_ms: every.map_or(feedback::EVERY_MS, |every| every.as_millis()),
            scale: scaled.name.clone(),
            range: (told.range.min, told.range.max),
            count: u32::try_from(scaled.instances.len()).unwrap_or(u32::MAX),
        }
    }

    pub(super) fn queue(&self, instance: &topology::Instance) -> queue::Config {
        let node = &self.topology.nodes[instance.node];
        let keys = &node.decl.role;
        let links = self.topology.links.iter();
        let is_via = |link: &&topology::Link| {
            let via = link.via.as_ref();
            via.is_some_and(|via| via.node == instance.node)
        };
        let mut carried = links.filter(is_via).map(|link| link.name.to_string());
        let first = carried.next();
        let bytes_max = keys.max.and_then(|max| usize::try_from(max.0).ok());
        let told = self.store(instance);
        // One in memory is none: what it has is in the role already.
        let is_kept = told.durability != Durability::Memory;
        queue::Config {
            common: self.common(instance),
            service: first.unwrap_or_else(|| node.name.to_string()),
            others: carried.collect(),
            lease_ms: keys.lease.map_or(LEASE_MS, |lease| lease.as_millis()),
            attempts: keys.attempts.unwrap_or(ATTEMPTS),
            ahead: keys.ahead.unwrap_or(AHEAD_MAX),
            tells_dead: keys.on_dead == Some(OnDeadDecl::Error),
            bytes_max: bytes_max.unwrap_or(BYTES_MAX),
            keep_ms: told.retain_ms.unwrap_or(limits::queue::KEEP_MS),
            store: is_kept.then(|| {
                Box::new(StoreConfig {
                    retain_ms: None,
                    ..told
                })
            }),
        }
    }

    pub(super) fn stream(&self, instance: &topology::Instance) -> stream::Config {
        stream::Config {
            common: self.common(instance),
            store: self.store(instance),
            topics: self.heard(instance),
            replays: self.replayed(instance),
        }
    }

    /// What a stream publishes at buses, by the names of its dials.
    fn replayed(&self, instance: &topology::Instance) -> BTreeMap<String, stream::Replay> {
        let topology = self.topology;
        let ends = topology.nodes[instance.node].ends.iter();
        let replay = |(index, side): &(usize, Side)| {
            let leg = &topology.legs[*index];
            if *side != Side::From || !legs::is_replay(leg, &topology.nodes) {
                return None;
            }
            let link = &topology.links[leg.link].decl;
            let topics: Vec<String> = leg.to.iter().flat_map(|end| end.topics.clone()).collect();
            let limits = leg
                .to
                .iter()
                .map(|end| &topology.nodes[end.node].policies.wire);
            let bytes_max = limits
                .clone()
                .map(|it| match leg.is_beyond && !leg.is_curve {
                    true => it.message_far_bytes_max,
                    false => it.message_bytes_max,
                });
            let replay = stream::Replay {
                pace: link.pace.unwrap_or(Pace::ORIGINAL),
                topics: match topics.is_empty() {
                    true => vec![String::new()],
                    false => topics,
                },
                bytes_max: bytes_max
                    .min()
                    .unwrap_or_default()
                    .saturating_sub(HEAD_BYTES),
                parts_max: limits.map(|it| it.parts_max).min().unwrap_or_default() - HEAD_PARTS,
            };
            Some((self.dial_name(*index), replay))
        };
        ends.filter_map(replay).collect()
    }

    /// What a role that subscribes asks for, by the names of its dials.
    fn heard(&self, instance: &topology::Instance) -> BTreeMap<String, Vec<String>> {
        let asked = |(leg, _): (usize, &Link)| {
            let topics = buses::asked(self.topology, instance, leg);
            (self.dial_name(leg), topics)
        };
        self.heard_links(instance).map(asked).collect()
    }

    /// The legs and links by which a role hears others.
    fn heard_links(&self, instance: &topology::Instance) -> impl Iterator<Item = (usize, &Link)> {
        let topology = self.topology;
        let ends = topology.nodes[instance.node].ends.iter();
        ends.filter_map(|(index, side)| {
            let leg = &topology.legs[*index];
            let is_heard = leg.pattern == Pattern::Pubsub && *side == Side::To;
            is_heard.then(|| (*index, &topology.links[leg.link]))
        })
    }

    /// Where and how an instance keeps what it keeps; in memory, where nothing is written. Each of
    /// several instances has a directory of its own in the one that is written.
    fn store(&self, instance: &topology::Instance) -> StoreConfig {
        let node = &self.topology.nodes[instance.node];
        let Some(decl) = &node.decl.store else {
            return StoreConfig {
                path: Default::default(),
                durability: Durability::Memory,
                retain_ms: None,
                retain_bytes: None,
                bytes_max: None,
            };
        };
        let path = self.topology.wanted_store(instance);
        let path = path.expect("checks::expressions found no fault in it");
        let (retain_ms, retain_bytes) = match &decl.retain {
            Some(RetainDecl::For(age)) => (Some(age.as_millis()), None),
            Some(RetainDecl::Bytes(size)) => (None, Some(size.0)),
            None => (None, None),
        };
        StoreConfig {
            path,
            durability: decl.durability.unwrap_or_default(),
            retain_ms,
            retain_bytes,
            bytes_max: decl.max.map(|max| max.0),
        }
    }

    /// A store in memory is none: what it has is in the role already. `max` is of keys and values, not of
    /// the log, which has what was replaced too until that is removed.
    pub(super) fn kv(&self, instance: &topology::Instance) -> kv::Config {
        let told = self.store(instance);
        let bytes_max = told.bytes_max.and_then(|max| usize::try_from(max).ok());
        let is_kept = told.durability != Durability::Memory;
        kv::Config {
            common: self.common(instance),
            bytes_max: bytes_max.unwrap_or(limits::kv::BYTES_MAX),
            store: is_kept.then_some(StoreConfig {
                bytes_max: None,
                ..told
            }),
        }
    }

    /// Here too `max` is of what waits, not of the log, which has what was taken until that is removed.
    pub(super) fn spool(&self, instance: &topology::Instance, scope: &Scope<'_>) -> spool::Config {
        let node = &self.topology.nodes[instance.node];
        let mut store = self.store(instance);
        let bytes_max = store.bytes_max.take();
        if let (Durability::Memory, None, Some(max)) =
            (store.durability, store.retain_bytes, bytes_max)
        {
            // In memory there is a bound in any case, which must not be below what may wait.
            store.retain_bytes = Some(max.saturating_mul(2).saturating_add(KEPT_BESIDE_BYTES));
        }
        let mode = node.decl.store.as_ref().and_then(|store| store.mode);
        let text = |text: &String| expanded(scope, text);
        let filter = |filter: &FilterDecl| match filter {
            FilterDecl::Topic(topics) => spool::Filter::Topic(topics.iter().map(text).collect()),
            FilterDecl::MaxSize(size) => spool::Filter::MaxSize(size.0),
            FilterDecl::MinPeriod(period) => spool::Filter::MinPeriod(period.as_millis()),
            FilterDecl::Regex(regex) => spool::Filter::Regex(text(regex)),
            FilterDecl::EveryNth(nth) => spool::Filter::EveryNth(*nth),
        };
        spool::Config {
            common: self.common(instance),
            store,
            mode: match mode {
                None | Some(StoreMode::Fifo) => spool::Mode::Fifo,
                Some(StoreMode::Latest) => spool::Mode::Latest,
            },
            bytes_max,
            filters: node.decl.filters.iter().flatten().map(filter).collect(),
            link_filters: self
                .heard_links(instance)
                .map(|(leg, link)| {
                    let filters = link.decl.filters.iter().flatten().map(filter);
                    (self.dial_name(leg), filters.collect::<Vec<_>>())
                })
                .filter(|(_, filters)| !filters.is_empty())
                .collect(),
            topics: self.heard(instance),
        }
    }
}
