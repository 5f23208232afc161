//! The bus: unmodified programs on both of its ports, and the commands that talk to it.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use serde_json::Value;

use crate::protocol_doc::blocks;
use crate::support::{Ran, Running, World, ports, py, python, root, wait_for};

/// A network of one bus with more keys.
fn bus(world: &World, keys: &str) -> u16 {
    let port = ports(3);
    let text =
        format!("zmqnet: 1\nname: busy\nnodes:\n  news: {{kind: bus, port: {port}{keys}}}\n");
    world.write("topology.yaml", &text);
    world.ok(&["apply"]);
    port
}

/// `bus sub` with arguments, once its subscriptions count.
struct Sub(Running);

impl Sub {
    fn start(world: &World, args: &[&str]) -> Self {
        let mut command = world.zmqnet(&["bus", "sub"]);
        let mut running = Running::start(command.args(args));
        let mut talk = BufReader::new(running.0.stderr.take().unwrap());
        let mut line = String::new();
        talk.read_line(&mut line).unwrap();
        assert!(line.starts_with("subscribed at tcp://"), "{line}");
        Self(running)
    }

    /// What it printed, once it has ended.
    fn end(mut self) -> Ran {
        let mut stdout = String::new();
        let mut out = self.0.0.stdout.take().unwrap();
        std::io::Read::read_to_string(&mut out, &mut stdout).unwrap();
        let code = self.0.0.wait().unwrap().code().unwrap_or(-1);
        Ran {
            code,
            stdout,
            stderr: String::new(),
        }
    }
}

/// `bus pub TOPIC -` with lines.
fn publish(world: &World, topic: &str, lines: &str) -> Value {
    let mut command = world.zmqnet(&["bus", "pub", topic, "-", "-o", "json"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(lines.as_bytes()).unwrap();
    drop(stdin);
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    ran.json()
}

/// Every pair of socket types that may meet at a bus; the bodies are pickles.
const RAW: &str = "\
import pickle, sys, time, zmq
front, back = sys.argv[1:]
context = zmq.Context()
def dial(kind, endpoint):
    socket = context.socket(kind)
    socket.linger, socket.rcvtimeo = 0, 20000
    socket.connect(endpoint)
    return socket
subs = [dial(zmq.SUB, back), dial(zmq.XSUB, back)]
for topic in (b'ping', b'ZN1.ready.1'):
    subs[0].subscribe(topic)
    subs[1].send(b'\\x01' + topic)
for sub in subs:
    assert sub.recv_multipart() == [b'ZN1.ready.1']
xpub = dial(zmq.XPUB, front)
assert xpub.recv() == b'\\x01', 'the bus asks for everything'
xpub.send_multipart([b'ping', pickle.dumps('ping')])
xpub.send_multipart([b'pong', b'not asked for'])
xpub.send_multipart([b'pings', b'', b'three'])
for sub in subs:
    assert sub.recv_multipart() == [b'ping', bytes.fromhex('80049508000000000000008c0470696e67942e')]
    assert sub.recv_multipart() == [b'pings', b'', b'three']
pub = dial(zmq.PUB, front)
# PUB cannot say when it is connected: it goes on until it is heard.
while not subs[0].poll(20):
    pub.send(b'ping')
assert subs[0].recv_multipart() == [b'ping']
subs[1].send(b'\\x00ping')
print('all passed')
";

#[test]
fn unmodified_programs_talk_and_pickles_pass_unchanged() {
    let world = World::new();
    let port = bus(&world, "");
    let at = |offset: u16| format!("tcp://127.0.0.1:{}", port + offset);
    let ran = py(&world, RAW, &[&at(0), &at(1)]);
    assert_eq!(ran.stdout, "all passed\n", "{}", ran.stderr);
    world.ok(&["down"]);
}

#[test]
fn four_publishers_reach_three_subscribers_each_with_all() {
    let world = World::new();
    bus(&world, "");
    let subscribers: Vec<Sub> = (0..3)
        .map(|_| Sub::start(&world, &["news", "--count", "200", "--timeout", "25s"]))
        .collect();
    std::thread::scope(|scope| {
        for publisher in 0..4 {
            let world = &world;
            scope.spawn(move || {
                let lines: String = (0..50).map(|n| format!("{publisher} {n:02}\n")).collect();
                let report = publish(world, "news", &lines);
                assert_eq!(report["messages"], 50);
                assert_eq!(report["matched"], 150);
                assert_eq!(report["queued"], 150);
            });
        }
    });
    for subscriber in subscribers {
        let ran = subscriber.end();
        assert_eq!(ran.code, 0);
        for publisher in 0..4 {
            let own: Vec<&str> = ran
                .stdout
                .lines()
                .filter(|line| line.starts_with(&publisher.to_string()))
                .collect();
            assert_eq!(own.len(), 50);
            assert!(own.is_sorted(), "in the order of the publisher: {own:?}");
        }
    }
    let status = world.ok(&["bus", "ls", "-n", "news", "-o", "json"]).json();
    let passed = &status["passed"];
    // Each was told that it is ready, beside the two hundred.
    assert_eq!(passed["matched"], 603);
    assert_eq!(passed["sent"], 603);
    assert_eq!(status["published"], 200);
    world.ok(&["down"]);
}

#[test]
fn topics_are_prefixes_unless_they_are_exact_and_too_few_in_time_is_a_failure() {
    let world = World::new();
    let port = bus(&world, "");
    let prefix = Sub::start(
        &world,
        &["ping", "--count", "3", "--topics", "--timeout", "20s"],
    );
    let exact = Sub::start(
        &world,
        &[
            "ping",
            "--exact",
            "--count",
            "1",
            "-o",
            "json",
            "--timeout",
            "20s",
        ],
    );
    let endpoint = format!("tcp://127.0.0.1:{}", port + 1);
    let by_endpoint = Sub::start(
        &world,
        &["--endpoint", &endpoint, "--count", "4", "--timeout", "20s"],
    );
    for (topic, message) in [
        ("pings", "1"),
        ("pong", "2"),
        ("ping", "3"),
        ("pingping", "4"),
    ] {
        let ran = world.ok(&["bus", "pub", "-n", "news", topic, message]);
        assert!(
            ran.stderr.starts_with("1 published, matched "),
            "{}",
            ran.stderr
        );
    }
    assert_eq!(prefix.end().stdout, "pings 1\nping 3\npingping 4\n");
    let json = "{\"topic\":\"ping\",\"frames\":[{\"text\":\"3\",\"bytes\":1}]}\n";
    assert_eq!(exact.end().stdout, json);
    assert_eq!(by_endpoint.end().stdout, "1\n2\n3\n4\n");
    let none = world.run(&["bus", "sub", "none", "--count", "1", "--timeout", "300ms"]);
    assert_eq!((none.code, &*none.stdout), (1, ""));
    assert!(
        none.stderr.contains("0 of 1 messages in time"),
        "{}",
        none.stderr
    );
    // Without --count the end of the time is the end.
    world.ok(&["bus", "sub", "none", "--timeout", "300ms"]);
    let unknown = world.run(&["bus", "pub", "-n", "nobody", "t", "m"]);
    assert_eq!(unknown.code, 1);
    world.ok(&["down"]);
    let nobody = [
        "bus",
        "pub",
        "--endpoint",
        &endpoint,
        "t",
        "m",
        "--timeout",
        "300ms",
    ];
    assert_eq!(world.run(&nobody).code, 1);
}

#[test]
fn what_is_subscribed_to_is_listed_and_who_left_stays_in_the_sum() {
    let world = World::new();
    let port = bus(&world, ", welcome: hello, retain: true, sequence: true");
    world.ok(&["bus", "pub", "kitchen", "20"]);
    world.ok(&["bus", "pub", "kitchen", "21"]);
    // The last of the topic is there for who comes later; the number of the message follows it.
    let json = [
        "kitchen",
        "hello",
        "--count",
        "1",
        "-o",
        "json",
        "--timeout",
        "20s",
    ];
    let late = world.ok(&[&["bus", "sub"], &json[..]].concat());
    let shown: Value = serde_json::from_str(late.stdout.lines().next().unwrap()).unwrap();
    assert_eq!(shown["topic"], "kitchen");
    assert_eq!(shown["frames"][0]["text"], "21");
    assert_eq!(shown["frames"][1]["bytes"], 16);
    let sub = Sub::start(&world, &["kitchen", "cellar", "--timeout", "25s"]);
    let listed = world.ok(&["bus", "ls", "-o", "json"]).json();
    let topic = |name: &str| {
        let mut topics = listed["topics"].as_array().unwrap().iter();
        topics.find(|it| it["topic"] == name).unwrap().clone()
    };
    assert_eq!(topic("kitchen")["subscribers"], 1);
    assert_eq!(topic("cellar")["messages"], 0);
    assert_eq!(listed["unmatched"], 2);
    let table = world.ok(&["bus", "ls"]).stdout;
    assert!(
        table.contains("kitchen") && table.contains("PER SECOND"),
        "{table}"
    );
    drop(sub);
    let gone = wait_for("it left", || {
        let listed = world.ok(&["bus", "ls", "-o", "json"]).json();
        (listed["subscribers"] == 0).then_some(listed)
    });
    let passed = &gone["passed"];
    assert!(passed["matched"].as_u64().unwrap() >= 4, "{passed}");
    let facts = world.ok(&["status", "-o", "json"]).json()["nodes"][0]["facts"].clone();
    assert_eq!(facts["published"], 2);
    for count in ["matched", "sent", "queued", "dropped"] {
        assert_eq!(facts[count], passed[count], "{count}: {facts}");
    }
    let at = format!("tcp://127.0.0.1:{}", port + 2);
    let other = world.run(&["bus", "ls", "--endpoint", &at]);
    assert_eq!(other.code, 0, "{}", other.stderr);
    world.ok(&["down"]);
}

#[test]
fn buses_that_are_linked_both_ways_deliver_once() {
    let world = World::new();
    let first = ports(6);
    let text = format!(
        "zmqnet: 1\nname: pair\nnodes:\n  east: {{kind: bus, port: {first}}}\n  west: {{kind: bus, port: {}}}\n\
         links:\n  westward: {{pattern: pubsub, from: east, to: west, topics: [news]}}\n  \
         eastward: {{pattern: pubsub, from: west, to: east}}\n",
        first + 3
    );
    world.write("topology.yaml", &text);
    world.ok(&["apply"]);
    let listed = |name| world.ok(&["bus", "ls", "-n", name, "-o", "json"]).json();
    wait_for("both buses dial each other", || {
        let is_linked = |name| listed(name)["buses"] == 1;
        (is_linked("east") && is_linked("west")).then_some(())
    });
    let args = |name| ["-n", name, "--topics", "--timeout", "20s", "--count", "3"];
    let (east, west) = (
        Sub::start(&world, &args("east")),
        Sub::start(&world, &args("west")),
    );
    // What is subscribed to at one is asked for at the other, where no topics are written.
    wait_for("all is asked for at the other", || {
        (listed("west")["topics"][0]["subscribers"] == 2).then_some(())
    });
    for (at, topic) in [
        ("east", "news"),
        ("west", "news"),
        ("east", "local"),
        ("west", "end"),
    ] {
        world.ok(&["bus", "pub", "-n", at, topic, at]);
    }
    let sorted = |sub: Sub| {
        let mut lines: Vec<String> = sub.end().stdout.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let west = sorted(west);
    assert_eq!(
        west,
        ["end west", "news east", "news west"],
        "`local` is not asked for"
    );
    let east = sorted(east);
    assert!(east.contains(&"news west".to_owned()) && east.contains(&"news east".to_owned()));
    let status = world.ok(&["status", "--wires", "-o", "json"]).json();
    let wires = status["wires"].as_array().unwrap();
    assert!(
        wires.iter().all(|wire| wire["state"] == "connected"),
        "{wires:?}"
    );
    world.ok(&["down"]);
}

/// A publisher and a subscriber that never reads.
const SENDER: &str = "\
import os, time, zmq
socket = zmq.Context().socket(zmq.PUB)
socket.sndhwm = 0
socket.connect(os.environ['ZMQNET_NEWS_ENDPOINT'])
while True:
    for _ in range(20):
        socket.send_multipart([b'news', bytes(20_000)])
    time.sleep(0.01)
";
const SLEEPER: &str = "\
import os, time, zmq
socket = zmq.Context().socket(zmq.SUB)
socket.rcvhwm, socket.rcvbuf = 1, 4096
socket.connect(os.environ['ZMQNET_NEWS_ENDPOINT'])
socket.subscribe('')
time.sleep(1000)
";

#[test]
fn the_wires_of_a_bus_say_what_passed_and_what_a_stalled_subscriber_lost() {
    let world = World::new();
    let first = ports(8);
    world.write("sender.py", SENDER);
    world.write("sleeper.py", SLEEPER);
    let python = python().display();
    let text = format!(
        "zmqnet: 1\nname: wires\ndefaults: {{ports: {first}..{}}}\nnodes:\n  \
         bus: {{kind: bus, buffer: 1MiB}}\n  sender: {{command: [{python}, sender.py]}}\n  \
         sleeper: {{command: [{python}, sleeper.py]}}\nlinks:\n  \
         news: {{pattern: pubsub, from: sender, to: sleeper, via: bus, overflow: drop-oldest}}\n",
        first + 7
    );
    world.write("topology.yaml", &text);
    world.ok(&["apply"]);
    let wires = wait_for("drops on the sleeper's wire", || {
        let status = world.ok(&["status", "--wires", "-o", "json"]).json();
        let wires = status["wires"].as_array().unwrap().clone();
        let stalled = wires.iter().find(|wire| wire["to"] == "sleeper")?.clone();
        let lost = stalled["dropped"]["oldest"].as_u64().unwrap_or_default();
        (lost > 100).then_some(wires)
    });
    let sender = wires.iter().find(|wire| wire["from"] == "sender").unwrap();
    assert!(sender["messages"]["in"].as_u64().unwrap() > 100, "{sender}");
    let sleeper = wires.iter().find(|wire| wire["to"] == "sleeper").unwrap();
    assert!(sleeper["queued"].as_u64().unwrap() > 500_000, "{sleeper}");
    for wire in [sender, sleeper] {
        assert_eq!(wire["state"], "connected");
        assert_eq!(wire["reason"], Value::Null, "its handshake is seen: {wire}");
    }
    let tap = [
        "tap",
        "news",
        "--topic",
        "ne",
        "--count",
        "3",
        "--timeout",
        "20s",
    ];
    assert_eq!(world.ok(&tap).stdout.lines().count(), 3);
    let from = world.run(&["tap", "news", "--from", "sender", "--count", "1"]);
    assert_eq!(from.code, 64, "{}", from.stderr);
    let why = world.ok(&["why", "news"]).stdout;
    assert_eq!(why.matches("connected").count(), 2, "{why}");
    world.ok(&["down"]);
}

/// Subscribes by the keys it was told and prints what comes.
const KEYED: &str = "\
import json, os, zmq
keys = json.load(open(os.environ['ZMQNET_KEYS']))
socket = zmq.Context().socket(zmq.SUB)
socket.curve_publickey, socket.curve_secretkey = keys['public'].encode(), keys['secret'].encode()
for endpoint, key in keys['sockets']['NEWS']['servers'].items():
    socket.curve_serverkey = key.encode()
    socket.connect(endpoint)
socket.subscribe('')
while True:
    print(socket.recv_multipart(), flush=True)
";

#[test]
fn encrypted_subscribers_get_what_is_published_by_the_operators_key() {
    let world = World::new();
    let first = ports(8);
    world.write("display.py", KEYED);
    let text = format!(
        "zmqnet: 1\nname: keyed\nsecurity: {{curve: always}}\ndefaults: {{ports: {first}..{}}}\n\
         nodes:\n  bus: {{kind: bus}}\n  sensor: {{command: [sleep, '1'], run: manual}}\n  \
         display: {{command: [{}, display.py], replicas: 2}}\n\
         links:\n  news: {{pattern: pubsub, from: sensor, to: display, via: bus}}\n",
        first + 7,
        python().display(),
    );
    world.write("topology.yaml", &text);
    world.ok(&["apply"]);
    wait_for("two subscribers", || {
        let listed = world.ok(&["bus", "ls", "-o", "json"]).json();
        let mut topics = listed["topics"].as_array().unwrap().iter();
        topics.any(|it| it["subscribers"] == 2).then_some(())
    });
    let sub = Sub::start(&world, &["t", "--count", "1", "--timeout", "20s"]);
    let published = world
        .ok(&["bus", "pub", "t", "secret", "-o", "json"])
        .json();
    assert_eq!(published["queued"], 3);
    assert_eq!(sub.end().stdout, "secret\n");
    for display in ["display-0", "display-1"] {
        wait_for(display, || {
            let logs = world.ok(&["logs", display]).stdout;
            logs.contains("[b't', b'secret']").then_some(())
        });
    }
    world.ok(&["down"]);
}

#[test]
fn what_a_bus_cannot_tell_apart_or_do_is_not_started() {
    let world = World::new();
    let first = ports(8);
    let plan = |links: &str| {
        let text = format!(
            "zmqnet: 1\ndefaults: {{ports: {first}..{}}}\nnodes:\n  bus: {{kind: bus}}\n  \
             a: {{command: [/bin/true]}}\n  b: {{command: [/bin/true]}}\nlinks:\n{links}",
            first + 7
        );
        world.write("topology.yaml", &text);
        let plan = world.ok(&["plan", "-o", "json"]).json();
        let unbuilt = plan["unbuilt"].as_array().unwrap().iter();
        unbuilt
            .map(|it| it["what"].as_str().unwrap().to_owned())
            .collect::<Vec<String>>()
    };
    let link = |name: &str, more: &str| {
        format!("  {name}: {{pattern: pubsub, from: a, to: b, via: bus{more}}}\n")
    };
    let same = ", overflow: conflate, hwm: 10";
    assert!(plan(&(link("x", same) + &link("y", same))).is_empty());
    assert_eq!(plan(&link("x", ", overflow: block")), ["`overflow`"]);
    let differ = plan(&(link("x", same) + &link("y", ", hwm: 11")));
    assert_eq!(
        differ,
        ["`overflow` or `hwm` of two links by one bus (`x` says another)"]
    );
}

#[test]
fn the_examples_of_the_document_print_what_it_says() {
    let world = World::new();
    let port = bus(&world, "");
    let text = std::fs::read_to_string(root().join("docs/bus.md")).unwrap();
    let mut ran = 0;
    for pair in blocks(&text).windows(2) {
        let [(language, script), (_, expected)] = pair else {
            unreachable!("windows of two");
        };
        if language != "python" {
            continue;
        }
        let mut script = script.clone();
        for offset in 0..3 {
            let at = |port: u16| format!("tcp://127.0.0.1:{}\"", port + offset);
            script = script.replace(&at(5555), &at(port));
        }
        let printed = py(&world, &script, &[]);
        assert_eq!(&printed.stdout, expected, "{script}\n{}", printed.stderr);
        ran += 1;
    }
    assert_eq!(ran, 2, "examples of docs/bus.md");
    world.ok(&["down"]);
}
