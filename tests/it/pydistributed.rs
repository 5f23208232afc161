//! What PyDistributed's queue and recorder promised, and what it got wrong: brokers that do not meet at a
//! port, tasks that are done once, workers that outlive their errors, and messages kept to be played again.
//! Its bus is in `bus_seed.rs`.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use crate::queue::Queue;
use crate::support::{Running, World, ports, py, python, zmqnet};

#[test]
fn two_brokers_at_one_port_are_refused_by_name_and_have_ports_of_their_own_otherwise() {
    let world = World::new();
    let first = ports(12);
    let text = |port: &str| {
        format!(
            "zmqnet: 1\nname: both\ndefaults: {{ports: {first}..{}}}\nnodes:\n  bus: {{kind: bus{port}}}\n  \
             jobs: {{kind: queue{port}}}\n  params: {{kind: kv{port}}}\n",
            first + 11
        )
    };
    let same = text(&format!(", port: {first}"));
    world.write("topology.yaml", &same);
    for verb in ["check", "apply"] {
        let clash = world.run(&[verb]);
        assert_eq!(clash.code, 65, "{}", clash.stderr);
        let said = format!("{}{}", clash.stdout, clash.stderr);
        for (one, other) in [("bus", "jobs"), ("bus", "params")] {
            let words = format!("port {first} is given to `{one}` and to `{other}`");
            assert!(said.contains(&words), "{said}");
        }
    }
    world.write("topology.yaml", &text(""));
    world.ok(&["apply"]);
    let status = world.ok(&["status", "-o", "json"]).json();
    let nodes = status["nodes"].as_array().unwrap().iter();
    let mut all: Vec<String> = nodes
        .flat_map(|node| node["endpoints"].as_array().unwrap())
        .map(|endpoint| endpoint["address"].to_string())
        .collect();
    assert_eq!(all.len(), 3 + 2 + 3, "{all:?}");
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 8, "{all:?}");
    world.ok(&["down"]);
}

/// PyDistributed's worker, as it was meant: it answers with its result, or with its error, and goes on.
const WORKER: &str = "\
import json, os, sys, zmq
socket = zmq.Context().socket(zmq.REP)
socket.connect(sys.argv[1])
print('up', flush=True)
while True:
    task = socket.recv()
    with open('done-by', 'a') as file:
        file.write(f'{sys.argv[2]} {task.decode()}\\n')
    if task == b'die' and sys.argv[2] == 'A':
        os._exit(1)
    try:
        answer = {'result': 100 / int(task)} if task != b'die' else {'result': sys.argv[2]}
    except Exception as error:
        answer = {'error': {'kind': type(error).__name__, 'message': str(error), 'trace': ''}}
    socket.send(json.dumps(answer).encode())
";
/// Its client, with a timeout.
const CLIENT: &str = "\
import sys, zmq
socket = zmq.Context().socket(zmq.REQ)
socket.rcvtimeo, socket.linger = 20000, 0
socket.connect(sys.argv[1])
for task in sys.argv[2:]:
    socket.send(task.encode())
    print(socket.recv().decode())
";

#[test]
fn a_task_is_done_once_by_the_other_and_a_worker_outlives_what_it_cannot_do() {
    let queue = Queue::start("");
    let start = |name: &str| {
        let mut command = queue.world.command(python());
        Running::start(command.args(["-c", WORKER, &queue.back, name]))
    };
    let workers = |count: u64| {
        queue.wait("the workers", |facts| {
            facts["services"][0]["workers"] == count
        });
    };
    let _first = start("A");
    workers(1);
    // What it cannot do is said to whoever asked, and the next is done by the same worker.
    let asked = py(
        &queue.world,
        CLIENT,
        &[&queue.front, "5", "0", "nothing", "4"],
    );
    let said: Vec<&str> = asked.stdout.lines().collect();
    assert_eq!(
        (said[0], said[3]),
        ("{\"result\": 20.0}", "{\"result\": 25.0}")
    );
    for (line, kind) in [(said[1], "ZeroDivisionError"), (said[2], "ValueError")] {
        assert!(line.contains(kind), "{line}");
    }
    let by_hand = queue.world.run(&["call", "jobs", "-o", "json", "1"]);
    assert_eq!(
        by_hand.code, 1,
        "an error is exit code 1: {}",
        by_hand.stdout
    );
    let _second = start("B");
    workers(2);
    std::fs::remove_file(queue.world.path("done-by")).unwrap();
    // Whoever has it first dies with it, if that is A; the other does it, and nobody a third time.
    let asked = py(&queue.world, CLIENT, &[&queue.front, "die", "die"]);
    assert_eq!(
        asked.stdout, "{\"result\": \"B\"}\n{\"result\": \"B\"}\n",
        "{}",
        asked.stderr
    );
    let done = std::fs::read_to_string(queue.world.path("done-by")).unwrap();
    let mut done: Vec<&str> = done.lines().collect();
    done.sort_unstable();
    assert_eq!(done, ["A die", "B die", "B die"]);
    let facts = queue.facts();
    assert_eq!((&facts["lost"], &facts["leased"]), (&1.into(), &0.into()));
    queue.world.ok(&["down"]);
}

/// A line of shell in which `zmqnet` is ours.
fn shell(world: &World, line: &str) -> Running {
    let mut command = world.command("sh");
    let path = std::env::var("PATH").unwrap();
    let own = std::path::Path::new(zmqnet()).parent().unwrap();
    command.env("PATH", format!("{}:{path}", own.display()));
    Running::start(command.args(["-c", line]))
}

#[test]
fn what_a_bus_had_is_recorded_by_a_stream_and_played_again_in_order() {
    let world = World::new();
    let first = ports(8);
    let text = format!(
        "zmqnet: 1\nname: record\ndefaults: {{ports: {first}..{}}}\nnodes:\n  bus: {{kind: bus}}\n  \
         events: {{kind: stream, store: {{path: ./events}}}}\n",
        first + 7
    );
    world.write("topology.yaml", &text);
    world.ok(&["apply"]);
    let subscribed = |line: &str| {
        let mut running = shell(&world, line);
        let mut talk = BufReader::new(running.0.stderr.take().unwrap());
        let mut said = String::new();
        talk.read_line(&mut said).unwrap();
        assert!(said.starts_with("subscribed at tcp://"), "{said}");
        running.0.stderr = Some(talk.into_inner());
        running
    };
    let recorder =
        "zmqnet bus sub ping --count 10 --timeout 25s | zmqnet stream append -n events -";
    let mut recorder = subscribed(recorder);
    let mut publish = world.zmqnet(&["bus", "pub", "ping", "-"]);
    let mut publish = Running::start(publish.stdin(Stdio::piped()));
    let mut stdin = publish.0.stdin.take().unwrap();
    let numbers: Vec<String> = (1..=10)
        .map(|number| format!("message {number}\n"))
        .collect();
    let all = numbers.concat();
    stdin.write_all(all.as_bytes()).unwrap();
    drop(stdin);
    assert!(publish.0.wait().unwrap().success());
    assert!(recorder.0.wait().unwrap().success());
    let kept = world.ok(&[
        "stream", "read", "-n", "events", "--from", "0", "--count", "10",
    ]);
    assert_eq!(kept.stdout, all);
    // Played again, a week later or after everything was down.
    world.ok(&["down"]);
    world.ok(&["apply"]);
    let mut listener = subscribed("zmqnet bus sub again --count 10 --timeout 25s > played");
    let played = "zmqnet stream read -n events --from 0 --count 10 | zmqnet bus pub again -";
    assert!(shell(&world, played).0.wait().unwrap().success());
    assert!(listener.0.wait().unwrap().success());
    let again = std::fs::read_to_string(world.path("played")).unwrap();
    assert_eq!(again, all);
    // There were ten and no more.
    let more = [
        "stream", "read", "-n", "events", "--from", "0", "--count", "11",
    ];
    assert_eq!(
        world
            .run(&[&more[..], &["--timeout", "300ms"]].concat())
            .code,
        1
    );
    world.ok(&["down"]);
}
