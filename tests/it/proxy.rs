//! The proxy and the cache: whose answers come back, what a lost or silent backend costs, and what is
//! remembered.

use serde_json::Value;

use crate::support::{World, ports, py, python, wait_for};

/// A REP that answers with its name, the number of requests it had, and what it was asked. `die` ends
/// it without an answer, `hush` is never answered.
const BACKEND: &str = "\
import os, sys, time, zmq
socket = zmq.Context().socket(zmq.REP)
socket.bind(os.environ['ZMQNET_INNER_ENDPOINT'])
count = 0
while True:
    frames = socket.recv_multipart()
    count += 1
    if frames[0] == b'die' and not os.path.exists('died'):
        open('died', 'w').close()
        os._exit(1)
    if frames[0] == b'hush':
        while os.path.exists('hush'):
            time.sleep(0.01)
    if frames[0] == b'slow':
        time.sleep(0.3)
    socket.send_multipart([os.environ['ZMQNET_NAME'].encode(), str(count).encode(), *frames])
";

/// Sends each of its arguments as a request of its own and prints the answers.
const ASKER: &str = "\
import sys, zmq
socket = zmq.Context().socket(zmq.REQ)
socket.rcvtimeo, socket.linger = 20000, 0
socket.connect(sys.argv[1])
for request in sys.argv[2:]:
    socket.send_multipart([frame.encode() for frame in request.split(',')])
    print(*[frame.decode() for frame in socket.recv_multipart()])
";

struct Network {
    world: World,
    outer: String,
}

impl Network {
    fn new(kind: &str, backends: u32, link: &str) -> Self {
        let world = World::new();
        let first = ports(8);
        world.write("backend.py", BACKEND);
        let text = format!(
            "zmqnet: 1\nname: front\ndefaults: {{ports: {first}..{}, restart: {{backoff: 10ms..50ms}}}}\nnodes:\n  \
             front: {{{kind}, port: {first}}}\n  back: {{command: [{}, backend.py], replicas: {backends}}}\n\
             links:\n  inner: {{pattern: request, from: front, to: back, {link}}}\n",
            first + 7,
            python().display(),
        );
        world.write("topology.yaml", &text);
        world.ok(&["apply"]);
        let network = Self {
            outer: String::new(),
            world,
        };
        wait_for("the backends", || {
            (network.facts()["backends"] == backends).then_some(())
        });
        let outer = format!("tcp://127.0.0.1:{first}");
        Self { outer, ..network }
    }

    fn facts(&self) -> Value {
        let status = self.world.ok(&["status", "-o", "json"]).json();
        let nodes = status["nodes"].as_array().unwrap();
        let front = nodes.iter().find(|node| node["name"] == "front").unwrap();
        front["facts"].clone()
    }

    #[track_caller]
    fn asks(&self, requests: &[&str]) -> Vec<String> {
        let mut args = vec![self.outer.as_str()];
        args.extend(requests);
        let asked = py(&self.world, ASKER, &args);
        assert_eq!(asked.code, 0, "{}", asked.stderr);
        asked.stdout.lines().map(str::to_owned).collect()
    }
}

#[test]
fn a_proxy_hands_requests_on_and_the_answers_back_to_whom_they_belong() {
    let network = Network::new("kind: proxy", 2, "timeout: 5s");
    let answers = network.asks(&["a", "b,,c", "d"]);
    let bodies: Vec<&str> = answers
        .iter()
        .map(|answer| answer.splitn(3, ' ').nth(2).unwrap())
        .collect();
    assert_eq!(bodies, ["a", "b  c", "d"]);
    let refused = network.asks(&["ZN1,status"]);
    assert!(refused[0].starts_with("ZN1 400"), "{refused:?}");
    let pong = network.asks(&["ZN1,ping,7"]);
    assert_eq!(pong, ["ZN1 200 7 {\"name\":\"front\"}"]);
    let facts = network.facts();
    assert_eq!(facts["requests"]["answered"], 3);
    assert_eq!(facts["requests"]["malformed"], 1);
    network.world.ok(&["down"]);
}

#[test]
fn a_request_whose_backend_dies_is_answered_by_another() {
    let network = Network::new("kind: proxy", 2, "timeout: 10s");
    let answers = network.asks(&["die"]);
    assert!(answers[0].ends_with(" die"), "{answers:?}");
    assert_eq!(network.facts()["retried"], 1);
    network.world.ok(&["down"]);
}

#[test]
fn a_silent_backend_is_given_up_after_all_tries_and_a_late_answer_reaches_nobody() {
    let network = Network::new("kind: proxy", 1, "timeout: 100ms, retries: 2");
    network.world.write("hush", "");
    let ask = "\
import sys, zmq
socket = zmq.Context().socket(zmq.DEALER)
socket.rcvtimeo, socket.linger = 20000, 0
socket.connect(sys.argv[1])
socket.send_multipart([b'', b'hush'])
socket.send_multipart([b'ZN1', b'get', b'9', b'{}'])
print(*[frame.decode() for frame in socket.recv_multipart()])
";
    let asked = py(&network.world, ask, &[&network.outer]);
    assert!(asked.stdout.starts_with("ZN1 504 9 "), "{}", asked.stdout);
    let requests = wait_for("both are given up", || {
        let facts = network.facts();
        (facts["requests"]["given_up"] == 2).then(|| facts.clone())
    });
    assert_eq!(requests["retried"], 2, "one more try of each");
    std::fs::remove_file(network.world.path("hush")).unwrap();
    wait_for("late answers", || {
        (network.facts()["requests"]["late"].as_u64() >= Some(1)).then_some(())
    });
    network.world.ok(&["down"]);
}

#[test]
fn a_cache_answers_from_memory_until_the_time_is_over() {
    let network = Network::new("kind: cache, ttl: 1s", 1, "timeout: 5s");
    let answers = network.asks(&["x", "x", "y", "x"]);
    assert_eq!(
        answers,
        ["back-0 1 x", "back-0 1 x", "back-0 2 y", "back-0 1 x"]
    );
    let facts = network.facts();
    assert_eq!(facts["cache"]["hits"], 2);
    assert_eq!(facts["cache"]["misses"], 2);
    assert_eq!(facts["cache"]["entries"], 2);
    wait_for("x to be forgotten", || {
        (network.asks(&["x"]) == ["back-0 3 x"]).then_some(())
    });
    assert_eq!(network.facts()["cache"]["expired"], 1);
    network.world.ok(&["down"]);
}

#[test]
fn twenty_who_ask_the_same_at_once_cost_the_backend_one_request() {
    let network = Network::new("kind: cache", 1, "timeout: 10s");
    let ask = "\
import sys, zmq
context = zmq.Context()
sockets = []
for _ in range(20):
    socket = context.socket(zmq.REQ)
    socket.rcvtimeo, socket.linger = 20000, 0
    socket.connect(sys.argv[1])
    sockets.append(socket)
for socket in sockets:
    socket.send(b'slow')
print(sorted({b' '.join(socket.recv_multipart()) for socket in sockets}))
";
    let asked = py(&network.world, ask, &[&network.outer]);
    assert_eq!(asked.stdout, "[b'back-0 1 slow']\n", "{}", asked.stderr);
    let cache = &network.facts()["cache"];
    let served = cache["hits"].as_u64().unwrap() + cache["joined"].as_u64().unwrap();
    assert_eq!((cache["misses"].as_u64(), served), (Some(1), 19));
    network.world.ok(&["down"]);
}
