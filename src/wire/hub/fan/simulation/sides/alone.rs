//! The machine by itself, and connections that take as many messages as they are told to.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;

use super::{Kind, Message, OPEN, Room, Rules, Side, message};
use crate::roles::bus::{ACKED, Account, IN, Machine, OUT};
use crate::roles::machine::{Action, Conn, Event, Machine as _};

/// What a message is held to be, where a connection reads some bytes.
const MESSAGE_BYTES: usize = 100;

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
pub(in crate::wire::hub::fan::simulation) struct Alone {
    machine: Machine,
    readers: BTreeMap<Conn, Reader>,
    publishers: BTreeSet<Conn>,
    ended: Vec<Conn>,
    answers: Vec<(Conn, Message)>,
}

impl Alone {
    pub(in crate::wire::hub::fan::simulation) fn new(rules: &Rules) -> Self {
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
        match kind.wants(conn) {
            Some(wants) => self.machine.is_bus(conn, wants),
            None if kind == Kind::BusIn => self.machine.is_bus(conn, kind.origin(conn)),
            None => {}
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
