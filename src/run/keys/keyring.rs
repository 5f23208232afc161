//! The keys of a process: read from the key directory when it starts, and again whenever it changes.
//!
//! What cannot be read anew is said and changes nothing: whoever has keys goes on with them. It holds
//! no key longer than it is good, and asks nobody but the directory.

use std::path::Path;
use std::sync::Arc;

use crate::model::key::{KeyPair, PublicKey};
use crate::model::name::InstanceName;
use crate::model::security::{Admitted, Guarded};
use crate::wire::hub::{Admission, Guard, Security};
use crate::wire::keyed::Keys;

use super::{KeyDir, KeyDirError, Ring, Watch};

/// The keys of a process whose sockets are encrypted.
#[derive(Debug)]
pub struct Keyring {
    dir: KeyDir,
    /// Whose pairs these are.
    name: InstanceName,
    /// Its listeners, each with whom it admits.
    listeners: Vec<(Guarded, Arc<Guard>)>,
    watch: Watch,
    /// Its own pairs, to dial with.
    own: Vec<KeyPair>,
}

impl From<Ring> for Admission {
    fn from(ring: Ring) -> Self {
        Self {
            own: ring.pairs,
            allowed: ring.allow,
            retired: ring.retired.keys().copied().collect(),
            revoked: ring.revoked.keys().copied().collect(),
            known: (ring.known.into_iter())
                .chain(ring.retired)
                .chain(ring.revoked)
                .collect(),
        }
    }
}

impl Keyring {
    /// Reads everything that a process uses with the key of `name`: what it dials with, and what
    /// each of its listeners needs. Must be called inside a tokio runtime.
    pub fn open(
        keys: &Path,
        name: &InstanceName,
        listeners: Vec<Guarded>,
    ) -> Result<Self, KeyDirError> {
        let dir = KeyDir::open(keys)?;
        let nobody = |guarded| (guarded, Arc::new(Guard::new(Admission::default())));
        let mut keyring = Self {
            // Watched first, so that no change falls between.
            watch: Watch::new(keys)?,
            dir,
            name: name.clone(),
            listeners: listeners.into_iter().map(nobody).collect(),
            own: Vec::new(),
        };
        keyring.read()?;
        Ok(keyring)
    }

    /// What a listener asks of its peers, by its number among those that were given.
    pub fn security(&self, listener: usize) -> Security {
        Security::Curve(self.listeners[listener].1.clone())
    }

    /// Waits until the directory has changed. Cancel safe.
    pub async fn changed(&mut self) {
        self.watch.changed().await;
    }

    /// Takes other lists of whom its listeners admit, in their order.
    pub fn follow(&mut self, listeners: Vec<Guarded>) {
        for ((present, _), next) in self.listeners.iter_mut().zip(listeners) {
            *present = next;
        }
        self.reload();
    }

    /// Reads everything again; where that cannot be done, nothing changes, and it says so.
    pub fn reload(&mut self) -> bool {
        let read = self.read();
        if let Err(error) = &read {
            let help = error.help().unwrap_or_default();
            tracing::error!(help, "the keys stay as they were: {error}");
        }
        read.is_ok()
    }

    fn read(&mut self) -> Result<(), KeyDirError> {
        // The directory may have been opened to others meanwhile.
        let dir = KeyDir::open(self.dir.path())?;
        let rings = self.listeners.iter().map(|(guarded, _)| dir.ring(guarded));
        let rings = rings.collect::<Result<Vec<Ring>, _>>()?;
        let (own, own_until) = dir.own_until(self.name.as_str())?;
        let ends = rings.iter().map(|ring| ring.good_until);
        let due = ends.chain([own_until]).flatten().min();
        self.watch.due_at(due);
        self.own = own;
        for ((_, guard), ring) in self.listeners.iter().zip(rings) {
            for name in &ring.missing {
                let file = dir.public_file(name.as_str());
                tracing::warn!("`{name}` is not admitted: there is no {}", file.display());
            }
            guard.replace(ring.into());
        }
        Ok(())
    }

    /// The keys by which somebody may be dialled; none where they are missing or revoked.
    pub fn to_dial(&self, server: &Admitted) -> Keys {
        match self.dir.servers(server) {
            Ok(servers) => Keys::each(&self.own, &servers),
            Err(error) => {
                tracing::warn!("`{}` is not dialled: {error}", server.who);
                Keys::Curve(Vec::new())
            }
        }
    }

    /// The keys of somebody who was dialled by which a connection lives on, though nobody is dialled by
    /// them any more.
    pub fn retired(&self, server: &Admitted) -> Vec<PublicKey> {
        // That there is nothing to read was said where it is dialled.
        self.dir.retired(server).unwrap_or_default()
    }

    /// Whether a connection to somebody who was dialled may not stay: the key by which it was made is
    /// revoked or nobody's now, or all are. Where that cannot be read, nothing changes.
    pub fn expels(&self, server: &Admitted, met: Option<PublicKey>) -> bool {
        match self.dir.servers(server) {
            Ok(good) => {
                met.is_some_and(|met| !good.contains(&met) && !self.retired(server).contains(&met))
            }
            Err(error) => {
                matches!(error, KeyDirError::Revoked(_) | KeyDirError::NoKey { .. })
            }
        }
    }

    /// Whose a key is, as far as the directory knows.
    pub fn who(&self, key: &PublicKey) -> Option<String> {
        self.dir.who(key)
    }
}
