//! What is kept in the directory of a store is of the kind of its node.

use std::collections::HashSet;

use crate::diagnostics::{Diagnostic, codes};
use crate::model::store::Durability;
use crate::topology::Topology;

pub(super) fn check(topology: &Topology, found: &mut Vec<Diagnostic>) {
    let mut said = HashSet::new();
    for instance in &topology.instances {
        let node = &topology.nodes[instance.node];
        let in_memory =
            |store: &crate::manifest::node::StoreDecl| store.durability == Some(Durability::Memory);
        if node.decl.store.as_ref().is_none_or(in_memory) {
            continue;
        }
        let Some(path) = topology.wanted_store(instance) else {
            continue;
        };
        let Some(kind) = topology.kept.get(&path) else {
            continue;
        };
        if kind == node.kind.as_str() || !said.insert(path.clone()) {
            continue;
        }
        let message = format!(
            "{} is the store of a {kind}, and `{}` is a {}",
            path.display(),
            instance.name,
            node.kind.as_str()
        );
        found.push(
            Diagnostic::error(codes::STORE_KIND, message)
                .at_value(node.at.key("store").key("path"), "this directory")
                .help("move it away, or name another directory"),
        );
    }
}
