//! Between buses and streams: what a bus says is recorded, by a link and by command, and replayed.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::time::Instant;

use serde_json::Value;

use crate::support::{Ran, Running, World, ports, py, wait_for};

/// A bus and a stream, with links.
fn network(links: &str) -> (World, u16) {
    let (world, first) = (World::new(), ports(6));
    let text = format!(
        "zmqnet: 1\nname: net\ndefaults: {{ports: {first}..{}}}\nnodes:\n  bus: {{kind: bus}}\n  \
         events: {{kind: stream, store: {{path: ./data}}}}\n{links}",
        first + 5
    );
    world.write("topology.yaml", &text);
    world.ok(&["apply"]);
    (world, first)
}

const RECORDS: &str = "links:\n  heard: {pattern: pubsub, from: bus, to: {events: [ping]}}\n";

/// Publishes lines; gives how many subscribers they matched.
fn publish(world: &World, topic: &str, lines: &str) -> Value {
    let mut command = world.zmqnet(&["bus", "pub", topic, "-", "-o", "json"]);
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(lines.as_bytes()).unwrap();
    drop(stdin);
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    ran.json()["matched"].clone()
}

/// Publishes until somebody hears it.
fn is_heard(world: &World) {
    wait_for("a subscription", || {
        (publish(world, "ping", "warm\n") == 1).then_some(())
    });
}

fn facts(world: &World) -> Value {
    let status = world.ok(&["status", "-o", "json"]).json();
    let mut nodes = status["nodes"].as_array().unwrap().iter();
    nodes.find(|it| it["name"] == "events").unwrap().clone()
}

fn lines(range: std::ops::Range<u32>) -> String {
    range.map(|it| format!("{it}\n")).collect()
}

#[test]
fn a_link_from_a_bus_to_a_stream_records_whole_messages_in_their_order() {
    let (world, first) = network(RECORDS);
    is_heard(&world);
    assert_eq!(publish(&world, "ping", &lines(0..300)), 300);
    assert_eq!(publish(&world, "pong", "nobody asked\n"), 0);
    let recorded = |count: u64| {
        wait_for("records", || {
            let facts = facts(&world)["facts"].clone();
            (facts["recorded"] == count).then_some(facts)
        })
    };
    let facts_now = recorded(301);
    assert_eq!(facts_now["unrecorded"], 0);
    let wanted: String = (0..300).map(|it| format!("ping {it}\n")).collect();
    let read = world.ok(&["stream", "read", "--from", "1"]).stdout;
    assert_eq!(read, wanted);
    let json = ["stream", "read", "--last", "1", "-o", "json"];
    let frames = world.ok(&json).json()[0]["frames"].clone();
    assert_eq!(frames, serde_json::json!(["ping", "299"]));
    // Its tail publishes the message as it was, and its offset.
    let tail = "import sys, zmq\n\
        tail = zmq.Context().socket(zmq.SUB)\ntail.connect(sys.argv[1])\ntail.subscribe('ping')\n\
        tail.rcvtimeo = 30000\nprint(tail.recv_multipart())\n";
    let endpoint = format!("tcp://127.0.0.1:{}", first + 4);
    let mut tail_of = world.command(crate::support::python());
    let mut tail = Running::start(tail_of.args(["-c", tail, &endpoint]));
    wait_for("the tail", || {
        publish(&world, "ping", "tailed\n");
        tail.0.try_wait().unwrap()
    });
    let mut said = String::new();
    let mut stdout = tail.0.stdout.take().unwrap();
    std::io::Read::read_to_string(&mut stdout, &mut said).unwrap();
    assert!(said.starts_with("[b'ping', b'tailed', b'3"), "{said}");
    world.ok(&["down"]);
}

#[test]
fn a_stream_that_was_killed_goes_on_recording_where_it_was() {
    let (world, _) = network(RECORDS);
    is_heard(&world);
    publish(&world, "ping", &lines(0..10));
    wait_for("records", || {
        (facts(&world)["facts"]["recorded"] == 11).then_some(())
    });
    let pid = facts(&world)["pid"].clone();
    let killed = world
        .command("kill")
        .args(["-9", &pid.to_string()])
        .status();
    assert!(killed.unwrap().success());
    wait_for("another process", || {
        (facts(&world)["pid"] != pid).then_some(())
    });
    is_heard(&world);
    publish(&world, "ping", &lines(10..20));
    wait_for("records", || {
        (facts(&world)["facts"]["end_offset"] == 22).then_some(())
    });
    let read = world.ok(&["stream", "read", "--from", "12"]).stdout;
    let wanted: String = (10..20).map(|it| format!("ping {it}\n")).collect();
    assert_eq!(read, wanted);
    world.ok(&["down"]);
}

/// Starts a command and waits until it says that it hears the bus.
fn subscribed(world: &World, args: &[&str]) -> Running {
    let mut running = Running::start(&mut world.zmqnet(args));
    let mut talk = BufReader::new(running.0.stderr.take().unwrap());
    let mut line = String::new();
    talk.read_line(&mut line).unwrap();
    assert!(line.starts_with("subscribed at tcp://"), "{line}");
    running
}

fn said(mut running: Running) -> (i32, String) {
    let mut stdout = String::new();
    let mut out = running.0.stdout.take().unwrap();
    std::io::Read::read_to_string(&mut out, &mut stdout).unwrap();
    (running.0.wait().unwrap().code().unwrap_or(-1), stdout)
}

#[test]
fn what_was_recorded_by_command_is_replayed_as_it_was() {
    let (world, _) = network("");
    let record = [
        "stream",
        "record",
        "--count",
        "60",
        "--timeout",
        "60s",
        "ping",
    ];
    let record = subscribed(&world, &record);
    assert_eq!(publish(&world, "ping", &lines(0..60)), 60);
    assert_eq!(said(record).0, 0);
    world.ok(&["stream", "append", "plain"]);
    let hear = [
        "bus",
        "sub",
        "--topics",
        "--count",
        "61",
        "--timeout",
        "60s",
    ];
    let hear = subscribed(&world, &hear);
    let replay = world.ok(&["stream", "replay", "--pace", "fast"]);
    assert!(
        replay.stderr.contains("61 published, matched 61"),
        "{}",
        replay.stderr
    );
    let wanted: String = (0..60).map(|it| format!("ping {it}\n")).collect();
    assert_eq!(said(hear), (0, format!("{wanted}plain\n")));
    // The failing sides: too few, no such bus, no such offset, no pace.
    let few = ["stream", "record", "--count", "1", "--timeout", "100ms"];
    assert_eq!(world.run(&few).code, 1);
    let many = ["stream", "replay", "--last", "1", "--count", "2"];
    assert_eq!(world.run(&many).code, 1);
    assert_ne!(world.run(&["stream", "replay", "--bus", "nobody"]).code, 0);
    assert_eq!(world.run(&["stream", "replay", "--from", "99"]).code, 1);
    assert_eq!(world.run(&["stream", "replay", "--pace", "0x"]).code, 64);
    world.ok(&["down"]);
}

#[test]
fn a_replay_keeps_its_events_as_far_apart_as_they_were_or_nearer() {
    let (world, first) = network("");
    let append = "import json, sys, time, zmq\n\
        stream = zmq.Context().socket(zmq.REQ)\nstream.connect(sys.argv[1])\n\
        now = time.time_ns() + 10**9\n\
        times = [now, now + 400_000_000, now + 800_000_000]\n\
        params = json.dumps({'times_ns': times}).encode()\n\
        stream.send_multipart([b'ZN1', b'append', b'1', params, b'a', b'b', b'c'])\n\
        print(stream.recv_multipart()[1])\n";
    let main = format!("tcp://127.0.0.1:{}", first + 3);
    assert_eq!(py(&world, append, &[&main]).stdout, "b'200'\n");
    let took = |pace: &str| {
        let begun = Instant::now();
        world.ok(&["stream", "replay", "--pace", pace]);
        begun.elapsed()
    };
    let original = took("original");
    assert!(original.as_millis() >= 800, "{original:?}");
    let nearer = took("2x");
    assert!(nearer.as_millis() >= 400, "{nearer:?}");
    assert!(took("fast") < original);
    world.ok(&["down"]);
}

#[test]
fn what_the_other_side_does_not_take_is_left_out_and_said_and_the_rest_is_done() {
    let (world, first) = (World::new(), ports(9));
    let text = format!(
        "zmqnet: 1\nname: net\ndefaults: {{ports: {first}..{}}}\nnodes:\n  bus: {{kind: bus}}\n  \
         narrow: {{kind: bus, limits: {{message: 16KiB}}}}\n  \
         events: {{kind: stream, store: {{path: ./data}}, limits: {{message: 64KiB}}}}\n",
        first + 8
    );
    world.write("topology.yaml", &text);
    world.ok(&["apply"]);
    let large = "x".repeat(100_000);
    let middle = "y".repeat(30_000);
    let record = [
        "stream",
        "record",
        "--bus",
        "bus",
        "--count",
        "4",
        "--timeout",
        "60s",
    ];
    let record = subscribed(&world, &record);
    for text in ["1", &large, &middle, "2"] {
        world.ok(&["bus", "pub", "-n", "bus", "ping", text]);
    }
    assert_eq!(said(record).0, 1);
    let read = world.ok(&["stream", "read", "--from", "0"]).stdout;
    assert_eq!(read, format!("ping 1\nping {middle}\nping 2\n"));
    let replay = ["stream", "replay", "--bus", "narrow", "--pace", "fast"];
    let replayed = world.run(&replay);
    assert_eq!(replayed.code, 1);
    for words in ["2 published", "1 events left out: more than 15360 bytes"] {
        assert!(replayed.stderr.contains(words), "{}", replayed.stderr);
    }
    let all = ["stream", "replay", "--bus", "bus", "--pace", "fast"];
    assert!(world.ok(&all).stderr.contains("3 published"));
    world.ok(&["down"]);
}

/// A stream that is replayed at a bus by a link.
fn replayed(pace: &str) -> (World, u16) {
    let link =
        format!("links:\n  again: {{pattern: pubsub, from: events, to: bus, pace: {pace}}}\n");
    network(&link)
}

/// Hears the bus: says so, then each message on a line, with the milliseconds since the first.
const HEAR: &str = "\
import sys, time, zmq
bus = zmq.Context().socket(zmq.SUB)
bus.rcvtimeo = 60000
bus.connect(sys.argv[1])
bus.subscribe('')
first = None
for _ in range(int(sys.argv[2])):
    frames = bus.recv_multipart()
    first = first or time.monotonic()
    print(*(it.decode() for it in frames), int((time.monotonic() - first) * 1000), flush=True)
";

fn hear(world: &World, first: u16, count: &str) -> Vec<String> {
    let endpoint = format!("tcp://127.0.0.1:{}", first + 1);
    let said = py(world, HEAR, &[&endpoint, count]);
    said.stdout.lines().map(str::to_owned).collect()
}

fn replay_facts(world: &World) -> Value {
    facts(world)["facts"]["replays"]["to again"].clone()
}

#[test]
fn a_link_from_a_stream_to_a_bus_replays_in_order_at_its_pace_and_goes_on_where_it_was() {
    let (world, first) = replayed("2x");
    let append = "import json, sys, time, zmq\n\
        stream = zmq.Context().socket(zmq.REQ)\nstream.connect(sys.argv[1])\n\
        then = time.time_ns() - 10**12\n\
        times = [then, then + 400_000_000, then + 800_000_000]\n\
        params = json.dumps({'times_ns': times}).encode()\n\
        stream.send_multipart([b'ZN1', b'append', b'1', params, b'a', b'b', b'c'])\n\
        print(stream.recv_multipart()[1])\n";
    let main = format!("tcp://127.0.0.1:{}", first + 3);
    assert_eq!(py(&world, append, &[&main]).stdout, "b'200'\n");
    // Nobody hears it yet: it waits, and nothing of it is gone.
    wait_for("the wait", || {
        (replay_facts(&world)["heard"] == false).then_some(())
    });
    assert_eq!(replay_facts(&world)["published"], 0);
    let heard = hear(&world, first, "3");
    let texts: Vec<&str> = heard
        .iter()
        .map(|it| it.split(' ').next().unwrap())
        .collect();
    assert_eq!(texts, ["a", "b", "c"]);
    let last: u64 = heard[2].rsplit(' ').next().unwrap().parse().unwrap();
    assert!(last >= 380, "half of 800 ms: {heard:?}");
    // Its place is a group's, and outlives a kill: what was heard does not come again.
    wait_for("its place", || {
        let groups = world.ok(&["stream", "groups", "-o", "json"]).json();
        let of = |it: &Value| it["group"] == "replay to again" && it["offset"] == 3;
        groups["groups"]
            .as_array()
            .unwrap()
            .iter()
            .any(of)
            .then_some(())
    });
    let pid = facts(&world)["pid"].clone();
    let killed = world
        .command("kill")
        .args(["-9", &pid.to_string()])
        .status();
    assert!(killed.unwrap().success());
    wait_for("another process", || {
        (facts(&world)["pid"] != pid).then_some(())
    });
    world.ok(&["stream", "append", "d"]);
    let heard = hear(&world, first, "1");
    assert!(heard[0].starts_with("d "), "{heard:?}");
    world.ok(&["down"]);
}

#[test]
fn a_replay_without_a_rest_publishes_whole_messages_and_leaves_out_what_the_bus_cannot_take() {
    let (world, first) = (World::new(), ports(8));
    let text = format!(
        "zmqnet: 1\nname: net\ndefaults: {{ports: {first}..{}}}\nnodes:\n  \
         bus: {{kind: bus, limits: {{message: 16KiB}}}}\n  \
         events: {{kind: stream, store: {{path: ./data}}}}\nlinks:\n  \
         again: {{pattern: pubsub, from: events, to: bus, pace: fast, topics: [a, b]}}\n",
        first + 7
    );
    world.write("topology.yaml", &text);
    world.ok(&["apply"]);
    let lines: String = (0..2_000).map(|it| format!("a{it}\n")).collect();
    let main = first + 3;
    let append = "import sys, zmq\n\
        stream = zmq.Context().socket(zmq.REQ)\nstream.connect(sys.argv[1])\n\
        def add(*records):\n\
        \x20   stream.send_multipart([b'ZN1', b'append', b'1', b'', *records])\n\
        \x20   assert stream.recv_multipart()[1] == b'200'\n\
        for at in range(0, 2000, 50):\n\
        \x20   add(*(b'a%d' % it for it in range(at, at + 50)))\n\
        add(b'b' * 20000, b'c', b'b')\n";
    py(&world, append, &[&format!("tcp://127.0.0.1:{main}")]);
    drop(lines);
    let heard = hear(&world, first, "2001");
    for (number, line) in heard[..2_000].iter().enumerate() {
        assert!(
            line.starts_with(&format!("a{number} ")),
            "{line} at {number}"
        );
    }
    assert!(heard[2_000].starts_with("b "), "{}", heard[2_000]);
    let told = wait_for("its end", || {
        let told = replay_facts(&world);
        (told["lag"] == 0).then_some(told)
    });
    assert_eq!(
        (&told["published"], &told["left_out"]),
        (&2_001.into(), &1.into())
    );
    world.ok(&["down"]);
}
