//! Links that share a socket agree about it, and only sockets that can tell their peers apart are
//! shared.

use std::collections::HashMap;

use crate::diagnostics::suggest::did_you_mean;
use crate::diagnostics::{Diagnostic, codes};
use crate::model::socket::{Mode, Side, SocketType};
use crate::source::path::Path;
use crate::topology::{Node, Topology, sockets};

pub(super) fn check(topology: &Topology, found: &mut Vec<Diagnostic>) {
    for (index, node) in topology.nodes.iter().enumerate() {
        let mut used: HashMap<&str, Path> = HashMap::new();
        for (socket, links) in node.decl.sockets.iter() {
            let at = node.at.key("sockets").key(socket);
            let mut first: Option<(SocketType, Mode, Path)> = None;
            for (position, link) in links.iter().enumerate() {
                let at = at.index(position);
                if let Some(other) = used.insert(link, at.clone()) {
                    found.push(
                        Diagnostic::error(
                            codes::SHARED_SOCKET,
                            format!("`{link}` is given to two sockets of `{}`", node.name),
                        )
                        .at_value(at.clone(), "here again")
                        .at_value(other, "here first"),
                    );
                }
                let ends = ends(topology, node, link);
                if ends.is_empty() {
                    found.push(no_link(topology, node, link, at));
                    continue;
                }
                for (leg, side) in ends {
                    let ty = sockets::type_of(topology, leg, side, index);
                    let mode = topology.legs[leg].mode(side);
                    agree(&mut first, (ty, mode, at.clone()), links.len(), found);
                }
            }
        }
    }
}

/// The ends of a node on a link, as it is written in its file.
fn ends(topology: &Topology, node: &Node, link: &str) -> Vec<(usize, Side)> {
    let full = format!("{}{link}", topology.units[node.unit].prefix);
    let link = topology.link_named(&full);
    let of_link = |(leg, _): &&(usize, Side)| Some(topology.legs[*leg].link) == link;
    node.ends.iter().filter(of_link).copied().collect()
}

fn no_link(topology: &Topology, node: &Node, link: &str, at: Path) -> Diagnostic {
    let prefix = &topology.units[node.unit].prefix;
    let own = node.ends.iter().map(|(leg, _)| {
        let name = topology.links[topology.legs[*leg].link].name.as_str();
        name.strip_prefix(prefix.as_str()).unwrap_or(name)
    });
    let message = format!("`{}` stands on no link `{link}`", node.name);
    let fault = Diagnostic::error(codes::UNKNOWN_NAME, message).at_value(at, "this link");
    match did_you_mean(link, own) {
        Some(help) => fault.help(help),
        None => fault.help(format!(
            "name `{}` in a link `{link}`, or leave it out",
            node.name
        )),
    }
}

fn agree(
    first: &mut Option<(SocketType, Mode, Path)>,
    (ty, mode, at): (SocketType, Mode, Path),
    count: usize,
    found: &mut Vec<Diagnostic>,
) {
    let is_exclusive = matches!(ty, SocketType::Push | SocketType::Req | SocketType::Dealer);
    if is_exclusive && count > 1 {
        // Once for all the links of a socket.
        if first.is_some() {
            return;
        }
        *first = Some((ty, mode, at.clone()));
        found.push(
            Diagnostic::error(
                codes::SHARED_SOCKET,
                format!("a `{ty}` socket is never shared"),
            )
            .at_value(
                at,
                "it would send this link's messages to the others' peers",
            )
            .help("give each link a socket of its own"),
        );
        return;
    }
    let Some((first_ty, first_mode, first_at)) = first else {
        *first = Some((ty, mode, at));
        return;
    };
    if (*first_ty, *first_mode) != (ty, mode) {
        found.push(
            Diagnostic::error(
                codes::SHARED_SOCKET,
                "links that share a socket need the same type and mode",
            )
            .at_value(at, format!("`{ty}` that {}s", mode.as_str()))
            .at_value(
                first_at.clone(),
                format!("`{first_ty}` that {}s", first_mode.as_str()),
            ),
        );
    }
}
