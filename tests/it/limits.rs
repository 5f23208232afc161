//! Every limit of a listener, set by the manifest: what passes and what is one too many, its counter,
//! and a legitimate client that is served all the while.

use serde_json::Value;

use crate::attack::fort::{Fort, script};
use crate::support::{Ran, World, wait_for};

const LIMITS: &str = ", limits: {parts: 7, message: 64KiB, metadata: 512B, pings: 5/1m, \
                      handshake: 1s, pending: 4, connections: 12}";

/// How many a limit has refused.
fn rejected(fort: &Fort, limit: &str) -> u64 {
    let node = fort.node();
    let count = &node["listeners"]["rejected"][limit];
    count.as_u64().unwrap_or_else(|| panic!("{limit}: {node}"))
}

#[test]
fn each_limit_lets_its_measure_pass_and_counts_what_is_over_it() {
    let fort = Fort::start(LIMITS);
    let port = fort.port.to_string();
    for (name, limit) in [
        ("parts", "parts"),
        ("message_bytes", "message"),
        ("metadata", "metadata"),
        ("pings", "ping_rate"),
        ("identity", "identity"),
        ("handshake", "handshake"),
        ("pending", "pending"),
        ("connections", "connections"),
        ("protocol", "protocol"),
    ] {
        let before = rejected(&fort, limit);
        let ran = Ran::of(&mut script(&fort.world, "limits.py", &[&port, name]));
        assert_eq!(ran.code, 0, "{name}: {}", ran.stderr);
        let met = ran.json();
        assert_eq!(met["passes"], true, "{name}: the measure itself: {met}");
        assert_eq!(met["closed"], true, "{name}: one over it: {met}");
        wait_for(&format!("`{limit}` to be counted"), || {
            (rejected(&fort, limit) > before).then_some(())
        });
        fort.stands(name);
    }
    fort.end();
}

#[test]
fn descriptors_that_run_short_keep_nobody_out_who_finishes_a_handshake() {
    let limits = ", limits: {files: 100, handshake: 20s}";
    let fort = Fort::start(limits);
    // Of 100 descriptors 64 are kept for other things.
    let in_force = fort.node()["listeners"]["limits"]["connections_max"].clone();
    assert_eq!(in_force, 36);
    let port = fort.port.to_string();
    let ran = Ran::of(&mut script(&fort.world, "limits.py", &[&port, "half_open"]));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(ran.json()["closed"], true, "{}", ran.stdout);
    assert!(rejected(&fort, "pending") > 100, "the oldest made room");
    fort.stands("half_open");
    fort.end();
}

#[test]
fn limits_in_force_and_refusals_are_shown_for_people_and_for_machines() {
    let fort = Fort::start(LIMITS);
    let port = fort.port.to_string();
    let ran = Ran::of(&mut script(&fort.world, "limits.py", &[&port, "parts"]));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let shown = fort.world.ok(&["status", "--wires"]).stdout;
    assert!(
        shown.contains(
            "limits: handshake 1s, pending 4, connections 12, message 64KiB, parts 7, metadata \
             512B, topic 1KiB, subscriptions 10000, pings 5/1m, peer_bytes 64MiB"
        ),
        "{shown}"
    );
    assert!(shown.contains("parts 1"), "{shown}");
    let node = fort.node();
    let listeners = &node["listeners"];
    assert_eq!(listeners["limits"]["parts_max"], 7, "{node}");
    assert_eq!(listeners["limits"]["message_far_bytes_max"], 65_536);
    assert!(listeners["accepted"].as_u64().unwrap() > 2, "{node}");
    let log = fort.world.ok(&["logs", "fort", "-n", "100"]).stdout;
    assert!(
        log.contains("refused 127.0.0.1: its message has too many parts"),
        "{log}"
    );
    fort.end();
}

#[test]
fn a_changed_limit_restarts_its_node_alone_and_limits_of_programs_are_warned_of() {
    let world = World::new();
    let first = crate::support::ports(4);
    let manifest = |limits: &str| {
        format!(
            "zmqnet: 1\nname: two\ndefaults: {{ports: {first}..{}, limits: {{parts: 9}}}}\nnodes:\n  \
             alpha: {{kind: replica{limits}}}\n  bravo: {{kind: replica}}\n  tool: {{command: \
             [sleep, '1000'], limits: {{connections: 3}}}}\n",
            first + 3
        )
    };
    world.write("topology.yaml", &manifest(""));
    let checked = world.ok(&["check"]);
    assert!(checked.stderr.contains("ZN0410"), "{}", checked.stderr);
    world.ok(&["apply"]);
    let nodes = || world.ok(&["status", "-o", "json"]).json()["nodes"].take();
    let before = nodes();
    let parts = |nodes: &Value, at: usize| nodes[at]["listeners"]["limits"]["parts_max"].clone();
    assert_eq!((parts(&before, 0), parts(&before, 1)), (9.into(), 9.into()));
    assert_eq!(
        before[2]["listeners"],
        Value::Null,
        "a program's are its own"
    );
    world.write("topology.yaml", &manifest(", limits: {parts: 5}"));
    world.ok(&["apply"]);
    let after = nodes();
    assert_eq!((parts(&after, 0), parts(&after, 1)), (5.into(), 9.into()));
    assert_ne!(before[0]["pid"], after[0]["pid"]);
    assert_eq!(before[1]["pid"], after[1]["pid"]);
}
