//! The difference between two plans: each step, its cause, what it needs, which wires it touches.

use super::*;
use crate::model::name::TopologyName;
use crate::plan::Origin;
use crate::plan::make::make;
use crate::topology::sample::topology;

fn plan(nodes: &str) -> Plan {
    let text = format!(
        "{{zmqnet: 1, nodes: {{{nodes}}}, links: {{tasks: {{pattern: request, from: client, to: worker}}}}}}"
    );
    made(&text)
}

fn made(text: &str) -> Plan {
    make(&topology(text), &|path| Origin {
        file: "/m".into(),
        line: u32::try_from(path.steps.len()).unwrap(),
        column: 1,
        path: path.to_string(),
    })
}

fn lines(old: &Plan, new: &Plan) -> Vec<String> {
    diff(old, new)
        .iter()
        .map(|c| {
            format!(
                "{} {:?} {:?} {}: {} {:?}",
                c.n, c.needs, c.op, c.node, c.cause, c.wires
            )
        })
        .collect()
}

const TWO: &str = "client: {command: [c]}, worker: {command: [w], replicas: 2}";

#[test]
fn the_first_start_is_a_difference_too_and_the_same_plan_is_none() {
    let (empty, two) = (Plan::empty(TopologyName::new("demo")), plan(TWO));
    assert_eq!(
        lines(&empty, &two),
        [
            "1 [] Start worker-0: new in `nodes.worker` []",
            "2 [] Start worker-1: new in `nodes.worker` []",
            "3 [] Start client: new in `nodes.client` []",
        ]
    );
    assert!(diff(&two, &two).is_empty());
    assert_eq!(lines(&two, &empty).len(), 3);
}

#[test]
fn who_is_gone_stops_first_and_who_is_told_of_it_restarts() {
    let (two, one) = (
        plan(TWO),
        plan("client: {command: [c]}, worker: {command: [w], replicas: 1}"),
    );
    assert_eq!(
        lines(&two, &one),
        [
            "1 [] Stop worker-1: `nodes.worker` no longer has it [\"tasks client > worker-1\"]",
            "2 [] Restart client: `links.tasks` changed for it [\"tasks client > worker-0\", \"tasks client > worker-1\"]",
        ]
    );
}

#[test]
fn what_only_watches_changes_while_it_runs() {
    let now = plan(
        "client: {command: [c]}, worker: {command: [w], replicas: 2, probe: {every: 9s}, restart: never}",
    );
    let changes = diff(&plan(TWO), &now);
    assert_eq!(changes.len(), 2);
    assert!(
        changes
            .iter()
            .all(|c| c.op == Op::Update && c.class == Class::Live)
    );
    assert_eq!(changes[0].cause, "`probe` changed, `restart` changed");
}

#[test]
fn each_cause_is_named_by_its_key() {
    let was = plan("client: {command: [c]}, worker: {command: [w], port: 7100, env: {A: a}}");
    let now = plan(
        "client: {command: [c, -v]}, worker: {command: [w], port: 7200, env: {A: b, C: c}, run: manual}",
    );
    let changes = diff(&was, &now);
    let cause = |name: &str| {
        let change = changes.iter().find(|c| c.node.as_str() == name);
        change.unwrap().cause.clone()
    };
    assert_eq!(
        cause("worker"),
        "`run` changed, `port`: tcp://127.0.0.1:7100 -> tcp://127.0.0.1:7200, `links.tasks` changed for it, `env.A` changed, `env.C` changed"
    );
    assert_eq!(
        cause("client"),
        "`command` changed, `links.tasks` changed for it"
    );
}

#[test]
fn who_takes_a_port_needs_the_step_that_frees_it() {
    let was = plan("client: {command: [c]}, worker: {command: [w], replicas: [old], port: 7100}");
    let now = plan("client: {command: [c]}, worker: {command: [w], replicas: [new], port: 7100}");
    let changes = diff(&was, &now);
    let ops: Vec<(Op, &str)> = changes.iter().map(|c| (c.op, c.node.as_str())).collect();
    assert_eq!(ops, [(Op::Stop, "old"), (Op::Start, "new")]);
    assert_eq!(changes[1].needs, [1]);
    assert_eq!(changes[0].wires, ["tasks client > old"]);
}

#[test]
fn a_moved_line_is_no_change() {
    let was = plan(TWO);
    let mut now = was.clone();
    for instance in &mut now.instances {
        instance.origin.line += 7;
        for port in &mut instance.ports {
            port.origin.line += 7;
        }
    }
    assert!(diff(&was, &now).is_empty());
}

fn mesh(members: &str, more: &str) -> Plan {
    let text = format!(
        "{{zmqnet: 1, nodes: {{quorum: {{kind: replica, replicas: {members}}}{more}}}, links: {{votes: {{pattern: mesh, among: [quorum], transport: tcp}}}}}}"
    );
    made(&text)
}

#[test]
fn who_stays_in_a_mesh_goes_on_when_others_join_and_leave() {
    let was = mesh("{alpha: {port: 7101}, bravo: {port: 7102}}", "");
    let joined = mesh(
        "{alpha: {port: 7101}, bravo: {port: 7102}, delta: {port: 7103}}",
        "",
    );
    assert_eq!(
        lines(&was, &joined),
        [
            "1 [] Update alpha: its mesh gains `delta` [\"votes alpha > delta\", \"votes delta > alpha\"]",
            "2 [] Update bravo: its mesh gains `delta` [\"votes bravo > delta\", \"votes delta > bravo\"]",
            "3 [] Start delta: new in `nodes.quorum` []",
        ]
    );
    assert!(
        diff(&was, &joined)
            .iter()
            .all(|change| change.class == Class::Live)
    );
    let back = lines(&joined, &was);
    assert_eq!(
        back[0],
        "1 [] Stop delta: `nodes.quorum` no longer has it [\"votes alpha > delta\", \"votes bravo > delta\", \"votes delta > alpha\", \"votes delta > bravo\"]"
    );
    assert_eq!(
        back[1],
        "2 [] Update alpha: its mesh loses `delta` [\"votes alpha > delta\", \"votes delta > alpha\"]"
    );
}

#[test]
fn a_member_that_moves_restarts_alone_and_a_port_is_more_than_a_member() {
    let was = mesh("{alpha: {port: 7101}, bravo: {port: 7102}}", "");
    let moved = mesh("{alpha: {port: 7101}, bravo: {port: 7105}}", "");
    let changes = diff(&was, &moved);
    let ops: Vec<(Op, &str, &str)> = changes
        .iter()
        .map(|c| (c.op, c.node.as_str(), c.cause.as_str()))
        .collect();
    assert_eq!(
        ops,
        [
            (
                Op::Update,
                "alpha",
                "in its mesh `bravo` is at tcp://127.0.0.1:7105 now"
            ),
            (
                Op::Restart,
                "bravo",
                "`port`: tcp://127.0.0.1:7102 -> tcp://127.0.0.1:7105"
            ),
        ]
    );
    assert_eq!(changes[0].wires, ["votes alpha > bravo"]);
    // What only a restart can change is not hidden by what can be taken live.
    let both = mesh(
        "{alpha: {port: 7104}, bravo: {port: 7102}, delta: {port: 7103}}",
        "",
    );
    let alpha = diff(&was, &both)
        .into_iter()
        .find(|c| c.node.as_str() == "alpha");
    assert_eq!(alpha.unwrap().op, Op::Restart);
}

#[test]
fn a_health_socket_that_moves_takes_a_restart() {
    let was = mesh("[alpha, bravo]", "");
    let mut now = was.clone();
    let process = now.instances[0].process.as_mut().unwrap();
    let Exec::Role(crate::roles::Config::Replica(config)) = &mut process.exec else {
        panic!("a replica");
    };
    config.health = Endpoint::ipc("/elsewhere");
    let changes = diff(&was, &now);
    assert_eq!(changes.len(), 1);
    assert_eq!(
        (changes[0].op, changes[0].cause.as_str()),
        (Op::Restart, "its health socket changed")
    );
}

#[test]
fn what_a_queue_takes_while_it_runs_is_named_and_restarts_nothing() {
    let was = made("{zmqnet: 1, nodes: {jobs: {kind: queue}}}");
    assert!(diff(&was, &was).is_empty());
    let now = made("{zmqnet: 1, nodes: {jobs: {kind: queue, lease: 9s, max: 1MiB}}}");
    let changes = diff(&was, &now);
    assert_eq!(changes.len(), 1);
    assert_eq!(
        (changes[0].op, changes[0].cause.as_str()),
        (Op::Update, "`lease` changed, `max` changed")
    );
}

#[test]
fn a_life_has_another_digest_exactly_when_only_a_restart_will_do() {
    let life = |nodes: &str| {
        let plan = plan(nodes);
        let client = plan.instance("client").unwrap();
        crate::plan::digest::life(client, client.process.as_ref().unwrap())
    };
    let was = life(TWO);
    let worker = "worker: {command: [w], replicas: 2}";
    let watched = format!("client: {{command: [c], restart: never}}, {worker}");
    assert_eq!(life(&watched), was);
    let changed = format!("client: {{command: [c, more]}}, {worker}");
    assert_ne!(life(&changed), was);
    let dialled = "client: {command: [c]}, worker: {command: [w], replicas: 3}";
    assert_ne!(life(dialled), was);
}
