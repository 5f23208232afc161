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

/// Forty threads that ask the same, again and again, for as many seconds; how many answers each had.
const STAMPEDE: &str = "\
import sys, threading, time, zmq
context, counts = zmq.Context(), []
def ask():
    socket = context.socket(zmq.REQ)
    socket.rcvtimeo, socket.linger = 20000, 0
    socket.connect(sys.argv[1])
    until, count = time.monotonic() + 3, 0
    while time.monotonic() < until:
        socket.send(b'slow')
        assert socket.recv_multipart()[2] == b'slow'
        count += 1
        time.sleep(0.005)
    counts.append(count)
threads = [threading.Thread(target=ask) for _ in range(40)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(counts), sum(counts))
";

#[test]
fn a_stampede_asks_once_for_each_end_of_an_entry_though_the_backend_is_killed() {
    let network = Network::new("kind: cache, ttl: 200ms", 1, "timeout: 10s, retries: 5");
    let pid = || {
        let status = network.world.ok(&["status", "-o", "json"]).json();
        let nodes = status["nodes"].as_array().unwrap().iter();
        let mut nodes = nodes.filter(|node| node["name"] == "back-0");
        nodes.next().unwrap()["pid"].as_u64()
    };
    std::thread::scope(|scope| {
        let asks = scope.spawn(|| py(&network.world, STAMPEDE, &[&network.outer]));
        wait_for("two lives of the entry", || {
            (network.facts()["cache"]["misses"].as_u64() >= Some(2)).then_some(())
        });
        let killed = pid().unwrap().to_string();
        let kill = network.world.command("kill").args(["-9", &killed]).status();
        assert!(kill.unwrap().success());
        let asked = asks.join().unwrap();
        assert!(asked.stdout.starts_with("40 "), "{}", asked.stderr);
    });
    let facts = network.facts();
    let (cache, count) = (&facts["cache"], |of: &Value, key: &str| {
        of[key].as_u64().unwrap()
    });
    // Three seconds hold at most six lives of half a second; one more may have been cut short.
    assert!(count(cache, "misses") <= 8, "{facts}");
    let served = count(cache, "hits") + count(cache, "joined") + count(cache, "misses");
    assert_eq!(served, count(&facts["requests"], "answered"), "{facts}");
    assert_eq!(count(&facts["requests"], "given_up"), 0);
    network.world.ok(&["down"]);
}

#[test]
fn a_flood_of_other_requests_keeps_a_cache_within_its_bytes() {
    let network = Network::new("kind: cache, max: 64KiB", 2, "timeout: 10s");
    let flood = "\
import sys, zmq
socket = zmq.Context().socket(zmq.DEALER)
socket.rcvtimeo, socket.linger = 20000, 0
socket.set_hwm(0)
socket.connect(sys.argv[1])
for number in range(2000):
    socket.send_multipart([b'', b'%d' % number, bytes(500)])
print(len({socket.recv_multipart()[3] for _ in range(2000)}))
";
    let flooded = py(&network.world, flood, &[&network.outer]);
    assert_eq!(flooded.stdout, "2000\n", "{}", flooded.stderr);
    let facts = network.facts();
    let cache = |key: &str| facts["cache"][key].as_u64().unwrap();
    assert!(
        cache("bytes") <= 64 * 1024 && cache("entries") > 10,
        "{facts}"
    );
    assert_eq!(
        cache("misses"),
        cache("entries") + cache("evicted"),
        "{facts}"
    );
    network.world.ok(&["down"]);
}

#[test]
fn who_floods_a_proxy_waits_and_everybody_is_answered_in_the_end() {
    let network = Network::new("kind: proxy", 1, "timeout: 60s, retries: 1");
    network.world.write("hush", "");
    let flood = "\
import sys, zmq
socket = zmq.Context().socket(zmq.DEALER)
socket.rcvtimeo, socket.linger = 40000, 0
socket.set_hwm(0)
socket.connect(sys.argv[1])
socket.send_multipart([b'', b'hush'])
for number in range(9999):
    socket.send_multipart([b'', b'%d' % number])
print(sum(len(socket.recv_multipart()) == 4 for _ in range(10000)))
";
    std::thread::scope(|scope| {
        let flooded = scope.spawn(|| py(&network.world, flood, &[&network.outer]));
        let facts = wait_for("half of what may wait", || {
            let facts = network.facts();
            (facts["in_hand"].as_u64() >= Some(4_096)).then_some(facts)
        });
        // Whoever asks too much is read no further: it is nobody's loss but its own.
        assert!(facts["in_hand"].as_u64() < Some(8_192), "{facts}");
        let other = scope.spawn(|| network.asks(&["other"]));
        std::fs::remove_file(network.world.path("hush")).unwrap();
        assert!(other.join().unwrap()[0].ends_with(" other"));
        let flooded = flooded.join().unwrap();
        assert_eq!(flooded.stdout, "10000\n", "{}", flooded.stderr);
    });
    let requests = network.facts()["requests"].clone();
    assert_eq!(
        (&requests["answered"], &requests["refused"]),
        (&10_001.into(), &0.into())
    );
    network.world.ok(&["down"]);
}

#[test]
fn a_request_with_as_many_frames_as_may_be_is_answered_with_what_stands_around_it() {
    for kind in ["kind: proxy", "kind: cache"] {
        let network = Network::new(kind, 1, "timeout: 5s");
        let most = ["x"; 64].join(",");
        let answers = network.asks(&[&most, &most]);
        for answer in answers {
            assert_eq!(
                answer.split(' ').filter(|it| *it == "x").count(),
                64,
                "{kind}"
            );
        }
        let over = format!("ZN1,get,1,{{}},{}", ["x"; 61].join(","));
        let refused = network.asks(&[&over]);
        assert!(refused[0].starts_with("ZN1 413 1 "), "{refused:?}");
        network.world.ok(&["down"]);
    }
}
