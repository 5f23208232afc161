//! The fan with the machine beside it, as a bus runs, and kernels that take as much as they are told to.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use super::{Kind, Message, OPEN, OTHER_BUS, Room, Rules, Side, message};
use crate::roles::bus::{ACKED, Account, Machine, published};
use crate::roles::machine::{Action, Conn, Machine as _};
use crate::wire::hub::ConnId;
use crate::wire::hub::fan::alike_tests::{End, account};
use crate::wire::hub::fan::cut::{CutRules, Cutter, frames, measure};
use crate::wire::hub::fan::lane::tests::Pipe;
use crate::wire::hub::fan::{Fan, Origin, Taker};

/// A subscriber of the fan.
struct Lane {
    slot: u32,
    end: Arc<End>,
    /// What its kernel took, as messages, and how far it was read.
    delivered: Vec<Message>,
    at: usize,
}

/// The fan, with the machine beside it.
pub(in crate::wire::hub::fan::simulation) struct Fast {
    fan: Fan,
    machine: Machine,
    is_sequenced: bool,
    lanes: BTreeMap<Conn, Lane>,
    publishers: BTreeMap<Conn, (Cutter, Origin)>,
}

impl Fast {
    pub(in crate::wire::hub::fan::simulation) fn new(rules: &Rules) -> Self {
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
                skips: false,
            });
            let origin = match kind.origin(conn) {
                "" => Origin::default(),
                bus => self.fan.origin(bus),
            };
            self.publishers.insert(conn, (cutter, origin));
            return;
        }
        let mut pipe = Pipe::new(self.fan.bounds());
        pipe.room = OPEN;
        let end = Arc::new(End(Mutex::new(pipe)));
        let own: Arc<dyn Taker> = end.clone();
        let name = match kind.wants(conn) {
            None => String::new(),
            Some("") => format!("{OTHER_BUS}#1.to link"),
            Some(origin) => format!("{OTHER_BUS}#1.to link~{origin}"),
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
        let (cutter, origin) = self.publishers.get_mut(&conn).expect("it is connected");
        let (_, fed) = self.fan.take(cutter, bytes, *origin);
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
