//! Only some kinds may stand on a side of a pattern.

use crate::diagnostics::{Diagnostic, codes};
use crate::model::socket::{Pattern, Side};
use crate::roles::ROLES;
use crate::topology::{End, Link, Topology};

pub(super) fn check(topology: &Topology, found: &mut Vec<Diagnostic>) {
    for link in &topology.links {
        side(topology, link, Side::From, found);
        if !link.decl.pattern.is_symmetric() {
            side(topology, link, Side::To, found);
        }
    }
}

fn side(topology: &Topology, link: &Link, side: Side, found: &mut Vec<Diagnostic>) {
    let (ends, key) = match (side, link.decl.pattern.is_symmetric()) {
        (_, true) => (&link.from, "among"),
        (Side::From, false) => (&link.from, "from"),
        (Side::To, false) => (&link.to, "to"),
    };
    let pattern = link.decl.pattern;
    for End { node, at, .. } in ends {
        let node = &topology.nodes[*node];
        if may_stand(node.role().stands, pattern, side) {
            continue;
        }
        let kind = node.kind.as_str();
        found.push(
            Diagnostic::error(
                codes::WRONG_SIDE,
                format!("a `{kind}` cannot stand in `{key}` of a `{pattern}` link"),
            )
            .mark(
                super::end_place(at),
                format!("`{}` is a `{kind}`", node.name),
            )
            .at_key(node.at.clone(), "it is written here")
            .help(format!(
                "there can stand: {}",
                allowed(pattern, side).join(", ")
            )),
        );
    }
}

fn may_stand(stands: &[(Pattern, &[Side])], pattern: Pattern, side: Side) -> bool {
    stands
        .iter()
        .any(|(own, sides)| *own == pattern && sides.contains(&side))
}

fn allowed(pattern: Pattern, side: Side) -> Vec<&'static str> {
    ROLES
        .iter()
        .filter(|role| may_stand(role.stands, pattern, side))
        .map(|role| role.name)
        .collect()
}
