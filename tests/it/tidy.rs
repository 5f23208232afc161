//! The house rules that a compiler does not check: floors, file lengths, printers.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::root;

/// The folders and files of `src/` by floor. A module imports from lower floors and from itself.
const FLOORS: [&[&str]; 9] = [
    &["model"],
    &["source"],
    &["diagnostics", "protocol"],
    &["roles"],
    &["manifest", "wire", "disk"],
    &["schema", "topology"],
    &["plan", "lifecycle"],
    &["compile", "run", "client", "sim", "export"],
    &["cli"],
];

/// The wall: a file with more lines has more than one idea.
const LINES_MAX: usize = 500;

fn rust_files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

fn sources() -> Vec<(String, String)> {
    let src = root().join("src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    files.sort();
    files
        .into_iter()
        .map(|file| {
            let name = file
                .strip_prefix(&src)
                .unwrap()
                .to_string_lossy()
                .into_owned();
            let text = fs::read_to_string(&file).unwrap();
            (name, text)
        })
        .collect()
}

fn top(name: &str) -> &str {
    name.split('/').next().unwrap().trim_end_matches(".rs")
}

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|modules| modules.contains(&module))
}

/// The modules that a text names with `crate::`, comments left out, the braces of a top-level
/// `use crate::{a, b}` included.
fn imports(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
    {
        for (at, _) in line.match_indices("crate::") {
            let rest = &line[at + "crate::".len()..];
            assert!(
                !rest.starts_with('{'),
                "one `use crate::module` a line, no braces: {line}"
            );
            let name: String = rest
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                .collect();
            found.push(name);
        }
    }
    found
}

#[test]
fn floors_import_downward_only() {
    let mut wrong = Vec::new();
    for (name, text) in sources() {
        let own = top(&name);
        if matches!(own, "lib" | "main") {
            continue;
        }
        let own_floor = floor(own).unwrap_or_else(|| panic!("src/{name} stands on no floor"));
        for import in imports(&text) {
            let is_lower = floor(&import).is_some_and(|f| f < own_floor);
            if import != own && !is_lower {
                wrong.push(format!("src/{name} imports crate::{import}"));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "imports that do not go down:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn imports_are_read_as_written() {
    assert_eq!(
        imports("use crate::model::name;\n// crate::cli\nlet x = crate::plan::Plan;"),
        ["model", "plan"]
    );
}

#[test]
fn files_stay_under_the_wall() {
    let long: Vec<String> = sources()
        .iter()
        .map(|(name, text)| (name, text.lines().count()))
        .filter(|(_, lines)| *lines > LINES_MAX)
        .map(|(name, lines)| format!("src/{name}: {lines} lines"))
        .collect();
    assert!(long.is_empty(), "split by idea:\n{}", long.join("\n"));
}

#[test]
fn only_the_wire_names_a_socket_library() {
    let wrong: Vec<String> = sources()
        .into_iter()
        .filter(|(name, _)| top(name) != "wire")
        .filter(|(_, text)| text.contains("zeromq::") || text.contains("omq_proto::"))
        .map(|(name, _)| name)
        .collect();
    assert!(wrong.is_empty(), "these go around src/wire: {wrong:?}");
}

#[test]
fn formatting_is_rustfmts() {
    let out = std::process::Command::new(env!("CARGO"))
        .args(["fmt", "--check"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(
        out.status.success(),
        "run `cargo fmt`:\n{}",
        String::from_utf8_lossy(&out.stdout)
    );
}
