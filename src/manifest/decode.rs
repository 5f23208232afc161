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
    serde_json::from_value(to_json(&tree.top)).map_err(|error| {
        let (path, error) = narrowed(tree).unwrap_or((Path::top(tree.file), error));
        Diagnostic::error(codes::WRONG_VALUE, format!("this cannot be read: {error}"))
            .at_value(path, "here")
    })
}

/// The node or link that cannot be decoded on its own.
fn narrowed(tree: &Tree) -> Option<(Path, serde_json::Error)> {
    refused::<NodeDecl>(tree, "nodes").or_else(|| refused::<LinkDecl>(tree, "links"))
}

fn refused<T: DeserializeOwned>(tree: &Tree, block: &str) -> Option<(Path, serde_json::Error)> {
    let map = tree.top.get(block)?.as_map()?;
    map.iter()
        .filter(|entry| !is_ignored(&entry.key))
        .find_map(|entry| {
            let error = serde_json::from_value::<T>(to_json(&entry.item)).err()?;
            Some((Path::top(tree.file).key(block).key(&entry.key), error))
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
    fn what_serde_refuses_names_the_node() {
        let error = decoded("zmqnet: 1\nnodes: {a: {kind: bus}, b: {kind: nope}}\n").unwrap_err();
        let expected = Path::top(FileId(0)).key("nodes").key("b");
        assert_eq!(error.marks[0].at, crate::diagnostics::At::Value(expected));
    }
}
