//! The spool is killed at each step of a write, again and again, while it is filled, read and emptied.

use crate::stream_kill::{Victim, dies_at_every_step};

/// `ZMQNET_KILLS=1000 cargo test --test it spool_kill` for a long run.
#[test]
fn nothing_is_lost_and_nothing_taken_comes_back_when_it_is_killed_at_any_step() {
    // Far more is retained than waits: it makes segments short.
    dies_at_every_step(&Victim {
        node: "archive: {kind: spool, store: {path: ./data, retain: 16MiB}}",
        script: "tests/it/py/spool_fire.py",
        report: "target/spool-kills.txt",
    });
}
