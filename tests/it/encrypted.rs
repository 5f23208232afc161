//! Networks that speak CURVE, with nothing written but that they do: replicas over ipc and tcp,
//! programs by their own pyzmq, keys that change while everything runs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::support::{World, ports, py, python, root, wait_for};

/// A mesh of three, all encrypted on one machine.
fn mesh(world: &World, more: &str) -> u16 {
    let first = ports(8);
    let text = format!(
        "{{zmqnet: 1, name: locked, security: {{curve: always}}, defaults: {{ports: {first}..{}}}, nodes: {{quorum: {{kind: replica, replicas: [alpha, bravo, charlie]}}}}, links: {{votes: {{pattern: mesh, among: quorum{more}}}}}}}",
        first + 7
    );
    world.write("topology.yaml", &text);
    first
}

/// `send` as JSON.
fn send(world: &World, to: &str) -> serde_json::Value {
    world.run(&["send", "-n", to, "-o", "json", "hello"]).json()
}

/// The wires of the mesh as `FROM>TO STATE WHY`.
fn wires(world: &World) -> Vec<String> {
    let wires = world.ok(&["why", "votes", "-o", "json"]).json();
    let word = |wire: &serde_json::Value, key: &str| wire[key].as_str().unwrap_or("").to_owned();
    let wires = wires.as_array().unwrap().iter();
    wires
        .map(|wire| {
            let [from, to, state] = ["from", "to", "state"].map(|key| word(wire, key));
            assert_eq!(wire["mechanism"], "CURVE");
            format!("{from}>{to} {state} {}", word(wire, "reason"))
        })
        .collect()
}

#[test]
fn a_mesh_over_ipc_and_over_tcp_needs_nothing_written_but_always() {
    for transport in ["", ", transport: tcp"] {
        let world = World::new();
        mesh(&world, transport);
        let applied = world.ok(&["apply"]);
        assert!(
            applied.stderr.contains("key pairs made in keys"),
            "{}",
            applied.stderr
        );
        let sent = send(&world, "bravo");
        assert_eq!(sent["delivered"], 1, "{sent}");
        let acked = sent["messages"][0]["peers"].as_array().unwrap().clone();
        assert!(acked.iter().all(|peer| peer["acked"] == true), "{sent}");
        wait_for("every wire is there", || {
            let wires = wires(&world);
            wires
                .iter()
                .all(|it| it.contains("connected"))
                .then_some(())
        });
        world.ok(&["probe", "alpha"]);
        world.ok(&["bench", "-n", "alpha", "-d", "100ms"]);
        // Without the operator's key nobody is asked in clear text.
        let away = world.path("operator.key_secret");
        fs::rename(world.path("keys/operator.key_secret"), away).unwrap();
        let refused = world.run(&["send", "-n", "bravo", "hello"]);
        assert_eq!(refused.code, 1, "{}", refused.stderr);
        assert!(
            refused.stderr.contains("`operator` has no key"),
            "{}",
            refused.stderr
        );
        world.ok(&["down"]);
    }
}

#[test]
fn a_key_is_replaced_and_no_connection_is_lost() {
    let world = World::new();
    mesh(&world, "");
    world.ok(&["apply"]);
    assert_eq!(send(&world, "bravo")["delivered"], 1);
    let since = |world: &World| {
        let status = world.ok(&["status", "-o", "json"]).json();
        let nodes = status["nodes"].as_array().unwrap().clone();
        let pids: Vec<_> = nodes.iter().map(|node| node["pid"].clone()).collect();
        let counts = status["wires"].as_array().unwrap().clone();
        let counts: Vec<_> = counts.iter().map(|wire| wire["messages"].clone()).collect();
        (pids, counts)
    };
    let before = since(&world);
    world.ok(&["keys", "rotate", "bravo"]);
    world.ok(&["keys", "rotate", "alpha"]);
    for name in ["alpha", "bravo", "charlie"] {
        let sent = send(&world, name);
        let acked = sent["messages"][0]["peers"].as_array().unwrap().clone();
        assert!(acked.iter().all(|peer| peer["acked"] == true), "{sent}");
    }
    let after = since(&world);
    assert_eq!(before.0, after.0, "no process was restarted");
    // A connection that was lost would count from 0 again: every count has only grown.
    for (was, now) in before.1.iter().zip(&after.1) {
        let count = |it: &serde_json::Value| it["in"].as_u64().unwrap_or(0);
        assert!(count(now) > count(was), "{was} -> {now}");
    }
    // Without an overlap the key before is good for nothing, and the mesh still heals.
    world.ok(&["keys", "rotate", "charlie", "--overlap", "0s"]);
    wait_for("the mesh uses the new key of charlie", || {
        let acked = send(&world, "bravo")["messages"][0]["peers"]
            .as_array()?
            .clone();
        acked.iter().all(|peer| peer["acked"] == true).then_some(())
    });
}

#[test]
fn the_end_of_an_overlap_ends_no_connection_and_revoking_a_replaced_key_does() {
    let world = World::new();
    let first = mesh(&world, "");
    world.ok(&["apply"]);
    // The connections that the wires are, by the numbers they have at their listeners.
    let conns = || {
        let wires = world.ok(&["why", "votes", "-o", "json"]).json();
        let wires = wires.as_array().unwrap().clone();
        let conns: Vec<Option<u64>> = wires.iter().map(|it| it["conn"].as_u64()).collect();
        conns.iter().all(Option::is_some).then_some(conns)
    };
    let before = wait_for("every wire", conns);
    let operator = fs::read_to_string(world.path("keys/operator.key")).unwrap();
    copy(&world.path("keys"), &world.path("old"));
    fs::set_permissions(world.path("old"), fs::Permissions::from_mode(0o700)).unwrap();
    for name in ["alpha", "operator"] {
        world.ok(&["keys", "rotate", name, "--overlap", "2s"]);
    }
    let at = format!("tcp://127.0.0.1:{first}");
    let ask = |server: &str, keys: &str| {
        let to = ["send", "--endpoint", &at, "--server-key", server];
        let with = ["--keys", keys, "-r", "1", "-t", "2s", "hello"];
        world.run(&[&to[..], &with].concat()).code
    };
    // Whoever comes with a key whose time is over is refused, and meets no key whose time is over.
    for (server, keys) in [("keys/alpha.key", "old"), ("old/alpha.key", "keys")] {
        wait_for("a replaced key meets nobody any more", || {
            (ask(server, keys) == 1).then_some(())
        });
    }
    assert_eq!(ask("keys/alpha.key", "keys"), 0);
    let acked = send(&world, "bravo")["messages"][0]["peers"]
        .as_array()
        .unwrap()
        .clone();
    assert!(acked.iter().all(|peer| peer["acked"] == true), "{acked:?}");
    assert_eq!(conns(), Some(before.clone()), "every connection lives on");
    let why = world.ok(&["why", "votes"]).stdout;
    let words = "with the key of operator";
    let refused = why.lines().find(|line| line.contains(words)).unwrap();
    let words = "its key was replaced, and its time is over";
    assert!(refused.contains(words), "{refused}");
    let key = operator.lines().find(|line| line.contains("public-key"));
    assert!(refused.contains(key.unwrap().split('"').nth(1).unwrap()));
    // What was replaced is retired, not distrusted: that has to be said, by the name or by the key.
    let old = fs::read_to_string(world.path("old/alpha.key")).unwrap();
    let old = old
        .lines()
        .find(|line| line.contains("public-key"))
        .unwrap();
    world.ok(&["keys", "revoke", old.split('"').nth(1).unwrap()]);
    let names = wires(&world);
    wait_for(
        "alpha's connections are ended, and made again by its new key",
        || {
            let now = conns()?;
            let mut both = names.iter().zip(before.iter().zip(&now));
            let is_right = both.all(|(name, (was, now))| (was != now) == name.contains("alpha"));
            is_right.then_some(())
        },
    );
}

#[test]
fn who_is_revoked_is_gone_within_a_second_and_named_and_comes_back_with_another_key() {
    let world = World::new();
    mesh(&world, "");
    world.ok(&["apply"]);
    wait_for("every wire", || {
        wires(&world)
            .iter()
            .all(|it| it.contains("connected"))
            .then_some(())
    });
    world.ok(&["keys", "revoke", "charlie"]);
    wait_for("charlie is refused everywhere", || {
        let wires = wires(&world);
        let down = wires.iter().filter(|wire| wire.contains("down")).count();
        let stays = wires.iter().filter(|wire| !wire.contains("charlie"));
        assert!(
            stays.clone().all(|wire| wire.contains("connected")),
            "{wires:?}"
        );
        (down == 4).then_some(())
    });
    let sent = send(&world, "bravo");
    let peers = sent["messages"][0]["peers"].as_array().unwrap().clone();
    let charlie = peers.iter().find(|peer| peer["name"] == "charlie").unwrap();
    let reason = charlie["reason"].as_str().unwrap();
    assert!(reason.contains("revoked"), "{sent}");
    assert_eq!(world.run(&["send", "-n", "charlie", "x"]).code, 1);
    world.ok(&["keys", "rotate", "charlie"]);
    wait_for("charlie is admitted with its new key", || {
        wires(&world)
            .iter()
            .all(|it| it.contains("connected"))
            .then_some(())
    });
}

#[test]
fn roles_follow_their_keys_while_nobody_supervises_them() {
    let world = World::new();
    mesh(&world, "");
    world.ok(&["apply"]);
    wait_for("every wire", || {
        let all = wires(&world);
        all.iter().all(|it| it.contains("connected")).then_some(())
    });
    let status = world.ok(&["status", "-o", "json"]).json();
    for who in ["keeper", "supervisor"] {
        let pid = status[who]["pid"].as_u64().unwrap();
        let killed = Command::new("kill").args(["-9", &pid.to_string()]).status();
        assert!(killed.unwrap().success());
    }
    world.ok(&["keys", "rotate", "alpha"]);
    world.ok(&["keys", "revoke", "charlie"]);
    // `send` finds whom it talks to in the ledger and wakes nobody.
    wait_for("charlie acknowledges no more, alpha does", || {
        let peers = send(&world, "bravo")["messages"][0]["peers"]
            .as_array()?
            .clone();
        let acked = |name: &str| {
            peers
                .iter()
                .any(|it| it["name"] == name && it["acked"] == true)
        };
        (acked("alpha") && !acked("charlie")).then_some(())
    });
}

#[test]
fn a_client_that_joins_is_admitted_while_the_program_it_asks_runs_on() {
    let world = World::new();
    let first = ports(8);
    let text = |clients: u32| {
        format!(
            "{{zmqnet: 1, name: grows, security: {{curve: always}}, defaults: {{ports: {first}..{}}}, nodes: {{pong: {{command: [/bin/sleep, '100']}}, ping: {{command: [/bin/sleep, '100'], replicas: {clients}}}}}, links: {{pings: {{pattern: request, from: ping, to: pong}}}}}}",
            first + 7
        )
    };
    world.write("topology.yaml", &text(1));
    world.ok(&["apply"]);
    let pid = || {
        let status = world.ok(&["status", "-o", "json"]).json();
        let nodes = status["nodes"].as_array().unwrap().clone();
        let pong = nodes.iter().find(|node| node["name"] == "pong").unwrap();
        pong["pid"].as_u64().unwrap()
    };
    let admitted = || {
        let env = world.ok(&["env", "pong", "-o", "json"]).json();
        let path = env["ZMQNET_KEYS"].as_str().unwrap().to_owned();
        let keys: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        keys["sockets"]["PINGS"]["clients"]
            .as_object()
            .unwrap()
            .len()
    };
    let before = pid();
    assert_eq!(admitted(), 1);
    world.write("topology.yaml", &text(2));
    let applied = world.ok(&["apply"]);
    assert!(
        applied.stderr.contains("it admits `ping-1` now"),
        "{}",
        applied.stderr
    );
    wait_for("both are admitted", || (admitted() == 2).then_some(()));
    assert_eq!(pid(), before, "it was not restarted");
}

/// A worker that dials whoever asks it, and its prober, by six lines of pyzmq.
const WORKER: &str = "\
import json, os, zmq
keys = json.load(open(os.environ['ZMQNET_KEYS']))
socket = zmq.Context().socket(zmq.REP)
socket.curve_publickey, socket.curve_secretkey = keys['public'].encode(), keys['secret'].encode()
for endpoint, key in keys['sockets']['TASKS']['servers'].items():
    socket.curve_serverkey = key.encode()
    socket.connect(endpoint)
while True:
    assert socket.recv() == b'PING'
    socket.send(b'PONG')
";

#[test]
fn a_worker_that_only_dials_is_probed_under_curve_too() {
    let world = World::new();
    let first = ports(4);
    world.write("worker.py", WORKER);
    let python = python().display();
    world.write(
        "topology.yaml",
        &format!(
            "{{zmqnet: 1, name: probed, security: {{curve: always}}, defaults: {{ports: {first}..{}}}, nodes: {{client: {{command: [/bin/sleep, '100']}}, worker: {{command: ['{python}', worker.py], probe: {{request: tasks, send: PING, expect: PONG}}}}}}, links: {{tasks: {{pattern: request, from: client, to: worker, listen: from}}}}}}",
            first + 3
        ),
    );
    world.ok(&["apply"]);
    let status = world.ok(&["status", "-o", "json"]).json();
    let nodes = status["nodes"].as_array().unwrap().clone();
    let worker = nodes.iter().find(|node| node["name"] == "worker").unwrap();
    assert_eq!(worker["state"], "ready");
    assert!(
        worker["probe"]["p50_us"].is_number(),
        "it was asked: {worker}"
    );
}

/// A manifest of two hosts, which are two addresses of this machine's loopback.
const TWO_HOSTS: &str = "\
zmqnet: 1
name: wide
hosts: {left: {address: 127.0.0.2}, right: {address: 127.0.0.3}}
nodes:
  alpha: {kind: replica, host: left, port: PORT}
  bravo: {kind: replica, host: right, port: PORT}
links:
  votes: {pattern: mesh, among: [alpha, bravo]}
";

#[test]
fn two_hosts_are_encrypted_with_nothing_written_once_they_have_each_others_keys() {
    let text = TWO_HOSTS.replace("PORT", &ports(1).to_string());
    let (left, right) = (World::new(), World::new());
    for (world, host) in [(&left, "left"), (&right, "right")] {
        world.write("topology.yaml", &text);
        let refused = world.run(&["apply", "--host", host]);
        assert_eq!(refused.code, 1, "{}", refused.stderr);
    }
    let copy = |from: &World, to: &World, name: &str| {
        let file = format!("keys/{name}.key");
        fs::copy(from.path(&file), to.path(&file)).unwrap();
    };
    copy(&left, &right, "alpha");
    copy(&right, &left, "bravo");
    left.ok(&["apply", "--host", "left"]);
    right.ok(&["apply", "--host", "right"]);
    let is_whole = |world: &World, to: &str| {
        let sent = send(world, to);
        let peers = sent["messages"][0]["peers"].as_array()?.clone();
        peers.iter().all(|peer| peer["acked"] == true).then_some(())
    };
    wait_for("both reach each other", || {
        is_whole(&left, "alpha").and(is_whole(&right, "bravo"))
    });
    assert!(
        wires(&left)
            .iter()
            .any(|wire| wire.contains("alpha>bravo connected"))
    );
    // A new key that the other host does not have yet harms nobody, also after a restart.
    left.ok(&["keys", "rotate", "alpha"]);
    left.ok(&["restart", "alpha"]);
    wait_for("both reach each other by the key before", || {
        is_whole(&left, "alpha").and(is_whole(&right, "bravo"))
    });
    copy(&left, &right, "alpha");
    wait_for("and by the new one", || {
        is_whole(&left, "alpha").and(is_whole(&right, "bravo"))
    });
    // Revoked on one host, it is admitted there no more, and the other host need not know.
    right.ok(&["keys", "revoke", "alpha"]);
    wait_for("alpha is refused by bravo", || {
        let wires = wires(&left);
        let wire = wires
            .iter()
            .find(|wire| wire.starts_with("alpha>bravo"))
            .unwrap();
        wire.contains("down bravo does not admit the key of alpha")
            .then_some(())
    });
}

#[test]
fn an_endpoint_and_its_key_are_enough_to_talk_to_a_replica() {
    let world = World::new();
    let first = mesh(&world, "");
    world.ok(&["apply"]);
    let at = format!("tcp://127.0.0.1:{first}");
    let ask = |key: &str, keys: &str| {
        let args = [
            "send",
            "--endpoint",
            &at,
            "--server-key",
            key,
            "--keys",
            keys,
            "hello",
        ];
        world
            .run(&[&args[..], &["-r", "1", "-t", "2s"]].concat())
            .code
    };
    assert_eq!(ask("keys/alpha.key", "keys"), 0);
    assert_eq!(ask("keys/bravo.key", "keys"), 1, "another's key");
    world.ok(&["keys", "new", "--keys", "mine", "operator"]);
    assert_eq!(ask("keys/alpha.key", "mine"), 1, "somebody else's operator");
    world.ok(&[
        "keys",
        "allow",
        "mine/operator.key",
        "--as",
        "ann",
        "-n",
        "quorum",
    ]);
    wait_for("ann is admitted", || {
        (ask("keys/alpha.key", "mine") == 0).then_some(())
    });
}

/// A copy of the examples, so that no keys are made among the project's files.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// `zmqnet` with a Python that has pyzmq on the PATH.
fn with_pyzmq(world: &World, args: &[&str]) -> Command {
    let venv = python().parent().unwrap();
    let path = format!("{}:{}", venv.display(), std::env::var("PATH").unwrap());
    let mut command = world.zmqnet(args);
    command.env("PATH", path);
    command
}

/// The example, on ports of this test's own.
fn example(world: &World) {
    copy(&root().join("topologies/curve"), &world.path("curve"));
    let text = fs::read_to_string(root().join("topologies/curve.yaml")).unwrap();
    let first = ports(4);
    let range = format!("defaults: {{ports: {first}..{}}}\nnodes:", first + 3);
    world.write("topology.yaml", &text.replace("nodes:", &range));
}

#[test]
fn two_programs_talk_under_curve_by_six_lines_of_pyzmq_each() {
    let world = World::new();
    example(&world);
    let applied = with_pyzmq(&world, &["apply"]).output().unwrap();
    let said = String::from_utf8_lossy(&applied.stderr).into_owned();
    assert!(applied.status.success(), "{said}");
    wait_for("a hundred round trips", || {
        let logs = world.ok(&["logs", "ping"]).stdout;
        logs.contains("100 encrypted round trips").then_some(())
    });
    // Who has no key on the list is heard by nobody, and neither is who has none at all.
    let status = world.ok(&["status", "-o", "json"]).json();
    let endpoint = status["nodes"][0]["endpoints"][0]["address"]
        .as_str()
        .unwrap()
        .to_owned();
    let ask = "import sys, zmq, zmq.auth\n\
               socket = zmq.Context().socket(zmq.REQ)\n\
               socket.linger = 0\n\
               if sys.argv[2] != 'open':\n    \
                   socket.curve_serverkey, _ = zmq.auth.load_certificate('curve/keys/pong.key')\n    \
                   socket.curve_publickey, socket.curve_secretkey = zmq.curve_keypair()\n\
               if sys.argv[2] == 'ping':\n    \
                   socket.curve_publickey, socket.curve_secretkey = zmq.auth.load_certificate('curve/keys/ping.key_secret')\n\
               socket.connect(sys.argv[1])\n\
               socket.send(b'ping')\n\
               print(socket.recv().decode() if socket.poll(int(sys.argv[3])) else 'silence')\n";
    let heard = |who: &str, wait: &str| py(&world, ask, &[&endpoint, who, wait]).stdout;
    assert_eq!(heard("ping", "20000"), "pong\n");
    assert_eq!(heard("stranger", "1000"), "silence\n");
    assert_eq!(heard("open", "1000"), "silence\n");
    // The file follows the directory while the program runs.
    world.ok(&["keys", "revoke", "ping"]);
    wait_for("the program was told", || {
        (heard("ping", "500") == "silence\n").then_some(())
    });
    assert!(world.run(&["env", "pong"]).stdout.contains("ZMQNET_KEYS=/"));
    world.ok(&["down"]);
    let left = fs::read_dir(world.path("run/zmqnet")).unwrap().flatten();
    let names: Vec<_> = left.map(|entry| entry.file_name()).collect();
    assert!(
        names.is_empty(),
        "no key stays beside the sockets: {names:?}"
    );
}
