//! Who is admitted to an encrypted socket, and whose key is expected at the other end: names only.
//!
//! The allow-list of a listener is exactly the other sides of its wires, no more and no less.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::paths::absolute;
use super::{Instance, Topology, sockets};
use crate::manifest::topology::CurveMode;
use crate::model::name::{InstanceName, NodeName};
use crate::model::policy::Secured;
use crate::model::security::{Admitted, Guarded, KEYS_DIR, OPERATOR};
use crate::model::socket::{Mode, Side};

impl Topology {
    /// The key directory: one for the whole network, as the manifest itself names it.
    pub fn keys_dir(&self) -> PathBuf {
        let root = &self.units[0];
        let written = root.decl.security.as_ref();
        let written = written.and_then(|security| security.keys.as_deref());
        absolute(&root.dir, Path::new(written.unwrap_or(KEYS_DIR)))
    }

    /// What is written about encryption for everything of a file.
    pub(super) fn curve_mode_of_unit(&self, unit: usize) -> CurveMode {
        let written = |unit: usize| self.units[unit].decl.security.as_ref()?.curve;
        self.curve_override
            .or(written(unit))
            .or(written(0))
            .unwrap_or(CurveMode::Auto)
    }

    /// How an instance is told by its key.
    pub fn admitted(&self, instance: &Instance) -> Admitted {
        let key = self.nodes[instance.node].decl.key.as_deref();
        Admitted {
            who: instance.name.clone(),
            key: key.and_then(|key| key.parse().ok()),
        }
    }

    /// Whether any socket of an instance is encrypted, so that it needs a key.
    pub fn needs_key(&self, instance: &Instance) -> bool {
        let node = &self.nodes[instance.node];
        node.listens.iter().any(|listen| listen.is_curve)
            || node.ends.iter().any(|(leg, _)| self.legs[*leg].is_curve)
    }
}

/// Who is admitted to one of an instance's listening sockets; nothing where it is not encrypted.
pub fn listener(topology: &Topology, instance: &Instance, position: usize) -> Option<Guarded> {
    let node = &topology.nodes[instance.node];
    let listen = &node.listens[position];
    if !listen.is_curve {
        return None;
    }
    let mut known = HashSet::new();
    let mut allow = Vec::new();
    for leg in &listen.legs {
        let side = topology.legs[*leg].binds;
        for peer in sockets::peers(topology, instance, *leg, side) {
            if known.insert(&peer.name) {
                allow.push(topology.admitted(peer));
            }
        }
    }
    let is_probed =
        sockets::probed_leg(topology, instance.node).is_some_and(|leg| listen.legs.contains(&leg));
    Some(Guarded {
        keys: topology.keys_dir(),
        name: instance.name.clone(),
        node: node.name.clone(),
        allow,
        admits_operator: is_probed || !node.is_program(),
    })
}

/// With which keys an instance is probed over an encrypted leg that it answers on.
pub fn probe(topology: &Topology, instance: &Instance, leg: usize) -> Option<Secured> {
    // Behind a gate a program speaks plain.
    let is_plain = topology.legs[leg].mode(Side::To) == Mode::Bind
        && sockets::is_behind_gate(topology, instance, leg);
    if !topology.legs[leg].is_curve || is_plain {
        return None;
    }
    let keys = topology.keys_dir();
    Some(match topology.legs[leg].mode(Side::To) {
        Mode::Bind => Secured::Dials {
            keys,
            own: InstanceName::new(OPERATOR),
            server: topology.admitted(instance),
        },
        Mode::Connect => Secured::Listens(Guarded {
            keys,
            name: InstanceName::new(OPERATOR),
            node: NodeName::new(OPERATOR),
            allow: vec![topology.admitted(instance)],
            admits_operator: false,
        }),
    })
}
