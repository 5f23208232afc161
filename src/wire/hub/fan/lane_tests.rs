//! Lanes against a kernel that takes as much as it is told to, beside an account of single messages.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use fastrand::Rng;

use super::super::encode;
use super::*;
use crate::model::limits::WireLimits;
use crate::model::socket::SocketType;
use crate::wire::curve::{self, CurveClient};
use crate::wire::hub::{Admission, Guard, Security, SessionConfig, Side};

/// An open session of a port for subscribers, and what it wrote so far taken away.
fn session() -> Session {
    let (ours, theirs) = (Side::Listening(Security::Open), Side::Dialling(None));
    session_of((ours, theirs), &WireLimits::default())
}

/// The same under CURVE, with so much room for what waits.
fn sealed(peer_bytes_max: usize) -> Session {
    let pair = curve::generate();
    let guard = Guard::new(Admission {
        own: vec![pair.clone()],
        allowed: BTreeMap::from([(pair.public, "ann".into())]),
        ..Admission::default()
    });
    let keys = CurveClient {
        server: pair.public,
        own: pair,
    };
    let limits = WireLimits {
        peer_bytes_max,
        ..WireLimits::default()
    };
    let ours = Side::Listening(Security::Curve(Arc::new(guard)));
    session_of((ours, Side::Dialling(Some(Arc::new(keys)))), &limits)
}

fn session_of((ours, theirs): (Side, Side), limits: &WireLimits) -> Session {
    let new = |socket_type, side| {
        Session::new(SessionConfig {
            socket_type,
            announce: Bytes::new(),
            limits: Arc::new(limits.clone()),
            side,
            is_near: true,
        })
    };
    let mut ours = new(SocketType::Xpub, ours);
    let mut theirs = new(SocketType::Sub, theirs);
    theirs.release();
    for _ in 0..8 {
        pass(&mut theirs, &mut ours);
        pass(&mut ours, &mut theirs);
    }
    assert!(ours.is_ready() && !ours.is_behind());
    ours
}

fn pass(from: &mut Session, to: &mut Session) {
    while from.is_behind() {
        let part: Vec<u8> = from.outgoing().iter().flat_map(|it| it.to_vec()).collect();
        from.wrote(part.len());
        to.receive(part.into()).unwrap();
        if to.take_claim().is_some() {
            to.admit().unwrap();
        }
    }
}

/// A lane, its session and the kernel behind them.
pub(in crate::wire::hub::fan) struct Pipe {
    pub(in crate::wire::hub::fan) lane: Lane,
    session: Session,
    pub(in crate::wire::hub::fan) room: usize,
    pub(in crate::wire::hub::fan) taken: Vec<u8>,
}

impl Pipe {
    pub(in crate::wire::hub::fan) fn new(bounds: Bounds) -> Self {
        Self {
            lane: Lane::new(bounds),
            session: session(),
            room: 0,
            taken: Vec::new(),
        }
    }

    fn kernel<'a>(
        room: &'a mut usize,
        taken: &'a mut Vec<u8>,
    ) -> impl FnMut(&[IoSlice<'_>]) -> usize + 'a {
        |slices| {
            let mut written = 0;
            for slice in slices {
                let here = slice.len().min(*room);
                taken.extend_from_slice(&slice[..here]);
                *room -= here;
                written += here;
            }
            written
        }
    }

    fn offer(&mut self, bytes: &[u8], spans: &[Span]) -> u64 {
        self.take(&mut Source { bytes, kept: None }, spans)
    }

    pub(in crate::wire::hub::fan) fn take(
        &mut self,
        source: &mut Source<'_>,
        spans: &[Span],
    ) -> u64 {
        let mut write = Self::kernel(&mut self.room, &mut self.taken);
        self.lane
            .offer(&mut self.session, source, (spans, &mut write))
    }

    pub(in crate::wire::hub::fan) fn advance(&mut self) {
        let mut write = Self::kernel(&mut self.room, &mut self.taken);
        if is_flushed(&mut self.session, &mut write) {
            self.lane.advance(&mut self.session, &mut write);
        }
    }

    fn check(&self) {
        let passed = self.lane.passed().unwrap();
        assert_eq!(
            passed.matched,
            passed.sent + passed.queued + passed.dropped_all(),
            "{passed:?}"
        );
    }

    /// The numbers of the messages that the kernel got, whole.
    fn numbers(&self) -> Vec<u64> {
        let (mut at, mut numbers) = (0, Vec::new());
        while at < self.taken.len() {
            let (end, _) = measure(&self.taken, at);
            let body = at + if self.taken[at] & 2 == 0 { 2 } else { 9 };
            numbers.push(u64::from_be_bytes(
                self.taken[body..body + 8].try_into().unwrap(),
            ));
            at = end;
        }
        numbers
    }
}

/// Messages of sizes at random, from a number on, and the span that they are.
fn messages(rng: &mut Rng, from: u64, count: u64) -> (Vec<u8>, Span) {
    let (mut wire, mut payload) = (Vec::new(), 0);
    for number in from..from + count {
        let mut first = number.to_be_bytes().to_vec();
        first.resize(8 + rng.usize(..400), b'x');
        let frames: Vec<Bytes> = if rng.bool() {
            vec![first.into()]
        } else {
            vec![first.into(), vec![b'y'; rng.usize(..30)].into()]
        };
        payload += frames.iter().map(Bytes::len).sum::<usize>() as u64;
        encode(&frames, &mut wire);
    }
    let span = Span {
        start: 0,
        end: wire.len(),
        messages: count,
        payload,
    };
    (wire, span)
}

fn bounds(overflow: Overflow, bytes_max: usize, messages_max: Option<u64>) -> Bounds {
    Bounds {
        overflow,
        bytes_max,
        messages_max,
    }
}

#[test]
fn whatever_the_kernel_takes_messages_are_whole_in_order_and_counted() {
    let mut rng = Rng::with_seed(3);
    for overflow in [
        Overflow::DropNewest,
        Overflow::DropOldest,
        Overflow::Conflate,
    ] {
        for messages_max in [None, Some(50)] {
            let mut pipe = Pipe::new(bounds(overflow, 30_000, messages_max));
            let mut next = 0;
            for _ in 0..2_000 {
                pipe.room += if rng.u8(..3) == 0 {
                    0
                } else {
                    rng.usize(..9_000)
                };
                if rng.bool() {
                    let count = rng.u64(1..60);
                    let (wire, span) = messages(&mut rng, next, count);
                    next += count;
                    pipe.offer(&wire, &[span]);
                } else {
                    pipe.advance();
                }
                pipe.check();
                assert!(pipe.lane.bytes() <= 30_000);
                let queued = pipe.lane.passed().unwrap().queued;
                assert!(queued <= messages_max.unwrap_or(u64::MAX));
            }
            pipe.room = usize::MAX / 2;
            pipe.advance();
            let numbers = pipe.numbers();
            let passed = pipe.lane.passed().unwrap();
            assert!(numbers.is_sorted() && numbers.len() as u64 == passed.sent);
            assert_eq!((passed.queued, passed.queued_bytes), (0, 0));
            assert_eq!(passed.matched, next);
            assert!(passed.dropped_all() > 0, "the bound was reached");
            if overflow != Overflow::DropNewest {
                assert_eq!(numbers.last(), Some(&(next - 1)), "the newest is there");
            }
        }
    }
}

#[test]
fn a_read_that_exceeds_the_bound_drops_nothing_while_the_kernel_takes_it() {
    let mut rng = Rng::with_seed(5);
    let mut pipe = Pipe::new(bounds(Overflow::DropNewest, 1_000, None));
    let mut next = 0;
    for _ in 0..20 {
        let (wire, span) = messages(&mut rng, next, 500);
        next += 500;
        pipe.room = wire.len() + pipe.lane.bytes() + pipe.session.queued_bytes();
        assert_eq!(pipe.offer(&wire, &[span]), 0);
        // What waits is asked after before anything is dropped for it.
        let (wire, span) = messages(&mut rng, next, 1);
        next += 1;
        assert_eq!(pipe.offer(&wire, &[span]), 0);
    }
    pipe.room = 100_000;
    pipe.advance();
    assert_eq!(pipe.numbers(), (0..next).collect::<Vec<_>>());
}

#[test]
fn one_message_over_the_bound_may_wait_and_one_more_ends_a_connection_that_is_to_end() {
    let mut rng = Rng::with_seed(6);
    for overflow in [Overflow::DropNewest, Overflow::Disconnect] {
        let mut pipe = Pipe::new(bounds(overflow, 4, None));
        for number in 0..3 {
            let (wire, span) = messages(&mut rng, number, 1);
            pipe.offer(&wire, &[span]);
            pipe.check();
        }
        let passed = pipe.lane.passed().unwrap();
        assert_eq!((passed.queued, passed.dropped_all()), (1, 2));
        assert_eq!(pipe.lane.is_over(), overflow == Overflow::Disconnect);
        let passed = pipe.lane.close().expect("it is closed once");
        assert_eq!((passed.queued, passed.dropped.left), (0, 1));
        assert_eq!(passed.matched, passed.sent + passed.dropped_all());
        assert!(pipe.lane.close().is_none());
    }
}

#[test]
fn spans_account_as_single_messages_do() {
    let mut rng = Rng::with_seed(8);
    for overflow in [Overflow::DropNewest, Overflow::DropOldest] {
        // Nothing is taken meanwhile, so that both are asked the same.
        let (mut runs, mut singles) = (
            Pipe::new(bounds(overflow, 20_000, Some(90))),
            Pipe::new(bounds(overflow, 20_000, Some(90))),
        );
        let mut model: VecDeque<(u64, usize)> = VecDeque::new();
        let mut next = 0;
        for _ in 0..300 {
            let count = rng.u64(1..40);
            let (wire, span) = messages(&mut rng, next, count);
            runs.offer(&wire, &[span]);
            let mut at = 0;
            while at < wire.len() {
                let (end, payload) = measure(&wire, at);
                let one = Span {
                    start: at,
                    end,
                    messages: 1,
                    payload: payload as u64,
                };
                singles.offer(&wire, &[one]);
                let waiting = |model: &VecDeque<(u64, usize)>| -> usize {
                    model.iter().map(|(_, bytes)| bytes).sum()
                };
                let fits = |model: &VecDeque<(u64, usize)>| {
                    waiting(model) + end - at <= 20_000 && model.len() < 90 || model.is_empty()
                };
                if overflow == Overflow::DropOldest {
                    while !fits(&model) {
                        model.pop_front();
                    }
                }
                if fits(&model) {
                    model.push_back((next, end - at));
                }
                next += 1;
                at = end;
            }
            assert_eq!(runs.lane.passed(), singles.lane.passed());
            assert_eq!(runs.lane.passed().unwrap().queued, model.len() as u64);
        }
        for pipe in [&mut runs, &mut singles] {
            pipe.room = usize::MAX / 2;
            pipe.advance();
            let expected: Vec<u64> = model.iter().map(|(number, _)| *number).collect();
            assert_eq!(pipe.numbers(), expected);
        }
    }
}

#[test]
fn a_queue_of_slivers_costs_what_it_counts_and_an_idle_one_nothing() {
    let mut rng = Rng::with_seed(9);
    let mut pipe = Pipe::new(bounds(Overflow::DropNewest, 1 << 20, None));
    let (wire, _) = messages(&mut rng, 0, 1_000);
    // One small message of each large read.
    let (end, payload) = measure(&wire, 0);
    let one = Span {
        start: 0,
        end,
        messages: 1,
        payload: payload as u64,
    };
    for _ in 0..2_000 {
        pipe.offer(&wire, &[one]);
    }
    let held: usize = pipe.lane.queue.iter().map(|run| run.bytes.len()).sum();
    assert!(held + pipe.lane.tail.len() == pipe.lane.bytes());
    assert!(pipe.lane.queue.len() <= pipe.lane.bytes() / (BLOCK_BYTES / 2) + 1);
    pipe.room = usize::MAX / 2;
    pipe.advance();
    assert_eq!(pipe.lane.queue.capacity() + pipe.lane.tail.capacity(), 0);
}

#[test]
fn what_a_lane_took_waits_there_until_its_encrypted_session_has_room() {
    const COUNT: u64 = 500;
    let mut rng = Rng::with_seed(1);
    let (bytes, span) = messages(&mut rng, 0, COUNT);
    let mut pipe = Pipe {
        session: sealed(1_024),
        ..Pipe::new(bounds(Overflow::DropNewest, 1 << 20, None))
    };
    assert_eq!(pipe.offer(&bytes, &[span]), 0);
    let passed = pipe.lane.passed().unwrap();
    assert!(passed.sent > 0 && passed.queued > COUNT / 2, "{passed:?}");
    assert!(pipe.session.queued_bytes() <= 1_024 + 1_000);
    while !pipe.lane.is_empty() || pipe.session.is_behind() {
        pipe.room = rng.usize(1..5_000);
        pipe.advance();
        pipe.check();
    }
    let passed = pipe.lane.passed().unwrap();
    assert_eq!((passed.sent, passed.dropped_all()), (COUNT, 0));
}
