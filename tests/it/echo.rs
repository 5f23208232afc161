//! The echo, and with it the driver that runs every role of its shape: dialects, health verbs, keys.

use serde_json::Value;

use crate::support::{World, ports, py, python, wait_for};

/// A REQ and a DEALER, with and without envelopes, and ZN1 by hand.
const ASKER: &str = "\
import sys, zmq
context = zmq.Context()
def ask(kind, *messages):
    socket = context.socket(kind)
    socket.rcvtimeo, socket.linger = 10000, 0
    socket.connect(sys.argv[1])
    for message in messages:
        socket.send_multipart(message)
    for message in messages:
        print(socket.recv_multipart())
ask(zmq.REQ, [b'one', b'', b'two'])
ask(zmq.DEALER, [b'', b'a'], [b'id', b'', b'b'], [b'bare'])
ask(zmq.REQ, [b'ZN1', b'ping', b'7'])
ask(zmq.DEALER, [b'ZN1', b'sing', b'8'])
";

/// Asks once for each line it is given, by the keys it was told, and says what came back.
const KEYED: &str = "\
import json, os, time, zmq
keys = json.load(open(os.environ['ZMQNET_KEYS']))
socket = zmq.Context().socket(zmq.REQ)
socket.curve_publickey, socket.curve_secretkey = keys['public'].encode(), keys['secret'].encode()
for endpoint, key in keys['sockets']['CALLS']['servers'].items():
    socket.curve_serverkey = key.encode()
    socket.connect(endpoint)
while True:
    socket.send(b'hello')
    socket.recv()
    print('came back', flush=True)
    time.sleep(0.1)
";

fn status(world: &World) -> Value {
    world.ok(&["status", "-o", "json"]).json()
}

fn node<'a>(status: &'a Value, name: &str) -> &'a Value {
    let nodes = status["nodes"].as_array().unwrap();
    nodes.iter().find(|node| node["name"] == name).unwrap()
}

#[test]
fn requests_of_every_shape_come_back_and_zn1_is_answered() {
    let world = World::new();
    let port = ports(1);
    let text =
        format!("zmqnet: 1\nname: mirrors\nnodes:\n  mirror: {{kind: echo, port: {port}}}\n");
    world.write("topology.yaml", &text);
    world.ok(&["apply"]);
    let asked = py(&world, ASKER, &[&format!("tcp://127.0.0.1:{port}")]);
    let expected = "\
[b'one', b'', b'two']
[b'', b'a']
[b'id', b'', b'b']
[b'bare']
[b'ZN1', b'200', b'7', b'{\"name\":\"mirror\"}']
[b'ZN1', b'501', b'8', b'{\"error\":\"no verb `sing` here\"}']
";
    assert_eq!(asked.stdout, expected, "{}", asked.stderr);
    let listed = world.ok(&["conns", "ls", "-n", "mirror", "-o", "json"]);
    assert!(listed.json()["instances"][0]["connections"].is_array());
    world.ok(&["down"]);
}

#[test]
fn whom_it_admits_changes_while_it_runs() {
    let world = World::new();
    let first = ports(4);
    world.write("asker.py", KEYED);
    let manifest = |callers: u32| {
        let text = format!(
            "zmqnet: 1\nname: keyed\nsecurity: {{curve: always}}\ndefaults: {{ports: {first}..{}}}\n\
             nodes:\n  mirror: {{kind: echo}}\n  caller: {{command: [{}, asker.py], replicas: {callers}}}\n\
             links:\n  calls: {{pattern: request, from: caller, to: mirror}}\n",
            first + 3,
            python().display(),
        );
        world.write("topology.yaml", &text);
        world.ok(&["apply"]);
    };
    let speaks = |caller: &str| {
        wait_for(caller, || {
            let logs = world.ok(&["logs", caller]).stdout;
            logs.contains("came back").then_some(())
        });
    };
    manifest(1);
    speaks("caller-0");
    let before = node(&status(&world), "mirror")["pid"].clone();
    manifest(2);
    speaks("caller-1");
    let after = status(&world);
    assert_eq!(node(&after, "mirror")["pid"], before, "told, not restarted");
    let wires = after["wires"].as_array().unwrap();
    assert_eq!(wires.len(), 2);
    assert!(
        wires.iter().all(|wire| wire["state"] == "connected"),
        "{wires:?}"
    );
    world.ok(&["down"]);
}
