//! Paths as they are written in a manifest, seen from its directory.

use std::path::{Component, Path, PathBuf};

use super::expand::Scope;
use super::{Instance, Topology};

/// A path as seen from a directory, without `.` and `..`.
pub fn absolute(dir: &Path, path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in dir.join(path).components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                out.pop();
            }
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => out.push(part),
        }
    }
    out
}

/// What is looked up for a program: a name without `/` in `PATH`, everything else from the
/// manifest's directory.
pub fn program(dir: &Path, written: &str) -> PathBuf {
    if written.contains('/') {
        absolute(dir, Path::new(written))
    } else {
        PathBuf::from(written)
    }
}

impl Topology {
    /// Where an instance keeps what it keeps, where that is written. Each of several instances has a
    /// directory of its own in the one that is written.
    pub fn wanted_store(&self, instance: &Instance) -> Option<PathBuf> {
        let node = &self.nodes[instance.node];
        let written = &node.decl.store.as_ref()?.path;
        let text = Scope::new(self, instance).text(written).ok()?;
        let mut path = absolute(&self.units[node.unit].dir, Path::new(&text));
        if instance.name.as_str() != node.name.as_str() {
            path.push(instance.name.as_str());
        }
        Some(path)
    }

    /// What is looked up for an instance's program, and the program as it is written.
    pub fn wanted_program(&self, instance: &Instance) -> Option<(PathBuf, String)> {
        let node = &self.nodes[instance.node];
        let written = node.decl.command.as_ref()?.first()?;
        let written = if written.contains('$') {
            Scope::new(self, instance).text(written).ok()?
        } else {
            written.clone()
        };
        let path = program(&self.units[node.unit].dir, &written);
        Some((path, written))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_seen_from_the_manifest_and_names_from_path() {
        let dir = Path::new("/m/sub");
        assert_eq!(program(dir, "./a"), Path::new("/m/sub/a"));
        assert_eq!(program(dir, "../b/./c"), Path::new("/m/b/c"));
        assert_eq!(program(dir, "/usr/bin/x"), Path::new("/usr/bin/x"));
        assert_eq!(program(dir, "python3"), Path::new("python3"));
    }
}
