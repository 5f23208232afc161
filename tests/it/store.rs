//! Stores are copied, looked at and put back, while they are written.

use std::fs;
use std::path::PathBuf;

use crate::support::{Running, World, ports, py, python, wait_for};

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

/// A network with one node, `kept`, whose store is `./data`.
fn one(node: &str) -> (World, u16) {
    let (world, first) = (World::new(), ports(5));
    write_one(&world, first, node);
    (world, first)
}

fn write_one(world: &World, first: u16, node: &str) {
    let text = format!(
        "zmqnet: 1\nname: one\ndefaults: {{ports: {first}..{}}}\nnodes:\n  kept: {{{node}}}\n",
        first + 4
    );
    world.write("topology.yaml", &text);
}

#[test]
fn the_store_of_another_kind_is_refused_where_it_is_written_and_by_the_node() {
    let (world, first) = one("kind: kv, store: {path: ./data}");
    world.ok(&["apply"]);
    world.ok(&["kv", "set", "a", "1"]);
    world.ok(&["down"]);
    for kind in ["stream", "spool", "queue"] {
        write_one(
            &world,
            first,
            &format!("kind: {kind}, store: {{path: ./data}}"),
        );
        world.ok(&["check"]);
        let refused = world.run(&["apply"]);
        assert_eq!(refused.code, 1, "{kind}");
        for words in [
            "is the store of a kv, and `kept` is a",
            "topology.yaml:5:",
            "ZN0513",
        ] {
            assert!(refused.stderr.contains(words), "{}", refused.stderr);
        }
        assert_eq!(world.run(&["status"]).code, 69, "nothing was started");
    }
    // One from before stores said whose they are: the node looks at what it keeps.
    for kind in ["stream", "spool"] {
        fs::remove_file(world.path("data/kind")).unwrap();
        write_one(
            &world,
            first,
            &format!("kind: {kind}, store: {{path: ./data}}"),
        );
        let refused = world.run(&["apply"]);
        assert_eq!(refused.code, 1, "{}", refused.stderr);
        let words = format!("what the store has kept is not of a {kind}");
        for words in ["cannot open its store", &words] {
            assert!(refused.stderr.contains(words), "{}", refused.stderr);
        }
        assert!(!refused.stderr.contains("panicked"), "{}", refused.stderr);
        world.ok(&["down"]);
        write_one(&world, first, "kind: kv, store: {path: ./data}");
        world.ok(&["apply"]);
        assert_eq!(
            world.ok(&["kv", "get", "a"]).stdout,
            "1",
            "nothing was done to it"
        );
        world.ok(&["down"]);
        assert!(
            world.path("data/kind").exists(),
            "it says again whose it is"
        );
    }
}

#[test]
fn a_copy_goes_into_a_directory_that_is_there_also_where_a_disk_is_mounted() {
    let (world, _) = one("kind: stream, store: {path: ./data}");
    world.ok(&["apply"]);
    world.ok(&["stream", "append", "one"]);
    fs::create_dir_all(world.path("there/lost+found")).unwrap();
    // What was left of a copy that was ended.
    world.write("there/copy.part/00000000000000000000.seg", "half");
    world.ok(&["store", "backup", "kept", "there"]);
    world.ok(&["store", "verify", "--dir", "there"]);
    assert!(!world.path("there/copy.part").exists());
    assert_eq!(world.run(&["store", "backup", "kept", "there"]).code, 1);
    world.write("other/mine", "not a copy");
    assert_eq!(world.run(&["store", "backup", "kept", "other"]).code, 1);
    assert_eq!(fs::read_dir(world.path("other")).unwrap().count(), 1);
    // On a disk of its own, where this machine lets one have it.
    fs::create_dir(world.path("mounted")).unwrap();
    let script = format!(
        "mount -t tmpfs none mounted || exit 77\n{0} store backup kept mounted && \
         {0} store verify --dir mounted && {0} stop kept && mv data old && mkdir data && \
         mount -t tmpfs none data && {0} store restore kept mounted && \
         {0} store verify --dir data && ls mounted data",
        crate::support::zmqnet()
    );
    let mut command = world.command("unshare");
    let ran = crate::support::Ran::of(command.args(["-rm", "sh", "-c", &script]));
    if ran.code == 0 {
        let words = ran.stdout;
        assert_eq!(words.matches("1 records in").count(), 4, "{words}");
        assert!(!words.contains("part"), "{words}");
    } else {
        let is_refused = ran.code == 77 || ran.stderr.contains("unshare");
        assert!(is_refused, "{} {} {}", ran.code, ran.stdout, ran.stderr);
    }
    world.ok(&["down"]);
}

/// Fills a spool and empties it, again and again.
const THROUGH: &str = "\
import json, os, sys, zmq
spool = zmq.Context().socket(zmq.REQ)
spool.connect(sys.argv[1])
def ask(verb, params, body=[]):
    spool.send_multipart([b'ZN1', verb, b'', json.dumps(params).encode(), *body])
    _, status, _, result, *_ = spool.recv_multipart()
    return int(status), json.loads(result)
largest = 0
for number in range(40):
    status, told = ask(b'put', {'parts': [1] * 16}, [os.urandom(60000)] * 16)
    assert status == 200, (status, told)
    offset = told['offset'] + 15
    status, told = ask(b'pop', {'offset': offset})
    assert status == 200, (status, told)
    size = sum(entry.stat().st_size for entry in os.scandir(sys.argv[2]))
    largest = max(largest, size)
status, told = ask(b'put', {'parts': [1] * 40}, [b'x' * 60000] * 40)
print(largest, status)
";

#[test]
fn what_was_taken_of_a_spool_leaves_the_disk_by_parts_of_its_max() {
    let (world, first) = one("kind: spool, store: {path: ./data, max: 2MiB}");
    world.ok(&["apply"]);
    let endpoint = format!("tcp://127.0.0.1:{first}");
    let data = world.path("data").display().to_string();
    let said = py(&world, THROUGH, &[&endpoint, &data]).stdout;
    let (largest, status) = said.trim().split_once(' ').unwrap();
    // 38 MB went through it; beside what waits there are parts of it, of 1 MiB.
    let largest: u64 = largest.parse().unwrap();
    assert!((1_000_000..7 << 20).contains(&largest), "{largest} bytes");
    assert_eq!(status, "429", "more than `max` does not fit");
    world.ok(&["down"]);
}

#[test]
fn a_part_of_a_copy_is_no_copy() {
    let (world, _) = one("kind: stream, store: {path: ./data}");
    world.ok(&["apply"]);
    for _ in 0..5 {
        world.ok(&["stream", "append", "one"]);
    }
    world.ok(&["store", "backup", "kept", "copy"]);
    world.ok(&["down"]);
    fs::rename(world.path("data"), world.path("old")).unwrap();
    let about = fs::read_to_string(world.path("copy/backup.json")).unwrap();
    let told: serde_json::Value = serde_json::from_str(&about).unwrap();
    assert_eq!(told["extents"]["records"], 5);
    assert_eq!(told["extents"]["last_offset"], 4);
    let segment = "copy/00000000000000000000.seg";
    let whole = fs::read(world.path(segment)).unwrap();
    let refused = |words: &str| {
        for args in [
            &["store", "verify", "--dir", "copy"][..],
            &["store", "restore", "kept", "copy"],
        ] {
            let ran = world.run(args);
            assert_eq!(ran.code, 1, "{args:?}: {}", ran.stdout);
            assert!(ran.stderr.contains(words), "{args:?}: {}", ran.stderr);
        }
        assert!(!world.path("data").exists());
    };
    // Cut at the end of a batch: it fits together, and is not all.
    let batch = (whole.len() - 64) / 5;
    fs::write(world.path(segment), &whole[..whole.len() - batch]).unwrap();
    refused("bytes, and");
    fs::write(world.path(segment), &whole).unwrap();
    fs::rename(world.path("copy/kind"), world.path("kind")).unwrap();
    refused("kind: it is missing in the copy");
    fs::rename(world.path("kind"), world.path("copy/kind")).unwrap();
    for text in ["", "{", "[]"] {
        world.write("copy/backup.json", text);
        refused("backup.json: it is empty or damaged");
    }
    // A copy of before it said so is named, and taken.
    world.write(
        "copy/backup.json",
        "{\"kind\": \"stream\", \"node\": \"kept\"}",
    );
    let old = world.ok(&["store", "verify", "--dir", "copy"]);
    assert!(
        old.stderr.contains("of before copies said so"),
        "{}",
        old.stderr
    );
    world.write("copy/backup.json", &about);
    let whole = world.ok(&["store", "verify", "--dir", "copy"]);
    assert!(!whole.stderr.contains("copies said so"), "{}", whole.stderr);
    world.ok(&["store", "restore", "kept", "copy"]);
    assert!(!world.path("data/backup.json").exists());
}

#[test]
fn a_segment_that_is_gone_is_missed_by_who_looks_and_by_the_node() {
    let (world, _) = one("kind: stream, store: {path: ./data}");
    world.ok(&["apply"]);
    world.ok(&["store", "verify", "kept"]);
    world.ok(&["stream", "append", "two"]);
    world.ok(&["down"]);
    fs::remove_file(world.path("data/00000000000000000000.seg")).unwrap();
    let missed = world.run(&["store", "verify", "kept"]);
    assert_eq!(missed.code, 1);
    assert!(
        missed
            .stderr
            .contains("synced: it is there, and no segment"),
        "{}",
        missed.stderr
    );
    let refused = world.run(&["apply"]);
    assert_eq!(refused.code, 1);
    assert!(
        refused.stderr.contains("cannot open its store"),
        "{}",
        refused.stderr
    );
    world.ok(&["down"]);
}
