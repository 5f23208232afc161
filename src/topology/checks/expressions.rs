//! Every `${node.*}` and `${link.*}` has a value.

use crate::diagnostics::suggest::did_you_mean;
use crate::diagnostics::{Diagnostic, codes};
use crate::manifest::node::EnvDecl;
use crate::source::path::Path;
use crate::topology::expand::{ExpandError, Scope};
use crate::topology::{Instance, Node, Topology};

pub(super) fn check(topology: &Topology, found: &mut Vec<Diagnostic>) {
    for (index, node) in topology.nodes.iter().enumerate() {
        let shared = texts(node);
        let mut is_bad = false;
        for instance in topology.instances_of(index) {
            let own = own_texts(instance);
            let texts: Vec<(&str, Path)> = shared.iter().cloned().chain(own).collect();
            if texts.is_empty() || is_bad {
                continue;
            }
            let scope = Scope::new(topology, instance);
            for (text, at) in texts {
                if let Err(error) = scope.text(text) {
                    found.push(fault(node, error, at));
                    // The other instances would say the same.
                    is_bad = true;
                }
            }
        }
    }
}

/// The texts of a node that hold expressions, and where they are.
fn texts(node: &Node) -> Vec<(&str, Path)> {
    let decl = &node.decl;
    let mut texts: Vec<(&str, Path)> = Vec::new();
    let list = |list: &Option<Vec<String>>, at: Path| -> Vec<(usize, Path)> {
        let count = list.as_ref().map_or(0, Vec::len);
        (0..count).map(|index| (index, at.index(index))).collect()
    };
    for (index, at) in list(&decl.command, node.at.key("command")) {
        texts.push((&decl.command.as_ref().expect("it has items")[index], at));
    }
    if let Some(cwd) = &decl.cwd {
        texts.push((cwd, node.at.key("cwd")));
    }
    for (key, value) in decl.env.iter() {
        texts.push(env_text(value, node.at.key("env").key(key)));
    }
    if let Some(probe) = &decl.probe {
        let at = node.at.key("probe");
        for (key, text) in [
            ("send", &probe.send),
            ("expect", &probe.expect),
            ("http", &probe.http),
            ("log", &probe.log),
        ] {
            if let Some(text) = text {
                texts.push((text, at.key(key)));
            }
        }
        for (index, at) in list(&probe.exec, at.key("exec")) {
            texts.push((&probe.exec.as_ref().expect("it has items")[index], at));
        }
    }
    texts.retain(|(text, _)| text.contains('$'));
    texts
}

fn own_texts(instance: &Instance) -> impl Iterator<Item = (&str, Path)> {
    instance
        .env
        .iter()
        .map(|(key, value)| env_text(value, instance.at.key("env").key(key)))
        .filter(|(text, _)| text.contains('$'))
}

fn env_text(value: &EnvDecl, at: Path) -> (&str, Path) {
    match value {
        EnvDecl::Text(text) => (text, at),
        EnvDecl::File(file) => (&file.file, at.key("file")),
    }
}

fn fault(node: &Node, error: ExpandError, at: Path) -> Diagnostic {
    let name = &node.name;
    match error {
        ExpandError::Malformed => {
            Diagnostic::error(codes::BAD_EXPRESSION, "an expression that cannot be read")
                .at_value(at, "`${` needs a name and `}`")
                .help("for a `$` as it is, write `$$`")
        }
        ExpandError::Unknown {
            expression,
            candidates,
        } => {
            let message = format!("`${{{expression}}}` is nothing here");
            let fault = Diagnostic::error(codes::UNDEFINED_VARIABLE, message)
                .at_value(at, "it has no value");
            let near = did_you_mean(&expression, candidates.iter().map(String::as_str));
            fault.help(near.unwrap_or_else(|| {
                "there are `${node.name}`, `${node.index}`, `${link.NAME.endpoint}`".to_owned()
            }))
        }
        ExpandError::Several { link, count } => {
            let message = format!("`{name}` has {count} endpoints on `{link}`");
            Diagnostic::error(codes::SEVERAL_ENDPOINTS, message)
                .at_value(at, "this takes exactly one")
                .help(format!(
                    "write `${{link.{link}.endpoints}}`, separated by spaces"
                ))
        }
        ExpandError::NoLink { link, candidates } => {
            let message = format!("`{name}` stands on no link `{link}`");
            let fault = Diagnostic::error(codes::UNKNOWN_NAME, message)
                .at_value(at, "so it has no endpoint there");
            match did_you_mean(&link, candidates.iter().map(String::as_str)) {
                Some(help) => fault.help(help),
                None => fault.help(format!("name `{name}` in a link `{link}`")),
            }
        }
    }
}
