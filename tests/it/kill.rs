//! Whatever is killed, what should run runs on or runs again.

use crate::apply::{hello, in_state, node, pid};
use crate::support::{Ran, Running, World, wait_for};

pub(crate) fn kill(world: &World, signal: &str, pid: u64) {
    let ran = Ran::of(world.command("kill").args([signal, &pid.to_string()]));
    assert_eq!(ran.code, 0, "{ran:?}");
}

/// The keeper's and the supervisor's pids.
pub(crate) fn runners(world: &World) -> (u64, u64) {
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
    let before = node(&world, "job");
    let (_, supervisor) = runners(&world);
    kill(&world, "-9", supervisor);
    wait_for("another supervisor", || {
        let ran = world.run(&["status", "-o", "json"]);
        (ran.code == 0 && ran.json()["supervisor"]["pid"] != supervisor).then_some(())
    });
    let (a, job) = (node(&world, "a"), node(&world, "job"));
    assert_eq!((&a["state"], &a["exit"]), (&"stopped".into(), &143.into()));
    assert_eq!(a["reason"], "stopped by hand");
    assert_eq!(
        (&job["state"], &job["exit"]),
        (&"stopped".into(), &0.into())
    );
    assert_eq!(job["reason"], "exited with code 0");
    assert_eq!(job["since"], before["since"]);
    let log = std::fs::read_to_string(world.path("state/zmqnet/held/logs/job.log")).unwrap();
    assert_eq!(log, "once\n");
}

#[test]
fn a_command_that_loses_its_supervisor_on_the_way_goes_on_with_the_next() {
    let world = World::new();
    world.write(
        "topology.yaml",
        "zmqnet: 1\nname: lost\nnodes:\n  a: {command: [sleep, '1000']}\n",
    );
    world.ok(&["apply"]);
    let (keeper, supervisor) = runners(&world);
    world.write(
        "topology.yaml",
        "zmqnet: 1\nname: lost\nnodes:\n  a: {command: [sleep, '1000']}\n  \
         b: {command: [sleep, '1000'], probe: {exec: [test, -e, go], every: 50ms, grace: 30s}}\n",
    );
    let before = pid(&world, "a");
    let mut apply = Running::start(&mut world.zmqnet(&["apply"]));
    wait_for("b to be started", || pid(&world, "b"));
    kill(&world, "-9", keeper);
    kill(&world, "-9", supervisor);
    world.write("go", "");
    let code = wait_for("the end of apply", || apply.0.try_wait().unwrap());
    assert_eq!(code.code(), Some(0));
    assert_eq!(pid(&world, "a"), before);
    in_state(&world, "b", "ready");
}

#[test]
fn a_waiting_command_does_not_raise_a_network_that_is_taken_down() {
    let world = World::new();
    world.write(
        "topology.yaml",
        "zmqnet: 1\nname: ended\nnodes:\n  \
         b: {command: [sleep, '1000'], probe: {exec: ['false'], every: 50ms, grace: 30s}}\n",
    );
    let mut apply = Running::start(&mut world.zmqnet(&["apply"]));
    wait_for("b to be started", || {
        let ran = world.run(&["status", "-o", "json"]);
        (ran.code == 0).then(|| pid(&world, "b")).flatten()
    });
    world.ok(&["down"]);
    let code = wait_for("the end of apply", || apply.0.try_wait().unwrap());
    assert_ne!(code.code(), Some(0));
    assert_eq!(world.run(&["status"]).code, 69);
}

/// As if the supervisor had died after it wrote the new plan and before it followed it.
#[test]
fn a_successor_restarts_what_runs_as_an_earlier_plan_said() {
    let world = World::new();
    let text = "zmqnet: 1\nname: late\nnodes:\n  old: {command: [sleep, '1001']}\n  same: {command: [sleep, '1003']}\n";
    world.write("topology.yaml", text);
    world.ok(&["apply"]);
    let (old, same) = (pid(&world, "old").unwrap(), pid(&world, "same").unwrap());
    let (keeper, supervisor) = runners(&world);
    kill(&world, "-9", keeper);
    kill(&world, "-9", supervisor);
    let plan = world.path("state/zmqnet/late/plan.json");
    let written = std::fs::read_to_string(&plan).unwrap();
    std::fs::write(&plan, written.replace("1001", "1002")).unwrap();
    let new = wait_for("the new plan's process", || {
        let new = pid(&world, "old").filter(|pid| *pid != old)?;
        let command = std::fs::read_to_string(format!("/proc/{new}/cmdline")).ok()?;
        command.contains("1002").then_some(new)
    });
    wait_for("the old one's end", || {
        (!std::path::Path::new(&format!("/proc/{old}")).exists()).then_some(())
    });
    assert_eq!(pid(&world, "same"), Some(same), "the other one runs on");
    assert_eq!(pid(&world, "old"), Some(new));
}

#[test]
fn a_network_whose_sockets_were_cleaned_away_is_still_taken_down() {
    let world = World::new();
    hello(&world);
    world.ok(&["apply"]);
    let (_, supervisor) = runners(&world);
    std::fs::remove_dir_all(world.path("run/zmqnet")).unwrap();
    world.ok(&["apply"]);
    assert_ne!(runners(&world).1, supervisor);
    world.ok(&["send", "-n", "alpha", "still there"]);
    world.ok(&["down"]);
    assert_eq!(world.run(&["status"]).code, 69);
}

#[test]
fn a_stopped_supervisor_or_keeper_is_replaced_by_the_next_command() {
    let world = World::new();
    world.write(
        "topology.yaml",
        "zmqnet: 1\nname: stuck\nnodes:\n  a: {command: [sleep, '1000']}\n",
    );
    world.ok(&["apply"]);
    let before = pid(&world, "a");
    let (_, supervisor) = runners(&world);
    kill(&world, "-STOP", supervisor);
    assert_eq!(pid(&world, "a"), before);
    let (keeper, next) = runners(&world);
    assert_ne!(next, supervisor);
    kill(&world, "-STOP", keeper);
    kill(&world, "-STOP", next);
    world.ok(&["down"]);
    assert_eq!(world.run(&["status"]).code, 69);
}

#[test]
fn restarts_count_against_the_limit_whichever_supervisor_saw_them() {
    let world = World::new();
    world.write(
        "topology.yaml",
        "zmqnet: 1\nname: counts\nnodes:\n  \
         a: {command: [sleep, '1000'], restart: {backoff: 10ms..20ms, limit: 5/10m}}\n",
    );
    world.ok(&["apply"]);
    for life in 1..=5 {
        let before = pid(&world, "a").unwrap();
        kill(&world, "-9", before);
        wait_for("the next life", || {
            let node = node(&world, "a");
            let is_new = node["pid"].as_u64().is_some_and(|pid| pid != before);
            (is_new && node["state"] == "ready").then_some(())
        });
        assert_eq!(node(&world, "a")["restarts"], life);
        if life % 2 == 0 {
            kill(&world, "-9", runners(&world).1);
        }
    }
    kill(&world, "-9", pid(&world, "a").unwrap());
    let failed = in_state(&world, "a", "failed");
    assert!(
        failed["reason"].as_str().unwrap().contains("5 times"),
        "{failed}"
    );
}
