//! The first bytes of a stranger, unchanged.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let mut session = zmqnet_fuzz::open(input.len() as u8);
    let mut written = Vec::new();
    zmqnet_fuzz::feed(&mut session, input, &mut written);
    assert!(
        session.is_ready() || written.len() < 1024,
        "a stranger gets a greeting and a READY"
    );
});
