//! What an editor shows: the real yaml-language-server, with our schema, on our manifests.
//!
//! Good manifests must be silent, and each manifest with one fault that a single value decides must
//! show exactly one error, on the line where the fault is.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::support::{Ran, root};

/// The language server, installed under `target/` when it is first needed.
fn language_server() -> &'static Path {
    static SERVER: OnceLock<PathBuf> = OnceLock::new();
    SERVER.get_or_init(|| {
        let dir = root().join("target/npm");
        let server = dir.join("node_modules/yaml-language-server/bin/yaml-language-server");
        fs::create_dir_all(&dir).unwrap();
        let lock = fs::File::create(root().join("target/npm.lock")).unwrap();
        lock.lock().unwrap();
        if !server.exists() {
            let got = Command::new("npm")
                .args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"])
                .arg(&dir)
                .arg("yaml-language-server@1.25.0")
                .output()
                .expect("this test needs npm and node: apt-get install nodejs npm");
            assert!(
                got.status.success(),
                "npm install: {}",
                Ran::from(got).stderr
            );
        }
        server
    })
}

/// A running language server and how to talk to it.
struct Editor {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    diagnostics: HashMap<String, Vec<Value>>,
}

impl Editor {
    fn start() -> Self {
        let mut child = Command::new("node")
            .arg(language_server())
            .arg("--stdio")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("node runs");
        let stdin = child.stdin.take().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut editor = Self {
            child,
            stdin,
            stdout,
            diagnostics: HashMap::new(),
        };
        editor.initialize();
        editor
    }

    fn initialize(&mut self) {
        self.send(
            &json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
                "processId": std::process::id(), "rootUri": null, "capabilities": {},
            }}),
        );
        while self.receive().get("id") != Some(&json!(1)) {}
        self.send(&json!({"jsonrpc": "2.0", "method": "initialized", "params": {}}));
        self.send(
            &json!({"jsonrpc": "2.0", "method": "workspace/didChangeConfiguration", "params": {
                "settings": {"yaml": {
                    "validate": true, "hover": true, "completion": true,
                    "schemaStore": {"enable": false},
                }},
            }}),
        );
    }

    fn send(&mut self, message: &Value) {
        let body = message.to_string();
        write!(self.stdin, "Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        self.stdin.flush().unwrap();
    }

    /// The next message; the server's own questions are answered with nothing, as an editor may.
    fn receive(&mut self) -> Value {
        let mut length = 0;
        loop {
            let mut line = String::new();
            assert!(
                self.stdout.read_line(&mut line).unwrap() > 0,
                "the language server ended"
            );
            if let Some(value) = line.strip_prefix("Content-Length:") {
                length = value.trim().parse().unwrap();
            } else if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        self.stdout.read_exact(&mut body).unwrap();
        let message: Value = serde_json::from_slice(&body).unwrap();
        if message.get("method").is_some() && message.get("id").is_some() {
            let answer = json!({"jsonrpc": "2.0", "id": message["id"], "result": null});
            self.send(&answer);
        }
        if message["method"] == "textDocument/publishDiagnostics" {
            let params = &message["params"];
            let uri = params["uri"].as_str().unwrap().to_owned();
            self.diagnostics
                .insert(uri, params["diagnostics"].as_array().unwrap().clone());
        }
        message
    }

    /// The diagnostics of a text, as `line: message`, lines from 1.
    fn check(&mut self, path: &Path, text: &str) -> Vec<(u64, String)> {
        let uri = format!("file://{}", path.display());
        self.send(
            &json!({"jsonrpc": "2.0", "method": "textDocument/didOpen", "params": {
                "textDocument": {"uri": uri, "languageId": "yaml", "version": 1, "text": text},
            }}),
        );
        while !self.diagnostics.contains_key(&uri) {
            self.receive();
        }
        self.diagnostics[&uri]
            .iter()
            .map(|d| {
                let line = d["range"]["start"]["line"].as_u64().unwrap() + 1;
                (line, d["message"].as_str().unwrap().to_owned())
            })
            .collect()
    }
}

impl Drop for Editor {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// One fault each: what is written, and the line it is on.
const FAULTS: [(&str, u64, &str); 30] = [
    (
        "duration",
        3,
        "zmqnet: 1\nnodes:\n  a: {command: [a], probe: {every: 5x}}\n",
    ),
    (
        "port",
        3,
        "zmqnet: 1\nnodes:\n  a: {command: [a], port: 70000}\n",
    ),
    (
        "unknown-key",
        4,
        "zmqnet: 1\nnodes:\n  a:\n    comand: [a]\n    command: [a]\n",
    ),
    (
        "unknown-top",
        2,
        "zmqnet: 1\nservices: {}\nnodes:\n  a: {command: [a]}\n",
    ),
    ("kind", 3, "zmqnet: 1\nnodes:\n  a: {kind: replika}\n"),
    (
        "pattern",
        5,
        "zmqnet: 1\nnodes:\n  a: {command: [a]}\nlinks:\n  l: {pattern: pubsubb, from: a, to: a}\n",
    ),
    ("name", 3, "zmqnet: 1\nnodes:\n  0a: {command: [a]}\n"),
    (
        "retries",
        3,
        "zmqnet: 1\nnodes:\n  a: {command: [a], probe: {retries: 0}}\n",
    ),
    (
        "not-for-kind",
        3,
        "zmqnet: 1\nnodes:\n  a: {kind: replica, lease: 30s}\n",
    ),
    (
        "command-type",
        3,
        "zmqnet: 1\nnodes:\n  a: {command: sleep 1}\n",
    ),
    (
        "size",
        3,
        "zmqnet: 1\nnodes:\n  a: {command: [a], logs: {size: 10 MB}}\n",
    ),
    (
        "restart",
        3,
        "zmqnet: 1\nnodes:\n  a: {command: [a], restart: sometimes}\n",
    ),
    (
        "ports",
        2,
        "zmqnet: 1\ndefaults: {ports: 7000-7999}\nnodes:\n  a: {command: [a]}\n",
    ),
    ("version", 1, "zmqnet: 2\nnodes:\n  a: {command: [a]}\n"),
    (
        "kind-and-command",
        3,
        "zmqnet: 1\nnodes:\n  a: {kind: bus, command: [a]}\n",
    ),
    ("neither", 3, "zmqnet: 1\nnodes:\n  a: {port: 7000}\n"),
    (
        "two-probes",
        3,
        "zmqnet: 1\nnodes:\n  a: {command: [a], probe: {exec: [b], tcp: 80}}\n",
    ),
    (
        "mesh-with-from",
        5,
        "zmqnet: 1\nnodes:\n  a: {command: [a]}\nlinks:\n  l: {pattern: mesh, from: a}\n",
    ),
    (
        "missing-to",
        5,
        "zmqnet: 1\nnodes:\n  a: {command: [a]}\nlinks:\n  l: {pattern: request, from: a}\n",
    ),
    (
        "socket-type",
        5,
        "zmqnet: 1\nnodes:\n  a: {command: [a]}\nlinks:\n  l: {pattern: request, from: a, to: a, types: {from: SUB}}\n",
    ),
    (
        "topics-of-a-request",
        5,
        "zmqnet: 1\nnodes:\n  a: {command: [a]}\nlinks:\n  l: {pattern: request, from: a, to: {a: [x]}}\n",
    ),
    (
        "enum-without-values",
        3,
        "zmqnet: 1\nvars:\n  v: {type: enum}\nnodes:\n  a: {command: [a]}\n",
    ),
    (
        "replicas",
        3,
        "zmqnet: 1\nnodes:\n  a: {command: [a], replicas: 1-3}\n",
    ),
    (
        "replica-name",
        3,
        "zmqnet: 1\nnodes:\n  a: {command: [a], replicas: [b, 0c]}\n",
    ),
    (
        "restart-block",
        3,
        "zmqnet: 1\nnodes:\n  a: {command: [a], restart: {when: sometimes}}\n",
    ),
    (
        "environment",
        3,
        "zmqnet: 1\nnodes:\n  a: {command: [a], env: {A: 5}}\n",
    ),
    (
        "filter",
        3,
        "zmqnet: 1\nnodes:\n  a: {kind: spool, filters: [{max_size: 5}]}\n",
    ),
    ("nothing", 3, "zmqnet: 1\nnodes:\n  a:\n"),
    (
        "after",
        3,
        "zmqnet: 1\nnodes:\n  a: {command: [a], after: {b: up}}\n",
    ),
    ("no-version", 1, "nodes:\n  a: {command: [a]}\n"),
];

#[test]
fn an_editor_shows_one_error_a_fault_where_it_is() {
    let schema = root().join("schemas/topology.schema.json");
    let mut editor = Editor::start();
    let mut wrong = Vec::new();
    for (name, line, text) in FAULTS {
        // The schema is named as our examples name it: by the first line.
        let text = format!(
            "# yaml-language-server: $schema={}\n{text}",
            schema.display()
        );
        let shown = editor.check(Path::new(&format!("/{name}.yaml")), &text);
        if shown.len() != 1 || shown[0].0 != line + 1 {
            wrong.push(format!("{name}: wanted one on line {line}: {shown:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_editor_is_silent_on_every_example() {
    let mut editor = Editor::start();
    let examples = fs::read_dir(root().join("topologies")).unwrap().flatten();
    let mut seen = 0;
    for path in examples
        .map(|entry| entry.path())
        .filter(|p| p.extension().is_some_and(|e| e == "yaml"))
    {
        let shown = editor.check(&path, &fs::read_to_string(&path).unwrap());
        assert!(shown.is_empty(), "{}: {shown:#?}", path.display());
        seen += 1;
    }
    assert!(seen >= 3, "{seen} examples");
}
