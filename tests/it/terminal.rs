//! What a peer says, printed for people: none of its control characters reaches the terminal.

use crate::support::{Running, World, ports, wait_for};

/// A name that would colour what follows it, ring, and turn the direction of writing.
const NAME: &str = "\u{1b}[31mred\u{7}\u{202e}";
/// The same as it is shown.
const SHOWN: &str = "\\u{1b}[31mred\\u{7}\\u{202e}";

#[test]
fn services_tasks_and_failures_are_shown_without_control_characters() {
    let world = World::new();
    let first = ports(4);
    world.write(
        "topology.yaml",
        &format!(
            "zmqnet: 1\nname: loud\ndefaults: {{ports: {first}..{}}}\nnodes:\n  jobs: {{kind: queue, attempts: 1}}\n",
            first + 3
        ),
    );
    world.ok(&["apply"]);
    let script = r"printf '\033[31mbad\n' >&2; exit 3";
    let work = [
        "queue", "work", "-n", "jobs", NAME, "--", "sh", "-c", script,
    ];
    let _worker = Running::start(&mut world.zmqnet(&work));
    let is_shown = |text: &str| {
        assert!(!text.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{text:?}");
        text.contains(SHOWN)
    };
    wait_for("the service", || {
        is_shown(&world.ok(&["services"]).stdout).then_some(())
    });
    assert!(is_shown(&world.ok(&["queue", "ls"]).stdout));
    let called = world.run(&["call", NAME, "--timeout", "20s"]);
    assert_eq!(called.code, 1, "{}", called.stderr);
    is_shown(&called.stderr);
    assert!(
        called.stderr.contains("\\u{1b}[31mbad\n"),
        "{}",
        called.stderr
    );
    world.ok(&["queue", "submit", "-n", "jobs", NAME, "body"]);
    wait_for("the dead letter", || {
        is_shown(&world.ok(&["queue", "ls", "--dead"]).stdout).then_some(())
    });
    // For programs it is what it is.
    let listed = world.ok(&["services", "-o", "json"]).json();
    assert_eq!(listed[0]["name"], NAME);
}
