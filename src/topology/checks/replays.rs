//! What streams publish at buses is not recorded by them again, and `pace` is written where it means
//! something.

use std::collections::BTreeSet;

use crate::diagnostics::{Diagnostic, codes};
use crate::model::socket::Pattern;
use crate::roles::Kind;
use crate::topology::{Topology, legs};

pub(super) fn check(topology: &Topology, found: &mut Vec<Diagnostic>) {
    for (index, link) in topology.links.iter().enumerate() {
        let own = topology.legs.iter().filter(|leg| leg.link == index);
        let mut replays = own.filter(|leg| legs::is_replay(leg, &topology.nodes));
        let Some(replay) = replays.next() else {
            if link.decl.pace.is_some() {
                let message = format!("`pace` means nothing on the link `{}`", link.name);
                found.push(
                    Diagnostic::error(codes::NO_REPLAY, message)
                        .at_key(link.at.key("pace"), "nothing is replayed by it")
                        .help("it is for a link from a `stream` to a `bus`"),
                );
            }
            continue;
        };
        for from in &replay.from {
            let round = replay
                .to
                .iter()
                .any(|to| hears(topology, from.node, to.node));
            if round {
                let name = &topology.nodes[from.node].name;
                let message = format!("`{name}` would record again and again what it replays");
                found.push(
                    Diagnostic::error(codes::NO_REPLAY, message)
                        .mark(super::end_place(&from.at), "it publishes there what it has")
                        .at_key(
                            topology.nodes[from.node].at.clone(),
                            "and has what comes from there",
                        )
                        .help("replay at another bus, or record by another stream"),
                );
            }
        }
    }
}

/// Whether what a bus has comes to a stream, by other buses and streams too.
fn hears(topology: &Topology, stream: usize, bus: usize) -> bool {
    let (mut todo, mut seen) = (vec![bus], BTreeSet::new());
    while let Some(node) = todo.pop() {
        if node == stream {
            return true;
        }
        let is_on = matches!(topology.nodes[node].kind, Kind::Bus | Kind::Stream);
        if !is_on || !seen.insert(node) {
            continue;
        }
        let legs = topology.legs.iter();
        let from = legs.filter(|leg| {
            leg.pattern == Pattern::Pubsub && leg.from.iter().any(|end| end.node == node)
        });
        todo.extend(from.flat_map(|leg| leg.to.iter().map(|end| end.node)));
    }
    false
}
