//! `zmqnet conns`: the connections of a node, seen, ended and kept out.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use serde_json::Value;

use crate::support::{World, ports, python, wait_for};

/// A pyzmq client with an identity: asks for each line it is given and says what came of it, and
/// what its monitor saw.
const CLIENT: &str = "\
import sys, zmq
socket = zmq.Context().socket(zmq.DEALER)
socket.linger = 0
socket.identity = sys.argv[2].encode()
socket.connect(sys.argv[1])
for line in sys.stdin:
    socket.send_multipart([b'ZN1', b'ping', line.strip().encode()])
    answered = False
    while socket.poll(int(sys.argv[3])):
        answered |= socket.recv_multipart()[2] == line.strip().encode()
        if answered:
            break
    print('answered' if answered else 'silence', flush=True)
";

struct Client {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    asked: u32,
}

impl Client {
    fn start(world: &World, endpoint: &str, (identity, wait_ms): (&str, u32)) -> Self {
        let mut command = world.command(python());
        command.args(["-c", CLIENT, endpoint, identity, &wait_ms.to_string()]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            stdin: child.stdin.take().unwrap(),
            stdout: BufReader::new(child.stdout.take().unwrap()),
            child,
            asked: 0,
        }
    }

    fn ask(&mut self) -> String {
        self.asked += 1;
        writeln!(self.stdin, "{}", self.asked).unwrap();
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Two replicas and a program; gives where the first listens.
fn network(world: &World) -> String {
    let first = ports(6);
    let text = format!(
        "zmqnet: 1\nname: seen\ndefaults: {{ports: {first}..{}}}\nnodes:\n  quorum: {{kind: replica, \
         replicas: [alpha, bravo]}}\n  tool: {{command: [sleep, '1000']}}\nlinks:\n  votes: {{pattern: \
         mesh, among: [quorum]}}\n",
        first + 5
    );
    world.write("topology.yaml", &text);
    world.ok(&["apply"]);
    let status = world.ok(&["status", "-o", "json"]).json();
    let address = &status["nodes"][0]["endpoints"][0]["address"];
    address.as_str().unwrap().to_owned()
}

/// The connections of `alpha` whose peers call themselves so.
fn connections(world: &World, identity: &str) -> Vec<Value> {
    let listed = world
        .ok(&["conns", "ls", "-n", "alpha", "-o", "json"])
        .json();
    assert_eq!(listed["schema"], 1);
    let all = listed["instances"][0]["connections"].as_array().unwrap();
    let its = all.iter().filter(|it| it["identity"] == identity);
    its.cloned().collect()
}

#[test]
fn connections_are_listed_and_one_that_is_kicked_comes_back() {
    let world = World::new();
    let endpoint = network(&world);
    let mut client = Client::start(&world, &endpoint, ("carol", 10_000));
    assert_eq!(client.ask(), "answered");
    let [connection] = &connections(&world, "carol")[..] else {
        panic!("one connection");
    };
    assert_eq!(connection["messages_in"], 1, "{connection}");
    assert_eq!(connection["socket_type"], "DEALER");
    assert_eq!(connection["port"], "main");
    let table = world.ok(&["conns", "ls", "-n", "quorum"]).stdout;
    assert!(
        table.contains("carol") && table.contains("DEALER"),
        "{table}"
    );
    assert!(
        table.contains(" bravo "),
        "every instance of the node: {table}"
    );
    let number = connection["conn"].as_u64().unwrap();
    world.ok(&["conns", "kick", "-n", "alpha", &number.to_string()]);
    assert_eq!(client.ask(), "answered", "libzmq connects again");
    wait_for("another connection", || {
        let now = connections(&world, "carol");
        (now.len() == 1 && now[0]["conn"] != number).then_some(())
    });
    let gone = world.run(&["conns", "kick", "-n", "alpha", &number.to_string()]);
    assert_eq!(gone.code, 1);
    let said = format!("alpha: there is no connection {number}");
    assert!(gone.stderr.contains(&said), "{}", gone.stderr);
}

#[test]
fn who_is_banned_stays_out_and_others_in_until_it_is_lifted() {
    let world = World::new();
    let endpoint = network(&world);
    let mut mallory = Client::start(&world, &endpoint, ("mallory", 700));
    let mut carol = Client::start(&world, &endpoint, ("carol", 10_000));
    let asked = |client: &mut Client| (0..30).any(|_| client.ask() == "answered");
    assert!(asked(&mut mallory) && asked(&mut carol));
    let banned = world.ok(&["conns", "ban", "-n", "alpha", "--identity", "mallory"]);
    assert!(
        banned
            .stderr
            .contains("alpha: mallory is banned for 1h, connections ended: 1"),
        "{}",
        banned.stderr
    );
    assert_eq!(mallory.ask(), "silence");
    assert_eq!(carol.ask(), "answered");
    assert!(connections(&world, "mallory").is_empty());
    let table = world.ok(&["conns", "ls", "-n", "alpha"]).stdout;
    assert!(table.contains("identity mallory is banned"), "{table}");
    wait_for("the refusals to be counted", || {
        let status = world.ok(&["status", "-o", "json"]).json();
        let count = &status["nodes"][0]["listeners"]["rejected"]["banned"];
        (count.as_u64().unwrap() > 1).then_some(())
    });
    world.ok(&[
        "conns",
        "ban",
        "-n",
        "alpha",
        "--identity",
        "mallory",
        "--lift",
    ]);
    assert!(asked(&mut mallory), "it may come back");
    // By address: everybody there is out, but the owner, who asks by the health socket.
    let by_address = ["conns", "ban", "-n", "alpha", "--address", "127.0.0.1"];
    world.ok(&by_address);
    let said = world.ok(&["conns", "ls", "-n", "alpha"]).stdout;
    assert!(
        !said.contains("carol") && said.contains("address 127.0.0.1"),
        "{said}"
    );
    world.ok(&[&by_address[..], &["--lift"]].concat());
    assert!(asked(&mut carol));
    // For a while means that it ends by itself.
    world.ok(&[&by_address[..], &["--for", "300ms"]].concat());
    assert!(asked(&mut carol), "a ban ends");
}

#[test]
fn wrong_input_is_told_apart() {
    let world = World::new();
    let key = "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID";
    let stopped = world.run(&["conns", "ls", "-n", "alpha"]);
    assert_eq!(stopped.code, 69, "{}", stopped.stderr);
    network(&world);
    let rows: [(&[&str], i32, &str); 9] = [
        (&["ls", "-n", "nobody"], 64, "no node or instance `nobody`"),
        (&["ls", "-n", "tool"], 64, "`gate: true`"),
        (&["ls"], 64, "--node"),
        (
            &["kick", "-n", "quorum", "1"],
            64,
            "name one of them: alpha, bravo",
        ),
        (&["kick", "-n", "alpha", "one"], 64, "invalid value 'one'"),
        (&["ban", "-n", "alpha"], 64, "--address"),
        (
            &["ban", "-n", "alpha", "--key", "x"],
            64,
            "40 characters of Z85",
        ),
        (
            &["ban", "-n", "alpha", "--key", key, "--for", "0s"],
            64,
            "for some time",
        ),
        (
            &["ban", "-n", "alpha", "--key", key, "--lift"],
            1,
            "is not banned",
        ),
    ];
    for (args, code, said) in rows {
        let ran = world.run(&[&["conns"], args].concat());
        assert_eq!(ran.code, code, "{args:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(said), "{args:?}: {}", ran.stderr);
    }
}
