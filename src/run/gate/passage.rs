//! A door and what is known of it.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::model::endpoint::Endpoint;
use crate::model::limits::WireLimits;
use crate::model::policy::Overflow;
use crate::model::socket::Side;
use crate::roles::gate::{Door, Outer};
use crate::wire::hub::{ConnId, Dropped, Fan, FanConfig, Flow, Ledger, Passed, Ring, Tap};

use super::Pair;

/// Wires that are gone and that a door still lists, each with what it dropped.
const GONE_MAX: usize = 64;

/// A door, and what is known of it.
pub(super) struct Passage {
    pub(super) door: Door,
    /// Who asks the lookout for connections; where the program listens.
    pub(super) wanted: Option<mpsc::Sender<Option<ConnId>>>,
    /// What fans out what the program publishes, where that comes by one connection for all.
    pub(super) fan: Option<Arc<Fan>>,
    /// That connection.
    pub(super) publisher: Option<ConnId>,
    /// Connections from outside that wait for one inside.
    pub(super) waiting: Vec<ConnId>,
    /// Why nothing can pass now, in words.
    pub(super) hindrance: Option<String>,
    /// What passed outwards and inwards on wires that are gone.
    pub(super) outward: Passed,
    pub(super) inward: Passed,
    /// The last wires that are gone and on which something had passed.
    pub(super) gone: VecDeque<Gone>,
}

/// A wire that is gone. The gate at its other end knows it by the same two addresses, and so whose it
/// was what was dropped here.
pub(super) struct Gone {
    pub(super) peer: String,
    pub(super) address: String,
    pub(super) local: String,
    pub(super) dropped: Dropped,
}

impl Passage {
    pub(super) fn new(door: &Door, limits: &WireLimits) -> Self {
        Self {
            door: door.clone(),
            wanted: None,
            fan: door.fans_out().then(|| Arc::new(fan(door, limits))),
            publisher: None,
            waiting: Vec::new(),
            hindrance: None,
            outward: Passed::default(),
            inward: Passed::default(),
            gone: VecDeque::new(),
        }
    }
}

/// What a program publishes is fanned out as a bus does it, each subscriber within its own bounds.
fn fan(door: &Door, limits: &WireLimits) -> Fan {
    Fan::new(FanConfig {
        overflow: door.overflow,
        bytes_max: limits.peer_bytes_max,
        messages_max: door.messages_max.map(u64::from),
        welcome: None,
        retain_max: 0,
        is_sequenced: false,
        buses: BTreeSet::new(),
        asks: true,
        // Each wire has its own.
        tap: Tap::none(),
    })
}

pub(super) fn outer_of(door: &Door) -> &Endpoint {
    match &door.outer {
        Outer::Dials { at, .. } => at,
        Outer::Listens { .. } => &door.inner,
    }
}

impl Passage {
    /// Adds a wire that is gone to what passed.
    pub(super) fn bury(&mut self, pair: Pair) {
        let mut all = pair.outward.passed();
        self.outward.add(&all);
        self.inward.add(&pair.inward.passed());
        all.add(&pair.inward.passed());
        if all.matched == 0 {
            return;
        }
        if self.gone.len() == GONE_MAX {
            self.gone.pop_front();
        }
        self.gone.push_back(Gone {
            peer: pair.peer,
            address: pair.address,
            local: pair.local,
            dropped: all.dropped,
        });
    }

    /// How messages pass, outwards and inwards: only what is published may be dropped.
    pub(super) fn flows(
        &self,
        pair: &Pair,
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
            flow(outward, &pair.outward, places[0]),
            flow(inward, &pair.inward, places[1]),
        ]
    }
}
