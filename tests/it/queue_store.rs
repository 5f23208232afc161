//! The queue with a store, over real sockets and a real disk: what it answered is there however it is
//! killed, Titanic's requests outlive everybody, and a full disk loses nothing.

use std::io::Read;
use std::process::Command;

use serde_json::{Value, json};

use crate::queue::Queue;
use crate::support::{Ran, Running, World, ports, py, python, root, wait_for};

/// The store of a queue in a test.
const STORE: &str = ", store: {path: ./data}";

/// A queue without a supervisor, told what one would tell it.
fn life(world: &World, (name, port): (&str, u16), die_at: &str) -> Running {
    let listens = |place: u16, name: &str, socket: &str| {
        let bind = format!("tcp://127.0.0.1:{}", port + place);
        json!({"name": name, "bind": bind, "socket": socket})
    };
    let told = json!({"queue": {
        "common": {
            "name": name,
            "ports": [listens(0, "front", "ROUTER"), listens(1, "back", "DEALER")],
            "health": format!("ipc://{}", world.path(&format!("{name}.sock")).display()),
        },
        "service": "tasks",
        "lease_ms": 1_500,
        "attempts": 1_000,
        "ahead": 16,
        "tells_dead": false,
        "bytes_max": 64 << 20,
        "keep_ms": 3_600_000,
        "store": {"path": world.path(name)},
    }});
    let file = world.write(&format!("{name}.json"), &told.to_string());
    world.write(&format!("{name}/die-at"), die_at);
    Running::start(&mut world.zmqnet(&["__role", file.to_str().unwrap()]))
}

fn program(world: &World, name: &str, args: &[&str]) -> Command {
    let mut command = world.command(python());
    command
        .arg(root().join("tests/it/py").join(name))
        .args(args);
    command
}

fn read(child: &mut Running) -> (String, String) {
    let (mut out, mut err) = (String::new(), String::new());
    child
        .0
        .stdout
        .as_mut()
        .unwrap()
        .read_to_string(&mut out)
        .unwrap();
    child
        .0
        .stderr
        .as_mut()
        .unwrap()
        .read_to_string(&mut err)
        .unwrap();
    (out, err)
}

/// Lets a queue die again and again at a step while it is used, until all is done; and what there is then.
fn dies(step: &str, seed: u64, tasks: u64) -> Value {
    let (world, port) = (World::new(), ports(2));
    let mut random = fastrand::Rng::with_seed(seed);
    let front = format!("tcp://127.0.0.1:{port}");
    let back = format!("tcp://127.0.0.1:{}", port + 1);
    let mut lives = 1_u64;
    let mut queue = life(&world, ("q", port), &format!("{step}:9"));
    let (tasks, seed_text) = (tasks.to_string(), seed.to_string());
    let args = [&front, &back, &tasks, &seed_text].map(String::as_str);
    let mut fire = Running::start(&mut program(&world, "queue_store_fire.py", &args));
    wait_for(&format!("all to be done, though it dies at {step}"), || {
        if queue.0.try_wait().unwrap().is_some() {
            lives += 1;
            // Few steps are not always enough to come up: the next life has more.
            let nth = random.u64(3..14) + lives % 40;
            queue = life(&world, ("q", port), &format!("{step}:{nth}"));
        }
        fire.0.try_wait().unwrap()
    });
    let (out, err) = read(&mut fire);
    assert!(
        fire.0.wait().unwrap().success(),
        "{step}, seed {seed}: {err}"
    );
    let mut told: Value = serde_json::from_str(&out).unwrap();
    told["lives"] = lives.into();
    told
}

/// The steps at which it dies: those of every write, and those of a new log.
const STEPS: [&str; 5] = [
    "write-before",
    "write-half",
    "write-after",
    "sync-before",
    "sync-after",
];

/// So many rounds in all: `ZMQNET_QUEUE_KILLS=100 cargo test --test it queue_store` for a long run.
#[test]
fn killed_at_each_named_step_it_loses_no_task_and_no_answer_and_does_nothing_twice() {
    let rounds = std::env::var("ZMQNET_QUEUE_KILLS").ok();
    let rounds: u64 = rounds
        .as_ref()
        .map_or(STEPS.len() as u64, |it| it.parse().unwrap());
    let (mut lives, mut accepted) = (0, 0);
    for round in 0..rounds {
        let step = STEPS[round as usize % STEPS.len()];
        let told = dies(step, round, 60);
        lives += told["lives"].as_u64().unwrap();
        accepted += told["accepted"].as_u64().unwrap();
        assert!(told["lives"].as_u64().unwrap() > 2, "{step}: {told}");
    }
    if rounds > STEPS.len() as u64 {
        let report = format!("{rounds} rounds, {lives} lives, {accepted} tasks accepted\n");
        std::fs::write(root().join("target/queue-kills.txt"), report).unwrap();
    }
}

/// A Titanic client as RFC 9 has it, and a Majordomo worker that is there for some of the time.
#[test]
fn titanics_client_written_from_the_rfc_fetches_answers_across_deaths() {
    let (world, port) = (World::new(), ports(2));
    let front = format!("tcp://127.0.0.1:{port}");
    let queue = life(&world, ("q", port), "never:1");
    let asks = |args: &[&str]| {
        Ran::of(&mut program(
            &world,
            "titanic.py",
            &[&[front.as_str()], args].concat(),
        ))
    };
    let left = asks(&["request", "echo", "20"]);
    assert_eq!(left.code, 0, "{}", left.stderr);
    assert_eq!(left.stdout.lines().count(), 20);
    world.write("uuids", &left.stdout);
    let uuids = world.path("uuids").display().to_string();
    assert_eq!(asks(&["replies", &uuids]).stdout, "300 20\n");
    // The queue is killed, then there are workers, then it is killed again.
    drop(queue);
    let queue = life(&world, ("q", port), "never:1");
    let mut worker = program(&world, "mdworker.py", &[&front, "echo"]);
    let worker = Running::start(&mut worker);
    wait_for("the answers", || {
        (asks(&["replies", &uuids]).stdout == "200 20\n").then_some(())
    });
    drop(worker);
    drop(queue);
    let _queue = life(&world, ("q", port), "never:1");
    assert_eq!(asks(&["replies", &uuids]).stdout, "200 20\n");
    assert_eq!(asks(&["close", &uuids]).stdout, "200 20\n");
    assert_eq!(
        asks(&["close", &uuids]).stdout,
        "200 20\n",
        "it may be closed again"
    );
    assert_eq!(asks(&["replies", &uuids]).stdout, "400 20\n");
}

#[test]
fn a_task_its_priority_its_delay_and_its_dead_letter_outlive_a_restart_by_command() {
    let queue = Queue::start(STORE);
    let submit = |args: &[&str]| {
        let ran = queue.world.run(&[&["queue", "submit"], args].concat());
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        ran.stdout
    };
    submit(&["mail", "later", "--id", "later", "--delay", "3s"]);
    submit(&["mail", "second", "--id", "second"]);
    submit(&["mail", "first", "--id", "first", "--priority", "5"]);
    queue.world.ok(&["restart", "jobs"]);
    assert_eq!(
        submit(&["mail", "x", "--id", "first"]),
        "first\n",
        "it is the same task"
    );
    let facts = queue.facts();
    assert_eq!(
        (&facts["accepted"], &facts["queued"]),
        (&3.into(), &3.into())
    );
    let args = [
        "queue",
        "work",
        "mail",
        "--count",
        "3",
        "--",
        "sh",
        "-c",
        "cat >> done; echo >> done",
    ];
    let worked = queue.world.run(&args);
    assert_eq!(worked.code, 0, "{}", worked.stderr);
    let done = std::fs::read_to_string(queue.world.path("done")).unwrap();
    assert_eq!(done, "first\nsecond\nlater\n");
    // One that fails for good is a dead letter, and that survives too.
    submit(&["bad", "poison", "--id", "poison"]);
    for _ in 0..5 {
        queue
            .world
            .run(&["queue", "work", "bad", "--count", "1", "--", "false"]);
    }
    queue.world.ok(&["restart", "jobs"]);
    let dead = queue
        .world
        .ok(&["queue", "ls", "--dead", "-o", "json"])
        .json();
    assert!(dead.to_string().contains("poison"), "{dead}");
    let facts = queue.facts();
    assert_eq!((&facts["done"], &facts["dead"]), (&3.into(), &1.into()));
    queue.world.ok(&["queue", "retry", "--all"]);
    queue.world.ok(&["restart", "jobs"]);
    assert_eq!(queue.facts()["queued"], 1);
    queue.world.ok(&["down"]);
}

/// Submits until it is refused, and says how many were taken.
const FILL: &str = "\
import json, sys, zmq
socket = zmq.Context().socket(zmq.REQ)
socket.rcvtimeo, socket.linger = 30000, 0
socket.connect(sys.argv[1])
taken = 0
while True:
    params = json.dumps({'service': 'mail', 'id': f'{sys.argv[2]}{taken}'}).encode()
    socket.send_multipart([b'ZN1', b'submit', b'', params, b'x' * 50000])
    status = socket.recv_multipart()[1]
    if status != b'200':
        break
    taken += 1
    if taken == 200:
        break
print(status.decode(), taken)
";

/// A queue whose store is on a disk of a few megabytes, in a mount namespace of its own, where this machine
/// lets one have it. What is to happen there before it starts is a line of shell.
fn on_a_small_disk(world: &World, port: u16, (size, first): (&str, &str)) -> Option<Running> {
    let small = world.path("q");
    std::fs::create_dir_all(&small).unwrap();
    drop(life(world, ("q", port), "never:1"));
    let role = world.path("q.json").display().to_string();
    let script = format!(
        "mount -t tmpfs -o size={size} none {0} && {{ {first}; exec {1} __role {2}; }}",
        small.display(),
        crate::support::zmqnet(),
        role
    );
    let mut command = world.command("unshare");
    command.args(["-rm", "sh", "-c", &script]);
    let mut queue = Running::start(&mut command);
    let is_up = wait_for("the queue", || {
        if queue.0.try_wait().unwrap().is_some() {
            return Some(false);
        }
        world.path("q.sock").exists().then_some(true)
    });
    if !is_up {
        let (_, words) = read(&mut queue);
        assert!(
            words.contains("unshare") || words.contains("mount"),
            "{words}"
        );
        return None;
    }
    Some(queue)
}

#[test]
fn a_full_disk_is_said_and_loses_nothing() {
    let world = World::new();
    let port = ports(2);
    let front = format!("tcp://127.0.0.1:{port}");
    let Some(_queue) = on_a_small_disk(&world, port, ("3m", "true")) else {
        return;
    };
    let filled = py(&world, FILL, &[&front, "a"]);
    let (status, taken) = filled.stdout.trim().split_once(' ').unwrap();
    assert_eq!(status, "503", "{}", filled.stderr);
    let taken: u64 = taken.parse().unwrap();
    assert!(taken > 10, "{taken}");
    // Readers go on.
    let listed = world
        .ok(&["queue", "ls", "--endpoint", &front, "-o", "json"])
        .json();
    assert_eq!(
        listed["all"]
            .as_u64()
            .or(listed["tasks"].as_array().map(|it| it.len() as u64)),
        Some(taken),
        "{listed}"
    );
}

/// Asks in no dialect and by Majordomo until the disk is full, has it have space again, and works.
const ASKS: &str = "\
import json, os, sys, threading, time, zmq
front, back, count = sys.argv[1], sys.argv[2], 60
context = zmq.Context()
def dealer(endpoint):
    socket = context.socket(zmq.DEALER)
    socket.linger, socket.rcvtimeo, socket.sndhwm, socket.rcvhwm = 0, 20000, 0, 0
    socket.connect(endpoint)
    return socket
plain, majordomo, looker = dealer(front), dealer(front), dealer(front)
for number in range(count):
    text = b'%d ' % number + b'x' * 50000
    asks = [b'', text] if number % 2 else [b'', b'MDPC01', b'tasks', text]
    (plain if number % 2 else majordomo).send_multipart(asks)
def facts():
    looker.send_multipart([b'ZN1', b'status', b'1'])
    return json.loads(looker.recv_multipart()[3])['facts']
while facts()['fault'] is None:
    time.sleep(0.02)
full = facts()
assert full['accepted'] < count, full
open('free', 'w').close()
def work():
    socket = context.socket(zmq.REP)
    socket.linger = 0
    socket.connect(back)
    while True:
        task = socket.recv()
        socket.send(task.split()[0])
threading.Thread(target=work, daemon=True).start()
got = [plain.recv_multipart()[-1] for _ in range(count // 2)]
got += [majordomo.recv_multipart()[-1] for _ in range(count // 2)]
assert sorted(map(int, got)) == list(range(count)), got
last = facts()
assert last['done'] == last['accepted'] and last['fault'] is None, last
print(full['waiting'] > 0, full['unkept'] > 0, flush=True)
os._exit(0)
";

#[test]
fn who_asks_in_no_dialect_while_the_disk_is_full_is_answered_when_it_has_space() {
    let world = World::new();
    let port = ports(2);
    let ballast = world.path("q/ballast").display().to_string();
    let freed = world.path("free").display().to_string();
    let first = format!(
        "head -c 5000000 /dev/zero > {ballast}; \
         (for n in $(seq 600); do [ -e {freed} ] && break; sleep 0.05; done; rm {ballast}) > /dev/null 2>&1 &"
    );
    // `; ` follows what is first, and nothing may stand before that.
    let first = format!("{{ {first} }}");
    let Some(_queue) = on_a_small_disk(&world, port, ("7m", &first)) else {
        return;
    };
    let at = |port: u16| format!("tcp://127.0.0.1:{port}");
    let ran = py(&world, ASKS, &[&at(port), &at(port + 1)]);
    assert_eq!(ran.stdout, "True True\n", "{}", ran.stderr);
}
