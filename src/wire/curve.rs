//! CURVE (RFC 26): new keys, and what a side of a connection needs to speak it.
//!
//! The mathematics is the engine's; this is the one place where our keys become its keys. Nothing
//! here writes a key anywhere, and no secret is ever part of an error or of a log line.

use omq_proto::proto::mechanism::{
    CurveKeypair, CurvePublicKey, CurveSecretKey, CurveServerOptions, MechanismSetup,
};

use crate::model::key::{KeyPair, PublicKey, SecretKey};

/// What a dialling side needs: its own pair, and whom it expects to meet.
#[derive(Debug, Clone)]
pub struct CurveClient {
    /// Our own pair.
    pub own: KeyPair,
    /// The public key of the listener; another listener cannot read a byte of ours.
    pub server: PublicKey,
}

/// A new pair, from the operating system's randomness.
pub fn generate() -> KeyPair {
    let pair = CurveKeypair::generate();
    KeyPair {
        public: PublicKey::from_bytes(*pair.public.as_bytes()),
        secret: SecretKey::from_bytes(*pair.secret.as_bytes()),
    }
}

/// The public key that belongs to a secret one.
pub fn public_of(secret: &SecretKey) -> PublicKey {
    let public = CurveSecretKey::from_bytes(*secret.as_bytes()).derive_public();
    PublicKey::from_bytes(*public.as_bytes())
}

fn pair_of(own: &KeyPair) -> CurveKeypair {
    CurveKeypair {
        public: CurvePublicKey::from_bytes(*own.public.as_bytes()),
        secret: CurveSecretKey::from_bytes(*own.secret.as_bytes()),
    }
}

/// The engine's side of a listener. Whoever drives the engine decides who is admitted: the callback
/// here is never reached, and would admit nobody.
pub(super) fn server(own: &KeyPair) -> MechanismSetup {
    MechanismSetup::CurveServer {
        our_keypair: pair_of(own),
        options: CurveServerOptions::new().authenticator(|_| false),
    }
}

/// The engine's side of a dialler.
pub(super) fn client(client: &CurveClient) -> MechanismSetup {
    MechanismSetup::CurveClient {
        our_keypair: pair_of(&client.own),
        server_public: CurvePublicKey::from_bytes(*client.server.as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_new_each_time_and_its_halves_belong_together() {
        let (one, other) = (generate(), generate());
        assert_ne!(one.public, other.public);
        assert_eq!(public_of(&one.secret), one.public);
        assert_ne!(public_of(&other.secret), one.public);
    }

    #[test]
    fn the_pair_of_the_libzmq_manual_belongs_together() {
        let secret = "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs";
        let public = "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID";
        assert_eq!(public_of(&secret.parse().unwrap()), public.parse().unwrap());
    }
}
