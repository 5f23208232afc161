//! A connection as one end of a wire: what it reads is the other end's to write.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::model::socket::SocketType;
use crate::wire::hub::event::CloseReason;
use crate::wire::hub::forward::{Flow, LINGER, Passed};
use crate::wire::hub::hold::Face;
use crate::wire::hub::inbox::Received;

use super::{Peer, State};

impl Peer {
    /// Writes what the kernel takes now, and what then moves up from behind it.
    pub(super) fn flush_lane(&self, state: &mut State) -> io::Result<bool> {
        let mut is_behind = self.flush(state)?;
        if self.fanning.is_some() {
            return Ok(self.flush_fan(state)? || is_behind);
        }
        if let Some(forward) = &self.forward {
            while forward.advance(&mut state.session) && !is_behind {
                is_behind = self.flush(state)?;
            }
        }
        Ok(is_behind)
    }

    /// Hands what came to the other end of its wire; what that does not take stays, and is bounded
    /// like everything that is not taken. Whether the peer asks for more than it may in one turn.
    pub(super) fn hand_on(&self) -> Result<bool, CloseReason> {
        if let Some(fanning) = &self.fanning {
            return self.hand_to_fan(fanning);
        }
        let Some(forward) = &self.forward else {
            return Ok(false);
        };
        while let Some(partner) = forward.partner() {
            let mut received = self.state().session.take_all();
            if received.is_empty() {
                break;
            }
            partner.accept(&mut received);
            let mut state = self.state();
            if !received.is_empty() {
                state.session.put_back(received);
                break;
            }
            // There is room for what waited to be parsed.
            state.session.parse()?;
        }
        Ok(false)
    }

    /// Takes what the other end of its wire read, as much as it may.
    fn accept(&self, received: &mut VecDeque<Received>) {
        let forward = self.forward.as_ref().expect("both ends of a wire forward");
        let mut state = self.state();
        let waits = forward.take(&mut state.session, received, &|session| {
            drop(self.write(session));
        });
        self.flush_soon(&mut state);
        if waits {
            // Where the kernel took all there was, nothing else has the task move up what waits.
            self.wake.notify_one();
        }
    }

    /// The connection is gone: what it read is handed on, as long as somebody may take it.
    pub(super) async fn leave(&self, wake: &Notify) {
        self.leave_fan();
        if self.fanning.is_some() {
            // What a publisher sent was handed on, and what a subscriber wants is for nobody.
            return;
        }
        let Some(forward) = &self.forward else {
            return self.parse_out(wake).await;
        };
        let deadline = Instant::now() + LINGER;
        loop {
            // It is over: a fault in what follows changes nothing.
            self.hand_on().ok();
            if forward.stage().is_ending || !self.state().session.has_received() {
                break;
            }
            // It is woken when there is room, when it is paired, and when nobody is there any more.
            if timeout_at(deadline, wake.notified()).await.is_err() {
                break;
            }
        }
        self.part();
    }

    /// Parses what came before the end and had no room yet, as the hub's owner makes some.
    async fn parse_out(&self, wake: &Notify) {
        loop {
            {
                let mut state = self.state();
                let parsed = state.session.parse();
                self.tell(&mut state);
                if parsed.is_err() || !state.session.waits_for_room() {
                    return;
                }
            }
            wake.notified().await;
        }
    }

    /// The connection is gone: its lane is counted, and the other end of its wire learns of it.
    pub(in crate::wire::hub) fn part(&self) {
        self.leave_fan();
        let Some(forward) = &self.forward else {
            return;
        };
        if let Some(partner) = forward.part() {
            partner.end_wire();
        }
    }

    /// The other end of its wire is gone: what waits is written, then this one ends too.
    pub(in crate::wire::hub) fn end_wire(&self) {
        if let Some(forward) = &self.forward {
            forward.end();
            self.wake.notify_one();
        } else if self.fanning.is_some() {
            self.state().is_ending = true;
            self.wake.notify_one();
        }
    }

    /// Makes this one end of a wire with another, with the flow towards this one.
    pub(in crate::wire::hub) fn pair(&self, partner: &Arc<Self>, flow: Flow) {
        let forward = self.forward.as_ref().expect("ports of gates forward");
        forward.pair(partner, flow);
        self.wake.notify_one();
    }

    /// There is room for what this one holds back.
    pub(in crate::wire::hub) fn wake(&self) {
        self.wake.notify_one();
    }

    /// What passed towards this end of a wire, as long as it is one.
    pub(in crate::wire::hub) fn passed(&self) -> Option<Passed> {
        let state = self.state();
        if let Some(fanning) = &self.fanning {
            return fanning.passed();
        }
        self.forward.as_ref()?.facts(&state.session)
    }

    /// What the peer showed of itself, once its handshake is done.
    pub(in crate::wire::hub) fn face(&self) -> Option<Face> {
        let state = self.state();
        let session = &state.session;
        Some(Face {
            socket_type: SocketType::from_name(session.socket_type?.as_bytes())?,
            identity: session.identity.clone(),
        })
    }

    pub(in crate::wire::hub) fn local(&self) -> &str {
        &self.wiring.local
    }
}
