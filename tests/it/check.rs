//! `check`: every bad manifest gives exactly the text beside it, every good one passes, and the
//! schema refuses what `check` refuses wherever one value decides.
//!
//! `UPDATE=1 cargo test` writes the texts and the schemas anew; read the diff as a user would.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{World, root};

/// The files of a directory of the project with one of these endings, sorted.
fn files(dir: &str, endings: &[&str]) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(root().join(dir)) else {
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            let ending = path.extension().and_then(|e| e.to_str());
            ending.is_some_and(|ending| endings.contains(&ending))
        })
        .collect();
    files.sort();
    files
}

fn manifests(dir: &str) -> Vec<PathBuf> {
    files(dir, &["yaml", "yml", "json"])
}

/// Compares a text with a file of the project, or writes it.
fn golden(path: &Path, text: &str) -> Result<(), String> {
    if std::env::var_os("UPDATE").is_some() {
        fs::write(path, text).unwrap();
        return Ok(());
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    if expected == text {
        return Ok(());
    }
    let path = path.strip_prefix(root()).unwrap().display();
    Err(format!(
        "{path} is not what is printed now (UPDATE=1 writes it):\n{text}"
    ))
}

/// `check` on one file, run in its own directory so that messages hold no path of this machine.
fn check(world: &World, path: &Path, args: &[&str]) -> crate::support::Ran {
    let name = path.file_name().unwrap().to_str().unwrap();
    let mut command = world.zmqnet(&["check", name]);
    command.args(args).current_dir(path.parent().unwrap());
    crate::support::Ran::of(&mut command)
}

#[test]
fn every_bad_manifest_is_refused_in_the_words_beside_it() {
    let world = World::new();
    let mut wrong = Vec::new();
    for path in [manifests("tests/bad"), manifests("tests/bad/schema")].concat() {
        let ran = check(&world, &path, &[]);
        assert_eq!(ran.code, 65, "{}\n{}", path.display(), ran.stderr);
        assert_eq!(ran.stdout, "", "{}", path.display());
        wrong.extend(golden(&path.with_extension("txt"), &ran.stderr).err());
        let rows = check(&world, &path, &["-o", "json"]);
        assert_eq!(rows.code, 65, "{}", rows.stderr);
        let rows = rows.json();
        let rows = rows["diagnostics"].as_array().unwrap();
        assert!(rows.iter().any(|row| row["severity"] == "error"));
        let places = rows.iter().map(|row| {
            let mark = &row["marks"][0];
            (mark["line"].as_u64(), mark["column"].as_u64())
        });
        assert!(places.is_sorted(), "{}: {rows:#?}", path.display());
        assert!(rows.iter().all(|row| explains(&world, row)), "{rows:#?}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_public_key_is_pasted_as_it_is_whatever_stands_in_it() {
    let world = World::new();
    let keys = [
        "P6beA7RR4I}hH#Hh/WaNOMrh]>lP${*KxRKs:9p>",
        "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID",
        "n${v[PBTt7QB<-d.=0k!W?5T{qq!AbzQcA.VmE7J",
        "q$$9$[XL/U{kE//7C[OI=NP8#FG8!p&l?cOWAoWu",
    ];
    for key in keys {
        let node = format!("zmqnet: 1\nnodes:\n  far: {{kind: external, key: '{key}'}}\n");
        world.write("topology.yaml", &node);
        world.ok(&["check"]);
        let named = "zmqnet: 1\nvars: {key: {type: string}}\nnodes:\n  far: {kind: external, key: '${key}'}\n";
        world.write("topology.yaml", named);
        world.ok(&["check", "--var", &format!("key={key}")]);
    }
    let escaped = keys[0].replace('$', "$$");
    let node = format!("zmqnet: 1\nnodes:\n  far: {{kind: external, key: '{escaped}'}}\n");
    world.write("topology.yaml", &node);
    world.ok(&["check"]);
}

fn explains(world: &World, row: &Value) -> bool {
    world.run(&["explain", row["code"].as_str().unwrap()]).code == 0
}

/// A validator of another make, for our schema.
fn schema(name: &str) -> jsonschema::Validator {
    let text = World::new().ok(&["schema", name]).json();
    jsonschema::draft202012::new(&text).unwrap()
}

fn as_json(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap();
    let mut value: serde_yaml::Value = serde_yaml::from_str(&text).unwrap();
    value.apply_merge().unwrap();
    serde_json::to_value(value).unwrap()
}

#[test]
fn what_one_value_decides_the_schema_refuses_too() {
    let schema = schema("topology");
    for path in manifests("tests/bad/schema") {
        let value = as_json(&path);
        assert!(!schema.is_valid(&value), "{} is accepted", path.display());
    }
}

#[test]
fn every_topology_passes_check_and_the_schema() {
    let world = World::new();
    let (topology, peers) = (schema("topology"), schema("peers"));
    for path in [manifests("topologies"), manifests("tests/whole")].concat() {
        let ran = check(&world, &path, &[]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert!(ran.stdout.contains(": ok, "), "{}", ran.stdout);
        let value = as_json(&path);
        let schema = match value.get("zmqnet") {
            Some(_) => &topology,
            None => &peers,
        };
        let faults: Vec<String> = schema.iter_errors(&value).map(|e| e.to_string()).collect();
        assert!(faults.is_empty(), "{}: {faults:#?}", path.display());
    }
}

#[test]
fn the_committed_schemas_are_the_ones_that_are_printed() {
    let world = World::new();
    for name in ["topology", "peers"] {
        let printed = world.ok(&["schema", name]).stdout;
        let path = root().join(format!("schemas/{name}.schema.json"));
        golden(&path, &printed).unwrap();
    }
}

#[test]
fn files_that_cannot_be_read_are_66_and_others_are_still_checked() {
    let world = World::new();
    world.write(
        "good.yaml",
        "zmqnet: 1\nnodes: {a: {command: [sleep, '9']}}\n",
    );
    world.write("bad.yaml", "zmqnet: 1\nnodes: {a: {}}\n");
    let ran = world.run(&["check", ".", "none.yaml", "bad.yaml", "good.yaml"]);
    assert_eq!(ran.code, 66);
    assert_eq!(ran.stdout, "good.yaml: ok, 1 node, 0 links\n");
    for part in [
        "`.`: it is a directory",
        "`none.yaml`: there is no such file",
        "ZN0203",
    ] {
        assert!(ran.stderr.contains(part), "{}", ran.stderr);
    }
    assert_eq!(world.run(&["check", "bad.yaml", "good.yaml"]).code, 65);
    let json = world.run(&["check", "-o", "json", "good.yaml"]).json();
    assert_eq!(json["diagnostics"], serde_json::json!([]));
}

#[test]
fn the_manifest_is_found_as_documented() {
    let world = World::new();
    let none = world.run(&["check"]);
    assert_eq!(none.code, 66);
    for place in [
        "PEERS_PATH",
        "ZMQNET_FILE",
        "./topology.yaml",
        "./peers.json",
    ] {
        assert!(none.stderr.contains(place), "{}", none.stderr);
    }
    let text = "zmqnet: 1\nnodes: {a: {command: [sleep, '9']}}\n";
    for name in [
        "peers.yaml",
        "zmqnet.yaml",
        "env.yaml",
        "dot.yaml",
        "p.yaml",
    ] {
        world.write(name, text);
    }
    let found = |args: &[&str], env: &[(&str, &str)]| {
        let mut command = world.zmqnet(args);
        command.envs(env.iter().copied());
        let ran = crate::support::Ran::of(&mut command);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        ran.stdout.split(':').next().unwrap().to_owned()
    };
    assert_eq!(found(&["check"], &[]), "zmqnet.yaml");
    world.write(".env", "PEERS_PATH=dot.yaml\n");
    assert_eq!(found(&["check"], &[]), "dot.yaml");
    assert_eq!(found(&["check"], &[("PEERS_PATH", "env.yaml")]), "env.yaml");
    let both = [("PEERS_PATH", "nope"), ("ZMQNET_FILE", "env.yaml")];
    assert_eq!(found(&["check"], &both), "env.yaml");
    assert_eq!(found(&["-p", "p.yaml", "check"], &both), "p.yaml");
    assert_eq!(found(&["check", "-f", "peers.yaml"], &both), "peers.yaml");
}

#[test]
fn standard_input_is_a_file_and_no_input_is_a_fault() {
    use std::io::Write;
    use std::process::Stdio;
    let world = World::new();
    let mut command = world.zmqnet(&["check", "-"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let text = b"zmqnet: 1\nnodes: {a: {command: [sleep, '9']}}\n";
    child.stdin.take().unwrap().write_all(text).unwrap();
    let ran = crate::support::Ran::from(child.wait_with_output().unwrap());
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (0, "<stdin>: ok, 1 node, 0 links\n")
    );
    let empty = world.run(&["check", "-"]);
    assert_eq!(empty.code, 65);
    assert!(empty.stderr.contains("ZN0104"), "{}", empty.stderr);
}

#[test]
fn what_is_no_text_is_65_with_a_word_of_why() {
    let world = World::new();
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..10 {
        let list = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb += &format!("a{level}: &a{level} [{list}]\n");
    }
    let cases: [(&str, Vec<u8>, &str); 7] = [
        ("bomb.yaml", bomb.into_bytes(), "ZN0110"),
        (
            "latin.yaml",
            b"zmqnet: 1\nname: gr\xfcn\n".to_vec(),
            "ZN0102",
        ),
        ("junk.yaml", b"\x7fELF\x00\x01\x02".to_vec(), "ZN0103"),
        ("large.yaml", vec![b'#'; 10 * 1024 * 1024 + 1], "ZN0101"),
        ("empty.yaml", Vec::new(), "ZN0104"),
        ("deep.yaml", b"[".repeat(100), "ZN0110"),
        ("comment.yaml", b"# nothing\n".to_vec(), "ZN0104"),
    ];
    for (name, bytes, code) in cases {
        fs::write(world.path(name), bytes).unwrap();
        let ran = world.run(&["check", name]);
        assert_eq!(ran.code, 65, "{name}: {}", ran.stderr);
        assert!(ran.stderr.contains(code), "{name}: {}", ran.stderr);
        assert!(ran.stderr.len() < 2_000, "{name}: {}", ran.stderr);
    }
}

#[test]
fn faults_without_number_are_bounded() {
    let world = World::new();
    let items = "    - 1\n".repeat(200_000);
    world.write(
        "many.yaml",
        &format!("zmqnet: 1\nnodes:\n  a:\n    command:\n{items}"),
    );
    let ran = world.run(&["check", "many.yaml"]);
    assert_eq!(ran.code, 65);
    assert!(
        ran.stderr
            .ends_with("... and 9900 more\n\nmany.yaml: 10000 errors\n"),
        "{}",
        &ran.stderr[ran.stderr.len() - 200..]
    );
}

#[test]
fn variables_come_from_files_and_the_command_line() {
    let world = World::new();
    let text = "zmqnet: 1\nvars:\n  n: {type: int, max: 8}\nnodes:\n  a: {command: [sleep, '9'], replicas: \"${n}\"}\n";
    world.write("t.yaml", text);
    world.write("v.yaml", "n: 99\n");
    let unset = world.run(&["check", "t.yaml"]);
    assert_eq!(unset.code, 65);
    assert!(unset.stderr.contains("--var n=VALUE"), "{}", unset.stderr);
    world.ok(&["check", "t.yaml", "--var", "n=3"]);
    world.ok(&["check", "t.yaml", "--var-file", "v.yaml", "--var", "n=3"]);
    let file = world.run(&["check", "t.yaml", "--var-file", "v.yaml"]);
    assert_eq!(file.code, 65);
    for part in ["at most `8`", "v.yaml:1:4", "t.yaml:3:3"] {
        assert!(file.stderr.contains(part), "{part}: {}", file.stderr);
    }
    let usage = world.run(&["check", "t.yaml", "--var", "n"]);
    assert_eq!(usage.code, 64);
    let unknown = world.run(&["check", "t.yaml", "--var", "n=1", "--var", "m=1"]);
    assert_eq!(unknown.code, 65);
    assert!(
        unknown.stderr.contains("no variable `m`"),
        "{}",
        unknown.stderr
    );
}

#[test]
fn init_writes_what_check_accepts_and_never_over_it() {
    let world = World::new();
    assert_eq!(world.ok(&["init", "new"]).stdout, "new/topology.yaml\n");
    world.ok(&["check", "new/topology.yaml"]);
    let again = world.run(&["init", "new"]);
    assert_eq!(again.code, 1);
    assert!(again.stderr.contains("left as it is"), "{}", again.stderr);
    let file = world.run(&["init", "new/topology.yaml"]);
    assert_eq!(file.code, 66);
    assert!(file.stderr.contains("cannot write"), "{}", file.stderr);
}

#[test]
fn explain_knows_codes_and_kinds_and_suggests() {
    let world = World::new();
    assert!(world.ok(&["explain", "zn0106"]).stdout.contains("\"${n}\""));
    assert!(world.ok(&["explain", "queue"]).stdout.contains("lease"));
    let list = world.ok(&["explain"]).stdout;
    assert!(list.contains("ZN0201") && list.contains("lighthouse"));
    let wrong = world.run(&["explain", "quue"]);
    assert_eq!(wrong.code, 64);
    assert!(
        wrong.stderr.contains("did you mean `queue`?"),
        "{}",
        wrong.stderr
    );
}

#[test]
fn a_peers_file_is_a_manifest_in_both_spellings() {
    let world = World::new();
    let old = r#"{"info": {"x": 1}, "replicas": [
        {"pid": 1, "name": "alpha", "address": "a", "host": "h", "ipaddr": "127.0.0.1", "port": 3264},
        {"pid": 2, "name": "bravo", "address": "a", "host": "h", "ipaddr": "127.0.0.1", "port": 3265}]}"#;
    world.write("peers.json", old);
    world.write(
        "peers.yaml",
        "replicas:\n- {name: alpha, hostname: h, ip_address: 127.0.0.1, port: 3264, zone: 1}\n",
    );
    assert_eq!(
        world.ok(&["check"]).stdout,
        "peers.json: ok, 1 node, 1 link\n"
    );
    let yaml = world.ok(&["check", "peers.yaml"]);
    assert!(yaml.stdout.contains("(1 warning)"), "{yaml:?}");
    assert!(yaml.stderr.contains("unknown key `zone`"), "{yaml:?}");
    world.write(
        "twice.json",
        &old.replace("bravo", "alpha").replace("3265", "3264"),
    );
    let twice = world.run(&["check", "twice.json"]);
    assert_eq!(twice.code, 65);
    assert!(twice.stderr.contains("2 errors"), "{}", twice.stderr);
}

#[test]
fn the_schema_and_check_refuse_the_same_values_and_take_the_same() {
    let (world, schema) = (World::new(), schema("topology"));
    let vars = "vars: {n: {type: int, default: 5}, d: {type: duration, default: 5s}}";
    let text = |node: &str, link: &str| {
        format!(
            "zmqnet: 1\n{vars}\nnodes:\n  a: {{command: [./a], {node}}}\n  b: {{command: [./b]}}\nlinks:\n  l: {{pattern: request, from: b, to: a, {link}}}\n"
        )
    };
    let judge = |text: &str| {
        let path = world.write("t.yaml", text);
        let ran = world.run(&["check", "t.yaml"]);
        assert!([0, 65].contains(&ran.code), "{ran:?}");
        (ran.code == 0, schema.is_valid(&as_json(&path)), ran.stderr)
    };
    let wrong = [
        "probe: {every: 0s}",
        "probe: {timeout: 0ms}",
        "restart: {limit: 5/0s}",
        "stop: {grace: 999999999999999999999d}",
        "logs: {size: 99999999999999999999GiB}",
        "stop: {grace: \"${n}s\"}",
        "replicas: 2.5",
        "port: 7e9",
    ];
    let right = [
        "probe: {every: 1s}",
        "probe: {timeout: 0.5s}",
        "restart: {limit: 5/1s}",
        "stop: {grace: 0s}",
        "stop: {grace: 99999d}",
        "logs: {size: 100MiB}",
        "stop: {grace: \"${d}\"}",
        "replicas: 3.0",
        "port: 7e3",
        "probe: {exec: [x], retries: 2.0}",
    ];
    for node in wrong {
        let (ours, theirs, said) = judge(&text(node, "hwm: 10"));
        assert_eq!((ours, theirs), (false, false), "{node}: {said}");
        assert!(!said.contains("Decl"), "{node}: {said}");
    }
    for node in right {
        let (ours, theirs, said) = judge(&text(node, "hwm: 10.0"));
        assert_eq!((ours, theirs), (true, true), "{node}: {said}");
    }
    let (ours, theirs, said) = judge(&text("cwd: x", "timeout: 0s"));
    assert_eq!((ours, theirs), (false, false), "{said}");
    assert!(said.contains("must be longer than nothing"), "{said}");
}
