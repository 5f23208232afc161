//! `selftest`: its exit code is the truth, and nothing of it is left however it ends.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{Ran, Running, World, ports, wait_for};

/// As many as the network of a self test takes.
const PORTS: u16 = 20;

struct Bench {
    world: World,
    ports: u16,
}

impl Bench {
    fn new() -> Self {
        let world = World::new();
        fs::create_dir(world.path("tmp")).unwrap();
        let ports = ports(PORTS);
        Self { world, ports }
    }

    fn command(&self, args: &[&str]) -> Command {
        let last = self.ports + PORTS - 1;
        let ports = format!("{}..{last}", self.ports);
        let mut command = self.world.zmqnet(&["selftest", "--ports", &ports]);
        command.args(args).env("TMPDIR", self.world.path("tmp"));
        command
    }

    /// The directories of the self tests here.
    fn dirs(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.world.path("tmp")).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    /// The pid of an instance of the only self test here, once it has one.
    fn pid_of(&self, instance: &str) -> Option<u64> {
        let dir = self.dirs().pop()?;
        let mut command = self
            .world
            .zmqnet(&["status", "-T", "selftest", "-o", "json"]);
        command.env("XDG_STATE_HOME", dir.join("state"));
        command.env("XDG_RUNTIME_DIR", dir.join("run"));
        let status: Value = serde_json::from_str(&Ran::of(&mut command).stdout).ok()?;
        let nodes = status["nodes"].as_array()?;
        nodes.iter().find(|it| it["name"] == instance)?["pid"].as_u64()
    }

    /// Neither a directory, nor a process that was started in one, nor a port is left.
    #[track_caller]
    fn nothing_is_left(&self) {
        assert_eq!(self.dirs(), Vec::<PathBuf>::new());
        let ours = self.world.path("tmp").join("zmqnet-selftest-");
        let ours = ours.display().to_string();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let environ = fs::read(entry.path().join("environ")).unwrap_or_default();
            let environ = String::from_utf8_lossy(&environ).into_owned();
            assert!(!environ.contains(&ours), "{:?} lives", entry.path());
        }
        for port in self.ports..self.ports + PORTS {
            assert!(TcpListener::bind(("127.0.0.1", port)).is_ok(), "{port}");
        }
        // Nor did it use the directories of whoever ran it.
        assert!(!self.world.path("state/zmqnet").exists());
    }
}

fn kill(signal: &str, pid: u64) {
    let killed = Command::new("kill")
        .args([signal, &pid.to_string()])
        .status();
    assert!(killed.unwrap().success(), "kill {signal} {pid}");
}

#[test]
fn one_of_each_kind_is_checked_by_real_traffic_and_nothing_is_left() {
    let bench = Bench::new();
    let ran = Ran::of(&mut bench.command(&["-o", "json"]));
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    let report = ran.json();
    assert_eq!(report["ok"], true);
    let checks = report["checks"].as_array().unwrap();
    let of: Vec<&str> = checks
        .iter()
        .map(|check| check["what"].as_str().unwrap())
        .collect();
    let kinds = [
        "replica", "echo", "proxy", "cache", "bus", "queue", "feedback", "kv", "stream", "spool",
    ];
    assert!(kinds.iter().all(|kind| of.contains(kind)), "{of:?}");
    bench.nothing_is_left();
}

#[test]
fn a_port_that_is_taken_is_a_failure_that_is_named() {
    let bench = Bench::new();
    // One that is missing when a second instance is wanted, and one more without which it cannot begin.
    let taken = |port: u16| TcpListener::bind(("127.0.0.1", bench.ports + port)).unwrap();
    let mut held = Vec::new();
    for (port, what) in [(5, "feedback"), (7, "network")] {
        held.push(taken(port));
        let ran = Ran::of(&mut bench.command(&[]));
        assert_eq!(ran.code, 1, "{}{}", ran.stdout, ran.stderr);
        let mut lines = ran.stdout.lines();
        let fault = lines.find(|line| line.starts_with("FAIL")).unwrap();
        assert!(fault.contains(&format!("FAIL  {what}")), "{fault}");
        assert!(fault.contains("no port of"), "{fault}");
    }
    drop(held);
    bench.nothing_is_left();
}

#[test]
fn an_instance_that_is_killed_meanwhile_is_a_failure_that_is_named() {
    let bench = Bench::new();
    let mut command = bench.command(&["--timeout", "5s"]);
    let mut running = Running::start(&mut command);
    let pid = wait_for("the bus", || bench.pid_of("bus"));
    kill("-KILL", pid);
    let mut stdout = String::new();
    let mut out = running.0.stdout.take().unwrap();
    out.read_to_string(&mut stdout).unwrap();
    assert_eq!(running.0.wait().unwrap().code(), Some(1), "{stdout}");
    let fails = stdout.lines().filter(|line| line.starts_with("FAIL"));
    assert!(fails.clone().any(|line| line.contains("bus")), "{stdout}");
    assert!(stdout.contains("ok    queue"), "{stdout}");
    bench.nothing_is_left();
}

#[test]
fn whoever_is_interrupted_leaves_nothing() {
    // While it is applied, and while it is checked.
    for after_lines in [0, 1] {
        let bench = Bench::new();
        let mut command = bench.command(&[]);
        let mut running = Running::start(&mut command);
        let out = running.0.stdout.take().unwrap();
        let mut lines = BufReader::new(out).lines();
        wait_for("it to begin", || bench.dirs().pop());
        for _ in 0..after_lines {
            lines.next().unwrap().unwrap();
        }
        kill("-INT", u64::from(running.0.id()));
        assert_eq!(running.0.wait().unwrap().code(), Some(130));
        bench.nothing_is_left();
    }
}

#[test]
fn nobody_has_to_read_what_it_says() {
    let bench = Bench::new();
    let mut command = bench.command(&[]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    bench.nothing_is_left();
}

#[test]
fn what_a_killed_one_left_the_next_one_takes_away() {
    let bench = Bench::new();
    let mut command = bench.command(&[]);
    let mut running = Running::start(&mut command);
    wait_for("the bus", || bench.pid_of("bus"));
    running.0.kill().unwrap();
    running.0.wait().unwrap();
    assert_eq!(bench.dirs().len(), 1);
    wait_for("its commands to end", || {
        let ran = Ran::of(&mut bench.command(&[]));
        (ran.code == 0).then_some(())
    });
    bench.nothing_is_left();
}
