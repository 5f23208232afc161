//! The keeper by itself, through its socket: what it starts, what it ends, what it finds again.
//!
//! The tests speak the frozen frames with their own few lines, so that a change of them is seen.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{DEADLINE, Running, World, wait_for};

/// A network that has a keeper and nothing else.
struct Net {
    world: World,
}

impl Net {
    fn new() -> Self {
        let net = Self {
            world: World::new(),
        };
        net.ensure();
        net
    }

    /// Makes sure that a keeper lives.
    fn ensure(&self) {
        let state = self.state();
        self.world
            .ok(&["__keeper", state.to_str().unwrap(), "--alone"]);
    }

    fn state(&self) -> PathBuf {
        self.world.path("state").join("zmqnet/net")
    }

    fn runtime(&self) -> PathBuf {
        self.world.path("run").join("zmqnet/net")
    }

    fn log(&self, instance: &str) -> String {
        fs::read_to_string(self.state().join(format!("logs/{instance}.log"))).unwrap_or_default()
    }

    fn connect(&self) -> Keeper {
        let socket = self.runtime().join("keeper.sock");
        let stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Keeper { stream, id: 0 }
    }

    fn keeper_pid(&self) -> u32 {
        let hello = self
            .connect()
            .ask(json!({"hello": {"version": 1}}))
            .unwrap();
        pid(&hello["hello"])
    }

    fn spawn(&self, instance: &str, script: &str) -> u32 {
        let answer = self.connect().ask(self.spawning(instance, script)).unwrap();
        pid(&answer["spawned"])
    }

    fn spawning(&self, instance: &str, script: &str) -> Value {
        json!({"spawn": {
            "instance": instance,
            "generation": 1,
            "program": "/bin/sh",
            "args": ["sh", "-c", script],
            "cwd": self.world.dir(),
            "env": {"PATH": std::env::var("PATH").unwrap(), "SEEN": "yes"},
            "logs": {"to": "file", "level": "info", "keep": 1000, "size_bytes": 1_000_000_000},
        }})
    }

    fn child(&self, instance: &str) -> Option<Value> {
        let answer = self.connect().ask(json!("list")).unwrap();
        let children = answer["children"].as_array().unwrap();
        children.iter().find(|c| c["instance"] == instance).cloned()
    }

    /// How an instance ended, once it has.
    #[track_caller]
    fn end(&self, instance: &str) -> Value {
        wait_for(&format!("the end of {instance}"), || {
            let ended = self.child(instance)?["ended"].clone();
            (!ended.is_null()).then(|| ended["status"].clone())
        })
    }

    fn signal(&self, instance: &str, signal: &str, scope: &str) -> u64 {
        let answer = self.connect().ask(json!({"signal": {
            "targets": [{"instance": instance}], "signal": signal, "scope": scope, "resume": true,
        }}));
        answer.unwrap()["signalled"]["count"].as_u64().unwrap()
    }

    fn remains(&self, instances: Value) -> Vec<Value> {
        let answer = self
            .connect()
            .ask(json!({"remains": {"instances": instances}}));
        answer.unwrap()["remains"].as_array().unwrap().clone()
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        self.ensure();
        let mut keeper = self.connect();
        let list = keeper.ask(json!("list")).unwrap();
        let targets: Vec<Value> = list["children"]
            .as_array()
            .unwrap()
            .iter()
            .map(|child| json!({"instance": child["instance"]}))
            .collect();
        for _ in 0..500 {
            drop(
                keeper
                    .ask(json!({"signal": {"targets": targets, "signal": "KILL", "scope": "all"}})),
            );
            if keeper.ask(json!("quit")).is_ok() {
                drop(keeper.stream.read_to_end(&mut Vec::new()));
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// One connection.
struct Keeper {
    stream: UnixStream,
    id: u64,
}

impl Keeper {
    fn send(&mut self, ask: &Value) {
        self.id += 1;
        let body = json!({"id": self.id, "ask": ask}).to_string();
        self.bytes(body.as_bytes());
    }

    fn bytes(&mut self, body: &[u8]) {
        let head = u32::try_from(body.len()).unwrap().to_le_bytes();
        self.stream.write_all(&head).unwrap();
        self.stream.write_all(body).unwrap();
    }

    fn frame(&mut self) -> Value {
        let mut head = [0; 4];
        self.stream.read_exact(&mut head).unwrap();
        let mut body = vec![0; u32::from_le_bytes(head) as usize];
        self.stream.read_exact(&mut body).unwrap();
        serde_json::from_slice(&body).unwrap()
    }

    /// The answer, or the refusal.
    fn ask(&mut self, ask: Value) -> Result<Value, Value> {
        self.send(&ask);
        let frame = self.frame();
        match frame.get("answer") {
            Some(answer) => Ok(answer["answer"].clone()),
            None => Err(frame["refused"]["refusal"].clone()),
        }
    }
}

fn pid(value: &Value) -> u32 {
    u32::try_from(value["pid"].as_u64().unwrap()).unwrap()
}

fn kill(pid: u32, signal: &str) {
    let status = Command::new("kill")
        .args([format!("-{signal}"), pid.to_string()])
        .stderr(Stdio::null())
        .status();
    status.unwrap();
}

/// Whether a process is there and no zombie.
fn lives(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit(") ")
        .next()
        .and_then(|rest| rest.chars().next());
    state.is_some_and(|state| state != 'Z' && state != 'X')
}

#[track_caller]
fn gone(pid: u32) {
    wait_for(&format!("the end of process {pid}"), || {
        (!lives(pid)).then_some(())
    });
}

#[test]
fn a_child_gets_its_environment_and_directory_and_its_end_is_known() {
    let net = Net::new();
    let own = net.spawn("a", "echo $SEEN $ZMQNET_TAG; pwd; env | wc -l >&2; exit 7");
    assert_eq!(net.end("a"), json!({"code": 7}));
    let log = net.log("a");
    let lines: Vec<&str> = log.lines().collect();
    assert!(
        lines[0].starts_with("yes ") && lines[0].ends_with("/a/1"),
        "{log}"
    );
    assert_eq!(lines[1], net.world.dir().to_str().unwrap());
    assert!(!lives(own));
    net.spawn("killed", "kill -9 $$");
    assert_eq!(net.end("killed"), json!({"signal": 9}));
    // The same instance starts again, in its next life.
    net.spawn("a", "exit 0");
    assert_eq!(net.end("a"), json!({"code": 0}));
}

#[test]
fn what_cannot_be_started_is_refused_with_the_reason() {
    let net = Net::new();
    let mut keeper = net.connect();
    let mut refusal = |change: &dyn Fn(&mut Value)| {
        let mut ask = net.spawning("a", "sleep 60");
        change(&mut ask["spawn"]);
        keeper.ask(ask).unwrap_err()
    };
    let missing = refusal(&|spawn| spawn["program"] = json!("/no/such/program"));
    assert_eq!(
        (&missing["kind"], &missing["errno"]),
        (&json!("spawn"), &json!(2))
    );
    assert!(
        missing["message"]
            .as_str()
            .unwrap()
            .contains("/no/such/program")
    );
    let nowhere = refusal(&|spawn| spawn["cwd"] = json!("/no/such/place"));
    assert!(
        nowhere["message"]
            .as_str()
            .unwrap()
            .contains("/no/such/place")
    );
    assert_eq!(
        refusal(&|spawn| spawn["program"] = json!("sh"))["kind"],
        "invalid"
    );
    assert_eq!(
        refusal(&|spawn| spawn["instance"] = json!("../a"))["kind"],
        "invalid"
    );
    assert_eq!(
        refusal(&|spawn| spawn["instance"] = json!("@keeper"))["kind"],
        "invalid"
    );
    net.spawn("a", "sleep 60");
    assert_eq!(refusal(&|_| ())["kind"], "running");
}

#[test]
fn a_signal_reaches_the_group_also_when_it_is_stopped() {
    let net = Net::new();
    let leader = net.spawn("a", "sleep 60 & sleep 61 & wait");
    wait_for("the sleepers", || {
        (net.remains(json!(["a"])).len() == 3).then_some(())
    });
    let all: Vec<u32> = net.remains(json!(["a"])).iter().map(pid).collect();
    net.signal("a", "STOP", "group");
    let wrong_life = json!({"signal": {
        "targets": [{"instance": "a", "generation": 9}], "signal": "KILL", "scope": "group"}});
    let none = net.connect().ask(wrong_life).unwrap();
    assert_eq!(none["signalled"]["count"], 0);
    assert!(lives(leader));
    assert_eq!(net.signal("a", "TERM", "group"), 1);
    assert_eq!(net.end("a"), json!({"signal": 15}));
    all.into_iter().for_each(gone);
    assert_eq!(net.remains(json!(["a"])), Vec::<Value>::new());
    let bad = json!({"signal": {"targets": [], "signal": "NONSENSE", "scope": "group"}});
    assert_eq!(net.connect().ask(bad).unwrap_err()["kind"], "invalid");
}

#[test]
fn a_grandchild_that_casts_off_group_and_environment_is_found_and_ended() {
    let net = Net::new();
    let script = "trap '' TERM; \
                  setsid sh -c 'trap \"\" TERM; echo $$ > one; while :; do sleep 1; done' & \
                  setsid env -i /bin/sh -c 'echo $$ > two; while :; do /bin/sleep 1; done' & \
                  exec sleep 60";
    net.spawn("a", script);
    let mut shells = ["one", "two"].map(|name| {
        wait_for("a shell of its own", || {
            let text = fs::read_to_string(net.world.path(name)).ok()?;
            text.trim().parse::<u32>().ok()
        })
    });
    shells.sort();
    // The leader ignores TERM too, being asked; it is killed, its group with it.
    net.signal("a", "TERM", "group");
    net.signal("a", "KILL", "group");
    net.end("a");
    assert!(shells.iter().all(|pid| lives(*pid)));
    let remains: Vec<u32> = net.remains(json!(["a"])).iter().map(pid).collect();
    assert!(
        shells.iter().all(|pid| remains.contains(pid)),
        "{remains:?}"
    );
    let refusal = net.connect().ask(json!("quit")).unwrap_err();
    assert_eq!(refusal["kind"], "busy");
    assert!(
        refusal["message"]
            .as_str()
            .unwrap()
            .contains(&shells[0].to_string())
    );
    wait_for("nothing to remain", || {
        net.signal("a", "KILL", "all");
        net.remains(json!(null)).is_empty().then_some(())
    });
    shells.into_iter().for_each(gone);
}

#[test]
fn a_killed_keeper_is_replaced_and_its_children_are_adopted() {
    let net = Net::new();
    let script = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done";
    let pids = ["a", "b"].map(|name| net.spawn(name, script));
    let old = net.keeper_pid();
    kill(old, "KILL");
    gone(old);
    let before = net.log("a").lines().count();
    wait_for("lines while no keeper lives", || {
        (net.log("a").lines().count() > before).then_some(())
    });
    // The socket file of the dead one is in the way.
    assert!(net.runtime().join("keeper.sock").exists());
    net.ensure();
    assert_ne!(net.keeper_pid(), old);
    for (name, own) in ["a", "b"].into_iter().zip(pids) {
        let child = net.child(name).unwrap();
        assert_eq!((pid(&child), &child["adopted"]), (own, &json!(true)));
        assert!(child["ended"].is_null());
    }
    net.signal("a", "TERM", "group");
    assert_eq!(net.end("a"), json!("unknown"));
    assert!(lives(pids[1]));
    net.spawn("a", "sleep 60");
    assert_eq!(net.child("a").unwrap()["adopted"], false);
}

#[test]
fn a_stranger_is_never_adopted_whatever_the_ledger_says() {
    let net = Net::new();
    let old = net.keeper_pid();
    // One whose pid the ledger names, with another start; one that another network tagged.
    let namesake = Running::start(net.world.command("sleep").arg("60"));
    let tag = format!("{}/a/1", "0".repeat(16));
    let tagged = Running::start(net.world.command("sleep").arg("60").env("ZMQNET_TAG", tag));
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let line = |name: &str, pid: u32, start_time: u64| {
        let process = json!({"pid": pid, "start_time": start_time, "boot_id": boot.trim()});
        let line = json!({"spawned": {"instance": name, "generation": 1, "process": process}});
        format!("{line}\n")
    };
    let start_of = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let rest = stat.rsplit(") ").next().unwrap();
        rest.split(' ').nth(19).unwrap().parse::<u64>().unwrap()
    };
    let (near, far) = (namesake.0.id(), tagged.0.id());
    let ledger = line("near", near, start_of(near) + 1) + &line("far", far, start_of(far));
    fs::write(net.state().join("ledger.json"), ledger).unwrap();
    kill(old, "KILL");
    gone(old);
    net.ensure();
    assert_eq!((net.child("near"), net.child("far")), (None, None));
    assert_eq!(
        net.signal("near", "KILL", "all") + net.signal("far", "KILL", "all"),
        0
    );
    assert!(lives(near) && lives(far));
    // Named exactly, one that lost its tag is ours.
    fs::write(
        net.state().join("ledger.json"),
        line("near", near, start_of(near)),
    )
    .unwrap();
    let old = net.keeper_pid();
    kill(old, "KILL");
    gone(old);
    net.ensure();
    assert_eq!(pid(&net.child("near").unwrap()), near);
}

#[test]
fn many_who_need_a_keeper_at_once_get_the_same_one() {
    let net = Net::new();
    let old = net.keeper_pid();
    kill(old, "KILL");
    gone(old);
    let state = net.state();
    let starting: Vec<Running> = (0..8)
        .map(|_| {
            let args = ["__keeper", state.to_str().unwrap(), "--alone"];
            Running::start(&mut net.world.zmqnet(&args))
        })
        .collect();
    for mut one in starting {
        let status = wait_for("its end", || one.0.try_wait().unwrap());
        assert!(status.success(), "{}", net.log("@keeper"));
    }
    let starts = net.log("@keeper").matches("a keeper starts").count();
    assert_eq!(starts, 2, "{}", net.log("@keeper"));
}

#[test]
fn a_keeper_that_hangs_is_replaced_and_its_children_live() {
    let net = Net::new();
    let own = net.spawn("a", "sleep 60");
    let old = net.keeper_pid();
    kill(old, "STOP");
    net.ensure();
    assert_ne!(net.keeper_pid(), old);
    gone(old);
    assert_eq!(pid(&net.child("a").unwrap()), own);
}

#[test]
fn bytes_that_are_no_request_harm_nobody() {
    let net = Net::new();
    let mut keeper = net.connect();
    for junk in [
        &b"not json"[..],
        b"",
        b"{}",
        b"\xff\xff",
        br#"{"id":5,"ask":{"dance":1}}"#,
    ] {
        keeper.bytes(junk);
        let frame = keeper.frame();
        assert_eq!(frame["refused"]["refusal"]["kind"], "malformed", "{frame}");
    }
    keeper.bytes(br#"{"id":6,"ask":"dance"}"#);
    assert_eq!(keeper.frame()["refused"]["id"], 6);
    assert!(
        keeper.ask(json!("list")).is_ok(),
        "the same connection goes on"
    );
    let wrong = keeper.ask(json!({"hello": {"version": 2}})).unwrap_err();
    assert_eq!(wrong["kind"], "version");
    // A length over the bound ends its connection, and half a frame waits without harm.
    keeper.stream.write_all(&u32::MAX.to_le_bytes()).unwrap();
    assert_eq!(keeper.frame()["refused"]["id"], 0);
    assert_eq!(keeper.stream.read(&mut [0; 1]).unwrap(), 0);
    let mut half = net.connect();
    half.stream.write_all(&[200, 0, 0, 0, b'{']).unwrap();
    assert!(net.connect().ask(json!("list")).is_ok());
}

#[test]
fn watchers_are_told_of_ends_and_notices_as_they_happen() {
    let net = Net::new();
    let mut watcher = net.connect();
    watcher.ask(json!("watch")).unwrap();
    let script = "import os,socket; s=socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); \
                  s.sendto(b'READY=1\\nSTATUS=up', os.environ['NOTIFY_SOCKET'])";
    let mut ask = net.spawning("a", "");
    ask["spawn"]["program"] = json!("/usr/bin/env");
    ask["spawn"]["args"] = json!(["env", "python3", "-c", script]);
    let notify = net.runtime().join("notify.sock");
    ask["spawn"]["env"]["NOTIFY_SOCKET"] = json!(notify);
    net.connect().ask(ask).unwrap();
    let event = |frame: Value, kind: &str| frame["event"][kind].clone();
    assert_eq!(event(watcher.frame(), "notified")["notice"], "ready");
    assert_eq!(
        event(watcher.frame(), "notified")["notice"],
        json!({"status": "up"})
    );
    let ended = event(watcher.frame(), "exited");
    assert_eq!(
        (&ended["instance"], &ended["status"]),
        (&json!("a"), &json!({"code": 0}))
    );
    assert_eq!(net.child("a").unwrap()["notice"], "ready");
    // Somebody who is not of the network says nothing for it.
    let stranger = std::os::unix::net::UnixDatagram::unbound().unwrap();
    stranger.send_to(b"STOPPING=1", notify).unwrap();
    net.spawn("b", "exit 3");
    assert_eq!(event(watcher.frame(), "exited")["instance"], "b");
}

#[test]
fn limits_pipes_and_silence_are_what_a_child_gets() {
    let net = Net::new();
    let mut keeper = net.connect();
    let mut ask = net.spawning("limited", "ulimit -n; echo $0");
    ask["spawn"]["limits"] = json!({"files": 64});
    keeper.ask(ask).unwrap();
    assert_eq!(net.end("limited"), json!({"code": 0}));
    assert_eq!(net.log("limited"), "64\nsh\n");
    // A program that opens its output anew cuts a plain file short, a pipe it cannot.
    let mut ask = net.spawning("piped", "echo one; echo two > /dev/stdout; echo three");
    ask["spawn"]["logs"]["to"] = json!("fifo");
    keeper.ask(ask).unwrap();
    net.end("piped");
    assert_eq!(net.log("piped"), "one\ntwo\nthree\n");
    let mut ask = net.spawning("silent", "echo hello");
    ask["spawn"]["logs"]["to"] = json!("none");
    keeper.ask(ask).unwrap();
    net.end("silent");
    assert!(!net.state().join("logs/silent.log").exists());
}

#[test]
fn rotation_under_a_fast_writer_loses_no_line() {
    const LINES: usize = 400_000;
    let net = Net::new();
    let script = "for i in $(seq 0 19); do seq $((i*20000+1)) $((i*20000+20000)); sleep 0.03; done";
    net.spawn("a", script);
    let mut keeper = net.connect();
    while net.child("a").unwrap()["ended"].is_null() {
        keeper
            .ask(
                json!({"rotate": {"instance": "a", "size_bytes": 1, "keep": 100_000, "now": true}}),
            )
            .unwrap();
    }
    let logs = net.state().join("logs");
    // A rotation that is under way holds the log locked; none begins while we hold it.
    let log = fs::File::open(logs.join("a.log")).unwrap();
    log.lock().unwrap();
    let mut archives: Vec<PathBuf> = fs::read_dir(&logs)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().unwrap().contains("a.log.0000."))
        .collect();
    archives.sort();
    assert!(archives.len() > 1, "{archives:?}");
    let mut text: String = archives
        .iter()
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    text += net.log("a").trim_start_matches('\0');
    let lines = text.lines().map(|line| line.parse::<usize>().unwrap());
    assert!(lines.eq(1..=LINES));
}

#[test]
fn a_supervisor_that_dies_is_started_again() {
    let net = Net::new();
    net.connect().ask(json!("quit")).unwrap();
    wait_for("the end of the first keeper", || {
        (!net.runtime().exists()).then_some(())
    });
    let state = net.state();
    net.world.ok(&["__keeper", state.to_str().unwrap()]);
    let supervisor = |other_than: u32| {
        wait_for("a supervisor", || {
            let hello = net.connect().ask(json!({"hello": {"version": 1}})).unwrap();
            let pid = hello["hello"]["supervisor"].as_u64()?;
            u32::try_from(pid).ok().filter(|pid| *pid != other_than)
        })
    };
    let first = supervisor(0);
    kill(first, "KILL");
    let second = supervisor(first);
    assert!(net.remains(json!(null)).is_empty(), "it is no instance");
    net.connect().ask(json!("quit")).unwrap();
    gone(second);
}

#[test]
fn a_log_over_its_size_is_rotated_unasked_and_an_idle_keeper_sleeps() {
    let net = Net::new();
    let mut ask = net.spawning("a", "seq 1 5000; exec sleep 60");
    ask["spawn"]["logs"]["size_bytes"] = json!(10_000);
    net.connect().ask(ask).unwrap();
    let logs = net.state().join("logs");
    wait_for("an archive", || {
        let mut names = fs::read_dir(&logs).unwrap().flatten();
        names.find(|entry| entry.file_name().to_str().unwrap().starts_with("a.log.0"))
    });
    let status = format!("/proc/{}/status", net.keeper_pid());
    let switches = || {
        let text = fs::read_to_string(&status).unwrap();
        let line = text
            .lines()
            .find_map(|l| l.strip_prefix("voluntary_ctxt_switches:"));
        line.unwrap().trim().parse::<u64>().unwrap()
    };
    let before = switches();
    // Nothing is waited for: this is how long it is watched.
    std::thread::sleep(Duration::from_secs(1));
    let woken = switches() - before;
    assert!(woken < 20, "woken {woken} times in a second");
}

#[test]
fn a_keeper_that_quits_leaves_no_socket() {
    let net = Net::new();
    net.spawn("a", "exit 0");
    net.end("a");
    let pid = net.keeper_pid();
    let mut keeper = net.connect();
    keeper.ask(json!("quit")).unwrap();
    assert_eq!(keeper.stream.read(&mut [0; 1]).unwrap(), 0);
    gone(pid);
    assert!(!net.runtime().exists());
}

#[test]
fn who_wants_it_taken_down_is_told_of_the_end_and_of_nothing_else() {
    let net = Net::new();
    let mut asker = net.connect();
    let refusal = asker.ask(json!("take_down")).unwrap_err();
    assert_eq!(refusal["kind"], "busy", "no supervisor listens");
    let mut supervisor = net.connect();
    supervisor.ask(json!("watch")).unwrap();
    net.spawn("a", "exec sleep 60");
    assert_eq!(asker.ask(json!("take_down")).unwrap(), "taking_down");
    assert_eq!(supervisor.frame()["event"], "take_down");
    let refusal = supervisor.ask(json!("quit")).unwrap_err();
    assert_eq!(refusal["kind"], "busy", "one lives");
    net.signal("a", "KILL", "all");
    assert_eq!(supervisor.frame()["event"]["exited"]["instance"], "a");
    assert_eq!(supervisor.ask(json!("quit")).unwrap(), "quitting");
    assert_eq!(asker.frame()["event"], "quitting");
    assert_eq!(asker.stream.read(&mut [0; 1]).unwrap(), 0);
    let rest = supervisor.stream.read_to_end(&mut Vec::new());
    assert_eq!(rest.unwrap(), 0, "it knows that it asked");
}
