//! Whom a role dials: the hub keeps the connections, this keeps what is known of them and their keys.
//!
//! What is to be encrypted is never dialled in clear text: without a key nobody is dialled until
//! there is one.

use std::time::SystemTime;

use serde_json::{Value, json};

use crate::roles;
use crate::roles::machine::{Conn, Dial, Event, Machine};
use crate::wire::curve::CurveClient;
use crate::wire::dial::{DialError, DialState};
use crate::wire::hub::{DialId, Dialling};
use crate::wire::keyed::Keys;

use super::{Driver, common, fanning, guarded};
use crate::run::node::millis;

/// Somebody who is dialled, and what is known of that.
pub(super) struct Dialled {
    told: Dial,
    /// The hub's dial, once there is a key for it.
    id: Option<DialId>,
    state: DialState,
    since: SystemTime,
}

impl Dialled {
    pub(super) fn new(told: &Dial) -> Self {
        Self {
            told: told.clone(),
            id: None,
            state: DialState::NeverDialled,
            since: SystemTime::now(),
        }
    }

    fn is_now(&mut self, state: DialState) {
        if self.state != state {
            (self.state, self.since) = (state, SystemTime::now());
            if state == DialState::Connected {
                tracing::info!("connected to {}", self.told.endpoint);
            }
        }
    }

    /// What `status` says of it.
    pub(super) fn facts(&self) -> Value {
        json!({
            "name": self.told.peer,
            "endpoint": self.told.endpoint,
            "state": self.state,
            "since_ms": millis(self.since),
        })
    }
}

impl<M: Machine> Driver<M> {
    /// Dials everybody who is not dialled yet and whose key is known.
    pub(super) fn dial(&mut self) {
        let name = &common(&self.config).name;
        for dialled in &mut self.dialled {
            let told = &dialled.told;
            let keys: Option<Vec<CurveClient>> = told.secured.as_ref().map(|secured| {
                let keyring = self.keyring.as_ref();
                match keyring.map(|keyring| keyring.to_dial(&secured.server)) {
                    Some(Keys::Curve(keys)) => keys,
                    Some(Keys::Open) | None => Vec::new(),
                }
            });
            match (dialled.id, keys) {
                (None, Some(keys)) if keys.is_empty() => dialled.is_now(DialState::NoKey),
                (Some(id), Some(keys)) => self.hub.rekey(id, keys),
                (Some(_), None) => {}
                (None, keys) => {
                    // A listener of ours is dialled once for each link at most.
                    let identity = format!("{name}#{}.{}", std::process::id(), told.name);
                    let dialling = Dialling {
                        identity: identity.into(),
                        security: keys.as_ref().and_then(|keys| keys.first().cloned()),
                    };
                    // A stream and a key-value store only publish by theirs.
                    let is_bus = matches!(self.config, roles::Config::Bus(_));
                    let id = match self.fan.as_ref().filter(|_| is_bus) {
                        Some(fan) => {
                            let topics = fanning::topics(&self.config, &told.name);
                            let asked = (fan, topics, fanning::origin(told));
                            self.hub
                                .dial_fan(&told.name, &told.endpoint, asked, dialling)
                        }
                        None => self
                            .hub
                            .dial(&told.name, &told.endpoint, told.socket, dialling),
                    };
                    self.hub.rekey(id, keys.unwrap_or_default());
                    dialled.id = Some(id);
                }
            }
        }
    }

    /// Gives up whom another configuration does not name, and dials whom it does.
    pub(super) fn redial(&mut self) {
        let told = common(&self.config).dials.clone();
        let dialled = std::mem::take(&mut self.dialled).into_iter();
        let (kept, gone): (Vec<_>, Vec<_>) = dialled.partition(|it| told.contains(&it.told));
        self.dialled = kept;
        for Dialled { told, id, .. } in gone {
            let Some(id) = id else { continue };
            let conn = self.hub.connection_of(id);
            self.hub.hang_up(id);
            // The hub says nothing of an end that it was asked for.
            if let Some(conn) = conn {
                let (port, conn) = (told.name.into(), Conn(conn.0));
                self.step(Event::Closed { port, conn });
            }
        }
        for new in told {
            if !self.dialled.iter().any(|it| it.told == new) {
                self.dialled.push(Dialled::new(&new));
            }
        }
        self.dial();
    }

    /// Reads the keys again: who is no longer admitted is gone at once, and nobody else notices.
    pub(super) fn rekey(&mut self) {
        if let Some(keyring) = &mut self.keyring
            && keyring.reload()
        {
            self.hub.recheck();
            self.leave();
            self.dial();
        }
    }

    /// Leaves whom we dialled by a key that is revoked now, or that nobody knows any more; that the time
    /// of a key is over ends nothing. Who has another key is dialled by that.
    fn leave(&mut self) {
        let mut left = Vec::new();
        for dialled in &mut self.dialled {
            let (keyring, secured) = (self.keyring.as_ref(), dialled.told.secured.as_ref());
            let (Some(id), Some((keyring, secured))) = (dialled.id, keyring.zip(secured)) else {
                continue;
            };
            let conn = self.hub.connection_of(id);
            let met = conn.and_then(|conn| self.hub.connection(conn)?.key);
            if keyring.expels(&secured.server, met) {
                self.hub.hang_up(id);
                dialled.id = None;
                left.extend(conn.map(|conn| (dialled.told.name.clone(), conn)));
            }
        }
        for (port, conn) in left {
            // The hub says nothing of an end that it was asked for.
            let (port, conn) = (port.into(), Conn(conn.0));
            self.step(Event::Closed { port, conn });
        }
    }

    /// Takes other lists of whom its ports admit.
    pub(super) fn admit(&mut self) {
        let listeners = guarded(common(&self.config));
        if let Some(keyring) = &mut self.keyring {
            keyring.follow(listeners);
            self.hub.recheck();
        }
    }

    fn dialled(&mut self, id: Option<DialId>) -> Option<&mut Dialled> {
        let mut dialled = self.dialled.iter_mut();
        dialled.find(|dialled| id.is_some() && dialled.id == id)
    }

    pub(super) fn dial_opened(&mut self, id: Option<DialId>) {
        if let Some(dialled) = self.dialled(id) {
            dialled.is_now(DialState::Connected);
        }
    }

    pub(super) fn dial_lost(&mut self, id: Option<DialId>) {
        if let Some(dialled) = self.dialled(id) {
            dialled.is_now(DialState::Lost);
        }
    }

    pub(super) fn dial_failed(&mut self, id: DialId, error: &DialError) {
        if let Some(dialled) = self.dialled(Some(id)) {
            dialled.is_now(DialState::from(error));
        }
    }
}
