//! The keys of a gate: its program's own, for every door that is encrypted outside.
//!
//! They are read when it starts and again whenever the key directory changes; a revoked key ends the
//! wires it stood for, a replaced one ends none, neither at once nor when its time is over. Without a key that may be used nobody is dialled:
//! what is to be encrypted never passes in clear text.

use crate::model::key::PublicKey;
use crate::model::security::{Admitted, Guarded};
use crate::roles::gate::{Config, Outer};
use crate::run::keys::{KeyDirError, Keyring};
use crate::wire::hub::Security;
use crate::wire::keyed::Keys;

use super::Gate;

/// The keyring of a gate, where anything outside is encrypted.
#[derive(Default)]
pub(super) struct DoorKeys {
    /// Which door each of the keyring's listeners is.
    listening: Vec<usize>,
    keyring: Option<Keyring>,
}

impl DoorKeys {
    /// Reads the keys of every door. Must be called inside a tokio runtime.
    pub(super) fn open(config: &Config) -> Result<Self, KeyDirError> {
        let (listening, guarded) = guarded(config).into_iter().unzip();
        let keyring = config
            .keys
            .as_ref()
            .map(|dir| Keyring::open(dir, &config.program, guarded));
        Ok(Self {
            listening,
            keyring: keyring.transpose()?,
        })
    }

    /// What a door that listens asks of who comes.
    pub(super) fn security(&self, door: usize) -> Security {
        let listener = self.listening.iter().position(|number| *number == door);
        match (&self.keyring, listener) {
            (Some(keyring), Some(listener)) => keyring.security(listener),
            (Some(_) | None, _) => Security::Open,
        }
    }

    /// The keys by which somebody may be dialled.
    fn to_dial(&self, server: &Admitted) -> Keys {
        match &self.keyring {
            Some(keyring) => keyring.to_dial(server),
            None => Keys::Curve(Vec::new()),
        }
    }

    /// Waits until the key directory has changed, for ever where there are no keys. Cancel safe.
    pub(super) async fn changed(&mut self) {
        match &mut self.keyring {
            Some(keyring) => keyring.changed().await,
            None => std::future::pending().await,
        }
    }
}

/// The doors that listen under CURVE, and whom they admit.
fn guarded(config: &Config) -> Vec<(usize, Guarded)> {
    let doors = config.doors.iter().enumerate();
    doors
        .filter_map(|(number, door)| match &door.outer {
            Outer::Listens { guarded, .. } => Some((number, guarded.clone()?)),
            Outer::Dials { .. } => None,
        })
        .collect()
}

impl Gate {
    /// Reads the keys again: wires of keys that are revoked or unknown now end, the others go on.
    pub(super) fn rekey(&mut self) {
        if let Some(keyring) = &mut self.keys.keyring
            && !keyring.reload()
        {
            return;
        }
        self.hub.recheck();
        let outers: Vec<_> = self.pairs.values().map(|it| (it.outer, it.door)).collect();
        for (outer, door) in outers {
            let key = self.hub.connection(outer).and_then(|facts| facts.key);
            if key.is_some_and(|key| self.expels(door, key)) {
                self.hub.kick(outer);
            }
        }
        for (dial, of) in &self.dials {
            if let Some(Keys::Curve(keys)) = self.keys_for(of.door) {
                self.hub.rekey(*dial, keys);
            }
        }
    }

    /// Takes other lists of whom the doors let in.
    pub(super) fn follow(&mut self, next: Config) {
        if let Some(keyring) = &mut self.keys.keyring {
            let guarded = guarded(&next).into_iter().map(|(_, guarded)| guarded);
            keyring.follow(guarded.collect());
        }
        self.config = next;
        self.hub.recheck();
    }

    /// The keys with which a door dials; nothing where it dials in clear text, or not at all.
    pub(super) fn keys_for(&self, door: usize) -> Option<Keys> {
        match &self.passages[door].door.outer {
            Outer::Dials { server, .. } => server.as_ref().map(|server| self.keys.to_dial(server)),
            Outer::Listens { .. } => None,
        }
    }

    /// Whether whom a door dialled by this key may not stay.
    fn expels(&self, door: usize, key: PublicKey) -> bool {
        let Outer::Dials { server, .. } = &self.passages[door].door.outer else {
            return false;
        };
        let keyring = server.as_ref().zip(self.keys.keyring.as_ref());
        keyring.is_some_and(|(server, keyring)| keyring.expels(server, Some(key)))
    }
}
