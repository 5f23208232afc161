//! A network with a listener that is attacked, started by `apply`, with a legitimate pyzmq client
//! that is served all the while, and a measure of what an attack may leave behind: nothing.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;

use super::target::{REPLICA, Target};
use crate::support::{Ran, Running, World, ports, python, root, wait_for};

/// How much more memory of its own may remain after an attack, in KiB: a working set, of which the allocator
/// keeps a page for each size of block. It must not grow with what was sent, nor with how often.
const MEMORY_LEFT_KIB_MAX: u64 = 12 * 1_024;
/// Descriptors that may remain: one connection of the client is closing while another is open.
const FDS_LEFT_MAX: usize = 3;

/// A running network, and a client of the listener that is attacked.
pub(crate) struct Fort {
    pub(crate) world: World,
    pub(crate) port: u16,
    instance: &'static str,
    /// How attackers come.
    guise: Vec<String>,
    pid: u32,
    rss_kib: u64,
    own_kib: u64,
    fds: usize,
    client: Option<Served>,
}

/// The port of the endpoint that a program is given.
pub(crate) fn inner(world: &World, program: &str) -> u16 {
    let told = world.ok(&["env", program]).stdout;
    let line = told.lines().find(|line| line.contains("_ENDPOINT="));
    let line = line.unwrap().trim_end_matches(['"', '\'']);
    line.rsplit(':').next().unwrap().parse().unwrap()
}

/// A legitimate client that asks until it is told to end.
struct Served {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// One of our Python scripts, not started yet.
pub(crate) fn script(world: &World, name: &str, args: &[&str]) -> Command {
    let mut command = world.command(python());
    command
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .arg(root().join("tests/it/py").join(name))
        .args(args);
    command
}

impl Served {
    fn start(world: &World, port: u16, guise: &[String]) -> Self {
        let mut command = script(world, "client.py", &[&format!("tcp://127.0.0.1:{port}")]);
        for option in guise {
            let (name, value) = option.split_once('=').unwrap();
            command.arg(format!("--{name}")).arg(value);
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert_eq!(line, "served\n", "the client's first request");
        Self {
            stdin: child.stdin.take(),
            child,
            stdout,
        }
    }

    /// Ends it; says how many requests were answered.
    fn end(mut self) -> u64 {
        drop(self.stdin.take());
        let mut said = String::new();
        self.stdout.read_to_string(&mut said).unwrap();
        assert!(self.child.wait().unwrap().success(), "a request failed");
        let report: Value = serde_json::from_str(&said).unwrap();
        report["count"].as_u64().unwrap()
    }
}

impl Fort {
    /// Starts a replica with these `limits:` and a client that it serves.
    pub(crate) fn start(limits: &str) -> Self {
        let manifest = REPLICA.manifest.replace("PORT", &format!("PORT{limits}"));
        Self::with(&REPLICA, &manifest, "")
    }

    /// Starts what is to be attacked, and a client that it serves. The handshake is short, and fewer may be
    /// pending than are accepted at once.
    pub(crate) fn of(target: &Target) -> Self {
        Self::with(
            target,
            target.manifest,
            ", limits: {handshake: 2s, pending: 200}",
        )
    }

    fn with(target: &Target, manifest: &str, defaults: &str) -> Self {
        let world = World::new();
        let first = ports(8);
        let program = root().join("tests/it/py/program.py");
        let manifest = manifest
            .replace("PORT", &first.to_string())
            .replace("PYTHON", &python().display().to_string())
            .replace("PROGRAM", &program.display().to_string());
        let last = first + 7;
        let text = format!(
            "zmqnet: 1\nname: fort\ndefaults: {{ports: {first}..{last}{defaults}}}\n{manifest}\n"
        );
        world.write("topology.yaml", &text);
        world.ok(&["apply"]);
        let port = target
            .inner_of
            .map_or(first, |program| inner(&world, program));
        let mut guise = vec![format!("kind={}", target.kind)];
        if let Some(back) = target.back {
            guise.push(format!("back={}", port + back));
        }
        if let Some([server, own]) = target.keys {
            let keys = world.path("keys");
            guise.push(format!("server={}", keys.join(server).display()));
            guise.push(format!("own={}", keys.join(own).display()));
        }
        let mut fort = Self {
            client: Some(Served::start(&world, port, &guise)),
            world,
            port,
            instance: target.instance,
            guise,
            pid: 0,
            rss_kib: 0,
            own_kib: 0,
            fds: 0,
        };
        fort.pid = u32::try_from(fort.node()["pid"].as_u64().unwrap()).unwrap();
        fort.rss_kib = fort.memory_kib("VmRSS:");
        fort.own_kib = fort.own_kib();
        fort.fds = fort.fds();
        fort
    }

    /// The listener's certificate and that of one whom it admits, where it speaks CURVE.
    pub(crate) fn keys(&self) -> Vec<String> {
        let options = self.guise.iter().filter_map(|it| it.split_once('='));
        let keys = options.filter(|(name, _)| matches!(*name, "server" | "own"));
        keys.map(|(_, file)| file.to_owned()).collect()
    }

    /// What `status` says of whom is attacked.
    pub(crate) fn node(&self) -> Value {
        let mut status = self.world.ok(&["status", "-o", "json"]).json();
        let nodes = status["nodes"].as_array_mut().unwrap();
        let node = nodes.iter_mut().find(|node| node["name"] == self.instance);
        node.unwrap().take()
    }

    /// Memory that is no page of a file: those of the program come in when its code is first used.
    fn own_kib(&self) -> u64 {
        self.memory_kib("RssAnon:")
    }

    /// How much more memory than at the beginning it ever held at once, in KiB.
    pub(crate) fn peak_kib(&self) -> u64 {
        self.memory_kib("VmHWM:") - self.rss_kib
    }

    fn memory_kib(&self, what: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap();
        let line = status.lines().find(|l| l.starts_with(what)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Waits until the refusals are counted under these limits.
    #[track_caller]
    pub(crate) fn counts(&self, limits: &[&str]) {
        for limit in limits {
            wait_for(&format!("a refusal counted as {limit}"), || {
                let rejected = &self.node()["listeners"]["rejected"];
                (rejected[limit].as_u64()? > 0).then_some(())
            });
        }
    }

    fn fds(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid))
            .unwrap()
            .count()
    }

    fn attacker(&self, name: &str) -> Command {
        let mut command = script(&self.world, "attacks.py", &[name, &self.port.to_string()]);
        command.args(&self.guise);
        command
    }

    /// Does an attack to its end; gives what it met.
    #[track_caller]
    pub(crate) fn attack(&self, name: &str, options: &[&str]) -> Value {
        let ran = Ran::of(self.attacker(name).args(options));
        assert_eq!(ran.code, 0, "{name}: {}", ran.stderr);
        ran.json()
    }

    /// Starts an attack that stays until its handle is dropped.
    pub(crate) fn staying(&self, name: &str) -> Running {
        Running::start(self.attacker(name).stdin(Stdio::piped()))
    }

    /// Insists that the attack left nothing: the same process, never restarted, its memory and its
    /// descriptors as before.
    #[track_caller]
    pub(crate) fn stands(&self, after: &str) {
        self.lives(after);
        let what = format!("memory to come back to {} KiB after {after}", self.own_kib);
        wait_for(&what, || {
            (self.own_kib() <= self.own_kib + MEMORY_LEFT_KIB_MAX).then_some(())
        });
    }

    /// Insists that it is the same process, never restarted, with its descriptors as before.
    #[track_caller]
    pub(crate) fn lives(&self, after: &str) {
        let node = self.node();
        assert_eq!(node["state"], "ready", "after {after}: {node}");
        assert_eq!(node["pid"], self.pid, "after {after}");
        assert_eq!(node["restarts"], 0, "after {after}");
        let what = format!("descriptors to come back to {} after {after}", self.fds);
        wait_for(&what, || {
            (self.fds() <= self.fds + FDS_LEFT_MAX).then_some(())
        });
    }

    /// Does an attack whose every connection must be ended by us, and which must leave nothing.
    #[track_caller]
    pub(crate) fn refuses(&self, name: &str, options: &[&str]) -> Value {
        let met = self.attack(name, options);
        assert_eq!(met["open"], 0, "{name}: {met}");
        self.stands(name);
        met
    }

    /// Ends the client: everything it asked was answered.
    pub(crate) fn end(mut self) {
        let answered = self.client.take().unwrap().end();
        assert!(answered > 20, "{answered} requests were answered");
    }
}
