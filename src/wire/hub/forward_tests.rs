//! Lanes against a sink that takes as much as it is told to.

use super::super::tap::Ring;
use super::*;

#[derive(Default)]
struct Pipe {
    waiting: usize,
    sent: Vec<Vec<Bytes>>,
}

impl Sink for Pipe {
    fn waiting(&self) -> usize {
        self.waiting
    }

    fn put(&mut self, frames: Vec<Bytes>) -> bool {
        self.waiting += bytes_of(&frames);
        self.sent.push(frames);
        true
    }
}

fn lane(overflow: Overflow, bytes_max: usize, messages_max: Option<usize>) -> Lane {
    Lane::new(Flow {
        overflow,
        bytes_max,
        messages_max,
        ledger: Arc::default(),
        tap: Tap::new(&Arc::new(Ring::default()), 0),
    })
}

/// Offers a message. False where the source has to wait with it.
fn offer(lane: &mut Lane, pipe: &mut Pipe, frames: Vec<Bytes>) -> bool {
    let is_direct = lane.is_direct(pipe, &frames);
    lane.offer(pipe, frames, is_direct).is_none()
}

fn message(number: u64) -> Vec<Bytes> {
    vec![
        Bytes::copy_from_slice(&number.to_be_bytes()),
        Bytes::from(vec![b'x'; 1000]),
    ]
}

fn numbers(pipe: &Pipe) -> Vec<u64> {
    let first = pipe
        .sent
        .iter()
        .map(|frames| frames[0][..].try_into().unwrap());
    first.map(u64::from_be_bytes).collect()
}

const BUDGET: usize = 1 << 20;

#[test]
fn a_lane_that_blocks_gives_back_and_drops_nothing() {
    let mut lane = lane(Overflow::Block, BUDGET, None);
    let mut pipe = Pipe::default();
    let mut next = 0;
    while offer(&mut lane, &mut pipe, message(next)) {
        next += 1;
        assert!(next < 1_000_000, "it blocks at some time");
    }
    assert!(lane.holds_back && pipe.waiting <= WINDOW_BYTES + 1008);
    assert_eq!(lane.passed.matched, next);
    pipe.waiting = 0;
    assert!(offer(&mut lane, &mut pipe, message(next)));
    assert_eq!(numbers(&pipe), (0..=next).collect::<Vec<_>>());
    assert_eq!(lane.passed.dropped, Dropped::default());
}

/// Sends messages into a sink that takes nothing for a while and then everything.
fn stalled(overflow: Overflow, messages_max: Option<usize>) -> (Lane, Pipe) {
    let mut lane = lane(overflow, BUDGET, messages_max);
    let mut pipe = Pipe::default();
    for number in 0..10_000 {
        offer(&mut lane, &mut pipe, message(number));
        let facts = lane.facts(&pipe);
        assert_eq!(
            facts.matched,
            facts.sent + facts.queued + facts.dropped_all()
        );
        assert!(
            facts.queued_bytes <= BUDGET as u64,
            "{}",
            facts.queued_bytes
        );
    }
    (lane, pipe)
}

fn finish(lane: &mut Lane, pipe: &mut Pipe) -> Vec<u64> {
    loop {
        pipe.waiting = 0;
        if !lane.advance(pipe) {
            break;
        }
    }
    let facts = lane.facts(pipe);
    assert_eq!((facts.queued, facts.matched), (0, 10_000));
    assert_eq!(facts.sent + facts.dropped_all(), 10_000);
    let numbers = numbers(pipe);
    assert_eq!(
        numbers.len() as u64,
        facts.sent,
        "each that counts as sent came"
    );
    assert!(numbers.is_sorted(), "in their order");
    numbers
}

#[test]
fn drop_newest_keeps_the_first_and_counts_the_rest() {
    let (mut lane, mut pipe) = stalled(Overflow::DropNewest, None);
    let came = finish(&mut lane, &mut pipe);
    assert_eq!(came, (0..came.len() as u64).collect::<Vec<_>>());
    assert_eq!(lane.passed.dropped.newest, 10_000 - came.len() as u64);
    assert!(came.len() > 900, "the budget is used: {}", came.len());
}

#[test]
fn drop_oldest_keeps_the_last() {
    let (mut lane, mut pipe) = stalled(Overflow::DropOldest, None);
    let came = finish(&mut lane, &mut pipe);
    assert_eq!(came.last(), Some(&9_999));
    assert_eq!(lane.passed.dropped.oldest, 10_000 - came.len() as u64);
}

#[test]
fn conflate_keeps_one() {
    let (mut lane, mut pipe) = stalled(Overflow::Conflate, None);
    let came = finish(&mut lane, &mut pipe);
    assert_eq!(
        came,
        [0, 9_999],
        "the one that was being written, and the newest"
    );
    assert_eq!(lane.passed.dropped.conflated, 9_998);
}

#[test]
fn disconnect_ends_the_connection_at_the_first_that_is_too_much() {
    let mut lane = lane(Overflow::Disconnect, BUDGET, Some(10));
    let mut pipe = Pipe::default();
    let mut next = 0;
    while !lane.is_over {
        offer(&mut lane, &mut pipe, message(next));
        next += 1;
    }
    assert_eq!(lane.queue.len(), 10);
    assert_eq!(lane.passed.dropped.disconnected, 1);
    lane.close();
    lane.close();
    let passed = lane.flow.ledger.passed();
    assert_eq!(passed.dropped.left, 10, "counted once, what nobody read");
    assert_eq!(passed.matched, passed.sent + passed.dropped_all());
}

#[test]
fn a_bound_on_messages_holds_beside_the_one_on_bytes() {
    let (mut lane, mut pipe) = stalled(Overflow::DropNewest, Some(5));
    assert_eq!(lane.queue.len(), 5);
    finish(&mut lane, &mut pipe);
}

#[test]
fn a_message_larger_than_the_budget_passes_while_none_waits() {
    let mut lane = lane(Overflow::DropNewest, 1000, None);
    let mut pipe = Pipe::default();
    let big = || vec![Bytes::from(vec![0; 5000])];
    offer(&mut lane, &mut pipe, big());
    offer(&mut lane, &mut pipe, big());
    offer(&mut lane, &mut pipe, big());
    let facts = lane.facts(&pipe);
    assert_eq!((facts.sent, facts.queued, facts.dropped.newest), (1, 1, 1));
}

#[test]
fn what_waits_is_a_copy() {
    let buffer = Bytes::from(vec![1; 100_000]);
    let frames = vec![buffer.slice(0..10), Bytes::new(), buffer.slice(10..30)];
    let kept = compact(&frames);
    assert_eq!(kept, frames);
    drop(frames);
    assert!(buffer.is_unique(), "the buffer is free");
}
