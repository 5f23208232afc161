//! What a role does when its keys change while it runs: who is admitted still notices nothing.

use crate::model::name::InstanceName;
use crate::model::security::{Admitted, Guarded};
use crate::roles::replica;
use crate::run::keys::{KeyDirError, Keyring};
use crate::wire::keyed::Keys;

use super::Node;

/// The keys of a replica, where its socket is encrypted.
pub(super) fn keyring(config: &replica::Config) -> Result<Option<Keyring>, KeyDirError> {
    let Some(guarded) = &config.guarded else {
        return Ok(None);
    };
    Keyring::open(&guarded.keys, &guarded.name, vec![guarded.clone()]).map(Some)
}

impl Node {
    /// Reads the keys again: who is no longer admitted is gone at once, and nobody else notices.
    pub(super) fn rekey(&mut self) {
        let Some(keyring) = &mut self.keyring else {
            return;
        };
        if !keyring.reload() {
            return;
        }
        self.hub.recheck();
        let keyring = self.keyring.as_ref();
        for peer in self.peers.values() {
            let server = of_peer(&peer.name);
            let retired = keyring.map(|keyring| keyring.retired(&server));
            let keys = to_dial(keyring, &peer.name);
            peer.bouncing.rekey(keys, retired.unwrap_or_default());
        }
    }

    /// Takes another list of whom it admits.
    pub(super) fn admit(&mut self, guarded: Guarded) {
        if let Some(keyring) = &mut self.keyring {
            keyring.follow(vec![guarded]);
            self.hub.recheck();
        }
    }
}

/// Waits until the key directory has changed, for ever where there are no keys.
pub(super) async fn rekeyed(keyring: &mut Option<Keyring>) {
    match keyring {
        Some(keyring) => keyring.changed().await,
        None => std::future::pending().await,
    }
}

pub(super) fn to_dial(keyring: Option<&Keyring>, peer: &InstanceName) -> Keys {
    keyring.map_or(Keys::Open, |keyring| keyring.to_dial(&of_peer(peer)))
}

fn of_peer(peer: &InstanceName) -> Admitted {
    Admitted {
        who: peer.clone(),
        key: None,
    }
}
