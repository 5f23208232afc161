//! Streams changed at random, from fixed seeds: what a stranger may send is refused or understood in
//! the same way however the kernel cuts it, within every limit, and never with a panic. The fuzz
//! targets look further into the same code.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use fastrand::Rng;

use crate::model::limits::WireLimits;
use crate::model::socket::SocketType;

use super::curve::{self, CurveClient};
use super::hub::{Admission, Guard, Received, Security, Session, SessionConfig, Side};

const CASES: u64 = 6_000;
const SEALED_CASES: u64 = 150;
const MESSAGE_BYTES_MAX: usize = 2_000;

fn limits() -> WireLimits {
    WireLimits {
        message_bytes_max: MESSAGE_BYTES_MAX,
        parts_max: 4,
        topic_bytes_max: 30,
        subscriptions_max: 3,
        metadata_bytes_max: 200,
        ..WireLimits::default()
    }
}

fn session(side: Side, socket_type: SocketType) -> Session {
    Session::new(SessionConfig {
        socket_type,
        announce: Bytes::from_static(b"ZN1:test"),
        limits: Arc::new(limits()),
        side,
        is_near: true,
    })
}

fn frame(flags: u8, body: &[u8]) -> Vec<u8> {
    let head = match u8::try_from(body.len()) {
        Ok(len) => vec![flags, len],
        Err(_) => [&[flags | 2][..], &(body.len() as u64).to_be_bytes()].concat(),
    };
    [&head, body].concat()
}

fn command(name: &str, body: &[u8]) -> Vec<u8> {
    let name_len = [u8::try_from(name.len()).unwrap()];
    frame(4, &[&name_len[..], name.as_bytes(), body].concat())
}

/// What a peer that means well sends, of several kinds.
fn stream(rng: &mut Rng, socket_type: SocketType) -> Vec<u8> {
    let mut bytes = vec![0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, rng.u8(0..2)];
    bytes.extend_from_slice(b"NULL");
    bytes.resize(64, 0);
    let kind = if socket_type == SocketType::Router {
        "DEALER"
    } else {
        "SUB"
    };
    let mut metadata = Vec::new();
    for (name, value) in [("Socket-Type", kind), ("Identity", "somebody")] {
        metadata.push(name.len() as u8);
        metadata.extend_from_slice(name.as_bytes());
        metadata.extend_from_slice(&(value.len() as u32).to_be_bytes());
        metadata.extend_from_slice(value.as_bytes());
    }
    bytes.extend(command("READY", &metadata));
    for _ in 0..rng.usize(1..8) {
        match rng.u8(0..6) {
            0 => bytes.extend(command("PING", b"\0\x05ctx")),
            1 => bytes.extend(command("SUBSCRIBE", &vec![b't'; rng.usize(0..40)])),
            2 => bytes.extend(command("CANCEL", b"t")),
            3 => bytes.extend(frame(0, &vec![1; rng.usize(0..40)])),
            _ => {
                for _ in 0..rng.usize(0..4) {
                    bytes.extend(frame(1, &vec![b'm'; rng.usize(0..300)]));
                }
                bytes.extend(frame(0, &vec![b'e'; rng.usize(0..900)]));
            }
        }
    }
    bytes
}

/// Changes a few bytes, in the ways that find most.
fn mutate(rng: &mut Rng, bytes: &mut Vec<u8>) {
    const WORTHY: [u8; 9] = [0, 1, 2, 3, 4, 6, 0x7f, 0x80, 0xff];
    for _ in 0..rng.usize(0..4) {
        let at = rng.usize(0..bytes.len());
        match rng.u8(0..7) {
            0 => bytes[at] ^= 1 << rng.u8(0..8),
            1 => bytes[at] = WORTHY[rng.usize(0..WORTHY.len())],
            2 => bytes.insert(at, rng.u8(..)),
            3 if bytes.len() > 1 => drop(bytes.remove(at)),
            4 => {
                let header = [
                    &[2 | rng.u8(0..8)][..],
                    &(1_u64 << rng.u32(0..64)).to_be_bytes(),
                ];
                drop(bytes.splice(at..at, header.concat()));
            }
            5 => {
                let end = (at + rng.usize(1..80)).min(bytes.len());
                let again = bytes[at..end].to_vec();
                drop(bytes.splice(at..at, again));
            }
            _ if rng.u8(0..8) == 0 => bytes.truncate(at.max(1)),
            _ => bytes[at] = rng.u8(..),
        }
    }
}

/// Takes what came; checks it against the limits.
fn take(session: &mut Session, into: &mut Vec<Received>) {
    while let Some(received) = session.take() {
        match &received {
            Received::Message(frames) => {
                assert!((1..=limits().parts_max).contains(&frames.len()));
                let bytes: usize = frames.iter().map(Bytes::len).sum();
                assert!(bytes <= MESSAGE_BYTES_MAX, "{bytes} bytes passed");
            }
            Received::Subscribed { topic, .. } => assert!(topic.len() <= limits().topic_bytes_max),
        }
        into.push(received);
    }
}

/// Gives all that the session wants to write.
fn write(session: &mut Session) -> Vec<u8> {
    let mut written = Vec::new();
    while session.is_behind() {
        let before = written.len();
        for slice in session.outgoing().iter() {
            written.extend_from_slice(slice);
        }
        session.wrote(written.len() - before);
    }
    written
}

/// Feeds one piece and lets the peer in as soon as it says who it is. False once it is refused.
fn feed(session: &mut Session, piece: &[u8], into: &mut Vec<Received>) -> bool {
    let mut is_fine = session.receive(Bytes::copy_from_slice(piece)).is_ok();
    if is_fine && session.take_claim().is_some() {
        is_fine = session.admit().is_ok();
    }
    take(session, into);
    is_fine
}

/// All that comes of a stream which the kernel cuts by `rng`, and whether it was refused.
fn outcome(bytes: &[u8], socket_type: SocketType, rng: &mut Rng) -> (Vec<Received>, bool) {
    let mut session = session(Side::Listening(Security::Open), socket_type);
    let mut received = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let longest = [1, 3, 70, 5_000][rng.usize(0..4)];
        let (piece, after) = rest.split_at(rng.usize(1..=longest).min(rest.len()));
        rest = after;
        let is_fine = feed(&mut session, piece, &mut received);
        assert!(session.queued_bytes() < 128 * 1024, "what waits is bounded");
        write(&mut session);
        if !is_fine {
            return (received, true);
        }
    }
    (received, false)
}

#[test]
fn what_a_stranger_sends_means_the_same_however_it_is_cut() {
    let mut refused = 0;
    let mut delivered = 0;
    for seed in 0..CASES {
        let rng = &mut Rng::with_seed(seed);
        let socket_type = [SocketType::Router, SocketType::Pub, SocketType::Xpub][rng.usize(0..3)];
        let mut bytes = stream(rng, socket_type);
        mutate(rng, &mut bytes);
        let one = outcome(&bytes, socket_type, rng);
        let other = outcome(&bytes, socket_type, rng);
        assert_eq!(one, other, "seed {seed}: {bytes:02x?}");
        refused += usize::from(one.1);
        delivered += one.0.len();
    }
    // The streams are worth something only while both happen.
    assert!(
        refused > 1_000 && delivered > 4_000,
        "{refused} {delivered}"
    );
}

/// Both sides of a CURVE connection, and what each has to write.
fn sealed() -> [Session; 2] {
    let (server, client) = (curve::generate(), curve::generate());
    let guard = Guard::new(Admission {
        own: vec![server.clone()],
        allowed: BTreeMap::from([(client.public, "client".to_owned())]),
        ..Admission::default()
    });
    let keys = CurveClient {
        own: client,
        server: server.public,
    };
    [
        session(Side::Dialling(Some(Arc::new(keys))), SocketType::Dealer),
        session(
            Side::Listening(Security::Curve(Arc::new(guard))),
            SocketType::Router,
        ),
    ]
}

/// Passes bytes to and fro, changed by `rng` where `change` says so. False once a side refused.
fn pass(
    sides: &mut [Session; 2],
    received: &mut [Vec<Received>; 2],
    change: &mut dyn FnMut(&mut Vec<u8>),
) -> bool {
    loop {
        let mut is_idle = true;
        for from in [0, 1] {
            let mut bytes = write(&mut sides[from]);
            if bytes.is_empty() {
                continue;
            }
            is_idle = false;
            change(&mut bytes);
            let to = 1 - from;
            if !feed(&mut sides[to], &bytes, &mut received[to]) {
                return false;
            }
        }
        if is_idle {
            return true;
        }
    }
}

fn messages(count: u8) -> Vec<Vec<Bytes>> {
    let body = |n: u8| Bytes::from(vec![n; usize::from(n) * 9]);
    (0..count)
        .map(|n| vec![Bytes::new(), body(n), body(n / 2)])
        .collect()
}

#[test]
fn under_curve_a_changed_byte_is_never_a_message() {
    let mut untouched = 0;
    for seed in 0..SEALED_CASES {
        let rng = &mut Rng::with_seed(seed);
        let mut sides = sealed();
        let mut received = [Vec::new(), Vec::new()];
        let sent = messages(8);
        let changes_handshake = rng.u8(0..3) == 0;
        let mut change = |bytes: &mut Vec<u8>| {
            if changes_handshake {
                mutate(rng, bytes);
            }
        };
        pass(&mut sides, &mut received, &mut change);
        if sides.iter().all(Session::is_ready) {
            for frames in &sent {
                sides[0].send(frames.clone()).unwrap();
                sides[1].send(frames.clone()).unwrap();
            }
            let is_changed = rng.bool();
            let mut change = |bytes: &mut Vec<u8>| {
                if is_changed {
                    mutate(rng, bytes);
                }
            };
            let is_whole = pass(&mut sides, &mut received, &mut change);
            untouched += usize::from(is_whole && received[1].len() == sent.len());
        }
        for side in &received {
            let sent = sent.iter().cloned().map(Received::Message);
            let is_beginning = side.iter().cloned().eq(sent.take(side.len()));
            assert!(is_beginning, "seed {seed}: {side:?}");
        }
    }
    assert!(untouched > 5, "some pass whole: {untouched}");
}
