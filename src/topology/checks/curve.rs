//! Nothing listens beyond loopback in the clear unless a person wrote so, and then every plan says
//! it.

use crate::diagnostics::{Diagnostic, codes};
use crate::model::key::PublicKey;
use crate::model::security::{KEYS_DIR, OPERATOR};
use crate::roles::Kind;
use crate::topology::{Instance, Leg, Topology};

pub(super) fn check(topology: &Topology, found: &mut Vec<Diagnostic>) {
    let mut last = None;
    for leg in &topology.legs {
        if last == Some(leg.link) || !(leg.is_beyond || leg.is_curve) {
            continue;
        }
        last = Some(leg.link);
        if leg.is_curve {
            encrypted(topology, leg, found);
        } else {
            found.push(in_the_clear(topology, leg));
        }
    }
    keys(topology, found);
    key_directory(topology, found);
}

/// A key directory that is written has a name.
fn key_directory(topology: &Topology, found: &mut Vec<Diagnostic>) {
    let root = &topology.units[0];
    let written = root.decl.security.as_ref();
    let written = written.and_then(|security| security.keys.as_deref());
    if written.is_some_and(|keys| keys.trim().is_empty()) {
        found.push(
            Diagnostic::error(codes::WRONG_VALUE, "`security.keys` names no directory")
                .at_value(root.top.key("security").key("keys"), "it is empty")
                .help(format!("leave it out for `{KEYS_DIR}` beside the manifest")),
        );
    }
}

/// Keys that are none, and the name that is taken.
fn keys(topology: &Topology, found: &mut Vec<Diagnostic>) {
    for node in &topology.nodes {
        let Some(key) = &node.decl.key else { continue };
        if let Err(error) = key.parse::<PublicKey>() {
            let message = format!("`{}` has a `key` that is none", node.name);
            found.push(
                Diagnostic::error(codes::WRONG_VALUE, message)
                    .at_value(node.at.key("key"), error.to_string())
                    .help("its public key as Z85, as it stands in its `.key` file"),
            );
        }
    }
    let encrypted = topology
        .instances
        .iter()
        .filter(|it| topology.needs_key(it));
    for instance in encrypted.filter(|it| it.name.as_str() == OPERATOR) {
        let message = format!("no instance may be called `{OPERATOR}` where links are encrypted");
        found.push(
            Diagnostic::error(codes::WRONG_VALUE, message)
                .at_key(
                    instance.at.clone(),
                    "the key of zmqnet's own commands is called so",
                )
                .help("give it another name"),
        );
    }
}

fn in_the_clear(topology: &Topology, leg: &Leg) -> Diagnostic {
    let link = &topology.links[leg.link];
    let message = format!("`{}` leaves the machine unencrypted", link.name);
    let warning = Diagnostic::warning(codes::IN_THE_CLEAR, message);
    let label = "anybody on the way reads and writes it";
    match far_member(topology, leg).filter(|_| topology.units[link.unit].is_bare) {
        Some(instance) => warning.at_key(instance.at.clone(), label),
        None => warning
            .at_key(link.at.clone(), label)
            .help("leave `curve: never` out to have it encrypted"),
    }
}

/// The first member of a `peers.json` that is not on loopback.
fn far_member<'a>(topology: &'a Topology, leg: &Leg) -> Option<&'a Instance> {
    leg.from.iter().find_map(|end| {
        let mut instances = topology.instances_of(end.node).iter();
        instances.find(|instance| topology.place_of(instance).machine != 0)
    })
}

/// A wire that must be encrypted and cannot be.
fn encrypted(topology: &Topology, leg: &Leg, found: &mut Vec<Diagnostic>) {
    let link = &topology.links[leg.link];
    if leg.is_beyond && topology.units[link.unit].is_bare {
        let message = "a bare `peers.json` listens beyond loopback and cannot be encrypted";
        let mut fault = Diagnostic::error(codes::OPEN_WITHOUT_CURVE, message)
            .help("say that you mean it: `--curve never`");
        if let Some(instance) = far_member(topology, leg) {
            let label = format!("`{}` is open to its network", instance.name);
            fault = fault.at_key(instance.at.clone(), label);
        }
        found.push(fault);
        return;
    }
    for end in leg.from.iter().chain(&leg.to) {
        let node = &topology.nodes[end.node];
        if node.kind == Kind::External && node.decl.key.is_none() {
            let message = format!(
                "`{}` has no key, so `{}` cannot be encrypted",
                node.name, link.name
            );
            found.push(
                Diagnostic::error(codes::OPEN_WITHOUT_CURVE, message)
                    .at_key(
                        node.at.clone(),
                        "somebody else starts it: we do not know its key",
                    )
                    .at_key(
                        link.at.clone(),
                        match leg.is_beyond {
                            true => "this link leaves its host",
                            false => "this link is encrypted",
                        },
                    )
                    .help("write its public key as `key`, or `curve: never` in the link"),
            );
        }
    }
}
