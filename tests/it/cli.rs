//! The command line itself: help, versions, usage errors, and what tests stand on.

use std::io::Read;

use crate::support::{Ran, Running, World, is_free, ports, py, wait_for, zmqnet};

#[test]
fn version_is_data_and_a_wrong_verb_is_a_usage_error() {
    let world = World::new();
    let version = world.ok(&["--version"]);
    assert!(
        version.stdout.starts_with("zmqnet 0."),
        "{}",
        version.stdout
    );
    let wrong = world.run(&["frobnicate"]);
    assert_eq!(wrong.code, 64, "{}", wrong.stderr);
    assert!(
        wrong.stdout.is_empty() && wrong.stderr.contains("frobnicate"),
        "{wrong:?}"
    );
}

#[test]
fn no_arguments_show_the_help_and_fail() {
    let world = World::new();
    let ran = Ran::of(world.command(zmqnet()).env("NO_COLOR", "1"));
    assert_eq!(ran.code, 64);
    assert!(ran.stderr.contains("Usage:"), "{}", ran.stderr);
}

#[test]
fn tests_have_a_python_with_libzmq_and_ports_of_their_own() {
    let world = World::new();
    let script = world.write("hello.txt", "hello");
    assert!(script.starts_with(world.dir()));
    let version = py(&world, "import zmq; print(zmq.zmq_version())", &[]);
    assert!(version.stdout.starts_with("4."), "{version:?}");
    let (a, b) = (ports(3), ports(25));
    assert!(a + 3 <= b || b + 25 <= a, "{a} and {b} overlap");
    assert!(is_free(a));
    let mut child = Running::start(world.command("echo").arg("{}"));
    wait_for("the child's end", || child.0.try_wait().unwrap());
    let mut stdout = String::new();
    child
        .0
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut stdout)
        .unwrap();
    assert!(
        Ran {
            code: 0,
            stdout,
            stderr: String::new()
        }
        .json()
        .is_object()
    );
}

#[test]
fn completions_and_manual_pages_know_the_commands() {
    let world = World::new();
    let bash = world.ok(&["completions", "bash"]);
    assert!(
        bash.stdout.contains("complete -F _zmqnet"),
        "{}",
        bash.stdout
    );
    let page = world.ok(&["man"]);
    assert!(
        page.stdout.contains(".TH zmqnet") && page.stdout.contains("apply"),
        "{}",
        page.stdout
    );
    assert!(world.ok(&["man", "apply"]).stdout.contains("\\-\\-timeout"));
    assert_eq!(world.run(&["completions", "cmd.exe"]).code, 64);
    assert_eq!(world.run(&["man", "frobnicate"]).code, 64);
}
