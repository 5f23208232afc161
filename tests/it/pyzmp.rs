//! What PyZMP's nodes promised, of programs that a manifest starts: exit codes that are seen, sockets
//! where they are written, services that come and go, frames that are data, contexts around all they do.
//! Discovery and calls themselves are in `services.rs`.

use std::os::unix::fs::FileTypeExt;

use serde_json::Value;

use crate::queue::Queue;
use crate::support::{Ran, Running, World, ports, py, python, wait_for};

/// One node of `status`.
fn node(world: &World, name: &str) -> Value {
    let status = world.ok(&["status", "-o", "json"]).json();
    let mut nodes = status["nodes"].as_array().unwrap().iter();
    nodes.find(|node| node["name"] == name).unwrap().clone()
}

/// A program that ends by a code when it is told to stop, or whatever it is told.
const ENDS: &str = "\
import signal, sys, time
code = int(sys.argv[1])
signal.signal(signal.SIGTERM, lambda *_: sys.exit(code) if code >= 0 else None)
while True:
    time.sleep(0.05)
";

/// One that ends by an exception.
const RAISES: &str = "\
import os, time
while not os.path.exists('go'):
    time.sleep(0.05)
raise ValueError
";

#[test]
fn the_code_that_a_program_ends_with_is_shown_and_decides() {
    let world = World::new();
    world.write("ends.py", ENDS);
    world.write("raises.py", RAISES);
    let own = |code: i32, more: &str| {
        let then = "while test ! -e go; do sleep 0.05; done; exit";
        format!("{{command: [sh, -c, '{then} {code}'], {more}}}")
    };
    let job =
        |code: i32| format!("{{command: [sh, -c, 'exit {code}'], run: once, restart: never}}");
    let told =
        |code: i32| format!("{{command: [python3, ends.py, '{code}'], stop: {{grace: 300ms}}}}");
    let text = format!(
        "zmqnet: 1\nname: codes\ndefaults: {{restart: {{backoff: 10ms..20ms, limit: 2/1m}}}}\nnodes:\n  \
         manual: {{command: ['true'], run: manual}}\n  seven: {}\n  zero: {}\n  again: {}\n  job: {}\n  \
         raised: {{command: [python3, raises.py], restart: never}}\n  \
         polite: {}\n  rude: {}\n  deaf: {}\n",
        own(7, "restart: never"),
        own(0, "restart: failure"),
        own(7, "restart: failure"),
        job(0),
        told(0),
        told(7),
        told(-1),
    );
    world.write("topology.yaml", &text);
    world.ok(&["apply"]);
    world.write("go", "");
    wait_for("all of those that end", || {
        let over = ["seven", "zero", "again", "job", "raised"];
        let mut over = over.iter().map(|name| node(&world, name));
        over.all(|node| node["state"] == "stopped" || node["state"] == "failed")
            .then_some(())
    });
    for _ in 0..2 {
        world.ok(&["stop", "polite", "rude", "deaf"]);
    }
    for (name, state, exit, restarts) in [
        ("manual", "stopped", None, 0),
        ("seven", "failed", Some(7), 0),
        ("zero", "stopped", Some(0), 0),
        ("again", "failed", Some(7), 2),
        ("job", "stopped", Some(0), 0),
        ("raised", "failed", Some(1), 0),
        ("polite", "stopped", Some(0), 0),
        ("rude", "stopped", Some(7), 0),
        ("deaf", "stopped", Some(137), 0),
    ] {
        let node = node(&world, name);
        let found = (&node["state"], &node["exit"], &node["restarts"]);
        let wanted = (&Value::from(state), &Value::from(exit), &restarts.into());
        assert_eq!(found, wanted, "{name}: {}", node["reason"]);
    }
    // A job whose code is not 0 is the failure of who waits for it.
    let text = text.replace(&job(0), &job(3));
    world.write("topology.yaml", &text);
    let applied = world.run(&["apply"]);
    assert_eq!(applied.code, 1, "{}", applied.stderr);
    let said = "job failed: exited with code 3";
    assert!(applied.stderr.contains(said), "{}", applied.stderr);
    world.ok(&["down"]);
}

/// PyZMP's node as a plain program: functions by name, at a REP where the manifest says. One word of
/// its environment is its state.
const NODE: &str = "\
import json, os, traceback, zmq
def helloworld(word): return f\"Hello! I am {os.environ['ZMQNET_NAME']}\" if word == 'Hello' else '...'
def getlucky(): return int(os.environ['LUCKY'])
functions = {f.__name__: f for f in (helloworld, getlucky)}
def answer(frame):
    try:
        asked = json.loads(frame)
        return {'result': functions[asked['service']](*asked['args'])}
    except Exception as error:
        return {'error': {'kind': type(error).__name__, 'message': str(error), 'trace': traceback.format_exc()}}
socket = zmq.Context().socket(zmq.REP)
for endpoint in os.environ['ZMQNET_CALLS_ENDPOINT'].split():
    getattr(socket, os.environ['ZMQNET_CALLS_MODE'])(endpoint)
while True:
    socket.send(json.dumps(answer(socket.recv())).encode())
";

/// Nodes that provide, by a link called `calls`, and whatever else.
fn providers(nodes: &str, link: &str) -> World {
    let world = World::new();
    world.write("node.py", NODE);
    let first = ports(10);
    let program = format!("command: [{}, node.py]", python().display());
    let text = format!(
        "zmqnet: 1\nname: provide\ndefaults: {{ports: {first}..{}}}\nnodes:\n{}  \
         client: {{command: [sleep, '1000'], run: manual}}\nlinks:\n  \
         calls: {{pattern: request, from: client, {link}}}\n",
        first + 9,
        nodes
            .replace("NODE", &program)
            .replace("PORT", &(first + 5).to_string()),
    );
    world.write("topology.yaml", &text);
    world.ok(&["apply"]);
    world
}

fn call(world: &World, args: &[&str]) -> Ran {
    world.run(&[&["call", "--timeout", "20s"], args].concat())
}

#[test]
fn a_node_listens_where_the_manifest_says_by_ipc_or_by_tcp() {
    let world = providers("  here: {NODE}\n", "to: here, transport: ipc");
    let env = world.ok(&["env", "here"]).stdout;
    let mut lines = env.lines();
    let path = lines.find_map(|line| line.strip_prefix("ZMQNET_CALLS_ENDPOINT=ipc://"));
    let path = path.expect("its endpoint is an ipc one");
    let file = std::fs::metadata(path).unwrap();
    assert!(file.file_type().is_socket(), "{path}");
    let greeted = call(&world, &["--node", "here", "helloworld", "Hello"]);
    assert_eq!(greeted.stdout, "Hello! I am here\n", "{}", greeted.stderr);
    world.ok(&["down"]);
    assert!(!std::path::Path::new(path).exists(), "it leaves nothing");

    let world = providers("  there: {NODE, port: PORT}\n", "to: there");
    let text = std::fs::read_to_string(world.path("topology.yaml")).unwrap();
    let (_, port) = text.split_once("port: ").unwrap();
    let port = &port[..port.find('}').unwrap()];
    let at = format!("tcp://127.0.0.1:{port}");
    assert_eq!(node(&world, "there")["endpoints"][0]["address"], at);
    let greeted = call(&world, &["--node", "there", "helloworld", "Hallo"]);
    assert_eq!(greeted.stdout, "...\n", "{}", greeted.stderr);
    world.ok(&["down"]);
}

#[test]
fn each_instance_has_its_own_state_and_is_asked_by_its_name() {
    let nodes = "  lucky: {NODE, replicas: {one: {env: {LUCKY: '42'}}, two: {env: {LUCKY: '79'}}}}\n  \
                 other: {NODE, env: {LUCKY: '666'}}\n";
    let world = providers(nodes, "to: [lucky, other]");
    for (name, number) in [("one", "42"), ("two", "79"), ("other", "666")] {
        let got = call(&world, &["--node", name, "getlucky"]);
        assert_eq!(got.stdout, format!("{number}\n"), "{}", got.stderr);
    }
    let nobody = call(&world, &["--node", "three", "getlucky"]);
    assert_eq!(nobody.code, 1);
    assert!(nobody.stderr.contains("`one`"), "{}", nobody.stderr);
    world.ok(&["down"]);
}

/// A Majordomo worker that does what it is told on its standard input.
const WITHDRAWS: &str = "\
import sys, zmq
socket = zmq.Context().socket(zmq.DEALER)
socket.connect(sys.argv[1])
for line in sys.stdin:
    word, *rest = line.split()
    command = {'provide': b'\\x01', 'withhold': b'\\x05'}[word]
    socket.send_multipart([b'', b'MDPW01', command, *(name.encode() for name in rest)])
";

#[test]
fn what_is_provided_is_found_until_it_is_withheld_and_no_unknown_name_is_started() {
    use std::io::Write;
    let queue = Queue::start("");
    let mut command = queue.world.command(python());
    let command = command.args(["-c", WITHDRAWS, &queue.front]);
    let mut worker = Running::start(command.stdin(std::process::Stdio::piped()));
    let mut stdin = worker.0.stdin.take().unwrap();
    let providers = || {
        let found = queue.world.run(&["services", "add", "-o", "json"]).json();
        found[0]["providers"].as_u64().unwrap_or_default()
    };
    // To withhold what was never provided is no fault; then all begins anew.
    for (word, count) in [
        ("withhold", 0),
        ("provide add", 1),
        ("withhold", 0),
        ("provide add", 1),
    ] {
        writeln!(stdin, "{word}").unwrap();
        wait_for(word, || (providers() == count).then_some(()));
    }
    queue.world.ok(&["down"]);
    let world = World::new();
    for (link, unknown) in [
        ("to: nobody", "nobody"),
        ("to: node, via: nowhere", "nowhere"),
    ] {
        let text = format!(
            "zmqnet: 1\nnodes:\n  node: {{command: ['true'], probe: {{request: calls}}}}\n  \
             client: {{command: ['true']}}\nlinks:\n  calls: {{pattern: request, from: client, {link}}}\n"
        );
        world.write("topology.yaml", &text);
        let checked = world.run(&["check"]);
        assert_eq!(checked.code, 65, "{}", checked.stdout);
        let said = format!("{}{}", checked.stdout, checked.stderr);
        assert!(said.contains(&format!("`{unknown}`")), "{said}");
    }
}

/// A worker that keeps what it was asked, byte for byte, and answers with what it is given.
const KEEPS: &str = "\
import sys, zmq
socket = zmq.Context().socket(zmq.REP)
socket.connect(sys.argv[1])
while True:
    frames = socket.recv_multipart()
    with open('asked', 'wb') as file:
        file.write(b'|'.join(frames))
    with open('answer', 'rb') as file:
        socket.send(file.read())
";

/// Whoever unpickled this would write a file.
const PICKLE: &str = "\
import os, pickle, sys
class Evil:
    def __reduce__(self):
        return (os.system, ('touch unpickled',))
open('answer', 'wb').write(pickle.dumps(Evil()))
open('task', 'wb').write(pickle.dumps(Evil()))
";

#[test]
fn a_call_is_these_bytes_and_a_pickle_is_data_that_nobody_reads() {
    let queue = Queue::start("");
    let world = &queue.world;
    let _worker = Running::start(world.command(python()).args(["-c", KEEPS, &queue.back]));
    let call = |args: &[&str]| {
        let all = ["call", "jobs", "--timeout", "20s"];
        world.run(&[&all[..], args].concat())
    };
    world.write("answer", "{\"result\": 42}");
    assert_eq!(
        call(&["17", "{\"a\": [null, \"ü\"]}", "x y"]).stdout,
        "42\n"
    );
    let asked = std::fs::read_to_string(world.path("asked")).unwrap();
    let (before, rest) = asked.split_once("\"trace\":\"").unwrap();
    let golden = "{\"service\":\"jobs\",\"args\":[17,{\"a\":[null,\"ü\"]},\"x y\"],";
    assert_eq!(before, golden);
    let (trace, rest) = rest.split_at(16);
    assert!(trace.chars().all(|c| c.is_ascii_hexdigit()), "{trace}");
    assert_eq!(rest, "\",\"deadline_ms\":20000}");
    world.write(
        "answer",
        "{\"error\": {\"kind\": \"ValueError\", \"message\": \"no\", \"trace\": \"line 1\"}}",
    );
    let failed = call(&["-o", "json"]).json();
    assert_eq!(failed["error"]["trace"], "line 1");
    // A pickle as an answer, and as a task, is handed on as it is; nothing here knows what it says.
    assert_eq!(py(world, PICKLE, &[]).code, 0);
    let pickle = std::fs::read(world.path("answer")).unwrap();
    let answered = call(&["-o", "json"]).json();
    let frame = answered["frames"][0].as_str().unwrap();
    assert!(frame.contains("touch unpickled"), "{frame}");
    world.write(
        "answer",
        "{\"error\": {\"kind\": \"UnknownRequestType\", \"message\": \"no JSON\"}}",
    );
    let stdin = std::fs::File::open(world.path("task")).unwrap();
    let mut submit = world.zmqnet(&["queue", "submit", "jobs", "-", "--wait"]);
    let submitted = Ran::of(submit.stdin(stdin));
    assert!(
        submitted.stdout.contains("UnknownRequestType"),
        "{}",
        submitted.stderr
    );
    assert_eq!(std::fs::read(world.path("asked")).unwrap(), pickle);
    assert!(!world.path("unpickled").exists(), "nobody ran it");
    world.ok(&["down"]);
}

/// A node with a context around all that it does, as PyZMP's: entered before it is ready, left before
/// whoever stops it goes on; at least one update between.
const CONTEXT: &str = "\
import contextlib, os, signal, socket, time
def note(word):
    with open('notes', 'a') as file:
        file.write(word + '\\n')
@contextlib.contextmanager
def context():
    time.sleep(0.5)
    note('entered')
    yield 42
    time.sleep(0.5)
    note('left')
stopped = []
signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
with context() as value:
    told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    if not os.path.exists('silent'):
        told.sendto(b'READY=1', os.environ['NOTIFY_SOCKET'])
    note(f'started with {value}')
    while True:
        note('update')
        if stopped:
            break
        time.sleep(0.1)
";

#[test]
fn a_context_is_entered_before_a_node_is_ready_and_left_before_it_is_stopped() {
    let world = World::new();
    world.write("node.py", CONTEXT);
    let text = "zmqnet: 1\nname: context\nnodes:\n  node: {command: [python3, node.py], probe: {notify: true}}\n";
    world.write("topology.yaml", text);
    let notes = || std::fs::read_to_string(world.path("notes")).unwrap_or_default();
    for round in 0..2 {
        match round {
            0 => world.ok(&["apply"]),
            _ => world.ok(&["start", "node"]),
        };
        assert!(notes().starts_with("entered\n"), "{}", notes());
        world.ok(&["stop", "node"]);
        let notes = notes();
        let words: Vec<&str> = notes.lines().collect();
        let updates = words.iter().filter(|word| **word == "update").count();
        assert!(updates >= 1 && words.len() == updates + 3, "{notes}");
        assert_eq!(words[..3], ["entered", "started with 42", "update"]);
        assert_eq!(words[words.len() - 1], "left", "{notes}");
        assert_eq!(node(&world, "node")["exit"], 0);
        std::fs::remove_file(world.path("notes")).unwrap();
    }
    // One that never says that it is ready is not.
    world.write("silent", "");
    let late = world.run(&["start", "node", "--timeout", "2s"]);
    assert_eq!(late.code, 4, "{}", late.stderr);
    assert!(late.stderr.contains("node"), "{}", late.stderr);
    world.ok(&["down"]);
}

#[test]
fn what_a_role_does_by_the_clock_comes_in_time_and_how_late_is_shown() {
    let world = World::new();
    let first = ports(4);
    let text = format!(
        "zmqnet: 1\nname: clock\ndefaults: {{ports: {first}..{}}}\nnodes:\n  jobs: {{kind: queue}}\n  \
         idle: {{command: [sleep, '1000'], replicas: 1..2}}\n  \
         hand: {{kind: feedback, watch: jobs.queued, scale: idle, target: 5, every: 50ms}}\n",
        first + 3
    );
    world.write("topology.yaml", &text);
    world.ok(&["apply"]);
    let facts = || node(&world, "hand")["facts"].clone();
    let count = |facts: &Value| facts["ticks"]["count"].as_u64().unwrap();
    let before = count(&facts());
    let begun = std::time::Instant::now();
    let after = wait_for("sixty rounds", || {
        Some(facts()).filter(|facts| count(facts) >= before + 60)
    });
    // Twenty a second, not fewer for every one that was late, on a machine that does much else.
    let rate = (count(&after) - before) as f64 / begun.elapsed().as_secs_f64();
    assert!((10.0..25.0).contains(&rate), "{rate} rounds a second");
    let late = &after["ticks"]["late_us"];
    assert!(late["p50"].as_u64() <= late["p99"].as_u64(), "{late}");
    assert!(late["p99"].as_u64() < Some(250_000), "{late}");
    world.ok(&["down"]);
}
