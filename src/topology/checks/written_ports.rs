//! A port that is written for a link or a socket is one that its node listens on.

use crate::diagnostics::suggest::did_you_mean;
use crate::diagnostics::{Diagnostic, codes};
use crate::manifest::node::PortDecl;
use crate::topology::{Node, Topology};

pub(super) fn check(topology: &Topology, found: &mut Vec<Diagnostic>) {
    for (index, node) in topology.nodes.iter().enumerate() {
        let Some(PortDecl::Each(ports)) = &node.decl.port else {
            continue;
        };
        let prefix = &topology.units[node.unit].prefix;
        let own = |name: &str| {
            name.strip_prefix(prefix.as_str())
                .unwrap_or(name)
                .to_owned()
        };
        let listens: Vec<String> = node.listens.iter().map(|l| own(&l.port)).collect();
        let dials: Vec<String> = node
            .ends
            .iter()
            .map(|(leg, _)| own(&topology.socket_name(index, *leg)))
            .collect();
        for (name, _) in ports
            .iter()
            .filter(|(name, _)| !listens.contains(&(*name).to_owned()))
        {
            found.push(fault(
                node,
                name,
                &listens,
                dials.iter().any(|dialled| dialled == name),
            ));
        }
    }
}

fn fault(node: &Node, name: &str, listens: &[String], dials: bool) -> Diagnostic {
    let at = node.at.key("port").key(name);
    let message = format!("`{}` does not listen on `{name}`", node.name);
    let label = match dials {
        true => "it dials there, and needs no port",
        false => "no link or socket of it has this name",
    };
    let help = did_you_mean(name, listens.iter().map(String::as_str));
    let help = help.unwrap_or_else(|| match listens {
        [] => "it listens on nothing: leave `port` out".to_owned(),
        some => format!("it listens on `{}`", some.join("`, `")),
    });
    Diagnostic::error(codes::UNKNOWN_NAME, message)
        .at_key(at, label)
        .help(help)
}
