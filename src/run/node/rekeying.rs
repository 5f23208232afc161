//! What a role does when its keys change while it runs: who is admitted still notices nothing.

use crate::model::name::InstanceName;
use crate::model::security::Guarded;
use crate::run::keys::Keyring;
use crate::wire::keyed::Keys;

use super::Node;

impl Node {
    /// Reads the keys again: who is no longer admitted is gone at once, and nobody else notices.
    pub(super) fn rekey(&mut self) {
        if let Some(keyring) = &mut self.keyring {
            keyring.reload();
            self.hub.recheck();
        }
        for peer in self.peers.values() {
            peer.bouncing
                .rekey(to_dial(self.keyring.as_ref(), &peer.name));
        }
    }

    /// Takes another list of whom it admits.
    pub(super) fn admit(&mut self, guarded: &Guarded) {
        if let Some(keyring) = &mut self.keyring {
            keyring.follow(guarded);
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
    keyring.map_or(Keys::Open, |keyring| keyring.to_dial(peer.as_str()))
}
