//! The replica's machine by both of its doors: any frames, in any order, at any time.

#![no_main]

use std::time::Duration;

use bytes::Bytes;
use zmqnet::roles::replica::{Action, Config, Door, Event, Machine};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let config: Config = serde_json::from_str(
        r#"{"name": "a", "listen": ["tcp://127.0.0.1:1"], "peers": [["b", "tcp://127.0.0.1:2"]],
            "health": "ipc:///h", "broadcast_ms": 1000}"#,
    )
    .expect("a configuration");
    let mut machine = Machine::new(&config);
    let mut actions = Vec::new();
    let mut frames: Vec<Bytes> = Vec::new();
    let mut now = Duration::ZERO;
    for chunk in zmqnet_fuzz::chunks(input) {
        // A chunk that starts with a byte under four ends a message; others are its frames.
        let Some((&tag, rest)) = chunk.split_first() else {
            frames.push(Bytes::new());
            continue;
        };
        frames.push(Bytes::copy_from_slice(if tag < 4 { rest } else { chunk }));
        if tag >= 4 {
            continue;
        }
        now += Duration::from_millis(u64::from(tag) * 400);
        let door = if tag == 3 { Door::Health } else { Door::Public };
        let request = Event::Request {
            caller: 1,
            door,
            frames: std::mem::take(&mut frames),
        };
        machine.step(now, request, &mut actions);
        machine.step(now, Event::Tick, &mut actions);
        for action in actions.drain(..) {
            if let Action::Note(message) = action {
                assert!(!message.to_string().chars().any(char::is_control));
            }
        }
    }
});
