//! A validated tree becomes a [`TopologyDecl`].
//!
//! The schema has accepted the tree before, so nothing is decided here; where serde still refuses,
//! that is a gap in the schema, reported as a fault of the value and never as a panic.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::link::LinkDecl;
use super::node::NodeDecl;
use super::topology::TopologyDecl;
use crate::diagnostics::Diagnostic;
use crate::diagnostics::codes;
use crate::source::path::Path;
use crate::source::tree::{Content, Item, Tree};

/// Whether a key is the user's own, or an editor's, and read by nobody.
pub fn is_ignored(key: &str) -> bool {
    key.starts_with("x-") || key == "$schema"
}

/// Decodes a manifest.
pub fn decode(tree: &Tree) -> Result<TopologyDecl, Diagnostic> {
    serde_json::from_value(to_json(&tree.top)).map_err(|_| {
        let path = narrowed(tree).unwrap_or(Path::top(tree.file));
        let message = "this is right by every rule, and still cannot be read";
        Diagnostic::error(codes::WRONG_VALUE, message)
            .at_value(path, "write it in another way")
            .help("this is a fault of zmqnet's and not of the manifest: please report it")
    })
}

/// The value that cannot be decoded, or the node or link it is of.
fn narrowed(tree: &Tree) -> Option<Path> {
    refused::<NodeDecl>(tree, "nodes").or_else(|| refused::<LinkDecl>(tree, "links"))
}

fn refused<T: DeserializeOwned>(tree: &Tree, block: &str) -> Option<Path> {
    let reads = |value: Value| serde_json::from_value::<T>(value).is_ok();
    let map = tree.top.get(block)?.as_map()?;
    let entry = map
        .iter()
        .filter(|entry| !is_ignored(&entry.key))
        .find(|entry| !reads(to_json(&entry.item)))?;
    let path = Path::top(tree.file).key(block).key(&entry.key);
    // The key without which it could be read is the one.
    let whole = to_json(&entry.item);
    let blamed = entry.item.as_map()?.iter().find(|inner| {
        let mut without = whole.clone();
        let cut = without.as_object_mut().map(|map| map.remove(&inner.key));
        cut.is_some() && reads(without)
    });
    Some(match blamed {
        Some(inner) => path.key(&inner.key),
        None => path,
    })
}

/// The values without what nobody reads. A key without a value is as unwritten.
pub fn to_json(item: &Item) -> Value {
    match &item.content {
        Content::Map(map) => map
            .iter()
            .filter(|entry| !is_ignored(&entry.key) && entry.item.content != Content::Null)
            .map(|entry| (entry.key.clone(), to_json(&entry.item)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Content::List(items) => items.iter().map(to_json).collect(),
        Content::Null | Content::Bool(_) | Content::Number(_) | Content::Text(_) => {
            item.content.to_json()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::path::FileId;
    use crate::source::scan::scan;

    fn decoded(text: &str) -> Result<TopologyDecl, Diagnostic> {
        decode(&scan(FileId(0), text).0.unwrap())
    }

    #[test]
    fn the_users_own_keys_are_left_out_and_order_is_kept() {
        let decl = decoded(
            "$schema: s\nzmqnet: 1\nx-a: 1\nnodes:\n  x-t: {odd: 1}\n  b: {command: [b], x-y: 1}\n  a: {kind: queue, lease: 5s}\n",
        )
        .unwrap();
        let names: Vec<&str> = decl.nodes.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["b", "a"]);
        assert!(decl.nodes.get("a").unwrap().role.lease.is_some());
    }

    #[test]
    fn what_serde_refuses_marks_the_value_and_hides_what_serde_says() {
        let error =
            decoded("zmqnet: 1\nnodes: {a: {kind: bus}, b: {kind: bus, replicas: 2.5, cwd: x}}\n")
                .unwrap_err();
        let expected = Path::top(FileId(0)).key("nodes").key("b").key("replicas");
        assert!(!error.message.contains("ReplicasDecl"), "{}", error.message);
        assert_eq!(error.marks[0].at, crate::diagnostics::At::Value(expected));
    }
}
