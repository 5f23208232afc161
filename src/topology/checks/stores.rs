//! What a store says fits the kind of its node, and no two nodes keep what they have in one directory.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::diagnostics::{Diagnostic, codes};
use crate::manifest::node::{RetainDecl, StoreDecl};
use crate::model::limits::queue::STORED_MAX;
use crate::model::quantity::Size;
use crate::model::store::Durability;
use crate::roles::Kind;
use crate::topology::paths::absolute;
use crate::topology::{Node, Topology};

/// One row: the kind, a key of its store that means nothing there, whether it is written, and why.
type Row = (
    Kind,
    &'static str,
    fn(&StoreDecl) -> bool,
    &'static str,
    &'static str,
);

const ROWS: &[Row] = &[
    (
        Kind::Kv,
        "mode",
        |store| store.mode.is_some(),
        "a key-value store has of each key the latest value",
        "leave it out",
    ),
    (
        Kind::Kv,
        "retain",
        |store| store.retain.is_some(),
        "a key is kept until it is deleted",
        "leave it out, and give keys a time to live: `kv set --ttl 10m`",
    ),
    (
        Kind::Stream,
        "mode",
        |store| store.mode.is_some(),
        "a stream keeps every record, in their order",
        "leave it out; a `spool` has `mode: latest`",
    ),
    (
        Kind::Stream,
        "retain",
        goes_after_max,
        "at `max` nothing more is taken, so there is never so much that the oldest go",
        "write less than `max`, or leave `max` out",
    ),
    (
        Kind::Spool,
        "max",
        is_never_full,
        "with less the oldest messages go by `retain`, taken or not, so it is never full",
        "write a larger `retain`, or leave one of them out",
    ),
    (
        Kind::Queue,
        "mode",
        |store| store.mode.is_some(),
        "a queue keeps every task until it is done",
        "leave it out",
    ),
    (
        Kind::Queue,
        "max",
        |store| store.max.is_some(),
        "a queue has one bound for its tasks",
        "write `max` beside `kind`, not in `store`",
    ),
    (
        Kind::Queue,
        "retain",
        |store| matches!(store.retain, Some(RetainDecl::Bytes(_))),
        "answers that nobody fetched are kept for a time, within the queue's `max`",
        "write a duration, such as `1d`",
    ),
];

/// Whether the oldest would go by size only once nothing more is taken.
fn goes_after_max(store: &StoreDecl) -> bool {
    matches!((&store.retain, store.max), (Some(RetainDecl::Bytes(kept)), Some(max)) if kept.0 >= max.0)
}

/// Whether the oldest go by size before it is full.
fn is_never_full(store: &StoreDecl) -> bool {
    matches!((&store.retain, store.max), (Some(RetainDecl::Bytes(kept)), Some(max)) if kept.0 < max.0)
}

pub(super) fn check(topology: &Topology, found: &mut Vec<Diagnostic>) {
    let mut used: HashMap<(usize, PathBuf), &Node> = HashMap::new();
    for node in &topology.nodes {
        let Some(store) = &node.decl.store else {
            continue;
        };
        for (_, key, _, why, help) in ROWS
            .iter()
            .filter(|(kind, _, is_written, _, _)| *kind == node.kind && is_written(store))
        {
            let message = format!("`{key}` means nothing in the store of `{}`", node.name);
            found.push(
                Diagnostic::error(codes::STORE_KEY, message)
                    .at_key(node.at.key("store").key(*key), *why)
                    .help(*help),
            );
        }
        bounded(node, store, found);
        let Some(first) = topology.instances.get(node.instances.start) else {
            continue;
        };
        // A path with a variable is another for each.
        if store.durability == Some(Durability::Memory) || store.path.contains("${") {
            continue;
        }
        let machine = topology.place_of(first).machine;
        let path = absolute(&topology.units[node.unit].dir, Path::new(&store.path));
        if let Some(other) = used.insert((machine, path), node) {
            let message = format!(
                "`{}` and `{}` keep what they have in one directory",
                other.name, node.name
            );
            found.push(
                Diagnostic::error(codes::STORE_CLASH, message)
                    .at_value(node.at.key("store").key("path"), "here again")
                    .at_value(other.at.key("store").key("path"), "here first")
                    .help("give each a directory of its own"),
            );
        }
    }
}

/// A queue that keeps its tasks writes all of them at once, from time to time.
fn bounded(node: &Node, store: &StoreDecl, found: &mut Vec<Diagnostic>) {
    let is_kept = node.kind == Kind::Queue && store.durability != Some(Durability::Memory);
    let is_more = |max: Size| max.0 > STORED_MAX as u64;
    if is_kept && node.decl.role.max.is_some_and(is_more) {
        let message = format!(
            "`{}` would keep more than a queue with a store may",
            node.name
        );
        found.push(
            Diagnostic::error(codes::OUT_OF_BOUNDS, message)
                .at_value(node.at.key("max"), "at most 512MiB with a store")
                .help("write less, or `max: 512MiB` for each of several queues"),
        );
    }
}
