//! Who may talk to a listener under CURVE: its own keys, the allow-list, the revoked keys.
//!
//! A [`Guard`] is shared by the listeners that have the same keys and is replaced whole while they
//! listen; [`super::Hub::recheck`] then closes whoever is no longer admitted. It never writes a
//! secret anywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use crate::model::key::{KeyPair, PublicKey};

/// The most own pairs a listener answers to: the current one and those in overlap. Each costs a
/// stranger's wrong HELLO one more multiplication.
pub const OWN_PAIRS_MAX: usize = 4;

/// What a listening port asks of its peers.
#[derive(Debug, Clone)]
pub enum Security {
    /// Nothing: NULL. For a port that only this machine reaches, or where the manifest says `never`.
    Open,
    /// CURVE, with the keys and the allow-list of a guard.
    Curve(Arc<Guard>),
}

/// What a guard holds.
#[derive(Debug, Default)]
pub struct Admission {
    /// The own pairs: the current one first, then those still in overlap. Without any, nobody is
    /// admitted. Those after [`OWN_PAIRS_MAX`] are not tried.
    pub own: Vec<KeyPair>,
    /// Who is admitted, by key.
    pub allowed: BTreeMap<PublicKey, String>,
    /// Keys whose time is over: whoever comes with one is refused, whoever is there stays.
    pub retired: BTreeSet<PublicKey>,
    /// Keys that were taken back: refused with a reason of their own, whatever `allowed` says.
    pub revoked: BTreeSet<PublicKey>,
    /// Whose other keys are, so that a refusal can say it; it admits nobody.
    pub known: BTreeMap<PublicKey, String>,
}

/// Why a key is not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyRefusal {
    /// It is not on the allow-list.
    Unlisted,
    /// It was replaced, and its time is over.
    Retired,
    /// It was revoked.
    Revoked,
}

impl fmt::Display for KeyRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unlisted => "its key is not on the allow-list",
            Self::Retired => "its key was replaced, and its time is over",
            Self::Revoked => "its key was revoked",
        })
    }
}

/// The keys and the allow-list of listeners, replaceable while they listen.
#[derive(Debug)]
pub struct Guard(RwLock<Arc<Admission>>);

impl Guard {
    /// A guard that admits as told.
    pub fn new(admission: Admission) -> Self {
        Self(RwLock::new(Arc::new(admission)))
    }

    /// Replaces everything. Handshakes that begin from now on see it;
    /// [`super::Hub::recheck`] applies it to the connections there are.
    pub fn replace(&self, admission: Admission) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(admission);
    }

    /// What it holds now.
    pub fn admission(&self) -> Arc<Admission> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Whose key this is, admitted or not, as far as that is known.
    pub fn owner(&self, key: &PublicKey) -> Option<String> {
        let admission = self.admission();
        let owner = admission.allowed.get(key);
        owner.or_else(|| admission.known.get(key)).cloned()
    }

    /// Whose key this is, if it is admitted.
    pub fn judge(&self, key: &PublicKey) -> Result<String, KeyRefusal> {
        let admission = self.admission();
        if admission.revoked.contains(key) {
            return Err(KeyRefusal::Revoked);
        }
        let who = admission.allowed.get(key).cloned();
        who.ok_or(match admission.retired.contains(key) {
            true => KeyRefusal::Retired,
            false => KeyRefusal::Unlisted,
        })
    }

    /// Why whoever was admitted with this key may not stay, if so.
    pub(super) fn expels(&self, key: &PublicKey) -> Option<KeyRefusal> {
        let refusal = self.judge(key).err();
        refusal.filter(|refusal| *refusal != KeyRefusal::Retired)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::curve;

    #[test]
    fn a_revoked_key_is_refused_even_where_it_is_allowed_and_replacing_counts_at_once() {
        let (ann, bob, eve) = (curve::generate(), curve::generate(), curve::generate());
        let guard = Guard::new(Admission {
            own: vec![curve::generate()],
            allowed: BTreeMap::from([(ann.public, "ann".into()), (bob.public, "bob".into())]),
            revoked: BTreeSet::from([bob.public]),
            ..Admission::default()
        });
        assert_eq!(guard.judge(&ann.public), Ok("ann".into()));
        assert_eq!(guard.judge(&bob.public), Err(KeyRefusal::Revoked));
        assert_eq!(guard.judge(&eve.public), Err(KeyRefusal::Unlisted));
        assert_eq!(guard.expels(&bob.public), Some(KeyRefusal::Revoked));
        guard.replace(Admission::default());
        assert_eq!(guard.judge(&ann.public), Err(KeyRefusal::Unlisted));
        assert_eq!(guard.expels(&ann.public), Some(KeyRefusal::Unlisted));
    }

    #[test]
    fn who_has_a_key_whose_time_is_over_stays_and_does_not_come() {
        let (ann, bob) = (curve::generate(), curve::generate());
        let guard = Guard::new(Admission {
            retired: BTreeSet::from([ann.public, bob.public]),
            revoked: BTreeSet::from([bob.public]),
            ..Admission::default()
        });
        assert_eq!(guard.judge(&ann.public), Err(KeyRefusal::Retired));
        assert_eq!(guard.expels(&ann.public), None);
        assert_eq!(guard.expels(&bob.public), Some(KeyRefusal::Revoked));
    }

    #[test]
    fn no_secret_is_shown() {
        let pair = curve::generate();
        let secret = pair.secret.to_z85();
        let guard = Guard::new(Admission {
            own: vec![pair],
            ..Admission::default()
        });
        assert!(!format!("{guard:?}").contains(&*secret));
    }
}
