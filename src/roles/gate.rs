//! The gate: stands beside a program and lets through what its links carry, one connection inside
//! for each connection outside; of a program that publishes, one inside for all.
//!
//! ```text
//! program --plain, loopback or ipc-- gate --as planned, CURVE where planned-- the other side
//! ```
//!
//! It shows to each side the socket type and the identity of the other and forwards messages and
//! subscriptions unchanged, so REQ, ROUTER or PUB mean what they mean without it. It never reorders,
//! never mixes peers, and drops only on pubsub links, by their `overflow`, and counted.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::model::endpoint::Endpoint;
use crate::model::limits::WireLimits;
use crate::model::name::{InstanceName, LinkName};
use crate::model::policy::Overflow;
use crate::model::security::{Admitted, Guarded};
use crate::model::socket::{Pattern, Side, SocketType};

/// What a gate is told when it starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Its own name.
    pub name: InstanceName,
    /// The program it stands beside.
    pub program: InstanceName,
    /// What it lets through.
    pub doors: Vec<Door>,
    /// What those outside may do, and the bytes that may wait for each connection and direction.
    pub limits: Box<WireLimits>,
    /// The directory of its program's key, absolute, where anything is encrypted.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub keys: Option<PathBuf>,
    /// The private health socket, served by the same event loop as everything else.
    pub health: Endpoint,
}

/// One endpoint that the program is given, and what is behind it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Door {
    /// What its ports are called: the link's or socket's name, with the peer's where it is dialled.
    pub name: String,
    /// The links; one, unless several share a socket that listens.
    pub links: Vec<LinkName>,
    /// The link's pattern.
    pub pattern: Pattern,
    /// Where in the link the program stands.
    pub side: Side,
    /// The type that the program's socket is planned to have.
    pub socket: SocketType,
    /// The endpoint that the program is given: it listens there where the gate listens outside, and
    /// dials there where the gate dials outside.
    pub inner: Endpoint,
    /// What is on the other side.
    pub outer: Outer,
    /// What happens with messages that the other side does not take.
    pub overflow: Overflow,
    /// How many of them may wait for one connection, beside the bound in bytes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub messages_max: Option<u32>,
}

/// The side of a door that is not the program's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outer {
    /// The gate listens, for anybody the link lets in.
    Listens {
        /// Where.
        at: Vec<Endpoint>,
        /// Under CURVE: with whose key, and who is let in.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        guarded: Option<Guarded>,
    },
    /// The gate dials one instance, once for each connection of the program.
    Dials {
        /// Where it listens, or its own gate for it.
        at: Endpoint,
        /// Which.
        peer: InstanceName,
        /// Under CURVE: whose key it must have.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        server: Option<Admitted>,
    },
}

impl Door {
    /// Whether what the program publishes is taken once and fanned out to all who subscribe outside.
    /// Where a subscriber is waited for, each has a connection of its own to the program, which is
    /// what holds back.
    pub fn fans_out(&self) -> bool {
        let is_published = self.pattern == Pattern::Pubsub && self.side == Side::From;
        let listens = matches!(self.outer, Outer::Listens { .. });
        is_published && listens && self.overflow != Overflow::Block
    }
}

impl Config {
    /// What of another configuration a gate with this one cannot take while it runs.
    pub fn fixed_change(&self, next: &Self) -> Option<&'static str> {
        // Named one by one, so that a new field is judged too.
        let Self {
            name,
            program,
            doors,
            limits,
            keys,
            health,
        } = self;
        let changed = [
            ("its name", *name != next.name),
            ("its program", *program != next.program),
            ("what it lets through", !are_same(doors, &next.doors)),
            ("its limits", *limits != next.limits),
            ("the key directory", *keys != next.keys),
            ("its health socket", *health != next.health),
        ];
        let mut changed = changed.into_iter().filter(|(_, is_changed)| *is_changed);
        changed.next().map(|(what, _)| what)
    }
}

/// Whether doors differ at most in whom they let in, which can change while a gate runs.
fn are_same(doors: &[Door], next: &[Door]) -> bool {
    let bare = |doors: &[Door]| -> Vec<Door> {
        let mut doors = doors.to_vec();
        for door in &mut doors {
            if let Outer::Listens {
                guarded: Some(guarded),
                ..
            } = &mut door.outer
            {
                guarded.allow.clear();
            }
        }
        doors
    };
    bare(doors) == bare(next)
}
