//! A dialler that may use any of several keys: while a key is being replaced, ours or theirs, two are
//! good, and whoever dials finds out which one the other end knows.
//!
//! It never falls back to NULL: without any key that may be used it dials nobody.

use bytes::Bytes;
use tokio::time::Instant;

use crate::model::endpoint::Endpoint;
use crate::model::key::{KeyPair, PublicKey};

use super::curve::CurveClient;
use super::dial::{DialError, DialState, Dialler};

/// The keys of a dialler.
#[derive(Debug, Clone)]
pub enum Keys {
    /// NULL: none.
    Open,
    /// CURVE: any of these, those first that are most likely known.
    Curve(Vec<CurveClient>),
}

impl Keys {
    /// Each of our pairs with each key that the other end may have.
    pub fn each(own: &[KeyPair], servers: &[PublicKey]) -> Self {
        let clients = own.iter().flat_map(|own| {
            servers.iter().map(|server| CurveClient {
                own: own.clone(),
                server: *server,
            })
        });
        Self::Curve(clients.collect())
    }
}

/// A dialler, and the keys it may use.
pub struct KeyedDialler {
    dialler: Dialler,
    keys: Keys,
    /// Which of them is used, or was last.
    at: usize,
    /// By which the other end of the last connection was told.
    met: Option<PublicKey>,
    /// Whether nobody was dialled for want of a key.
    is_keyless: bool,
}

impl KeyedDialler {
    /// A dialler that has not dialled.
    pub fn new(endpoint: Endpoint, name: Option<String>, keys: Keys) -> Self {
        Self {
            dialler: Dialler::new(endpoint, name, first(&keys)),
            keys,
            at: 0,
            met: None,
            is_keyless: false,
        }
    }

    /// What was last found at the other end.
    pub fn state(&self) -> DialState {
        match self.is_keyless {
            true => DialState::NoKey,
            false => self.dialler.state(),
        }
    }

    /// Whether there is a connection to use.
    pub fn is_connected(&self) -> bool {
        self.dialler.is_connected()
    }

    /// What the other end calls itself, once connected; empty where it does not.
    pub fn announced(&self) -> &[u8] {
        self.dialler.announced()
    }

    /// Drops the connection; the next request dials anew.
    pub fn reset(&mut self) {
        self.dialler.reset();
    }

    /// Waits until the connection is lost while nothing is asked. Cancel safe.
    pub async fn lost(&mut self) {
        self.dialler.lost().await;
    }

    /// Takes other keys. A connection stays as long as the key of its other end is among them, or among
    /// those whose time is over and that nobody distrusts.
    pub fn rekey(&mut self, keys: Keys, retired: &[PublicKey]) {
        let used = match &self.keys {
            Keys::Open => None,
            Keys::Curve(keys) => keys.get(self.at).map(ends),
        };
        self.at = match (&keys, used) {
            (Keys::Curve(keys), Some(used)) => {
                let same = keys.iter().position(|key| ends(key) == used);
                let theirs = || keys.iter().position(|key| key.server == used.1);
                same.or_else(theirs).unwrap_or(0)
            }
            (Keys::Curve(_) | Keys::Open, _) => 0,
        };
        if let (Keys::Curve(keys), Some(met)) = (&keys, self.met)
            && !keys.iter().any(|key| key.server == met)
            && !retired.contains(&met)
        {
            self.dialler.reset();
        }
        self.keys = keys;
    }

    /// Connects, unless there is a connection.
    pub async fn connect(&mut self, deadline: Instant) -> Result<(), DialError> {
        self.try_keys(deadline, false).await
    }

    /// Connects, and waits for somebody to listen as long as the deadline allows.
    pub async fn connect_patiently(&mut self, deadline: Instant) -> Result<(), DialError> {
        self.try_keys(deadline, true).await
    }

    /// One request and its reply, by the deadline.
    pub async fn request(
        &mut self,
        frames: Vec<Bytes>,
        deadline: Instant,
    ) -> Result<Vec<Bytes>, DialError> {
        let was_open = self.is_connected();
        self.connect(deadline).await?;
        match self.dialler.request(frames.clone(), deadline).await {
            // The other end came back with another key, or knows another one of ours.
            Err(DialError::WrongServerKey | DialError::KeyRefused) if was_open => {
                self.connect(deadline).await?;
                self.dialler.request(frames, deadline).await
            }
            result => result,
        }
    }

    /// Tries the keys, the one that was good last first, until one is, or none is left.
    async fn try_keys(&mut self, deadline: Instant, is_patient: bool) -> Result<(), DialError> {
        self.is_keyless = false;
        if self.is_connected() {
            return Ok(());
        }
        let count = match &self.keys {
            Keys::Open => 1,
            Keys::Curve(keys) => keys.len(),
        };
        let begin = self.at;
        let mut fault = None;
        for step in 0..count {
            if let Keys::Curve(keys) = &self.keys {
                self.at = (begin + step) % count;
                self.dialler.use_keys(keys[self.at].clone());
            }
            let tried = match is_patient {
                true => self.dialler.connect_patiently(deadline).await,
                false => self.dialler.connect(deadline).await,
            };
            match tried {
                // Of all reasons this says most: they know us, and do not want us.
                Err(DialError::KeyRefused) => fault = Some(DialError::KeyRefused),
                Err(DialError::WrongServerKey) => {
                    fault.get_or_insert(DialError::WrongServerKey);
                }
                result => {
                    self.met = match &self.keys {
                        Keys::Curve(keys) => Some(keys[self.at].server),
                        Keys::Open => None,
                    };
                    return result;
                }
            }
        }
        self.at = begin;
        self.is_keyless = fault.is_none();
        Err(fault.unwrap_or(DialError::NoKey))
    }
}

fn first(keys: &Keys) -> Option<CurveClient> {
    match keys {
        Keys::Open => None,
        Keys::Curve(keys) => keys.first().cloned(),
    }
}

/// Our key and theirs.
fn ends(key: &CurveClient) -> (PublicKey, PublicKey) {
    (key.own.public, key.server)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::model::limits::WireLimits;
    use crate::model::socket::SocketType;
    use crate::wire::curve::generate;
    use crate::wire::hub::{Admission, Guard, Hub, HubEvent, Security};

    fn client(own: &KeyPair, server: &KeyPair) -> CurveClient {
        CurveClient {
            own: own.clone(),
            server: server.public,
        }
    }

    fn admission(own: &KeyPair, allowed: &KeyPair) -> Admission {
        Admission {
            own: vec![own.clone()],
            allowed: BTreeMap::from([(allowed.public, "ann".to_owned())]),
            ..Admission::default()
        }
    }

    /// A listener that answers what it is asked.
    async fn serve(mut hub: Hub) {
        loop {
            if let HubEvent::Message { conn, frames, .. } = hub.next().await {
                hub.send(conn, frames).ok();
            }
        }
    }

    #[tokio::test]
    async fn of_several_keys_the_one_that_the_other_end_knows_is_found_and_kept() {
        let [ours, ours_before, theirs, theirs_before] = [(); 4].map(|()| generate());
        let path = std::env::temp_dir().join(format!("zn-keyed-{}.sock", std::process::id()));
        let at = Endpoint::ipc(path);
        // They know neither our new key, nor have their own new one.
        let guard = Arc::new(Guard::new(admission(&theirs_before, &ours_before)));
        let mut hub = Hub::new(WireLimits::default(), "server");
        hub.listen(
            "main",
            &at,
            SocketType::Router,
            Security::Curve(guard.clone()),
        )
        .unwrap();
        let serving = tokio::spawn(serve(hub));
        let all = vec![
            client(&ours, &theirs),
            client(&ours, &theirs_before),
            client(&ours_before, &theirs),
            client(&ours_before, &theirs_before),
        ];
        let mut dialler = KeyedDialler::new(at.clone(), None, Keys::Curve(all.clone()));
        let until = || Instant::now() + Duration::from_secs(10);
        let ask = || vec![Bytes::from_static(b"hello")];
        assert_eq!(dialler.request(ask(), until()).await, Ok(ask()));
        // The pairs that are gone were not in use, so the connection stays.
        dialler.rekey(Keys::Curve(vec![all[3].clone()]), &[]);
        assert!(dialler.is_connected());
        // That the time of their key is over ends nothing, whatever changes next.
        for _ in 0..2 {
            dialler.rekey(Keys::Curve(vec![all[0].clone()]), &[theirs_before.public]);
            assert!(dialler.is_connected());
        }
        // Without their key it does not stay.
        dialler.rekey(Keys::Curve(vec![all[0].clone()]), &[]);
        assert!(!dialler.is_connected());
        let refused = dialler.request(ask(), until()).await;
        assert_eq!(refused, Err(DialError::WrongServerKey));
        dialler.rekey(Keys::Curve(vec![all[0].clone(), all[1].clone()]), &[]);
        let refused = dialler.request(ask(), until()).await;
        assert_eq!(refused, Err(DialError::KeyRefused));
        guard.replace(admission(&theirs, &ours));
        assert_eq!(dialler.request(ask(), until()).await, Ok(ask()));
        serving.abort();
    }

    #[tokio::test]
    async fn without_a_key_nobody_is_dialled() {
        let at = Endpoint::ipc("/nonexistent/nobody");
        let mut dialler = KeyedDialler::new(at, None, Keys::Curve(Vec::new()));
        let until = Instant::now() + Duration::from_secs(10);
        let refused = dialler.request(vec![Bytes::new()], until).await;
        assert_eq!(refused, Err(DialError::NoKey));
        assert_eq!(dialler.state(), DialState::NoKey);
    }
}
