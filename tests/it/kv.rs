//! The key-value store over real sockets and a real disk: its commands, its mirrors, and that nothing
//! that it answered is lost however it is killed.

mod linear;

use std::collections::HashMap;
use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::protocol_doc::blocks;
use crate::support::{Ran, Running, World, ports, py, python, root, wait_for};
use linear::{Call, Op, is_linearizable};

/// A network of one store.
pub(crate) struct Kv {
    pub(crate) world: World,
    port: u16,
}

impl Kv {
    /// A store with more keys in its node.
    fn start(keys: &str) -> Self {
        let (world, port) = (World::new(), ports(3));
        let text = format!(
            "zmqnet: 1\nname: settings\ndefaults:\n  restart: {{when: always, backoff: 1ms..5ms, limit: 10000/1m}}\nnodes:\n  params: {{kind: kv, port: {port}, store: {{path: ./data}}{keys}}}\n"
        );
        world.write("topology.yaml", &text);
        world.ok(&["apply"]);
        Self { world, port }
    }

    /// Where a port of it is, by its place.
    fn at(&self, place: u16) -> String {
        format!("tcp://127.0.0.1:{}", self.port + place)
    }

    /// Runs `zmqnet kv ...`.
    fn kv(&self, args: &[&str]) -> Ran {
        self.world.run(&[&["kv"], args].concat())
    }

    #[track_caller]
    fn kv_ok(&self, args: &[&str]) -> String {
        let ran = self.kv(args);
        assert_eq!(ran.code, 0, "{args:?}: {} {}", ran.stdout, ran.stderr);
        ran.stdout
    }

    /// A program of the tests, with pyzmq.
    fn program(&self, name: &str, args: &[&str]) -> Command {
        let mut command = self.world.command(python());
        command
            .arg(root().join("tests/it/py").join(name))
            .args(args);
        command
    }

    fn pid(&self) -> Option<u64> {
        let status = self.world.run(&["status", "-o", "json"]);
        let status: Value = serde_json::from_str(&status.stdout).ok()?;
        status["nodes"][0]["pid"].as_u64()
    }

    fn kill(&self) {
        if let Some(pid) = self.pid() {
            let mut kill = self.world.command("kill");
            drop(kill.args(["-9", &pid.to_string()]).output());
        }
    }
}

fn with_stdin(kv: &Kv, args: &[&str], data: &[u8]) -> Ran {
    use std::io::Write;
    let mut command = kv.world.zmqnet(args);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(data).unwrap();
    Ran::from(child.wait_with_output().unwrap())
}

#[test]
fn keys_are_set_read_swapped_listed_and_deleted_by_command() {
    let kv = Kv::start("");
    assert_eq!(kv.kv_ok(&["set", "k", "1"]), "1\n");
    assert_eq!(kv.kv_ok(&["get", "k"]), "1", "its bytes and nothing else");
    let missing = kv.kv(&["get", "nope"]);
    assert_eq!((missing.code, missing.stdout.as_str()), (1, ""));
    assert!(
        missing.stderr.contains("there is no key `nope`"),
        "{}",
        missing.stderr
    );
    assert_eq!(kv.kv(&["cas", "k", "0", "2"]).code, 1);
    let wrong = kv.kv(&["cas", "k", "7", "2"]);
    assert!(
        wrong.stderr.contains("the key `k` has the revision 1"),
        "{}",
        wrong.stderr
    );
    assert_eq!(kv.kv_ok(&["cas", "k", "1", "-5"]), "2\n");
    assert_eq!(kv.kv_ok(&["cas", "new", "0", "x"]), "3\n");
    let bytes = [0, 159, 146, 150, b'\n'];
    let set = with_stdin(&kv, &["kv", "set", "raw", "-"], &bytes);
    assert_eq!(set.code, 0, "{}", set.stderr);
    let got = kv.world.zmqnet(&["kv", "get", "raw"]).output().unwrap();
    assert_eq!(got.stdout, bytes);
    let bad = kv.kv(&["set", "--json", "j", "{"]);
    assert_eq!(bad.code, 64, "{}", bad.stderr);
    kv.kv_ok(&["set", "--json", "--ttl", "1h", "j", "{\"a\": [1]}"]);
    assert_eq!(kv.kv_ok(&["ls", "--names"]), "j\nk\nnew\nraw\n");
    let listed: Value = serde_json::from_str(&kv.kv_ok(&["ls", "j", "-o", "json"])).unwrap();
    assert_eq!(
        (&listed[0]["bytes"], listed[0]["ttl_ms"].is_u64()),
        (&json!(10), true)
    );
    assert_eq!(kv.kv_ok(&["del", "k"]), "6\n");
    assert_eq!(kv.kv(&["del", "k"]).code, 1);
    let table = kv.kv_ok(&["ls", "--limit", "1"]);
    assert!(
        table.starts_with("KEY") || table.starts_with(" KEY"),
        "{table}"
    );
    // It is found again after a restart, and by its endpoint.
    kv.world.ok(&["restart", "params"]);
    assert_eq!(kv.kv_ok(&["get", "--endpoint", &kv.at(0), "new"]), "x");
    let seen = kv.kv_ok(&["watch", "--after", "0", "--count", "3", "--timeout", "20s"]);
    assert_eq!(seen, "set k 1\nset k -5\nset new x\n");
    let none = kv.kv(&["watch", "--count", "1", "--timeout", "100ms"]);
    assert_eq!(none.code, 1);
    kv.world.ok(&["down"]);
}

#[test]
fn an_export_is_pydistributeds_json_object_and_is_imported_again() {
    let kv = Kv::start("");
    let file = r#"{"colour": "red", "count": 3, "deep": {"a": [1, 2.5, null]}, "empty": "", "kürbis": "🎃"}"#;
    kv.world.write("keyvalue.db", file);
    assert_eq!(kv.kv_ok(&["import", "keyvalue.db"]), "5 keys\n");
    assert_eq!(kv.kv_ok(&["get", "colour"]), "\"red\"");
    let exported: Value = serde_json::from_str(&kv.kv_ok(&["export"])).unwrap();
    assert_eq!(exported, serde_json::from_str::<Value>(file).unwrap());
    kv.kv_ok(&["set", "plain", "no JSON"]);
    let refused = kv.kv(&["export"]);
    assert_eq!(refused.code, 1);
    assert!(
        refused.stderr.contains("the value of `plain` is not JSON"),
        "{}",
        refused.stderr
    );
    let text: Value = serde_json::from_str(&kv.kv_ok(&["export", "--text", "plain"])).unwrap();
    assert_eq!(text, json!({"plain": "no JSON"}));
    // Two thousand keys are several batches, and one value is larger than a batch.
    let many: HashMap<String, String> = (0..2_000)
        .map(|n| (format!("n{n}"), n.to_string()))
        .collect();
    let mut many = json!(many);
    many["large"] = "\"".repeat(400_000).into();
    let given = with_stdin(
        &kv,
        &["kv", "import", "--text", "-"],
        many.to_string().as_bytes(),
    );
    assert_eq!(given.stdout, "2001 keys\n", "{}", given.stderr);
    let mut all: Value = serde_json::from_str(&kv.kv_ok(&["export", "--text", "n"])).unwrap();
    all["large"] = many["large"].clone();
    assert_eq!(all, many);
    assert_eq!(kv.kv_ok(&["get", "large"]).len(), 400_000);
    for (text, code) in [("[1]", 65), ("{", 65)] {
        assert_eq!(
            with_stdin(&kv, &["kv", "import", "-"], text.as_bytes()).code,
            code
        );
    }
    assert_eq!(kv.kv(&["import", "nowhere.json"]).code, 66);
    kv.world.ok(&["down"]);
}

#[test]
fn the_examples_of_the_manual_print_what_they_say() {
    let text = fs::read_to_string(root().join("docs/kv.md")).unwrap();
    let kv = Kv::start("");
    let mut ran = 0;
    for pair in blocks(&text).windows(2) {
        let [(language, script), (_, expected)] = pair else {
            unreachable!("windows of two");
        };
        if language != "python" {
            continue;
        }
        let script = (0..3).fold(script.clone(), |script, place| {
            script.replace(&format!("tcp://127.0.0.1:{}", 5555 + place), &kv.at(place))
        });
        let printed = py(&kv.world, &script, &[]);
        assert_eq!(&printed.stdout, expected, "{script}\n{}", printed.stderr);
        ran += 1;
    }
    assert_eq!(ran, 2, "examples of docs/kv.md");
    kv.world.ok(&["down"]);
}

#[test]
fn a_mirror_written_from_the_rfc_ends_with_the_same_map() {
    let kv = Kv::start("");
    kv.kv_ok(&["set", "m/before", "1"]);
    let mut mirrors: Vec<Running> = ["", "m/"]
        .iter()
        .map(|subtree| {
            let args = [kv.at(0), kv.at(1), (*subtree).to_owned()];
            let args = args.each_ref().map(String::as_str);
            Running::start(&mut kv.program("mirror.py", &args))
        })
        .collect();
    let outs: Vec<_> = mirrors
        .iter_mut()
        .map(|it| {
            use std::io::BufRead;
            let mut out = std::io::BufReader::new(it.0.stdout.take().unwrap());
            let mut line = String::new();
            out.read_line(&mut line).unwrap();
            assert_eq!(line, "mirrored\n");
            out
        })
        .collect();
    // One writes by ZN1, one as a mirror does; keys end in between.
    let script = "\
import json, sys, zmq
context = zmq.Context()
socket, publisher = context.socket(zmq.REQ), context.socket(zmq.PUB)
socket.connect(sys.argv[1])
publisher.connect(sys.argv[2])
for n in range(500):
    params = {'key': f'm/{n % 50}'}
    if n % 10 == 0:
        params['ttl_ms'] = 20
    socket.send_multipart([b'ZN1', b'set', b'', json.dumps(params).encode(), str(n).encode()])
    assert socket.recv_multipart()[1] == b'200'
    publisher.send_multipart([f'm/p{n % 7}'.encode(), bytes(8), b'', b'', b'' if n % 5 == 0 else str(n).encode()])
";
    let wrote = py(&kv.world, script, &[&kv.at(0), &kv.at(2)]);
    assert_eq!(wrote.code, 0, "{}", wrote.stderr);
    let short = |all: &Value| {
        all.as_object()
            .unwrap()
            .keys()
            .any(|key| ["m/0", "m/10", "m/20", "m/30", "m/40"].contains(&key.as_str()))
    };
    wait_for("keys to end", || {
        let all: Value = serde_json::from_str(&kv.kv_ok(&["export", "--text"])).unwrap();
        (!short(&all)).then_some(())
    });
    kv.kv_ok(&["set", "m/done", "1"]);
    kv.kv_ok(&["set", "done", "1"]);
    let all: Value = serde_json::from_str(&kv.kv_ok(&["export", "--text"])).unwrap();
    let mine: Value = serde_json::from_str(&kv.kv_ok(&["export", "--text", "m/"])).unwrap();
    for (mut out, expected) in outs.into_iter().zip([&all, &mine]) {
        let mut text = String::new();
        std::io::Read::read_to_string(&mut out, &mut text).unwrap();
        let told: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(&told["map"], expected);
        assert!(expected != &all || told["gaps"] == 0, "revisions are dense");
    }
    kv.world.ok(&["down"]);
}

#[test]
fn four_clients_set_and_get_a_thousand_keys_each_and_all_are_equal() {
    let kv = Kv::start("");
    let ran = Ran::of(&mut kv.program("kv_load.py", &[&kv.at(0)]));
    assert!(
        ran.stdout.starts_with("equal "),
        "{} {}",
        ran.stdout,
        ran.stderr
    );
    kv.world.ok(&["restart", "params"]);
    assert_eq!(kv.kv_ok(&["ls", "--names"]).lines().count(), 4_000);
    kv.world.ok(&["down"]);
}

/// Writes keys one after the other, each asked again until it is answered; prints the revisions.
const WRITER: &str = "\
import json, sys, time, zmq
context, revisions = zmq.Context(), []
for n in range(int(sys.argv[2])):
    params = json.dumps({'key': f'k{n:04}', 'once': f'w{n}'}).encode()
    while True:
        socket = context.socket(zmq.REQ)
        socket.linger = 0
        socket.connect(sys.argv[1])
        socket.send_multipart([b'ZN1', b'set', b'', params, b'v' * (n * 37 % 3000)])
        reply = socket.recv_multipart() if socket.poll(300) else None
        socket.close()
        if reply and reply[1] == b'200':
            revisions.append(json.loads(reply[3])['revision'])
            break
print(json.dumps(revisions))
";

/// A store without a supervisor, told what one would tell it, that dies at the `count`th step of a kind.
fn life(world: &World, (name, port): (&str, u16), (step, count): (&str, u64)) -> Running {
    let port = |place: u16, name: &str, socket: &str| {
        let bind = format!("tcp://127.0.0.1:{}", port + place);
        json!({"name": name, "bind": bind, "socket": socket})
    };
    let told = json!({"kv": {
        "common": {
            "name": name,
            "ports": [port(0, "main", "ROUTER"), port(1, "updates", "XPUB"), port(2, "collector", "SUB")],
            "health": format!("ipc://{}", world.path(&format!("{name}.sock")).display()),
        },
        "bytes_max": 1 << 20,
        "store": {"path": world.path(name)},
    }});
    let file = world.write(&format!("{name}.json"), &told.to_string());
    world.write(&format!("{name}/die-at"), &format!("{step}:{count}"));
    Running::start(&mut world.zmqnet(&["__role", file.to_str().unwrap()]))
}

#[test]
fn killed_at_each_named_step_it_loses_nothing_and_does_nothing_twice() {
    const STEPS: [&str; 5] = [
        "write-before",
        "write-half",
        "write-after",
        "sync-before",
        "sync-after",
    ];
    const WRITES: u64 = 60;
    let world = World::new();
    for step in STEPS {
        let port = ports(3);
        let at = format!("tcp://127.0.0.1:{port}");
        let mut lives = 1;
        let mut store = life(&world, (step, port), (step, 3));
        let mut command = world.command(python());
        command.args(["-c", WRITER, &at, &WRITES.to_string()]);
        let mut writer = Running::start(&mut command);
        wait_for("all to be written", || {
            if store.0.try_wait().unwrap().is_some() {
                lives += 1;
                // Few steps are not always enough to come up: the next life has more.
                store = life(&world, (step, port), (step, 1 + lives * 7 % 24));
            }
            writer.0.try_wait().unwrap()
        });
        let mut out = String::new();
        std::io::Read::read_to_string(writer.0.stdout.as_mut().unwrap(), &mut out).unwrap();
        let revisions: Vec<u64> = serde_json::from_str(&out).unwrap();
        assert_eq!(
            revisions,
            (1..=WRITES).collect::<Vec<_>>(),
            "{step}: each was done once"
        );
        drop(store);
        let _store = life(&world, (step, port), ("never", 1));
        let listed = world
            .ok(&["kv", "ls", "--endpoint", &at, "-o", "json"])
            .json();
        let kept = listed.as_array().unwrap().iter();
        let kept: Vec<u64> = kept.map(|it| it["revision"].as_u64().unwrap()).collect();
        assert_eq!(
            kept, revisions,
            "{step}: every key has the revision that was answered"
        );
        assert!(lives > 5, "{step}: {lives} lives");
    }
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// A line of `kv_clients.py`.
fn read(line: &Value) -> Call {
    let done = line["outcome"].as_u64().map(|status| status == 200);
    let op = match line["op"].as_str().unwrap() {
        "get" => Op::Get(text(&line["saw"])),
        "set" => Op::Set(text(&line["wrote"]).unwrap()),
        "cas" => Op::Cas(text(&line["wrote"]).unwrap(), text(&line["expected"]), done),
        _ => Op::Delete(done),
    };
    Call {
        op,
        began: line["began"].as_u64().unwrap(),
        ended: line["ended"].as_u64(),
    }
}

#[test]
fn histories_of_eight_clients_are_linearizable_though_it_is_killed_meanwhile() {
    let seconds = std::env::var("ZMQNET_KV_SECONDS").ok();
    let seconds: u64 = seconds.map_or(5, |text| text.parse().unwrap());
    let kv = Kv::start("");
    let mut command = kv.program("kv_clients.py", &[&kv.at(0), "1", &seconds.to_string()]);
    let clients = Running::start(&mut command);
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut kills = 0;
    while Instant::now() < until {
        // At no named moment: as long after the last as this machine's noise has it.
        std::thread::sleep(Duration::from_millis(fastrand::u64(30..400)));
        kv.kill();
        kills += 1;
    }
    let mut clients = clients;
    let mut out = String::new();
    std::io::Read::read_to_string(clients.0.stdout.as_mut().unwrap(), &mut out).unwrap();
    let lines: Vec<Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let mut histories: HashMap<String, Vec<Call>> = HashMap::new();
    let mut wrote: HashMap<u64, Value> = HashMap::new();
    for line in &lines {
        if *line == Value::Null || (line["op"] == "get" && line["outcome"] == "unknown") {
            continue;
        }
        histories
            .entry(text(&line["key"]).unwrap())
            .or_default()
            .push(read(line));
        let is_write = line["op"] != "get" && line["outcome"] == 200;
        if let (true, Some(revision)) = (is_write, line["revision"].as_u64()) {
            let before = wrote.insert(revision, line.clone());
            assert_eq!(before, None, "revision {revision} twice");
        }
    }
    for (key, mut calls) in histories {
        let last = wait_for("the last read", || {
            let ran = kv.kv(&["get", &key]);
            (ran.code == 0 || ran.stderr.contains("no key")).then_some(ran)
        });
        let saw = (last.code == 0).then_some(last.stdout);
        let (began, ended) = (u64::MAX - 1, Some(u64::MAX));
        calls.push(Call {
            op: Op::Get(saw),
            began,
            ended,
        });
        assert!(
            is_linearizable(&calls),
            "{key}: {} calls of\n{out}",
            calls.len()
        );
    }
    let done = lines.iter().filter(|line| line["outcome"] == 200).count();
    println!(
        "{} calls, {done} done, {kills} kills in {seconds} s",
        lines.len()
    );
    assert!(kills >= 5 && done > 50, "{kills} kills, {done} calls done");
    kv.world.ok(&["down"]);
}

/// Writes keys until one is refused, and says with which status, and how many were taken.
const FILL: &str = "\
import json, sys, zmq
socket = zmq.Context().socket(zmq.REQ)
socket.rcvtimeo, socket.linger = 30000, 0
socket.connect(sys.argv[1])
def ask(verb, params, *body):
    socket.send_multipart([b'ZN1', verb, b'', json.dumps(params).encode(), *body])
    _, status, _, result, *body = socket.recv_multipart()
    return int(status), body
for taken in range(200):
    status, _ = ask(b'set', {'key': f'k{taken}'}, b'x' * 50000)
    if status != 200:
        break
assert status == 503 and taken > 10, (status, taken)
assert ask(b'get', {'key': f'k{taken}'})[0] == 404, 'what was refused is not done'
for number in range(taken):
    assert ask(b'get', {'key': f'k{number}'}) == (200, [b'x' * 50000]), 'reads go on'
assert ask(b'set', {'key': 'small'}, b'y')[0] in (200, 503)
print('refused')
";

/// In a mount namespace of its own, where this machine lets one have it.
#[test]
fn a_full_disk_is_said_and_reads_go_on() {
    let (world, port) = (World::new(), ports(3));
    let small = world.path("full");
    drop(life(&world, ("full", port), ("never", 1)));
    let script = format!(
        "mount -t tmpfs -o size=3m none {} && exec {} __role {}",
        small.display(),
        crate::support::zmqnet(),
        world.path("full.json").display()
    );
    let mut told: Value =
        serde_json::from_slice(&fs::read(world.path("full.json")).unwrap()).unwrap();
    told["kv"]["bytes_max"] = json!(64 << 20);
    world.write("full.json", &told.to_string());
    let mut command = world.command("unshare");
    command.args(["-rm", "sh", "-c", &script]);
    let mut store = Running::start(&mut command);
    let is_up = wait_for("the store", || {
        if store.0.try_wait().unwrap().is_some() {
            return Some(false);
        }
        world.path("full.sock").exists().then_some(true)
    });
    if !is_up {
        return;
    }
    let filled = py(&world, FILL, &[&format!("tcp://127.0.0.1:{port}")]);
    assert_eq!(filled.stdout, "refused\n", "{}", filled.stderr);
}

/// Flips a bit of the record that holds a text.
fn harm(kv: &Kv, text: &[u8]) {
    let path = kv.world.path("data/00000000000000000000.seg");
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(text.len()).position(|it| it == text);
    bytes[at.unwrap()] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_damaged_store_serves_neither_old_values_nor_deleted_keys() {
    let kv = Kv::start("");
    for args in [
        &["set", "a", "old"][..],
        &["set", "gone", "here"],
        &["set", "a", "NEW"],
        &["del", "gone"],
        &["set", "last", "x"],
    ] {
        kv.kv_ok(args);
    }
    kv.world.ok(&["store", "backup", "params", "copy"]);
    kv.world.ok(&["down"]);
    harm(&kv, b"aNEW");
    kv.world.ok(&["apply"]);
    let short = ["--timeout", "300ms"];
    for args in [
        &["get", "a"][..],
        &["get", "gone"],
        &["get", "last"],
        &["ls"],
        &["export"],
        &["watch", "--after", "0", "--count", "1"],
        &["set", "a", "x"],
    ] {
        let ran = kv.kv(&[args, &short].concat());
        assert_eq!(
            (ran.code, &ran.stdout[..]),
            (1, ""),
            "{args:?}: {}",
            ran.stderr
        );
    }
    let said = kv.kv(&["get", "a", "--timeout", "300ms"]).stderr;
    for words in ["record 2: damaged or missing", "store verify params", "503"] {
        assert!(said.contains(words), "{said}");
    }
    let status = kv.world.ok(&["status"]).stdout;
    assert!(status.contains("its store is read-only"), "{status}");
    assert!(status.contains("record 2: damaged"), "{status}");
    let logged = kv.world.ok(&["logs", "params"]).stdout;
    assert!(logged.contains("store is read-only"), "{logged}");
    kv.world.ok(&["down"]);
    // What it says to do helps.
    assert_eq!(kv.world.run(&["store", "verify", "params"]).code, 1);
    fs::rename(kv.world.path("data"), kv.world.path("damaged")).unwrap();
    kv.world.ok(&["store", "restore", "params", "copy"]);
    kv.world.ok(&["apply"]);
    assert_eq!(kv.kv_ok(&["get", "a"]), "NEW");
    assert_eq!(kv.kv(&["get", "gone"]).code, 1);
    kv.world.ok(&["down"]);
}

#[test]
fn values_go_in_and_out_byte_for_byte_and_a_file_goes_in_whole_or_not_at_all() {
    let kv = Kv::start("");
    let all = "{\n  \"big\": 12345678901234567890123,\n  \"huge\": 1e400,\n  \
               \"twice\": {\"x\": 1, \"x\":  2},\n  \"value\": 0.15838287025480557\n}\n";
    kv.world.write("all.json", all);
    assert_eq!(kv.kv_ok(&["import", "all.json"]), "4 keys\n");
    assert_eq!(kv.kv_ok(&["get", "value"]), "0.15838287025480557");
    assert_eq!(kv.kv_ok(&["get", "twice"]), "{\"x\": 1, \"x\":  2}");
    assert_eq!(kv.kv_ok(&["export"]), all);
    // What `set --json` takes, `export` prints.
    let deep = format!("{}1{}", "[".repeat(300), "]".repeat(300));
    kv.kv_ok(&["set", "--json", "z", &deep]);
    let more = all.replace("\n}\n", &format!(",\n  \"z\": {deep}\n}}\n"));
    assert_eq!(kv.kv_ok(&["export"]), more);
    for (value, code) in [("1 2", 64), ("{", 64), ("NaN", 64), ("-1.50", 0)] {
        assert_eq!(kv.kv(&["set", "--json", "n", value]).code, code, "{value}");
    }
    // Nothing of a file is set of which one key cannot be.
    let long = "k".repeat(513);
    for (key, words) in [
        ("a\\u0007", "`a\\u{7}`: a key is text"),
        (&long[..], "at most 512"),
        ("HUGZ", "`HUGZ`"),
    ] {
        let text = format!("{{\"new/1\": 1, \"{key}\": 2, \"new/2\": 3}}");
        let ran = with_stdin(&kv, &["kv", "import", "-"], text.as_bytes());
        assert_eq!(ran.code, 65, "{}", ran.stderr);
        assert!(ran.stderr.contains(words), "{}", ran.stderr);
    }
    assert_eq!(kv.kv_ok(&["ls", "new/", "--names"]), "");
    let zero = kv.kv(&["set", "n", "1", "--ttl", "0s"]);
    assert_eq!(zero.code, 64, "{}", zero.stderr);
    assert!(zero.stderr.contains("--ttl"), "{}", zero.stderr);
    let ahead = kv.kv(&["watch", "--after", "99", "--count", "1"]);
    assert_eq!(ahead.code, 1);
    assert!(
        ahead.stderr.contains("no revision 99 yet: the last is 6"),
        "{}",
        ahead.stderr
    );
    kv.world.ok(&["down"]);
}
