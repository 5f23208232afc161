//! Our listener under CURVE against a client that makes boxes by hand: broken ones, whole ones around any
//! metadata, and, once admitted, any messages and commands.

#![no_main]

use std::collections::BTreeMap;
use std::sync::Arc;

use zmqnet::model::key::{KeyPair, PublicKey, SecretKey};
use zmqnet::wire::hub::{Admission, Guard, Security, Side};
use zmqnet_fuzz::{chunks, command, curve, feed, greeting, property, session};

fn key(pair: &curve::Pair) -> KeyPair {
    KeyPair {
        public: PublicKey::from_bytes(*pair.public.as_bytes()),
        secret: SecretKey::from_bytes(pair.secret.to_bytes()),
    }
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some((kind, rest)) = input.split_first() else {
        return;
    };
    let (server, old, own, passing) = (
        curve::pair(1),
        curve::pair(2),
        curve::pair(3),
        curve::pair(4),
    );
    let guard = Guard::new(Admission {
        own: vec![key(&server), key(&old)],
        allowed: BTreeMap::from([(key(&own).public, "own".into())]),
        ..Admission::default()
    });
    let mut session = session(Side::Listening(Security::Curve(Arc::new(guard))), 0);
    let mut written = Vec::new();
    if !feed(&mut session, &greeting(1, b"CURVE"), &mut written) {
        return;
    }
    let server = if kind & 1 == 0 { &server } else { &old };
    let chunks = chunks(rest);
    if kind & 2 != 0 {
        // Handshake commands without any care.
        let bytes: Vec<u8> = chunks
            .iter()
            .flat_map(|c| command([b"HELLO" as &[u8], b"INITIATE"][c.len() % 2], c))
            .collect();
        assert!(!feed(&mut session, &bytes, &mut written) || !session.is_ready());
        return;
    }
    let before = written.len();
    assert!(feed(
        &mut session,
        &curve::hello(&passing, &server.public),
        &mut written
    ));
    let welcome = &written[before..];
    let (server_passing, cookie) =
        curve::welcomed(&passing, &server.public, welcome).expect("a WELCOME for a good HELLO");
    let is_admitted = kind & 4 == 0;
    let who = if is_admitted { &own } else { &passing };
    let mut metadata = Vec::new();
    if kind & 8 == 0 {
        metadata.extend(property(b"Socket-Type", b"DEALER"));
    }
    let (first, more) = chunks
        .split_first()
        .map_or((&[][..], &[][..]), |(f, m)| (*f, m));
    metadata.extend_from_slice(first);
    let initiate = curve::initiate(
        (&passing, who),
        (&server.public, &server_passing),
        &cookie,
        &metadata,
    );
    let went_on = feed(&mut session, &initiate, &mut written);
    assert!(
        is_admitted || !went_on,
        "an unlisted key ends the connection"
    );
    assert!(
        is_admitted || !session.is_ready(),
        "an unlisted key is never ready"
    );
    for (number, chunk) in more.iter().enumerate() {
        let counter = 3 + number as u64;
        let bytes = curve::message(&server_passing, &passing, true, counter, chunk);
        if !feed(&mut session, &bytes, &mut written) {
            return;
        }
    }
});
