//! What is simulated: the fan with the machine beside it, as a bus runs; the machine alone; and both
//! at once, with connections that take all or nothing, so that they must say the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use super::peers::Kind;
use super::{Message, Room};
use crate::model::endpoint::Endpoint;
use crate::model::limits::WireLimits;
use crate::model::policy::Overflow;
use crate::roles::bus::{ACKED, Account, Config, IN, Machine, OUT, RETAINED_MAX, published};
use crate::roles::machine::{Action, Common, Conn, Event, Machine as _};
use crate::wire::hub::ConnId;
use crate::wire::hub::fan::alike_tests::{End, account};
use crate::wire::hub::fan::cut::{CutRules, Cutter, frames, measure};
use crate::wire::hub::fan::lane::tests::Pipe;
use crate::wire::hub::fan::{Fan, FanConfig, Taker};
use crate::wire::hub::tap::{Ring, Tap};

/// More than all that is ever sent.
const OPEN: usize = usize::MAX / 4;
/// What the machine's connections hold to be one message, where they read some bytes.
const MESSAGE_BYTES: usize = 100;
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

/// A subscriber of the fan.
struct Lane {
    slot: u32,
    end: Arc<End>,
    /// What its kernel took, as messages, and how far it was read.
    delivered: Vec<Message>,
    at: usize,
}

/// The fan, with the machine beside it.
pub(super) struct Fast {
    fan: Fan,
    machine: Machine,
    is_sequenced: bool,
    lanes: BTreeMap<Conn, Lane>,
    publishers: BTreeMap<Conn, (Cutter, bool)>,
}

impl Fast {
    pub(super) fn new(rules: &Rules) -> Self {
        Self {
            fan: Fan::new(rules.fan()),
            machine: Machine::beside_a_fan(&rules.config()),
            is_sequenced: rules.is_sequenced,
            lanes: BTreeMap::new(),
            publishers: BTreeMap::new(),
        }
    }
}

impl Side for Fast {
    fn opened(&mut self, conn: Conn, kind: Kind) {
        if !kind.is_out() {
            let cutter = Cutter::new(CutRules {
                message_bytes_max: 1 << 20,
                parts_max: 9,
            });
            self.publishers.insert(conn, (cutter, kind == Kind::BusIn));
            return;
        }
        let mut pipe = Pipe::new(self.fan.bounds());
        pipe.room = OPEN;
        let end = Arc::new(End(Mutex::new(pipe)));
        let own: Arc<dyn Taker> = end.clone();
        let name = match kind {
            Kind::BusOut => OTHER_BUS,
            _ => "",
        };
        let slot = self
            .fan
            .join(Arc::downgrade(&own), ConnId(conn.0), name.as_bytes());
        let lane = Lane {
            slot,
            end,
            delivered: Vec::new(),
            at: 0,
        };
        self.lanes.insert(conn, lane);
    }

    fn closed(&mut self, conn: Conn) {
        self.publishers.remove(&conn);
        if let Some(lane) = self.lanes.remove(&conn) {
            let passed = lane.end.0.lock().unwrap().lane.close();
            self.fan
                .leave(lane.slot, &passed.expect("it is closed once"));
        }
    }

    fn piece(&mut self, conn: Conn, bytes: &[u8], _: &[Message]) {
        let (cutter, is_bus) = self.publishers.get_mut(&conn).expect("it is connected");
        let (_, fed) = self.fan.take(cutter, bytes, *is_bus);
        fed.expect("messages break no limit");
    }

    fn subscribed(&mut self, conn: Conn, topic: &Bytes, is_on: bool) {
        self.fan.subscribe(self.lanes[&conn].slot, topic, is_on);
    }

    fn asked(&mut self, conn: Conn, frames: Message) -> Vec<(Conn, Message)> {
        let mut actions = Vec::new();
        let event = message(ACKED, conn, frames);
        self.machine.step(Duration::ZERO, event, &mut actions);
        let answer = |action| match action {
            Action::Publish { caller, id, frames } => {
                let got = self.fan.publish(&frames);
                caller.reply(&published(id, got.matched, got.queued))
            }
            answer => answer,
        };
        let answers = actions.into_iter().map(answer);
        let sent = answers.map(|action| match action {
            Action::Send { conn, frames } => (conn, frames),
            other => unreachable!("nobody gives cause for {other:?}"),
        });
        sent.collect()
    }

    fn reads(&mut self, conn: Conn, room: Room) {
        let mut pipe = self.lanes[&conn].end.0.lock().unwrap();
        pipe.room = match room {
            Room::None => 0,
            Room::Bytes(bytes) => pipe.room.min(OPEN / 2) + bytes,
            Room::All => OPEN,
        };
        pipe.advance();
    }

    fn account(&mut self, conn: Conn) -> Option<Account> {
        Some(account(&self.lanes.get(&conn)?.end.passed()?))
    }

    fn total(&mut self) -> Account {
        account(&self.fan.facts().passed)
    }

    fn waits(&mut self, conn: Conn) -> usize {
        self.lanes[&conn].end.0.lock().unwrap().lane.bytes()
    }

    fn delivered(&mut self, conn: Conn) -> &[Message] {
        let lane = self.lanes.get_mut(&conn).expect("it is connected");
        let pipe = lane.end.0.lock().unwrap();
        while let Some(end) = whole(&pipe.taken, lane.at) {
            let wire = Bytes::copy_from_slice(&pipe.taken[lane.at..end]);
            let mut message = frames(&wire);
            // When a bus started is in no account.
            if self.is_sequenced
                && let Some(number) = message.last_mut().filter(|it| it.len() == 16)
            {
                *number = [&[0; 8], &number[8..]].concat().into();
            }
            lane.delivered.push(message);
            lane.at = end;
        }
        drop(pipe);
        &lane.delivered
    }

    fn over(&mut self) -> Vec<Conn> {
        let is_over = |lane: &Lane| lane.end.0.lock().unwrap().lane.is_over();
        let over = self.lanes.iter().filter(|(_, lane)| is_over(lane));
        over.map(|(conn, _)| *conn).collect()
    }
}

/// Where the message that begins there ends, if all of it is there.
fn whole(bytes: &[u8], at: usize) -> Option<usize> {
    let mut end = at;
    loop {
        let flags = *bytes.get(end)?;
        let len = match flags & 2 {
            0 => 2 + usize::from(*bytes.get(end + 1)?),
            _ => {
                let len = bytes.get(end + 1..end + 9)?;
                9 + usize::try_from(u64::from_be_bytes(len.try_into().ok()?)).ok()?
            }
        };
        end += len;
        if end > bytes.len() {
            return None;
        }
        if flags & 1 == 0 {
            debug_assert_eq!(measure(bytes, at).0, end);
            return Some(end);
        }
    }
}

/// A subscriber of the machine.
#[derive(Default)]
struct Reader {
    /// Messages that its connection takes.
    room: usize,
    /// One was refused since it had room.
    is_full: bool,
    delivered: Vec<Message>,
}

/// The machine, which does all of it by itself.
pub(super) struct Alone {
    machine: Machine,
    readers: BTreeMap<Conn, Reader>,
    publishers: BTreeSet<Conn>,
    ended: Vec<Conn>,
    answers: Vec<(Conn, Message)>,
}

impl Alone {
    pub(super) fn new(rules: &Rules) -> Self {
        Self {
            machine: Machine::alone(&rules.config()),
            readers: BTreeMap::new(),
            publishers: BTreeSet::new(),
            ended: Vec::new(),
            answers: Vec::new(),
        }
    }

    /// One step, and all that follows from it over its connections.
    fn step(&mut self, event: Event) {
        let mut events = vec![event];
        loop {
            let event = match events.pop() {
                Some(event) => event,
                None if self.machine.deadline().is_some() => Event::Tick,
                None => return,
            };
            let mut actions = Vec::new();
            self.machine.step(Duration::ZERO, event, &mut actions);
            for action in actions {
                match action {
                    Action::Send { conn, frames } => match self.readers.get_mut(&conn) {
                        Some(reader) if reader.room > 0 => {
                            reader.room -= 1;
                            reader.delivered.push(frames);
                        }
                        Some(reader) => {
                            reader.is_full = true;
                            events.push(Event::Unsent { conn });
                        }
                        None => self.answers.push((conn, frames)),
                    },
                    Action::Close { conn } => self.ended.push(conn),
                    Action::Subscribe { .. } => {}
                    other => unreachable!("nobody gives cause for {other:?}"),
                }
            }
        }
    }
}

impl Side for Alone {
    fn opened(&mut self, conn: Conn, kind: Kind) {
        let port = match kind {
            Kind::Publisher | Kind::BusIn => IN,
            Kind::Asker => ACKED,
            Kind::Subscriber | Kind::BusOut => OUT,
        };
        if kind.is_out() {
            let reader = Reader {
                room: OPEN,
                ..Reader::default()
            };
            self.readers.insert(conn, reader);
        } else {
            self.publishers.insert(conn);
        }
        let port = port.into();
        self.step(Event::Opened { port, conn });
        if matches!(kind, Kind::BusIn | Kind::BusOut) {
            self.machine.is_bus(conn);
        }
    }

    fn closed(&mut self, conn: Conn) {
        self.readers.remove(&conn);
        self.publishers.remove(&conn);
        let port = OUT.into();
        self.step(Event::Closed { port, conn });
    }

    fn piece(&mut self, conn: Conn, _: &[u8], whole: &[Message]) {
        for frames in whole {
            self.step(message(IN, conn, frames.clone()));
        }
    }

    fn subscribed(&mut self, conn: Conn, topic: &Bytes, is_on: bool) {
        let (port, topic) = (OUT.into(), topic.clone());
        self.step(Event::Subscribed {
            port,
            conn,
            topic,
            is_on,
        });
    }

    fn asked(&mut self, conn: Conn, frames: Message) -> Vec<(Conn, Message)> {
        self.step(message(ACKED, conn, frames));
        std::mem::take(&mut self.answers)
    }

    fn reads(&mut self, conn: Conn, room: Room) {
        let reader = self.readers.get_mut(&conn).expect("it is connected");
        reader.room = match room {
            Room::None => 0,
            Room::Bytes(bytes) => reader.room.min(OPEN / 2) + bytes.div_ceil(MESSAGE_BYTES),
            Room::All => OPEN,
        };
        if reader.room > 0 && std::mem::take(&mut reader.is_full) {
            self.step(Event::Writable { conn });
        }
    }

    fn account(&mut self, conn: Conn) -> Option<Account> {
        // What did not come back at once was sent.
        self.step(Event::Tick);
        self.machine.account(conn)
    }

    fn total(&mut self) -> Account {
        self.step(Event::Tick);
        self.machine.total().expect("it fans out by itself")
    }

    fn waits(&mut self, _: Conn) -> usize {
        // Its bound is checked by its account beside the fan's.
        0
    }

    fn delivered(&mut self, conn: Conn) -> &[Message] {
        &self.readers[&conn].delivered
    }

    fn over(&mut self) -> Vec<Conn> {
        let is_there = |conn: &Conn| self.readers.contains_key(conn);
        std::mem::take(&mut self.ended)
            .into_iter()
            .filter(is_there)
            .collect()
    }
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
