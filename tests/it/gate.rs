//! Gates: programs of pyzmq behind them talk as they do without, their wires are observed like ours,
//! a stalled subscriber costs only itself, and `tap` shows what passes without changing it.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::{Ran, World, ports, py, python, wait_for};

/// Writes scripts and a manifest whose nodes are `NAME: script`, and applies it.
pub(crate) struct Network {
    pub(crate) world: World,
    pub(crate) file: PathBuf,
}

impl Network {
    #[track_caller]
    pub(crate) fn up(count: u16, nodes: &str, links: &str, scripts: &[(&str, &str)]) -> Self {
        let net = Self::written(count, nodes, links, scripts);
        net.apply();
        net
    }

    pub(crate) fn written(count: u16, nodes: &str, links: &str, scripts: &[(&str, &str)]) -> Self {
        let world = World::new();
        for (name, body) in scripts {
            let text = format!("import os, sys, time, zmq\nctx = zmq.Context()\n{HELP}\n{body}\n");
            world.write(&format!("{name}.py"), &text);
        }
        let first = ports(count);
        let last = first + count - 1;
        let text = format!(
            "zmqnet: 1\nname: gated\ndefaults: {{ports: {first}..{last}, restart: {{when: always, backoff: 50ms..200ms, limit: 50/1m}}}}\nnodes:\n{nodes}\nlinks:\n{links}\n"
        );
        let text = text.replace("PYTHON", &python().display().to_string());
        let file = world.write("net.yaml", &text);
        Self { world, file }
    }

    #[track_caller]
    pub(crate) fn apply(&self) {
        self.world.ok(&["apply", &self.file.display().to_string()]);
    }

    pub(crate) fn logs(&self, instance: &str) -> String {
        self.world.run(&["logs", instance]).stdout
    }

    /// Waits until an instance has said something.
    #[track_caller]
    pub(crate) fn says(&self, instance: &str, line: &str) -> String {
        wait_for(&format!("{instance} says {line:?}"), || {
            let logs = self.logs(instance);
            logs.contains(line).then_some(logs)
        })
    }

    pub(crate) fn status(&self) -> Value {
        self.world.ok(&["status", "--wires", "-o", "json"]).json()
    }

    pub(crate) fn wire(&self, link: &str, from: &str, to: &str) -> Value {
        let status = self.status();
        let wires = status["wires"].as_array().unwrap();
        let is_it =
            |wire: &&Value| wire["link"] == link && wire["from"] == from && wire["to"] == to;
        wires.iter().find(is_it).unwrap().clone()
    }

    pub(crate) fn pid(&self, name: &str) -> u64 {
        let status = self.status();
        let nodes = status["nodes"].as_array().unwrap();
        let node = nodes.iter().find(|node| node["name"] == name).unwrap();
        node["pid"].as_u64().unwrap_or(0)
    }

    pub(crate) fn kill(&self, name: &str) {
        self.signal("-9", name);
    }

    pub(crate) fn signal(&self, signal: &str, name: &str) {
        let pid = self.pid(name).to_string();
        assert!(
            self.world
                .command("kill")
                .args([signal, &pid])
                .status()
                .unwrap()
                .success()
        );
    }
}

/// What the scripts share: sockets by the name of their link, and saying things at once.
const HELP: &str = r#"
def sock(kind, link, **options):
    s = ctx.socket(kind)
    for key, value in options.items():
        s.setsockopt(getattr(zmq, key), value)
    for at in os.environ["ZMQNET_%s_ENDPOINT" % link].split():
        s.bind(at) if os.environ["ZMQNET_%s_MODE" % link] == "bind" else s.connect(at)
    return s
def say(*words):
    print(*words, flush=True)
NAME = os.environ["ZMQNET_NAME"]
"#;

const ECHO: &str = r#"
s = sock(zmq.REP, "ASK")
say("pid", os.getpid())
while True:
    s.send_multipart(s.recv_multipart())
"#;

#[test]
fn requests_of_every_shape_come_back_unchanged() {
    let asker = r#"
s = sock(zmq.REQ, "ASK", RCVTIMEO=20000)
big = os.urandom(1 << 20)
for parts in [[b"x"], [b""], [b"a", b"", b"c"], [b"", b""], [big], [b"head", big, b""], [b"y"] * 60]:
    s.send_multipart(parts)
    assert s.recv_multipart() == parts, len(parts)
for n in range(500):
    s.send(b"%d" % n)
    assert s.recv() == b"%d" % n
say("all came back")
time.sleep(1000)
"#;
    let net = Network::up(
        20,
        "  echo: {command: [PYTHON, echo.py]}\n  asker: {command: [PYTHON, asker.py]}",
        "  ask: {pattern: request, from: asker, to: echo, gate: true}",
        &[("echo", ECHO), ("asker", asker)],
    );
    net.says("asker", "all came back");
    let wire = net.wire("ask", "asker", "echo");
    assert_eq!(wire["state"], "connected", "{wire}");
    assert_eq!(wire["messages"], json!({"in": 507, "out": 507}), "{wire}");
    assert!(wire["bytes"]["in"].as_u64() > Some(2 << 20), "{wire}");
    assert_eq!(wire["queued"], 0);
    assert!(
        wire["dropped"]
            .as_object()
            .unwrap()
            .values()
            .all(|n| n == 0),
        "{wire}"
    );
    let why = net.world.ok(&["why", "ask"]).stdout;
    assert!(why.contains("connected"), "{why}");
}

#[test]
fn a_link_may_be_called_as_the_gates_own_socket_is() {
    let asker = r#"
s = sock(zmq.REQ, "HEALTH", RCVTIMEO=20000)
s.send(b"well?")
say("got", s.recv())
time.sleep(1000)
"#;
    let net = Network::up(
        20,
        "  echo: {command: [PYTHON, echo.py]}\n  asker: {command: [PYTHON, asker.py]}",
        "  health: {pattern: request, from: asker, to: echo, gate: true}",
        &[("echo", &ECHO.replace("ASK", "HEALTH")), ("asker", asker)],
    );
    net.says("asker", "got b'well?'");
    let status = net.status();
    for node in status["nodes"].as_array().unwrap() {
        assert_eq!(node["restarts"], 0, "{node}");
    }
}

#[test]
fn a_router_tells_its_clients_apart_by_the_identities_they_chose() {
    let router = r#"
s = sock(zmq.ROUTER, "ASK")
seen = {}
while True:
    frames = s.recv_multipart()
    s.send_multipart([frames[0], b"to " + frames[0]] + frames[1:])
"#;
    let dealer = r#"
s = sock(zmq.DEALER, "ASK", IDENTITY=NAME.encode(), RCVTIMEO=20000)
for n in range(300):
    s.send_multipart([b"%d" % n, b"", b"z"])
for n in range(300):
    got = s.recv_multipart()
    assert got == [b"to " + NAME.encode(), b"%d" % n, b"", b"z"], got
say("300 in order")
time.sleep(1000)
"#;
    let net = Network::up(
        40,
        "  router: {command: [PYTHON, router.py]}\n  dealer: {command: [PYTHON, dealer.py], replicas: 4}",
        "  ask: {pattern: request, from: dealer, to: router, types: {from: DEALER, to: ROUTER}, gate: true}",
        &[("router", router), ("dealer", dealer)],
    );
    for n in 0..4 {
        net.says(&format!("dealer-{n}"), "300 in order");
        let wire = net.wire("ask", &format!("dealer-{n}"), "router");
        assert_eq!(wire["messages"], json!({"in": 300, "out": 300}), "{wire}");
    }
}

#[test]
fn work_is_handed_out_and_collected_and_none_is_lost() {
    let source = r#"
s = sock(zmq.PUSH, "WORK", IMMEDIATE=1, SNDTIMEO=20000)
time.sleep(0.5)
for n in range(3000):
    s.send_multipart([b"%d" % n, bytes(500)])
s.close(); ctx.term()
say("sent")
time.sleep(1000)
"#;
    let worker = r#"
a = sock(zmq.PULL, "WORK")
b = sock(zmq.PUSH, "DONE")
last = -1
while True:
    n, _ = a.recv_multipart()
    assert int(n) > last
    last = int(n)
    b.send_multipart([NAME.encode(), n])
"#;
    let sink = r#"
s = sock(zmq.PULL, "DONE", RCVTIMEO=20000)
got, names = [], set()
while len(got) < 3000:
    name, n = s.recv_multipart()
    got.append(int(n)); names.add(name)
say("unique", len(set(got)), "by", len(names))
time.sleep(1000)
"#;
    let net = Network::up(
        40,
        "  source: {command: [PYTHON, source.py]}\n  worker: {command: [PYTHON, worker.py], replicas: 3}\n  sink: {command: [PYTHON, sink.py]}",
        "  work: {pattern: pipeline, from: source, to: worker, gate: true}\n  done: {pattern: pipeline, from: worker, to: sink, gate: true, transport: ipc}",
        &[("source", source), ("worker", worker), ("sink", sink)],
    );
    net.says("sink", "unique 3000 by 3");
}

#[test]
fn subscribers_get_their_topics_late_ones_too_and_through_xpub_and_xsub() {
    let publisher = r#"
s = sock(zmq.XPUB, "NEWS", XPUB_VERBOSE=1)
n = 0
while True:
    while s.poll(0):
        say("subscribed", s.recv())
    for topic in (b"a.", b"b.", b"c."):
        s.send_multipart([topic + b"%d" % n, b"", b"tail"])
    n += 1
    time.sleep(0.01)
"#;
    let subscriber = r#"
s = sock(zmq.XSUB if NAME == "sub-1" else zmq.SUB, "NEWS", RCVTIMEO=20000)
topics = os.environ["ZMQNET_NEWS_TOPICS"].split()
for topic in topics:
    s.send(b"\x01" + topic.encode()) if NAME == "sub-1" else s.subscribe(topic)
last = -1
for _ in range(50):
    head, empty, tail = s.recv_multipart()
    assert empty == b"" and tail == b"tail" and head.startswith(b"b."), head
    assert last < 0 or int(head[2:]) == last + 1, (head, last)
    last = int(head[2:])
if NAME == "sub-0":
    s.unsubscribe("b."); s.subscribe("c."); time.sleep(0.3)
    while s.poll(0): s.recv_multipart()
    assert s.recv_multipart()[0].startswith(b"c.")
say("50 in order")
time.sleep(1000)
"#;
    let net = Network::up(
        40,
        "  pub: {command: [PYTHON, pub.py]}\n  sub: {command: [PYTHON, sub.py], replicas: 3, late: {delay: 1s, fraction: 30%}}",
        "  news: {pattern: pubsub, from: pub, to: sub, topics: [b.], types: {from: XPUB}, gate: true}",
        &[("pub", publisher), ("sub", subscriber)],
    );
    for n in 0..3 {
        net.says(&format!("sub-{n}"), "50 in order");
    }
    net.says("pub", r"subscribed b'\x01c.'");
}

/// Asks for ever, with a fresh socket after a question that was not answered in a second.
const ASKER: &str = r#"
n = 0
while True:
    s = sock(zmq.REQ, "ASK", RCVTIMEO=1000, LINGER=0)
    try:
        while True:
            s.send(b"secret-%d" % n); assert s.recv() == b"secret-%d" % n
            n += 1; say("asked", n); time.sleep(0.02)
    except zmq.Again:
        say("missed")
    s.close()
"#;

#[test]
fn programs_and_gates_come_back_by_themselves() {
    let net = Network::up(
        20,
        "  echo: {command: [PYTHON, echo.py]}\n  asker: {command: [PYTHON, asker.py]}",
        "  ask: {pattern: request, from: asker, to: echo, gate: true}",
        &[("echo", ECHO), ("asker", ASKER)],
    );
    let last = || {
        let logs = net.logs("asker");
        let asked = logs.lines().rfind(|line| line.contains("asked"));
        asked.map(str::to_owned)
    };
    let goes_on = |after: &str| {
        for _ in 0..5 {
            let before = last();
            wait_for(after, || (last() != before).then_some(()));
        }
    };
    goes_on("it begins");
    for victim in ["echo-gate", "asker-gate", "echo", "asker"] {
        let pid = net.pid(victim);
        net.kill(victim);
        wait_for(&format!("{victim} is restarted"), || {
            let now = net.pid(victim);
            (now != pid && now != 0).then_some(())
        });
        goes_on(&format!("after the death of {victim}"));
        let wire = wait_for("the wire is there", || {
            let wire = net.wire("ask", "asker", "echo");
            (wire["state"] == "connected").then_some(wire)
        });
        assert_eq!(wire["reason"], Value::Null, "{wire}");
    }
    net.world.ok(&["stop", "echo"]);
    let wire = net.wire("ask", "asker", "echo");
    assert_eq!(wire["state"], "down", "{wire}");
    assert!(wire["reason"].as_str().unwrap().contains("echo"), "{wire}");
    let why = net.world.run(&["why", "ask"]);
    assert!(why.stdout.contains("echo"), "{}", why.stdout);
    net.world.ok(&["start", "echo"]);
    goes_on("after echo was started by hand");
}

#[test]
fn a_program_with_immediate_has_no_peer_until_the_other_side_is_there() {
    let source = r#"
s = sock(zmq.PUSH, "WORK", IMMEDIATE=1, SNDTIMEO=300)
try:
    s.send(b"early"); say("sent early")
except zmq.Again:
    say("nobody is there")
s.setsockopt(zmq.SNDTIMEO, 20000)
s.send(b"late"); say("sent late")
time.sleep(1000)
"#;
    let sink = r#"
s = sock(zmq.PULL, "WORK", RCVTIMEO=20000)
say("got", s.recv())
time.sleep(1000)
"#;
    let net = Network::up(
        20,
        "  source: {command: [PYTHON, source.py]}\n  sink: {command: [PYTHON, sink.py], run: manual}",
        "  work: {pattern: pipeline, from: source, to: sink, gate: true}",
        &[("source", source), ("sink", sink)],
    );
    net.says("source", "nobody is there");
    let wire = net.wire("work", "source", "sink");
    assert_eq!(wire["state"], "down", "{wire}");
    net.world.ok(&["start", "sink"]);
    net.says("sink", "got b'late'");
}

/// A publisher that hands over every message, a subscriber that counts, and one that does not read
/// until it is told.
fn stalled(overflow: &str) -> Network {
    let publisher = r#"
s = sock(zmq.XPUB, "NEWS", SNDHWM=0, XPUB_NODROP=1, XPUB_VERBOSE=1)
subscribed = 0
while subscribed < 2:
    s.recv(); subscribed += 1
say("subscribed")
while not os.path.exists("begin"): time.sleep(0.01)
body = bytes(1000)
def read():
    return os.path.getsize("read") if os.path.exists("read") else 0
for n in range(20000):
    s.send_multipart([b"%08d" % n, body])
    if n == 10000: say("half")
    # Never further ahead of who reads than what may wait for it, however slow the machine is.
    while n > 100 * read() + 500: time.sleep(0.0005)
say("published")
time.sleep(1000)
"#;
    let subscriber = r#"
s = sock(zmq.SUB, "NEWS", **(dict(RCVHWM=1, RCVBUF=4096) if NAME == "sub-1" else {}))
s.subscribe("")
if NAME == "sub-1":
    while not os.path.exists("go"): time.sleep(0.05)
count, last = 0, -1
while s.poll(2000 if os.path.exists("go") else -1):
    n = int(s.recv_multipart()[0])
    assert n > last; last = n; count += 1
    if NAME == "sub-0" and count % 100 == 0:
        with open("read", "a") as f: f.write(".")
    if NAME == "sub-0" and count == 20000: break
say("counted", count, "last", last)
time.sleep(1000)
"#;
    Network::up(
        40,
        "  pub: {command: [PYTHON, pub.py], limits: {peer_bytes: 1MiB}}\n  sub: {command: [PYTHON, sub.py], replicas: 2, limits: {peer_bytes: 1MiB}}",
        &format!("  news: {{pattern: pubsub, from: pub, to: sub, gate: true{overflow}}}"),
        &[("pub", publisher), ("sub", subscriber)],
    )
}

fn counted(said: &str) -> u64 {
    let rest = said.split("counted ").nth(1).unwrap();
    rest.split_whitespace().next().unwrap().parse().unwrap()
}

pub(crate) fn sum(dropped: &Value) -> u64 {
    dropped
        .as_object()
        .unwrap()
        .values()
        .filter_map(Value::as_u64)
        .sum()
}

#[test]
fn a_subscriber_that_does_not_read_costs_itself_alone_and_its_drops_are_exact() {
    let net = stalled("");
    net.says("pub", "subscribed");
    // While its gate sleeps the publisher's gate drops, afterwards its own does.
    net.signal("-STOP", "sub-1-gate");
    net.world.write("begin", "");
    net.says("pub", "half");
    net.signal("-CONT", "sub-1-gate");
    net.says("pub", "published");
    net.says("sub-0", "counted 20000 last 19999");
    // Everything that was published for it was either dropped and counted, or waits.
    let stalled = wait_for("drops are counted", || {
        let wire = net.wire("news", "pub", "sub-1");
        (sum(&wire["dropped"]) > 10_000).then_some(wire)
    });
    assert!(
        stalled["queued"].as_u64() <= Some(2 * ((1 << 20) + (256 << 10))),
        "{stalled}"
    );
    let healthy = net.wire("news", "pub", "sub-0");
    assert_eq!(sum(&healthy["dropped"]), 0, "{healthy}");
    net.world.write("go", "");
    let said = net.says("sub-1", "counted");
    let count = counted(&said);
    let wire = net.wire("news", "pub", "sub-1");
    assert_eq!(count + sum(&wire["dropped"]), 20_000, "{wire}");
    // And stays so when it has left.
    net.world.ok(&["stop", "sub-1"]);
    let wire = net.wire("news", "pub", "sub-1");
    assert_eq!(count + sum(&wire["dropped"]), 20_000, "{wire}");
}

#[test]
fn drop_oldest_keeps_the_end_of_the_story() {
    let net = stalled(", overflow: drop-oldest");
    net.world.write("begin", "");
    net.says("pub", "published");
    net.says("sub-0", "counted 20000 last 19999");
    net.world.write("go", "");
    let said = net.says("sub-1", "last 19999");
    let count = counted(&said);
    let wire = net.wire("news", "pub", "sub-1");
    assert_eq!(count + sum(&wire["dropped"]), 20_000, "{wire}");
    assert!(wire["dropped"]["oldest"].as_u64() > Some(1_000), "{wire}");
}

#[test]
fn a_gate_that_comes_restarts_its_programs_and_nobody_else() {
    let idle = "time.sleep(1000)";
    let net = Network::written(
        40,
        "  echo: {command: [PYTHON, echo.py]}\n  asker: {command: [PYTHON, idle.py]}\n  other: {command: [PYTHON, idle.py]}\n  friend: {command: [PYTHON, idle.py]}",
        "  ask: {pattern: request, from: asker, to: echo}\n  chat: {pattern: request, from: friend, to: other}",
        &[("echo", ECHO), ("idle", idle)],
    );
    net.apply();
    let pids = |net: &Network| ["echo", "asker", "other", "friend"].map(|name| net.pid(name));
    let endpoint = |net: &Network| net.wire("ask", "asker", "echo")["endpoint"].clone();
    let (before, at) = (pids(&net), endpoint(&net));
    let text = std::fs::read_to_string(&net.file).unwrap();
    std::fs::write(
        &net.file,
        text.replace("to: echo}", "to: echo, gate: true}"),
    )
    .unwrap();
    net.apply();
    let after = pids(&net);
    assert!(
        after[0] != before[0] && after[1] != before[1],
        "{before:?} {after:?}"
    );
    assert_eq!(after[2..], before[2..], "who is not on the link goes on");
    assert_eq!(endpoint(&net), at, "others dial where they dialled before");
    assert!(net.pid("echo-gate") != 0 && net.pid("asker-gate") != 0);
    net.world.ok(&[
        "plan",
        "--detailed-exitcode",
        &net.file.display().to_string(),
    ]);
    std::fs::write(&net.file, text).unwrap();
    net.apply();
    assert_eq!(endpoint(&net), at);
    assert_eq!(pids(&net)[2..], before[2..]);
    net.world.ok(&["down"]);
}

#[test]
fn a_name_that_a_gate_needs_is_a_clash() {
    let world = World::new();
    let file = world.write(
        "net.yaml",
        "zmqnet: 1\nnodes:\n  a: {command: [sleep, '9']}\n  b: {command: [sleep, '9']}\n  b-gate: {command: [sleep, '9']}\nlinks:\n  ask: {pattern: request, from: a, to: b, gate: true}\n",
    );
    let Ran {
        code,
        stderr,
        stdout,
    } = world.run(&["check", &file.display().to_string()]);
    assert_eq!(code, 65, "{stdout}{stderr}");
    assert!(
        format!("{stdout}{stderr}").contains("b-gate"),
        "{stdout}{stderr}"
    );
}

#[test]
fn behind_gates_plain_programs_talk_under_curve_and_a_revoked_key_is_out() {
    let net = Network::up(
        20,
        "  echo: {command: [PYTHON, echo.py]}\n  asker: {command: [PYTHON, asker.py], replicas: 2}",
        "  ask: {pattern: request, from: asker, to: echo, gate: true, curve: always}",
        &[("echo", ECHO), ("asker", ASKER)],
    );
    net.says("asker-0", "asked 20");
    net.says("asker-1", "asked 20");
    let wire = net.wire("ask", "asker-1", "echo");
    assert_eq!(
        (&wire["state"], &wire["mechanism"]),
        (&json!("connected"), &json!("CURVE"))
    );
    // The programs were given no keys: the gates have theirs.
    let env = net
        .world
        .ok(&["env", "asker-0", "-f", &net.file.display().to_string()])
        .stdout;
    assert!(!env.contains("ZMQNET_KEYS"), "{env}");
    assert!(net.world.path("keys/asker-0.key_secret").exists());
    assert!(!net.world.path("keys/asker-0-gate.key_secret").exists());
    // A stranger in clear text gets no answer.
    let at = wire["endpoint"].as_str().unwrap();
    let stranger = "import sys, zmq\ns = zmq.Context().socket(zmq.REQ)\ns.connect(sys.argv[1])\ns.send(b'x')\nprint(s.poll(1000))\ns.close(0)";
    assert_eq!(py(&net.world, stranger, &[at]).stdout, "0\n");
    // Rotation loses no connection, revocation ends one and no other.
    net.world.ok(&["keys", "rotate", "asker-0"]);
    net.world.ok(&["keys", "revoke", "asker-1"]);
    net.says("asker-1", "missed");
    let wire = wait_for("the revoked one is out", || {
        let wire = net.wire("ask", "asker-1", "echo");
        (wire["state"] == "down").then_some(wire)
    });
    let reason = wire["reason"].as_str().unwrap();
    assert!(
        reason.contains("revoked") || reason.contains("key"),
        "{reason}"
    );
    assert!(!net.logs("asker-0").contains("missed"));
    assert_eq!(net.wire("ask", "asker-0", "echo")["state"], "connected");
}

const TAPPED_PUB: &str = r#"
s = sock(zmq.XPUB, "NEWS", SNDHWM=0)
s.recv()
n = 0
while not os.path.exists("end"):
    s.send_multipart([b"a.%d" % n if n % 2 else b"b.%d" % n, b"\xff%d" % n, bytes(200)])
    n += 1
    if n % 20 == 0: time.sleep(0.002)
say("published", n)
s.send_multipart([b"end"])
time.sleep(1000)
"#;

const TAPPED_SUB: &str = r#"
s = sock(zmq.SUB, "NEWS", RCVHWM=0)
s.subscribe("")
n = 0
while (parts := s.recv_multipart()) != [b"end"]:
    assert int(parts[0][2:]) == n; n += 1
say("received", n)
time.sleep(1000)
"#;

fn are_twenty_of_topic_a(messages: &[Value]) {
    assert_eq!(messages.len(), 20);
    for message in messages {
        assert_eq!(
            [
                &message["link"],
                &message["from"],
                &message["to"],
                &message["direction"]
            ],
            ["news", "pub", "sub", "forward"]
        );
        let frames = message["frames"].as_array().unwrap();
        assert!(
            frames[0]["text"].as_str().unwrap().starts_with("a."),
            "{message}"
        );
        assert!(frames[1]["base64"].is_string(), "{message}");
        assert_eq!(frames[2]["bytes"], 200);
    }
}

/// In order, while it was looked at.
fn all_was_delivered(net: &Network) {
    net.world.write("end", "");
    let published = net.says("pub", "published");
    let published: u64 = published
        .split("published ")
        .nth(1)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    net.says("sub", &format!("received {published}"));
    let wire = net.wire("news", "pub", "sub");
    assert_eq!(sum(&wire["dropped"]), 0, "{wire}");
}

/// What could never show anything is refused.
fn names_nobody(net: &Network) {
    let nobody = net.world.run(&["tap", "news", "--to", "nobody"]);
    assert_eq!(nobody.code, 64, "{}", nobody.stderr);
    let help = "on it are: pub, sub";
    assert!(nobody.stderr.contains(help), "{}", nobody.stderr);
    let none = net.world.run(&["tap", "news", "--count", "0"]);
    assert_eq!(none.code, 64, "{}", none.stderr);
}

#[test]
fn tap_shows_what_passes_and_changes_nothing() {
    let net = Network::up(
        20,
        "  pub: {command: [PYTHON, pub.py]}\n  sub: {command: [PYTHON, sub.py]}",
        "  news: {pattern: pubsub, from: pub, to: sub, gate: true}",
        &[("pub", TAPPED_PUB), ("sub", TAPPED_SUB)],
    );
    let tap = |args: &[&str]| {
        let mut all = vec!["tap", "news"];
        all.extend(args);
        net.world.run(&all)
    };
    let few = tap(&[
        "--topic",
        "a.",
        "--count",
        "20",
        "--timeout",
        "20s",
        "-o",
        "json",
    ]);
    assert_eq!(few.code, 0, "{}", few.stderr);
    let messages: Vec<Value> = few
        .stdout
        .lines()
        .map(|it| serde_json::from_str(it).unwrap())
        .collect();
    are_twenty_of_topic_a(&messages);
    assert!(few.stderr.contains("20 shown"), "{}", few.stderr);
    let matching = tap(&[
        "--regex",
        "^b.[0-9]*7?8$",
        "--rate",
        "5/s",
        "--timeout",
        "2s",
    ]);
    assert_eq!(matching.code, 0);
    assert!(matching.stdout.lines().count() <= 15, "{}", matching.stdout);
    assert!(
        matching.stderr.contains("over the rate"),
        "{}",
        matching.stderr
    );
    assert!(
        matching
            .stdout
            .lines()
            .all(|line| line.contains("pub > sub \"b."))
    );
    let none = tap(&["--from", "sub", "--count", "1", "--timeout", "300ms"]);
    assert_eq!(
        (none.code, none.stdout.as_str()),
        (1, ""),
        "fewer than asked for"
    );
    names_nobody(&net);
    let wrong = tap(&["--regex", "("]);
    assert_eq!(wrong.code, 64);
    let nowhere = World::new().run(&["tap", "news", "--regex", "("]);
    assert_eq!(nowhere.code, 64, "{}", nowhere.stderr);
    assert!(
        wrong.stderr.contains("regular expression"),
        "{}",
        wrong.stderr
    );
    all_was_delivered(&net);
}

#[test]
fn a_link_that_nobody_sees_says_what_to_write() {
    let net = Network::up(
        20,
        "  echo: {command: [PYTHON, echo.py]}\n  asker: {command: [PYTHON, idle.py]}",
        "  ask: {pattern: request, from: asker, to: echo}",
        &[("echo", ECHO), ("idle", "time.sleep(1000)")],
    );
    let ran = net.world.run(&["tap", "ask"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("`gate: true`"), "{}", ran.stderr);
    let ran = net.world.run(&["tap", "asc"]);
    assert_eq!(ran.code, 64);
    assert!(ran.stderr.contains("ask"), "{}", ran.stderr);
}

#[test]
fn tap_shows_the_bounces_of_a_mesh() {
    let world = World::new();
    let first = ports(20);
    let last = first + 19;
    let file = world.write(
        "net.yaml",
        &format!("zmqnet: 1\nname: meshed\ndefaults: {{ports: {first}..{last}}}\nnodes:\n  quorum: {{kind: replica, replicas: [alpha, bravo, charlie]}}\nlinks:\n  votes: {{pattern: mesh, among: quorum}}\n"),
    );
    world.ok(&["apply", &file.display().to_string()]);
    let args = [
        "tap",
        "votes",
        "--from",
        "bravo",
        "--regex",
        "tapped",
        "--count",
        "2",
        "--timeout",
        "20s",
        "-o",
        "json",
    ];
    let looking = crate::support::Running::start(&mut world.zmqnet(&args));
    let mut looking = looking;
    // Sent until somebody has looked: it takes a moment to begin.
    wait_for("two bounces are shown", || {
        world.ok(&["send", "-n", "bravo", "tapped"]);
        looking.0.try_wait().unwrap()
    });
    let mut shown = String::new();
    std::io::Read::read_to_string(looking.0.stdout.as_mut().unwrap(), &mut shown).unwrap();
    for line in shown.lines() {
        let message: Value = serde_json::from_str(line).unwrap();
        assert_eq!(
            [&message["link"], &message["from"]],
            ["votes", "bravo"],
            "{message}"
        );
        assert_ne!(message["to"], "bravo");
    }
    assert_eq!(shown.lines().count(), 2, "{shown}");
}
