//! What the fuzz targets share: a session driven like the hub drives it, with what must hold of it, and
//! the bytes of a peer that cannot be trusted.

pub mod curve;

use std::sync::Arc;

use bytes::Bytes;
use zmqnet::model::limits::WireLimits;
use zmqnet::model::socket::SocketType;
use zmqnet::wire::hub::{Received, Security, Session, SessionConfig, Side};

/// Limits so small that inputs of a few kilobytes meet them.
pub fn limits() -> WireLimits {
    WireLimits {
        message_bytes_max: 4 * 1024,
        parts_max: 8,
        peer_bytes_max: 16 * 1024,
        topic_bytes_max: 100,
        subscriptions_max: 20,
        metadata_bytes_max: 500,
        ..WireLimits::default()
    }
}

/// What our socket is, and a type that may talk to it.
const KINDS: [(SocketType, &[u8]); 4] = [
    (SocketType::Router, b"DEALER"),
    (SocketType::Pub, b"SUB"),
    (SocketType::Xpub, b"SUB"),
    (SocketType::Dealer, b"DEALER"),
];

/// The type that may talk to a session of this kind.
pub fn peer(kind: u8) -> &'static [u8] {
    KINDS[usize::from(kind) % KINDS.len()].1
}

/// A session of this side, whose type the first byte of an input chooses.
pub fn session(side: Side, kind: u8) -> Session {
    Session::new(SessionConfig {
        socket_type: KINDS[usize::from(kind) % KINDS.len()].0,
        announce: Bytes::from_static(b"ZN1:fuzz"),
        limits: Arc::new(limits()),
        side,
        is_near: true,
    })
}

/// A session that listens without CURVE.
pub fn open(kind: u8) -> Session {
    session(Side::Listening(Security::Open), kind)
}

/// Feeds bytes in pieces; gives what the session wrote. False once it refused them.
pub fn feed(session: &mut Session, bytes: &[u8], written: &mut Vec<u8>) -> bool {
    for piece in pieces(bytes) {
        if session.receive(Bytes::copy_from_slice(piece)).is_err() {
            take(session);
            drain(session, written);
            return false;
        }
        if session.take_claim().is_some() && session.admit().is_err() {
            return false;
        }
        while take(session) > 0 {
            drain(session, written);
            if session.parse().is_err() {
                return false;
            }
        }
        drain(session, written);
    }
    true
}

/// Takes what came, and gives messages back to the peer; says how much it was.
fn take(session: &mut Session) -> usize {
    let mut count = 0;
    while let Some(received) = session.take() {
        count += 1;
        match received {
            Received::Message(frames) => {
                check(&frames);
                // An echo: what comes in can go out again.
                let _ = session.send(frames);
            }
            Received::Subscribed { topic, .. } => {
                assert!(
                    topic.len() <= limits().topic_bytes_max,
                    "topics are bounded"
                );
            }
        }
    }
    count
}

/// What holds of every message that passed.
fn check(frames: &[Bytes]) {
    let limits = limits();
    assert!(!frames.is_empty(), "a message has frames");
    assert!(frames.len() <= limits.parts_max, "parts are bounded");
    let bytes: usize = frames.iter().map(Bytes::len).sum();
    let slots = 128 * limits.parts_max;
    assert!(
        bytes <= limits.message_bytes_max + slots,
        "bytes are bounded"
    );
}

/// Takes what the session has to write.
pub fn drain(session: &mut Session, written: &mut Vec<u8>) {
    let waiting_max = limits().peer_bytes_max + 128 * 1024;
    assert!(
        session.queued_bytes() <= waiting_max,
        "what waits is bounded"
    );
    while session.is_behind() {
        let slices = session.outgoing();
        let bytes: usize = slices.iter().map(|slice| slice.len()).sum();
        for slice in slices.iter() {
            written.extend_from_slice(slice);
        }
        drop(slices);
        assert!(bytes > 0, "what is behind has something to write");
        session.wrote(bytes);
    }
}

/// Cuts bytes where they say so themselves: a kernel cuts anywhere.
fn pieces(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let cut = bytes.first().map_or(1, |byte| match byte % 4 {
        0 => 1,
        1 => 7,
        2 => 64,
        _ => usize::MAX,
    });
    bytes.chunks(cut.max(bytes.len() / 64 + 1))
}

/// A greeting.
pub fn greeting(minor: u8, mechanism: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0x7f, 3, minor];
    bytes.extend_from_slice(mechanism);
    bytes.resize(64, 0);
    bytes
}

/// A frame.
pub fn frame(flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = match u8::try_from(payload.len()) {
        Ok(short) => vec![flags, short],
        Err(_) => [&[flags | 2][..], &(payload.len() as u64).to_be_bytes()].concat(),
    };
    bytes.extend_from_slice(payload);
    bytes
}

/// A command frame.
pub fn command(name: &[u8], body: &[u8]) -> Vec<u8> {
    frame(4, &[&[name.len() as u8], name, body].concat())
}

/// The READY of a peer of this type.
pub fn ready(kind: &[u8]) -> Vec<u8> {
    command(b"READY", &property(b"Socket-Type", kind))
}

/// One property of a READY.
pub fn property(name: &[u8], value: &[u8]) -> Vec<u8> {
    let length = (value.len() as u32).to_be_bytes();
    [&[name.len() as u8], name, &length, value].concat()
}

/// Splits an input into chunks, each after its length in one byte.
pub fn chunks(mut input: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while let Some((length, rest)) = input.split_first() {
        let (chunk, after) = rest.split_at(rest.len().min(usize::from(*length)));
        found.push(chunk);
        input = after;
    }
    found
}
