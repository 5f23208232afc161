//! The examples do what they say: each is run as it stands, and says what it was written to say.
//! That each passes `check` and the schema is shown in `check.rs`; the README runs `hello.yaml`.

use std::process::Command;

use crate::support::{World, default_ports, python, root, wait_for};

/// `zmqnet` in the project's folder, with a Python that has pyzmq on the PATH.
fn zmqnet(world: &World, args: &[&str]) -> Command {
    let venv = python().parent().unwrap();
    let path = format!("{}:{}", venv.display(), std::env::var("PATH").unwrap());
    let mut command = world.zmqnet(args);
    command.env("PATH", path).current_dir(root());
    command
}

/// Applies an example, waits until the log of an instance has a line, and takes it down.
#[track_caller]
fn says(example: &str, instance: &str, line: &str) {
    let _turn = default_ports();
    let world = World::new();
    let applied = zmqnet(&world, &["apply", example]).output().unwrap();
    assert!(
        applied.status.success(),
        "{}",
        String::from_utf8_lossy(&applied.stderr)
    );
    let shown = wait_for(line, || {
        let logs = zmqnet(&world, &["logs", instance]).output().unwrap();
        let text = String::from_utf8_lossy(&logs.stdout).into_owned();
        text.contains(line).then_some(text)
    });
    assert_eq!(shown.lines().count(), 1, "{shown}");
    world.ok(&["down"]);
}

#[test]
fn ping_and_pong_make_a_hundred_round_trips() {
    says("topologies/pingpong.yaml", "ping", "100 round trips");
}

#[test]
fn the_echo_gives_a_hundred_requests_back() {
    says("topologies/echo.yaml", "caller", "100 requests came back");
}

#[test]
fn a_display_sees_again_what_a_sensor_said_before_it_was_there() {
    drop(std::fs::remove_dir_all(
        root().join("target/replay-example"),
    ));
    says("topologies/replay.yaml", "display", "20 readings in order");
}

#[test]
fn two_displays_are_welcomed_by_the_bus_and_read_both_sensors() {
    let _turn = default_ports();
    let world = World::new();
    let example = |args: &[&str]| zmqnet(&world, args).output().unwrap();
    let applied = example(&["apply", "topologies/bus.yaml"]);
    let talk = String::from_utf8_lossy(&applied.stderr);
    assert!(applied.status.success(), "{talk}");
    for display in ["display-0", "display-1"] {
        wait_for(display, || {
            let logs = example(&["logs", display]).stdout;
            let line = "welcome, then 40 readings of cellar and kitchen";
            String::from_utf8_lossy(&logs).contains(line).then_some(())
        });
    }
    let status = example(&["status", "--wires"]).stdout;
    let status = String::from_utf8_lossy(&status);
    assert_eq!(status.matches("connected").count(), 4, "{status}");
    world.ok(&["down"]);
}

#[test]
fn the_proxy_finds_a_squarer_for_every_number() {
    says(
        "topologies/proxy.yaml",
        "caller",
        "the squares of 0 to 99 sum up to 328350",
    );
}

#[test]
fn what_one_left_with_a_queue_another_fetches() {
    says(
        "topologies/titanic.yaml",
        "fetcher",
        "100 answers fetched, sum 328350",
    );
    drop(std::fs::remove_dir_all(
        root().join("topologies/titanic/data"),
    ));
}

#[test]
fn two_mirrors_follow_the_settings_that_a_writer_writes() {
    says("topologies/kv.yaml", "mirror-1", "both lamps at 99");
    drop(std::fs::remove_dir_all(root().join("topologies/kv/data")));
}

#[test]
fn the_queues_workers_square_three_hundred_numbers() {
    let sum: u64 = (0..300).map(|number| number * number).sum();
    says(
        "topologies/queue.yaml",
        "client",
        &format!("300 tasks, sum {sum}"),
    );
}

#[test]
fn the_stream_shows_what_is_sold_and_has_it_for_later() {
    std::fs::remove_dir_all(root().join("target/stream-example")).ok();
    says("topologies/stream.yaml", "screen", "100 apples are sold");
}

#[test]
fn the_spool_has_a_hundred_readings_for_who_comes_later() {
    std::fs::remove_dir_all(root().join("target/spool-example")).ok();
    says("topologies/spool.yaml", "reader", "100 readings, sum 4950");
}

#[test]
fn the_cache_answers_eight_hundred_and_looks_up_ten() {
    let _turn = default_ports();
    let world = World::new();
    let example = |args: &[&str]| zmqnet(&world, args).output().unwrap();
    let applied = example(&["apply", "topologies/cache.yaml"]);
    let talk = String::from_utf8_lossy(&applied.stderr);
    assert!(applied.status.success(), "{talk}");
    for shop in ["shop-0", "shop-1", "shop-2", "shop-3"] {
        wait_for(shop, || {
            let logs = example(&["logs", shop]).stdout;
            let line = "200 prices";
            String::from_utf8_lossy(&logs).contains(line).then_some(())
        });
    }
    let logs = example(&["logs", "lookup"]).stdout;
    assert_eq!(String::from_utf8_lossy(&logs).lines().count(), 10);
    world.ok(&["down"]);
}

#[test]
fn the_feedback_starts_squarers_and_lets_them_go_again() {
    let _turn = default_ports();
    let world = World::new();
    let example = |args: &[&str]| zmqnet(&world, args).output().unwrap();
    let applied = example(&["apply", "topologies/feedback.yaml"]);
    let talk = String::from_utf8_lossy(&applied.stderr);
    assert!(applied.status.success(), "{talk}");
    let squarers = || {
        let status = world.ok(&["status", "-o", "json"]).json();
        let nodes = status["nodes"].as_array().unwrap().iter();
        nodes.filter(|it| it["node"] == "squarer").count()
    };
    wait_for("more squarers", || (squarers() > 1).then_some(()));
    for caller in 0..10 {
        wait_for("the callers", || {
            let logs = example(&["logs", &format!("caller-{caller}")]).stdout;
            let line = "the squares of 0 to 99 sum up to 328350";
            String::from_utf8_lossy(&logs).contains(line).then_some(())
        });
    }
    wait_for("one squarer", || (squarers() == 1).then_some(()));
    world.ok(&["down"]);
}

#[test]
fn the_pipeline_sums_the_squares_of_three_hundred_numbers() {
    let sum: u64 = (0..300).map(|number| number * number).sum();
    says(
        "topologies/pipeline.yaml",
        "sink",
        &format!("300 squares, sum {sum}"),
    );
}

#[test]
fn zmq_nets_own_peers_file_is_a_network() {
    let _turn = default_ports();
    let world = World::new();
    let example = |args: &[&str]| zmqnet(&world, args).output().unwrap();
    let applied = example(&["apply", "topologies/peers.json"]);
    assert!(
        applied.status.success(),
        "{}",
        String::from_utf8_lossy(&applied.stderr)
    );
    let sent = example(&[
        "-p",
        "topologies/peers.json",
        "send",
        "-n",
        "bravo",
        "this is a test message",
    ]);
    let received = "received: sender:\"bravo\" message:\"reply msg #1\"\n";
    assert_eq!(String::from_utf8_lossy(&sent.stdout), received);
    let unknown = example(&["-p", "topologies/peers.json", "send", "-n", "zulu", "x"]);
    assert_eq!(unknown.status.code(), Some(1));
    world.ok(&["down"]);
}

#[test]
fn displays_behind_gates_read_the_thermometer_under_curve() {
    let _turn = default_ports();
    let world = World::new();
    let example = |args: &[&str]| zmqnet(&world, args).output().unwrap();
    // A copy, so that its keys are this test's own.
    for file in ["gate.yaml", "gate/thermometer.py", "gate/display.py"] {
        let text = std::fs::read_to_string(root().join("topologies").join(file)).unwrap();
        world.write(file, &text);
    }
    let manifest = world.path("gate.yaml").display().to_string();
    let applied = example(&["apply", &manifest]);
    let talk = String::from_utf8_lossy(&applied.stderr);
    assert!(applied.status.success(), "{talk}");
    for display in ["display-0", "display-1", "display-2"] {
        wait_for(display, || {
            let logs = example(&["logs", display]).stdout;
            let line = "20 readings of the kitchen";
            String::from_utf8_lossy(&logs).contains(line).then_some(())
        });
    }
    let status = example(&["status", "--wires"]).stdout;
    let status = String::from_utf8_lossy(&status);
    assert_eq!(status.matches("connected").count(), 3, "{status}");
    world.ok(&["down"]);
}
