//! What is left of a faulty manifest, so that the rules about meaning can be asked in the same run.
//!
//! A faulty key goes alone where the node or link means something without it, else the whole node
//! or link goes and its name is kept: nobody should call it unknown. A node whose port is faulty
//! stays without it, and its name is kept too: what depends on the port is not asked. Where the fault is in what
//! everything else stands on, nothing is left.

use std::collections::BTreeSet;

use crate::source::path::{Path, Step};
use crate::source::span::Span;
use crate::source::tree::{Content, Entry, Item, Map, Tree};

/// What is left, and the names of the nodes and links that are not.
pub(super) struct Pruned {
    pub(super) tree: Tree,
    pub(super) lost: Vec<String>,
}

/// Keys without which a node or link is another one.
const NODE_ESSENTIALS: [&str; 5] = ["kind", "command", "replicas", "when", "port"];
const LINK_ESSENTIALS: [&str; 6] = ["pattern", "from", "to", "among", "via", "types"];

/// Cuts the places of faults out of a tree.
pub(super) fn prune(tree: &Tree, faults: impl IntoIterator<Item = Path>) -> Option<Pruned> {
    let mut cuts: BTreeSet<Vec<String>> = BTreeSet::new();
    let mut lost = Vec::new();
    for fault in faults {
        let keys: Vec<&str> = fault
            .steps
            .iter()
            .map_while(|step| match step {
                Step::Key(key) => Some(key.as_str()),
                Step::Index(_) => None,
            })
            .collect();
        let (block, essentials): (&str, &[&str]) = match keys.first() {
            Some(&"nodes") => ("nodes", &NODE_ESSENTIALS),
            Some(&"links") => ("links", &LINK_ESSENTIALS),
            Some(&"defaults") if keys.len() > 1 => {
                cuts.insert(vec!["defaults".into(), keys[1].into()]);
                continue;
            }
            // Their values are not known, and whoever uses them was left out.
            Some(&"vars") => continue,
            Some(&("hosts" | "include" | "zmqnet")) | None => return None,
            Some(key) => {
                cuts.insert(vec![(*key).to_owned()]);
                continue;
            }
        };
        match keys.as_slice() {
            [_] => return None,
            [_, name, key, ..] if !essentials.contains(key) => {
                cuts.insert(vec![block.into(), (*name).into(), (*key).into()]);
            }
            // It is dialled at a port that nobody knows, but all else that is written of it is known.
            [_, name, "port", ..] => {
                lost.push((*name).to_owned());
                cuts.insert(vec![block.into(), (*name).into(), "port".into()]);
            }
            [_, name, ..] => {
                lost.push((*name).to_owned());
                cuts.insert(vec![block.into(), (*name).into()]);
            }
            [] => return None,
        }
    }
    // Declarations have been read already.
    cuts.insert(vec!["vars".into()]);
    let top = cut(&tree.top, &mut Vec::new(), &cuts);
    Some(Pruned {
        tree: Tree {
            file: tree.file,
            top: versioned(top),
        },
        lost,
    })
}

/// A copy without what is cut out.
fn cut(item: &Item, way: &mut Vec<String>, cuts: &BTreeSet<Vec<String>>) -> Item {
    // Cuts are at most three keys deep.
    let Some(map) = item.as_map().filter(|_| way.len() < 3) else {
        return item.clone();
    };
    let mut entries = Vec::with_capacity(map.len());
    for entry in map.iter() {
        way.push(entry.key.clone());
        if !cuts.contains(way) {
            entries.push(Entry {
                item: cut(&entry.item, way, cuts),
                key: entry.key.clone(),
                key_span: entry.key_span,
            });
        }
        way.pop();
    }
    Item {
        span: item.span,
        content: Content::Map(Map::new(entries)),
    }
}

/// A manifest without its version is read as one with it.
fn versioned(mut top: Item) -> Item {
    let Content::Map(map) = &top.content else {
        return top;
    };
    if map.get("zmqnet").is_none() {
        let version = Entry {
            key: "zmqnet".into(),
            key_span: Span::default(),
            item: Item {
                span: Span::default(),
                content: Content::Number(1.into()),
            },
        };
        let entries = map.iter().cloned().chain([version]).collect();
        top.content = Content::Map(Map::new(entries));
    }
    top
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::path::FileId;
    use crate::source::scan::scan;
    use serde_json::json;

    fn pruned(faults: &[&[&str]]) -> Option<(serde_json::Value, Vec<String>)> {
        let text = "zmqnet: 1\nfoo: 1\nnodes:\n  a: {command: [a], cwd: 5, port: 99999}\n  b: {kind: nope}\nlinks:\n  l: {pattern: mesh, hwm: x}\n";
        let tree = scan(FileId(0), text).0.unwrap();
        let paths = faults.iter().map(|keys| {
            let top = Path::top(FileId(0));
            keys.iter().fold(top, |path, key| path.key(*key))
        });
        let pruned = prune(&tree, paths)?;
        Some((pruned.tree.top.content.to_json(), pruned.lost))
    }

    #[test]
    fn as_little_as_possible_is_cut() {
        let faults: [&[&str]; 5] = [
            &["foo"],
            &["nodes", "a", "port"],
            &["nodes", "a", "cwd"],
            &["nodes", "b", "kind"],
            &["links", "l", "hwm"],
        ];
        let (left, lost) = pruned(&faults).unwrap();
        assert_eq!(
            left,
            json!({"zmqnet": 1, "nodes": {"a": {"command": ["a"]}}, "links": {"l": {"pattern": "mesh"}}})
        );
        assert_eq!(lost, ["a", "b"]);
        let (left, lost) = pruned(&[&["nodes", "a", "port"]]).unwrap();
        assert_eq!(left["nodes"]["a"], json!({"command": ["a"], "cwd": 5}));
        assert_eq!(lost, ["a"], "nobody says of it what depends on its port");
        assert!(pruned(&[&["nodes"]]).is_none() && pruned(&[&["hosts", "h"]]).is_none());
    }
}
