//! Topologies for unit tests, from a manifest's text without the stages before.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::facts::Facts;
use super::ports::number;
use super::resolve::{Given, resolve};
use super::{Topology, Unit};
use crate::model::name::TopologyName;
use crate::source::path::{FileId, Path};

/// A manifest, as one unit in `/m`.
pub(crate) fn unit(text: &str) -> Unit {
    Unit {
        prefix: String::new(),
        top: Path::top(FileId(0)),
        dir: PathBuf::from("/m"),
        decl: serde_yaml::from_str(text).unwrap(),
        vars: BTreeMap::new(),
        imports: BTreeMap::new(),
        is_bare: false,
    }
}

/// The topology of a manifest, known to nothing of any machine.
pub(crate) fn topology(text: &str) -> Topology {
    topology_of(vec![unit(text)], None)
}

/// The topology of several units on a machine.
pub(crate) fn topology_of(units: Vec<Unit>, facts: Option<&Facts>) -> Topology {
    let mut topology = resolve(Given {
        name: TopologyName::new("demo"),
        manifest: PathBuf::from("/m/demo.yaml"),
        units,
        host: None,
        curve: None,
        facts,
    });
    number(&mut topology, facts);
    topology
}
