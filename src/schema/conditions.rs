//! The variables that a node's `when` asks for: each is declared, and can have the value written.

use serde_json::Value;

use super::variables::admitted;
use crate::diagnostics::suggest::did_you_mean;
use crate::diagnostics::{Diagnostic, codes};
use crate::manifest::decode::to_json;
use crate::manifest::topology::Ordered;
use crate::manifest::var::VarDecl;
use crate::source::path::Path;
use crate::source::tree::{Content, Entry, Item, Tree};

/// Every condition that no value of the variables could meet.
pub(super) fn check(tree: &Tree, decls: &Ordered<VarDecl>) -> Vec<Diagnostic> {
    let nodes = tree.top.get("nodes").and_then(Item::as_map);
    let mut found = Vec::new();
    for node in nodes.into_iter().flat_map(|nodes| nodes.iter()) {
        let when = node.item.get("when").and_then(Item::as_map);
        let path = Path::top(tree.file).key("nodes").key(&node.key).key("when");
        for condition in when.into_iter().flat_map(|when| when.iter()) {
            let at = path.key(&condition.key);
            match decls.get(&condition.key) {
                Some(decl) => found.extend(impossible(condition, decl, &at)),
                None => found.push(undeclared(&condition.key, decls, at)),
            }
        }
    }
    found
}

fn undeclared(name: &str, decls: &Ordered<VarDecl>, at: Path) -> Diagnostic {
    let help = did_you_mean(name, decls.iter().map(|(name, _)| name));
    Diagnostic::error(
        codes::UNDEFINED_VARIABLE,
        format!("the variable `{name}` is not defined"),
    )
    .at_key(at, "not defined")
    .help(help.unwrap_or_else(|| format!("declare `{name}` under `vars`")))
}

fn impossible(condition: &Entry, decl: &VarDecl, at: &Path) -> Vec<Diagnostic> {
    let values: Vec<(&Item, Path)> = match &condition.item.content {
        Content::List(items) => {
            let items = items.iter().enumerate();
            items.map(|(index, item)| (item, at.index(index))).collect()
        }
        _ => vec![(&condition.item, at.clone())],
    };
    let faults = values.into_iter().filter_map(|(item, at)| {
        let value = to_json(item);
        // What is no value at all is a fault of its shape, and reported as such.
        if !matches!(value, Value::String(_) | Value::Number(_) | Value::Bool(_)) {
            return None;
        }
        let expected = admitted(decl, &value).err()?;
        let name = &condition.key;
        let message = format!("the variable `{name}` is never this: it takes {expected}");
        let fault = Diagnostic::error(codes::VARIABLE_VALUE, message);
        Some(fault.at_value(at, format!("expected {expected}")))
    });
    faults.collect()
}
