//! A door and what is known of it.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::model::endpoint::Endpoint;
use crate::model::limits::WireLimits;
use crate::model::policy::Overflow;
use crate::model::socket::Side;
use crate::roles::gate::{Door, Outer};
use crate::wire::hub::{ConnId, Flow, Ledger, Ring, Tap};

/// A door, and what is known of it.
pub(super) struct Passage {
    pub(super) door: Door,
    /// Who asks the lookout for connections; where the program listens.
    pub(super) wanted: Option<mpsc::Sender<ConnId>>,
    /// Connections from outside that wait for one inside.
    pub(super) waiting: Vec<ConnId>,
    /// Why nothing can pass now, in words.
    pub(super) hindrance: Option<String>,
    /// What passed outwards and inwards on wires that are gone.
    pub(super) outward: Arc<Ledger>,
    pub(super) inward: Arc<Ledger>,
}

impl Passage {
    pub(super) fn new(door: &Door) -> Self {
        Self {
            door: door.clone(),
            wanted: None,
            waiting: Vec::new(),
            hindrance: None,
            outward: Arc::default(),
            inward: Arc::default(),
        }
    }
}

pub(super) fn outer_of(door: &Door) -> &Endpoint {
    match &door.outer {
        Outer::Dials { at, .. } => at,
        Outer::Listens { .. } => &door.inner,
    }
}

impl Passage {
    /// How messages pass, outwards and inwards: only what is published may be dropped.
    pub(super) fn flows(
        &self,
        places: [usize; 2],
        limits: &WireLimits,
        ring: &Arc<Ring>,
    ) -> [Flow; 2] {
        let (outward, inward) = match self.door.side {
            Side::From => (self.door.overflow, Overflow::Block),
            Side::To => (Overflow::Block, self.door.overflow),
        };
        let flow = |overflow: Overflow, ledger: &Arc<Ledger>, place: usize| Flow {
            overflow,
            bytes_max: limits.peer_bytes_max,
            messages_max: self
                .door
                .messages_max
                .filter(|_| overflow != Overflow::Block)
                .map(|max| max as usize),
            ledger: ledger.clone(),
            tap: Tap::new(ring, place),
        };
        [
            flow(outward, &self.outward, places[0]),
            flow(inward, &self.inward, places[1]),
        ]
    }
}
