//! The members of a mesh change while a replica runs: who is new is dialled, who has left is given
//! up, everybody else keeps connection and number. Counters and unanswered clients are never lost.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::model::endpoint::Endpoint;
use crate::model::name::InstanceName;
use crate::model::security::Guarded;
use crate::protocol::zn1;

use super::{Action, Config, Machine, Outcome, Peer};

/// Why a peer that left has not acknowledged what was on its way to it.
const LEFT: &str = "no longer a member";

/// The params of `reconfigure`.
#[derive(Deserialize)]
struct Params {
    config: Config,
}

/// Why a configuration is not taken.
#[derive(Debug)]
pub(super) enum Refused {
    /// It is none.
    Malformed(serde_json::Error),
    /// One name stands for two peers, or for the replica and a peer.
    Twice(InstanceName),
    /// It changes what only a restart can change.
    Fixed(&'static str),
}

impl Refused {
    /// The ZN1 status of the refusal.
    pub(super) fn status(&self) -> u16 {
        match self {
            Self::Malformed(_) | Self::Twice(_) => zn1::BAD_REQUEST,
            Self::Fixed(_) => zn1::CONFLICT,
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(error) => write!(f, "the configuration is not understood: {error}"),
            Self::Twice(name) => write!(f, "`{name}` is a member twice"),
            Self::Fixed(what) => write!(f, "{what} cannot change while it runs"),
        }
    }
}

impl Config {
    /// What of another configuration a replica with this one cannot take while it runs.
    pub fn fixed_change(&self, next: &Self) -> Option<&'static str> {
        // Named one by one, so that a new field is judged too.
        let Self {
            name,
            listen,
            peers: _,
            health,
            broadcast_ms,
            guarded,
            limits,
        } = self;
        // Who is admitted may change; whether anybody is asked, and with which key, may not.
        let lock = |guarded: &Option<Guarded>| {
            let guarded = guarded.as_ref();
            guarded.map(|it| (it.keys.clone(), it.name.clone(), it.node.clone()))
        };
        let changed = [
            ("its name", *name != next.name),
            ("where it listens", *listen != next.listen),
            ("its encryption", lock(guarded) != lock(&next.guarded)),
            ("its limits", *limits != next.limits),
            ("its health socket", *health != next.health),
            (
                "how long a broadcast waits",
                *broadcast_ms != next.broadcast_ms,
            ),
        ];
        let mut changed = changed.into_iter().filter(|(_, is_changed)| *is_changed);
        changed.next().map(|(what, _)| what)
    }
}

impl Machine {
    /// Takes a new configuration, whole or not at all. The same one again changes nothing.
    pub(super) fn reconfigure(
        &mut self,
        params: Value,
        actions: &mut Vec<Action>,
    ) -> Result<Value, Refused> {
        let Params { config } = serde_json::from_value(params).map_err(Refused::Malformed)?;
        let mut names = BTreeSet::from([&config.name]);
        if let Some((name, _)) = config.peers.iter().find(|(name, _)| !names.insert(name)) {
            return Err(Refused::Twice(name.clone()));
        }
        if let Some(what) = self.config.fixed_change(&config) {
            return Err(Refused::Fixed(what));
        }
        let before = self.peers.clone();
        let mut known: BTreeMap<(&InstanceName, &Endpoint), usize> = before
            .iter()
            .map(|peer| ((&peer.name, &peer.endpoint), peer.number))
            .collect();
        let mut added = Vec::new();
        let mut peers = Vec::with_capacity(config.peers.len());
        for (name, endpoint) in &config.peers {
            let kept = known.remove(&(name, endpoint));
            let number = kept.unwrap_or(self.numbered);
            let peer = Peer {
                number,
                name: name.clone(),
                endpoint: endpoint.clone(),
            };
            if kept.is_none() {
                self.numbered += 1;
                added.push(peer.clone());
            }
            peers.push(peer);
        }
        let removed: Vec<InstanceName> = known.keys().map(|(name, _)| (*name).clone()).collect();
        let left: Vec<usize> = known.into_values().collect();
        self.peers = peers.into();
        let admitted = (self.config.guarded != config.guarded).then_some(config.guarded.clone());
        self.config = config;
        // Removal before addition.
        for peer in left {
            self.forget(peer, actions);
        }
        // Who joins is dialled by the key that is expected of it from now on.
        actions.extend(admitted.flatten().map(Action::Admit));
        let joined: Vec<InstanceName> = added.iter().map(|peer| peer.name.clone()).collect();
        actions.extend(added.into_iter().map(|peer| Action::Dial {
            peer: peer.number,
            name: peer.name,
            endpoint: peer.endpoint,
        }));
        Ok(json!({"peers": self.peers.len(), "added": joined, "removed": removed}))
    }

    /// Gives a peer up; who waits for it waits no longer.
    fn forget(&mut self, peer: usize, actions: &mut Vec<Action>) {
        let waiting: Vec<u64> = self
            .broadcasts
            .iter()
            .filter(|(_, broadcast)| broadcast.awaited(peer).is_some())
            .map(|(id, _)| *id)
            .collect();
        for id in waiting {
            self.settle(id, peer, |_| Outcome::Missed(LEFT), actions);
        }
        actions.push(Action::HangUp { peer });
    }
}
