//! The replica: a member of a mesh.
//!
//! It listens for requests, bounces each client message to every other replica and answers the
//! client; it acknowledges what others bounce to it.

use serde::{Deserialize, Serialize};

use crate::model::endpoint::Endpoint;
use crate::model::name::InstanceName;

/// What a replica is told when it starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Its own name.
    pub name: InstanceName,
    /// Where it listens: its TCP address, and ipc sockets where every end of a link is ours.
    pub listen: Vec<Endpoint>,
    /// The other members and where they listen, in the order of the plan.
    pub peers: Vec<(InstanceName, Endpoint)>,
    /// The private health socket, served by the same event loop as everything else.
    pub health: Endpoint,
    /// How long a broadcast waits for a peer that is connected and silent, in milliseconds.
    pub broadcast_ms: u64,
}
