//! Commands with any name and body: instead of READY, and after it.

#![no_main]

use zmqnet_fuzz::{chunks, command, feed, greeting, open, ready};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some((kind, rest)) = input.split_first() else {
        return;
    };
    let mut session = open(kind >> 2);
    let mut written = Vec::new();
    let mut bytes = greeting(kind & 1, b"NULL");
    if kind & 2 == 0 {
        bytes.extend(ready(zmqnet_fuzz::peer(kind >> 2)));
    }
    const NAMES: [&[u8]; 9] = [
        b"READY",
        b"ERROR",
        b"PING",
        b"PONG",
        b"SUBSCRIBE",
        b"CANCEL",
        b"JOIN",
        b"LEAVE",
        b"HELLO",
    ];
    for chunk in chunks(rest) {
        match chunk.split_first() {
            Some((name, body)) if usize::from(*name) < NAMES.len() => {
                bytes.extend(command(NAMES[usize::from(*name)], body));
            }
            _ => bytes.extend(zmqnet_fuzz::frame(4, chunk)),
        }
    }
    feed(&mut session, &bytes, &mut written);
});
