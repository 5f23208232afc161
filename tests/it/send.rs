//! `send`, `probe` and `bench`: ZMQ Net's flags, schedule and output, and what is reported of the
//! replicas that did not acknowledge.

use std::io::Read;
use std::time::{Duration, Instant};

use crate::replica::{Mesh, peers};
use crate::support::{Running, World, ports, py, wait_for};

#[test]
fn a_message_is_answered_and_its_reply_is_data() {
    let mesh = Mesh::start();
    let sent = mesh
        .world
        .ok(&["send", "-n", "bravo", "this is a test message"]);
    assert_eq!(
        sent.stdout,
        "received: sender:\"bravo\" message:\"reply msg #1\"\n"
    );
    assert!(
        sent.stderr
            .contains(&format!("connected to {}", mesh.endpoint("bravo")))
    );
    let many = mesh
        .world
        .ok(&["send", "-n", "bravo", "-d", "1ms", "a", "b"]);
    assert!(
        many.stdout.contains("#2") && many.stdout.contains("#3"),
        "{}",
        many.stdout
    );
    // With nothing to say it only connects.
    assert_eq!(mesh.world.ok(&["send", "-n", "bravo"]).stdout, "");
    let probed = mesh.world.ok(&["probe", "bravo"]);
    assert!(probed.stdout.starts_with("ACK rtt="), "{}", probed.stdout);
    let next = mesh.world.ok(&["send", "-n", "bravo", "after the probe"]);
    assert!(
        next.stdout.contains("#4"),
        "probes are counted nowhere: {}",
        next.stdout
    );
}

#[test]
fn simultaneous_broadcasts_wait_for_nobody() {
    let mesh = Mesh::start();
    let each = |name: &'static str| {
        let text: Vec<String> = (0..50).map(|n| format!("message {n}")).collect();
        let mut args = vec!["send", "-n", name, "-o", "json"];
        args.extend(text.iter().map(String::as_str));
        mesh.world.ok(&args).json()
    };
    let both = std::thread::scope(|scope| {
        let alpha = scope.spawn(|| each("alpha"));
        let bravo = scope.spawn(|| each("bravo"));
        [alpha.join().unwrap(), bravo.join().unwrap()]
    });
    for report in both {
        assert_eq!(
            (&report["delivered"], &report["dropped"]),
            (&50.into(), &0.into())
        );
        for message in report["messages"].as_array().unwrap() {
            assert_eq!(message["attempts"], 1);
            assert!(message["rtt_us"].as_u64().unwrap() < 1_000_000, "{message}");
            for peer in message["peers"].as_array().unwrap() {
                assert_eq!(peer["acked"], true, "{message}");
            }
        }
    }
}

#[test]
fn a_killed_replica_is_reported_at_once_and_met_again_when_it_is_back() {
    let mut mesh = Mesh::start();
    mesh.kill("charlie");
    let report = mesh
        .world
        .ok(&["send", "-n", "bravo", "-o", "json", "x"])
        .json();
    let message = &report["messages"][0];
    assert!(message["rtt_us"].as_u64().unwrap() < 900_000, "{message}");
    assert_eq!(message["peers"][0]["acked"], true);
    assert_eq!(message["peers"][1]["name"], "charlie");
    assert_eq!(message["peers"][1]["acked"], false);
    assert_eq!(message["peers"][1]["reason"], "nobody listens");
    let shown = mesh.world.ok(&["send", "-n", "bravo", "y"]);
    assert!(shown.stdout.starts_with("received: "), "{}", shown.stdout);
    let said = "charlie did not acknowledge: nobody listens";
    assert!(shown.stderr.contains(said), "{}", shown.stderr);
    assert!(mesh.log("bravo").contains("is offline, message dropped"));
    mesh.replicas[2] = mesh.serve("charlie");
    mesh.wait_ready("charlie");
    let report = mesh
        .world
        .ok(&["send", "-n", "bravo", "-o", "json", "z"])
        .json();
    assert_eq!(report["messages"][0]["peers"][1]["acked"], true, "{report}");
}

#[test]
fn a_stopped_replica_costs_its_second_and_is_named() {
    let mesh = Mesh::start();
    mesh.signal("charlie", "-STOP");
    let start = Instant::now();
    let report = mesh
        .world
        .ok(&["send", "-n", "bravo", "-o", "json", "x"])
        .json();
    let message = &report["messages"][0];
    assert_eq!(message["attempts"], 1, "one timeout was enough");
    assert!(start.elapsed() >= Duration::from_millis(900));
    assert_eq!(message["peers"][0]["acked"], true);
    assert_eq!(message["peers"][1]["reason"], "silent");
    // Several clients wait together, not one after the other.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| mesh.world.ok(&["send", "-n", "bravo", "-r", "1", "y"]));
        }
    });
    mesh.signal("charlie", "-CONT");
    wait_for("charlie to acknowledge again", || {
        let report = mesh
            .world
            .ok(&["send", "-n", "bravo", "-o", "json", "z"])
            .json();
        (report["messages"][0]["peers"][1]["acked"] == true).then_some(())
    });
}

#[test]
fn a_dead_port_is_tried_as_the_schedule_says_and_fails() {
    let world = World::new();
    let endpoint = format!("tcp://127.0.0.1:{}", ports(1));
    let start = Instant::now();
    let sent = world.run(&["send", "--endpoint", &endpoint, "x"]);
    assert_eq!((sent.code, &*sent.stdout), (1, ""));
    assert!(start.elapsed() >= Duration::from_secs(6));
    let said = |text: &str| sent.stderr.matches(text).count();
    assert_eq!(
        said("no response from server, retrying send"),
        2,
        "{}",
        sent.stderr
    );
    assert_eq!(
        said(&format!(
            "connection to {endpoint} is offline, message dropped"
        )),
        1
    );

    let start = Instant::now();
    let sent = world.run(&[
        "send",
        "--endpoint",
        &endpoint,
        "-t",
        "300ms",
        "-r",
        "5",
        "x",
    ]);
    assert_eq!(sent.code, 1);
    assert_eq!(
        sent.stderr.matches("retrying").count(),
        4,
        "{}",
        sent.stderr
    );
    assert!(start.elapsed() >= Duration::from_millis(1_500));

    let mut quick = world.zmqnet(&["send", "--endpoint", &endpoint, "-o", "json", "x"]);
    quick.env("KILO_TIMEOUT", "50ms").env("KILO_RETRIES", "2");
    let sent = crate::support::Ran::of(&mut quick);
    assert_eq!(sent.code, 1);
    let message = &sent.json()["messages"][0];
    assert_eq!(
        (&message["attempts"], &message["delivered"]),
        (&2.into(), &false.into())
    );
    assert_eq!(message["reason"], "nobody listens");
    assert_eq!(
        world
            .run(&["probe", "--endpoint", &endpoint, "-t", "50ms"])
            .code,
        1
    );
    assert_eq!(
        world
            .run(&["send", "--endpoint", &endpoint, "-t", "50ms"])
            .code,
        1
    );
}

#[test]
fn a_server_that_comes_late_is_met() {
    let world = World::new();
    let port = ports(3);
    world.write("peers.json", &peers(port));
    let mut send = Running::start(&mut world.zmqnet(&["send", "-n", "alpha", "-r", "10", "hello"]));
    let mut first = [0_u8; 1];
    // The first retry is said: from now on the server is late.
    send.0
        .stderr
        .as_mut()
        .unwrap()
        .read_exact(&mut first)
        .unwrap();
    let _server = Running::start(&mut world.zmqnet(&["serve", "-n", "alpha"]));
    let status = wait_for("the end of send", || send.0.try_wait().unwrap());
    assert!(status.success());
    let mut said = String::new();
    send.0
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert_eq!(
        said,
        "received: sender:\"alpha\" message:\"reply msg #1\"\n"
    );
}

#[test]
fn a_foreign_server_gets_the_golden_frame_and_its_reply_is_shown() {
    let world = World::new();
    let endpoint = format!("tcp://127.0.0.1:{}", ports(1));
    let stub = r#"
import sys, zmq
s = zmq.Context().socket(zmq.REP)
s.RCVTIMEO = 20000
s.bind(sys.argv[1])
print(",".join(part.hex() for part in s.recv_multipart()), flush=True)
s.send(bytes.fromhex("1205627261766f1a0c7265706c79206d7367202331"))
s.close(linger=1000)
"#;
    let heard = std::thread::scope(|scope| {
        let stub = scope.spawn(|| py(&world, stub, &[&endpoint]));
        let sent = world.ok(&[
            "send",
            "-n",
            "bravo",
            "--endpoint",
            &endpoint,
            "-r",
            "20",
            "this is a test message",
        ]);
        assert_eq!(
            sent.stdout,
            "received: sender:\"bravo\" message:\"reply msg #1\"\n"
        );
        stub.join().unwrap()
    });
    assert_eq!(
        heard.stdout.trim(),
        "1205627261766f1a167468697320697320612074657374206d657373616765"
    );
}

#[test]
fn names_and_files_are_found_where_zmq_net_finds_them() {
    let mesh = Mesh::start();
    let file = mesh.world.path("peers.json");
    let file = file.to_str().unwrap();
    let other = World::new();
    // No manifest anywhere: every place that was tried is named.
    let none = other.run(&["send", "-n", "bravo", "x"]);
    assert_eq!(none.code, 66);
    assert!(none.stderr.contains("PEERS_PATH"), "{}", none.stderr);
    // Before the verb and after it; a flag beats the environment, which beats `.env`.
    other.ok(&["-p", file, "send", "-n", "bravo", "x"]);
    let mut flag = other.zmqnet(&["send", "-p", file, "-n", "bravo", "x"]);
    assert_eq!(
        crate::support::Ran::of(flag.env("PEERS_PATH", "/none")).code,
        0
    );
    other.write(
        ".env",
        &format!("PEERS_PATH={file}\nKILO_LEADER_NAME=charlie\n"),
    );
    let dotenv = other.ok(&["send", "x"]);
    assert!(
        dotenv.stdout.contains("sender:\"charlie\""),
        "{}",
        dotenv.stdout
    );
    let mut env = other.zmqnet(&["send", "x"]);
    let env = crate::support::Ran::of(env.env("KILO_LEADER_NAME", "alpha"));
    assert!(env.stdout.contains("sender:\"alpha\""), "{env:?}");
    let mut broken = other.zmqnet(&["send", "x"]);
    assert_eq!(
        crate::support::Ran::of(broken.env("PEERS_PATH", "/none")).code,
        66
    );
    for verb in ["send", "serve", "probe", "bench"] {
        let unknown = mesh.world.run(&[verb, "-n", "zulu"]);
        assert_eq!(unknown.code, 1, "{verb}");
        assert!(
            unknown
                .stderr
                .contains("could not find a peer named 'zulu'"),
            "{}",
            unknown.stderr
        );
    }
}

#[test]
fn wrong_numbers_are_usage_errors() {
    let world = World::new();
    world.write("peers.json", &peers(ports(3)));
    for wrong in [
        &["send", "-n", "alpha", "-r", "0", "x"][..],
        &["send", "-n", "alpha", "-r", "-1", "x"],
        &["send", "-n", "alpha", "-r", "three", "x"],
        &["serve", "-n", "alpha", "--verbosity", "loud"],
        &["send", "-n", "alpha", "-t", "soon", "x"],
        &["send", "-n", "alpha", "-t", "0s", "x"],
        &["send", "-n", "alpha", "-d", "5", "x"],
        &["bench", "-n", "alpha", "-d", "banana"],
        &["bench", "-n", "alpha", "-d", "0s"],
        &["send", "--endpoint", "tcp://*:1", "x"],
        &["send", "x"],
        &["serve"],
    ] {
        let ran = world.run(wrong);
        assert_eq!(ran.code, 64, "{wrong:?}: {}", ran.stderr);
        assert!(!ran.stderr.contains("invalid digit"), "{}", ran.stderr);
    }
}

#[test]
fn a_benchmark_appends_a_line_of_zmq_nets_keys() {
    let mesh = Mesh::start();
    let file = mesh.world.path("r.json");
    for clients in ["1", "3"] {
        mesh.world.ok(&[
            "bench", "-n", "alpha", "-d", "100ms", "-c", clients, "-o", "r.json",
        ]);
    }
    let text = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2);
    for (line, clients) in lines.iter().zip([1, 3]) {
        assert_eq!(
            (&line["name"], &line["n_clients"]),
            (&"alpha".into(), &clients.into())
        );
        assert!(line["messages"].as_u64().unwrap() > 0);
        assert!(line["latency (nsec)"].as_u64().unwrap() > 0);
        assert!(line["throughput (msg/sec)"].as_f64().unwrap() > 0.0);
        assert!(line["p99 (nsec)"].as_u64() >= line["p50 (nsec)"].as_u64());
        assert_eq!(line["dropped"], 0);
    }
    // Every message was bounced: the replica's next number counts them.
    let sent: u64 = lines.iter().map(|l| l["messages"].as_u64().unwrap()).sum();
    let next = mesh.world.ok(&["send", "-n", "alpha", "x"]);
    assert!(
        next.stdout.contains(&format!("#{}\"", sent + 1)),
        "{}",
        next.stdout
    );
    let lost = mesh
        .world
        .run(&["bench", "-n", "alpha", "-d", "50ms", "-o", "nowhere/r.json"]);
    assert_eq!(lost.code, 66, "{lost:?}");
    assert!(lost.stderr.contains("msg/sec, p50"), "{lost:?}");
    let disabled = mesh.world.ok(&["bench", "-n", "nobody", "-X"]);
    assert_eq!(disabled.stderr, "this client is disabled, exiting\n");
    let dead = format!("tcp://127.0.0.1:{}", ports(1));
    let args = [
        "bench",
        "--endpoint",
        &dead,
        "-d",
        "50ms",
        "-t",
        "20ms",
        "-r",
        "1",
    ];
    assert_eq!(
        mesh.world.run(&args).code,
        1,
        "a benchmark of nobody is no success"
    );
}

#[test]
fn a_manifest_that_does_not_run_still_says_where_its_replicas_listen() {
    let world = World::new();
    let port = ports(2);
    let manifest = format!(
        "zmqnet: 1\nnodes:\n  quorum: {{kind: replica, replicas: [alpha, bravo], port: {port}}}\nlinks:\n  votes: {{pattern: mesh, among: quorum}}\n"
    );
    world.write("topology.yaml", &manifest);
    let _servers =
        ["alpha", "bravo"].map(|name| Running::start(&mut world.zmqnet(&["serve", "-n", name])));
    let report = world
        .ok(&["send", "-n", "bravo", "-o", "json", "-r", "20", "x"])
        .json();
    assert_eq!(report["endpoint"], format!("tcp://127.0.0.1:{}", port + 1));
    assert_eq!(report["messages"][0]["peers"][0]["name"], "alpha");
    let unknown = world.run(&["serve", "-n", "zulu"]);
    assert_eq!(unknown.code, 1);
    world.write("topology.yaml", "zmqnet: 1\nnodes: {a: {kind: nothing}}\n");
    let wrong = world.run(&["send", "-n", "bravo", "x"]);
    assert_eq!(wrong.code, 65, "{}", wrong.stderr);
    assert!(wrong.stderr.contains("nothing"), "{}", wrong.stderr);
}

#[test]
fn a_foreign_member_of_the_mesh_is_bounced_to_and_its_answer_is_judged() {
    let world = World::new();
    let port = ports(3);
    world.write("peers.json", &peers(port));
    // Charlie is a pyzmq REP: it acknowledges once, then answers junk. Bravo does not run.
    let stub = r#"
import sys, zmq
s = zmq.Context().socket(zmq.REP)
s.RCVTIMEO = 20000
s.bind(sys.argv[1])
for answer in (bytes.fromhex("08011207636861726c69651a0341434b"), b"\xff"):
    print(s.recv().hex(), flush=True)
    s.send(answer)
s.close(linger=1000)
"#;
    let endpoint = format!("tcp://127.0.0.1:{}", port + 2);
    let _alpha = Running::start(&mut world.zmqnet(&["serve", "-n", "alpha"]));
    std::thread::scope(|scope| {
        let stub = scope.spawn(|| py(&world, stub, &[&endpoint]));
        wait_for("charlie to listen", || {
            std::net::TcpStream::connect(("127.0.0.1", port + 2)).ok()
        });
        let mut seen = Vec::new();
        for text in ["x", "y"] {
            let sent = world.ok(&["send", "-n", "alpha", "-o", "json", "-r", "20", text]);
            seen.push(sent.json()["messages"][0]["peers"].clone());
        }
        assert_eq!(seen[0][0]["reason"], "nobody listens");
        assert_eq!(seen[0][1]["acked"], true, "{seen:?}");
        assert_eq!(seen[1][1]["reason"], "answered with an error", "{seen:?}");
        let heard = stub.join().unwrap();
        let bounces = ["08011205616c7068611a0178", "08011205616c7068611a0179"];
        assert_eq!(heard.stdout.lines().collect::<Vec<_>>(), bounces);
    });
}

#[test]
fn a_node_of_a_running_network_is_found_from_anywhere() {
    let world = World::new();
    let first = ports(20);
    let manifest = |name: &str, first: u16| {
        format!(
            "zmqnet: 1\nname: {name}\ndefaults: {{ports: {first}..{}}}\nnodes:\n  quorum: {{kind: replica, replicas: [alpha, bravo, charlie]}}\nlinks:\n  votes: {{pattern: mesh, among: quorum}}\n",
            first + 9
        )
    };
    let one = world.write("one/topology.yaml", &manifest("one", first));
    world.ok(&["apply", one.to_str().unwrap()]);
    // No manifest here: the ledger of what runs says where bravo listens.
    let report = world.ok(&["send", "-n", "bravo", "-o", "json", "x"]).json();
    let peers = report["messages"][0]["peers"].as_array().unwrap();
    let names: Vec<_> = peers.iter().map(|peer| &peer["name"]).collect();
    assert_eq!(names, ["alpha", "charlie"]);
    assert!(peers.iter().all(|peer| peer["acked"] == true), "{report}");
    world.ok(&["probe", "charlie"]);
    for chosen in [&["-T", "one"][..], &[]] {
        let unknown = world.run(&[&["send", "-n", "zulu", "x"], chosen].concat());
        assert_eq!(unknown.code, 1, "{}", unknown.stderr);
        assert!(
            unknown.stderr.contains("named 'zulu'"),
            "{}",
            unknown.stderr
        );
        assert!(unknown.stderr.contains("`bravo`"), "{}", unknown.stderr);
    }
    // A second network with the same names: which one has to be said, by name or by manifest.
    let two = world.write("two/topology.yaml", &manifest("two", first + 10));
    let two = two.to_str().unwrap();
    world.ok(&["apply", two]);
    let several = world.run(&["send", "-n", "bravo", "x"]);
    assert_eq!(several.code, 64, "{}", several.stderr);
    assert!(several.stderr.contains("one, two"), "{}", several.stderr);
    let numbers = |args: &[&str]| world.ok(args).stdout;
    assert!(numbers(&["send", "-T", "one", "-n", "bravo", "y"]).contains("#2"));
    assert!(numbers(&["send", "-f", two, "-n", "bravo", "y"]).contains("#1"));
    world.ok(&["down", "-T", "one"]);
    world.ok(&["down", "-T", "two"]);
    assert_eq!(
        world.run(&["send", "-T", "one", "-n", "bravo", "x"]).code,
        69
    );
}
