//! `docs/security.md` is a test: the commands by which a person checks do what it says.

use std::fs;

use crate::support::{World, ports, root, wait_for};

#[test]
fn the_commands_to_check_with_are_there_and_tell() {
    let text = fs::read_to_string(root().join("docs/security.md")).unwrap();
    let (_, block) = text.split_once("```sh\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let world = World::new();
    let first = ports(12);
    let manifest = format!(
        "zmqnet: 1\nname: locked\nsecurity: {{curve: always}}\ndefaults: {{ports: {first}..{}}}\n\
         nodes:\n  quorum: {{kind: replica, replicas: [alpha, bravo, charlie]}}\n\
         links:\n  votes: {{pattern: mesh, among: [quorum]}}\n",
        first + 11
    );
    world.write("topology.yaml", &manifest);
    world.ok(&["apply"]);
    wait_for("all wires", || {
        (world.run(&["status", "--check"]).code == 0).then_some(())
    });
    let mut said = String::new();
    for line in block.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words[0], "zmqnet", "{line}");
        said.push_str(&world.ok(&words[1..]).stdout);
    }
    for word in ["CURVE", "alpha", "operator", "handshake", "votes"] {
        assert!(said.contains(word), "`{word}` is said by none:\n{said}");
    }
    // The failing side: no secret is in any of it.
    for name in ["alpha", "bravo", "operator"] {
        let file = world.path(&format!("keys/{name}.key_secret"));
        let text = fs::read_to_string(file).unwrap();
        let secret = text.lines().find(|line| line.contains("secret-key"));
        let secret = secret.unwrap().split('"').nth(1).unwrap();
        assert!(!said.contains(secret), "{name}");
    }
}
