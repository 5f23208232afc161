//! `docs/protocol.md` by hand: every Python example prints what stands below it.

use crate::replica::Mesh;
use crate::support::{py, root};

/// The fenced blocks of a language or of its output, in order.
pub(crate) fn blocks(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let body: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            found.push((language.to_owned(), body.join("\n") + "\n"));
        }
    }
    found
}

#[test]
fn every_example_of_the_protocol_prints_what_it_says() {
    let text = std::fs::read_to_string(root().join("docs/protocol.md")).unwrap();
    let blocks = blocks(&text);
    let mesh = Mesh::start();
    let mut ran = 0;
    for pair in blocks.windows(2) {
        let [(language, script), (_, expected)] = pair else {
            unreachable!("windows of two");
        };
        if language != "python" {
            continue;
        }
        assert!(script.contains("tcp://127.0.0.1:3265"));
        let script = script.replace("tcp://127.0.0.1:3265", &mesh.endpoint("bravo"));
        let printed = py(&mesh.world, &script, &[]);
        assert_eq!(&printed.stdout, expected, "{script}\n{}", printed.stderr);
        ran += 1;
    }
    assert_eq!(ran, 4, "examples of docs/protocol.md");
}
