//! The same bytes to libzmq and to ours: `docs/differences.md` lists what differs, and nothing else may.

use std::collections::BTreeSet;
use std::fs;

use crate::attack::fort::{Fort, script};
use crate::support::{Ran, root};

/// Streams changed at random, and where they begin.
const COUNT: &str = "300";
const SEED: &str = "1";

/// The rows of the table: what is unusual, what ours does, what libzmq does.
fn listed() -> BTreeSet<[String; 3]> {
    let text = fs::read_to_string(root().join("docs/differences.md")).unwrap();
    text.lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| what is unusual"))
        .map(|line| {
            let mut cells = line.split('|').skip(1).map(|cell| cell.trim().to_owned());
            [(); 3].map(|()| cells.next().unwrap())
        })
        .collect()
}

#[test]
fn the_same_bytes_meet_the_same_end_as_in_libzmq_but_for_the_listed_differences() {
    let fort = Fort::start("");
    let port = fort.port.to_string();
    let args = [port.as_str(), SEED, COUNT];
    let ran = Ran::of(&mut script(&fort.world, "differential.py", &args));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let said = ran.json();
    let found: BTreeSet<[String; 3]> = said["differences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| ["unusual", "ours", "libzmq"].map(|key| one[key].as_str().unwrap().to_owned()))
        .collect();
    let listed = listed();
    let unlisted: Vec<_> = found.difference(&listed).collect();
    let unseen: Vec<_> = listed.difference(&found).collect();
    assert!(
        unlisted.is_empty() && unseen.is_empty(),
        "{unlisted:?} {unseen:?}\n{}",
        ran.stdout
    );
    fort.end();
}
