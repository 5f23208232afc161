//! The keys of a process: read from the key directory when it starts, and again whenever it changes.
//!
//! What cannot be read anew is said and changes nothing: whoever has keys goes on with them. It holds
//! no key longer than it is good, and asks nobody but the directory.

use std::sync::Arc;

use crate::model::key::{KeyPair, PublicKey};
use crate::model::security::{Admitted, Guarded};
use crate::wire::hub::{Admission, Guard, Security};
use crate::wire::keyed::Keys;

use super::{KeyDir, KeyDirError, Ring, Watch};

/// The keys of a process whose sockets are encrypted.
#[derive(Debug)]
pub struct Keyring {
    guarded: Guarded,
    dir: KeyDir,
    guard: Arc<Guard>,
    watch: Watch,
    /// Its own pairs, to dial with.
    own: Vec<KeyPair>,
}

impl From<Ring> for Admission {
    fn from(ring: Ring) -> Self {
        Self {
            own: ring.pairs,
            allowed: ring.allow,
            revoked: ring.revoked.keys().copied().collect(),
            known: ring.known.into_iter().chain(ring.revoked).collect(),
        }
    }
}

impl Keyring {
    /// Reads everything. Must be called inside a tokio runtime.
    pub fn open(guarded: &Guarded) -> Result<Self, KeyDirError> {
        let dir = KeyDir::open(&guarded.keys)?;
        // Watched first, so that no change falls between.
        let watch = Watch::new(&guarded.keys)?;
        let ring = dir.ring(guarded)?;
        let mut keyring = Self {
            guarded: guarded.clone(),
            dir,
            guard: Arc::new(Guard::new(Admission::default())),
            watch,
            own: Vec::new(),
        };
        keyring.hold(ring);
        Ok(keyring)
    }

    /// What its listeners ask of their peers.
    pub fn security(&self) -> Security {
        Security::Curve(self.guard.clone())
    }

    /// Waits until the directory has changed. Cancel safe.
    pub async fn changed(&mut self) {
        self.watch.changed().await;
    }

    /// Takes another list of whom it admits.
    pub fn follow(&mut self, guarded: &Guarded) {
        self.guarded = guarded.clone();
        self.reload();
    }

    /// Reads everything again.
    pub fn reload(&mut self) {
        // The directory may have been opened to others meanwhile.
        let read = KeyDir::open(&self.guarded.keys).and_then(|dir| dir.ring(&self.guarded));
        match read {
            Ok(ring) => self.hold(ring),
            Err(error) => {
                let help = error.help().unwrap_or_default();
                tracing::error!(help, "the keys stay as they were: {error}");
            }
        }
    }

    fn hold(&mut self, ring: Ring) {
        for name in &ring.missing {
            let file = self.dir.public_file(name.as_str());
            tracing::warn!("`{name}` is not admitted: there is no {}", file.display());
        }
        self.watch.due_at(ring.good_until);
        self.own.clone_from(&ring.pairs);
        self.guard.replace(ring.into());
    }

    /// The keys by which a peer may be dialled; none where they are missing or revoked.
    pub fn to_dial(&self, peer: &str) -> Keys {
        let mut allowed = self.guarded.allow.iter();
        let server = allowed.find(|admitted| admitted.who.as_str() == peer);
        let server = server.cloned().unwrap_or_else(|| Admitted {
            who: peer.into(),
            key: None,
        });
        match self.dir.servers(&server) {
            Ok(servers) => Keys::each(&self.own, &servers),
            Err(error) => {
                tracing::warn!("`{peer}` is not dialled: {error}");
                Keys::Curve(Vec::new())
            }
        }
    }

    /// Whose a key is, as far as the directory knows.
    pub fn who(&self, key: &PublicKey) -> Option<String> {
        self.dir.who(key)
    }
}
