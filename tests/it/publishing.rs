//! A program that publishes behind a gate: it has one connection whoever subscribes, is asked for what
//! any of them wants, and writes each message once; each subscriber is a wire of its own.

use serde_json::{Value, json};

use crate::gate::{Network, sum};
use crate::support::wait_for;

/// Says who comes, who subscribes and who does not any more; publishes `end`, once it is told, behind
/// 1,000 messages of each topic.
const PUBLISHER: &str = r#"
from zmq.utils.monitor import recv_monitor_message
s = ctx.socket(zmq.XPUB); s.sndhwm = 0
monitor = s.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
s.bind(os.environ["ZMQNET_NEWS_ENDPOINT"])
is_done = False
while True:
    if monitor.poll(0):
        event = recv_monitor_message(monitor)["event"]
        say("came" if event == zmq.EVENT_HANDSHAKE_SUCCEEDED else "left")
    if s.poll(20):
        say("heard", s.recv())
    if os.path.exists("begin") and not is_done:
        is_done = True
        for n in range(1000):
            for topic in (b"a", b"b", b"c"):
                s.send_multipart([topic, b"%d" % n, bytes(100)])
        for topic in (b"a", b"b"): s.send_multipart([topic, b"end"])
        say("published")
"#;

/// Subscribes to `a`, the last one to `b`, and counts.
const SUBSCRIBER: &str = r#"
s = sock(zmq.SUB, "NEWS", RCVHWM=0)
own = b"b" if NAME == "sub-3" else b"a"
s.subscribe(own)
n = 0
while (parts := s.recv_multipart())[1] != b"end":
    assert parts[0] == own and int(parts[1]) == n; n += 1
say("counted", n)
while True:
    time.sleep(0.02)
    if os.path.exists("enough"): s.unsubscribe(own)
"#;

fn published(overflow: &str) -> Network {
    Network::up(
        40,
        "  pub: {command: [PYTHON, pub.py]}\n  sub: {command: [PYTHON, sub.py], replicas: 4}",
        &format!(
            "  news: {{pattern: pubsub, from: pub, to: sub, types: {{from: XPUB}}, gate: true{overflow}}}"
        ),
        &[("pub", PUBLISHER), ("sub", SUBSCRIBER)],
    )
}

/// How often an instance has said something.
fn times(net: &Network, instance: &str, what: &str) -> usize {
    net.logs(instance).matches(what).count()
}

/// The connections of the publisher's gate to sockets of a type.
fn conns(net: &Network, socket_type: &str) -> Vec<Value> {
    let args = ["conns", "ls", "-n", "pub-gate", "-o", "json"];
    let told = net.world.ok(&args).json();
    let all = told["instances"][0]["connections"].as_array().unwrap();
    let own = all.iter().filter(|it| it["socket_type"] == socket_type);
    own.cloned().collect()
}

/// Messages that came to the gate from its program.
fn taken(net: &Network) -> u64 {
    let own = conns(net, "XPUB");
    let taken = own.iter().filter_map(|it| it["messages_in"].as_u64());
    taken.sum()
}

fn all_have_subscribed(net: &Network) {
    wait_for("four have subscribed", || {
        let subs = conns(net, "SUB");
        let have = subs.iter().filter(|it| it["subscriptions"] == 1);
        (have.count() == 4).then_some(())
    });
}

#[test]
fn a_program_has_one_connection_and_writes_each_message_once_whoever_subscribes() {
    let net = published("");
    net.says("pub", r"heard b'\x01a'");
    net.says("pub", r"heard b'\x01b'");
    all_have_subscribed(&net);
    net.world.write("begin", "");
    for n in 0..4 {
        net.says(&format!("sub-{n}"), "counted 1000");
        let wire = net.wire("news", "pub", &format!("sub-{n}"));
        assert_eq!(wire["messages"]["out"], 1_001, "{wire}");
        assert_eq!(sum(&wire["dropped"]), 0, "{wire}");
    }
    assert_eq!(times(&net, "pub", "came"), 1, "{}", net.logs("pub"));
    assert_eq!(taken(&net), 2_002, "once for all, and nothing of `c`");
    assert_eq!(
        times(&net, "pub", "x01"),
        2,
        "each topic was asked for once"
    );
    // Only the last who wanted `a` takes it back.
    for sub in ["sub-0", "sub-1"] {
        net.world.ok(&["stop", sub]);
    }
    assert_eq!(times(&net, "pub", r"x00"), 0, "{}", net.logs("pub"));
    net.world.write("enough", "");
    net.says("pub", r"heard b'\x00a'");
    net.says("pub", r"heard b'\x00b'");
    assert_eq!(times(&net, "pub", "left"), 0, "{}", net.logs("pub"));
}

#[test]
fn where_a_subscriber_is_waited_for_each_has_its_own_connection() {
    let net = published(", overflow: block");
    wait_for("four came", || {
        (times(&net, "pub", "came") == 4).then_some(())
    });
    all_have_subscribed(&net);
    net.world.write("begin", "");
    for n in 0..4 {
        net.says(&format!("sub-{n}"), "counted 1000");
    }
    assert_eq!(taken(&net), 4 * 1_001, "once for each");
}

/// Publishes who it is, twenty times a second.
const TICKER: &str = r#"
s = sock(zmq.PUB, "NEWS")
while True:
    s.send_multipart([b"tick", b"%d" % os.getpid()])
    s.send_multipart([b"tock", b"%d" % os.getpid()])
    time.sleep(0.05)
"#;

/// Says each new publisher that it hears, and how often it was connected.
const LISTENER: &str = r#"
from zmq.utils.monitor import recv_monitor_message
s = ctx.socket(zmq.SUB)
monitor = s.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
s.connect(os.environ["ZMQNET_NEWS_ENDPOINT"])
s.subscribe("tick")
last = None
while True:
    if monitor.poll(0):
        recv_monitor_message(monitor); say("connected")
    if s.poll(100):
        topic, now = s.recv_multipart()
        assert topic == b"tick"
        if now != last: say("hears", int(now))
        last = now
"#;

#[test]
fn a_publisher_that_comes_back_has_its_subscribers_and_so_has_its_gate() {
    let net = Network::up(
        20,
        "  pub: {command: [PYTHON, pub.py]}\n  sub: {command: [PYTHON, sub.py], replicas: 2}",
        "  news: {pattern: pubsub, from: pub, to: sub, gate: true, curve: always}",
        &[("pub", TICKER), ("sub", LISTENER)],
    );
    let hears = |publisher: u64| {
        for sub in ["sub-0", "sub-1"] {
            net.says(sub, &format!("hears {publisher}"));
        }
    };
    hears(net.pid("pub"));
    let restarted = |victim: &str| {
        let before = net.pid(victim);
        net.kill(victim);
        wait_for(&format!("{victim} is restarted"), || {
            let now = net.pid(victim);
            (now != before && now != 0).then_some(now)
        })
    };
    hears(restarted("pub"));
    for sub in ["sub-0", "sub-1"] {
        assert_eq!(times(&net, sub, "connected"), 1, "it stays connected");
    }
    // While there is nobody whom they could hear, the wires are down, and it is said why.
    net.world.ok(&["stop", "pub"]);
    let wire = wait_for("the wire is down", || {
        let wire = net.wire("news", "pub", "sub-0");
        (wire["state"] == "down").then_some(wire)
    });
    assert!(wire["reason"].as_str().unwrap().contains("pub"), "{wire}");
    net.world.ok(&["start", "pub"]);
    hears(net.pid("pub"));
    let before = net.logs("sub-1").lines().count();
    restarted("pub-gate");
    wait_for("both connected again", || {
        let subs = ["sub-0", "sub-1"];
        subs.iter()
            .all(|sub| times(&net, sub, "connected") == 2)
            .then_some(())
    });
    net.world.ok(&["restart", "pub"]);
    hears(net.pid("pub"));
    assert!(net.logs("sub-1").lines().count() > before);
    let wire = net.wire("news", "pub", "sub-1");
    assert_eq!(
        (&wire["state"], &wire["mechanism"]),
        (&json!("connected"), &json!("CURVE"))
    );
}

/// Answers what an XSUB sends to the topic that it names.
const ANSWERING: &str = r#"
s = sock(zmq.XPUB, "NEWS")
while True:
    frames = s.recv_multipart()
    if frames[0][:1] in (b"\x00", b"\x01"):
        say("heard", frames); continue
    say("asked", frames)
    s.send_multipart(frames)
"#;

const ASKING: &str = r#"
s = sock(zmq.XSUB, "NEWS", RCVTIMEO=20000)
s.send(b"\x01" + NAME.encode())
while not os.path.exists("begin"): time.sleep(0.02)
for n in range(500):
    s.send_multipart([NAME.encode(), b"%d" % n])
    got = s.recv_multipart()
    assert got == [NAME.encode(), b"%d" % n], got
    time.sleep(0.005)
say("all came back")
time.sleep(1000)
"#;

#[test]
fn an_xsub_is_heard_by_its_xpub_and_tap_shows_each_wire_alone() {
    let net = Network::up(
        20,
        "  pub: {command: [PYTHON, pub.py]}\n  sub: {command: [PYTHON, sub.py], replicas: 2}",
        "  news: {pattern: pubsub, from: pub, to: sub, types: {from: XPUB, to: XSUB}, gate: true}",
        &[("pub", ANSWERING), ("sub", ASKING)],
    );
    net.says("pub", r"heard [b'\x01sub-0']");
    net.says("pub", r"heard [b'\x01sub-1']");
    let args = "tap news --to sub-1 --count 60 --timeout 20s -o json";
    let args: Vec<&str> = args.split(' ').collect();
    let mut looking = crate::support::Running::start(&mut net.world.zmqnet(&args));
    net.world.write("begin", "");
    wait_for("sixty were seen", || looking.0.try_wait().unwrap());
    let mut shown = String::new();
    std::io::Read::read_to_string(looking.0.stdout.as_mut().unwrap(), &mut shown).unwrap();
    let mut ways = [0, 0];
    for line in shown.lines() {
        let message: Value = serde_json::from_str(line).unwrap();
        assert_eq!(
            [&message["from"], &message["to"]],
            ["pub", "sub-1"],
            "{message}"
        );
        assert_eq!(message["frames"][0]["text"], "sub-1", "{message}");
        ways[usize::from(message["direction"] == "back")] += 1;
    }
    assert!(ways[0] > 10 && ways[1] > 10, "{ways:?}");
    for sub in ["sub-0", "sub-1"] {
        net.says(sub, "all came back");
        let wire = net.wire("news", "pub", sub);
        assert_eq!(wire["messages"], json!({"in": 500, "out": 500}), "{wire}");
    }
}
