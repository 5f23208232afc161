//! Whatever is killed, what should run runs on or runs again.

use crate::apply::{hello, in_state, node, pid};
use crate::support::{Ran, World, wait_for};

fn kill(world: &World, signal: &str, pid: u64) {
    let ran = Ran::of(world.command("kill").args([signal, &pid.to_string()]));
    assert_eq!(ran.code, 0, "{ran:?}");
}

/// The keeper's and the supervisor's pids.
fn runners(world: &World) -> (u64, u64) {
    let status = world.ok(&["status", "-o", "json"]).json();
    let pid = |who: &str| status[who]["pid"].as_u64().unwrap();
    (pid("keeper"), pid("supervisor"))
}

#[test]
fn a_killed_replica_and_a_killed_program_come_back_with_new_pids() {
    let world = World::new();
    hello(&world);
    world.ok(&["apply"]);
    for name in ["bravo", "tick"] {
        let before = pid(&world, name).unwrap();
        kill(&world, "-9", before);
        let after = wait_for("a new life", || {
            let node = node(&world, name);
            let pid = node["pid"].as_u64().filter(|pid| *pid != before)?;
            (node["state"] == "ready").then_some((pid, node))
        });
        assert_eq!(after.1["restarts"], 1, "{after:?}");
    }
    world.ok(&["send", "-n", "bravo", "hello again"]);
}

#[test]
fn a_stopped_replica_is_found_by_its_probe_and_replaced() {
    let world = World::new();
    hello(&world);
    let text = std::fs::read_to_string(world.path("topology.yaml")).unwrap();
    let text = text.replace(
        "charlie]}",
        "charlie], probe: {every: 200ms, timeout: 200ms, retries: 2, grace: 1s}}",
    );
    world.write("topology.yaml", &text);
    world.ok(&["apply"]);
    let before = pid(&world, "alpha").unwrap();
    kill(&world, "-STOP", before);
    wait_for("a new alpha", || {
        let node = node(&world, "alpha");
        let is_new = node["pid"].as_u64().is_some_and(|pid| pid != before);
        (is_new && node["state"] == "ready").then_some(())
    });
}

#[test]
fn killing_supervisor_keeper_or_both_stops_nothing() {
    let world = World::new();
    hello(&world);
    world.ok(&["apply"]);
    let names = ["alpha", "bravo", "charlie", "tick"];
    let before = names.map(|name| pid(&world, name));
    for (kills_keeper, kills_supervisor) in [(false, true), (true, false), (true, true)] {
        let (keeper, supervisor) = runners(&world);
        if kills_keeper {
            kill(&world, "-9", keeper);
        }
        if kills_supervisor {
            kill(&world, "-9", supervisor);
        }
        world.ok(&["send", "-n", "alpha", "still there"]);
        world.ok(&["wait"]);
        assert_eq!(names.map(|name| pid(&world, name)), before);
        assert!(world.ok(&["apply"]).stderr.contains("nothing to change"));
    }
    assert_eq!(names.map(|name| pid(&world, name)), before);
    for name in names {
        in_state(&world, name, "ready");
        assert_eq!(node(&world, name)["restarts"], 0);
    }
}

#[test]
fn what_was_stopped_by_hand_or_done_stays_so_for_the_next_supervisor() {
    let world = World::new();
    world.write(
        "topology.yaml",
        "zmqnet: 1\nname: held\nnodes:\n  \
         a: {command: [sleep, '1000']}\n  \
         job: {command: [sh, -c, 'echo once'], run: once}\n",
    );
    world.ok(&["apply"]);
    world.ok(&["stop", "a"]);
    let (_, supervisor) = runners(&world);
    kill(&world, "-9", supervisor);
    wait_for("another supervisor", || {
        let ran = world.run(&["status", "-o", "json"]);
        (ran.code == 0 && ran.json()["supervisor"]["pid"] != supervisor).then_some(())
    });
    assert_eq!(node(&world, "a")["state"], "stopped");
    assert_eq!(node(&world, "job")["state"], "stopped");
    let log = std::fs::read_to_string(world.path("state/zmqnet/held/logs/job.log")).unwrap();
    assert_eq!(log, "once\n");
}
