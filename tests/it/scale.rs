//! `scale`, by hand and by a feedback: what starts and stops, what stays, what is refused.

use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::support::{Ran, World, ports, py, python, wait_for};

/// Answers after the time its environment says, while the file `slow` is there.
const WORKER: &str = "\
import os, time, zmq
socket = zmq.Context().socket(zmq.REP)
socket.bind(os.environ['ZMQNET_WORK_ENDPOINT'])
while True:
    request = socket.recv()
    while os.path.exists('slow'):
        time.sleep(0.01)
    socket.send(request)
";

fn pids(world: &World, node: &str) -> Vec<u64> {
    let status = world.ok(&["status", "-o", "json"]).json();
    let nodes = status["nodes"].as_array().unwrap().iter();
    let of_node = nodes.filter(|it| it["node"] == node && !it["pid"].is_null());
    of_node.map(|it| it["pid"].as_u64().unwrap()).collect()
}

fn sleepers(world: &World, replicas: &str) {
    let first = ports(1);
    let text = format!(
        "zmqnet: 1\nname: sleepers\nvars: {{nap: {{type: int, default: 1}}}}\n\
         defaults: {{ports: {first}..{first}, restart: never}}\nnodes:\n  \
         worker: {{command: [sleep, \"${{nap}}\"], replicas: {replicas}}}\n  \
         other: {{command: [sleep, '600'], replicas: 2}}\n"
    );
    world.write("topology.yaml", &text);
}

#[test]
fn a_node_grows_and_shrinks_in_its_range_and_everybody_else_stays() {
    let world = World::new();
    sleepers(&world, "1..4");
    // Without what it was applied with, these would sleep for a second only.
    world.ok(&["apply", "--var", "nap=600"]);
    let (one, others) = (pids(&world, "worker"), pids(&world, "other"));
    assert_eq!((one.len(), others.len()), (1, 2));
    world.ok(&["scale", "worker=3"]);
    let three = pids(&world, "worker");
    assert_eq!(three.len(), 3);
    assert_eq!(three[0], one[0]);
    assert_eq!(
        world.ok(&["scale", "worker=3"]).stderr,
        "nothing to change\n"
    );
    // The next apply keeps the count.
    let again = world.ok(&["apply", "--var", "nap=600"]);
    assert!(
        again.stderr.contains("nothing to change"),
        "{}",
        again.stderr
    );
    world.ok(&["scale", "worker=1"]);
    assert_eq!(pids(&world, "worker"), one);
    assert_eq!(pids(&world, "other"), others);
    world.ok(&["down"]);
}

#[test]
fn who_was_stopped_stays_so_and_the_environment_is_that_of_the_apply() {
    let world = World::new();
    let first = ports(1);
    let text = format!(
        "zmqnet: 1\nname: sleepers\ndefaults: {{ports: {first}..{first}, restart: never}}\nnodes:\n  \
         worker: {{command: [nap, \"${{env.NAP}}\"], replicas: 1..4}}\n  \
         other: {{command: [sleep, '600'], replicas: 2}}\n"
    );
    world.write("topology.yaml", &text);
    let nap = world.write("bin/nap", "#!/bin/sh\nexec sleep $1\n");
    std::fs::set_permissions(&nap, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = std::env::var("PATH").unwrap();
    let own = format!("{}:{path}", world.path("bin").display());
    let applied = Ran::of(world.zmqnet(&["apply"]).env("NAP", "600").env("PATH", own));
    assert_eq!(applied.code, 0, "{}", applied.stderr);
    world.ok(&["stop", "other-1"]);
    // Neither the variable nor the program is in this environment.
    world.ok(&["scale", "worker=2"]);
    assert_eq!(pids(&world, "worker").len(), 2);
    assert_eq!(pids(&world, "other").len(), 1);
    world.ok(&["scale", "worker=1"]);
    assert_eq!(pids(&world, "other").len(), 1);
    world.ok(&["down"]);
}

#[test]
fn what_cannot_be_scaled_is_refused_and_nothing_happens() {
    let world = World::new();
    sleepers(&world, "1..4");
    let nothing = world.run(&["scale", "worker=2"]);
    assert_eq!(nothing.code, 69, "{}", nothing.stderr);
    world.ok(&["apply", "--var", "nap=600"]);
    let before = pids(&world, "worker");
    for (args, words) in [
        ("worker=5", "`worker` has 1 to 4 instances, not 5"),
        ("worker=0", "`worker` has 1 to 4 instances, not 0"),
        ("other=3", "`other` has no range to scale in"),
        ("wroker=2", "did you mean `worker`?"),
        ("worker", "write `NODE=N`"),
        ("worker=many", "write a whole number after `=`"),
    ] {
        let refused = world.run(&["scale", args]);
        assert_eq!(refused.code, 64, "{args}: {}", refused.stderr);
        assert!(refused.stderr.contains(words), "{args}: {}", refused.stderr);
    }
    let twice = world.run(&["scale", "worker=1", "worker=2"]);
    assert_eq!(twice.code, 64, "{}", twice.stderr);
    assert!(
        twice.stderr.contains("`worker` is named twice"),
        "{}",
        twice.stderr
    );
    // Whoever scales changes nothing else.
    sleepers(&world, "1..5");
    let text = std::fs::read_to_string(world.path("topology.yaml")).unwrap();
    world.write("topology.yaml", &text.replace("'600'", "'601'"));
    let stale = world.run(&["scale", "worker=2"]);
    assert_eq!(stale.code, 3, "{}", stale.stderr);
    assert!(stale.stderr.contains("says something else than what runs"));
    assert_eq!(pids(&world, "worker"), before);
    world.ok(&["down"]);
}

#[test]
fn a_feedback_adds_workers_while_requests_wait_and_takes_them_away_after() {
    let world = World::new();
    let first = ports(12);
    world.write("worker.py", WORKER);
    world.write("slow", "");
    let text = format!(
        "zmqnet: 1\nname: loop\ndefaults: {{ports: {first}..{}}}\nnodes:\n  \
         front: {{kind: proxy, port: {first}}}\n  \
         worker: {{command: [{}, worker.py], replicas: 1..3}}\n  \
         hand: {{kind: feedback, watch: front.in_hand, scale: worker, target: 2, every: 100ms}}\n\
         links:\n  work: {{pattern: request, from: front, to: worker, timeout: 60s, retries: 1}}\n",
        first + 11,
        python().display(),
    );
    world.write("topology.yaml", &text);
    world.ok(&["apply"]);
    let front = pids(&world, "front");
    let ask = "\
import sys, zmq
context = zmq.Context()
sockets = []
for _ in range(10):
    socket = context.socket(zmq.REQ)
    socket.rcvtimeo, socket.linger = 60000, 0
    socket.connect(sys.argv[1])
    socket.send(b'work')
    sockets.append(socket)
print(sum(socket.recv() == b'work' for socket in sockets))
";
    let endpoint = format!("tcp://127.0.0.1:{first}");
    std::thread::scope(|scope| {
        let answers = scope.spawn(|| py(&world, ask, &[&endpoint]));
        wait_for("three workers", || {
            (pids(&world, "worker").len() == 3).then_some(())
        });
        assert_eq!(pids(&world, "front"), front, "it only dials one more");
        std::fs::remove_file(world.path("slow")).unwrap();
        assert_eq!(answers.join().unwrap().stdout, "10\n");
    });
    wait_for("one worker", || {
        (pids(&world, "worker").len() == 1).then_some(())
    });
    let status = world.ok(&["status", "-o", "json"]).json();
    let nodes = status["nodes"].as_array().unwrap();
    let hand: &Value = &nodes.iter().find(|it| it["name"] == "hand").unwrap()["facts"];
    assert_eq!((&hand["count"], &hand["value"]), (&1.into(), &0.0.into()));
    assert!(
        hand["counted"]["ups"].as_u64() >= Some(1) && hand["refusal"].is_null(),
        "{hand}"
    );
    world.ok(&["down"]);
}

#[test]
fn a_feedback_that_sees_nothing_says_why_and_one_that_is_killed_goes_on() {
    let world = World::new();
    let first = ports(12);
    let text = format!(
        "zmqnet: 1\nname: hands\ndefaults: {{ports: {first}..{}, restart: {{backoff: 10ms..20ms}}}}\nnodes:\n  \
         jobs: {{kind: queue, port: {first}}}\n  \
         seen: {{command: [sleep, '1000'], replicas: 1..3}}\n  \
         unseen: {{command: [sleep, '1000'], replicas: 1..3}}\n  \
         hand: {{kind: feedback, watch: jobs.queued, scale: seen, target: 1, every: 100ms}}\n  \
         blind: {{kind: feedback, watch: jobs.tasks.age, scale: unseen, target: 1, every: 100ms}}\n",
        first + 11
    );
    world.write("topology.yaml", &text);
    world.ok(&["apply"]);
    let node = |name: &str| {
        let status = world.ok(&["status", "-o", "json"]).json();
        let mut nodes = status["nodes"].as_array().unwrap().clone();
        nodes.retain(|node| node["name"] == name);
        nodes.remove(0)
    };
    wait_for("why it sees nothing", || {
        let why = "who is watched has no number `tasks.age` in its facts";
        (node("blind")["facts"]["blindness"] == why).then_some(())
    });
    for task in ["a", "b", "c", "d", "e", "f"] {
        world.ok(&["queue", "submit", "anything", task]);
    }
    wait_for("three instances", || {
        (pids(&world, "seen").len() == 3).then_some(())
    });
    // Killed, it begins with as many as there are; the one that sees nothing has done nothing.
    let before = node("hand")["pid"].as_u64().unwrap();
    let kill = world
        .command("kill")
        .args(["-9", &before.to_string()])
        .status();
    assert!(kill.unwrap().success());
    world.ok(&["queue", "purge", "--service", "anything"]);
    wait_for("one instance again", || {
        (pids(&world, "seen").len() == 1).then_some(())
    });
    let hand = node("hand");
    assert_ne!(hand["pid"].as_u64(), Some(before));
    assert_eq!(hand["facts"]["counted"]["downs"], 2, "{}", hand["facts"]);
    assert!(hand["facts"]["blindness"].is_null(), "{}", hand["facts"]);
    assert_eq!(pids(&world, "unseen").len(), 1);
    world.ok(&["down"]);
}

/// Asks a hundred times a second, whatever is answered.
const LOAD: &str = "\
import os, time, zmq
socket = zmq.Context().socket(zmq.DEALER)
socket.sndhwm = socket.rcvhwm = 0
socket.connect(os.environ['ZMQNET_TASKS_ENDPOINT'])
due = time.monotonic()
while True:
    socket.send_multipart([b'', b'task'])
    while socket.poll(0):
        socket.recv_multipart()
    due += 0.01
    time.sleep(max(0, due - time.monotonic()))
";

/// Does forty tasks a second.
const SLOW: &str = "\
import os, time, zmq
socket = zmq.Context().socket(zmq.REP)
socket.connect(os.environ['ZMQNET_TASKS_ENDPOINT'])
due = time.monotonic()
while True:
    task = socket.recv()
    due = max(due, time.monotonic() - 0.025) + 0.025
    time.sleep(max(0, due - time.monotonic()))
    socket.send(task)
";

#[test]
fn a_feedback_holds_the_age_of_a_queue_and_does_not_swing() {
    const TARGET_MS: u64 = 500;
    let world = World::new();
    let first = ports(12);
    world.write("load.py", LOAD);
    world.write("slow.py", SLOW);
    let text = |fact: &str| {
        format!(
            "zmqnet: 1\nname: aged\ndefaults: {{ports: {first}..{}}}\nnodes:\n  \
             jobs: {{kind: queue, port: {first}}}\n  \
             load: {{command: [{python}, load.py]}}\n  \
             worker: {{command: [{python}, slow.py], replicas: 1..6}}\n  \
             hand: {{kind: feedback, watch: jobs.{fact}, scale: worker, target: 500ms, every: 200ms}}\n\
             links:\n  tasks: {{pattern: request, from: load, to: worker, via: jobs}}\n",
            first + 11,
            python = python().display(),
        )
    };
    let facts = || {
        let status = world.ok(&["status", "-o", "json"]).json();
        let nodes = status["nodes"].as_array().unwrap().iter();
        let of = |name: &str| {
            let node = nodes.clone().find(|node| node["name"] == name);
            node.unwrap()["facts"].clone()
        };
        (of("jobs")["age_ms"].as_u64().unwrap(), of("hand"))
    };
    // Where the feedback sees no age, one worker is too few and the age grows.
    world.write("topology.yaml", &text("age"));
    world.ok(&["apply"]);
    let blind = wait_for("a queue that grows old", || {
        let (age_ms, hand) = facts();
        (age_ms > 2 * TARGET_MS).then_some(hand)
    });
    assert!(blind["blindness"].is_string(), "{blind}");
    assert_eq!(
        (pids(&world, "worker").len(), &blind["value"]),
        (1, &Value::Null)
    );
    // Where it sees it there are as many as are needed, and no other number from then on.
    world.write("topology.yaml", &text("age_ms"));
    world.ok(&["apply"]);
    wait_for("a young queue", || (facts().0 < TARGET_MS).then_some(()));
    let (mut ages, mut counts) = (Vec::new(), Vec::new());
    let until = std::time::Instant::now() + std::time::Duration::from_secs(6);
    while std::time::Instant::now() < until {
        let (age_ms, hand) = facts();
        ages.push(age_ms);
        counts.push(hand["count"].as_u64().unwrap());
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    // To and fro at every sight of a number above or below would be some eight turns.
    let mut moves: Vec<u64> = counts.clone();
    moves.dedup();
    let is_turn = |it: &&[u64]| (it[0] < it[1]) != (it[1] < it[2]);
    let turns = moves.windows(3).filter(is_turn).count();
    assert!(turns <= 3, "it swings: {counts:?}");
    ages.sort_unstable();
    let most = ages[ages.len() * 9 / 10];
    assert!(most < 2 * TARGET_MS, "{ages:?}");
    let range = 2..=6;
    assert!(
        counts.iter().all(|count| range.contains(count)),
        "{counts:?}"
    );
    world.ok(&["down"]);
}
