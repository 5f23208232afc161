//! Manifests changed at random: the pipeline ends with a plan or with faults, never with a panic.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::{Entry, Inputs, Machine, plan};
use crate::diagnostics::has_errors;
use crate::diagnostics::render::{Look, human, rows};
use crate::diagnostics::sources::Sources;
use crate::model::layout::Layout;
use crate::model::name::TopologyName;
use crate::schema::mutation_tests::{changed, changes};
use crate::topology::facts::{Facts, Pins};

const PEERS: &str = include_str!("../../tests/whole/peers.json");

fn read(path: &Path) -> io::Result<Vec<u8>> {
    if path.ends_with("peers.json") {
        return Ok(PEERS.into());
    }
    Err(io::ErrorKind::NotFound.into())
}

fn facts(_: &TopologyName) -> Option<Facts> {
    Some(Facts {
        layout: Layout {
            state: "/s".into(),
            runtime: "/r".into(),
        },
        addresses: BTreeSet::new(),
        holders: Vec::new(),
        pins: Pins::default(),
        foreign_pins: BTreeMap::new(),
        counts: BTreeMap::new(),
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_manifest_gives_a_plan_or_faults_with_places(changes in changes()) {
        let compiled = plan(Inputs {
            entry: Entry {
                name: "topology.yaml".into(),
                stem: "topology".into(),
                path: PathBuf::from("/m/topology.yaml"),
                bytes: changed(&changes).into_bytes(),
                assignments: Vec::new(),
            },
            sources: Sources::new(),
            read: &read,
            env: &BTreeMap::new(),
            host: None,
            curve: None,
            machine: Some(Machine {
                facts: &facts,
                holders: &|_| Vec::new(),
                find_program: &|program| Some(Path::new("/bin").join(program)),
                kind_of: &|_| None,
            }),
        });
        let is_wrong = has_errors(&compiled.diagnostics);
        prop_assert_eq!(compiled.plan.is_none(), is_wrong, "{}", changed(&changes));
        for diagnostic in &compiled.diagnostics {
            prop_assert!(!diagnostic.marks.is_empty(), "{:?}", diagnostic);
        }
        human(&compiled.diagnostics, &compiled.sources, Look::PLAIN);
        rows(&compiled.diagnostics, &compiled.sources);
    }
}
