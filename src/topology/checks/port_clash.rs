//! Two sockets of one machine never listen on the same port.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use crate::diagnostics::{Diagnostic, codes};
use crate::source::path::Path;
use crate::topology::{Instance, Topology, Why, ports};

struct Claim<'a> {
    instance: &'a Instance,
    bind: &'a str,
    at: &'a Path,
}

pub(super) fn check(topology: &Topology, found: &mut Vec<Diagnostic>) {
    let mut claims: HashMap<(usize, u16), Vec<Claim<'_>>> = HashMap::new();
    let mut said: HashSet<(&Path, &Path)> = HashSet::new();
    for instance in &topology.instances {
        let place = topology.place_of(instance);
        let listens = &topology.nodes[instance.node].listens;
        for (listen, number) in listens.iter().zip(&instance.numbers) {
            let Why::Written(at) = &number.why else {
                continue;
            };
            let claim = Claim {
                instance,
                bind: ports::bind_address(place, listen),
                at,
            };
            let others = claims.entry((place.machine, number.port)).or_default();
            let other = others.iter().find(|other| meet(other.bind, claim.bind));
            if let Some(other) = other
                && said.insert((at, other.at))
            {
                found.push(fault(number.port, &claim, other));
            }
            others.push(claim);
        }
    }
}

fn fault(port: u16, claim: &Claim<'_>, other: &Claim<'_>) -> Diagnostic {
    let (own, first) = (&claim.instance.name, &other.instance.name);
    Diagnostic::error(
        codes::PORT_CLASH,
        format!("port {port} is given to `{first}` and to `{own}`"),
    )
    .at_value(claim.at.clone(), format!("`{own}` would listen on {port}"))
    .at_value(
        other.at.clone(),
        format!("`{first}` listens on {port} already"),
    )
    .help("instances take consecutive ports from the one written: move one of them")
}

/// Whether two sockets on one port are in each other's way.
fn meet(a: &str, b: &str) -> bool {
    let is_any = |text: &str| text.parse().is_ok_and(|ip: IpAddr| ip.is_unspecified());
    a == b || is_any(a) || is_any(b)
}
