//! No request goes round in a circle of proxies and caches, which nobody would ever answer: each hands on
//! what the one before it asks, and asks again when that is silent.

use std::collections::{BTreeMap, HashMap};

use crate::diagnostics::{Diagnostic, codes};
use crate::roles::Kind;
use crate::topology::{End, Topology};

/// Circles that are told node by node are short; of a longer one the first are.
const MARKED_MAX: usize = 5;

/// Whom each proxy and cache hands its requests on to, as far as those do too.
type Asks = BTreeMap<usize, Vec<usize>>;

pub(super) fn check(topology: &Topology, found: &mut Vec<Diagnostic>) {
    let asks = asks(topology);
    let Some(circle) = circle(&asks) else {
        return;
    };
    let name = |node: usize| topology.nodes[node].name.as_str();
    let mut names: Vec<&str> = circle.iter().map(|node| name(*node)).collect();
    names.push(names[0]);
    let way = names.join(" > ");
    let mut fault = Diagnostic::error(
        codes::GOES_ROUND,
        format!("requests would go round in a circle: {way}"),
    );
    for (node, next) in circle.iter().zip(&names[1..]).take(MARKED_MAX) {
        let label = format!("it hands requests on to `{next}`");
        fault = fault.at_key(topology.nodes[*node].at.clone(), label);
    }
    found.push(fault.help("have one of them ask who answers"));
}

fn asks(topology: &Topology) -> Asks {
    let hands_on = |node: usize| matches!(topology.nodes[node].kind, Kind::Proxy | Kind::Cache);
    let nodes = (0..topology.nodes.len()).filter(|node| hands_on(*node));
    let all = nodes.map(|node| {
        let link = topology
            .backend_of(node)
            .map(|leg| &topology.links[topology.legs[leg].link]);
        let ends = link.into_iter().flat_map(|link| &link.to);
        let asked = ends.flat_map(|end| behind(topology, end));
        (node, asked.filter(|asked| hands_on(*asked)).collect())
    });
    all.collect()
}

/// Who answers at an end: itself, or the workers of a queue, those of its own ports.
fn behind(topology: &Topology, end: &End) -> Vec<usize> {
    if topology.nodes[end.node].kind != Kind::Queue {
        return vec![end.node];
    }
    let mut links = topology.links.iter();
    let carried = links.find(|link| link.via.as_ref().is_some_and(|via| via.node == end.node));
    let workers = carried.into_iter().flat_map(|link| &link.to);
    workers.map(|end| end.node).collect()
}

/// A circle, if there is one, from the node that is written first. Whoever only asks those that are in none
/// is taken out, one by one; all that are left lead into one.
fn circle(asks: &Asks) -> Option<Vec<usize>> {
    let mut askers: HashMap<usize, Vec<usize>> = HashMap::new();
    for (asker, asked) in asks {
        for asked in asked {
            askers.entry(*asked).or_default().push(*asker);
        }
    }
    let mut left: BTreeMap<usize, usize> = asks
        .iter()
        .map(|(node, asked)| (*node, asked.len()))
        .collect();
    let mut out: Vec<usize> = left
        .iter()
        .filter(|(_, asked)| **asked == 0)
        .map(|(node, _)| *node)
        .collect();
    while let Some(node) = out.pop() {
        left.remove(&node);
        for asker in askers.get(&node).into_iter().flatten() {
            let asked = left.get_mut(asker)?;
            *asked -= 1;
            if *asked == 0 {
                out.push(*asker);
            }
        }
    }
    let mut node = *left.keys().next()?;
    let mut way: Vec<usize> = Vec::new();
    let mut places: HashMap<usize, usize> = HashMap::new();
    while !places.contains_key(&node) {
        places.insert(node, way.len());
        way.push(node);
        let mut asked = asks[&node].iter();
        node = *asked.find(|asked| left.contains_key(asked))?;
    }
    let mut circle = way.split_off(places[&node]);
    let first = circle.iter().enumerate().min_by_key(|(_, node)| **node);
    let first = first.map_or(0, |(place, _)| place);
    circle.rotate_left(first);
    Some(circle)
}
