//! Our dialling side under CURVE against a server that means no good: it knows its own secret key, and
//! answers anything.

#![no_main]

use std::sync::Arc;

use x25519_dalek::PublicKey as Key;
use zmqnet::model::key::{KeyPair, PublicKey, SecretKey};
use zmqnet::wire::curve::CurveClient;
use zmqnet::wire::hub::Side;
use zmqnet_fuzz::{chunks, command, curve, drain, feed, greeting, property, session};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some((kind, rest)) = input.split_first() else {
        return;
    };
    let (server, passing, own) = (curve::pair(1), curve::pair(2), curve::pair(3));
    let client = CurveClient {
        own: KeyPair {
            public: PublicKey::from_bytes(*own.public.as_bytes()),
            secret: SecretKey::from_bytes(own.secret.to_bytes()),
        },
        server: PublicKey::from_bytes(*server.public.as_bytes()),
    };
    let mut session = session(Side::Dialling(Some(Arc::new(client))), 3);
    let mut written = Vec::new();
    drain(&mut session, &mut written);
    if !feed(&mut session, &greeting(1, b"CURVE"), &mut written) {
        return;
    }
    let chunks = chunks(rest);
    if kind & 1 != 0 {
        for chunk in chunks {
            let name: &[u8] = if chunk.len() % 2 == 0 {
                b"WELCOME"
            } else {
                b"READY"
            };
            if !feed(&mut session, &command(name, chunk), &mut written) {
                return;
            }
        }
        return;
    }
    // The client's passing key stands in its HELLO, after the greeting.
    let at = 64 + 2 + 6 + 74;
    let Some(theirs) = written.get(at..at + 32) else {
        return;
    };
    let theirs = Key::from(<[u8; 32]>::try_from(theirs).expect("32 bytes"));
    let (first, more) = chunks
        .split_first()
        .map_or((&[][..], &[][..]), |(f, m)| (*f, m));
    let mut cookie = first.to_vec();
    if kind & 2 == 0 {
        cookie.resize(96, 9);
    }
    let plain = [&passing.public.as_bytes()[..], &cookie].concat();
    let sealed = curve::seal(
        &theirs,
        &server.secret,
        &curve::long(b"WELCOME-", &[5; 16]),
        &plain,
    );
    let welcome = command(b"WELCOME", &[&[5; 16][..], &sealed].concat());
    if !feed(&mut session, &welcome, &mut written) {
        return;
    }
    let (metadata, more) = more
        .split_first()
        .map_or((&[][..], &[][..]), |(f, m)| (*f, m));
    let mut plain = Vec::new();
    if kind & 4 == 0 {
        plain.extend(property(b"Socket-Type", b"ROUTER"));
    }
    plain.extend_from_slice(metadata);
    let sealed = curve::seal(
        &theirs,
        &passing.secret,
        &curve::short(b"CurveZMQREADY---", 1),
        &plain,
    );
    let ready = command(b"READY", &[&1u64.to_be_bytes()[..], &sealed].concat());
    if !feed(&mut session, &ready, &mut written) {
        return;
    }
    for (number, chunk) in more.iter().enumerate() {
        let bytes = curve::message(&theirs, &passing, false, 2 + number as u64, chunk);
        if !feed(&mut session, &bytes, &mut written) {
            return;
        }
    }
});
