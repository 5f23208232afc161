//! The README is a test: its manifests pass `check`, its transcript is run command by command, and
//! what the commands print is what the README shows, but for numbers, times, column widths and the
//! order of lines, since instances get ready in any order.

use std::fs;
use std::path::Path;

use crate::support::{Ran, World, default_ports, python, root, zmqnet};

/// The fenced blocks of one language, in order.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut block: Option<String> = None;
    for line in text.lines() {
        match &mut block {
            Some(lines) if line == "```" => {
                found.push(std::mem::take(lines));
                block = None;
            }
            Some(lines) => {
                lines.push_str(line);
                lines.push('\n');
            }
            None if line == format!("```{language}") => block = Some(String::new()),
            None => {}
        }
    }
    found
}

/// The commands of a transcript, each with the lines shown below it.
fn commands(transcript: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for line in transcript.lines() {
        match (line.strip_prefix("$ "), found.last_mut()) {
            (Some(command), _) => found.push((command.to_owned(), String::new())),
            (None, Some((_, shown))) => {
                shown.push_str(line);
                shown.push('\n');
            }
            (None, None) => panic!("a transcript starts with `$ `: {line}"),
        }
    }
    found
}

/// Takes all leading characters that `is` accepts.
fn skip(chars: &mut std::iter::Peekable<std::str::Chars<'_>>, is: impl Fn(&char) -> bool) {
    while chars.next_if(&is).is_some() {}
}

/// What may differ between two runs is made equal: numbers with their units become `#`, hashes
/// too, runs of blanks become one, frames of tables lose their length.
fn normal(text: &str) -> Vec<String> {
    let line = |line: &str| {
        let mut out = String::new();
        let mut chars = line.trim().chars().peekable();
        while let Some(c) = chars.next() {
            if c.is_ascii_digit() {
                skip(&mut chars, |c| {
                    c.is_ascii_hexdigit() || matches!(c, '.' | ':')
                });
                skip(&mut chars, |c| {
                    matches!(c, 'm' | 's' | 'u' | 'h' | 'n' | 'µ')
                });
                out.push(if out.ends_with('#') { ' ' } else { '#' });
            } else if c.is_whitespace() || matches!(c, '─' | '═' | '-') {
                skip(&mut chars, |c| {
                    c.is_whitespace() || matches!(c, '─' | '═' | '-')
                });
                out.push(' ');
            } else {
                out.push(c);
            }
        }
        out.trim().to_owned()
    };
    let mut lines: Vec<String> = text
        .lines()
        .map(line)
        .filter(|line| !line.is_empty())
        .collect();
    lines.sort();
    lines
}

fn readme() -> String {
    fs::read_to_string(root().join("README.md")).unwrap()
}

/// A command line as the README shows it, in the project's folder, with `zmqnet` and a Python that
/// has pyzmq on the PATH.
fn shell(world: &World, line: &str) -> Ran {
    let bin = Path::new(zmqnet()).parent().unwrap();
    let venv = python().parent().unwrap();
    let path = format!(
        "{}:{}:{}",
        bin.display(),
        venv.display(),
        std::env::var("PATH").unwrap()
    );
    let mut command = world.command("sh");
    // Talk and data are shown together, as a terminal would show them.
    command
        .args(["-c", &format!("{{ {line}\n}} 2>&1")])
        .env("PATH", path)
        .current_dir(root());
    Ran::of(&mut command)
}

#[test]
fn every_manifest_in_the_readme_passes_check() {
    let manifests = blocks(&readme(), "yaml");
    assert!(
        manifests.len() >= 2,
        "the README shows manifests by example"
    );
    for manifest in manifests {
        let world = World::new();
        let file = world.write("topology.yaml", &manifest);
        let ran = world.run(&["check", file.to_str().unwrap()]);
        assert_eq!(ran.code, 0, "{manifest}\n{}{}", ran.stdout, ran.stderr);
    }
}

#[test]
fn every_command_in_the_readme_prints_what_is_shown() {
    let _turn = default_ports();
    let world = World::new();
    let transcripts = blocks(&readme(), "console");
    assert!(
        !transcripts.is_empty(),
        "the README shows the transcript of a real run"
    );
    for (line, shown) in transcripts
        .iter()
        .flat_map(|transcript| commands(transcript))
    {
        let ran = shell(&world, &line);
        let (expected, mut got) = (normal(&shown), normal(&ran.stdout));
        // What runs once may be ready for a while before its end, where the machine is slow.
        got.retain(|line| match line.strip_suffix(" ready") {
            Some(name) => {
                expected.contains(line) || !shown.contains(&format!("{name} stopped: exited"))
            }
            None => true,
        });
        assert_eq!(
            got, expected,
            "\n$ {line}\n{}\nthe README shows:\n{shown}",
            ran.stdout
        );
    }
}

#[test]
fn the_two_commands_of_the_readme_are_the_ones_ci_runs() {
    let ci = fs::read_to_string(root().join(".ci/run")).unwrap();
    for command in blocks(&readme(), "sh").iter().take(2) {
        assert!(
            ci.lines().any(|line| line == command.trim()),
            "{command} is no line of .ci/run"
        );
    }
}

#[test]
fn numbers_do_not_matter_and_words_do() {
    assert_eq!(
        normal("a  12.5ms | tcp://127.0.0.1:7000"),
        ["a # | tcp://#"]
    );
    assert_ne!(normal("a ready"), normal("a failed"));
}
