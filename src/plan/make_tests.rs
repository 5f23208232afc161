//! What plans are made of: sockets, environments, probes, order.

use super::*;
use crate::plan::told;
use crate::topology::sample::topology;

fn origin(path: &Path) -> Origin {
    Origin {
        file: PathBuf::from("/m/demo.yaml"),
        line: 1,
        column: 1,
        path: path.to_string(),
    }
}

fn plan(text: &str) -> Plan {
    make(&topology(text), &origin)
}

fn env<'a>(plan: &'a Plan, instance: &str, key: &str) -> &'a str {
    let process = plan.instance(instance).unwrap().process.as_ref().unwrap();
    process.env.get(key).map_or("(unset)", String::as_str)
}

#[test]
fn replicas_know_each_other_through_ipc_and_listen_on_tcp_too() {
    let plan = plan(
        "{zmqnet: 1, nodes: {quorum: {kind: replica, replicas: [alpha, bravo, charlie], port: 3264}}, links: {votes: {pattern: mesh, among: quorum}}}",
    );
    let bravo = plan.instance("bravo").unwrap();
    let binds: Vec<String> = bravo.ports.iter().map(|p| p.bind.to_string()).collect();
    assert_eq!(
        binds,
        [
            "tcp://127.0.0.1:3265",
            "ipc:///run/zmqnet/demo/bravo.main.sock"
        ]
    );
    let Exec::Role(roles::Config::Replica(config)) = &bravo.process.as_ref().unwrap().exec else {
        panic!("{bravo:?}");
    };
    assert_eq!(config.listen.len(), 2);
    let peers: Vec<&str> = config.peers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(peers, ["alpha", "charlie"]);
    assert!(config.peers.iter().all(|(_, at)| at.path().is_some()));
    assert_eq!(plan.wires.len(), 6);
    assert_eq!(bravo.ports[0].origin.path, "nodes.quorum.port");
}

#[test]
fn a_worker_that_dials_has_the_prober_as_one_more_endpoint() {
    let plan = plan(
        "{zmqnet: 1, nodes: {client: {command: [./client]}, worker: {command: [./worker, \"${node.name}\", \"$$5\", \"${link.tasks.mode}\"], replicas: 2, probe: {request: tasks, expect: PONG}}}, links: {tasks: {pattern: request, from: client, to: worker, listen: from}}}",
    );
    let process = plan.instance("worker-1").unwrap().process.as_ref().unwrap();
    let Exec::Program { program, args } = &process.exec else {
        panic!("{process:?}");
    };
    assert_eq!(program, &PathBuf::from("/m/worker"));
    assert_eq!(args[1..], ["worker-1", "$5", "connect"]);
    assert_eq!(
        env(&plan, "worker-1", "ZMQNET_TASKS_ENDPOINT"),
        "tcp://127.0.0.1:7000 ipc:///run/zmqnet/demo/prober.worker-1.sock"
    );
    assert!(matches!(process.probe.how, ProbeHow::Dialled { .. }));
    assert_eq!(env(&plan, "client", "ZMQNET_TASKS_MODE"), "bind");
    assert_eq!(env(&plan, "client", "ZMQNET_TASKS_TYPE"), "REQ");
}

#[test]
fn who_is_written_alone_binds_and_everybody_else_dials() {
    let plan = plan(
        "{zmqnet: 1, nodes: {vent: {command: [v]}, worker: {command: [w], replicas: 3}, sink: {command: [s]}}, links: {work: {pattern: pipeline, from: vent, to: worker}, done: {pattern: pipeline, from: worker, to: sink}}}",
    );
    assert_eq!(env(&plan, "vent", "ZMQNET_WORK_MODE"), "bind");
    assert_eq!(
        env(&plan, "worker-2", "ZMQNET_WORK_ENDPOINT"),
        "tcp://127.0.0.1:7000"
    );
    assert_eq!(
        env(&plan, "worker-2", "ZMQNET_DONE_ENDPOINT"),
        "tcp://127.0.0.1:7001"
    );
    assert_eq!(env(&plan, "sink", "ZMQNET_DONE_TYPE"), "PULL");
    let rank = |name: &str| plan.instance(name).unwrap().process.as_ref().unwrap().rank;
    assert!(rank("sink") < rank("worker-0") && rank("worker-0") < rank("vent"));
}

#[test]
fn a_program_on_both_sides_has_in_and_out_and_a_peers_file() {
    let plan = plan(
        "{zmqnet: 1, nodes: {a: {command: [a], replicas: 3}}, links: {votes: {pattern: mesh, among: [a]}}}",
    );
    assert_eq!(
        env(&plan, "a-0", "ZMQNET_VOTES_IN_ENDPOINT"),
        "tcp://127.0.0.1:7000"
    );
    assert_eq!(env(&plan, "a-0", "ZMQNET_VOTES_IN_TYPE"), "REP");
    assert_eq!(
        env(&plan, "a-0", "ZMQNET_VOTES_PEERS"),
        "a-1=tcp://127.0.0.1:7001 a-2=tcp://127.0.0.1:7002"
    );
    let instance = plan.instance("a-0").unwrap();
    let peers = told::peers(instance).unwrap();
    assert_eq!(peers["replicas"][0]["name"], "a-0");
    assert_eq!(peers["replicas"][2]["port"], 7002);
    let told = told::sockets("demo", instance);
    assert_eq!(
        told["sockets"]["VOTES_OUT"]["peers"]["a-1"],
        "tcp://127.0.0.1:7001"
    );
}

#[test]
fn the_same_manifest_gives_the_same_bytes_and_what_is_not_built_is_named() {
    let text = "{zmqnet: 1, nodes: {jobs: {kind: queue, store: {path: d}}, c: {command: [c], logs: {to: fifo}}, w: {command: [w]}}, links: {tasks: {pattern: request, from: c, to: w, via: jobs}}}";
    let (one, two) = (plan(text), plan(text));
    assert_eq!(one, two);
    assert_eq!(one.digest.len(), 64);
    let unbuilt: Vec<&str> = one.unbuilt.iter().map(|u| u.what.as_str()).collect();
    assert_eq!(unbuilt, ["`logs.to`"]);
    assert_eq!(env(&one, "w", "ZMQNET_TASKS_TYPE"), "REP");
    assert_eq!(
        env(&one, "w", "ZMQNET_TASKS_ENDPOINT"),
        "tcp://127.0.0.1:7001"
    );
}

/// Whom the first port of an instance admits.
fn admitted<'a>(plan: &'a Plan, instance: &str) -> Vec<&'a str> {
    let port = plan.instance(instance).unwrap().ports.first();
    let guarded = port.and_then(|port| port.guarded.as_ref()).unwrap();
    guarded.allow.iter().map(|it| it.who.as_str()).collect()
}

const ALWAYS: &str = "{zmqnet: 1, security: {curve: always, keys: ./secret}, nodes: {client: {command: [./c], replicas: 2}, other: {command: [./o]}, worker: {command: [./w], replicas: 2, probe: {request: tasks}}, far: {kind: external, port: 9000, key: \"Yne@$$w-vo<fVvi]a<NY6T1ed:M$$fCG*[IaLV{hID\"}, quorum: {kind: replica, replicas: [alpha, bravo]}}, links: {tasks: {pattern: request, from: client, to: worker}, calls: {pattern: request, from: other, to: [far, bravo-only]}, votes: {pattern: mesh, among: quorum}}}";

#[test]
fn who_is_admitted_is_exactly_who_stands_on_the_other_side() {
    let text = ALWAYS
        .replace("[far, bravo-only]", "[far, quorum]")
        .replace("$$", "$");
    let plan = plan(&text);
    assert_eq!(admitted(&plan, "worker-0"), ["client-0", "client-1"]);
    assert_eq!(admitted(&plan, "bravo"), ["other", "alpha"]);
    assert_eq!(admitted(&plan, "far"), ["other"]);
    assert_eq!(plan.keys, Some(PathBuf::from("/m/secret")));
    let client = &plan.instance("client-0").unwrap().sockets[0];
    let servers: Vec<&str> = client.servers.iter().map(|it| it.is.who.as_str()).collect();
    assert_eq!(servers, ["worker-0", "worker-1"]);
    // A key that is written is that one; others are read when they are used.
    let other = &plan.instance("other").unwrap().sockets[0];
    let keys: Vec<bool> = other.servers.iter().map(|it| it.is.key.is_some()).collect();
    assert_eq!(keys, [true, false, false]);
    assert!(plan.instances.iter().all(|it| !it.keys_used().is_empty()));
    assert!(env(&plan, "worker-0", "ZMQNET_KEYS").ends_with("worker-0.keys.json"));
    let worker = &plan.instance("worker-0").unwrap();
    let ProbeHow::Request { secured, .. } = &worker.process.as_ref().unwrap().probe.how else {
        panic!("{worker:?}");
    };
    assert!(secured.is_some());
    assert!(worker.ports[0].guarded.as_ref().unwrap().admits_operator);
    let client = plan.instance("client-0").unwrap();
    assert!(client.ports.is_empty(), "who only dials admits nobody");
}

#[test]
fn nothing_is_guarded_where_nothing_is_encrypted() {
    let plan = plan(
        "{zmqnet: 1, nodes: {quorum: {kind: replica, replicas: [alpha, bravo]}, p: {command: [./p]}}, links: {votes: {pattern: mesh, among: quorum}, calls: {pattern: request, from: p, to: quorum}}}",
    );
    assert_eq!(plan.keys, None);
    assert!(plan.instances.iter().all(|it| it.keys_used().is_empty()));
    assert_eq!(env(&plan, "p", "ZMQNET_KEYS"), "(unset)");
    assert!(!serde_json::to_string(&plan).unwrap().contains("guarded"));
}

#[test]
fn one_encrypted_wire_of_a_socket_encrypts_the_others() {
    let plan = plan(
        "{zmqnet: 1, nodes: {p: {command: [./p], sockets: {both: [one, two]}}, a: {command: [./a]}, b: {command: [./b]}, lone: {kind: replica}}, links: {one: {pattern: request, from: p, to: a, curve: always, types: {from: DEALER}}, two: {pattern: request, from: p, to: b, types: {from: DEALER}}}}",
    );
    let mechanisms: Vec<&str> = plan.wires.iter().map(|it| it.mechanism.as_str()).collect();
    assert_eq!(mechanisms, ["CURVE", "CURVE"]);
    assert_eq!(admitted(&plan, "b"), ["p"]);
    let lone = plan.instance("lone").unwrap();
    assert!(
        lone.ports[0].guarded.is_none(),
        "no link, and only one link is `always`"
    );
}
