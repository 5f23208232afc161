//! A port whose connections are met only, and handed out before our READY: the inner side of a gate.
//!
//! What is before a handshake has the same limits here as at any other port: a deadline, a number, and
//! then the oldest makes room. Who breaks one is counted. It must never hold what nobody will take.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use rustix::io::Errno;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use crate::model::endpoint::Endpoint;
use crate::model::limits::WireLimits;

use super::ban::Who;
use super::bind::{self, ACCEPT_REST, Listener};
use super::guard::Security;
use super::hold::{Held, HoldError};
use super::refusal::{Limit, Refused};
use super::stream::Stream;
use super::{Arrival, Hub, ListenError, Port};

/// Somebody who came to such a port and was not met.
pub(super) struct Unmet {
    /// The port, by its index.
    pub(super) port: usize,
    pub(super) ip: Option<IpAddr>,
    pub(super) limit: Limit,
    /// What is known beyond the limit's own words.
    pub(super) detail: Option<String>,
}

impl Hub {
    /// Binds an endpoint whose connections are met only, and told with `number` before our READY.
    pub fn listen_held(
        &mut self,
        name: &str,
        (endpoint, number): (&Endpoint, usize),
        tell: mpsc::Sender<(usize, Held)>,
    ) -> Result<(), ListenError> {
        let (bound, listener) = bind::bind(endpoint)?;
        let listener = listener.into_listener();
        let listener = listener.map_err(|error| ListenError::Io(endpoint.clone(), error))?;
        let holding = Holding {
            port: self.ports.len(),
            number,
            limits: self.limits.clone(),
            pending: VecDeque::new(),
            meeting: JoinSet::new(),
            tell,
            arrive: self.arrive.clone(),
        };
        let accepting = self.tasks.spawn(holding.run(listener));
        // It shows nobody: who adopts what it met says whom.
        self.ports.push(Port {
            name: name.into(),
            limits: self.limits.clone(),
            security: Security::Open,
            bound,
            accepting: Some(accepting),
            room: Arc::default(),
            part: None,
        });
        Ok(())
    }

    /// Counts somebody who came to a port and was not met.
    pub(super) fn unmet(&self, unmet: &Unmet) {
        self.lobby.refusals().add(&Refused {
            port: &self.ports[unmet.port].name,
            address: unmet.ip,
            key: None,
            who: None,
            limit: unmet.limit,
            detail: unmet.detail.clone(),
        });
    }

    /// Whether one that was met is banned; then it is counted.
    pub fn is_held_banned(&mut self, name: &str, held: &Held) -> bool {
        let who = Who {
            address: held.stream.ip(),
            key: None,
            identity: &held.face().identity,
        };
        let is_banned = self.lobby.bans().meets(&who);
        if is_banned {
            self.refuse_held(name, held, Limit::Banned, None);
        }
        is_banned
    }

    /// Counts one that was met and is of no use to whoever owns the port of this name.
    pub fn refuse_held(&mut self, name: &str, held: &Held, limit: Limit, detail: Option<String>) {
        self.lobby.refusals().add(&Refused {
            port: name,
            address: held.stream.ip(),
            key: None,
            who: None,
            limit,
            detail,
        });
    }
}

/// The task of such a port.
struct Holding {
    port: usize,
    number: usize,
    limits: Arc<WireLimits>,
    /// Those that are being met, oldest first; may name ones that are done.
    pending: VecDeque<(AbortHandle, Option<IpAddr>)>,
    meeting: JoinSet<()>,
    tell: mpsc::Sender<(usize, Held)>,
    arrive: mpsc::Sender<Arrival>,
}

impl Holding {
    async fn run(mut self, listener: Listener) {
        let mut said = None;
        loop {
            let accepted = tokio::select! {
                // Cancel safe, both: what is not handed out stays.
                accepted = listener.accept() => accepted,
                Some(_) = self.meeting.join_next() => continue,
            };
            match accepted {
                Ok((stream, address)) => self.meet(stream, address).await,
                Err(error) => {
                    bind::say(&mut said, &error);
                    let errno = Errno::from_io_error(&error);
                    if matches!(errno, Some(Errno::MFILE | Errno::NFILE)) {
                        self.make_room(self.pending.len() / 2).await;
                    }
                    tokio::time::sleep(ACCEPT_REST).await;
                }
            }
        }
    }

    /// Meets a newcomer in a task of its own, which ends within the deadline of a handshake.
    async fn meet(&mut self, stream: Stream, address: String) {
        if self.pending.len() >= self.limits.pending_max {
            self.make_room(self.limits.pending_max - 1).await;
        }
        let (port, ip) = (self.port, stream.ip());
        let (number, limits) = (self.number, self.limits.clone());
        let (tell, arrive) = (self.tell.clone(), self.arrive.clone());
        let task = self.meeting.spawn(async move {
            let error = match Held::meet(stream, address, &limits).await {
                Ok(held) => return drop(tell.send((number, held)).await),
                Err(error) => error,
            };
            if let Some((limit, detail)) = limit_of(&error) {
                let unmet = Unmet {
                    port,
                    ip,
                    limit,
                    detail,
                };
                // The hub may be gone; then nobody counts.
                drop(arrive.send(Arrival::Unmet(unmet)).await);
            }
        });
        self.pending.push_back((task, ip));
    }

    /// Ends the oldest that are being met, as long as there are more than so many.
    async fn make_room(&mut self, max: usize) {
        self.pending.retain(|(task, _)| !task.is_finished());
        while self.pending.len() > max {
            let Some((oldest, ip)) = self.pending.pop_front() else {
                return;
            };
            oldest.abort();
            let unmet = Unmet {
                port: self.port,
                ip,
                limit: Limit::Pending,
                detail: None,
            };
            drop(self.arrive.send(Arrival::Unmet(unmet)).await);
        }
    }
}

/// Which limit somebody broke who was not met, if it was one.
fn limit_of(error: &HoldError) -> Option<(Limit, Option<String>)> {
    match error {
        HoldError::Late => Some((Limit::Handshake, None)),
        HoldError::TooLong => Some((Limit::Metadata, None)),
        HoldError::NotZmtp => Some((Limit::Protocol, Some(error.to_string()))),
        HoldError::Io(_) | HoldError::Closed => None,
    }
}
