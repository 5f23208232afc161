//! Stores are copied, looked at and put back, while they are written.

use std::fs;
use std::path::PathBuf;

use crate::support::{Running, World, ports, python, wait_for};

/// A network with a store of each kind.
fn stores() -> (World, u16) {
    let (world, first) = (World::new(), ports(7));
    let text = format!(
        "zmqnet: 1\nname: kept\ndefaults:\n  ports: {first}..{}\nnodes:\n  \
         events: {{kind: stream, port: {first}, store: {{path: ./data/events}}}}\n  \
         params: {{kind: kv, store: {{path: ./data/params}}}}\n  \
         jobs: {{kind: queue, store: {{path: ./data/jobs}}}}\n  \
         passing: {{kind: kv}}\n",
        first + 19
    );
    world.write("topology.yaml", &text);
    world.ok(&["apply"]);
    (world, first)
}

const NODES: [&str; 3] = ["events", "params", "jobs"];

/// Appends until it is ended.
const WRITER: &str = "\
import sys, zmq
socket = zmq.Context().socket(zmq.REQ)
socket.connect(sys.argv[1])
while True:
    socket.send_multipart([b'ZN1', b'append', b'', b'', b'x' * 5000])
    socket.recv_multipart()
";

/// The largest file of a directory.
fn largest(dir: PathBuf) -> PathBuf {
    let files = fs::read_dir(dir).unwrap().map(|it| it.unwrap().path());
    let length = |path: &PathBuf| fs::metadata(path).unwrap().len();
    files.max_by_key(length).unwrap()
}

fn flip(path: &PathBuf, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 16;
    fs::write(path, bytes).unwrap();
}

#[test]
fn stores_are_copied_while_they_are_written_and_put_back_whole() {
    let (world, port) = stores();
    for number in 0..20 {
        let number = number.to_string();
        world.ok(&["stream", "append", &number]);
        world.ok(&["kv", "set", "-n", "params", &number, "value"]);
        world.ok(&["queue", "submit", "mail", "task", "--id", &number]);
    }
    let mut writer = world.command(python());
    writer.args(["-c", WRITER, &format!("tcp://127.0.0.1:{port}")]);
    let writer = Running::start(&mut writer);
    for round in 0..3 {
        for node in NODES {
            let copied = world.ok(&["store", "backup", node, &format!("copy/{round}/{node}")]);
            assert!(copied.stdout.contains("copied: "), "{}", copied.stdout);
            let verified = world.ok(&["store", "verify", node, "-o", "json"]).json();
            assert_eq!(
                verified["damage"].as_array().unwrap().len(),
                0,
                "{verified}"
            );
            assert!(verified["records"].as_u64().unwrap() >= 20, "{verified}");
        }
    }
    drop(writer);
    // Later writes are not in the copies.
    world.ok(&["kv", "set", "-n", "params", "later", "1"]);
    for node in NODES {
        let copy = format!("copy/2/{node}");
        world.ok(&["store", "verify", "--dir", &copy]);
        let again = world.run(&["store", "backup", node, &copy]);
        assert_eq!(again.code, 1, "nothing is overwritten");
        let used = world.run(&["store", "restore", node, &copy]);
        assert_eq!(used.code, 1);
        assert!(used.stderr.contains("is in use"), "{}", used.stderr);
        world.ok(&["stop", node]);
        let kept = world.run(&["store", "restore", node, &copy]);
        assert_eq!(kept.code, 1);
        assert!(kept.stderr.contains("is there already"), "{}", kept.stderr);
        let data = world.path("data").join(node);
        fs::rename(&data, world.path(&format!("old-{node}"))).unwrap();
        let other = world.run(&["store", "restore", node, "copy/2/passing"]);
        assert_eq!(other.code, 66, "{}", other.stderr);
        world.ok(&["store", "restore", node, &copy]);
        world.ok(&["start", node]);
    }
    let wrong = world.run(&["store", "restore", "params", "copy/2/events"]);
    assert!(
        wrong.stderr.contains("is a copy of a stream"),
        "{}",
        wrong.stderr
    );
    assert_eq!(
        world.ok(&["kv", "get", "-n", "params", "7"]).stdout,
        "value"
    );
    assert_eq!(world.run(&["kv", "get", "-n", "params", "later"]).code, 1);
    assert_eq!(
        world
            .ok(&["stream", "read", "--from", "19", "--count", "1"])
            .stdout,
        "19\n"
    );
    let same = world.ok(&["queue", "submit", "mail", "task", "--id", "7", "-o", "json"]);
    assert_eq!(same.json()["duplicate"], true);
    // A new node appends after what was put back.
    world.ok(&["stream", "append", "more"]);
    let memory = world.run(&["store", "verify", "passing"]);
    assert_ne!(memory.code, 0);
    let nobody = world.run(&["store", "verify", "nobody"]);
    assert_eq!(nobody.code, 1, "{}", nobody.stderr);
    world.ok(&["down"]);
    // The manifest alone says where a store is.
    world.ok(&["store", "verify", "events"]);
}

#[test]
fn a_flipped_byte_is_said_and_is_not_put_back() {
    let (world, _) = stores();
    for _ in 0..20 {
        world.ok(&["stream", "append", &"x".repeat(500)]);
    }
    world.ok(&["store", "backup", "events", "copy"]);
    let segment = largest(world.path("copy"));
    flip(&segment, fs::metadata(&segment).unwrap().len() as usize / 2);
    let found = world.run(&["store", "verify", "--dir", "copy"]);
    assert_eq!(found.code, 1);
    assert!(
        found.stderr.contains("damaged from byte"),
        "{}",
        found.stderr
    );
    assert!(found.stderr.contains(", records "), "{}", found.stderr);
    world.ok(&["stop", "events"]);
    fs::rename(world.path("data/events"), world.path("old")).unwrap();
    let refused = world.run(&["store", "restore", "events", "copy"]);
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    assert!(!world.path("data/events").exists());
    // One that is in use is looked at as well, and is not copied while it is damaged.
    fs::rename(world.path("old"), world.path("data/events")).unwrap();
    world.ok(&["start", "events"]);
    let segment = largest(world.path("data/events"));
    flip(&segment, 200);
    let found = world.run(&["store", "verify", "events", "-o", "json"]);
    assert_eq!(found.code, 1);
    assert_eq!(
        found.json()["damage"].as_array().unwrap().len(),
        1,
        "{}",
        found.stdout
    );
    let refused = world.run(&["store", "backup", "events", "other"]);
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    assert!(!world.path("other").exists() && !world.path("other.part").exists());
    wait_for("the end", || (world.run(&["down"]).code == 0).then_some(()));
}

#[test]
fn check_says_what_each_store_promises() {
    let world = World::new();
    let text = "zmqnet: 1\nnodes:\n  a: {kind: kv, store: {path: ./a}}\n  \
                b: {kind: queue, store: {path: ./b, durability: os}}\n  \
                c: {kind: stream, store: {path: ./c, durability: memory}}\n  d: {kind: queue}\n";
    world.write("topology.yaml", text);
    let said = world.ok(&["check"]).stdout;
    let lines: Vec<&str> = said.lines().skip(1).collect();
    assert_eq!(
        lines,
        [
            "topology.yaml: `a`: a write that is acknowledged survives a power cut",
            "topology.yaml: `b`: a write that is acknowledged survives a crash of the process, not of the machine",
            "topology.yaml: `c`: a write that is acknowledged survives nothing",
        ]
    );
}
