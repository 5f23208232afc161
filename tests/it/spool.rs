//! The spool, from outside: persizmq's own cases, by command, by hand, by its directories.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Stdio};

use serde_json::{Value, json};

use crate::support::{Ran, Running, World, ports, py, python, root, wait_for};

/// A publisher of libzmq's, and a network of one spool called `archive` that hears it.
struct Spool {
    world: World,
    first: u16,
    _publisher: Running,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Spool {
    /// With more keys; subscribed.
    fn start(keys: &str) -> Self {
        Self::begin(keys, "feed, to: archive")
    }

    fn begin(keys: &str, link: &str) -> Self {
        let (world, first) = (World::new(), ports(6));
        let mut publisher = world.command(python());
        publisher.arg(root().join("tests/it/py/publisher.py"));
        publisher.arg(format!("tcp://127.0.0.1:{}", first + 5));
        publisher.stdin(Stdio::piped());
        let mut publisher = Running::start(&mut publisher);
        let to = publisher.0.stdin.take().unwrap();
        let from = BufReader::new(publisher.0.stdout.take().unwrap());
        let mut spool = Self {
            world,
            first,
            _publisher: publisher,
            to,
            from,
        };
        spool.hear("bound");
        spool.write(keys, link);
        spool.world.ok(&["apply"]);
        spool.tell(json!(["wait"]));
        spool
    }

    fn write(&self, keys: &str, link: &str) {
        let first = self.first;
        let text = format!(
            "zmqnet: 1\nname: net\ndefaults: {{ports: {first}..{}}}\nnodes:\n  \
             feed: {{kind: external, port: {}}}\n  archive: {{kind: spool{keys}}}\n\
             links:\n  news: {{pattern: pubsub, from: {link}}}\n",
            first + 4,
            first + 5
        );
        self.world.write("topology.yaml", &text);
    }

    fn hear(&mut self, wanted: &str) {
        let mut line = String::new();
        self.from.read_line(&mut line).unwrap();
        assert_eq!(line.trim(), wanted);
    }

    fn tell(&mut self, what: Value) {
        writeln!(self.to, "{what}").unwrap();
        self.hear("done");
    }

    /// Publishes a message, and waits until it was heard.
    fn send(&mut self, frames: &[&str]) {
        let heard = self.facts()["received"].as_u64().unwrap();
        let told: Vec<&str> = ["send"].iter().chain(frames).copied().collect();
        self.tell(json!(told));
        self.wait("received", heard + 1);
    }

    fn facts(&self) -> Value {
        let status = self.world.ok(&["status", "-o", "json"]).json();
        let mut nodes = status["nodes"].as_array().unwrap().iter();
        nodes.find(|it| it["name"] == "archive").unwrap()["facts"].clone()
    }

    /// Waits until it counts so many and nothing is being stored.
    fn wait(&self, fact: &str, count: u64) -> Value {
        wait_for(&format!("{fact} {count}"), || {
            let facts = self.facts();
            let is_there = facts[fact] == count && facts["storing"] == 0;
            is_there.then_some(facts)
        })
    }

    fn front(&self) -> Ran {
        self.world.run(&["spool", "front", "-n", "archive"])
    }

    fn pop(&self) -> Ran {
        self.world.run(&["spool", "pop", "-n", "archive"])
    }

    fn len(&self) -> String {
        self.world.ok(&["spool", "len"]).stdout
    }

    fn pid(&self) -> String {
        let status = self.world.ok(&["status", "-o", "json"]).json();
        let mut nodes = status["nodes"].as_array().unwrap().iter();
        nodes.find(|it| it["name"] == "archive").unwrap()["pid"].to_string()
    }

    /// Kills the role's process, and leaves it to whoever watches over it.
    fn kill(&mut self) {
        let pid = self.pid();
        let killed = self.world.command("kill").args(["-9", &pid]).status();
        assert!(killed.unwrap().success());
        wait_for("another process", || (self.pid() != pid).then_some(()));
        self.tell(json!(["wait"]));
    }

    fn restart(&mut self) {
        self.world.ok(&["restart", "archive"]);
        self.tell(json!(["wait"]));
    }
}

const STORED: &str = ", store: {path: ./data}";

/// persizmq's `test_no_message_received`, `test_a_message` and `test_multiple_messages`.
#[test]
fn messages_wait_in_their_order_until_they_are_popped() {
    let mut spool = Spool::start(STORED);
    let empty = spool.front();
    assert_eq!((empty.code, &empty.stdout[..]), (1, ""));
    assert!(
        empty.stderr.contains("the spool is empty"),
        "{}",
        empty.stderr
    );
    assert_eq!((spool.pop().code, &spool.len()[..]), (1, "0\n"));
    spool.send(&["1985"]);
    for _ in 0..2 {
        assert_eq!(spool.front().stdout, "1985\n");
    }
    assert_eq!(
        (&spool.pop().stdout[..], &spool.len()[..]),
        ("1985\n", "0\n")
    );
    assert_eq!(spool.front().code, 1);
    spool.send(&["1986"]);
    spool.send(&["1987"]);
    assert_eq!(
        (&spool.pop().stdout[..], &spool.len()[..]),
        ("1986\n", "1\n")
    );
    spool.send(&["1988"]);
    assert_eq!(
        (&spool.front().stdout[..], &spool.len()[..]),
        ("1987\n", "2\n")
    );
    let both = ["spool", "pop", "--count", "2"];
    assert_eq!(spool.world.ok(&both).stdout, "1987\n1988\n");
    assert_eq!(spool.world.run(&both).code, 1);
    let facts = spool.facts();
    assert_eq!(facts["stored"], 4);
    assert_eq!((&facts["popped"], &facts["length"]), (&4.into(), &0.into()));
    assert_eq!(facts["store"]["health"], "good");
    spool.world.ok(&["down"]);
}

/// persizmq's `test_persistency` and `test_order`, with kill -9 for its restart.
#[test]
fn what_was_stored_is_there_in_its_order_after_a_crash() {
    let mut spool = Spool::start(STORED);
    let all: Vec<String> = (2_000..2_020).map(|it| it.to_string()).collect();
    for message in &all {
        spool.tell(json!(["send", message]));
    }
    spool.wait("stored", 20);
    assert_eq!(spool.pop().stdout, "2000\n");
    spool.kill();
    assert_eq!(spool.len(), "19\n");
    for message in &all[1..10] {
        assert_eq!(spool.pop().stdout, format!("{message}\n"));
    }
    spool.restart();
    for message in &all[10..] {
        assert_eq!(spool.pop().stdout, format!("{message}\n"));
    }
    // Drained and restarted: no offset is used again, where persizmq would begin at 0.
    spool.restart();
    spool.send(&["more"]);
    let json = ["spool", "front", "-o", "json"];
    assert_eq!(spool.world.ok(&json).json()["offset"], 20);
    spool.world.ok(&["down"]);
}

/// persizmq's `TestPersistentLatest`.
#[test]
fn with_latest_only_the_newest_is_there_and_new_once() {
    let mut spool = Spool::start(", store: {path: ./data, mode: latest}");
    let front = |spool: &Spool| {
        let told = spool.world.ok(&["spool", "front", "-o", "json"]).json();
        (told["frames"][0].clone(), told["new"].clone())
    };
    assert_eq!(spool.front().code, 1);
    spool.send(&["4000"]);
    spool.send(&["4001"]);
    assert_eq!(front(&spool), ("4001".into(), true.into()));
    assert_eq!(front(&spool), ("4001".into(), false.into()));
    for message in 4_010..4_020 {
        spool.tell(json!(["send", message.to_string()]));
    }
    spool.wait("stored", 12);
    spool.restart();
    assert_eq!(front(&spool), ("4019".into(), true.into()));
    assert_eq!(front(&spool), ("4019".into(), false.into()));
    assert_eq!(spool.len(), "1\n");
    assert_eq!(spool.pop().stdout, "4019\n");
    assert_eq!((spool.front().code, &spool.len()[..]), (1, "0\n"));
    spool.kill();
    assert_eq!(spool.front().code, 1);
    spool.world.ok(&["down"]);
}

/// persizmq's `TestFilters`; the state of `min_period` survives a crash.
#[test]
fn filters_refuse_in_their_order_and_remember_over_a_crash() {
    let keys = format!("{STORED}, filters: [{{max_size: 1000B}}, {{min_period: 1h}}]");
    let mut spool = Spool::start(&keys);
    // What is too large begins no period.
    spool.tell(json!(["sizes", 1_001]));
    spool.wait("received", 1);
    spool.send(&["3000"]);
    spool.send(&["3001"]);
    assert_eq!(spool.len(), "1\n");
    spool.kill();
    spool.send(&["3002"]);
    let facts = spool.facts();
    assert_eq!(facts["filtered"], json!({"max_size": 0, "min_period": 1}));
    assert_eq!(
        (&spool.pop().stdout[..], &spool.len()[..]),
        ("3000\n", "0\n")
    );
    // The other order: the one that is too large has used up the period, and 1,000 bytes pass.
    let keys = ", store: {path: ./more}, filters: [{min_period: 1h}, {max_size: 1000B}]";
    spool.write(keys, "feed, to: archive");
    spool.world.ok(&["apply"]);
    spool.tell(json!(["wait"]));
    spool.tell(json!(["sizes", 1_001, 1_000]));
    spool.wait("received", 2);
    assert_eq!(spool.len(), "0\n");
    let keys = ", store: {path: ./last}, filters: [{max_size: 1000B}]";
    spool.write(keys, "feed, to: archive");
    spool.world.ok(&["apply"]);
    spool.tell(json!(["wait"]));
    spool.tell(json!(["sizes", 1_001, 1_000]));
    spool.wait("received", 2);
    assert_eq!(spool.facts()["filtered"], json!({"max_size": 1}));
    assert_eq!(
        spool.front().stdout.len(),
        1_001,
        "1,000 bytes and a newline"
    );
    spool.world.ok(&["down"]);
}

#[test]
fn a_message_of_several_frames_is_one_and_topics_are_asked_for() {
    let keys = format!("{STORED}, filters: [{{regex: '^[a-m]'}}, {{every_nth: 2}}]");
    let mut spool = Spool::begin(&keys, "feed, to: {archive: [ping, pong]}");
    spool.tell(json!(["wait"]));
    for body in ["a", "z", "b", "c"] {
        spool.tell(json!(["send", "other", body]));
        spool.tell(json!(["send", "ping", body, ""]));
    }
    // What nobody asked for is not even sent. `ping` itself matches no `[a-m]`.
    let facts = spool.wait("received", 4);
    assert_eq!(facts["filtered"], json!({"regex": 1, "every_nth": 1}));
    assert_eq!(spool.len(), "2\n");
    let json = ["spool", "front", "-o", "json"];
    let frames = spool.world.ok(&json).json()["frames"].clone();
    assert_eq!(frames, json!(["ping", "a", ""]));
    assert_eq!(spool.pop().stdout, "a \n");
    let topics = spool.world.ok(&["spool", "pop", "--topics"]).stdout;
    assert_eq!(topics, "ping c \n");
    spool.world.ok(&["down"]);
}

#[test]
fn what_does_not_fit_is_counted_and_it_goes_on_listening() {
    let mut spool = Spool::start(", store: {path: ./data, max: 2KB}");
    spool.tell(json!(["sizes", 900, 900, 900, 5000]));
    spool.wait("received", 4);
    let facts = spool.facts();
    assert_eq!(facts["dropped"]["full"], 2);
    assert_eq!(facts["length"], 2);
    assert_eq!(spool.pop().code, 0);
    spool.send(&["fits"]);
    assert_eq!(spool.len(), "2\n");
    assert_eq!(spool.pop().code, 0);
    assert_eq!(spool.pop().stdout, "fits\n");
    spool.world.ok(&["down"]);
}

/// `ZMQNET_STARTS=200 cargo test --test it it_is_started` for a long run.
#[test]
fn it_is_started_and_stopped_often_and_never_hangs() {
    let starts: u64 = std::env::var("ZMQNET_STARTS").map_or(5, |it| it.parse().unwrap());
    let mut spool = Spool::start(STORED);
    for _ in 0..starts {
        spool.restart();
        spool.send(&["one more"]);
    }
    assert_eq!(spool.len(), format!("{starts}\n"));
    spool.world.ok(&["down"]);
}

#[test]
fn it_is_followed_while_messages_come_and_waited_for() {
    let mut spool = Spool::start(STORED);
    spool.send(&["first"]);
    let tail = [
        "spool",
        "tail",
        "--from",
        "0",
        "--count",
        "3",
        "--timeout",
        "30s",
    ];
    let mut tail = Running::start(&mut spool.world.zmqnet(&tail));
    let waiting = |spool: &Spool, count: u64| {
        wait_for("who waits", || {
            (spool.facts()["waiting"] == count).then_some(())
        })
    };
    waiting(&spool, 1);
    let pop = ["spool", "pop", "--count", "3", "--timeout", "30s"];
    let mut pop = Running::start(&mut spool.world.zmqnet(&pop));
    waiting(&spool, 2);
    spool.send(&["second"]);
    spool.send(&["third"]);
    let said = |running: &mut Running| {
        let mut text = String::new();
        let mut stdout = running.0.stdout.take().unwrap();
        std::io::Read::read_to_string(&mut stdout, &mut text).unwrap();
        assert!(running.0.wait().unwrap().success(), "{text}");
        text
    };
    assert_eq!(said(&mut tail), "first\nsecond\nthird\n");
    assert_eq!(said(&mut pop), "first\nsecond\nthird\n");
    let few = [
        "spool",
        "tail",
        "--last",
        "1",
        "--count",
        "1",
        "--timeout",
        "50ms",
    ];
    assert_eq!(spool.world.run(&few).code, 1);
    spool.world.ok(&["down"]);
}

/// persizmq's files as its own code leaves them.
fn persizmq(dir: &Path, messages: &[&[u8]]) {
    fs::create_dir_all(dir).unwrap();
    for (number, message) in messages.iter().enumerate() {
        fs::write(dir.join(format!("{number:030}.bin")), message).unwrap();
    }
}

#[test]
fn persizmqs_directories_come_in_and_go_out_byte_for_byte() {
    let mut spool = Spool::start(STORED);
    let world = &spool.world;
    let messages: Vec<Vec<u8>> = (0..130_u16)
        .map(|it| vec![it as u8; usize::from(it)])
        .collect();
    let messages: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
    let dir = world.path("seed");
    persizmq(&dir, &messages);
    // What was not finished is nobody's, what is called otherwise too.
    fs::write(dir.join(format!("{:030}.bin.tmp", 7)), "half").unwrap();
    fs::write(dir.join("notes.txt"), "mine").unwrap();
    let import = [
        "spool", "import", "-n", "archive", "--format", "persizmq", "seed",
    ];
    world.ok(&import);
    assert_eq!(spool.len(), "130\n");
    let export = |spool: &Spool, dir: &str| {
        let export = ["spool", "export", "--format", "persizmq", dir];
        spool.world.run(&export).code
    };
    assert_eq!(export(&spool, "out"), 0);
    for (number, message) in messages.iter().enumerate() {
        let name = format!("out/{number:030}.bin");
        assert_eq!(&fs::read(world.path(&name)).unwrap(), message, "{name}");
    }
    assert_eq!(fs::read_dir(world.path("out")).unwrap().count(), 130);
    let latest = [
        "spool", "export", "--format", "persizmq", "--latest", "newest",
    ];
    world.ok(&latest);
    let newest = fs::read(world.path("newest/persistent_message.bin")).unwrap();
    assert_eq!(newest, messages[129]);
    // The failing sides: files that are there, a foreign name first or last, no directory.
    assert_eq!(export(&spool, "out"), 1);
    for foreign in ["0.bin", "zebra.bin", "persistent_message.bin"] {
        let path = dir.join(foreign);
        fs::write(&path, "foreign").unwrap();
        let refused = world.run(&import);
        assert_eq!(refused.code, 1, "{foreign}");
        assert!(refused.stderr.contains(foreign), "{}", refused.stderr);
        fs::remove_file(path).unwrap();
    }
    assert_eq!(spool.len(), "130\n");
    let nowhere = ["spool", "import", "--format", "persizmq", "nowhere"];
    assert_eq!(spool.world.run(&nowhere).code, 66);
    let newest = ["spool", "import", "--format", "persizmq", "newest"];
    spool.world.ok(&newest);
    assert_eq!(spool.len(), "131\n");
    // As persizmq hears it, each frame is a message.
    spool.send(&["topic", "body"]);
    assert_eq!(export(&spool, "frames"), 0);
    let frame = |number: usize| {
        let name = format!("frames/{number:030}.bin");
        fs::read_to_string(spool.world.path(&name)).unwrap()
    };
    assert_eq!((&frame(131)[..], &frame(132)[..]), ("topic", "body"));
    spool.world.ok(&["down"]);
}

/// The examples of the document, run as they stand, one after the other.
#[test]
fn the_examples_of_the_document_work() {
    let mut spool = Spool::start(STORED);
    spool.send(&["kitchen", "21 degrees"]);
    spool.send(&["kitchen", "22 degrees"]);
    let text = fs::read_to_string(root().join("docs/spool.md")).unwrap();
    let main = format!("tcp://127.0.0.1:{}", spool.first);
    let text = text.replace("tcp://127.0.0.1:5555", &main);
    let mut ran = 0;
    let mut rest = text.as_str();
    while let Some(at) = rest.find("```python\n") {
        let script = &rest[at + 10..];
        let (script, after) = script.split_once("```").unwrap();
        let wanted = after.split_once("```text\n").unwrap().1;
        let wanted = wanted.split_once("```").unwrap().0;
        let got = py(&spool.world, script, &[]);
        assert_eq!(got.stdout, wanted, "{script}\n{}", got.stderr);
        (rest, ran) = (after, ran + 1);
    }
    assert_eq!(ran, 1, "examples of docs/spool.md");
    spool.world.ok(&["down"]);
}

/// What it refuses, in the verbs that change or read something.
const REFUSED: &str = r#"
import json, sys, zmq
spool = zmq.Context().socket(zmq.REQ)
spool.connect(sys.argv[1])
def ask(verb, params, *body):
    spool.send_multipart([b"ZN1", verb, b"1", json.dumps(params).encode(), *body])
    _, status, _, result, *body = spool.recv_multipart()
    return int(status), json.loads(result), body
for verb, params, body in [
    (b"front", {}, []), (b"pop", {"offset": 0}, []), (b"pop", {}, []), (b"put", {}, []),
    (b"put", {"parts": [1]}, [b"a", b"b"]), (b"put", {"parts": [2, 0]}, [b"a", b"b"]),
    (b"put", {"parts": [2**64 - 1, 2]}, [b"a"]), (b"put", {"parts": [2**63, 2**63, 1]}, [b"a"]),
    (b"put", {"once": ""}, [b"a"]), (b"peek", {"from": 1}, []), (b"peek", {"from": 0, "last": 1}, []),
    (b"front", {"who": 1}, []), (b"dance", {}, []),
]:
    print(ask(verb, params, *body)[0], end=" ")
print()
for _ in range(2):
    status, told, _ = ask(b"put", {"parts": [2, 1], "once": "a"}, b"one", b"1", b"two")
    print(status, told["offset"], told["repeated"], end=" ")
print()
print(ask(b"peek", {})[2], ask(b"pop", {"offset": 1})[1], ask(b"pop", {"offset": 0})[1])
print(ask(b"peek", {"from": 1})[0], ask(b"len", {})[1]["length"])
"#;

#[test]
fn what_is_no_request_of_its_is_refused_and_what_is_put_again_is_there_once() {
    let spool = Spool::start(STORED);
    let main = format!("tcp://127.0.0.1:{}", spool.first);
    let ran = py(&spool.world, REFUSED, &[&main]);
    let wanted = "404 404 400 400 400 400 400 400 400 404 400 400 501 \n200 0 False 200 0 True \n\
                  [b'one', b'1', b'two'] {'removed': 2, 'length': 0} {'removed': 0, 'length': 0}\n\
                  404 0\n";
    assert_eq!(ran.stdout, wanted, "{}", ran.stderr);
    spool.world.ok(&["down"]);
}

#[test]
fn two_instances_have_a_directory_each_and_without_a_store_it_is_in_memory() {
    let mut spool = Spool::start("");
    spool.send(&["gone"]);
    spool.kill();
    assert_eq!(spool.len(), "0\n");
    assert_eq!(spool.facts()["store"]["durability"], "memory");
    spool.write(", replicas: 2, store: {path: ./data}", "feed, to: archive");
    spool.world.ok(&["apply"]);
    for name in ["archive-0", "archive-1"] {
        assert!(
            spool.world.path("data").join(name).join("lock").exists(),
            "{name}"
        );
    }
    spool.world.ok(&["down"]);
}
