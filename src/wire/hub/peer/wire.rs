//! A connection of a gate's fan: the subscriber outside, whose wire is counted and looked at, and the
//! one connection inside, by which the program is told what all of them want.
//!
//! It must never hold the lock of a connection and that of the fan at once, where it takes the
//! connection's first.

use std::sync::Arc;

use bytes::Bytes;

use crate::wire::hub::ConnId;
use crate::wire::hub::fan::Fan;
use crate::wire::hub::fan::cut::{frames, measure};
use crate::wire::hub::fan::lane::Span;
use crate::wire::hub::fan::union::Wish;
use crate::wire::hub::forward::{Dropped, Ledger, Passed};
use crate::wire::hub::tap::{Ring, Tap, places};

use super::Peer;
use super::fanning::Fanning;

/// Topics that are said to a program before the kernel is asked whether it takes more.
const WISHES_MAX: usize = 64;

/// What a wire has of its own.
pub(super) struct Wire {
    /// What passed outwards, once the connection is gone, and inwards.
    pub(super) ledgers: [Arc<Ledger>; 2],
    outward: Tap,
    inward: Tap,
}

impl Wire {
    pub(super) fn new(conn: ConnId, ring: &Arc<Ring>) -> Self {
        let [outward, inward] = places(conn).map(|place| Tap::new(ring, place));
        Self {
            ledgers: Default::default(),
            outward,
            inward,
        }
    }

    /// Shows messages that come for the subscriber to whoever looks.
    pub(super) fn see(&self, bytes: &[u8], spans: &[Span]) {
        if !self.outward.is_on() {
            return;
        }
        for span in spans {
            let mut at = span.start;
            while at < span.end {
                let (end, _) = measure(bytes, at);
                let message = Bytes::copy_from_slice(&bytes[at..end]);
                self.outward.see(&frames(&message));
                at = end;
            }
        }
    }
}

impl Peer {
    /// Hands what a subscriber sent to whom it subscribed, where that may take it, and counts it.
    pub(super) fn hand_up(&self, fan: &Fan, frames: Vec<Bytes>) {
        let Some(Fanning::Out {
            wire: Some(wire), ..
        }) = &self.fanning
        else {
            self.state().session.dropped.unasked += 1;
            return;
        };
        wire.inward.see(&frames);
        let bytes: usize = frames.iter().map(Bytes::len).sum();
        let mut passed = Passed {
            matched: 1,
            ..Passed::default()
        };
        if fan.hand_up(frames) {
            (passed.sent, passed.sent_bytes) = (1, bytes as u64);
        } else {
            let newest = 1;
            passed.dropped = Dropped {
                newest,
                ..Dropped::default()
            };
        }
        wire.ledgers[1].add(&passed);
    }

    /// Says to a publisher what there is to say, as long as the kernel takes it.
    pub(super) fn ask(&self, fanning: &Fanning) {
        let Fanning::In {
            fan,
            is_asked: true,
            ..
        } = fanning
        else {
            return;
        };
        while !self.state().session.is_behind() {
            let wishes = fan.wishes(self.wiring.conn, WISHES_MAX);
            if wishes.is_empty() {
                return;
            }
            let mut state = self.state();
            for wish in wishes {
                // A connection that is gone is reported by its own task; nothing is too much for one
                // for which nothing waits.
                match wish {
                    Wish::Topic { topic, is_on } => state.session.subscribe(topic, is_on).ok(),
                    Wish::Message(frames) => state.session.send(frames).ok(),
                };
            }
            self.flush_soon(&mut state);
        }
    }

    /// The books of a wire of a gate: what passed outwards, once it is gone, and inwards.
    pub(in crate::wire::hub) fn ledgers(&self) -> Option<[Arc<Ledger>; 2]> {
        self.fanning.as_ref()?.ledgers()
    }
}
