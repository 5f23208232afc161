//! Services: programs are called by name, by a queue or directly, and say how they fail.

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::queue::Queue;
use crate::support::{Ran, Running, World, ports, py, python, wait_for};

/// A provider in Majordomo's dialect or as a REP that listens: some functions by name.
const PROVIDER: &str = "\
import json, sys, time, traceback, zmq
def helloworld(word): return f'Hello! I am {name}' if word == 'Hello' else '...'
def add(a, b): return a + b
def breakworld(): raise ValueError('Excepting Not Exceptionnally')
def slow(): time.sleep(30)
functions = {f.__name__: f for f in (helloworld, add, breakworld, slow)}
endpoint, service, name = sys.argv[1:4]
def answer(frame):
    try:
        asked = json.loads(frame)
        return {'result': functions[asked['service']](*asked['args'])}
    except Exception as error:
        return {'error': {'kind': type(error).__name__, 'message': str(error), 'trace': traceback.format_exc()}}
if service == 'REP':
    socket = zmq.Context().socket(zmq.REP)
    socket.bind(endpoint)
    while True:
        socket.send(json.dumps(answer(socket.recv())).encode())
socket = zmq.Context().socket(zmq.DEALER)
socket.connect(endpoint)
socket.send_multipart([b'', b'MDPW01', b'\\x01', service.encode()])
while True:
    frames = socket.recv_multipart()
    if frames[2] == b'\\x02':
        reply = json.dumps(answer(frames[5])).encode()
        socket.send_multipart([b'', b'MDPW01', b'\\x03', frames[3], b'', reply])
    else:
        socket.send_multipart([b'', b'MDPW01', b'\\x04'])
";

fn provider(queue: &Queue, endpoint: &str, service: &str, name: &str) -> Running {
    let mut command = queue.world.command(python());
    Running::start(command.args(["-c", PROVIDER, endpoint, service, name]))
}

fn call(queue: &Queue, args: &[&str]) -> Ran {
    queue.world.run(&[&["call", "-n", "jobs"], args].concat())
}

fn services(queue: &Queue, args: &[&str]) -> Ran {
    queue
        .world
        .run(&[&["services", "-n", "jobs", "-o", "json"], args].concat())
}

#[test]
fn a_service_is_called_by_name_and_its_errors_travel() {
    let queue = Queue::start("");
    let all = ["helloworld", "add", "breakworld"];
    let _providers = all.map(|service| provider(&queue, &queue.front, service, "HNode"));
    for service in all {
        let found = services(&queue, &[service, "--timeout", "20s"]);
        assert_eq!(found.json()[0]["providers"], 1, "{}", found.stderr);
    }
    assert_eq!(
        call(&queue, &["helloworld", "Hello"]).stdout,
        "Hello! I am HNode\n"
    );
    assert_eq!(call(&queue, &["helloworld", "Hallo"]).stdout, "...\n");
    assert_eq!(call(&queue, &["add", "17", "25"]).stdout, "42\n");
    let broken = call(&queue, &["breakworld"]);
    assert_eq!(broken.code, 1);
    let said = "ValueError: Excepting Not Exceptionnally";
    assert!(
        broken.stderr.contains(said) && broken.stderr.contains("Traceback"),
        "{}",
        broken.stderr
    );
    let broken = call(&queue, &["breakworld", "-o", "json"]).json();
    assert_eq!(broken["error"]["kind"], "ValueError");
    // A bad frame harms nobody.
    let bad = queue
        .world
        .run(&["queue", "submit", "-n", "jobs", "add", "{{{", "--wait"]);
    assert!(bad.stdout.contains("JSONDecodeError"), "{}", bad.stdout);
    assert_eq!(
        call(&queue, &["add", "1", "2", "-o", "json"]).json()["result"],
        3
    );
    queue.world.ok(&["down"]);
}

#[test]
fn services_are_found_as_many_as_there_are_and_waited_for() {
    let queue = Queue::start("");
    let absent = services(&queue, &["helloworld"]);
    assert_eq!((absent.code, absent.stdout.trim()), (1, "[]"));
    assert_eq!(services(&queue, &["helloworld", "--min", "0"]).code, 0);
    let begun = Instant::now();
    let absent = services(&queue, &["helloworld", "--timeout", "1s"]);
    assert_eq!(absent.code, 1);
    assert!(begun.elapsed() >= Duration::from_secs(1));
    let first = provider(&queue, &queue.front, "helloworld", "one");
    assert_eq!(
        services(&queue, &["helloworld", "--timeout", "20s"]).code,
        0
    );
    let _second = provider(&queue, &queue.front, "helloworld", "two");
    let both = services(&queue, &["helloworld", "--min", "2", "--timeout", "20s"]);
    assert_eq!(both.json()[0]["providers"], 2);
    drop(first);
    wait_for("one is gone", || {
        (services(&queue, &["helloworld"]).json()[0]["providers"] == 1).then_some(())
    });
    // Fewer than asked for: what is there, and exit code 1.
    let fewer = services(&queue, &["helloworld", "--min", "2", "--timeout", "300ms"]);
    assert_eq!((fewer.code, &fewer.json()[0]["providers"]), (1, &1.into()));
    queue.world.ok(&["down"]);
}

#[test]
fn one_provider_is_asked_directly_and_a_slow_one_not_for_ever() {
    let queue = Queue::start("");
    let port = ports(1);
    let at = format!("tcp://127.0.0.1:{port}");
    let _provider = provider(&queue, &at, "REP", "alone");
    let text = format!(
        "zmqnet: 1\nname: direct\nnodes:\n  node: {{kind: external, port: {port}}}\n  \
         client: {{command: [sleep, '1000']}}\nlinks:\n  calls: {{pattern: request, from: client, to: node}}\n"
    );
    let file = queue
        .world
        .write("direct.yaml", &text)
        .display()
        .to_string();
    let args = ["-f", &file, "call", "--node", "node", "helloworld", "Hello"];
    assert_eq!(queue.world.ok(&args).stdout, "Hello! I am alone\n");
    let _slow = provider(&queue, &queue.front, "slow", "s");
    assert_eq!(services(&queue, &["slow", "--timeout", "20s"]).code, 0);
    // However often it asks, it does not stand in its own way.
    let late = call(&queue, &["slow", "--timeout", "200ms", "--retries", "17"]);
    assert_eq!(late.code, 1);
    assert!(
        late.stderr.contains("`slow` did not answer within 200ms"),
        "{}",
        late.stderr
    );
    queue.world.ok(&["down"]);
}

#[test]
fn a_call_that_nobody_began_in_time_is_answered_by_the_queue_and_never_done() {
    let queue = Queue::start("");
    let one = provider(&queue, &queue.front, "slow", "s");
    assert_eq!(services(&queue, &["slow", "--timeout", "20s"]).code, 0);
    // It has the first, for longer than anybody waits; the second waits behind it.
    assert_eq!(call(&queue, &["slow", "--timeout", "200ms"]).code, 1);
    let late = call(&queue, &["slow", "--timeout", "300ms"]);
    let said = "deadline: nobody began it before its deadline";
    assert_eq!(late.code, 1);
    assert!(late.stderr.contains(said), "{}", late.stderr);
    let late = call(&queue, &["slow", "--timeout", "300ms", "-o", "json"]);
    assert_eq!(late.json()["error"]["kind"], "deadline");
    let facts = queue.facts();
    assert_eq!(
        (&facts["overdue"], &facts["queued"]),
        (&2.into(), &0.into())
    );
    // The one that was begun goes to another when its worker is lost, but not after its deadline.
    drop(one);
    let facts = queue.wait("the last", |facts| facts["leased"] == 0);
    assert_eq!(
        (&facts["overdue"], &facts["attempts"]),
        (&3.into(), &1.into())
    );
    let submit = ["queue", "submit", "-n", "jobs", "slow", "--wait"];
    let late = queue
        .world
        .run(&[&submit[..], &["--deadline", "300ms"]].concat());
    assert_eq!(late.code, 1);
    assert!(late.stderr.contains("(504)"), "{}", late.stderr);
    queue.world.ok(&["down"]);
}

/// A plain worker by its link, whose state is a word of its environment.
const LUCKY: &str = "\
import json, os, time, zmq
socket = zmq.Context().socket(zmq.REP)
socket.connect(os.environ['ZMQNET_TASKS_ENDPOINT'])
while True:
    asked = json.loads(socket.recv())
    if asked['args'] == ['sleep']:
        open('asleep', 'w').close()
        time.sleep(1000)
    socket.send(json.dumps({'result': int(os.environ['LUCKY'])}).encode())
";
/// One of Majordomo's dialect that has a name.
const NAMED: &str = "\
import sys, zmq
socket = zmq.Context().socket(zmq.DEALER)
socket.routing_id = sys.argv[2].encode()
socket.connect(sys.argv[1])
socket.send_multipart([b'', b'MDPW01', b'\\x01', b'who'])
while True:
    frames = socket.recv_multipart()
    if frames[2] == b'\\x02':
        answer = b'{\"result\": \"%s\"}' % sys.argv[2].encode()
        socket.send_multipart([b'', b'MDPW01', b'\\x03', frames[3], b'', answer])
";

/// A queue and two workers of it that know different numbers; and its first port.
fn lucky() -> (World, u16) {
    let world = World::new();
    let first = ports(8);
    world.write("lucky.py", LUCKY);
    let text = format!(
        "zmqnet: 1\nname: lucky\ndefaults: {{ports: {first}..{}, restart: {{backoff: 10ms..20ms}}}}\nnodes:\n  \
         jobs: {{kind: queue, port: {first}}}\n  \
         worker: {{command: [{}, lucky.py], replicas: {{one: {{env: {{LUCKY: '42'}}}}, two: {{env: {{LUCKY: '79'}}}}}}}}\n  \
         client: {{command: [sleep, '1000'], run: manual}}\nlinks:\n  \
         tasks: {{pattern: request, from: client, to: worker, via: jobs}}\n",
        first + 7,
        python().display()
    );
    world.write("topology.yaml", &text);
    world.ok(&["apply"]);
    (world, first)
}

#[test]
fn one_worker_of_a_queue_is_asked_through_it_and_nobody_does_it_instead() {
    let (world, _) = lucky();
    let call = |args: &[&str]| world.run(&[&["call", "--timeout", "20s"], args].concat());
    for _ in 0..2 {
        for (name, number) in [("one", "42\n"), ("two", "79\n")] {
            let got = call(&["--node", name, "tasks"]);
            assert_eq!(got.stdout, number, "{}", got.stderr);
        }
    }
    let by_queue = call(&["-n", "jobs", "--node", "two", "tasks"]);
    assert_eq!(by_queue.stdout, "79\n", "{}", by_queue.stderr);
    // One that hangs keeps nobody else, and whoever kills it ends the call: the other does not do it.
    let calls = [
        "call",
        "--timeout",
        "25s",
        "--node",
        "one",
        "tasks",
        "sleep",
    ];
    let mut sleeps = world.zmqnet(&calls);
    let sleeps = sleeps
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for("it sleeps", || world.path("asleep").exists().then_some(()));
    assert_eq!(call(&["tasks"]).stdout, "79\n");
    let late = world.run(&["call", "--timeout", "300ms", "--node", "one", "tasks"]);
    assert_eq!(late.code, 1);
    assert!(late.stderr.contains("deadline"), "{}", late.stderr);
    world.ok(&["restart", "one"]);
    let lost = Ran::from(sleeps.wait_with_output().unwrap());
    assert_eq!(lost.code, 1);
    assert!(lost.stderr.contains("lost: "), "{}", lost.stderr);
    assert_eq!(call(&["--node", "one", "tasks"]).stdout, "42\n");
    // One that is not there is said, at the end of the time.
    world.ok(&["stop", "two"]);
    let gone = world.run(&["call", "--timeout", "500ms", "--node", "two", "tasks"]);
    assert_eq!(gone.code, 1);
    let said = "`two` does not work for `jobs` now: two is not running";
    assert!(gone.stderr.contains(said), "{}", gone.stderr);
    let unknown = world.run(&["call", "--timeout", "500ms", "--node", "three", "tasks"]);
    assert_eq!(unknown.code, 1);
    assert!(unknown.stderr.contains("three"), "{}", unknown.stderr);
    let other = world.run(&["call", "-n", "nowhere", "--node", "one", "tasks"]);
    assert_eq!(other.code, 69, "{}", other.stderr);
    let nowhere = format!("tcp://127.0.0.1:{}", ports(1));
    let other = world.run(&[
        "call",
        "--endpoint",
        &nowhere,
        "--timeout",
        "300ms",
        "tasks",
    ]);
    assert_eq!(other.code, 1);
    assert!(other.stderr.contains(&nowhere), "{}", other.stderr);
    world.ok(&["down"]);
}

#[test]
fn a_worker_that_nobody_planned_is_asked_by_the_name_it_has_given_itself() {
    let (world, first) = lucky();
    let call = |args: &[&str]| world.run(&[&["call", "--timeout", "20s"], args].concat());
    let front = format!("tcp://127.0.0.1:{first}");
    let start = |name: &str| {
        let mut command = world.command(python());
        Running::start(command.args(["-c", NAMED, &front, name]))
    };
    let _named = ["red", "blue"].map(start);
    for name in ["blue", "red", "blue"] {
        let got = call(&["-n", "jobs", "--node", name, "who"]);
        assert_eq!(got.stdout, format!("{name}\n"), "{}", got.stderr);
    }
    let other = world.run(&["call", "-n", "jobs", "--node", "red", "tasks"]);
    assert_eq!(other.code, 1);
    assert!(
        other.stderr.contains("is no worker of `tasks`"),
        "{}",
        other.stderr
    );
    world.ok(&["down"]);
}

/// A plain worker and a plain client of every link they are on.
const LINKED: &str = "\
import os, sys, zmq
context = zmq.Context()
links = sys.argv[2:]
if sys.argv[1] == 'work':
    socket = context.socket(zmq.REP)
    socket.connect(os.environ[f'ZMQNET_{links[0]}_ENDPOINT'])
    while True:
        socket.send(links[0].encode() + b' ' + socket.recv())
for link in links:
    socket = context.socket(zmq.REQ)
    socket.connect(os.environ[f'ZMQNET_{link}_ENDPOINT'])
    for number in range(3):
        socket.send(b'%d' % number)
        print(socket.recv().decode(), flush=True)
";

#[test]
fn a_queue_of_several_links_has_ports_for_each_and_names_for_all() {
    let world = World::new();
    let first = ports(8);
    world.write("linked.py", LINKED);
    let text = format!(
        "zmqnet: 1\nname: several\ndefaults: {{ports: {first}..{}}}\nnodes:\n  \
         jobs: {{kind: queue, port: {first}}}\n  \
         squarer: {{command: [PY, linked.py, work, SQUARES], replicas: 2}}\n  \
         mailer: {{command: [PY, linked.py, work, MAILS]}}\n  \
         client: {{command: [PY, linked.py, ask, MAILS, SQUARES], run: once}}\nlinks:\n  \
         squares: {{pattern: request, from: client, to: squarer, via: jobs}}\n  \
         mails: {{pattern: request, from: client, to: mailer, via: jobs}}\n",
        first + 7
    );
    let text = text.replace("PY", &python().display().to_string());
    world.write("topology.yaml", &text);
    world.ok(&["apply", "--timeout", "25s"]);
    let said = world.ok(&["logs", "client"]).stdout;
    let each = [
        "MAILS 0",
        "MAILS 1",
        "MAILS 2",
        "SQUARES 0",
        "SQUARES 1",
        "SQUARES 2",
    ];
    let said: Vec<&str> = said.lines().collect();
    assert!(
        said.iter()
            .zip(each)
            .all(|(line, each)| line.ends_with(each)),
        "{said:?}"
    );
    // The client is done, and its wires are not missing.
    wait_for("nothing to be missing", || {
        (world.run(&["status", "--check"]).code == 0).then_some(())
    });
    let status = world.ok(&["status", "-o", "json"]).json();
    let jobs = &status["nodes"][0];
    let endpoints = jobs["endpoints"].as_array().unwrap().iter();
    let names = endpoints.map(|it| it["port"].as_str().unwrap());
    assert_eq!(
        names.collect::<Vec<_>>(),
        ["front", "back", "mails.front", "mails.back"]
    );
    let listed = world.ok(&["services", "-o", "json"]).json();
    let mut listed: Vec<_> = listed.as_array().unwrap().clone();
    listed.sort_by_key(|row| row["name"].to_string());
    let rows: Vec<_> = listed
        .iter()
        .map(|row| (&row["name"], &row["providers"]))
        .collect();
    assert_eq!(
        rows,
        [(&"mails".into(), &1.into()), (&"squares".into(), &2.into())]
    );
    // By name each is reached at the one port that commands dial.
    for (service, answer) in [("mails", "MAILS x\n"), ("squares", "SQUARES x\n")] {
        let done = world.ok(&["queue", "submit", service, "x", "--wait"]);
        assert_eq!(done.stdout, answer);
    }
    assert_eq!(
        world.ok(&["queue", "purge", "--service", "mails"]).stdout,
        "0 purged\n"
    );
    world.ok(&["down"]);
}

/// A REQ client with one request and as many seconds to wait.
const ASKS: &str = "\
import sys, zmq
socket = zmq.Context().socket(zmq.REQ)
socket.rcvtimeo, socket.linger = int(sys.argv[2]), 0
socket.connect(sys.argv[1])
socket.send(b'poison')
try:
    print(socket.recv().decode())
except zmq.Again:
    print('nothing')
";

#[test]
fn a_plain_client_of_a_dead_task_waits_or_is_answered_as_the_queue_is_told() {
    const DIES: &str = "\
import os, sys, zmq
socket = zmq.Context().socket(zmq.REP)
socket.connect(sys.argv[1])
socket.recv()
os._exit(1)
";
    let told =
        "{\"error\":{\"kind\":\"lost\",\"message\":\"its worker was lost\",\"trace\":\"\"}}\n";
    for (keys, wait_ms, heard) in [
        (", attempts: 1", "1500", "nothing\n"),
        (", attempts: 1, on_dead: error", "20000", told),
    ] {
        let queue = Queue::start(keys);
        let mut command = queue.world.command(python());
        let _worker = Running::start(command.args(["-c", DIES, &queue.back]));
        let asked = py(&queue.world, ASKS, &[&queue.front, wait_ms]);
        assert_eq!(asked.stdout, heard, "{}", asked.stderr);
        queue.wait("the dead letter", |facts| facts["dead"] == 1);
        queue.world.ok(&["down"]);
    }
}
