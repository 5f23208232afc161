//! What a manifest may ask for that this version plans but cannot run yet.
//!
//! A table, so that building something is deleting its row. `apply` starts nothing while there is
//! any of it; `check` and `plan` accept it.

use std::net::IpAddr;

use super::{Origin, Unbuilt, buses};
use crate::manifest::node::{AfterCondition, NodeDecl};
use crate::manifest::policy::UpdateOrder;
use crate::model::policy::{LogTarget, Overflow};
use crate::model::socket::Pattern;
use crate::roles::Kind;
use crate::source::path::Path;
use crate::topology::{End, Link, Node, Topology};

/// One row: a key of a node, and whether it is asked for.
type NodeKey = (&'static str, fn(&NodeDecl) -> bool);

/// One row: a key of a link, and whether it is asked for.
type LinkKey = (&'static str, fn(&Topology, &Link) -> bool);

const NODE_KEYS: &[NodeKey] = &[
    ("image", |node| node.image.is_some()),
    ("logs.to", |node| {
        node.logs.as_ref().and_then(|logs| logs.to) == Some(LogTarget::Fifo)
    }),
    ("update.order", |node| {
        node.update.as_ref().and_then(|update| update.order) == Some(UpdateOrder::StartFirst)
    }),
    ("update.reload", |node| {
        node.update
            .as_ref()
            .is_some_and(|update| update.reload.is_some())
    }),
];

const LINK_KEYS: &[LinkKey] = &[
    ("via", |_, link| {
        let is_built = matches!(link.decl.pattern, Pattern::Pubsub | Pattern::Request);
        link.decl.via.is_some() && !is_built
    }),
    ("from", |topology, link| {
        let is = |end: &End, kind: Kind| topology.nodes[end.node].kind == kind;
        let is_to_bus = link
            .via
            .iter()
            .chain(&link.to)
            .any(|end| is(end, Kind::Bus));
        // Beside others it has no port of its own.
        let is_stream = |end: &End| is(end, Kind::Stream);
        let is_mixed = link.from.iter().any(is_stream) && !link.from.iter().all(is_stream);
        link.decl.pattern == Pattern::Pubsub && is_to_bus && is_mixed
    }),
    ("filters", |topology, link| {
        let is_spool = |end: &End| topology.nodes[end.node].kind == Kind::Spool;
        link.decl.filters.is_some() && !link.to.iter().all(is_spool)
    }),
    ("hwm", |topology, link| {
        link.decl.hwm.is_some() && !is_gated_pubsub(link) && !is_served(topology, link)
    }),
    ("overflow", |topology, link| {
        link.decl.overflow.is_some() && !is_gated_pubsub(link) && !is_served(topology, link)
    }),
    ("shape", |_, link| link.decl.shape.is_some()),
];

/// A gate has queues of its own where messages may be dropped; elsewhere it has the sockets' own.
fn is_gated_pubsub(link: &Link) -> bool {
    link.decl.gate == Some(true) && link.decl.pattern == Pattern::Pubsub
}

/// A bus has a queue for each subscriber, and no publisher of its ever waits.
fn is_served(topology: &Topology, link: &Link) -> bool {
    let is_bus = |end: &End| topology.nodes[end.node].kind == Kind::Bus;
    let is_from = || link.from.iter().all(is_bus);
    let by_bus = link.via.as_ref().map_or_else(is_from, is_bus);
    by_bus && link.decl.overflow != Some(Overflow::Block)
}

/// Where links that one bus serves say different things of its subscribers, which it cannot tell
/// apart.
fn of_bus(topology: &Topology, node: usize, add: &mut impl FnMut(String, &Path)) {
    if topology.nodes[node].kind != Kind::Bus {
        return;
    }
    let said = |link: &Link| (link.decl.overflow, link.decl.hwm);
    let mut links = buses::served(topology, node).filter(|link| said(link) != (None, None));
    let Some(first) = links.next() else {
        return;
    };
    for link in links.filter(|link| said(link) != said(first)) {
        let words = format!(
            "`overflow` or `hwm` of two links by one bus (`{}` says another)",
            first.name
        );
        add(words, &link.at);
    }
}

/// Everything that is asked for and not built.
pub fn of(topology: &Topology, origin: &dyn Fn(&Path) -> Origin) -> Vec<Unbuilt> {
    let mut found = Vec::new();
    let mut add = |what: String, at: &Path| {
        found.push(Unbuilt {
            what,
            origin: origin(at),
        });
    };
    for (index, node) in topology.nodes.iter().enumerate() {
        of_node(node, &mut add);
        of_bus(topology, index, &mut add);
    }
    for unit in &topology.units {
        for (name, host) in unit.decl.hosts.iter() {
            let bind = host.bind.as_ref().unwrap_or(&host.address);
            if bind.parse::<IpAddr>().is_err() && bind != "localhost" {
                let at = unit.top.key("hosts").key(name);
                add("listening on a name or an interface".to_owned(), &at);
            }
        }
    }
    for link in &topology.links {
        for (key, is_asked) in LINK_KEYS {
            if is_asked(topology, link) {
                add(format!("`{key}`"), &link.at.key(*key));
            }
        }
    }
    found
}

fn of_node(node: &Node, add: &mut impl FnMut(String, &Path)) {
    if !node.role().is_built {
        add(
            format!("kind `{}`", node.kind.as_str()),
            &node.at.key("kind"),
        );
    }
    for (key, is_asked) in NODE_KEYS {
        if is_asked(&node.decl) {
            let at = key
                .split('.')
                .fold(node.at.clone(), |at, step| at.key(step));
            add(format!("`{key}`"), &at);
        }
    }
    for after in &node.after {
        if after.condition == AfterCondition::Linked {
            add("`after: linked`".to_owned(), &after.at);
        }
    }
}
