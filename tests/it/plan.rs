//! `plan`, `graph` and `env`: what a manifest becomes, before anything starts.

use std::net::TcpListener;

use serde_json::Value;

use crate::support::{Ran, World, ports, root};

/// A text in which nothing depends on this run: ports count from the test's first, directories and
/// digests have names.
fn neutral(world: &World, first: u16, text: &str) -> String {
    let mut text = text.replace(&world.dir().display().to_string(), "WORLD");
    for offset in (0..20).rev() {
        text = text.replace(&(first + offset).to_string(), &format!("PORT+{offset}"));
    }
    let lines = text
        .lines()
        .map(|line| match line.split_once("\"digest\":") {
            Some((indent, _)) => format!("{indent}\"digest\": \"DIGEST\","),
            None => line.to_owned(),
        });
    lines.collect::<Vec<_>>().join("\n") + "\n"
}

#[track_caller]
fn golden(name: &str, text: &str) {
    let path = root().join("tests/golden").join(name);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        expected == text,
        "{name} is not what is printed now (UPDATE=1 writes it):\n{text}"
    );
}

fn manifest(world: &World, first: u16, rest: &str) -> String {
    let text = format!(
        "zmqnet: 1\nname: demo\ndefaults: {{ports: {first}..{}}}\n{rest}",
        first + 19
    );
    world.write("demo.yaml", &text);
    "demo.yaml".to_owned()
}

fn pairs(plan: &Value, key: &str) -> Vec<(String, String)> {
    let rows = plan["wires"].as_array().unwrap().iter();
    rows.map(|wire| (wire["from"].as_str().unwrap().into(), wire[key].to_string()))
        .collect()
}

#[test]
fn a_plan_is_the_same_bytes_each_time_and_these() {
    let (world, first) = (World::new(), ports(20));
    let file = manifest(
        &world,
        first,
        "nodes:\n  quorum: {kind: replica, replicas: [alpha, bravo]}\n  ping: {command: [/bin/true, \"${node.name}\"]}\n  pong: {command: [/bin/true], replicas: 2, after: {ping: started}, probe: {request: asks}}\nlinks:\n  votes: {pattern: mesh, among: quorum}\n  pings: {pattern: pubsub, from: ping, to: {pong: [a, b]}}\n  asks: {pattern: request, from: ping, to: pong}\n",
    );
    let one = world.ok(&["plan", &file, "-o", "json"]);
    let two = world.ok(&["plan", &file, "-o", "json"]);
    assert_eq!(one.stdout, two.stdout);
    golden("plan.json", &neutral(&world, first, &one.stdout));
    let table = world.ok(&["plan", &file, "--explain"]).stdout;
    let table = neutral(&world, first, &table);
    let table: Vec<&str> = table
        .lines()
        .map(|l| l.split(", digest").next().unwrap())
        .collect();
    golden("plan.txt", &(table.join("\n") + "\n"));
    assert_eq!(world.run(&["plan", &file, "--detailed-exitcode"]).code, 2);
}

#[test]
fn a_taken_port_stops_the_plan_with_its_line_and_its_holder() {
    let (world, first) = (World::new(), ports(20));
    let held = TcpListener::bind(("127.0.0.1", first + 1)).unwrap();
    let rest = format!(
        "nodes:\n  a: {{kind: replica, port: {}}}\n  b: {{kind: replica}}\n",
        first + 1
    );
    let file = manifest(&world, first, &rest);
    let ran = world.run(&["plan", &file]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stdout.is_empty());
    let pid = std::process::id();
    assert!(
        ran.stderr.contains(&format!("(pid {pid})")),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("demo.yaml:5:"), "{}", ran.stderr);
    assert_eq!(ran.stderr.matches("ZN0508").count(), 1, "{}", ran.stderr);
    assert_eq!(
        world.run(&["check", &file]).code,
        0,
        "`check` reads files only"
    );
    drop(held);
    world.ok(&["plan", &file]);
}

#[test]
fn an_unwritten_port_steps_aside_for_whoever_has_it() {
    let (world, first) = (World::new(), ports(20));
    let _held = TcpListener::bind(("127.0.0.1", first)).unwrap();
    let file = manifest(&world, first, "nodes:\n  a: {kind: replica}\n");
    let plan = world.ok(&["plan", &file, "-o", "json"]).json();
    let expected = format!("tcp://127.0.0.1:{}", first + 1);
    assert_eq!(plan["processes"][0]["endpoints"][0], expected);
}

#[test]
fn a_program_that_is_not_there_stops_apply_and_only_warns_in_the_plan() {
    let (world, first) = (World::new(), ports(20));
    let file = manifest(
        &world,
        first,
        "nodes:\n  a: {command: [./nowhere]}\n  b: {command: [no-such-program-anywhere]}\n  c: {command: [/bin/true]}\n",
    );
    for (command, code) in [("plan", 0), ("apply", 1)] {
        let ran = world.run(&[command, &file]);
        assert_eq!(ran.code, code, "{}", ran.stderr);
        assert_eq!(ran.stderr.matches("ZN0509").count(), 2, "{}", ran.stderr);
    }
    assert_eq!(world.run(&["status"]).code, 69, "nothing was started");
    let checked = world.ok(&["check", &file]);
    assert_eq!(checked.stderr, "");
}

#[test]
fn a_machine_that_is_none_of_the_hosts_may_plan_and_not_apply() {
    let (world, first) = (World::new(), ports(20));
    let nodes = "nodes:\n  a: {command: [/bin/true], host: far}\n";
    let file = manifest(
        &world,
        first,
        &format!("hosts: {{far: {{address: 192.0.2.1}}}}\n{nodes}"),
    );
    let ran = world.ok(&["plan", &file]);
    assert!(ran.stderr.contains("ZN0510"), "{}", ran.stderr);
    assert!(ran.stdout.contains("start  a"), "{}", ran.stdout);
    let told = world.ok(&["plan", &file, "--host", "far"]);
    assert_eq!((told.stderr.as_str(), told.stdout), ("", ran.stdout));
    assert_eq!(world.run(&["plan", &file, "--host", "fra"]).code, 1);
    let ran = world.run(&["apply", &file]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("ZN0510"), "{}", ran.stderr);
    assert_eq!(world.run(&["status"]).code, 69, "nothing was started");
}

#[test]
fn what_a_person_starts_is_planned_as_that() {
    let (world, first) = (World::new(), ports(20));
    let file = manifest(
        &world,
        first,
        "nodes:\n  a: {command: [/bin/true], run: manual}\n",
    );
    let plan = world.ok(&["plan", &file]).stdout;
    assert!(
        plan.contains("new in `nodes.a`, waits for `zmqnet start a`"),
        "{plan}"
    );
}

#[test]
fn apply_names_what_is_not_built_before_what_is_missing() {
    let (world, first) = (World::new(), ports(20));
    let file = manifest(
        &world,
        first,
        "hosts: {far: {address: 192.0.2.1}}\nnodes:\n  a: {command: [./nowhere]}\n  q: {kind: peer}\n",
    );
    let ran = world.run(&["apply", &file]);
    assert_eq!(ran.code, 1);
    assert!(
        ran.stderr.contains("kind `peer` is not built yet"),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("nothing was started"), "{}", ran.stderr);
}

#[test]
fn the_peers_file_of_zmq_net_is_three_rep_and_six_req() {
    let (world, first) = (World::new(), ports(20));
    let member = |index: u16, name: &str| {
        let port = first + index;
        format!(
            "{{\"pid\": {index}, \"name\": \"{name}\", \"address\": \"x\", \"host\": \"apollo\", \"ipaddr\": \"127.0.0.1\", \"port\": {port}}}"
        )
    };
    let members = [member(1, "alpha"), member(2, "bravo"), member(3, "charlie")];
    world.write(
        "peers.json",
        &format!(
            "{{\"info\": {{\"num_replicas\": 3}}, \"replicas\": [{}]}}",
            members.join(", ")
        ),
    );
    let plan = world.ok(&["plan", "-o", "json"]).json();
    assert_eq!(plan["topology"], "peers");
    assert_eq!(plan["processes"].as_array().unwrap().len(), 3);
    assert_eq!(pairs(&plan, "endpoint").len(), 6);
    let expected = format!("tcp://127.0.0.1:{}", first + 2);
    assert_eq!(plan["processes"][1]["endpoints"][0], expected);
    let wires = plan["wires"].as_array().unwrap();
    let dialled = |to: &str, index: u16| {
        let endpoint = format!("tcp://127.0.0.1:{}", first + index);
        wires
            .iter()
            .filter(|w| w["to"] == to && w["endpoint"] == endpoint)
            .count()
    };
    assert_eq!(
        [
            dialled("alpha", 1),
            dialled("bravo", 2),
            dialled("charlie", 3)
        ],
        [2, 2, 2]
    );
}

#[test]
fn an_included_file_is_a_template_with_a_prefix() {
    let (world, first) = (World::new(), ports(20));
    world.write(
        "part.yaml",
        "zmqnet: 1\nvars: {count: {type: int, default: 1}}\nnodes:\n  worker: {command: [/bin/true], replicas: \"${count}\"}\n  sink: {command: [/bin/true], after: worker}\nlinks:\n  work: {pattern: pipeline, from: worker, to: sink}\n",
    );
    let file = manifest(
        &world,
        first,
        "include:\n  east: part.yaml\n  west: {file: part.yaml, vars: {count: 2}}\nnodes:\n  client: {command: [/bin/true], after: [east.sink]}\nlinks:\n  ask: {pattern: request, from: client, to: west.worker}\n",
    );
    let plan = world.ok(&["plan", &file, "-o", "json"]).json();
    let names: Vec<&str> = plan["processes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "client",
            "east.worker-0",
            "east.sink",
            "west.worker-0",
            "west.worker-1",
            "west.sink"
        ]
    );
    let env = world.ok(&["env", "west.worker-1", &file]).stdout;
    assert!(env.contains("ZMQNET_WEST_WORK_TYPE=PUSH"), "{env}");
    assert!(env.contains("ZMQNET_ASK_TYPE=REP"), "{env}");
}

#[test]
fn a_node_whose_when_does_not_hold_is_as_unwritten() {
    let (world, first) = (World::new(), ports(20));
    let file = manifest(
        &world,
        first,
        "vars: {mode: {type: enum, values: [small, large], default: small}}\nnodes:\n  a: {command: [/bin/true], after: extra}\n  extra: {command: [/bin/true], when: {mode: [large]}}\nlinks:\n  tasks: {pattern: request, from: a, to: extra}\n",
    );
    let count = |args: &[&str]| {
        let plan = world.ok(args).json();
        plan["processes"].as_array().unwrap().len()
    };
    assert_eq!(count(&["plan", &file, "-o", "json"]), 1);
    assert_eq!(
        count(&["plan", &file, "-o", "json", "--var", "mode=large"]),
        2
    );
}

#[test]
fn each_host_plans_its_own_share() {
    let (world, first) = (World::new(), ports(20));
    let rest = format!(
        "hosts: {{apollo: {{address: 10.250.0.4}}, zeus: {{address: 10.250.0.5}}}}\nsecurity: {{curve: never}}\nnodes:\n  client: {{command: [/bin/true], host: apollo}}\n  worker: {{command: [/bin/true], host: zeus, port: {first}}}\nlinks:\n  tasks: {{pattern: request, from: client, to: worker}}\n"
    );
    let file = manifest(&world, first, &rest);
    let lost = world.run(&["apply", &file]);
    assert_eq!(lost.code, 1);
    assert!(lost.stderr.contains("--host apollo"), "{}", lost.stderr);
    let starts = |host: &str| {
        let ran = world.ok(&["plan", &file, "-o", "json", "--host", host]);
        assert!(ran.stderr.contains("ZN0504"), "every plan warns");
        let plan = ran.json();
        let changes = plan["changes"].as_array().unwrap().iter();
        changes
            .map(|c| c["node"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(starts("apollo"), ["client"]);
    assert_eq!(starts("zeus"), ["worker"]);
    let env = world
        .ok(&["env", "client", &file, "--host", "apollo"])
        .stdout;
    assert!(
        env.contains(&format!("ZMQNET_TASKS_ENDPOINT=tcp://10.250.0.5:{first}")),
        "{env}"
    );
    assert_eq!(world.run(&["plan", &file, "--host", "nobody"]).code, 1);
}

#[test]
fn what_is_not_built_is_planned_and_named() {
    let (world, first) = (World::new(), ports(20));
    let file = manifest(
        &world,
        first,
        "nodes:\n  beacon: {kind: lighthouse}\n  east: {kind: peer, replicas: 2}\nlinks:\n  talk: {pattern: gossip, among: east, via: beacon}\n",
    );
    let plan = world.ok(&["plan", &file, "-o", "json"]).json();
    let what: Vec<&str> = plan["unbuilt"]
        .as_array()
        .unwrap()
        .iter()
        .map(|u| u["what"].as_str().unwrap())
        .collect();
    assert_eq!(what, ["kind `lighthouse`", "kind `peer`", "`via`"]);
    assert_eq!(plan["unbuilt"][2]["origin"]["line"], 8);
    let table = world.ok(&["plan", &file]).stdout;
    assert!(
        table.contains("not built yet: kind `lighthouse` (nodes.beacon.kind, line 5)"),
        "{table}"
    );
}

#[test]
fn a_network_is_drawn_in_both_languages() {
    let (world, first) = (World::new(), ports(20));
    let file = manifest(
        &world,
        first,
        "nodes:\n  quorum: {kind: replica, replicas: 3}\n  ask: {command: [./nowhere]}\nlinks:\n  votes: {pattern: mesh, among: quorum}\n  asks: {pattern: request, from: ask, to: quorum}\n",
    );
    golden("graph.mermaid", &world.ok(&["graph", &file]).stdout);
    golden(
        "graph.dot",
        &world.ok(&["graph", &file, "-o", "dot"]).stdout,
    );
}

#[test]
fn the_environment_of_an_instance_is_printed_and_a_wrong_name_is_helped() {
    let (world, first) = (World::new(), ports(20));
    let file = manifest(
        &world,
        first,
        "nodes:\n  a: {command: [/bin/true], replicas: 3, env: {WHO: \"${node.name} on ${node.host}\", COST: \"5$$\"}}\nlinks:\n  votes: {pattern: mesh, among: a}\n",
    );
    let env = world.ok(&["env", "a-1", &file]).stdout;
    golden("env.txt", &neutral(&world, first, &env));
    let json = world.ok(&["env", "a-1", &file, "-o", "json"]).json();
    assert_eq!(json["WHO"], "a-1 on 127.0.0.1");
    let many = world.run(&["env", "a", &file]);
    assert_eq!(many.code, 1);
    assert!(many.stderr.contains("3 instances"), "{}", many.stderr);
    let none = world.run(&["env", "a-7", &file]);
    assert!(none.stderr.contains("did you mean"), "{}", none.stderr);
}

#[test]
fn a_manifest_that_cannot_be_read_is_66_and_a_wrong_one_65() {
    let world = World::new();
    let code = |args: &[&str]| world.run(args).code;
    assert_eq!(code(&["plan"]), 66);
    assert_eq!(code(&["plan", "nowhere.yaml"]), 66);
    assert_eq!(code(&["plan", "."]), 66);
    world.write("bad.yaml", "zmqnet: 1\nnodes: {a: {}}\n");
    assert_eq!(code(&["plan", "bad.yaml"]), 65);
    let mut command = world.zmqnet(&["plan", "-", "-o", "json"]);
    command.stdin(std::process::Stdio::null());
    assert_eq!(Ran::of(&mut command).code, 65, "an empty manifest");
}

#[test]
fn what_is_right_passes_every_rule_without_a_word() {
    let world = World::new();
    let mut count = 0;
    for entry in std::fs::read_dir(root().join("tests/good"))
        .unwrap()
        .flatten()
    {
        let ran = world.ok(&["check", entry.path().to_str().unwrap()]);
        assert_eq!(ran.stderr, "", "{}", entry.path().display());
        count += 1;
    }
    assert!(count >= 7);
}

#[test]
fn a_network_without_a_name_has_that_of_its_file_made_one() {
    let (world, first) = (World::new(), ports(20));
    let text = format!(
        "zmqnet: 1\ndefaults: {{ports: {first}..{}}}\nnodes: {{a: {{kind: replica}}}}\n",
        first + 19
    );
    world.write("my net.yaml", &text);
    let plan = world.ok(&["plan", "my net.yaml", "-o", "json"]).json();
    assert_eq!(plan["topology"], "my-net");
}

#[test]
fn plan_says_what_apply_does_of_who_was_stopped_and_of_another_manifest() {
    let world = World::new();
    crate::apply::hello(&world);
    world.ok(&["apply"]);
    let changes = |code: i32| {
        let ran = world.run(&["plan", "-o", "json", "--detailed-exitcode"]);
        assert_eq!(ran.code, code, "{ran:?}");
        ran.json()["changes"].as_array().unwrap().clone()
    };
    assert_eq!(changes(0), Vec::<serde_json::Value>::new());
    world.ok(&["stop", "tick"]);
    let stopped = changes(2);
    assert_eq!(stopped.len(), 1, "{stopped:?}");
    let cause = stopped[0]["cause"].as_str().unwrap();
    assert_eq!(
        (&stopped[0]["op"], &stopped[0]["node"]),
        (&"start".into(), &"tick".into())
    );
    let applied = world.ok(&["apply"]);
    let said = format!("+ start tick: {cause}\n");
    assert!(applied.stderr.contains(&said), "{applied:?}");
    assert_eq!(changes(0), Vec::<serde_json::Value>::new());

    let text = std::fs::read_to_string(world.path("topology.yaml")).unwrap();
    world.write("other.yaml", &text.replace("echo begun", "echo other"));
    for verb in ["plan", "apply"] {
        let refused = world.run(&[verb, "other.yaml"]);
        assert_eq!(refused.code, 1, "{refused:?}");
        assert!(refused.stderr.contains("has the same name"), "{refused:?}");
    }
    let taken = world.ok(&["plan", "other.yaml", "--replace"]);
    assert!(taken.stdout.contains("restart  tick"), "{taken:?}");
}
