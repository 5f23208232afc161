//! ZMQ Net's `peers.json`: a list of replicas, in either spelling of its keys.
//!
//! It is read leniently where ZMQ Net was: `info` is free, unknown keys are a remark. Two replicas
//! of one name or one port are an error, since ZMQ Net silently took the first.

use std::collections::HashMap;

use super::link::{LinkDecl, OneOrMany, Transport};
use super::node::{ImportDecl, NodeDecl, ReplicasDecl};
use super::policy::Defaults;
use super::topology::{Ordered, TopologyDecl};
use crate::diagnostics::{Diagnostic, codes};
use crate::model::name::{NAME_CHARS_MAX, is_name};
use crate::model::socket::Pattern;
use crate::roles::Kind;
use crate::source::path::Path;
use crate::source::tree::{Content, Item, Tree};

/// One replica of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name, which `-n` asks for.
    pub name: String,
    /// ZMQ Net's "precedence id": a tie-break, no process id.
    pub pid: u32,
    /// A label, `host` or `hostname`.
    pub host: String,
    /// What it binds and others dial: `ipaddr` or `ip_address`.
    pub address: String,
    /// Its port.
    pub port: u16,
    /// Where it is written.
    pub at: Path,
}

/// The keys of a replica that ZMQ Net knows; those of one row mean the same.
const KEYS: &[&[&str]] = &[
    &["name"],
    &["pid"],
    &["host", "hostname"],
    &["ipaddr", "ip_address"],
    &["port"],
    &["address"],
    &["description"],
    &["domain"],
    &["aws_instance"],
];

/// Whether a tree is such a file: `replicas` at its top, and no `zmqnet`.
pub fn is_peers(tree: &Tree) -> bool {
    tree.top.get("replicas").is_some() && tree.top.get("zmqnet").is_none()
}

/// The replicas of a file, and what is wrong with them.
pub fn members(tree: &Tree) -> (Vec<Member>, Vec<Diagnostic>) {
    let top = Path::top(tree.file);
    let mut found = Vec::new();
    let Some(map) = tree.top.as_map() else {
        found.push(
            Diagnostic::error(
                codes::WRONG_VALUE,
                "a peers file is a mapping with `replicas`",
            )
            .at_value(top, "this is none"),
        );
        return (Vec::new(), found);
    };
    for entry in map.iter() {
        if !matches!(entry.key.as_str(), "info" | "replicas") {
            found.push(unknown(
                &top.key(&entry.key),
                &entry.key,
                &["info", "replicas"],
            ));
        }
    }
    let path = top.key("replicas");
    let Some(items) = map.get("replicas").and_then(Item::as_list) else {
        found.push(
            Diagnostic::error(codes::WRONG_VALUE, "`replicas` of a peers file is a list")
                .at_value(path, "expected a list"),
        );
        return (Vec::new(), found);
    };
    let mut reader = Reader { found };
    let members: Vec<Member> = items
        .iter()
        .enumerate()
        .filter_map(|(index, item)| reader.member(item, &path.index(index)))
        .collect();
    reader.twice(&members);
    if items.is_empty() {
        reader.found.push(
            Diagnostic::error(codes::OUT_OF_BOUNDS, "the file lists no replicas")
                .at_key(path, "at least one belongs here"),
        );
    }
    (members, reader.found)
}

/// The manifest that a peers file stands for: one replica node and a mesh among it. Its name is
/// `stem`; the members are imported under `import`.
pub fn manifest(stem: &str, import: &str) -> TopologyDecl {
    let name = name_of(stem);
    let node = NodeDecl {
        kind: Some(Kind::Replica),
        replicas: Some(ReplicasDecl::Import(ImportDecl {
            import: import.to_owned(),
        })),
        ..NodeDecl::default()
    };
    let mesh = LinkDecl {
        among: Some(OneOrMany::One(name.clone())),
        // What the file says is dialled, also where a unix socket would do.
        transport: Some(Transport::Tcp),
        ..LinkDecl::of(Pattern::Mesh)
    };
    TopologyDecl {
        zmqnet: 1,
        name: Some(name.clone()),
        include: Ordered::default(),
        vars: Ordered::default(),
        hosts: Ordered::default(),
        security: None,
        defaults: Defaults::default(),
        nodes: Ordered(vec![(name, node)]),
        links: Ordered(vec![("mesh".to_owned(), mesh)]),
    }
}

/// A file's stem as a name: what no name may hold becomes `-`.
pub fn name_of(stem: &str) -> String {
    let mut name: String = stem
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '_' {
                c
            } else {
                '-'
            }
        })
        .take(NAME_CHARS_MAX)
        .collect();
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        name = format!("n{name}").chars().take(NAME_CHARS_MAX).collect();
    }
    name
}

fn unknown(path: &Path, key: &str, known: &[&str]) -> Diagnostic {
    let near = crate::diagnostics::suggest::did_you_mean(key, known.iter().copied());
    let mut diagnostic = Diagnostic::warning(codes::UNKNOWN_KEY, format!("unknown key `{key}`"))
        .at_key(path.clone(), "nothing reads this key");
    diagnostic.help = near;
    diagnostic
}

struct Reader {
    found: Vec<Diagnostic>,
}

impl Reader {
    fn member(&mut self, item: &Item, path: &Path) -> Option<Member> {
        let Some(map) = item.as_map() else {
            self.wrong(path, "a replica is a mapping", "expected a mapping");
            return None;
        };
        let known: Vec<&str> = KEYS.concat();
        for entry in map.iter() {
            if !known.contains(&entry.key.as_str()) {
                let path = path.key(&entry.key);
                self.found.push(unknown(&path, &entry.key, &known));
            }
        }
        let name = self.text(item, path, &["name"], true);
        let address = self.text(item, path, &["ipaddr", "ip_address"], true);
        let host = self.text(item, path, &["host", "hostname"], false);
        let port = self.port(item, path);
        let pid = item.get("pid").map_or(Some(0), |pid| self.pid(pid, path));
        Some(Member {
            name: self.named(name?, path)?,
            pid: pid?,
            host: host.unwrap_or_default(),
            address: self.addressed(address?, path)?,
            port: port?,
            at: path.clone(),
        })
    }

    /// The text under one of several spellings.
    fn text(&mut self, item: &Item, path: &Path, keys: &[&str], needed: bool) -> Option<String> {
        let written: Vec<&str> = keys
            .iter()
            .copied()
            .filter(|k| item.get(k).is_some())
            .collect();
        let Some(key) = written.first() else {
            if needed {
                let key = keys[0];
                self.found.push(
                    Diagnostic::error(codes::MISSING_KEY, format!("a replica has no `{key}`"))
                        .at_value(path.clone(), format!("`{key}` is missing")),
                );
            }
            return None;
        };
        match item.get(key).map(|item| &item.content) {
            Some(Content::Text(text)) if !text.is_empty() => Some(text.clone()),
            Some(Content::Text(_)) if !needed => None,
            _ => {
                let message = format!("`{key}` of a replica is a text");
                self.wrong(&path.key(*key), &message, "expected a text");
                None
            }
        }
    }

    fn named(&mut self, name: String, path: &Path) -> Option<String> {
        if is_name(&name) {
            return Some(name);
        }
        self.found.push(
            Diagnostic::error(codes::BAD_NAME, format!("`{name}` is no name")).at_value(
                path.key("name"),
                "a name is a letter, then at most 39 letters, digits, `_` or `-`",
            ),
        );
        None
    }

    /// `*` and the like can be bound but never dialled.
    fn addressed(&mut self, address: String, path: &Path) -> Option<String> {
        let is_address = !address.contains(|c: char| c == '*' || c == '/' || c.is_whitespace());
        if is_address {
            return Some(address);
        }
        let message = format!("`{address}` is no address that can be dialled");
        self.wrong(path, &message, "expected an IP address or a host name");
        None
    }

    fn port(&mut self, item: &Item, path: &Path) -> Option<u16> {
        let Some(port) = item.get("port") else {
            self.found.push(
                Diagnostic::error(codes::MISSING_KEY, "a replica has no `port`")
                    .at_value(path.clone(), "`port` is missing"),
            );
            return None;
        };
        let number = match &port.content {
            Content::Number(number) => number.as_u64().and_then(|n| u16::try_from(n).ok()),
            _ => None,
        };
        let number = number.filter(|number| *number > 0);
        if number.is_none() {
            let message = "`port` of a replica is a number from 1 to 65535";
            self.wrong(&path.key("port"), message, "expected a port");
        }
        number
    }

    fn pid(&mut self, pid: &Item, path: &Path) -> Option<u32> {
        let number = match &pid.content {
            Content::Number(number) => number.as_u64().and_then(|n| u32::try_from(n).ok()),
            _ => None,
        };
        if number.is_none() {
            let message = "`pid` of a replica is a whole number";
            self.wrong(&path.key("pid"), message, "expected a whole number");
        }
        number
    }

    fn wrong(&mut self, path: &Path, message: &str, label: &str) {
        self.found
            .push(Diagnostic::error(codes::WRONG_VALUE, message).at_value(path.clone(), label));
    }

    /// Names, and ports of one address, must differ.
    fn twice(&mut self, members: &[Member]) {
        let mut names: HashMap<&str, &Path> = HashMap::new();
        let mut ports: HashMap<(&str, u16), &Path> = HashMap::new();
        for member in members {
            if let Some(first) = names.insert(&member.name, &member.at) {
                self.clash(("name", &member.name), &member.at, first);
            }
            let place = (member.address.as_str(), member.port);
            if let Some(first) = ports.insert(place, &member.at) {
                let shown = format!("{}:{}", member.address, member.port);
                self.clash(("port", &shown), &member.at, first);
            }
        }
    }

    fn clash(&mut self, (key, value): (&str, &str), at: &Path, first: &Path) {
        self.found.push(
            Diagnostic::error(
                codes::DUPLICATE_REPLICA,
                format!("two replicas have the {key} `{value}`"),
            )
            .at_value(at.key(key), "again here")
            .at_value(first.key(key), "first here"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::path::FileId;
    use crate::source::scan::scan;

    fn read(text: &str) -> (Vec<Member>, Vec<String>) {
        let tree = scan(FileId(0), text).0.unwrap();
        assert!(is_peers(&tree));
        let (members, found) = members(&tree);
        (members, found.into_iter().map(|d| d.message).collect())
    }

    #[test]
    fn both_spellings_and_yaml_give_the_same_members() {
        let old = r#"{"info": {"num_replicas": 9}, "replicas": [{"pid": 1, "name": "alpha",
            "address": "x", "host": "apollo", "ipaddr": "127.0.0.1", "port": 3264}]}"#;
        let new = "replicas:\n- {pid: 1, name: alpha, hostname: apollo, ip_address: 127.0.0.1, port: 3264, aws_instance: {id: i}}\n";
        let (members, found) = read(old);
        assert_eq!(found, Vec::<String>::new());
        assert_eq!((members.clone(), found), read(new));
        assert_eq!(
            (members[0].port, members[0].host.as_str()),
            (3264, "apollo")
        );
    }

    #[test]
    fn every_wrong_replica_is_reported_and_unknown_keys_are_a_remark() {
        let (members, found) = read(
            "zone: 1\nreplicas:\n- {name: a, ipaddr: 127.0.0.1, port: 1}\n- {name: a, ipaddr: 127.0.0.1, port: 1, prot: 2}\n- {name: 0b, ipaddr: '', port: 70000}\n- {}\n",
        );
        assert_eq!(members.len(), 2);
        assert_eq!(
            found,
            [
                "unknown key `zone`",
                "unknown key `prot`",
                "`ipaddr` of a replica is a text",
                "`port` of a replica is a number from 1 to 65535",
                "`0b` is no name",
                "a replica has no `name`",
                "a replica has no `ipaddr`",
                "a replica has no `port`",
                "two replicas have the name `a`",
                "two replicas have the port `127.0.0.1:1`",
            ]
        );
    }

    #[test]
    fn a_stem_becomes_a_name() {
        assert_eq!(name_of("peers"), "peers");
        assert_eq!(name_of("3.prod"), "n3-prod");
        assert!(is_name(&name_of(&"ä".repeat(90))) && is_name(&name_of("")));
    }
}
