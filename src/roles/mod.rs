//! Floor 3: what a node can be. One row of [`ROLES`] a kind, one file a built role.
//!
//! A role is a state machine without sockets: it is given the time and an event, and answers with
//! actions. `run` drives it over real sockets, `sim` over simulated ones.

pub mod backends;
pub mod bus;
pub mod cache;
pub mod echo;
pub mod feedback;
pub mod gate;
mod hearing;
pub mod kv;
pub mod machine;
pub mod proxy;
pub mod queue;
mod refused;
pub mod replica;
pub mod spool;
pub mod stream;
mod waiting;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::endpoint::Endpoint;
use crate::model::socket::{Pattern, Side};
use crate::model::store::StoreConfig;
use machine::Common;

/// The kinds of node that zmqnet brings.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
#[expect(missing_docs, reason = "the rows of ROLES say what each kind is")]
pub enum Kind {
    Replica,
    Peer,
    Lighthouse,
    Bus,
    Queue,
    Kv,
    Stream,
    Spool,
    Echo,
    Proxy,
    Cache,
    Feedback,
    External,
    /// A user's program: a node with `command` and no `kind`.
    #[serde(skip_deserializing)]
    Command,
    /// Stands beside a program wherever one of its links says `gate: true`.
    #[serde(skip_deserializing)]
    Gate,
}

/// One row a kind.
#[derive(Debug)]
pub struct Role {
    /// The kind.
    pub kind: Kind,
    /// Its name in manifests.
    pub name: &'static str,
    /// One line for `explain` and for editors.
    pub summary: &'static str,
    /// The names of its listening ports, in the order that consecutive numbers are taken.
    pub ports: &'static [&'static str],
    /// The keys that only this kind may carry.
    pub keys: &'static [&'static str],
    /// Whether it keeps data and may carry `store`.
    pub has_store: bool,
    /// Where in a link it may stand.
    pub stands: &'static [(Pattern, &'static [Side])],
    /// Whether `apply` can start it today.
    pub is_built: bool,
    /// When it starts: lower ranks first (stores and brokers, then who waits for messages, then who
    /// sends them). Programs take their rank from their links.
    pub rank: u16,
}

/// What a built-in role is told when it starts, and when it changes: one variant a built role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Config {
    /// A member of a mesh.
    Replica(replica::Config),
    /// Beside a program: plain to it, counted and encrypted outside.
    Gate(gate::Config),
    /// Answers every request with the request.
    Echo(echo::Config),
    /// Hands requests on.
    Proxy(proxy::Config),
    /// Hands requests on, and remembers the answers.
    Cache(cache::Config),
    /// Scales a node to hold a value.
    Feedback(feedback::Config),
    /// Between publishers and subscribers.
    Bus(bus::Config),
    /// Tasks, each with one live lease.
    Queue(queue::Config),
    /// An event log.
    Stream(stream::Config),
    /// Keys and values.
    Kv(kv::Config),
    /// A persistent subscriber.
    Spool(Box<spool::Config>),
}

impl Config {
    /// Whether it hands on requests and has them answered by others, around whose answers stands what it
    /// has added itself: that does not count against its limits. It refuses requests that are over them.
    pub fn answers_others(&self) -> bool {
        match self {
            Self::Queue(_) | Self::Proxy(_) | Self::Cache(_) => true,
            Self::Replica(_) | Self::Gate(_) | Self::Echo(_) | Self::Feedback(_) => false,
            Self::Bus(_) | Self::Stream(_) | Self::Kv(_) | Self::Spool(_) => false,
        }
    }

    /// What of another configuration a role with this one cannot take while it runs.
    pub fn fixed_change(&self, next: &Self) -> Option<&'static str> {
        match (self, next) {
            (Self::Replica(was), Self::Replica(now)) => was.fixed_change(now),
            (Self::Gate(was), Self::Gate(now)) => was.fixed_change(now),
            (Self::Echo(was), Self::Echo(now)) => was.common.fixed_change(&now.common),
            (Self::Bus(was), Self::Bus(now)) => was.fixed_change(now),
            (Self::Proxy(was), Self::Proxy(now)) => was.fixed_change(now),
            (Self::Cache(was), Self::Cache(now)) => was.proxy.fixed_change(&now.proxy),
            (Self::Feedback(was), Self::Feedback(now)) => was.fixed_change(now),
            (Self::Queue(was), Self::Queue(now)) => was.fixed_change(now),
            (Self::Stream(was), Self::Stream(now)) => was.fixed_change(now),
            (Self::Kv(was), Self::Kv(now)) => was.fixed_change(now),
            (Self::Spool(was), Self::Spool(now)) => was.fixed_change(now),
            (Self::Replica(_) | Self::Gate(_) | Self::Echo(_), _)
            | (Self::Proxy(_) | Self::Cache(_) | Self::Queue(_) | Self::Feedback(_), _)
            | (Self::Bus(_) | Self::Stream(_) | Self::Kv(_) | Self::Spool(_), _) => {
                Some("its kind")
            }
        }
    }

    /// What of another configuration it takes while it runs, in the words of the manifest; members
    /// and whom it admits are not among it.
    pub fn live_changes(&self, next: &Self) -> Vec<&'static str> {
        let patience = |was: &proxy::Config, now: &proxy::Config| {
            let is_other = was.patience != now.patience;
            ("how long its backend is waited for", is_other)
        };
        let changed = match (self, next) {
            (Self::Proxy(was), Self::Proxy(now)) => vec![patience(was, now)],
            (Self::Cache(was), Self::Cache(now)) => vec![
                ("`ttl`", was.ttl_ms != now.ttl_ms),
                ("`max`", was.bytes_max != now.bytes_max),
                patience(&was.proxy, &now.proxy),
            ],
            (Self::Feedback(was), Self::Feedback(now)) => vec![
                ("`watch`", was.fact != now.fact),
                ("`target`", was.target.total_cmp(&now.target).is_ne()),
                ("`every`", was.every_ms != now.every_ms),
                ("`scale`", was.scale != now.scale),
                ("the range that it scales in", was.range != now.range),
            ],
            (Self::Queue(was), Self::Queue(now)) => vec![
                ("`lease`", was.lease_ms != now.lease_ms),
                ("`attempts`", was.attempts != now.attempts),
                ("`ahead`", was.ahead != now.ahead),
                ("`on_dead`", was.tells_dead != now.tells_dead),
                ("`max`", was.bytes_max != now.bytes_max),
                ("`store.retain`", was.keep_ms != now.keep_ms),
            ],
            (Self::Kv(was), Self::Kv(now)) => {
                vec![("`store.max`", was.bytes_max != now.bytes_max)]
            }
            (Self::Spool(was), Self::Spool(now)) => {
                vec![("`store.max`", was.bytes_max != now.bytes_max)]
            }
            // These have only members, or nothing, that may change.
            (Self::Replica(_) | Self::Gate(_) | Self::Echo(_) | Self::Bus(_), _)
            | (Self::Stream(_) | Self::Kv(_) | Self::Spool(_), _)
            | (Self::Proxy(_) | Self::Cache(_) | Self::Feedback(_) | Self::Queue(_), _) => {
                Vec::new()
            }
        };
        let changed = changed.into_iter().filter(|(_, is_changed)| *is_changed);
        changed.map(|(what, _)| what).collect()
    }

    /// Which kind of node it is for.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Replica(_) => Kind::Replica,
            Self::Gate(_) => Kind::Gate,
            Self::Echo(_) => Kind::Echo,
            Self::Proxy(_) => Kind::Proxy,
            Self::Cache(_) => Kind::Cache,
            Self::Feedback(_) => Kind::Feedback,
            Self::Bus(_) => Kind::Bus,
            Self::Queue(_) => Kind::Queue,
            Self::Stream(_) => Kind::Stream,
            Self::Kv(_) => Kind::Kv,
            Self::Spool(_) => Kind::Spool,
        }
    }

    /// What it has in common with others; nothing for those that have a driver of their own.
    pub fn common(&self) -> Option<&Common> {
        match self {
            Self::Replica(_) | Self::Gate(_) => None,
            Self::Echo(config) => Some(&config.common),
            Self::Proxy(config) => Some(&config.common),
            Self::Cache(config) => Some(&config.proxy.common),
            Self::Feedback(config) => Some(&config.common),
            Self::Bus(config) => Some(&config.common),
            Self::Queue(config) => Some(&config.common),
            Self::Stream(config) => Some(&config.common),
            Self::Kv(config) => Some(&config.common),
            Self::Spool(config) => Some(&config.common),
        }
    }

    /// What it keeps on disk, where it keeps anything.
    pub fn store(&self) -> Option<&StoreConfig> {
        match self {
            Self::Replica(_) | Self::Gate(_) | Self::Echo(_) | Self::Proxy(_) => None,
            Self::Cache(_) | Self::Feedback(_) | Self::Bus(_) => None,
            Self::Queue(config) => config.store.as_deref(),
            Self::Stream(config) => Some(&config.store),
            Self::Kv(config) => config.store.as_ref(),
            Self::Spool(config) => Some(&config.store),
        }
    }

    /// The bytes of what its store holds at most, where the role itself counts them.
    pub fn held_max(&self) -> Option<u64> {
        match self {
            Self::Spool(config) => config.bytes_max,
            Self::Replica(_) | Self::Gate(_) | Self::Echo(_) | Self::Proxy(_) => None,
            Self::Cache(_) | Self::Feedback(_) | Self::Bus(_) => None,
            Self::Queue(_) | Self::Stream(_) | Self::Kv(_) => None,
        }
    }

    /// The private socket that the role's own event loop serves.
    pub fn health(&self) -> &Endpoint {
        match self {
            Self::Replica(config) => &config.health,
            Self::Gate(config) => &config.health,
            Self::Echo(config) => &config.common.health,
            Self::Proxy(config) => &config.common.health,
            Self::Cache(config) => &config.proxy.common.health,
            Self::Feedback(config) => &config.common.health,
            Self::Bus(config) => &config.common.health,
            Self::Queue(config) => &config.common.health,
            Self::Stream(config) => &config.common.health,
            Self::Kv(config) => &config.common.health,
            Self::Spool(config) => &config.common.health,
        }
    }

    /// The params of the health verb `reconfigure`.
    pub fn params(&self) -> serde_json::Value {
        match self {
            Self::Replica(config) => serde_json::json!({ "config": config }),
            Self::Gate(config) => serde_json::json!({ "config": config }),
            Self::Echo(_)
            | Self::Proxy(_)
            | Self::Cache(_)
            | Self::Queue(_)
            | Self::Kv(_)
            | Self::Bus(_)
            | Self::Stream(_)
            | Self::Spool(_)
            | Self::Feedback(_) => {
                serde_json::json!({ "config": self })
            }
        }
    }
}

const FROM: &[Side] = &[Side::From];
const TO: &[Side] = &[Side::To];
const BOTH: &[Side] = &[Side::From, Side::To];

/// Every kind, in the order of [`Kind`].
pub const ROLES: [Role; 15] = [
    Role {
        kind: Kind::Replica,
        name: "replica",
        summary: "a member of a mesh: answers requests and bounces them to every other member",
        ports: &["main"],
        keys: &[],
        has_store: false,
        stands: &[(Pattern::Mesh, BOTH), (Pattern::Request, TO)],
        is_built: true,
        rank: 1,
    },
    Role {
        kind: Kind::Peer,
        name: "peer",
        summary: "a member of a gossiping group: tells the others who is there and shares work",
        ports: &["main"],
        keys: &["workload", "every", "jitter", "abilities"],
        has_store: false,
        stands: &[(Pattern::Gossip, BOTH), (Pattern::Pubsub, FROM)],
        is_built: false,
        rank: 1,
    },
    Role {
        kind: Kind::Lighthouse,
        name: "lighthouse",
        summary: "a registry through which groups that share no wire find each other",
        ports: &["main", "table"],
        keys: &["ttl", "discovery"],
        has_store: false,
        stands: &[],
        is_built: false,
        rank: 0,
    },
    Role {
        kind: Kind::Bus,
        name: "bus",
        summary: "a message bus: publishers send to it, subscribers listen to it",
        ports: &["in", "out", "acked"],
        keys: &["buffer", "welcome", "retain", "sequence"],
        has_store: false,
        stands: &[(Pattern::Pubsub, BOTH)],
        is_built: true,
        rank: 0,
    },
    Role {
        kind: Kind::Queue,
        name: "queue",
        summary: "a task queue: each task has one live lease, a dead worker's task is redelivered",
        ports: &["front", "back"],
        keys: &["lease", "attempts", "ahead", "on_dead", "max"],
        has_store: true,
        stands: &[(Pattern::Request, TO)],
        is_built: true,
        rank: 0,
    },
    Role {
        kind: Kind::Kv,
        name: "kv",
        summary: "a key-value store: linearizable on its node, watched from a revision",
        ports: &["main", "updates", "collector"],
        keys: &[],
        has_store: true,
        stands: &[(Pattern::Request, TO), (Pattern::Pubsub, FROM)],
        is_built: true,
        rank: 0,
    },
    Role {
        kind: Kind::Stream,
        name: "stream",
        summary: "an event log: appended, read from an offset, never rewritten",
        ports: &["main", "tail"],
        keys: &[],
        has_store: true,
        stands: &[(Pattern::Request, TO), (Pattern::Pubsub, BOTH)],
        is_built: true,
        rank: 0,
    },
    Role {
        kind: Kind::Spool,
        name: "spool",
        summary: "a persistent subscriber: keeps what passes its filters until it is taken",
        ports: &["main"],
        keys: &[],
        has_store: true,
        stands: &[(Pattern::Request, TO), (Pattern::Pubsub, TO)],
        is_built: true,
        rank: 0,
    },
    Role {
        kind: Kind::Echo,
        name: "echo",
        summary: "answers every request with the request",
        ports: &["main"],
        keys: &[],
        has_store: false,
        stands: &[(Pattern::Request, TO)],
        is_built: true,
        rank: 1,
    },
    Role {
        kind: Kind::Proxy,
        name: "proxy",
        summary: "hands requests on to a backend and its answers back",
        ports: &["main"],
        keys: &["backend"],
        has_store: false,
        stands: &[(Pattern::Request, BOTH)],
        is_built: true,
        rank: 1,
    },
    Role {
        kind: Kind::Cache,
        name: "cache",
        summary: "a proxy that remembers answers for a while",
        ports: &["main"],
        keys: &["ttl", "max", "backend"],
        has_store: false,
        stands: &[(Pattern::Request, BOTH)],
        is_built: true,
        rank: 1,
    },
    Role {
        kind: Kind::Feedback,
        name: "feedback",
        summary: "a controller that holds a measured value at a set point by scaling a node",
        ports: &["main"],
        keys: &["watch", "scale", "target", "every"],
        has_store: false,
        stands: &[],
        is_built: true,
        rank: 2,
    },
    Role {
        kind: Kind::External,
        name: "external",
        summary: "a program that somebody else starts: planned, checked and probed, never started",
        ports: &[],
        keys: &[],
        has_store: false,
        stands: &[
            (Pattern::Request, BOTH),
            (Pattern::Pubsub, BOTH),
            (Pattern::Pipeline, BOTH),
        ],
        is_built: true,
        rank: 1,
    },
    Role {
        kind: Kind::Command,
        name: "command",
        summary: "a program of yours, in any language",
        ports: &[],
        keys: &[],
        has_store: false,
        stands: &[
            (Pattern::Request, BOTH),
            (Pattern::Pubsub, BOTH),
            (Pattern::Pipeline, BOTH),
            (Pattern::Mesh, BOTH),
        ],
        is_built: true,
        rank: 1,
    },
    Role {
        kind: Kind::Gate,
        name: "gate",
        summary: "beside each program of a link with `gate: true`: plain to the program, counted and encrypted outside",
        ports: &[],
        keys: &[],
        has_store: false,
        stands: &[],
        is_built: true,
        rank: 0,
    },
];

impl Role {
    /// Whether `kind` may name it in a manifest; the others come from `command` and from `gate`.
    pub fn is_written(&self) -> bool {
        !matches!(self.kind, Kind::Command | Kind::Gate)
    }
}

impl Kind {
    /// The kind's row.
    pub fn role(self) -> &'static Role {
        &ROLES[self as usize]
    }

    /// The kind's name in manifests and in `status`.
    pub fn as_str(self) -> &'static str {
        self.role().name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_stands_at_its_own_index() {
        for (index, role) in ROLES.iter().enumerate() {
            assert_eq!(role.kind as usize, index, "{}", role.name);
        }
    }
}
