//! The socket types of a link may talk to each other, and are those of its pattern.

use crate::diagnostics::{Diagnostic, codes};
use crate::model::socket::{Side, SocketType};
use crate::topology::Topology;

pub(super) fn check(topology: &Topology, found: &mut Vec<Diagnostic>) {
    for link in &topology.links {
        let Some(types) = &link.decl.types else {
            continue;
        };
        let pattern = link.decl.pattern;
        let of = |side: Side, written: Option<SocketType>| {
            written.unwrap_or_else(|| pattern.types(side)[0])
        };
        let (from, to) = (of(Side::From, types.from), of(Side::To, types.to));
        for (side, key, own, other) in [
            (Side::From, "from", types.from, to),
            (Side::To, "to", types.to, from),
        ] {
            let Some(own) = own else { continue };
            if pattern.types(side).contains(&own) {
                continue;
            }
            let allowed = names(pattern.types(side));
            let message = if own.may_talk_to(other) {
                format!("a `{pattern}` link has no `{own}` in `{key}`")
            } else {
                format!("a `{own}` socket cannot talk to a `{other}` socket")
            };
            found.push(
                Diagnostic::error(codes::PAIRING, message)
                    .at_value(link.at.key("types").key(key), "this type")
                    .at_value(
                        link.at.key("pattern"),
                        format!("`{pattern}` is written here"),
                    )
                    .help(format!("`{key}` of a `{pattern}` link is {allowed}")),
            );
        }
    }
}

fn names(types: &[SocketType]) -> String {
    let names: Vec<String> = types.iter().map(|ty| format!("`{ty}`")).collect();
    names.join(" or ")
}
