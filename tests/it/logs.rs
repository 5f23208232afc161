//! `logs`: the last lines, the lines that come, and what is no name.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;

use crate::support::{Running, World, wait_for};

/// A world with the logs of a network that does not run.
fn written() -> (World, PathBuf) {
    let world = World::new();
    let logs = world.path("state/zmqnet/demo/logs");
    fs::create_dir_all(&logs).unwrap();
    fs::write(logs.join("a.log"), "one\ntwo\nthree\n").unwrap();
    fs::write(logs.join("b-long.log"), "uno\n").unwrap();
    fs::write(logs.join("@keeper.log"), "starts\n").unwrap();
    (world, logs)
}

#[test]
fn logs_of_a_network_that_is_down_are_read_each_with_its_own_lines() {
    let (world, _) = written();
    let all = world.ok(&["logs"]);
    let expected = "a      | one\na      | two\na      | three\nb-long | uno\n";
    assert_eq!(all.stdout, expected);
    assert_eq!(world.ok(&["logs", "a", "-n", "1"]).stdout, "a | three\n");
    assert_eq!(world.ok(&["logs", "@keeper"]).stdout, "@keeper | starts\n");
    let json = world.ok(&["logs", "b-long", "-o", "json"]).json();
    assert_eq!(
        json,
        serde_json::json!({"instance": "b-long", "line": "uno"})
    );
    assert_eq!(world.ok(&["logs", "-T", "demo", "a", "-n", "0"]).stdout, "");
}

#[test]
fn what_is_no_name_is_said() {
    let (world, _) = written();
    let wrong = world.run(&["logs", "nobody"]);
    assert_eq!(wrong.code, 64, "{wrong:?}");
    assert!(wrong.stderr.contains("`nobody`") && wrong.stderr.contains("`demo`"));
    assert_eq!(world.run(&["logs", "../../secret"]).code, 64);
    assert_eq!(world.run(&["logs", "-T", "other"]).code, 69);
    assert_eq!(World::new().run(&["logs"]).code, 69);
    fs::create_dir_all(world.path("state/zmqnet/second/logs")).unwrap();
    let several = world.run(&["logs"]);
    assert_eq!(several.code, 64);
    assert!(several.stderr.contains("`demo`, `second`"), "{several:?}");
}

#[test]
fn following_gives_whole_lines_as_they_come() {
    let (world, logs) = written();
    let mut following =
        Running::start(&mut world.zmqnet(&["logs", "-f", "-n", "1", "a", "b-long"]));
    let mut lines = BufReader::new(following.0.stdout.take().unwrap()).lines();
    let mut next = || lines.next().unwrap().unwrap();
    assert_eq!(next(), "a      | three");
    assert_eq!(next(), "b-long | uno");
    let append = |name: &str, text: &str| {
        let mut options = fs::File::options();
        let mut log = options.append(true).open(logs.join(name)).unwrap();
        log.write_all(text.as_bytes()).unwrap();
    };
    append("a.log", "fo");
    append("a.log", "ur\n");
    // What comes is told with its time of day.
    let mut timed = || next().split_once(' ').unwrap().1.to_owned();
    assert_eq!(timed(), "a      | four");
    append("b-long.log", "dos\n");
    assert_eq!(timed(), "b-long | dos");
    following.0.kill().unwrap();
    wait_for("its end", || following.0.try_wait().unwrap());
}

#[test]
fn however_fast_a_program_writes_no_archive_is_larger_than_the_size() {
    let world = World::new();
    world.write(
        "topology.yaml",
        "zmqnet: 1\nname: flood\ndefaults: {logs: {size: 100KiB, keep: 3}}\nnodes:\n  \
         loud: {command: [sh, -c, 'seq 1 400000; exec sleep 1000']}\n",
    );
    world.ok(&["apply"]);
    let logs = world.path("state/zmqnet/flood/logs");
    let archives = || -> Vec<u64> {
        let entries = fs::read_dir(&logs).unwrap().flatten();
        entries
            .filter(|entry| entry.file_name().to_string_lossy().contains("loud.log."))
            // An archive may have made room for the next one since it was listed.
            .filter_map(|entry| Some(entry.metadata().ok()?.len()))
            .collect()
    };
    let found = wait_for("three archives", || {
        Some(archives()).filter(|found| found.len() == 3)
    });
    assert!(
        found.iter().all(|length| *length <= 100 * 1024),
        "{found:?}"
    );
    wait_for("the last line", || {
        let last = world.ok(&["logs", "loud", "-n", "1"]).stdout;
        last.ends_with("| 400000\n").then_some(())
    });
}
