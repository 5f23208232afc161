//! Runs a role whose machine has the common shape: its listening sockets, whom it dials, its keys and
//! its health socket on one event loop, so that a stuck loop is a failed probe. What a role keeps is
//! written and read by threads of its own.
//!
//! It decides nothing: the machine does. Shutdown order, on SIGTERM, SIGINT or `drain`: stop
//! listening, finish what was begun, write what is queued, end with code 0.

mod dials;
mod fanning;
mod health;
mod start;
mod storing;
mod ticks;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::disk::Store;
use crate::model::limits::WireLimits;
use crate::model::security::Guarded;
use crate::model::socket::SocketType;
use crate::protocol::zn1::{self, Reply};
use crate::roles;
use crate::roles::machine::{Action, Common, Conn, Event, Machine};
use crate::run::keys::Keyring;
use crate::wire::hub::{ConnId, Fan, Hub, HubEvent, Security, SendError};
use crate::wire::linger::Linger;

use super::rekeying::rekeyed;
use super::tapping::Tapping;
use super::{DRAIN_WAIT, FAR, FLUSH_WAIT, HEALTH, NodeError, affordable, on_one_thread};
use dials::Dialled;
use health::Shown;
pub(super) use start::start;
use ticks::Ticks;

/// Runs a role to its end.
fn run<M: Machine + Send + 'static>(config: &roles::Config, machine: M) -> Result<(), NodeError> {
    on_one_thread(|| Ok(Driver::new(config, machine)?.run()))
}

struct Driver<M> {
    config: roles::Config,
    machine: M,
    hub: Hub,
    /// What fans out for the machine, where that is a bus.
    fan: Option<Arc<Fan>>,
    /// What strangers were told of that.
    shown: Shown,
    /// What it keeps on disk, where it keeps anything.
    store: Option<Store>,
    /// Its keys, where a socket that listens is encrypted.
    keyring: Option<Keyring>,
    limits: WireLimits,
    tapping: Tapping,
    /// Whom it dials, in the order it was told.
    dialled: Vec<Dialled>,
    start: Instant,
    /// What a step has said to do; kept for its memory.
    actions: Vec<Action>,
    /// When the timer rings, if it is armed.
    armed: Option<Duration>,
    /// How late that was.
    ticks: Ticks,
    is_draining: bool,
}

/// What a role that is run here has in common with the others.
fn common(config: &roles::Config) -> &Common {
    config.common().expect("only such roles are run here")
}

/// The ports that are encrypted, in their order.
fn guarded(common: &Common) -> Vec<Guarded> {
    let ports = common.ports.iter();
    ports.filter_map(|port| port.guarded.clone()).collect()
}

/// The keys of a role, where it has any.
fn keyring(told: &Common) -> Result<Option<Keyring>, NodeError> {
    let listeners = guarded(told);
    let dialled = told.dials.iter().find_map(|dial| dial.secured.as_ref());
    let dir = match (listeners.first(), dialled) {
        (Some(guarded), _) => &guarded.keys,
        (None, Some(secured)) => &secured.keys,
        (None, None) => return Ok(None),
    };
    let opened = Keyring::open(dir, &told.name, listeners.clone());
    opened.map(Some).map_err(NodeError::Keys)
}

impl<M: Machine> Driver<M> {
    fn new(config: &roles::Config, mut machine: M) -> Result<Self, NodeError> {
        let told = common(config);
        let store = storing::open(config, &mut machine)?;
        let limits = affordable(&told.limits, 1);
        let mut hub = Hub::new(WireLimits::default(), format!("ZN1:{}", told.name));
        hub.listen(HEALTH, &told.health, SocketType::Router, Security::Open)
            .map_err(NodeError::Listen)?;
        let keyring = keyring(told)?;
        hub.limit(match config.answers_others() {
            true => limits.with_room(),
            false => limits.clone(),
        });
        let mut tapping = Tapping::new(&told.name);
        let fan = fanning::fan(config, &mut tapping);
        let mut encrypted = 0..;
        for port in &told.ports {
            let number = port.guarded.as_ref().and_then(|_| encrypted.next());
            let security = match (&keyring, number) {
                (Some(keyring), Some(number)) => keyring.security(number),
                (None, _) | (_, None) => Security::Open,
            };
            match &fan {
                Some(fan) => fanning::listen(&mut hub, fan, port, security),
                None => hub.listen(&port.name, &port.bind, port.socket, security),
            }
            .map_err(NodeError::Listen)?;
            tracing::info!("bound to {}", port.bind);
        }
        let mut driver = Self {
            tapping,
            fan,
            shown: Shown::new(),
            store,
            config: config.clone(),
            machine,
            hub,
            keyring,
            limits,
            dialled: told.dials.iter().map(Dialled::new).collect(),
            start: Instant::now(),
            actions: Vec::new(),
            armed: None,
            ticks: Ticks::new(),
            is_draining: false,
        };
        driver.dial();
        Ok(driver)
    }

    async fn run(mut self) -> Result<(), NodeError> {
        let mut terminate = signal(SignalKind::terminate()).map_err(NodeError::Runtime)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(NodeError::Runtime)?;
        let tick = sleep_until(self.start + FAR);
        let end = sleep_until(self.start + FAR);
        tokio::pin!(tick, end);
        let mut linger = Linger::begin();
        while !(self.is_draining && self.machine.is_idle()) {
            let was_draining = self.is_draining;
            // The rare arms come first: polling them is cheap, and a flood cannot starve them.
            tokio::select! {
                biased;
                // Cancel safe: a signal that is not taken stays.
                _ = terminate.recv() => self.is_draining = true,
                _ = interrupt.recv() => self.is_draining = true,
                () = &mut end, if was_draining => break,
                () = &mut tick, if self.armed.is_some() => {
                    self.armed = None;
                    self.note_tick();
                    self.step(Event::Tick);
                }
                // Cancel safe: a change that is not handed out stays.
                () = rekeyed(&mut self.keyring) => self.rekey(),
                // Cancel safe: what is not handed out stays.
                told = storing::told(&mut self.store) => {
                    for told in told {
                        self.step(Event::Disk(told));
                    }
                    linger = Linger::begin();
                }
                event = self.hub.next() => {
                    self.receive(event);
                    linger = Linger::begin();
                }
                () = linger.look(), if linger.is_on() => {}
            }
            if self.is_draining && !was_draining {
                self.hub.stop_listening();
                self.step(Event::Drain);
                end.as_mut().reset(Instant::now() + DRAIN_WAIT);
            }
            self.arm(tick.as_mut());
        }
        self.hub.drain(FLUSH_WAIT).await;
        tracing::info!("zmqnet has gracefully shutdown");
        Ok(())
    }

    /// Arms the timer where it is not, or rings too late. It may ring early, and is armed again
    /// then: cheaper than moving it with every message.
    fn arm(&mut self, tick: Pin<&mut Sleep>) {
        let Some(deadline) = self.machine.deadline() else {
            return;
        };
        if self.armed.is_none_or(|armed| deadline < armed) {
            // A deadline that the machine gives for ever lies in what the clock can say.
            tick.reset(self.start + deadline.min(FAR));
            self.armed = Some(deadline);
        }
    }

    /// Notes how late the timer rang; early is not late.
    fn note_tick(&mut self) {
        let now = self.start.elapsed();
        let late = self.machine.deadline().and_then(|due| now.checked_sub(due));
        late.into_iter().for_each(|late| self.ticks.came(late));
    }

    fn receive(&mut self, event: HubEvent) {
        let event = match event {
            HubEvent::Message { port, conn, frames } if &*port == HEALTH => {
                return self.health(conn, frames);
            }
            HubEvent::Opened { port, .. }
            | HubEvent::Closed { port, .. }
            | HubEvent::Writable { port, .. }
                if &*port == HEALTH =>
            {
                return;
            }
            HubEvent::Message { port, conn, frames } => {
                self.tapping.came(&self.hub, conn, &frames);
                let conn = Conn(conn.0);
                Event::Message { port, conn, frames }
            }
            HubEvent::Opened { port, conn, dial } => {
                tracing::debug!(conn = conn.0, port = &*port, "connection opened");
                self.dial_opened(dial);
                let conn = Conn(conn.0);
                Event::Opened { port, conn }
            }
            HubEvent::Closed {
                port,
                conn,
                dial,
                reason,
            } => {
                tracing::debug!(conn = conn.0, port = &*port, ?reason, "connection closed");
                self.dial_lost(dial);
                self.tapping.gone(conn);
                let conn = Conn(conn.0);
                Event::Closed { port, conn }
            }
            HubEvent::Subscribed {
                port,
                conn,
                topic,
                is_on,
            } => Event::Subscribed {
                port,
                conn: Conn(conn.0),
                topic,
                is_on,
            },
            HubEvent::Writable { conn, .. } => Event::Writable { conn: Conn(conn.0) },
            HubEvent::DialFailed { dial, reason, .. } => return self.dial_failed(dial, &reason),
        };
        self.step(event);
    }

    /// One step of the machine, and what follows from it: a message that a peer does not take is an
    /// event of its own.
    fn step(&mut self, event: Event) {
        let mut actions = std::mem::take(&mut self.actions);
        let mut unsent = Vec::new();
        let mut next = Some(event);
        while let Some(event) = next.take().or_else(|| unsent.pop()) {
            let now = self.start.elapsed();
            self.machine.step(now, event, &mut actions);
            for action in actions.drain(..) {
                self.act(action, &mut unsent);
            }
        }
        self.actions = actions;
    }

    fn act(&mut self, action: Action, unsent: &mut Vec<Event>) {
        match action {
            Action::Send { conn, frames } => {
                self.tapping.goes(ConnId(conn.0), &frames);
                match self.hub.send(ConnId(conn.0), frames) {
                    Ok(()) => {}
                    Err(SendError::Full) => unsent.push(Event::Unsent { conn }),
                    // Its end is heard, or was.
                    Err(SendError::Closed) => {}
                }
            }
            Action::Close { conn } => {
                self.hub.kick(ConnId(conn.0));
            }
            Action::Pause { conn } => self.hub.pause(ConnId(conn.0)),
            Action::Resume { conn } => self.hub.resume(ConnId(conn.0)),
            Action::Subscribe { conn, topic, is_on } => {
                // Whoever is gone publishes nothing.
                self.hub.subscribe(ConnId(conn.0), topic, is_on).ok();
            }
            Action::Publish { caller, id, frames } => {
                let reply = fanning::publish(self.fan.as_deref(), id, &frames);
                self.act(caller.reply(&reply), unsent);
            }
            Action::Fan { frames } => {
                if let Some(fan) = &self.fan {
                    fan.publish(&frames);
                }
            }
            Action::Disk(ask) => {
                let store = self.store.as_ref();
                let store = store.expect("a role asks only the store that it was told of");
                unsent.extend(store.ask(ask).map(Event::Disk));
            }
            Action::Report { caller, id } => {
                // By the health socket it is asked of the driver, and told all.
                let told = self.told();
                self.act(caller.reply(&Reply::new(zn1::OK, id, told)), unsent);
            }
        }
    }
}
