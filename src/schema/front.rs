//! The front half of the compiler, one file at a time: bytes in, what is written out.
//!
//! Which other files a manifest needs (includes, imported peers) and where their bytes come from is
//! the caller's business; nothing here opens a file.

use std::collections::{BTreeMap, HashSet};

use super::conditions;
use super::generate;
use super::prune::prune;
use super::substitute::{Scope, substitute, substitute_defaults};
use super::validate;
use super::variables::{self, Assignment, Giver, Variables};
use crate::diagnostics::sources::{SourceFile, Sources};
use crate::diagnostics::text::of_fault;
use crate::diagnostics::{At, Diagnostic, codes, has_errors};
use crate::manifest::decode::{decode, to_json};
use crate::manifest::peers::{self, Member};
use crate::manifest::topology::{Ordered, TopologyDecl};
use crate::manifest::var::VarDecl;
use crate::source::path::{FileId, Path};
use crate::source::scan::scan;
use crate::source::text;
use crate::source::tree::{Item, Map, Tree};

/// What a manifest's expressions may name.
#[derive(Debug, Clone, Copy)]
pub struct Settings<'a> {
    /// The environment, `.env` included.
    pub env: &'a BTreeMap<String, String>,
    /// Values for variables; the last one for a variable counts.
    pub assignments: &'a [Assignment],
}

/// One manifest as it is written, variables replaced.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// The file it was read from.
    pub file: FileId,
    /// What is written.
    pub decl: TopologyDecl,
    /// The values of its variables, for `when`.
    pub variables: Variables,
    /// The members of a bare peers file; they are what its node imports.
    pub members: Option<Vec<Member>>,
    /// Nodes and links that are written with faults and left out.
    pub lost: Vec<String>,
}

/// Reads one manifest. Where there are errors, it is what is left without the faulty parts, so that
/// the rules about its meaning can be asked in the same run, or nothing. `name` is shown to people, `stem` names a bare peers file's network.
pub fn manifest(
    sources: &mut Sources,
    (name, stem): (&str, &str),
    bytes: Vec<u8>,
    settings: Settings<'_>,
) -> (FileId, Option<Manifest>, Vec<Diagnostic>) {
    let (file, found) = read(sources, name, bytes);
    let Some(tree) = sources.file(file).tree.clone() else {
        return (file, None, found);
    };
    let (manifest, more) = if peers::is_peers(&tree) {
        bare(file, &tree, stem)
    } else {
        written(sources, file, tree, settings)
    };
    let found = [found, more].concat();
    (file, manifest, found)
}

/// Reads a peers file that a manifest imports.
pub fn members(
    sources: &mut Sources,
    name: &str,
    bytes: Vec<u8>,
) -> (FileId, Vec<Member>, Vec<Diagnostic>) {
    let (file, mut found) = read(sources, name, bytes);
    let Some(tree) = &sources.file(file).tree else {
        return (file, Vec::new(), found);
    };
    let (members, more) = peers::members(tree);
    found.extend(more);
    (file, members, found)
}

/// Reads a file of values, `--var-file`: a mapping from variables to values.
pub fn assignments(
    sources: &mut Sources,
    name: &str,
    bytes: Vec<u8>,
) -> (Vec<Assignment>, Vec<Diagnostic>) {
    let (file, mut found) = read(sources, name, bytes);
    let Some(tree) = &sources.file(file).tree else {
        return (Vec::new(), found);
    };
    let Some(map) = tree.top.as_map() else {
        let words = "a file of variables is a mapping from names to values";
        found.push(
            Diagnostic::error(codes::WRONG_VALUE, words).at_value(Path::top(file), "this is none"),
        );
        return (Vec::new(), found);
    };
    let assignments = map
        .iter()
        .map(|entry| Assignment {
            name: entry.key.clone(),
            value: entry.item.content.to_json(),
            from: Giver::File(At::Value(Path::top(file).key(&entry.key))),
        })
        .collect();
    (assignments, found)
}

/// Bytes to a tree.
fn read(sources: &mut Sources, name: &str, bytes: Vec<u8>) -> (FileId, Vec<Diagnostic>) {
    let (text, fault) = text::decode(bytes);
    let file = sources.add(SourceFile::new(name, text));
    if let Some(fault) = fault {
        return (file, vec![of_fault(file, &fault)]);
    }
    let (tree, faults) = scan(file, &sources.file(file).text);
    sources.file_mut(file).tree = tree;
    let found = faults.iter().map(|fault| of_fault(file, fault)).collect();
    (file, found)
}

fn bare(file: FileId, tree: &Tree, stem: &str) -> (Option<Manifest>, Vec<Diagnostic>) {
    let (members, found) = peers::members(tree);
    if has_errors(&found) {
        return (None, found);
    }
    let manifest = Manifest {
        file,
        decl: peers::manifest(stem, stem),
        variables: Variables::new(),
        members: Some(members),
        lost: Vec::new(),
    };
    (Some(manifest), found)
}

fn written(
    sources: &mut Sources,
    file: FileId,
    mut tree: Tree,
    settings: Settings<'_>,
) -> (Option<Manifest>, Vec<Diagnostic>) {
    let schema = generate::topology();
    let text = &sources.file(file).text;
    let defaults = substitute_defaults(&mut tree, text, settings.env);
    let mut found = defaults.found;
    let path = Path::top(file).key("vars");
    let vars = validate::part(&tree, path, &schema["properties"]["vars"], schema);
    let decls = declarations(&tree).filter(|_| vars.is_empty());
    let (variables, more) = match &decls {
        Some(decls) => variables::resolve(decls, settings.assignments, &Path::top(file)),
        // Where the declarations are wrong, who sets what cannot be judged.
        None => Default::default(),
    };
    // A default that could not be replaced has been reported already.
    let is_new = |diagnostic: &Diagnostic| {
        let first = diagnostic.marks.first().map(|mark| &mark.at);
        !matches!(first, Some(At::Value(path)) if defaults.unreplaced.contains(path))
    };
    found.extend(more.into_iter().filter(is_new));
    let unresolved = unresolved(&tree, &variables);
    let scope = Scope {
        variables: &variables,
        unresolved: &unresolved,
        env: settings.env,
    };
    let mut substituted = substitute(&mut tree, text, scope);
    found.append(&mut substituted.found);
    found.extend(
        decls
            .iter()
            .flat_map(|decls| conditions::check(&tree, decls)),
    );
    found.extend(validate::validate(&mut tree, schema, &substituted));
    let (decl, lost) = left(&tree, &mut found, substituted.unreplaced, &variables);
    sources.file_mut(file).tree = Some(tree);
    let manifest = decl.map(|decl| Manifest {
        file,
        decl,
        variables,
        members: None,
        lost,
    });
    (manifest, found)
}

/// What is written, as far as it is free of faults, and the names of the nodes and links that are
/// not.
fn left(
    tree: &Tree,
    found: &mut Vec<Diagnostic>,
    unreplaced: HashSet<Path>,
    variables: &Variables,
) -> (Option<TopologyDecl>, Vec<String>) {
    if !has_errors(found) {
        match decode(tree) {
            Ok(decl) => return (Some(decl), Vec::new()),
            Err(diagnostic) => found.push(diagnostic),
        }
    }
    let marked = found
        .iter()
        .filter_map(|diagnostic| match &diagnostic.marks.first()?.at {
            // What an including file sets wrongly is a fault of that file.
            At::Key(path) | At::Value(path) if path.file == tree.file => Some(path.clone()),
            At::Key(_) | At::Value(_) | At::Span(..) => None,
        });
    // Whether a node exists that asks for an unknown variable cannot be told.
    let nodes = tree.top.get("nodes").and_then(Item::as_map);
    let asking = nodes.into_iter().flat_map(Map::iter).filter_map(|node| {
        let when = node.item.get("when")?.as_map()?;
        let is_unknown = when.iter().any(|e| !variables.contains_key(&e.key));
        let path = Path::top(tree.file).key("nodes").key(&node.key).key("when");
        is_unknown.then_some(path)
    });
    let faults: Vec<Path> = marked.chain(unreplaced).chain(asking).collect();
    match prune(tree, faults) {
        Some(pruned) => (decode(&pruned.tree).ok(), pruned.lost),
        None => (None, Vec::new()),
    }
}

/// What is declared under `vars`, if it can be read.
fn declarations(tree: &Tree) -> Option<Ordered<VarDecl>> {
    match tree.top.get("vars") {
        Some(vars) => serde_json::from_value(to_json(vars)).ok(),
        None => Some(Ordered::default()),
    }
}

/// Declared variables that have no value: their fault is reported already.
fn unresolved(tree: &Tree, variables: &Variables) -> Vec<String> {
    let declared = tree.top.get("vars").and_then(|vars| vars.as_map());
    declared
        .into_iter()
        .flat_map(|map| map.iter())
        .map(|entry| entry.key.clone())
        .filter(|name| !variables.contains_key(name))
        .collect()
}
