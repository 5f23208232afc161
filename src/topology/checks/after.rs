//! `after` never goes round in a circle, and nobody waits for what cannot happen.

use crate::diagnostics::{Diagnostic, codes};
use crate::manifest::node::{AfterCondition, RunDecl};
use crate::topology::{After, Topology};

pub(super) fn check(topology: &Topology, found: &mut Vec<Diagnostic>) {
    circles(topology, found);
    for node in &topology.nodes {
        for after in &node.after {
            let other = &topology.nodes[after.node];
            let is_once = other.decl.run == Some(RunDecl::Once);
            if after.condition == AfterCondition::Done && !is_once {
                let message = format!("`{}` waits for the end of `{}`", node.name, other.name);
                found.push(
                    Diagnostic::error(codes::NEVER_DONE, message)
                        .at_value(after.at.clone(), "which never ends")
                        .at_key(other.at.clone(), "it is kept running")
                        .help("write `run: once` there, or `ready` here"),
                );
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    New,
    Open,
    Closed,
}

/// Walks down every `after` once, without recursion: a chain may be ten thousand long.
fn circles(topology: &Topology, found: &mut Vec<Diagnostic>) {
    let mut marks = vec![Mark::New; topology.nodes.len()];
    for start in 0..topology.nodes.len() {
        let mut way: Vec<(usize, usize)> = Vec::new();
        if marks[start] == Mark::New {
            marks[start] = Mark::Open;
            way.push((start, 0));
        }
        while let Some((node, next)) = way.last_mut() {
            let (node, position) = (*node, *next);
            *next += 1;
            let Some(after) = topology.nodes[node].after.get(position) else {
                marks[node] = Mark::Closed;
                way.pop();
                continue;
            };
            match marks[after.node] {
                Mark::Closed => {}
                Mark::New => {
                    marks[after.node] = Mark::Open;
                    way.push((after.node, 0));
                }
                Mark::Open => {
                    let begin = way.iter().position(|(node, _)| *node == after.node);
                    let circle = way[begin.unwrap_or(0)..].iter();
                    let circle: Vec<(usize, &After)> = circle
                        .map(|(node, next)| (*node, &topology.nodes[*node].after[next - 1]))
                        .collect();
                    found.push(fault(topology, circle));
                }
            }
        }
    }
}

/// The circle, told from the node that is written first.
fn fault(topology: &Topology, mut circle: Vec<(usize, &After)>) -> Diagnostic {
    let first = circle.iter().enumerate().min_by_key(|(_, (node, _))| *node);
    let first = first.map_or(0, |(position, _)| position);
    circle.rotate_left(first);
    let name = |node: usize| topology.nodes[node].name.as_str();
    let mut names: Vec<&str> = circle.iter().map(|(node, _)| name(*node)).collect();
    names.push(names[0]);
    let mut fault = Diagnostic::error(
        codes::AFTER_CIRCLE,
        format!("`after` goes round in a circle: {}", names.join(" > ")),
    );
    for (node, after) in circle.iter().take(5) {
        let label = format!("`{}` waits for `{}`", name(*node), name(after.node));
        fault = fault.mark(super::after_place(&after.at), label);
    }
    fault.help("take one of them out")
}
