//! The mesh's protobuf: what is read can be written and read again, and is printed without controls.

#![no_main]

use zmqnet::protocol::mesh::Message;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Ok(message) = Message::decode(input) else {
        return;
    };
    assert_eq!(Message::decode(&message.encode()), Ok(message.clone()));
    assert!(
        !message.to_string().chars().any(char::is_control),
        "a log line stays one line"
    );
});
