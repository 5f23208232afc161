//! Who is alive, who is stalled and who is gone: peers that beat, peers that are stopped, peers that
//! never read, and a host that vanishes behind a cable that is pulled.

use std::fs;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout};

use zmqnet::model::endpoint::Endpoint;
use zmqnet::model::limits::WireLimits;
use zmqnet::model::socket::SocketType;

use zmqnet::wire::hub::{CloseReason, ConnId, ConnectionFacts, Hub, HubEvent, Security, SendError};

use crate::attack::fort::Fort;
use crate::attack::target::{
    GATE, GATE_FROM_INSIDE, GATE_OF_A_PUBLISHER, GATE_UNDER_CURVE, REPLICA, REPLICA_UNDER_CURVE,
};
use crate::support::{DEADLINE, Running, World, ports, py, python};

/// How soon a vanished host must be noticed: three seconds, and what a busy machine adds.
const NOTICED: Duration = Duration::from_millis(3_000 + 1_000);

/// A DEALER that says its name, prints that it is up, and then reads nothing.
const DEALER: &str = r#"
import sys, time, zmq
s = zmq.Context.instance().socket(zmq.DEALER)
s.connect(sys.argv[1])
s.send(b"here")
s.recv()
print("up", flush=True)
time.sleep(600)
"#;

/// Peers that beat fast, slowly and not at all at a listener for a while: each is served now and then, and
/// shakes hands once.
const BEATING: &str = r#"
import sys, time, zmq, zmq.auth
endpoint, seconds, kind = sys.argv[1], float(sys.argv[2]), sys.argv[3]
ctx = zmq.Context.instance()
sockets = []
kinds = (zmq.SUB,) if kind == "SUB" else (zmq.REQ, zmq.DEALER)
for kind, interval in [(kind, interval) for kind in kinds for interval in (100, 900, 0)]:
    s = ctx.socket(kind)
    s.linger, s.rcvtimeo = 0, 20_000
    if interval:
        s.heartbeat_ivl, s.heartbeat_timeout, s.heartbeat_ttl = interval, max(1000, 3 * interval), 3000
    if sys.argv[4:]:
        s.curve_serverkey, _ = zmq.auth.load_certificate(sys.argv[4])
        s.curve_publickey, s.curve_secretkey = zmq.auth.load_certificate(sys.argv[5])
    if kind == zmq.SUB:
        s.subscribe(b"")
    m = s.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
    s.connect(endpoint)
    sockets.append((s, m))
end, asked = time.monotonic() + seconds, 0
while time.monotonic() < end:
    for s, _ in sockets:
        if s.type != zmq.SUB:
            s.send_multipart([b"ZN1", b"ping", b"%d" % asked, b"{}"])
        reply = s.recv_multipart()
        assert s.type == zmq.SUB or reply[:2] == [b"ZN1", b"200"], reply
        while s.type == zmq.SUB and s.poll(0):
            s.recv_multipart()  # libzmq reads no PONG while its own queue is full
        asked += 1
    time.sleep(seconds / 5)
for s, m in sockets:
    events = 0
    while m.poll(0):
        m.recv_multipart()
        events += 1
    assert events == 1, events
print("kept", asked)
"#;

/// Every kind of listener of ours, all at once.
fn beats(seconds: &str) {
    let targets = [
        &REPLICA,
        &REPLICA_UNDER_CURVE,
        &GATE,
        &GATE_UNDER_CURVE,
        &GATE_OF_A_PUBLISHER,
        &GATE_FROM_INSIDE,
    ];
    std::thread::scope(|scope| {
        for target in targets {
            scope.spawn(move || {
                let fort = Fort::of(target);
                let at = format!("tcp://127.0.0.1:{}", fort.port);
                let mut args = vec![at, seconds.to_owned(), target.kind.to_owned()];
                args.extend(fort.keys());
                let args: Vec<&str> = args.iter().map(String::as_str).collect();
                let ran = py(&fort.world, BEATING, &args);
                assert!(
                    ran.stdout.starts_with("kept"),
                    "{}: {}",
                    target.manifest,
                    ran.stderr
                );
                fort.stands("heartbeats");
                fort.end();
            });
        }
    });
}

#[test]
fn peers_that_beat_are_served_without_a_reconnect() {
    beats("2");
}

#[test]
#[ignore = "it takes half a minute; the short one runs always"]
fn peers_that_beat_for_thirty_seconds_are_served_without_a_reconnect() {
    beats("30");
}

fn listener(endpoint: &Endpoint) -> Hub {
    let mut hub = Hub::new(WireLimits::default(), "ZN1:test");
    hub.listen("main", endpoint, SocketType::Router, Security::Open)
        .unwrap();
    hub
}

/// Waits for an event of the kind that is looked for.
async fn until<T>(hub: &mut Hub, mut look: impl FnMut(HubEvent) -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = look(hub.next().await) {
                return found;
            }
        }
    };
    timeout(DEADLINE, looking).await.expect("the event in time")
}

async fn message(hub: &mut Hub) -> ConnId {
    until(hub, |event| match event {
        HubEvent::Message { conn, .. } => Some(conn),
        _ => None,
    })
    .await
}

/// Lets the hub run, and fails if a connection ends.
async fn run(hub: &mut Hub, time: Duration) {
    let running = async {
        loop {
            let event = hub.next().await;
            assert!(!matches!(event, HubEvent::Closed { .. }), "{event:?}");
        }
    };
    assert!(timeout(time, running).await.is_err());
}

fn facts(hub: &Hub, conn: ConnId) -> ConnectionFacts {
    let facts = hub.connections();
    facts.into_iter().find(|it| it.conn == conn).unwrap()
}

fn up(running: &mut Running) {
    let mut line = [0; 3];
    let out = running.0.stdout.as_mut().unwrap();
    out.read_exact(&mut line).unwrap();
    assert_eq!(&line, b"up\n");
}

fn signal(running: &Running, name: &str) {
    let status = Command::new("kill")
        .args([name, &running.0.id().to_string()])
        .status();
    assert!(status.unwrap().success());
}

#[tokio::test]
async fn a_stopped_peer_is_stalled_and_not_dead() {
    let at = Endpoint::tcp("127.0.0.1", ports(1));
    let mut hub = listener(&at);
    let world = World::new();
    let mut command = world.command(python());
    command.args(["-c", DEALER, &at.to_string()]);
    let mut peer = Running::start(&mut command);
    let conn = message(&mut hub).await;
    hub.send(conn, vec!["hello".into()]).unwrap();
    up(&mut peer);
    // It beats back while it sleeps, since its library does.
    run(&mut hub, Duration::from_secs(3)).await;
    assert!(facts(&hub, conn).stalled_ms < 1_000);
    signal(&peer, "-STOP");
    run(&mut hub, Duration::from_secs(6)).await;
    let stalled_ms = facts(&hub, conn).stalled_ms;
    assert!(stalled_ms >= 3_000, "{stalled_ms} ms");
    signal(&peer, "-CONT");
    run(&mut hub, Duration::from_secs(2)).await;
    assert!(facts(&hub, conn).stalled_ms < 1_000);
}

#[tokio::test]
async fn a_peer_that_never_reads_is_stalled_and_not_dead() {
    let at = Endpoint::tcp("127.0.0.1", ports(1));
    let mut hub = listener(&at);
    let world = World::new();
    let mut command = world.command(python());
    command.args(["-c", DEALER, &at.to_string()]);
    let mut peer = Running::start(&mut command);
    let conn = message(&mut hub).await;
    hub.send(conn, vec!["hello".into()]).unwrap();
    up(&mut peer);
    signal(&peer, "-STOP");
    let mut full = 0;
    for size in [1_000, 100_000] {
        // Small ones fill its kernel's memory faster than its window, large ones the window.
        let body = Bytes::from(vec![7; size]);
        while full < 10 {
            match hub.send(conn, vec![body.clone()]) {
                Ok(()) => {}
                Err(SendError::Full) => full += 1,
                Err(SendError::Closed) => panic!("it is closed"),
            }
        }
        run(&mut hub, Duration::from_secs(4)).await;
    }
    assert_eq!(facts(&hub, conn).dropped.full, 10);
    assert!(facts(&hub, conn).stalled_ms >= 3_000);
}

/// Two network namespaces and a cable between them, gone with the test.
struct Cable {
    name: String,
}

impl Cable {
    const OURS: &str = "10.213.7.1";
    const THEIRS: &str = "10.213.7.2";

    /// A cable, where this process may lay one.
    fn lay(name: &str) -> Option<Self> {
        let cable = Self {
            name: format!("zn{}{name}", std::process::id()),
        };
        let [a, b] = cable.spaces();
        let (va, vb) = (format!("{a}v"), format!("{b}v"));
        let laid = [
            format!("netns add {a}"),
            format!("netns add {b}"),
            format!("link add {va} netns {a} type veth peer name {vb} netns {b}"),
            format!("-n {a} addr add {}/30 dev {va}", Self::OURS),
            format!("-n {b} addr add {}/30 dev {vb}", Self::THEIRS),
            format!("-n {a} link set {va} up"),
            format!("-n {b} link set {vb} up"),
            format!("-n {a} link set lo up"),
        ];
        laid.iter().all(|line| ip(line)).then_some(cable)
    }

    fn spaces(&self) -> [String; 2] {
        [format!("{}a", self.name), format!("{}b", self.name)]
    }

    /// Pulls the cable at the other end, or plugs it in.
    fn pull(&self, is_out: bool) {
        let [_, b] = self.spaces();
        let state = if is_out { "down" } else { "up" };
        assert!(ip(&format!("-n {b} link set {b}v {state}")));
    }

    /// Moves this thread to our end.
    fn enter(&self) {
        let [a, _] = self.spaces();
        let space = fs::File::open(format!("/run/netns/{a}")).unwrap();
        let kind = rustix::thread::LinkNameSpaceType::Network;
        rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&space), Some(kind))
            .unwrap();
    }

    /// A command at the other end.
    fn there(&self, world: &World) -> Command {
        let [_, b] = self.spaces();
        let mut command = world.command("ip");
        command.args(["netns", "exec", &b]).arg(python());
        command
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        for space in self.spaces() {
            ip(&format!("netns del {space}"));
        }
    }
}

fn ip(line: &str) -> bool {
    let ran = Command::new("ip")
        .args(line.split(' '))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    ran.is_ok_and(|status| status.success())
}

/// Runs a test at our end of a cable; says so and does nothing where no cable can be laid.
fn at_the_cable(name: &str, test: impl AsyncFnOnce(&Cable)) {
    let Some(cable) = Cable::lay(name) else {
        return skipped(name);
    };
    // A namespace belongs to a thread, and each test has its own.
    cable.enter();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(test(&cable));
}

#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn skipped(name: &str) {
    eprintln!("SKIPPED {name}: a vanished host takes network namespaces, so root and `ip`");
}

/// A raw peer of ZMTP 3.0, which is never asked.
const OLD: &str = r#"
import socket, sys, time
host, port = sys.argv[1].removeprefix("tcp://").split(":")
s = socket.create_connection((host, int(port)))
s.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(48))
s.sendall(b"\x04\x1c\x05READY\x0bSocket-Type\0\0\0\x06DEALER"[:30])
s.sendall(b"\0\x04here")
print("up", flush=True)
while s.recv(65536): pass
"#;

async fn vanishes(cable: &Cable, script: &str, is_sent_to: bool) {
    let at = Endpoint::tcp(Cable::OURS, ports(1));
    let mut hub = listener(&at);
    let world = World::new();
    let mut peer = Running::start(cable.there(&world).args(["-c", script, &at.to_string()]));
    let conn = message(&mut hub).await;
    hub.send(conn, vec!["hello".into()]).unwrap();
    up(&mut peer);
    let old = script == OLD;
    assert_eq!(facts(&hub, conn).zmtp_minor, Some(u8::from(!old)));
    run(&mut hub, Duration::from_millis(3_400)).await;
    cable.pull(true);
    let pulled = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    let reason = loop {
        tokio::select! {
            event = hub.next() => if let HubEvent::Closed { reason, .. } = event { break reason },
            _ = ticks.tick() => if is_sent_to {
                hub.send(conn, vec!["more".into()]).ok();
            }
        }
        assert!(pulled.elapsed() < DEADLINE);
    };
    let took = pulled.elapsed();
    told(old, is_sent_to, took, &reason);
    assert!(took < NOTICED, "{took:?}");
}

#[expect(clippy::print_stderr, reason = "the figure is kept with the run")]
fn told(old: bool, is_sent_to: bool, took: Duration, reason: &CloseReason) {
    let minor = u8::from(!old);
    eprintln!("3.{minor}, sent to: {is_sent_to}: noticed after {took:?}: {reason}");
}

#[test]
fn a_vanished_host_that_beats_is_noticed() {
    at_the_cable("beats", async |cable| vanishes(cable, DEALER, false).await);
}

#[test]
fn a_vanished_host_that_beats_is_noticed_while_it_is_sent_to() {
    at_the_cable("both", async |cable| vanishes(cable, DEALER, true).await);
}

#[test]
fn a_vanished_host_that_does_not_beat_is_noticed() {
    at_the_cable("old", async |cable| vanishes(cable, OLD, false).await);
}

#[test]
fn a_vanished_host_that_does_not_beat_is_noticed_while_it_is_sent_to() {
    at_the_cable("sent", async |cable| vanishes(cable, OLD, true).await);
}
