//! The queue over real sockets: its dialects, its workers' deaths, its commands.

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::{Ran, Running, World, ports, py, python, root, wait_for};

/// A network of one queue; its front port, and its back port.
pub(crate) struct Queue {
    pub(crate) world: World,
    pub(crate) front: String,
    pub(crate) back: String,
}

impl Queue {
    /// A queue with more keys.
    pub(crate) fn start(keys: &str) -> Self {
        let world = World::new();
        let port = ports(2);
        let text =
            format!("zmqnet: 1\nname: work\nnodes:\n  jobs: {{kind: queue, port: {port}{keys}}}\n");
        world.write("topology.yaml", &text);
        world.ok(&["apply"]);
        let at = |port: u16| format!("tcp://127.0.0.1:{port}");
        Self {
            world,
            front: at(port),
            back: at(port + 1),
        }
    }

    /// A program of the tests, with pyzmq.
    pub(crate) fn program(&self, name: &str, args: &[&str]) -> Command {
        let mut command = self.world.command(python());
        command
            .arg(root().join("tests/it/py").join(name))
            .args(args);
        command
    }

    /// What the queue has counted, by ZN1.
    pub(crate) fn facts(&self) -> Value {
        const ASK: &str = "\
import sys, zmq
socket = zmq.Context().socket(zmq.REQ)
socket.rcvtimeo, socket.linger = 20000, 0
socket.connect(sys.argv[1])
socket.send_multipart([b'ZN1', b'status', b'1'])
print(socket.recv_multipart()[3].decode())
";
        py(&self.world, ASK, &[&self.front]).json()["facts"].clone()
    }

    /// Waits until the facts are so.
    pub(crate) fn wait(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        wait_for(what, || Some(self.facts()).filter(|facts| is(facts)))
    }
}

/// A plain REP worker that answers with its name, or does not answer what it is told to hang on.
const WORKER: &str = "\
import sys, time, zmq
socket = zmq.Context().socket(zmq.REP)
socket.connect(sys.argv[1])
print('up', flush=True)
while True:
    task = socket.recv()
    if task == b'hang':
        time.sleep(1000)
    socket.send(sys.argv[2].encode())
";

/// A plain REQ client: one request for each argument, and what was answered.
const CLIENT: &str = "\
import sys, zmq
socket = zmq.Context().socket(zmq.REQ)
socket.rcvtimeo, socket.linger = 20000, 0
socket.connect(sys.argv[1])
for text in sys.argv[2:]:
    socket.send(text.encode())
    print(socket.recv().decode())
";

fn worker(queue: &Queue, name: &str) -> Running {
    let mut command = queue.world.command(python());
    Running::start(command.args(["-c", WORKER, &queue.back, name]))
}

#[test]
fn plain_workers_take_turns_and_what_a_killed_one_had_goes_to_the_other() {
    let queue = Queue::start("");
    let mut first = worker(&queue, "A");
    queue.wait("the first worker", |facts| {
        facts["services"][0]["workers"] == 1
    });
    let _second = worker(&queue, "B");
    queue.wait("the second worker", |facts| {
        facts["services"][0]["workers"] == 2
    });
    let turns = py(
        &queue.world,
        CLIENT,
        &[&queue.front, "1", "2", "3", "4", "5", "6"],
    );
    assert_eq!(turns.stdout, "A\nB\nA\nB\nA\nB\n", "{}", turns.stderr);
    // A is next: it hangs, and is killed.
    let mut command = queue.world.command(python());
    let client = Running::start(command.args(["-c", CLIENT, &queue.front, "hang"]));
    queue.wait("the task", |facts| facts["leased"] == 1);
    first.0.kill().unwrap();
    let facts = queue.wait("another attempt", |facts| facts["attempts"] == 8);
    assert_eq!((&facts["lost"], &facts["leased"]), (&1.into(), &1.into()));
    drop(client);
    queue.world.ok(&["down"]);
}

#[test]
fn majordomos_own_client_and_worker_work_unchanged() {
    let queue = Queue::start("");
    let asks = |args: &[&str]| Ran::of(&mut queue.program("mdclient.py", args));
    let _workers: Vec<Running> = (0..2)
        .map(|_| Running::start(&mut queue.program("mdworker.py", &[&queue.front, "echo"])))
        .collect();
    queue.wait("both workers", |facts| {
        let services = facts["services"].as_array().unwrap();
        services
            .iter()
            .any(|it| it["name"] == "echo" && it["workers"] == 2)
    });
    let one = asks(&[&queue.front, "echo", "200"]);
    assert_eq!(one.stdout, "200 of 200 replies\n", "{}", one.stderr);
    let many = asks(&[&queue.front, "echo", "2000", "async"]);
    assert_eq!(many.stdout, "2000 of 2000 replies\n", "{}", many.stderr);
    // They wait for longer than they may be silent, and still serve.
    std::thread::sleep(Duration::from_millis(10_500));
    let one = asks(&[&queue.front, "echo", "10"]);
    assert_eq!(one.stdout, "10 of 10 replies\n", "{}", one.stderr);
    assert_eq!(queue.facts()["silent"], 0);
    queue.world.ok(&["down"]);
}

/// Runs `zmqnet queue VERB ...` at the only queue there is.
fn queue_command(queue: &Queue, verb: &str, args: &[&str]) -> Ran {
    let all = [&["queue", verb], args].concat();
    queue.world.run(&all)
}

/// Runs it and insists on exit code 0.
#[track_caller]
fn queue_ok(queue: &Queue, verb: &str, args: &[&str]) -> Ran {
    let ran = queue_command(queue, verb, args);
    assert_eq!(
        ran.code, 0,
        "{verb} {args:?}: {} {}",
        ran.stdout, ran.stderr
    );
    ran
}

/// A shell one-liner as a worker: what begins with `bad` it cannot do.
fn upper(queue: &Queue) -> Running {
    let script = "read -r line; case $line in bad*) echo 'no bad' >&2; exit 3;; esac; echo \"$line\" | tr a-z A-Z";
    let work = [
        "queue", "work", "-n", "jobs", "upper", "--", "sh", "-c", script,
    ];
    Running::start(&mut queue.world.zmqnet(&work))
}

#[test]
fn tasks_are_submitted_and_done_by_a_shell_one_liner() {
    let queue = Queue::start(", attempts: 1");
    let submitted = queue_ok(&queue, "submit", &["upper", "later"]);
    let listed = queue_ok(&queue, "ls", &["-o", "json"]).json();
    assert_eq!(listed["tasks"][0]["task"], submitted.stdout.trim());
    assert_eq!(listed["tasks"][0]["state"], "queued");
    let _worker = upper(&queue);
    let done = queue_ok(&queue, "submit", &["upper", "hello", "--wait"]);
    assert_eq!(done.stdout, "HELLO\n");
    let asked = "queue submit -n jobs upper - --wait -o json";
    let asked: Vec<&str> = asked.split(' ').collect();
    let done = with_stdin(&queue.world, &asked, "from stdin\n");
    assert_eq!(done.json()["body"][0], "FROM STDIN\n");
    let listed = queue_ok(&queue, "ls", &[]);
    assert!(
        listed.stderr.contains("3 accepted: 3 done"),
        "{}",
        listed.stderr
    );
    let facts = queue.world.ok(&["status", "-o", "json"]).json()["nodes"][0]["facts"].clone();
    for (count, is) in [
        ("ready", 0),
        ("leased", 0),
        ("done", 3),
        ("dead", 0),
        ("workers", 1),
    ] {
        assert_eq!(facts[count], is, "{count}: {facts}");
    }
    queue.world.ok(&["down"]);
}

#[test]
fn one_queue_needs_no_name_and_of_several_one_is_named() {
    let world = World::new();
    let ask = |code: i32, says: &str| {
        for line in ["queue ls", "queue submit up hi", "services", "call up"] {
            let ran = world.run(&line.split(' ').collect::<Vec<_>>());
            assert_eq!(ran.code, code, "{line}: {}", ran.stderr);
            assert!(ran.stderr.contains(says), "{line}: {}", ran.stderr);
        }
    };
    ask(69, "no queue is running");
    let port = ports(4);
    let (odd, other) = (port, port + 2);
    let text = format!(
        "zmqnet: 1\nname: two\nnodes:\n  odd: {{kind: queue, port: {odd}}}\n  even: {{kind: queue, port: {other}}}\n"
    );
    world.write("topology.yaml", &text);
    world.ok(&["apply"]);
    ask(64, "which queue? there are `");
    world.ok(&["queue", "ls", "-n", "odd"]);
    world.ok(&["down"]);
}

#[test]
fn a_worker_refuses_a_program_that_is_not_there_and_bounds_what_one_says() {
    let queue = Queue::start(", attempts: 1");
    let ran = queue_command(&queue, "work", &["up", "--", "./no-such-program"]);
    assert_eq!(ran.code, 66, "{}", ran.stderr);
    assert!(ran.stderr.contains("there is no program"), "{}", ran.stderr);
    let endless = ["queue", "work", "up", "--", "sh", "-c", "exec yes"];
    let _worker = Running::start(&mut queue.world.zmqnet(&endless));
    let ran = queue_command(&queue, "submit", &["up", "x", "--wait", "--timeout", "30s"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("more than"), "{}", ran.stderr);
    // Another kind is not a queue, though it has the name.
    let ran = queue.world.run(&["bus", "ls", "-n", "jobs"]);
    assert_eq!(ran.code, 64);
    assert!(ran.stderr.contains("`jobs` is a queue"), "{}", ran.stderr);
    queue.world.ok(&["down"]);
}

#[test]
fn what_cannot_be_done_is_a_dead_letter_with_the_workers_words() {
    let queue = Queue::start(", attempts: 1");
    let worker = upper(&queue);
    let failed = queue_command(&queue, "submit", &["upper", "bad", "--wait"]);
    assert_eq!(failed.code, 1);
    assert!(
        failed.stderr.contains("exit status: 3 (500)"),
        "{}",
        failed.stderr
    );
    let asked = ["upper", "bad too", "--wait", "-o", "json"];
    let failed = queue_command(&queue, "submit", &asked);
    let told = failed.json();
    assert_eq!((failed.code, &told["kind"]), (1, &"exit".into()));
    assert_eq!(told["trace"], "no bad\n");
    let dead = queue_ok(&queue, "ls", &["--dead", "-o", "json"]).json();
    assert_eq!(
        (&dead["all"], &dead["tasks"][1]["failure"]["kind"]),
        (&2.into(), &"exit".into())
    );
    assert_eq!(queue_ok(&queue, "retry", &["--all"]).stdout, "2 retried\n");
    queue.wait("two failures more", |facts| facts["failed"] == 4);
    drop(worker);
    let purged = queue_ok(&queue, "purge", &["--dead", "--service", "upper"]);
    assert_eq!(purged.stdout, "2 purged\n");
    assert_eq!(queue_command(&queue, "retry", &["nobody"]).code, 1);
    assert_eq!(queue_command(&queue, "purge", &[]).code, 64);
    queue.world.ok(&["down"]);
}

#[test]
fn several_tasks_are_tried_again_within_the_timeout_in_all() {
    /// A queue that takes its time with each word.
    const SLOW: &str = "\
import sys, time, zmq
socket = zmq.Context().socket(zmq.REP)
socket.bind(sys.argv[1])
while True:
    asked = socket.recv_multipart()
    time.sleep(0.8)
    socket.send_multipart([b'ZN1', b'200', asked[2], b'{\"retried\": 1}'])
";
    let world = World::new();
    let at = format!("tcp://127.0.0.1:{}", ports(1));
    let _slow = Running::start(world.command(python()).args(["-c", SLOW, &at]));
    let retry = |tasks: &[&str], timeout: &str| {
        let to = ["--endpoint", &at, "--timeout", timeout];
        world.run(&[&["queue", "retry"], tasks, &to].concat())
    };
    let all = ["a", "b", "c", "d"];
    assert_eq!(retry(&all[..1], "30s").stdout, "1 retried\n");
    let late = retry(&all, "2s");
    assert_eq!(late.code, 1, "{}{}", late.stdout, late.stderr);
    assert_eq!(retry(&all, "30s").stdout, "4 retried\n");
}

#[test]
fn its_lease_changes_while_it_runs_and_no_task_is_lost() {
    let queue = Queue::start("");
    queue_ok(&queue, "submit", &["slow", "x"]);
    let pid =
        |queue: &Queue| queue.world.ok(&["status", "-o", "json"]).json()["nodes"][0]["pid"].clone();
    let before = pid(&queue);
    let text = std::fs::read_to_string(queue.world.path("topology.yaml")).unwrap();
    queue.world.write(
        "topology.yaml",
        &text.replace("kind: queue", "kind: queue, lease: 200ms"),
    );
    let plan = queue.world.ok(&["plan"]).stdout;
    assert!(plan.contains("`lease` changed"), "{plan}");
    queue.world.ok(&["apply"]);
    assert_eq!(pid(&queue), before, "told, not restarted");
    // Whoever takes it now and hangs has it for 200 ms.
    const HANG: &str = "\
import sys, zmq
socket = zmq.Context().socket(zmq.REQ)
socket.connect(sys.argv[1])
socket.send_multipart([b'ZN1', b'take', b'1', b'{\"service\": \"slow\", \"wait_ms\": 1000}'])
print(socket.recv_multipart()[1].decode())
socket.send_multipart([b'ZN1', b'take', b'2', b'{\"service\": \"slow\", \"wait_ms\": 20000}'])
print(socket.recv_multipart()[1].decode())
";
    let taken = py(&queue.world, HANG, &[&queue.front]);
    assert_eq!(taken.stdout, "200\n200\n", "{}", taken.stderr);
    assert_eq!(queue.facts()["expired"], 1);
    queue.world.ok(&["down"]);
}

#[test]
fn the_same_id_is_the_same_task_and_waiting_has_an_end() {
    let queue = Queue::start("");
    for _ in 0..2 {
        let asked = ["upper", "x", "--id", "one", "--priority", "-5"];
        assert_eq!(queue_ok(&queue, "submit", &asked).stdout, "one\n");
    }
    let asked = ["upper", "--id", "one", "--wait", "--timeout", "300ms"];
    let silent = queue_command(&queue, "submit", &asked);
    assert_eq!(silent.code, 1);
    assert!(silent.stderr.contains("--id one"), "{}", silent.stderr);
    let work = "queue work --count 1 upper --endpoint";
    let work: Vec<&str> = work
        .split(' ')
        .chain([&*queue.front, "--", "cat"])
        .collect();
    queue.world.ok(&work);
    let nothing = ["upper", "--count", "1", "--timeout", "200ms", "--", "cat"];
    assert_eq!(queue_command(&queue, "work", &nothing).code, 1);
    let facts = queue.facts();
    assert_eq!(
        (&facts["accepted"], &facts["duplicates"]),
        (&1.into(), &2.into())
    );
    queue.world.ok(&["down"]);
}

fn with_stdin(world: &World, args: &[&str], text: &str) -> Ran {
    use std::io::Write;
    use std::process::Stdio;
    let mut command = world.zmqnet(args);
    let command = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    Ran::from(child.wait_with_output().unwrap())
}

#[test]
fn a_worker_that_is_stopped_loses_its_task_when_its_lease_is_over() {
    let queue = Queue::start("");
    let world = &queue.world;
    let work = [
        "queue",
        "work",
        "-n",
        "jobs",
        "slow",
        "--",
        "sh",
        "-c",
        "test $ZMQNET_ATTEMPT -gt 1 || { touch begun; sleep 100; }; cat",
    ];
    let first = Running::start(&mut world.zmqnet(&work));
    world.ok(&["queue", "submit", "-n", "jobs", "slow", "x"]);
    wait_for("the task is taken", || {
        world.path("begun").exists().then_some(())
    });
    let stop = Command::new("kill")
        .args(["-STOP", &first.0.id().to_string()])
        .status();
    assert!(stop.unwrap().success());
    let _second = Running::start(&mut world.zmqnet(&work));
    let facts = queue.wait("the other has done it", |facts| facts["done"] == 1);
    assert_eq!(
        (&facts["expired"], &facts["attempts"]),
        (&1.into(), &2.into())
    );
    world.ok(&["down"]);
}

#[test]
fn the_queue_holds_under_fire() {
    fire(4, 2_000, 3);
}

/// `cargo test --test it queue_under_fire -- --ignored`
#[test]
#[ignore = "half a minute, and it wants the machine"]
fn queue_under_fire_for_half_a_minute() {
    fire(20, 100_000, 30);
}

/// Plain workers are killed and stopped at random while clients ask: nothing is lost, nothing is done
/// twice but after a death, and the accounts are right.
fn fire(workers: u32, tasks: u32, seconds: u32) {
    let queue = Queue::start(", lease: 1s, attempts: 1000");
    let args = [workers, tasks, seconds].map(|number| number.to_string());
    let args = [&queue.front, &queue.back, &args[0], &args[1], &args[2]];
    let args: Vec<&str> = args.iter().map(|arg| arg.as_str()).collect();
    let ran = Ran::of(&mut queue.program("fire.py", &args));
    assert_eq!(ran.code, 0, "{}\n{}", ran.stdout, ran.stderr);
    let facts = queue.wait("everything is done", |facts| {
        facts["queued"] == 0 && facts["leased"] == 0
    });
    let count = |key: &str| facts[key].as_u64().unwrap();
    assert_eq!(count("accepted"), count("done") + count("dead"));
    assert_eq!(count("dead"), 0);
    // Another attempt only where a worker was lost or lost its lease, or where it had not begun.
    assert_eq!(
        count("attempts"),
        count("done") + count("lost") + count("expired") + count("unbegun")
    );
    assert!(count("lost") > 0, "{facts}");
    let told: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(told["unanswered"], 0, "{told}");
    if seconds > 10 {
        std::fs::write(
            root().join("target/fire.json"),
            format!("{facts}\n{told}\n"),
        )
        .unwrap();
    }
    queue.world.ok(&["down"]);
}

#[test]
fn every_example_of_the_manuals_prints_what_it_says() {
    let queue = Queue::start(", store: {path: ./data}");
    assert_eq!(examples(&queue, "docs/queue.md"), 4);
    queue.world.ok(&["down"]);
    let queue = Queue::start("");
    assert_eq!(examples(&queue, "docs/services.md"), 1);
    queue.world.ok(&["down"]);
}

/// Runs the Python examples of a document; gives how many there are.
fn examples(queue: &Queue, document: &str) -> usize {
    let text = std::fs::read_to_string(root().join(document)).unwrap();
    let parts = text.split("```python\n").skip(1);
    let mut ran = 0;
    for part in parts {
        let (script, after) = part.split_once("```").unwrap();
        let expected = after.split_once("```text\n").unwrap().1;
        let expected = expected.split_once("```").unwrap().0;
        let script = script.replace("tcp://127.0.0.1:5555", &queue.front);
        let script = script.replace("tcp://127.0.0.1:5556", &queue.back);
        let printed = py(&queue.world, &script, &[]);
        assert_eq!(printed.stdout, expected, "{script}\n{}", printed.stderr);
        ran += 1;
    }
    ran
}

#[test]
fn a_worker_whose_only_task_was_lost_has_failed() {
    let queue = Queue::start("");
    queue.world.ok(&["queue", "submit", "slow", "x"]);
    let args = ["queue", "work", "slow", "--count", "1", "--", "sleep", "60"];
    let mut command = queue.world.zmqnet(&args);
    let worker = command.stderr(Stdio::piped()).spawn().unwrap();
    queue.wait("the task is begun", |facts| facts["leased"] == 1);
    // Without a store the queue knows nothing of it any more.
    queue.world.ok(&["restart", "jobs"]);
    let ended = worker.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("1 of 1 tasks were lost"), "{said}");
    queue.world.ok(&["down"]);
}
