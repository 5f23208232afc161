//! The stream, from outside: by command, by hand, by its files.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

use crate::support::{Ran, Running, World, ports, py, root, wait_for};

struct Stream {
    world: World,
    main: String,
    tail: String,
}

impl Stream {
    /// A network of one stream called `events`, with more keys.
    fn start(keys: &str) -> Self {
        let (world, first) = (World::new(), ports(4));
        manifest(&world, first, keys);
        world.ok(&["apply"]);
        let at = |port: u16| format!("tcp://127.0.0.1:{port}");
        Self {
            world,
            main: at(first),
            tail: at(first + 1),
        }
    }

    fn facts(&self) -> Value {
        let status = self.world.ok(&["status", "-o", "json"]).json();
        status["nodes"][0]["facts"].clone()
    }

    fn pid(&self) -> String {
        let status = self.world.ok(&["status", "-o", "json"]).json();
        status["nodes"][0]["pid"].to_string()
    }

    /// Kills the role's process, and leaves it to whoever watches over it.
    fn kill(&self) {
        let pid = self.pid();
        let killed = self.world.command("kill").args(["-9", &pid]).status();
        assert!(killed.unwrap().success());
        wait_for("another process", || (self.pid() != pid).then_some(()));
    }

    fn read(&self, args: &[&str]) -> Ran {
        let mut all = vec!["stream", "read"];
        all.extend(args);
        self.world.run(&all)
    }
}

fn manifest(world: &World, first: u16, keys: &str) {
    let text = format!(
        "zmqnet: 1\nname: log\ndefaults: {{ports: {first}..{}}}\nnodes:\n  \
         events: {{kind: stream{keys}}}\n",
        first + 3
    );
    world.write("topology.yaml", &text);
}

const STORED: &str = ", store: {path: ./data}";

/// Runs a command with something on its standard input.
fn fed(world: &World, args: &[&str], input: &[u8]) -> Ran {
    let mut command = world.zmqnet(args);
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    Ran::from(child.wait_with_output().unwrap())
}

#[test]
fn what_is_appended_is_read_from_any_offset_by_command() {
    let stream = Stream::start(STORED);
    let world = &stream.world;
    assert_eq!(world.ok(&["stream", "append", "zero", "one"]).stdout, "0\n");
    let lines: Vec<String> = (2..300).map(|it| it.to_string()).collect();
    let input = lines.join("\n");
    let piped = fed(
        world,
        &["stream", "append", "-n", "events", "-"],
        input.as_bytes(),
    );
    assert_eq!((piped.code, &piped.stdout[..]), (0, "2\n"));
    let whole = ["stream", "append", "--whole", "-", "-o", "json"];
    let whole = fed(world, &whole, b"two\nlines").json();
    assert_eq!(
        (&whole["offset"], &whole["count"]),
        (&300.into(), &1.into())
    );
    assert_eq!(stream.read(&["--count", "3"]).stdout, "zero\none\n2\n");
    let read = stream.read(&["--from", "298", "--count", "2", "--offsets"]);
    assert_eq!(read.stdout, "298\t298\n299\t299\n");
    assert_eq!(stream.read(&["--last", "1"]).stdout, "two\nlines\n");
    assert_eq!(stream.read(&[]).stdout.lines().count(), 302);
    assert_eq!(stream.read(&["--since", "1h"]).stdout.lines().count(), 302);
    assert_eq!(stream.read(&["--from", "301"]).stdout, "");
    let json = stream
        .read(&["--from", "1", "--count", "1", "-o", "json"])
        .json();
    assert_eq!(
        (&json[0]["data"], &json[0]["offset"]),
        (&"one".into(), &1.into())
    );
    // The failing sides: past the end, too few, no such node.
    assert_eq!(stream.read(&["--from", "302"]).code, 1);
    let few = stream.read(&["--from", "300", "--count", "2", "--timeout", "50ms"]);
    assert_eq!((few.code, &few.stdout[..]), (1, "two\nlines\n"));
    assert_ne!(stream.read(&["-n", "nobody"]).code, 0);
    assert_eq!(world.run(&["stream", "append"]).code, 64);
    let facts = stream.facts();
    assert_eq!(facts["end_offset"], 301);
    assert_eq!(facts["synced_offset"], 301);
    assert_eq!(facts["store"]["health"], "good");
    world.ok(&["down"]);
    assert_eq!(stream.read(&[]).code, 69);
}

#[test]
fn standard_input_without_an_end_is_refused_and_not_kept() {
    let stream = Stream::start("");
    let mut whole = stream.world.zmqnet(&["stream", "append", "--whole", "-"]);
    let ran = Ran::of(whole.stdin(fs::File::open("/dev/zero").unwrap()));
    assert_eq!(ran.code, 64, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("an event has at most"),
        "{}",
        ran.stderr
    );
    // A port of this name, of a node of another kind.
    let other = stream.world.run(&["kv", "get", "-n", "events", "key"]);
    assert_eq!(other.code, 64, "{}", other.stderr);
    assert!(
        other.stderr.contains("`events` is a stream"),
        "{}",
        other.stderr
    );
    stream.world.ok(&["down"]);
}

#[test]
fn a_tail_hears_what_comes_and_a_group_goes_on_where_it_was() {
    let stream = Stream::start(STORED);
    let world = &stream.world;
    world.ok(&["stream", "append", "a", "b", "c"]);
    let tail =
        Running::start(&mut world.zmqnet(&["stream", "tail", "--last", "1", "--count", "3"]));
    wait_for("the tail waits", || {
        (stream.facts()["waiting"] == 1).then_some(())
    });
    world.ok(&["stream", "append", "d", "e"]);
    let pid = tail.0.id();
    wait_for("the tail has three", || {
        (!Path::new(&format!("/proc/{pid}/stat")).exists() || is_over(pid)).then_some(())
    });
    let mut tail = tail;
    let mut printed = String::new();
    std::io::Read::read_to_string(tail.0.stdout.as_mut().unwrap(), &mut printed).unwrap();
    assert_eq!(printed, "c\nd\ne\n");
    let group = [
        "stream",
        "tail",
        "--group",
        "g",
        "--consumer",
        "me",
        "--count",
        "2",
    ];
    assert_eq!(world.ok(&group).stdout, "a\nb\n");
    stream.kill();
    assert_eq!(world.ok(&group).stdout, "c\nd\n", "after a crash too");
    let groups = world.ok(&["stream", "groups", "-o", "json"]).json();
    let wanted = serde_json::json!([{
        "group": "g", "offset": 4, "lag": 1, "consumer": "me", "generation": 2
    }]);
    assert_eq!(groups["groups"], wanted);
    world.ok(&["stream", "groups", "--forget", "g"]);
    assert_eq!(world.run(&["stream", "groups", "--forget", "g"]).code, 1);
    let short = ["stream", "tail", "--count", "1", "--timeout", "100ms"];
    assert_eq!(world.run(&short).code, 1);
    world.ok(&["down"]);
}

/// Whether a process has ended and waits for its parent.
fn is_over(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')')
        .next()
        .is_some_and(|it| it.trim_start().starts_with('Z'))
}

#[test]
fn the_examples_of_the_document_print_what_it_says() {
    let text = fs::read_to_string(root().join("docs/stream.md")).unwrap();
    let stream = Stream::start("");
    let mut ran = 0;
    for part in text.split("```python\n").skip(1) {
        let (script, after) = part.split_once("```").unwrap();
        let expected = after.split_once("```text\n").unwrap().1;
        let expected = expected.split_once("```").unwrap().0;
        let script = script.replace("tcp://127.0.0.1:5555", &stream.main);
        let script = script.replace("tcp://127.0.0.1:5556", &stream.tail);
        let printed = py(&stream.world, &script, &[]);
        assert_eq!(printed.stdout, expected, "{script}\n{}", printed.stderr);
        ran += 1;
    }
    assert_eq!(ran, 3, "examples of docs/stream.md");
    let facts = stream.facts();
    assert_eq!(
        (&facts["duplicates"], &facts["fenced"]),
        (&1.into(), &1.into())
    );
    assert_eq!(facts["store"]["durability"], "memory");
    assert!(!stream.world.path("data").exists());
    stream.world.ok(&["down"]);
}

/// A number that was used before a crash gives the first offset after it, and junk harms nobody.
const AGAIN: &str = r#"
import json, sys, zmq
stream = zmq.Context().socket(zmq.REQ)
stream.connect(sys.argv[1])
def ask(verb, params, *body):
    text = params if isinstance(params, bytes) else json.dumps(params).encode()
    stream.send_multipart([b"ZN1", verb, b"1", text, *body])
    _, status, _, result, *_ = stream.recv_multipart()
    return int(status), json.loads(result)
status, result = ask(b"append", {"producer": "p", "sequence": 7}, b"x")
print(status, result["offset"], result["duplicate"])
for verb, params, body in [
    (b"append", {}, []), (b"append", {"producer": "p"}, [b"x"]), (b"append", {"who": 1}, [b"x"]),
    (b"append", {"times_ns": [1, 2]}, [b"x"]), (b"read", {"from": 1, "last": 2}, []),
    (b"read", {"group": "nobody", "generation": 1}, []), (b"take", {"group": ""}, []),
    (b"append", b"{", [b"x"]), (b"dance", {}, []),
]:
    print(ask(verb, params, *body)[0], end=" ")
"#;

#[test]
fn what_is_sent_again_after_a_crash_is_not_appended_again() {
    let stream = Stream::start(STORED);
    let refused = "400 400 400 400 400 404 400 400 501 ";
    let first = py(&stream.world, AGAIN, &[&stream.main]).stdout;
    assert_eq!(first, format!("200 0 False\n{refused}"));
    stream.kill();
    let again = py(&stream.world, AGAIN, &[&stream.main]).stdout;
    assert_eq!(again, format!("200 0 True\n{refused}"));
    assert_eq!(stream.read(&[]).stdout, "x\n");
    stream.world.ok(&["down"]);
}

#[test]
fn a_store_has_one_node_and_is_there_after_down() {
    let stream = Stream::start(STORED);
    stream.world.ok(&["stream", "append", "kept"]);
    // Another network with the same directory cannot have it.
    let other = World::new();
    let path = stream.world.path("data");
    let keys = format!(
        ", restart: {{when: never}}, store: {{path: {}}}",
        path.display()
    );
    manifest(&other, ports(4), &keys);
    assert_eq!(other.run(&["apply", "--timeout", "5s"]).code, 1);
    let logs = other.run(&["logs"]).stdout;
    assert!(logs.contains("another process has it open"), "{logs}");
    other.run(&["down", "-T", "log"]);
    stream.world.ok(&["down"]);
    stream.world.ok(&["apply"]);
    assert_eq!(stream.world.ok(&["stream", "append", "more"]).stdout, "1\n");
    assert_eq!(stream.read(&[]).stdout, "kept\nmore\n");
    stream.world.ok(&["down"]);
}

#[test]
fn damage_is_said_and_not_served_and_what_is_whole_is_read() {
    let stream = Stream::start(STORED);
    let world = &stream.world;
    for event in ["first", "second", "third"] {
        world.ok(&["stream", "append", event]);
    }
    world.ok(&["down"]);
    let path = world.path("data/00000000000000000000.seg");
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(6).position(|it| it == b"second").unwrap();
    bytes[at] ^= 1;
    fs::write(&path, bytes).unwrap();
    world.ok(&["apply"]);
    let read = stream.read(&[]);
    assert_eq!((read.code, &read.stdout[..]), (1, "first\n"));
    assert!(
        read.stderr.contains("from 1 to before 2 are damaged"),
        "{}",
        read.stderr
    );
    assert_eq!(stream.read(&["--from", "2"]).stdout, "third\n");
    let refused = world.run(&["stream", "append", "x", "--timeout", "200ms"]);
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("read-only"), "{}", refused.stderr);
    let store = stream.facts()["store"].clone();
    assert_eq!(store["health"], "read-only");
    assert!(
        store["reason"].as_str().unwrap().contains("damaged"),
        "{store}"
    );
    world.ok(&["down"]);
}

/// Writes event files as PyDistributed does: offset, time, size, data; an index entry every 4,096 bytes.
const SEED: &str = r#"
import os, struct, sys
folder, count, limit = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
os.makedirs(folder)
log = index = None
for offset in range(count):
    data = b"%0256d" % offset
    record = struct.pack("<QQI", offset, 1_700_000_000_000_000_000 + offset, len(data)) + data
    if log is None or size + len(record) > limit:
        base, size, indexed = offset, 0, None
        name = os.path.join(folder, "%020d" % base)
        log, index = open(name + ".log", "wb"), open(name + ".index", "wb")
    position, size = size, size + len(record)
    log.write(record)
    if indexed is None or size > indexed + 4096:
        index.write(struct.pack("<II", offset - base, position))
        indexed = size
"#;

fn seed(world: &World, folder: &str, count: u32, limit: u64) -> String {
    let folder = world.path(folder).display().to_string();
    let args = [folder.as_str(), &count.to_string(), &limit.to_string()];
    let ran = py(world, SEED, &args);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    folder
}

#[test]
fn pydistributeds_files_come_in_and_go_out_byte_for_byte() {
    let stream = Stream::start(STORED);
    let world = &stream.world;
    let folder = seed(world, "seed", 5_000, 1 << 20);
    let import = ["stream", "import", "--format", "pydistributed", &folder];
    world.ok(&import);
    // Its own five cases: the first, one amid, the last of a file, the first of the next, a batch
    // across; and what its reader does not find: any other offset of the last file.
    for offset in [0, 1_023, 3_798, 3_799, 3_800, 4_999] {
        let from = offset.to_string();
        let read = stream.read(&["--from", &from, "--count", "1"]).stdout;
        assert_eq!(read, format!("{offset:0256}\n"));
    }
    let batch = stream.read(&["--from", "3699", "--count", "200"]).stdout;
    let wanted: String = (3_699..3_899).map(|it| format!("{it:0256}\n")).collect();
    assert_eq!(batch, wanted);
    assert_eq!(stream.read(&["--from", "999999"]).code, 1);
    stream.kill();
    let json = stream
        .read(&["--from", "4321", "--count", "1", "-o", "json"])
        .json();
    assert_eq!(json[0]["time_ns"], 1_700_000_000_000_004_321_u64);
    let out = world.path("out").display().to_string();
    let export = [
        "stream",
        "export",
        "--format",
        "pydistributed",
        &out,
        "--segment",
        "1MiB",
    ];
    world.ok(&export);
    for name in ["00000000000000000000", "00000000000000003799"] {
        for ending in ["log", "index"] {
            let file = |folder: &str| fs::read(format!("{folder}/{name}.{ending}")).unwrap();
            assert!(file(&folder) == file(&out), "{name}.{ending}");
        }
    }
    // The failing sides: events twice, files that are there, a size that nothing fits in.
    assert_eq!(world.run(&import).code, 1);
    assert_eq!(world.run(&export).code, 1);
    let tiny = [
        "stream",
        "export",
        "--format",
        "pydistributed",
        "tiny",
        "--segment",
        "100B",
    ];
    let tiny = world.run(&tiny);
    assert_eq!(tiny.code, 1);
    assert!(
        tiny.stderr.contains("event 0 has 256 bytes"),
        "{}",
        tiny.stderr
    );
    assert_eq!(
        world
            .run(&["stream", "import", "--format", "pydistributed", "nowhere"])
            .code,
        66
    );
    world.ok(&["down"]);
}

#[test]
fn one_file_is_read_everywhere_and_damage_in_it_costs_nothing() {
    let stream = Stream::start("");
    let world = &stream.world;
    let folder = seed(world, "one", 100, 1 << 32);
    let log = format!("{folder}/00000000000000000000.log");
    let whole = fs::read(&log).unwrap();
    let mut bad = whole.clone();
    bad[276 * 40] ^= 1;
    fs::write(&log, bad).unwrap();
    let import = ["stream", "import", "--format", "pydistributed", &folder];
    assert_eq!(world.run(&import).code, 1);
    assert_eq!(stream.facts()["end_offset"], 0, "nothing was appended");
    // Torn at its end, as its writer leaves it when it dies.
    fs::write(&log, &whole[..whole.len() - 5]).unwrap();
    world.ok(&import);
    let read = stream.read(&["--from", "50", "--count", "1"]).stdout;
    assert_eq!(read, format!("{:0256}\n", 50));
    assert_eq!(stream.facts()["end_offset"], 99);
    world.ok(&["stream", "append", &"x".repeat(65_537)]);
    let export = ["stream", "export", "--format", "pydistributed", "out"];
    let large = world.run(&export);
    assert_eq!(large.code, 1);
    assert!(
        large.stderr.contains("at most 65536 fit"),
        "{}",
        large.stderr
    );
    world.ok(&["down"]);
}

#[test]
fn an_import_keeps_its_offsets_and_says_what_was_torn() {
    let stream = Stream::start(STORED);
    let world = &stream.world;
    let folder = seed(world, "based", 1_500, 276 * 1_000);
    fs::remove_file(format!("{folder}/00000000000000000000.log")).unwrap();
    fs::remove_file(format!("{folder}/00000000000000000000.index")).unwrap();
    let log = format!("{folder}/00000000000000001000.log");
    let whole = fs::read(&log).unwrap();
    let import = ["stream", "import", "--format", "pydistributed", &folder];
    // A size that no event has: nothing is appended, and it is told where.
    let mut bad = whole.clone();
    bad[276 * 40 + 19] ^= 0x80;
    fs::write(&log, bad).unwrap();
    let refused = world.run(&import);
    assert_eq!(refused.code, 1);
    assert!(
        refused.stderr.contains("is damaged at byte 11040"),
        "{}",
        refused.stderr
    );
    assert_eq!(stream.facts()["end_offset"], 0, "nothing was appended");
    fs::write(&log, &whole[..whole.len() - 5]).unwrap();
    let said = world.ok(&import).stderr;
    assert!(said.contains("499 events were imported"), "{said}");
    assert!(
        said.contains("00000000000000001000.log: the last record, at byte 137724"),
        "{said}"
    );
    stream.kill();
    assert_eq!(
        stream.read(&["--from", "1000", "--count", "1"]).stdout,
        format!("{:0256}\n", 1_000)
    );
    assert_eq!(stream.read(&["--from", "999"]).code, 1);
    world.ok(&["stream", "append", &format!("{:0256}", 1_499)]);
    assert_eq!(stream.facts()["end_offset"], 1_500);
    world.ok(&["stream", "export", "--format", "pydistributed", "out"]);
    let out = world.path("out/00000000000000001000.log");
    assert!(
        fs::read(&out).unwrap()[..276 * 499] == whole[..276 * 499],
        "byte for byte"
    );
    // An export that fails leaves nothing in the way of the next.
    world.ok(&["stream", "append", &"x".repeat(65_537)]);
    let export = ["stream", "export", "--format", "pydistributed", "large"];
    for _ in 0..2 {
        let large = world.run(&export);
        assert_eq!(large.code, 1);
        assert!(
            large.stderr.contains("at most 65536 fit"),
            "{}",
            large.stderr
        );
        assert_eq!(fs::read_dir(world.path("large")).unwrap().count(), 0);
    }
    world.ok(&["down"]);
}

#[test]
fn a_tail_whose_group_is_taken_says_so_and_ends() {
    let stream = Stream::start(STORED);
    let world = &stream.world;
    let mut tail = world.zmqnet(&["stream", "tail", "--group", "g", "--consumer", "one"]);
    let mut tail = Running::start(tail.stderr(Stdio::piped()));
    wait_for("the tail waits", || {
        (stream.facts()["waiting"] == 1).then_some(())
    });
    let other = [
        "stream",
        "tail",
        "--group",
        "g",
        "--consumer",
        "two",
        "--timeout",
        "100ms",
    ];
    world.ok(&other);
    let ended = wait_for("the end of the first", || tail.0.try_wait().unwrap());
    assert_eq!(ended.code(), Some(1));
    let mut said = String::new();
    std::io::Read::read_to_string(tail.0.stderr.as_mut().unwrap(), &mut said).unwrap();
    assert!(
        said.contains("the group was taken since, by `two`"),
        "{said}"
    );
    world.ok(&["down"]);
}
