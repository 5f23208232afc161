//! The stream is killed at each step of a write, again and again, while it is written and read.

use serde_json::Value;

use crate::support::{Ran, Running, World, ports, python, root, wait_for};

/// The steps at which it dies, and the least number of them in a life in which something is done.
const STEPS: [(&str, u64); 10] = [
    ("write-before", 4),
    ("write-half", 4),
    ("write-after", 4),
    ("sync-before", 3),
    ("sync-after", 3),
    ("create-before", 3),
    ("create-after", 3),
    ("rename-before", 2),
    ("rename-after", 2),
    ("remove-after", 2),
];

/// Who is killed: a node as it is written, and the script that works with it meanwhile.
pub(crate) struct Victim {
    pub(crate) node: &'static str,
    pub(crate) script: &'static str,
    /// A file under `target/` that a long run reports to.
    pub(crate) report: &'static str,
}

/// Lets a store die so often at a step, and looks at what is left.
fn dies(victim: &Victim, (step, nth): (&str, u64), deaths: u64, seed: u64) -> Value {
    let (world, first) = (World::new(), ports(4));
    let text = format!(
        "zmqnet: 1\nname: log\ndefaults:\n  ports: {first}..{}\n  \
         restart: {{when: always, backoff: 1ms..2ms, limit: 100000/1m}}\nnodes:\n  {}\n",
        first + 3,
        victim.node
    );
    world.write("topology.yaml", &text);
    world.write("data/die-at", &format!("{step}:{nth}"));
    // It may die before it is ready.
    world.run(&["apply", "--timeout", "20s"]);
    let stop = world.path("stop").display().to_string();
    let endpoint = format!("tcp://127.0.0.1:{first}");
    let mut fire = world.command(python());
    fire.arg(root().join(victim.script));
    fire.args([&endpoint, &stop, &seed.to_string()]);
    let mut fire = Running::start(&mut fire);
    wait_for(&format!("{deaths} deaths at {step}:{nth}"), || {
        let status = world.run(&["status", "-o", "json"]);
        let died = status.json()["nodes"][0]["restarts"].as_u64().unwrap();
        let is_over = fire.0.try_wait().unwrap().is_some();
        (died >= deaths || is_over).then_some(())
    });
    std::fs::write(&stop, "").unwrap();
    let read = |what: &mut dyn std::io::Read| {
        let mut text = String::new();
        what.read_to_string(&mut text).unwrap();
        text
    };
    let stdout = read(fire.0.stdout.as_mut().unwrap());
    let stderr = read(fire.0.stderr.as_mut().unwrap());
    let code = fire.0.wait().unwrap().code().unwrap_or(-1);
    let ran = Ran {
        code,
        stdout,
        stderr,
    };
    assert_eq!(ran.code, 0, "{step}:{nth}, seed {seed}\n{}", ran.stderr);
    world.ok(&["down"]);
    ran.json()
}

/// So many deaths in all, spread over the steps: `ZMQNET_KILLS=1000` for a long run, `ZMQNET_SEED=6` for
/// another one.
pub(crate) fn dies_at_every_step(victim: &Victim) {
    let all: u64 = std::env::var("ZMQNET_KILLS").map_or(20, |it| it.parse().unwrap());
    let deaths = 2.max(all / STEPS.len() as u64 / 5);
    let rounds = (all / deaths).max(STEPS.len() as u64);
    let seed: u64 = std::env::var("ZMQNET_SEED").map_or(5, |it| it.parse().unwrap());
    let mut random = fastrand::Rng::with_seed(seed);
    let mut acked = 0;
    for round in 0..rounds {
        let (step, least) = STEPS[round as usize % STEPS.len()];
        let nth = match step.split('-').next() {
            Some("write" | "sync") => random.u64(least..least + 30),
            _ => least + random.u64(..2),
        };
        let told = dies(victim, (step, nth), deaths, round);
        acked += told["acked"].as_u64().unwrap();
    }
    assert!(acked > rounds, "{acked} records were acknowledged");
    if std::env::var("ZMQNET_KILLS").is_ok() {
        let report = format!("{rounds} rounds of {deaths} deaths, {acked} records acknowledged\n");
        std::fs::write(root().join(victim.report), report).unwrap();
    }
}

/// `ZMQNET_KILLS=1000 cargo test --test it stream_kill` for a long run.
#[test]
fn nothing_that_was_acknowledged_is_lost_when_it_is_killed_at_any_step() {
    dies_at_every_step(&Victim {
        node: "events: {kind: stream, store: {path: ./data, retain: 6MiB}}",
        script: "tests/it/py/stream_fire.py",
        report: "target/stream-kills.txt",
    });
}
