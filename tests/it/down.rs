//! `down` returns when nothing is left: no process, no port, no socket file.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::time::Instant;

use crate::apply::hello;
use crate::kill::{kill, runners};
use crate::support::{Ran, Running, World, is_free, wait_for, zmqnet};

/// Living processes of a world: every process of its networks carries its runtime directory in its
/// environment, or its mark.
fn left(mark: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|n| n.parse::<u32>().ok())
        else {
            continue;
        };
        let read = |name: &str| fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
        let holds = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains(mark);
        let stat = String::from_utf8_lossy(&read("stat")).into_owned();
        let is_zombie = stat
            .rsplit(')')
            .next()
            .is_some_and(|rest| rest.starts_with(" Z"));
        if !is_zombie && (holds(&read("environ")) || holds(&read("cmdline"))) {
            found.push(format!("{pid}: {stat}"));
        }
    }
    found
}

fn sockets(world: &World) -> Vec<String> {
    let dir = world.path("run/zmqnet");
    let below = fs::read_dir(dir).into_iter().flatten().flatten();
    let files = below.flat_map(|entry| fs::read_dir(entry.path()).into_iter().flatten().flatten());
    files
        .map(|entry| entry.path().display().to_string())
        .collect()
}

#[test]
fn after_down_no_process_port_or_socket_is_left_and_twice_is_fine() {
    let world = World::new();
    let first = hello(&world);
    world.ok(&["apply"]);
    let mark = world.dir().to_string_lossy().into_owned();
    assert!(
        left(&mark).len() >= 6,
        "keeper, supervisor, three replicas, one program"
    );
    let down = world.ok(&["down"]);
    assert!(down.stderr.contains("hello is down"), "{down:?}");
    assert_eq!(left(&mark), Vec::<String>::new());
    assert_eq!(sockets(&world), Vec::<String>::new());
    assert!((first..first + 3).all(is_free));
    let again = world.ok(&["down"]);
    assert!(again.stderr.contains("nothing"), "{again:?}");
    assert_eq!(world.run(&["status"]).code, 69);
    // What is down comes up again, on the same ports.
    world.ok(&["apply"]);
    world.ok(&["send", "-n", "alpha", "back"]);
}

#[test]
fn a_keeper_proves_that_it_left_nothing_only_where_it_started_everything() {
    let world = World::new();
    hello(&world);
    let mark = world.dir().to_string_lossy().into_owned();
    let has_proven = || {
        let said = fs::read_to_string(world.path("state/zmqnet/hello/keeper.lock")).unwrap();
        said.ends_with(" left nothing")
    };
    world.ok(&["apply"]);
    assert!(!has_proven(), "it lives");
    world.ok(&["down"]);
    assert!(has_proven());
    world.ok(&["apply"]);
    assert!(!has_proven(), "its successor lives");
    kill(&world, "-9", runners(&world).0);
    world.ok(&["down"]);
    assert!(!has_proven(), "it had adopted what another one started");
    assert_eq!(left(&mark), Vec::<String>::new());
}

#[test]
fn one_that_ignores_term_and_forks_away_is_gone_too() {
    let world = World::new();
    let mark = format!("zn-stubborn-{}", std::process::id());
    world.write(
        "topology.yaml",
        &format!(
            "zmqnet: 1\nname: stubborn\nnodes:\n  \
             a: {{command: [sh, -c, \"trap '' TERM; setsid sh -c 'trap \\\"\\\" TERM; while :; do sleep 1; done' {mark} & while :; do sleep 1; done\"], stop: {{grace: 300ms}}}}\n"
        ),
    );
    world.ok(&["apply"]);
    assert!(!left(&mark).is_empty());
    let begun = Instant::now();
    world.ok(&["down"]);
    assert!(begun.elapsed().as_millis() >= 300, "its grace was kept");
    assert_eq!(left(&mark), Vec::<String>::new());
}

#[test]
fn a_hundred_come_up_and_go_down() {
    let world = World::new();
    world.write(
        "topology.yaml",
        "zmqnet: 1\nname: many\nnodes:\n  a: {command: [sleep, '1000'], replicas: 100}\n",
    );
    world.ok(&["apply"]);
    let status = world.ok(&["status", "-o", "json"]).json();
    let nodes = status["nodes"].as_array().unwrap();
    assert_eq!(
        nodes.iter().filter(|node| node["state"] == "ready").count(),
        100
    );
    let mark = world.dir().to_string_lossy().into_owned();
    world.ok(&["down"]);
    assert_eq!(left(&mark), Vec::<String>::new());
}

#[test]
fn an_interrupted_up_leaves_nothing_behind_even_before_it_was_up() {
    let world = World::new();
    world.write(
        "topology.yaml",
        "zmqnet: 1\nname: brief\nnodes:\n  \
         never: {command: [sleep, '1000'], probe: {exec: ['false'], grace: 60s}}\n",
    );
    let mut up = Running::start(&mut world.zmqnet(&["up"]));
    wait_for("the program to be started", || {
        let ran = world.run(&["status", "-o", "json"]);
        (ran.code == 0 && !ran.json()["nodes"][0]["pid"].is_null()).then_some(())
    });
    let pid = up.0.id().to_string();
    Ran::of(world.command("kill").args(["-INT", &pid]));
    let status = wait_for("the end of up", || up.0.try_wait().unwrap());
    assert_eq!(status.code(), Some(130));
    assert_eq!(left(&world.dir().to_string_lossy()), Vec::<String>::new());
    assert_eq!(sockets(&world), Vec::<String>::new());
}

#[test]
fn following_logs_ends_with_the_network_and_tells_the_time() {
    let world = World::new();
    world.write(
        "topology.yaml",
        "zmqnet: 1\nname: talk\nnodes:\n  \
         talk: {command: [sh, -c, 'while :; do echo word; sleep 0.05; done']}\n",
    );
    world.ok(&["apply"]);
    let mut follow = Running::start(&mut world.zmqnet(&["logs", "-f", "-n", "0"]));
    let mut lines = BufReader::new(follow.0.stdout.take().unwrap());
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    let (time, said) = line.split_once(' ').unwrap();
    assert_eq!((time.len(), said), ("00:00:00.000Z".len(), "talk | word\n"));
    world.ok(&["down"]);
    let drained = std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
    let status = wait_for("the end of logs -f", || follow.0.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
    drained.join().unwrap().unwrap();
}

#[test]
fn a_probe_that_hangs_leaves_nothing_behind() {
    let world = World::new();
    world.write(
        "topology.yaml",
        "zmqnet: 1\nname: hang\nnodes:\n  \
         a:\n    command: [sleep, '1000']\n    \
         probe: {exec: [sh, -c, 'sleep 1000; true'], timeout: 200ms, every: 250ms, grace: 30s}\n  \
         b:\n    command: [sleep, '1000']\n    \
         probe: {exec: [sh, -c, 'setsid sleep 1000; true'], timeout: 200ms, grace: 30s}\n",
    );
    assert_eq!(world.run(&["apply", "--timeout", "1s"]).code, 4);
    world.ok(&["down"]);
    assert_eq!(left(&world.dir().to_string_lossy()), Vec::<String>::new());
}

#[test]
fn a_keeper_that_was_told_goes_on_where_who_told_it_is_gone() {
    let world = World::new();
    world.write(
        "topology.yaml",
        "zmqnet: 1\nname: told\nnodes:\n  \
         a: {command: [sh, -c, \"trap '' TERM; while :; do sleep 0.1; done\"], stop: {grace: 500ms}}\n",
    );
    world.ok(&["apply"]);
    let mark = world.dir().to_string_lossy().into_owned();
    let socket = world.path("run/zmqnet/told/keeper.sock");
    let mut keeper = std::os::unix::net::UnixStream::connect(socket).unwrap();
    let ask = br#"{"id":1,"ask":"take_down"}"#;
    let head = u32::try_from(ask.len()).unwrap().to_le_bytes();
    keeper.write_all(&head).unwrap();
    keeper.write_all(ask).unwrap();
    drop(keeper);
    wait_for("the end of everything", || {
        left(&mark).is_empty().then_some(())
    });
    assert_eq!(sockets(&world), Vec::<String>::new());
    // Nothing of it is remembered as running.
    assert_eq!(world.run(&["status"]).code, 69);
    world.ok(&["apply"]);
    // Slower than `down` waits in silence: told again, step by step.
    let down = world.ok(&["down"]);
    assert!(down.stderr.contains("told is down"), "{down:?}");
    assert_eq!(left(&mark), Vec::<String>::new());
}

/// The living processes of a world that hold a file open.
fn holders(world: &World, file: &std::path::Path) -> Vec<String> {
    let holds = |process: &String| {
        let (pid, _) = process.split_once(':').unwrap();
        let open = fs::read_dir(format!("/proc/{pid}/fd"))
            .into_iter()
            .flatten();
        open.flatten()
            .any(|fd| fs::read_link(fd.path()).is_ok_and(|target| target == file))
    };
    let living = left(&world.dir().to_string_lossy());
    living.into_iter().filter(holds).collect()
}

#[test]
fn what_the_caller_holds_open_is_kept_by_nobody_of_the_network() {
    let world = World::new();
    hello(&world);
    let lock = world.write("lock", "");
    let shell = |script: &str| {
        let mut command = world.command("sh");
        command.args(["-c", script, zmqnet()]);
        command
    };
    // Whoever is started in the plain way has it.
    let plain = Running::start(&mut shell("exec 9>>lock; exec sleep 1000"));
    wait_for("the lock to be open", || {
        (holders(&world, &lock).len() == 1).then_some(())
    });
    drop(plain);
    let applied = Ran::of(&mut shell("exec 9>>lock; \"$0\" apply"));
    assert_eq!(applied.code, 0, "{applied:?}");
    assert_eq!(holders(&world, &lock), Vec::<String>::new());
    // The next keeper and supervisor neither, whoever starts them.
    let (keeper, supervisor) = runners(&world);
    kill(&world, "-9", keeper);
    kill(&world, "-9", supervisor);
    let status = Ran::of(&mut shell("exec 9>>lock; \"$0\" status"));
    assert_eq!(status.code, 0, "{status:?}");
    assert_ne!(runners(&world).0, keeper);
    assert_eq!(holders(&world, &lock), Vec::<String>::new());
}

#[test]
fn sockets_of_a_network_that_was_killed_whole_go_with_the_next_down() {
    let world = World::new();
    hello(&world);
    for down in [&["down"][..], &["down", "-T", "hello"]] {
        world.ok(&["apply"]);
        // Who is killed later may start again who was killed before.
        wait_for("the end of everything", || {
            let living = left(&world.dir().to_string_lossy());
            let pids = living.iter().map(|it| it.split_once(':').unwrap().0);
            Ran::of(world.command("kill").arg("-9").args(pids));
            living.is_empty().then_some(())
        });
        assert!(
            !sockets(&world).is_empty(),
            "whoever is killed removes nothing"
        );
        let down = world.ok(down);
        assert!(down.stderr.contains("nothing to take down"), "{down:?}");
        assert_eq!(sockets(&world), Vec::<String>::new());
    }
}

#[test]
fn a_supervisor_that_cannot_write_its_ledger_runs_on_and_says_so() {
    let world = World::new();
    world.write(
        "topology.yaml",
        "zmqnet: 1\nname: full\nnodes:\n  \
         quick: {command: [sleep, '1000']}\n  \
         slow: {command: [sh, -c, \"trap '' TERM; while :; do sleep 0.1; done\"], stop: {grace: 4s}}\n",
    );
    world.ok(&["apply"]);
    let words = "runs on without its ledger";
    assert!(!world.ok(&["status"]).stdout.contains(words));
    // As on a full disk, nothing can be written beside it: a directory stands there.
    let fresh = world.path("state/zmqnet/full/ledger.new");
    fs::create_dir(&fresh).unwrap();
    kill(&world, "-9", runners(&world).1);
    let status = world.ok(&["status"]).stdout;
    assert!(
        status.contains(words) && status.contains("ledger.new"),
        "{status}"
    );
    let stopped = world.ok(&["stop", "quick"]);
    assert!(!stopped.stderr.contains("waiting for"), "{stopped:?}");
    let down = world.ok(&["down"]);
    assert!(
        down.stderr.contains("full: waiting for") && down.stderr.contains("slow (pid "),
        "{down:?}"
    );
    assert_eq!(left(&world.dir().to_string_lossy()), Vec::<String>::new());
}
