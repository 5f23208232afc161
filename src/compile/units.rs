//! Reads the manifest and everything it includes and imports, each file to the end, so that one run
//! shows the faults of all of them.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::Entry;
use crate::diagnostics::sources::Sources;
use crate::diagnostics::{At, Diagnostic, codes};
use crate::manifest::node::ReplicasDecl;
use crate::manifest::peers::Member;
use crate::manifest::topology::Include;
use crate::model::limits::source::{INCLUDES_DEEP_MAX, INCLUDES_MAX};
use crate::schema::front::{self, Settings};
use crate::schema::variables::{Assignment, Giver};
use crate::source::path::{FileId, Path as TreePath};
use crate::topology::Unit;
use crate::topology::paths::absolute;

/// The files of one compilation.
pub(super) struct Files<'a> {
    env: &'a BTreeMap<String, String>,
    read: &'a dyn Fn(&Path) -> io::Result<Vec<u8>>,
    pub(super) sources: Sources,
    pub(super) diagnostics: Vec<Diagnostic>,
    /// Nodes and links that are written with faults and left out, with their prefixes.
    pub(super) lost: Vec<String>,
    paths: Vec<PathBuf>,
}

/// One use of a file.
struct Use {
    prefix: String,
    entry: Entry,
    /// The files it is included from, outermost first, itself last.
    way: Vec<PathBuf>,
}

impl<'a> Files<'a> {
    /// Files that may follow those in `sources`.
    pub(super) fn new(
        sources: Sources,
        env: &'a BTreeMap<String, String>,
        read: &'a dyn Fn(&Path) -> io::Result<Vec<u8>>,
    ) -> Self {
        let known = (0..sources.len()).filter_map(|id| u32::try_from(id).ok());
        let paths = known.map(|id| PathBuf::from(&sources.file(FileId(id)).name));
        Self {
            env,
            read,
            paths: paths.collect(),
            sources,
            diagnostics: Vec::new(),
            lost: Vec::new(),
        }
    }

    /// The absolute path of a file.
    pub(super) fn path(&self, file: FileId) -> &Path {
        &self.paths[file.0 as usize]
    }

    /// The manifest and its includes; nothing where one of them cannot be read. What is left of a
    /// faulty one is read, so that the rules about its meaning are asked too.
    pub(super) fn read(&mut self, entry: Entry) -> Option<Vec<Unit>> {
        let mut units = Vec::new();
        let mut is_whole = true;
        let mut waiting = vec![Use {
            prefix: String::new(),
            way: vec![entry.path.clone()],
            entry,
        }];
        while let Some(next) = waiting.pop() {
            let (prefix, way) = (next.prefix.clone(), next.way.clone());
            let Some(unit) = self.unit(next) else {
                is_whole = false;
                continue;
            };
            let mut included = Vec::new();
            for (key, include) in unit.decl.include.iter() {
                let at = unit.top.key("include").key(key);
                let count = units.len() + waiting.len() + included.len();
                if count >= INCLUDES_MAX {
                    let message = format!("more than {INCLUDES_MAX} included files");
                    let fault = Diagnostic::error(codes::INCLUDE, message);
                    self.diagnostics.push(fault.at_key(at, "one too many"));
                    is_whole = false;
                    break;
                }
                let prefix = format!("{prefix}{key}.");
                let next = self.include(&unit.dir, include, &at, (prefix, &way));
                is_whole &= next.is_some();
                included.extend(next);
            }
            // The first one written is read next.
            waiting.extend(included.into_iter().rev());
            units.push(unit);
        }
        is_whole.then_some(units)
    }

    fn unit(&mut self, of: Use) -> Option<Unit> {
        let Entry {
            name,
            stem,
            path,
            bytes,
            assignments,
        } = of.entry;
        let settings = Settings {
            env: self.env,
            assignments: &assignments,
        };
        let (file, manifest, found) =
            front::manifest(&mut self.sources, (&name, &stem), bytes, settings);
        self.file(file, &path);
        self.diagnostics.extend(found);
        let manifest = manifest?;
        let lost = manifest
            .lost
            .iter()
            .map(|name| format!("{}{name}", of.prefix));
        self.lost.extend(lost);
        let mut unit = Unit {
            prefix: of.prefix,
            top: TreePath::top(file),
            dir: path.parent().unwrap_or(Path::new("/")).to_owned(),
            is_bare: manifest.members.is_some(),
            decl: manifest.decl,
            vars: manifest.variables,
            imports: BTreeMap::new(),
        };
        match manifest.members {
            Some(members) => {
                unit.imports.insert(stem, members);
            }
            None => self.import(&mut unit),
        }
        Some(unit)
    }

    /// Remembers where a file is.
    fn file(&mut self, file: FileId, path: &Path) {
        assert_eq!(
            file.0 as usize,
            self.paths.len(),
            "files are added in order"
        );
        self.paths.push(path.to_owned());
    }

    /// Reads the peers files that a manifest's nodes import.
    fn import(&mut self, unit: &mut Unit) {
        for (name, node) in unit.decl.nodes.iter() {
            let Some(ReplicasDecl::Import(import)) = &node.replicas else {
                continue;
            };
            if unit.imports.contains_key(&import.import) {
                continue;
            }
            let at = unit
                .top
                .key("nodes")
                .key(name)
                .key("replicas")
                .key("import");
            let path = absolute(&unit.dir, Path::new(&import.import));
            let name = self.shown(&import.import, &at);
            let Some(bytes) = self.bytes(&import.import, &path, at) else {
                continue;
            };
            let (file, members, found) = front::members(&mut self.sources, &name, bytes);
            self.file(file, &path);
            self.diagnostics.extend(found);
            let members: Vec<Member> = members;
            unit.imports.insert(import.import.clone(), members);
        }
    }

    fn include(
        &mut self,
        dir: &Path,
        include: &Include,
        at: &TreePath,
        (prefix, way): (String, &[PathBuf]),
    ) -> Option<Use> {
        let (written, at, assignments) = match include {
            Include::File(file) => (file, at.clone(), Vec::new()),
            Include::With(with) => {
                let given = with.vars.iter().map(|(name, value)| Assignment {
                    name: name.to_owned(),
                    value: value.clone(),
                    from: Giver::Include(At::Value(at.key("vars").key(name))),
                });
                (&with.file, at.key("file"), given.collect())
            }
        };
        let path = absolute(dir, Path::new(written));
        if way.contains(&path) || way.len() > INCLUDES_DEEP_MAX {
            let message = format!("`{written}` includes itself");
            let fault = Diagnostic::error(codes::INCLUDE, message);
            self.diagnostics
                .push(fault.at_value(at, "here it begins again"));
            return None;
        }
        let named_at = at.clone();
        let bytes = self.bytes(written, &path, at)?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        Some(Use {
            prefix,
            way: way.iter().chain([&path]).cloned().collect(),
            entry: Entry {
                name: self.shown(written, &named_at),
                stem: stem.into_owned(),
                path,
                bytes,
                assignments,
            },
        })
    }

    /// A file's name in messages: seen from where the manifest's own name is seen.
    fn shown(&self, written: &str, at: &TreePath) -> String {
        let from = Path::new(&self.sources.file(at.file).name);
        let dir = from.parent().unwrap_or(Path::new(""));
        let path = dir.join(written.strip_prefix("./").unwrap_or(written));
        path.display().to_string()
    }

    /// A file that is named at a place of a manifest.
    fn bytes(&mut self, written: &str, path: &Path, at: TreePath) -> Option<Vec<u8>> {
        match (self.read)(path) {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                let message = format!("cannot read `{written}`: {error}");
                let fault = Diagnostic::error(codes::INCLUDE, message)
                    .at_value(at, "this file")
                    .help("paths are relative to the file they are written in");
                self.diagnostics.push(fault);
                None
            }
        }
    }
}
