//! Every limit of a listener, set by the manifest: what passes and what is one too many, its counter,
//! and a legitimate client that is served all the while.

use serde_json::Value;

use crate::attack::fort::{Fort, script};
use crate::queue::Queue;
use crate::support::{Ran, Running, World, py, python, wait_for};

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

/// A plain echo at the port `back`, and a Majordomo one at `front`.
const ECHOES: &str = "\
import sys, threading, zmq
context = zmq.Context()
def plain():
    socket = context.socket(zmq.REP)
    socket.connect(sys.argv[2])
    while True:
        socket.send_multipart(socket.recv_multipart())
def named():
    socket = context.socket(zmq.DEALER)
    socket.connect(sys.argv[1])
    socket.send_multipart([b'', b'MDPW01', b'\\x01', b'echo'])
    while True:
        frames = socket.recv_multipart()
        if frames[2] == b'\\x02':
            socket.send_multipart([b'', b'MDPW01', b'\\x03', frames[3], b'', *frames[5:]])
threading.Thread(target=plain, daemon=True).start()
print('up', flush=True)
named()
";

/// What is as large as it may be, and one part more.
const LARGEST: &str = "\
import sys, zmq
context = zmq.Context()
def client():
    socket = context.socket(zmq.REQ)
    socket.rcvtimeo, socket.linger = 20000, 0
    socket.connect(sys.argv[1])
    return socket
socket = client()
for body in ([b'x'] * 63, [b'x'] * 64, [b'y' * 65536], [b'y' * 65535, b'']):
    socket.send_multipart(body)
    assert socket.recv_multipart() == body, len(body)
for body in ([b'x'] * 60, [b'x'] * 62, [b'y' * (65536 - 10)]):
    socket.send_multipart([b'MDPC01', b'echo', *body])
    assert socket.recv_multipart() == [b'MDPC01', b'echo', *body], len(body)
for body in ([b'x'] * 65, [b'y' * 65537]):
    over = client()
    over.rcvtimeo = 300
    over.send_multipart(body)
    try:
        raise SystemExit(f'{len(over.recv_multipart())} frames came back')
    except zmq.Again:
        pass
print('all came back')
";

#[test]
fn what_was_taken_is_answered_also_where_it_is_as_large_as_it_may_be() {
    let queue = Queue::start(", limits: {message: 64KiB}");
    let mut command = queue.world.command(python());
    let _echoes = Running::start(command.args(["-c", ECHOES, &queue.front, &queue.back]));
    queue.wait("both workers", |facts| facts["workers"] == 2);
    let ran = py(&queue.world, LARGEST, &[&queue.front]);
    assert_eq!(ran.stdout, "all came back\n", "{}", ran.stderr);
    let large = "y".repeat(100_000);
    let args = ["queue", "submit", "echo", &large, "--timeout", "1s"];
    let said = queue.world.run(&args);
    assert_eq!(said.code, 1, "{}", said.stderr);
    let words = "the task has 100000 bytes, and the queue takes 65536 at most";
    assert!(said.stderr.contains(words), "{}", said.stderr);
    let facts = queue.wait("what is over is refused", |facts| facts["refused"] == 2);
    let is = [&facts["done"], &facts["attempts"], &facts["lost"]];
    assert_eq!(is, [7, 7, 0], "{facts}");
    queue.world.ok(&["down"]);
}
