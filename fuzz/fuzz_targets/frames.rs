//! Any bytes after the handshake.

#![no_main]

use zmqnet_fuzz::{feed, greeting, open, ready};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some((kind, rest)) = input.split_first() else {
        return;
    };
    let mut session = open(kind >> 1);
    let mut written = Vec::new();
    let mut hello = greeting(kind & 1, b"NULL");
    hello.extend(ready(zmqnet_fuzz::peer(kind >> 1)));
    assert!(feed(&mut session, &hello, &mut written) && session.is_ready());
    feed(&mut session, rest, &mut written);
});
