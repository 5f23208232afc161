//! The same bytes to libzmq and to ours: `docs/differences.md` lists what differs, and nothing else may.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;

use crate::attack::fort::{inner, script};
use crate::support::{Ran, World, ports, root};

/// Streams changed at random for a ROUTER, a third of them for others; and where they begin.
const COUNT: &str = "300";
const SEED: &str = "1";

/// A listener of each type: the program's node, and its link. A gate shows to others the type that its
/// program has; the ROUTER is a replica's.
const LISTENERS: [(&str, &str); 7] = [
    ("REP", "pattern: request, from: peer, to: rep"),
    (
        "DEALER",
        "pattern: request, from: dealer, to: peer, listen: from, types: {from: DEALER, to: ROUTER}",
    ),
    (
        "PULL",
        "pattern: pipeline, from: peer, to: pull, listen: to",
    ),
    ("SUB", "pattern: pubsub, from: peer, to: sub, listen: to"),
    (
        "XSUB",
        "pattern: pubsub, from: peer, to: xsub, listen: to, types: {to: XSUB}",
    ),
    ("PUB", "pattern: pubsub, from: pub, to: peer"),
    (
        "XPUB",
        "pattern: pubsub, from: xpub, to: peer, types: {from: XPUB}",
    ),
];

/// A row of the table: what is unusual, what ours does, what libzmq does; and at which types.
type Rows = BTreeMap<[String; 3], BTreeSet<String>>;

/// The rows of a table that are written down, of those in clear text or of those under CURVE.
fn listed(is_sealed: bool) -> Rows {
    let text = fs::read_to_string(root().join("docs/differences.md")).unwrap();
    let (clear, sealed) = text.split_once("\n## Under CURVE\n").unwrap();
    let rows = if is_sealed { sealed } else { clear };
    let rows = rows
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| what is unusual"));
    let mut listed = Rows::new();
    for row in rows {
        let cells: Vec<&str> = row.split('|').skip(1).map(str::trim).collect();
        let [what, at, ours, theirs, why] = cells[..5] else {
            panic!("a row has five cells: {row}");
        };
        assert!(!why.is_empty(), "a row says why: {row}");
        let all = LISTENERS.map(|(kind, _)| kind).join(" ") + " ROUTER BUS-IN BUS-OUT";
        let kinds = if at == "all" { &all } else { at };
        let key = [what, ours, theirs].map(str::to_owned);
        let kinds = kinds.split(' ').map(str::to_owned).collect();
        assert!(
            listed.insert(key, kinds).is_none(),
            "it is there twice: {row}"
        );
    }
    listed
}

/// A network with a listener of each type, and how the script is told of them.
fn listeners() -> (World, Vec<String>) {
    let world = World::new();
    let first = ports(60);
    let mut nodes = format!("  router: {{kind: replica, port: {first}}}\n");
    nodes += "  peer: {command: [sleep, '1000'], run: manual}\n";
    let mut links = String::new();
    writeln!(nodes, "  bus: {{kind: bus, port: {}}}", first + 8).unwrap();
    for ((kind, link), port) in LISTENERS.iter().zip(first + 1..) {
        let name = kind.to_lowercase();
        writeln!(
            nodes,
            "  {name}: {{command: [sleep, '1000'], port: {port}}}"
        )
        .unwrap();
        writeln!(links, "  to-{name}: {{{link}, gate: true}}").unwrap();
    }
    let last = first + 59;
    let text = format!(
        "zmqnet: 1\nname: both\ndefaults: {{ports: {first}..{last}, limits: {{handshake: 60s}}}}\nnodes:\n{nodes}links:\n{links}"
    );
    world.write("topology.yaml", &text);
    world.ok(&["apply"]);
    let [r#in, out] = [first + 8, first + 9];
    let mut told = vec![format!("ROUTER={first}")];
    told.push(format!("BUS-IN={in}:{out}", in = r#in));
    told.push(format!("BUS-OUT={out}:{in}", in = r#in));
    for ((kind, _), port) in LISTENERS.iter().zip(first + 1..) {
        let inner = inner(&world, &kind.to_lowercase());
        told.push(format!("{kind}={port}:{inner}"));
    }
    (world, told)
}

/// Insists that what a script found is what is written down, no row more and no row less.
fn are_listed(said: &serde_json::Value, listed: &Rows) {
    let (mut found, mut example) = (Rows::new(), BTreeMap::new());
    for one in said["differences"].as_array().unwrap() {
        let text = |key: &str| one[key].as_str().unwrap().to_owned();
        let key = ["unusual", "ours", "libzmq"].map(text);
        example.insert(key.clone(), one["bytes"].to_string());
        found.entry(key).or_default().insert(text("kind"));
    }
    let is_same = |kinds: &BTreeSet<String>, listed: Option<&BTreeSet<String>>| {
        listed.is_some_and(|listed| listed == kinds || listed.contains("any"))
    };
    let unlisted: Vec<String> = found
        .iter()
        .filter(|(key, kinds)| !is_same(kinds, listed.get(*key)))
        .map(|(key, kinds)| format!("{key:?} at {kinds:?}, such as {}", example[key]))
        .collect();
    let unseen: Vec<_> = listed
        .keys()
        .filter(|key| !found.contains_key(*key))
        .collect();
    assert!(
        unlisted.is_empty() && unseen.is_empty(),
        "not listed so: {}\nnot seen: {unseen:?}",
        unlisted.join("\n")
    );
}

#[test]
fn the_same_bytes_meet_the_same_end_as_in_libzmq_but_for_the_listed_differences() {
    let (world, told) = listeners();
    let mut args = vec![SEED, COUNT];
    args.extend(told.iter().map(String::as_str));
    let ran = Ran::of(&mut script(&world, "differential.py", &args));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    are_listed(&ran.json(), &listed(false));
}

#[test]
fn the_same_words_meet_the_same_end_under_curve_but_for_the_listed_differences() {
    let world = World::new();
    let port = ports(3);
    let text = format!(
        "zmqnet: 1\nname: both\nsecurity: {{curve: always}}\n\
         defaults: {{ports: {port}..{}, limits: {{handshake: 60s}}}}\n\
         nodes:\n  fort: {{kind: replica, port: {port}}}\n  \
         asker: {{command: [sleep, '1000'], run: manual}}\n\
         links: {{ask: {{pattern: request, from: asker, to: fort}}}}\n",
        port + 2
    );
    world.write("topology.yaml", &text);
    world.ok(&["apply"]);
    let port = port.to_string();
    let args = [SEED, COUNT, "keys/asker.key_secret", &port, "keys/fort.key"];
    let ran = Ran::of(&mut script(&world, "sealed.py", &args));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let said = ran.json();
    assert!(said["compared"].as_u64().unwrap() > 400, "{said}");
    are_listed(&said, &listed(true));
}
