//! What is simulated: the fan with the machine beside it, as a bus runs; the machine alone; and both
//! at once, with connections that take all or nothing, so that they must say the same.

mod alone;
mod fast;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use super::peers::Kind;
use super::{Message, Room};
use crate::model::endpoint::Endpoint;
use crate::model::limits::WireLimits;
use crate::model::policy::Overflow;
use crate::roles::bus::{Account, Config, RETAINED_MAX};
use crate::roles::machine::{Common, Conn, Event};
use crate::wire::hub::fan::FanConfig;
use crate::wire::hub::tap::{Ring, Tap};
pub(super) use alone::Alone;
pub(super) use fast::Fast;

/// More than all that is ever sent.
const OPEN: usize = usize::MAX / 4;
/// What a bus that subscribes calls itself.
const OTHER_BUS: &str = "west";

/// How a bus treats its subscribers.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub(super) overflow: Overflow,
    pub(super) bytes_max: usize,
    pub(super) messages_max: Option<u64>,
    pub(super) welcome: Option<&'static str>,
    pub(super) is_retained: bool,
    pub(super) is_sequenced: bool,
}

impl Rules {
    fn config(&self) -> Config {
        Config {
            common: Common {
                name: "bus".into(),
                ports: Vec::new(),
                dials: Vec::new(),
                health: Endpoint::ipc("/none"),
                limits: Box::new(WireLimits::default()),
            },
            buffer_bytes: self.bytes_max as u64,
            messages_max: self.messages_max,
            overflow: self.overflow,
            welcome: self.welcome.map(str::to_owned),
            retain: self.is_retained,
            sequence: self.is_sequenced,
            buses: BTreeSet::new(),
            topics: BTreeMap::new(),
        }
    }

    fn fan(&self) -> FanConfig {
        FanConfig {
            overflow: self.overflow,
            bytes_max: self.bytes_max,
            messages_max: self.messages_max,
            welcome: self.welcome.map(Bytes::from),
            retain_max: if self.is_retained { RETAINED_MAX } else { 0 },
            is_sequenced: self.is_sequenced,
            buses: BTreeSet::from([OTHER_BUS.to_owned()]),
            asks: false,
            tap: Tap::new(&Arc::new(Ring::default()), 0),
        }
    }
}

/// A bus, in whichever way it is made.
pub(super) trait Side {
    fn opened(&mut self, conn: Conn, kind: Kind);
    fn closed(&mut self, conn: Conn);
    fn piece(&mut self, conn: Conn, bytes: &[u8], whole: &[Message]);
    fn subscribed(&mut self, conn: Conn, topic: &Bytes, is_on: bool);
    /// Gives the answers, and whom they are for.
    fn asked(&mut self, conn: Conn, frames: Message) -> Vec<(Conn, Message)>;
    fn reads(&mut self, conn: Conn, room: Room);
    /// Nothing where it is no subscriber.
    fn account(&mut self, conn: Conn) -> Option<Account>;
    fn total(&mut self) -> Account;
    /// The bytes that wait for a subscriber.
    fn waits(&mut self, conn: Conn) -> usize;
    /// The messages that a subscriber's connection took, whole.
    fn delivered(&mut self, conn: Conn) -> &[Message];
    /// Connections that the bus has ended.
    fn over(&mut self) -> Vec<Conn>;
}

fn message(port: &str, conn: Conn, frames: Message) -> Event {
    let port = port.into();
    Event::Message { port, conn, frames }
}

/// Both, which must say the same.
pub(super) struct Both {
    fast: Fast,
    alone: Alone,
    /// How much of what each was given is known to be the same.
    compared: BTreeMap<Conn, usize>,
}

impl Both {
    pub(super) fn new(rules: &Rules) -> Self {
        Self {
            fast: Fast::new(rules),
            alone: Alone::new(rules),
            compared: BTreeMap::new(),
        }
    }
}

impl Side for Both {
    fn opened(&mut self, conn: Conn, kind: Kind) {
        self.fast.opened(conn, kind);
        self.alone.opened(conn, kind);
    }

    fn closed(&mut self, conn: Conn) {
        self.fast.closed(conn);
        self.alone.closed(conn);
    }

    fn piece(&mut self, conn: Conn, bytes: &[u8], whole: &[Message]) {
        self.fast.piece(conn, bytes, whole);
        self.alone.piece(conn, bytes, whole);
    }

    fn subscribed(&mut self, conn: Conn, topic: &Bytes, is_on: bool) {
        self.fast.subscribed(conn, topic, is_on);
        self.alone.subscribed(conn, topic, is_on);
    }

    fn asked(&mut self, conn: Conn, frames: Message) -> Vec<(Conn, Message)> {
        let fast = self.fast.asked(conn, frames.clone());
        let alone = self.alone.asked(conn, frames);
        assert_eq!(fast, alone, "both answer alike");
        fast
    }

    fn reads(&mut self, conn: Conn, room: Room) {
        // Bytes are no messages: a connection takes all or nothing here.
        let room = match room {
            Room::None => Room::None,
            Room::Bytes(_) | Room::All => Room::All,
        };
        self.fast.reads(conn, room);
        self.alone.reads(conn, room);
    }

    fn account(&mut self, conn: Conn) -> Option<Account> {
        let fast = self.fast.account(conn);
        assert_eq!(fast, self.alone.account(conn), "both account alike");
        fast
    }

    fn total(&mut self) -> Account {
        let fast = self.fast.total();
        assert_eq!(fast, self.alone.total(), "both account alike");
        fast
    }

    fn waits(&mut self, conn: Conn) -> usize {
        self.fast.waits(conn)
    }

    fn delivered(&mut self, conn: Conn) -> &[Message] {
        let (fast, alone) = (self.fast.delivered(conn), self.alone.delivered(conn));
        let seen = self.compared.entry(conn).or_default();
        assert_eq!(fast[*seen..], alone[*seen..], "both deliver alike");
        *seen = fast.len();
        fast
    }

    fn over(&mut self) -> Vec<Conn> {
        let fast = self.fast.over();
        assert_eq!(fast, self.alone.over(), "both end the same connections");
        fast
    }
}
