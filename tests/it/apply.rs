//! `apply`: what is new starts, what changed restarts, what is gone stops, the rest keeps its pids;
//! and it says so, in front of a person and of a pipe.

use std::io::Read;
use std::net::TcpListener;

use crate::support::{Running, World, ports, python, wait_for};

/// The pid of an instance, as `status` tells it.
pub(crate) fn pid(world: &World, name: &str) -> Option<u64> {
    node(world, name)["pid"].as_u64()
}

/// What `status` tells of an instance.
pub(crate) fn node(world: &World, name: &str) -> serde_json::Value {
    let status = world.ok(&["status", "-o", "json"]).json();
    let nodes = status["nodes"].as_array().unwrap();
    nodes
        .iter()
        .find(|node| node["name"] == name)
        .cloned()
        .unwrap_or_default()
}

/// Waits until an instance is in a state.
#[track_caller]
pub(crate) fn in_state(world: &World, name: &str, state: &str) -> serde_json::Value {
    wait_for(&format!("{name} to be {state}"), || {
        Some(node(world, name)).filter(|node| node["state"] == state)
    })
}

/// A manifest of three replicas and a program, with ports of its own.
pub(crate) fn hello(world: &World) -> u16 {
    let first = ports(10);
    let last = first + 9;
    world.write(
        "topology.yaml",
        &format!(
            "zmqnet: 1\nname: hello\ndefaults: {{ports: {first}..{last}}}\nnodes:\n  \
             quorum: {{kind: replica, replicas: [alpha, bravo, charlie]}}\n  \
             tick: {{command: [sh, -c, 'echo begun; exec sleep 1000']}}\nlinks:\n  \
             votes: {{pattern: mesh, among: [quorum]}}\n"
        ),
    );
    first
}

#[test]
fn apply_brings_all_up_a_second_one_changes_nothing_and_send_works() {
    let world = World::new();
    hello(&world);
    let first = world.ok(&["apply"]);
    assert!(
        first.stdout.contains("charlie") && first.stderr.contains("Try next"),
        "{first:?}"
    );
    let before: Vec<_> = ["alpha", "bravo", "charlie", "tick"]
        .map(|n| pid(&world, n))
        .into();
    assert!(before.iter().all(Option::is_some), "{before:?}");
    let again = world.ok(&["apply"]);
    assert!(again.stderr.contains("nothing to change"), "{again:?}");
    let after: Vec<_> = ["alpha", "bravo", "charlie", "tick"]
        .map(|n| pid(&world, n))
        .into();
    assert_eq!(before, after);
    let sent = world.ok(&["send", "-n", "bravo", "this is a test message"]);
    assert!(sent.stdout.contains("reply msg #1"), "{sent:?}");
    let wires = world.ok(&["status", "--check", "-o", "json"]).json();
    assert_eq!(wires["wires"].as_array().unwrap().len(), 6);
}

#[test]
fn an_edited_manifest_touches_only_what_changed() {
    let world = World::new();
    hello(&world);
    world.ok(&["apply"]);
    let text = std::fs::read_to_string(world.path("topology.yaml")).unwrap();
    let kept = ["alpha", "bravo", "charlie"].map(|name| pid(&world, name));
    let tick = pid(&world, "tick");
    let more = text.replace("links:", "  tock: {command: [sleep, '1000']}\nlinks:");
    world.write("topology.yaml", &more);
    world.ok(&["apply"]);
    assert!(pid(&world, "tock").is_some());
    assert_eq!(pid(&world, "tick"), tick);
    let changed = more.replace("echo begun", "echo again");
    world.write("topology.yaml", &changed);
    let ran = world.ok(&["apply"]);
    assert!(
        ran.stderr.contains("restart tick: `command` changed"),
        "{ran:?}"
    );
    assert_ne!(pid(&world, "tick"), tick);
    world.write("topology.yaml", &text.replace("echo begun", "echo again"));
    world.ok(&["apply"]);
    assert!(node(&world, "tock").is_null());
    assert_eq!(
        ["alpha", "bravo", "charlie"].map(|name| pid(&world, name)),
        kept
    );
}

#[test]
fn a_taken_port_is_named_with_its_line_and_holder_and_nothing_hangs() {
    let world = World::new();
    let port = ports(5);
    let holder = TcpListener::bind(("127.0.0.1", port)).unwrap();
    world.write(
        "topology.yaml",
        &format!(
            "zmqnet: 1\nname: taken\ndefaults: {{ports: {}..{}}}\nnodes:\n  \
             a: {{kind: replica, port: {port}}}\n",
            port + 1,
            port + 4
        ),
    );
    let ran = world.run(&["apply"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains(&port.to_string()), "{ran:?}");
    assert!(
        ran.stderr.contains(&std::process::id().to_string()),
        "{ran:?}"
    );
    drop(holder);
    world.ok(&["apply"]);
}

#[test]
fn a_port_lost_while_the_network_runs_fails_that_node_alone() {
    let world = World::new();
    let first = hello(&world);
    world.ok(&["apply"]);
    world.ok(&["stop", "alpha"]);
    let port = node(&world, "alpha")["endpoints"][0]["address"].clone();
    let port: u16 = port
        .as_str()
        .unwrap()
        .rsplit(':')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert!((first..first + 10).contains(&port));
    let holder = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let ran = world.run(&["start", "alpha"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains(&port.to_string()), "{ran:?}");
    assert!(
        ran.stderr.contains(&std::process::id().to_string()),
        "{ran:?}"
    );
    assert!(ran.stderr.contains("topology.yaml:"), "{ran:?}");
    assert_eq!(node(&world, "bravo")["state"], "ready");
    drop(holder);
    world.ok(&["start", "alpha"]);
}

#[test]
fn what_crashes_always_fails_at_its_limit_with_its_last_words_and_others_run_on() {
    let world = World::new();
    world.write(
        "topology.yaml",
        "zmqnet: 1\nname: crash\nnodes:\n  \
         bad: {command: [sh, -c, 'echo last words; exit 3'], restart: {when: failure, backoff: 1ms..5ms, limit: 2/1m}}\n  \
         good: {command: [sleep, '1000']}\n",
    );
    let ran = world.run(&["apply"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(
        ran.stderr.contains("last words") && ran.stderr.contains("code 3"),
        "{ran:?}"
    );
    let bad = node(&world, "bad");
    assert_eq!(
        (bad["state"].as_str(), bad["restarts"].as_u64()),
        (Some("failed"), Some(2))
    );
    assert_eq!(node(&world, "good")["state"], "ready");
    assert_eq!(world.run(&["status", "--check"]).code, 5);
    assert_eq!(world.run(&["wait", "bad", "--timeout", "1s"]).code, 1);
    world.ok(&["wait", "good"]);
}

#[test]
fn what_is_not_ready_in_time_is_named_and_runs_on() {
    let world = World::new();
    let port = ports(1);
    world.write(
        "topology.yaml",
        &format!(
            "zmqnet: 1\nname: slow\nnodes:\n  \
             slow: {{command: [sh, -c, 'echo thinking; exec sleep 1000'], probe: {{tcp: {port}}}}}\n"
        ),
    );
    let ran = world.run(&["apply", "--timeout", "300ms"]);
    assert_eq!(ran.code, 4, "{ran:?}");
    assert!(ran.stderr.contains("slow not ready"), "{ran:?}");
    let _listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    world.ok(&["wait", "slow"]);
}

#[test]
fn conditions_late_starts_jobs_and_manual_ones_are_kept() {
    let world = World::new();
    world.write(
        "topology.yaml",
        "zmqnet: 1\nname: order\nnodes:\n  \
         first: {command: [sleep, '1000']}\n  \
         job: {command: [sh, -c, 'echo worked'], run: once, after: {first: started}}\n  \
         then: {command: [sleep, '1000'], after: {job: done}}\n  \
         tardy: {command: [sleep, '1000'], late: {delay: 1500ms}}\n  \
         hand: {command: [sleep, '1000'], run: manual}\n",
    );
    let applied = world.ok(&["apply"]);
    assert!(applied.stderr.contains("`zmqnet start hand` starts it"));
    let job = node(&world, "job");
    assert_eq!(
        (&job["exit"], &job["reason"]),
        (&0.into(), &"exited with code 0".into())
    );
    assert_eq!(node(&world, "then")["state"], "ready");
    assert_eq!(node(&world, "tardy")["state"], "waiting");
    assert_eq!(node(&world, "hand")["state"], "stopped");
    in_state(&world, "tardy", "ready");
    world.ok(&["start", "hand"]);
    let by_hand = pid(&world, "hand");
    assert!(by_hand.is_some());
    world.ok(&["restart", "hand"]);
    assert_ne!(pid(&world, "hand"), by_hand);
    world.ok(&["stop", "hand"]);
    assert_eq!(node(&world, "hand")["state"], "stopped");
    let unknown = world.run(&["stop", "nobody"]);
    assert_eq!(unknown.code, 64, "{unknown:?}");
}

#[test]
fn the_same_name_from_another_file_is_refused_with_both_paths() {
    let world = World::new();
    let text = "zmqnet: 1\nname: same\nnodes:\n  a: {command: [sleep, '1000']}\n";
    world.write("one.yaml", text);
    world.write("two.yaml", text);
    world.ok(&["apply", "one.yaml"]);
    let before = pid(&world, "a");
    let refused = world.run(&["apply", "two.yaml"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("one.yaml") && refused.stderr.contains("two.yaml"));
    world.ok(&["apply", "two.yaml", "--replace"]);
    assert_eq!(pid(&world, "a"), before);
}

#[test]
fn nothing_running_is_69_and_several_are_64_with_their_names() {
    let world = World::new();
    let none = world.run(&["status"]);
    assert_eq!(none.code, 69, "{none:?}");
    for name in ["uno", "due"] {
        let text =
            format!("zmqnet: 1\nname: {name}\nnodes:\n  {name}-a: {{command: [sleep, '99']}}\n");
        let file = world.write(&format!("{name}.yaml"), &text);
        world.ok(&["apply", &file.to_string_lossy()]);
    }
    let several = world.run(&["status"]);
    assert_eq!(several.code, 64, "{several:?}");
    assert!(
        several.stderr.contains("uno") && several.stderr.contains("due"),
        "{several:?}"
    );
    world.ok(&["status", "-T", "uno"]);
    assert!(world.ok(&["ls"]).stdout.contains("due"));
}

#[test]
fn pipes_and_dumb_terminals_get_plain_lines_and_no_panic() {
    let world = World::new();
    hello(&world);
    let mut dumb = world.zmqnet(&["apply"]);
    let ran = crate::support::Ran::of(dumb.env("TERM", "dumb").env("NO_COLOR", "1"));
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        !ran.stderr.contains('\x1b') && !ran.stdout.contains('\x1b'),
        "{ran:?}"
    );
    assert!(ran.stderr.contains("alpha ready"), "{ran:?}");
    let mut piped = Running::start(&mut world.zmqnet(&["status"]));
    drop(piped.0.stdout.take());
    wait_for("the end of a status without reader", || {
        piped.0.try_wait().unwrap()
    });
    let mut stderr = String::new();
    piped
        .0
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut stderr)
        .unwrap();
    assert!(!stderr.contains("panicked"), "{stderr}");
}

#[test]
fn why_tells_of_a_program_that_listens_and_never_answers() {
    let world = World::new();
    let first = ports(10);
    let listens = "import os, socket, time\n\
         port = int(os.environ['ZMQNET_TASKS_ENDPOINT'].split(':')[2])\n\
         s = socket.create_server(('127.0.0.1', port))\n\
         time.sleep(1000)\n";
    let dials = "import os, time, zmq\n\
         s = zmq.Context().socket(zmq.REQ)\n\
         s.connect(os.environ['ZMQNET_TASKS_ENDPOINT'])\n\
         time.sleep(1000)\n";
    world.write("listens.py", listens);
    world.write("dials.py", dials);
    let python = python().display();
    world.write(
        "topology.yaml",
        &format!(
            "zmqnet: 1\nname: mute\ndefaults: {{ports: {first}..{}}}\nnodes:\n  \
             s: {{command: ['{python}', listens.py]}}\n  c: {{command: ['{python}', dials.py]}}\n\
             links:\n  tasks: {{pattern: request, from: c, to: s}}\n",
            first + 9
        ),
    );
    world.ok(&["apply"]);
    wait_for("the reason", || {
        let why = world.ok(&["why", "tasks"]).stdout;
        why.contains("no handshake").then_some(())
    });
    assert_eq!(world.run(&["status", "--check"]).code, 5);
}

#[test]
fn a_program_whose_port_was_lost_meanwhile_fails_at_once_and_says_to_whom() {
    let world = World::new();
    let port = ports(10);
    let script = "import os, time, zmq\n\
         s = zmq.Context().socket(zmq.REP)\n\
         s.bind(os.environ['ZMQNET_TASKS_ENDPOINT'])\n\
         time.sleep(1000)\n";
    world.write("binds.py", script);
    world.write(
        "topology.yaml",
        &format!(
            "zmqnet: 1\nname: robbed\nnodes:\n  \
             s: {{command: ['{}', binds.py], port: {port}, run: manual}}\n  \
             c: {{command: [sleep, '1000']}}\n\
             links:\n  tasks: {{pattern: request, from: c, to: s}}\n",
            python().display()
        ),
    );
    world.ok(&["apply"]);
    let thief = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let failed = world.run(&["start", "s"]);
    assert_eq!(failed.code, 1, "{failed:?}");
    let pid = format!("process {}", std::process::id());
    assert!(
        failed.stderr.contains(&pid) && failed.stderr.contains("topology.yaml:4"),
        "{failed:?}"
    );
    let s = node(&world, "s");
    assert_eq!((&s["state"], &s["restarts"]), (&"failed".into(), &0.into()));
    assert_eq!(node(&world, "c")["state"], "ready");
    drop(thief);
    world.ok(&["start", "s"]);
}

/// Listens on the port of its environment, and takes a while to end when it is asked to.
const SLOW_TO_END: &str = "\
import os, signal, socket, sys, time
def end(*_):
    time.sleep(1)
    os._exit(0)
signal.signal(signal.SIGTERM, end)
listener = socket.socket()
listener.bind(('127.0.0.1', int(sys.argv[1])))
listener.listen()
while True:
    time.sleep(60)
";

#[test]
fn a_port_that_moves_is_taken_when_it_is_free() {
    let world = World::new();
    world.write("slow.py", SLOW_TO_END);
    let (one, two) = (ports(1), ports(1));
    let apply = |nodes: &[(&str, u16)]| {
        let mut text =
            String::from("zmqnet: 1\nname: moves\nnodes:\n  sink: {command: [sleep, '600']}\n");
        for (name, port) in nodes {
            text += &format!(
                "  {name}: {{command: [python3, slow.py, '{port}'], port: {port}, restart: never}}\n"
            );
        }
        text += "links:\n";
        for (name, _) in nodes {
            text += &format!("  from-{name}: {{pattern: pubsub, from: {name}, to: sink}}\n");
        }
        world.write("topology.yaml", &text);
        world.ok(&["apply"]);
    };
    apply(&[("a", one)]);
    // `b` takes the port that `a` leaves, then they swap, then one that stays takes that of one that goes.
    apply(&[("a", two), ("b", one)]);
    apply(&[("a", one), ("b", two)]);
    apply(&[("b", one)]);
    world.ok(&["down"]);
}

#[test]
fn what_is_not_ready_in_time_is_shown_with_its_last_lines() {
    let world = World::new();
    world.write(
        "topology.yaml",
        "zmqnet: 1\nname: late\nnodes:\n  \
         a:\n    command: [sh, -c, 'echo still at it; exec sleep 1000']\n    \
         probe: {exec: ['false'], every: 200ms, grace: 60s}\n  \
         b: {command: [sh, -c, 'echo all is well; exec sleep 1000']}\n",
    );
    let late = world.run(&["apply", "--timeout", "2s"]);
    assert_eq!(late.code, 4, "{late:?}");
    assert!(late.stderr.contains("  | still at it"), "{late:?}");
    assert!(
        !late.stderr.contains("all is well"),
        "it is ready: {late:?}"
    );
}

/// Has a port without listening on it: the near end of a connection, or bound and nothing else.
const HAS_A_PORT: &str = "\
import socket, sys, time
mine = socket.socket()
mine.bind(('127.0.0.1', int(sys.argv[1])))
if sys.argv[2] == 'connected':
    listener = socket.create_server(('127.0.0.1', 0))
    mine.connect(listener.getsockname())
print('there', flush=True)
time.sleep(1000)
";

#[test]
fn a_port_that_somebody_has_without_listening_is_named_with_its_line() {
    let world = World::new();
    world.write("has.py", HAS_A_PORT);
    let first = ports(10);
    let (last, port) = (first + 8, first + 9);
    world.write(
        "topology.yaml",
        &format!(
            "zmqnet: 1\nname: silent\ndefaults: {{ports: {first}..{last}}}\nnodes:\n  \
             q: {{kind: replica, replicas: {{a: {{port: {port}}}, b: {{}}}}, restart: never}}\nlinks:\n  \
             m: {{pattern: mesh, among: [q]}}\n"
        ),
    );
    for how in ["bound", "connected"] {
        let mut thief = world.command("python3");
        let mut thief = Running::start(thief.args(["has.py", &port.to_string(), how]));
        let mut said = [0; 5];
        thief
            .0
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut said)
            .unwrap();
        let failed = world.run(&["apply"]);
        assert_eq!(failed.code, 1, "{failed:?}");
        let line = format!("cannot bind tcp://127.0.0.1:{port}");
        assert!(
            failed.stderr.contains(&line) && failed.stderr.contains("topology.yaml:5"),
            "{how}: {failed:?}"
        );
        let pid = format!("process {}", thief.0.id());
        assert_eq!(
            failed.stderr.contains(&pid),
            how == "connected",
            "{failed:?}"
        );
    }
    world.ok(&["apply"]);
}
