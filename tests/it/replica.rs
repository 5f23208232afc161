//! The replica on the wire, seen by pyzmq and raw sockets: golden bytes, junk, lost and stopped
//! peers, signals.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Ran, Running, World, is_free, ports, py, wait_for};

/// Three replicas in the foreground, from ZMQ Net's own kind of file.
pub(crate) struct Mesh {
    pub(crate) world: World,
    pub(crate) first: u16,
    pub(crate) replicas: Vec<Running>,
}

pub(crate) const NAMES: [&str; 3] = ["alpha", "bravo", "charlie"];

/// A `peers.json` of three replicas in the verbatim shape of ZMQ Net's README.
pub(crate) fn peers(first: u16) -> String {
    let replicas: Vec<String> = NAMES
        .iter()
        .enumerate()
        .map(|(index, name)| {
            let port = first + index as u16;
            format!(
                r#"{{"pid": {}, "name": "{name}", "address": "{name}.local:{port}", "host": "apollo", "ipaddr": "127.0.0.1", "port": {port}}}"#,
                index + 1
            )
        })
        .collect();
    format!(
        r#"{{"info": {{"num_replicas": 3, "updated": "2017-11-02"}}, "replicas": [{}]}}"#,
        replicas.join(", ")
    )
}

impl Mesh {
    /// Starts all three and waits until each answers and every one has dialled every other.
    pub(crate) fn start() -> Self {
        let world = World::new();
        let first = ports(3);
        world.write("peers.json", &peers(first));
        let mut mesh = Self {
            world,
            first,
            replicas: Vec::new(),
        };
        for name in NAMES {
            mesh.replicas.push(mesh.serve(name));
        }
        for name in NAMES {
            mesh.wait_ready(name);
        }
        mesh.wait_connected();
        mesh
    }

    /// Starts one replica; its talk goes to a file.
    pub(crate) fn serve(&self, name: &str) -> Running {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.world.path(&format!("{name}.log")))
            .unwrap();
        let mut command = self.world.zmqnet(&["serve", "-n", name]);
        command.stdout(log.try_clone().unwrap()).stderr(log);
        Running(command.spawn().unwrap())
    }

    pub(crate) fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.world.path(&format!("{name}.log"))).unwrap()
    }

    pub(crate) fn port(&self, name: &str) -> u16 {
        self.first + NAMES.iter().position(|n| *n == name).unwrap() as u16
    }

    pub(crate) fn endpoint(&self, name: &str) -> String {
        format!("tcp://127.0.0.1:{}", self.port(name))
    }

    pub(crate) fn wait_ready(&self, name: &str) {
        wait_for(&format!("{name} to answer"), || {
            (self.world.run(&["probe", name, "-r", "1"]).code == 0).then_some(())
        });
    }

    /// Waits until every replica has dialled every other.
    pub(crate) fn wait_connected(&self) {
        for name in NAMES {
            wait_for(&format!("{name} to have dialled the others"), || {
                (self.log(name).matches("connected to").count() >= 2).then_some(())
            });
        }
    }

    pub(crate) fn signal(&self, name: &str, signal: &str) {
        let index = NAMES.iter().position(|n| *n == name).unwrap();
        let pid = self.replicas[index].0.id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status().unwrap();
        assert!(sent.success());
    }

    /// Kills a replica and waits for its end.
    pub(crate) fn kill(&mut self, name: &str) {
        let index = NAMES.iter().position(|n| *n == name).unwrap();
        self.replicas[index].0.kill().unwrap();
        self.replicas[index].0.wait().unwrap();
    }
}

/// Waits for a child's end and says how it ended.
fn ended(running: &mut Running) -> i32 {
    let status = wait_for("the end of a child", || running.0.try_wait().unwrap());
    Ran::from(std::process::Output {
        status,
        stdout: Vec::new(),
        stderr: Vec::new(),
    })
    .code
}

const ASK: &str = r#"
import sys, zmq
kind, endpoint, rest = sys.argv[1], sys.argv[2], sys.argv[3:]
s = zmq.Context().socket(getattr(zmq, kind))
s.RCVTIMEO = 20000
s.LINGER = 0
s.connect(endpoint)
for request in rest:
    s.send_multipart([bytes.fromhex(part) for part in request.split(",")])
    print(",".join(part.hex() for part in s.recv_multipart()))
"#;

/// Sends requests, each frames in hex joined by commas, by a pyzmq socket; its replies in hex.
fn ask(world: &World, kind: &str, endpoint: &str, requests: &[&str]) -> Vec<String> {
    let mut args = vec![kind, endpoint];
    args.extend(requests);
    let ran = py(world, ASK, &args);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    ran.stdout.lines().map(str::to_owned).collect()
}

const SINGLE: &str = "1205627261766f1a167468697320697320612074657374206d657373616765";
const REPLY_1: &str = "1205627261766f1a0c7265706c79206d7367202331";
const REPLY_2: &str = "1205627261766f1a0c7265706c79206d7367202332";
const BOUNCE: &str = "08011205616c7068611a026869";

#[test]
fn both_golden_requests_get_the_golden_replies() {
    let mesh = Mesh::start();
    let replies = ask(&mesh.world, "REQ", &mesh.endpoint("bravo"), &[SINGLE]);
    assert_eq!(replies, [REPLY_1]);
    let replies = ask(&mesh.world, "REQ", &mesh.endpoint("alpha"), &[BOUNCE]);
    assert_eq!(replies, ["08011205616c7068611a0341434b"]);
    // The others heard the message from bravo, as bounces.
    for name in ["alpha", "charlie"] {
        let heard = r#"received: type:BOUNCE sender:"bravo" message:"this is a test message""#;
        assert!(mesh.log(name).contains(heard), "{}", mesh.log(name));
    }
}

#[test]
fn junk_is_answered_with_error_and_disturbs_nothing() {
    let mesh = Mesh::start();
    let endpoint = mesh.endpoint("bravo");
    let replies = ask(&mesh.world, "REQ", &endpoint, &["ffff", SINGLE]);
    assert!(replies[0].starts_with("08021205627261766f"), "{replies:?}");
    assert_eq!(replies[1], REPLY_1);
    // A DEALER is served with and without the empty frame, and pipelined.
    let with = format!(",{SINGLE}");
    let replies = ask(&mesh.world, "DEALER", &endpoint, &[&with, SINGLE]);
    assert_eq!(replies[0], format!(",{REPLY_2}"));
    assert!(!replies[1].starts_with(','), "{replies:?}");
}

#[test]
fn zn1_is_spoken_by_hand() {
    let mesh = Mesh::start();
    let hex = |frames: &[&str]| -> String {
        let frames = frames
            .iter()
            .map(|f| f.bytes().map(|b| format!("{b:02x}")).collect());
        frames.collect::<Vec<String>>().join(",")
    };
    let requests = [
        hex(&["ZN1", "ping", "7"]),
        hex(&["ZN1", "PING", "8"]),
        hex(&["ZN1", "status", "9"]),
    ];
    let requests: Vec<&str> = requests.iter().map(String::as_str).collect();
    let replies = ask(&mesh.world, "REQ", &mesh.endpoint("bravo"), &requests);
    assert_eq!(
        replies[0],
        hex(&["ZN1", "200", "7", "{\"name\":\"bravo\"}"])
    );
    assert!(
        replies[1].starts_with(&hex(&["ZN1", "400", "8"])),
        "{replies:?}"
    );
    let status = replies[2].split(',').nth(3).unwrap();
    let status: Vec<u8> = (0..status.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&status[at..at + 2], 16).unwrap())
        .collect();
    let status: serde_json::Value = serde_json::from_slice(&status).unwrap();
    assert_eq!(status["facts"]["received"], 0, "probes are counted nowhere");
    for peer in status["peers"].as_array().unwrap() {
        assert_eq!(peer["state"], "connected");
    }
    // Whoever may connect may not read who else does, nor where anybody is.
    for key in ["connections", "refused", "bans", "pid"] {
        assert_eq!(status[key], serde_json::Value::Null, "{key}");
    }
    assert!(!status.to_string().contains("ipc://"), "{status}");
}

/// The verbs of the health socket, with what would be right params there.
const OWNERS_VERBS: [(&str, &str); 8] = [
    ("drain", "{}"),
    ("reconfigure", "{\"config\": {}}"),
    ("conns", "{}"),
    ("kick", "{\"conn\": 1}"),
    (
        "ban",
        "{\"by\": \"address\", \"who\": \"127.0.0.1\", \"lasts_ms\": 60000}",
    ),
    ("lift", "{\"by\": \"address\", \"who\": \"127.0.0.1\"}"),
    ("tap", "{\"looker\": \"me\"}"),
    ("stop", "{}"),
];

#[test]
fn what_the_owner_may_ask_is_no_verb_of_a_public_port() {
    let world = World::new();
    let first = ports(8);
    let manifest = format!(
        "zmqnet: 1\nname: public\ndefaults: {{ports: {first}..{}}}\nnodes:\n  bravo: {{kind: \
         replica, port: {first}}}\n  mirror: {{kind: echo, port: {}}}\n",
        first + 7,
        first + 1,
    );
    world.write("topology.yaml", &manifest);
    world.ok(&["apply"]);
    let pids = |world: &World| -> Vec<serde_json::Value> {
        let status = world.ok(&["status", "-o", "json"]).json();
        let nodes = status["nodes"].as_array().unwrap();
        nodes.iter().map(|node| node["pid"].clone()).collect()
    };
    let before = pids(&world);
    let hex = |text: &str| -> String { text.bytes().map(|b| format!("{b:02x}")).collect() };
    let asked: Vec<String> = OWNERS_VERBS
        .iter()
        .map(|(verb, params)| ["ZN1", verb, "1", params].map(hex).join(","))
        .chain([["ZN1", "ping", "2"].map(hex).join(",")])
        .collect();
    let asked: Vec<&str> = asked.iter().map(String::as_str).collect();
    for port in [first, first + 1] {
        let at = format!("tcp://127.0.0.1:{port}");
        let replies = ask(&world, "REQ", &at, &asked);
        let (pong, refused) = replies.split_last().unwrap();
        for (reply, (verb, _)) in refused.iter().zip(OWNERS_VERBS) {
            assert!(
                reply.starts_with(&["ZN1", "501"].map(hex).join(",")),
                "{verb}: {reply}"
            );
        }
        assert!(
            pong.starts_with(&["ZN1", "200"].map(hex).join(",")),
            "{pong}"
        );
    }
    assert_eq!(pids(&world), before);
}

#[test]
fn terminating_ends_at_once_and_leaves_the_port_free() {
    let mut mesh = Mesh::start();
    let start = Instant::now();
    mesh.signal("bravo", "-TERM");
    assert_eq!(ended(&mut mesh.replicas[1]), 0);
    assert!(start.elapsed() < Duration::from_secs(10));
    assert!(mesh.log("bravo").contains("zmqnet has gracefully shutdown"));
    assert!(is_free(mesh.port("bravo")), "the port can be bound at once");
    // The next life answers, and the others meet it at their next broadcast.
    mesh.replicas[1] = mesh.serve("bravo");
    mesh.wait_ready("bravo");
    let sent = mesh
        .world
        .ok(&["send", "-n", "alpha", "-o", "json", "hello"]);
    let peers = &sent.json()["messages"][0]["peers"];
    assert_eq!(
        (&peers[0]["name"], &peers[0]["acked"]),
        (&"bravo".into(), &true.into())
    );
    mesh.signal("charlie", "-INT");
    assert_eq!(ended(&mut mesh.replicas[2]), 0);
}

#[test]
fn uptime_is_a_duration_and_a_bad_one_is_a_usage_error() {
    let world = World::new();
    world.write("peers.json", &peers(ports(3)));
    let mut serve = Running::start(&mut world.zmqnet(&["serve", "-n", "alpha", "-u", "200ms"]));
    assert_eq!(ended(&mut serve), 0);
    let mut talk = String::new();
    serve
        .0
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut talk)
        .unwrap();
    assert!(talk.contains("bound to tcp://127.0.0.1:"), "{talk}");
    let bad = world.run(&["serve", "-n", "alpha", "-u", "banana"]);
    assert_eq!(bad.code, 64, "{}", bad.stderr);
    assert!(bad.stderr.contains("banana"), "{}", bad.stderr);
    let silent = world.ok(&["serve", "-n", "alpha", "-u", "50ms", "--verbosity", "4"]);
    assert_eq!((&*silent.stdout, &*silent.stderr), ("", ""));
}

#[test]
fn a_taken_port_fails_with_its_endpoint() {
    let world = World::new();
    let first = ports(3);
    world.write("peers.json", &peers(first));
    let _holder = std::net::TcpListener::bind(("127.0.0.1", first)).unwrap();
    let ran = world.run(&["serve", "-n", "alpha"]);
    assert_eq!(ran.code, 1);
    let expected = format!("cannot bind tcp://127.0.0.1:{first}: the address is in use");
    assert!(ran.stderr.contains(&expected), "{}", ran.stderr);
}

#[test]
fn a_role_process_is_told_by_file_and_drained_by_its_health_socket() {
    let world = World::new();
    let health = world.path("health.sock");
    let told = serde_json::json!({"replica": {
        "name": "alpha",
        "listen": [format!("tcp://127.0.0.1:{}", ports(1))],
        "peers": [],
        "health": format!("ipc://{}", health.display()),
        "broadcast_ms": 1_000,
    }});
    let told = world.write("told.json", &told.to_string());
    let mut command = world.zmqnet(&["__role", told.to_str().unwrap()]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut role = Running(command.spawn().unwrap());
    wait_for("the health socket", || health.exists().then_some(()));
    let endpoint = format!("ipc://{}", health.display());
    let drain = "5a4e31,647261696e,31";
    assert_eq!(
        ask(&world, "REQ", &endpoint, &[drain]),
        ["5a4e31,323030,31,"]
    );
    assert_eq!(ended(&mut role), 0);
    assert!(!health.exists(), "its socket file goes with it");
    let missing = world.run(&["__role", "no-such-file"]);
    assert_eq!(missing.code, 1);
    assert!(
        missing.stderr.contains("no-such-file"),
        "{}",
        missing.stderr
    );
}
