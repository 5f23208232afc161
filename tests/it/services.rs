//! Services: programs are called by name, by a queue or directly, and say how they fail.

use std::time::{Duration, Instant};

use crate::queue::Queue;
use crate::support::{Ran, Running, ports, python, wait_for};

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
    let late = call(&queue, &["slow", "--timeout", "200ms"]);
    assert_eq!(late.code, 1);
    assert!(
        late.stderr.contains("`slow` did not answer within 200ms"),
        "{}",
        late.stderr
    );
    queue.world.ok(&["down"]);
}
