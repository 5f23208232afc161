//! Turns links into legs: who stands on which side, with a broker two legs instead of one, who
//! binds, which socket types meet.
//!
//! What is written decides who binds, never a count, so that scaling never flips it.

use std::collections::HashSet;

use super::{Dangling, End, Leg, Link, Named, Node, Topology, Unit};
use crate::diagnostics::At;
use crate::manifest::link::{LinkDecl, OneOrMany, ToDecl, Transport};
use crate::manifest::topology::CurveMode;
use crate::model::socket::{Pattern, Side, SocketType};
use crate::roles::Kind;
use crate::source::path::Path;

/// Resolves the names of one unit's links.
pub(super) struct Names<'a> {
    pub(super) find: &'a dyn Fn(&str) -> Option<usize>,
    pub(super) absent: &'a HashSet<String>,
    pub(super) unit_index: usize,
    pub(super) unit: &'a Unit,
    pub(super) dangling: &'a mut Vec<Dangling>,
}

impl Names<'_> {
    /// The node a name means here: the unit's own, else one by its full name.
    pub(super) fn node(&mut self, name: &str, at: At) -> Option<usize> {
        let full = format!("{}{name}", self.unit.prefix);
        if let Some(node) = (self.find)(&full) {
            return Some(node);
        }
        if !self.absent.contains(&full) {
            self.dangling.push(Dangling {
                name: name.to_owned(),
                of: Named::Node,
                at,
                unit: self.unit_index,
            });
        }
        None
    }

    fn end(&mut self, name: &str, at: Path, mark: At, topics: &[String]) -> Option<End> {
        let node = self.node(name, mark)?;
        Some(End {
            node,
            at,
            topics: topics.to_vec(),
        })
    }

    /// The nodes of `from` or `among`.
    pub(super) fn ends(&mut self, names: &OneOrMany, at: &Path, topics: &[String]) -> Vec<End> {
        match names {
            OneOrMany::One(name) => self
                .end(name, at.clone(), At::Value(at.clone()), topics)
                .into_iter()
                .collect(),
            OneOrMany::Many(names) => names
                .iter()
                .enumerate()
                .filter_map(|(index, name)| {
                    let at = at.index(index);
                    self.end(name, at.clone(), At::Value(at), topics)
                })
                .collect(),
        }
    }

    /// The nodes of `to`, each with the topics it asks for.
    pub(super) fn to(&mut self, to: &ToDecl, at: &Path, topics: &[String]) -> Vec<End> {
        match to {
            ToDecl::One(name) => self.ends(&OneOrMany::One(name.clone()), at, topics),
            ToDecl::Many(names) => self.ends(&OneOrMany::Many(names.clone()), at, topics),
            ToDecl::Topics(map) => map
                .iter()
                .filter_map(|(name, topics)| {
                    let at = at.key(name);
                    self.end(name, at.clone(), At::Key(at), topics)
                })
                .collect(),
        }
    }
}

/// The legs of a link.
pub(super) fn of(link: &Link, index: usize, nodes: &[Node]) -> Vec<Leg> {
    let leg = |from: Vec<End>, to: Vec<End>| leg(link, index, from, to, nodes);
    let (from, to) = (link.from.clone(), link.to.clone());
    match &link.via {
        None => vec![leg(from, to)],
        // The members of a gossip link talk directly, and each to the lighthouse too.
        Some(via) if link.decl.pattern == Pattern::Gossip => {
            let register = Leg {
                binds: Side::To,
                from_type: SocketType::Dealer,
                to_type: SocketType::Router,
                ..leg(from.clone(), vec![via.clone()])
            };
            vec![leg(from, to), register]
        }
        Some(via) => vec![leg(from, vec![via.clone()]), leg(vec![via.clone()], to)],
    }
}

fn leg(link: &Link, index: usize, from: Vec<End>, to: Vec<End>, nodes: &[Node]) -> Leg {
    let pattern = link.decl.pattern;
    let types = link.decl.types.clone().unwrap_or_default();
    let from_default = pattern.types(Side::From)[0];
    let to_default = pattern.types(Side::To)[0];
    Leg {
        link: index,
        pattern,
        binds: binds(&link.decl, &from, &to, nodes),
        from_type: types.from.unwrap_or(from_default),
        to_type: types.to.unwrap_or(to_default),
        from,
        to,
        is_ipc: false,
        is_beyond: false,
        is_curve: false,
    }
}

/// Which side listens.
fn binds(link: &LinkDecl, from: &[End], to: &[End], nodes: &[Node]) -> Side {
    if let Some(side) = forced(link.pattern, from, to, nodes) {
        return side;
    }
    if let Some(side) = link.listen {
        return side;
    }
    let is_one = |ends: &[End]| ends.len() == 1 && nodes[ends[0].node].is_single();
    match link.pattern {
        Pattern::Request | Pattern::Mesh => Side::To,
        Pattern::Gossip => Side::From,
        Pattern::Pubsub => match (is_one(from), is_one(to)) {
            (false, true) => Side::To,
            (true, true | false) | (false, false) => Side::From,
        },
        Pattern::Pipeline => match (is_one(from), is_one(to)) {
            (true, false) => Side::From,
            (false, true | false) | (true, true) => Side::To,
        },
    }
}

/// The side that always listens because of what stands there: brokers, stores, peers; and the
/// side across from a stream or spool that subscribes, since those dial.
pub(super) fn forced(pattern: Pattern, from: &[End], to: &[End], nodes: &[Node]) -> Option<Side> {
    let is_bus: fn(&Node) -> bool = |node| node.kind == Kind::Bus;
    let has = |ends: &[End], wanted: fn(&Node) -> bool| ends.iter().any(|e| wanted(&nodes[e.node]));
    match pattern {
        Pattern::Mesh => Some(Side::To),
        Pattern::Gossip => Some(Side::From),
        Pattern::Request if has(from, |node| node.kind == Kind::Queue) => Some(Side::From),
        Pattern::Request => has(to, |node| !node.is_program()).then_some(Side::To),
        // Of two buses the one that gets the messages dials: it says which topics it wants.
        Pattern::Pubsub if has(to, is_bus) && !from.iter().all(|e| is_bus(&nodes[e.node])) => {
            Some(Side::To)
        }
        Pattern::Pubsub => {
            (has(from, |n| !n.is_program()) || has(to, |n| !n.is_program())).then_some(Side::From)
        }
        Pattern::Pipeline => None,
    }
}

/// Whether a link's wires are encrypted.
pub(super) fn is_curve(mode: CurveMode, is_beyond: bool) -> bool {
    match mode {
        CurveMode::Auto => is_beyond,
        CurveMode::Always => true,
        CurveMode::Never => false,
    }
}

/// Whether a leg goes through unix sockets: all on one machine, and all ours or asked for.
pub(super) fn is_ipc(transport: Option<Transport>, is_beyond: bool, is_all_ours: bool) -> bool {
    match transport.unwrap_or(Transport::Auto) {
        Transport::Auto => !is_beyond && is_all_ours,
        Transport::Tcp => false,
        Transport::Ipc => !is_beyond,
    }
}

/// Whether what streams keep is published at buses by a leg.
pub fn is_replay(leg: &Leg, nodes: &[Node]) -> bool {
    let all = |ends: &[End], kind: Kind| ends.iter().all(|end| nodes[end.node].kind == kind);
    leg.pattern == Pattern::Pubsub && all(&leg.from, Kind::Stream) && all(&leg.to, Kind::Bus)
}

/// The type of a node's socket on a side of a leg.
pub(super) fn socket_type(leg: &Leg, side: Side, node: &Node) -> SocketType {
    let written = match side {
        Side::From => leg.from_type,
        Side::To => leg.to_type,
    };
    if node.is_program() {
        return written;
    }
    match (leg.pattern, side) {
        (Pattern::Request, Side::To) if node.kind == Kind::Replica => SocketType::Rep,
        (Pattern::Request, Side::To) => SocketType::Router,
        (Pattern::Request, Side::From) => SocketType::Dealer,
        (Pattern::Pubsub, Side::From) if node.kind == Kind::Peer => SocketType::Pub,
        (Pattern::Pubsub, Side::From) => SocketType::Xpub,
        (Pattern::Pubsub, Side::To) if node.kind == Kind::Bus => SocketType::Xsub,
        (Pattern::Pubsub, Side::To) => SocketType::Sub,
        (Pattern::Pipeline | Pattern::Mesh | Pattern::Gossip, Side::From | Side::To) => written,
    }
}

/// The port of a built-in role that a leg ends at. Plain programs do not say what they mean, so each
/// further link by a queue has ports of its own there, which carry its name.
pub(super) fn port_of(topology: &Topology, leg: &Leg, node: usize) -> String {
    let kind = topology.nodes[node].kind;
    if kind == Kind::Bus && is_replay(leg, &topology.nodes) {
        return "acked".to_owned();
    }
    let port = role_port(kind, leg.pattern, leg.binds);
    if kind != Kind::Queue {
        return port.to_owned();
    }
    let link = &topology.links[leg.link];
    let is_via = |link: &&Link| link.via.as_ref().is_some_and(|via| via.node == node);
    let first = topology.links.iter().find(is_via);
    let is_further = first.is_some_and(|first| first.name != link.name) && is_via(&link);
    match is_further {
        true => format!("{}.{port}", link.name),
        false => port.to_owned(),
    }
}

/// The port of a built-in role for a pattern and a side.
fn role_port(kind: Kind, pattern: Pattern, side: Side) -> &'static str {
    match (kind, pattern, side) {
        (Kind::Bus, _, Side::To) => "in",
        (Kind::Bus, _, Side::From) => "out",
        (Kind::Queue, _, Side::To) => "front",
        (Kind::Queue, _, Side::From) => "back",
        (Kind::Kv, Pattern::Pubsub, Side::From) => "updates",
        (Kind::Stream, Pattern::Pubsub, Side::From) => "tail",
        _ => "main",
    }
}

/// The type of a built-in role's port, whether a leg ends there or not.
pub(super) fn port_type(kind: Kind, port: &str) -> SocketType {
    match (kind, port) {
        (Kind::Bus, "in") => SocketType::Xsub,
        (Kind::Bus, "out") => SocketType::Xpub,
        (Kind::Queue, "back") => SocketType::Dealer,
        (Kind::Kv, "collector") => SocketType::Sub,
        (Kind::Lighthouse, "table") | (Kind::Kv, "updates") | (Kind::Stream, "tail") => {
            SocketType::Xpub
        }
        _ => SocketType::Router,
    }
}
