//! `zmqnet graph`: the network as a drawing, in the languages of Mermaid and Graphviz.

use std::fmt::Write;

use clap::ValueEnum;

use super::Global;
use super::exit::{Exit, Outcome};
use super::load::{self, ManifestArgs};
use super::ui;
use crate::topology::{Leg, Node, Topology};

/// Draw nodes and links as Mermaid or Graphviz text.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    manifest: ManifestArgs,
    /// The language.
    #[arg(short = 'o', long, value_name = "LANGUAGE", default_value = "mermaid")]
    format: Language,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Language {
    /// For Markdown.
    Mermaid,
    /// For Graphviz.
    Dot,
}

impl Args {
    /// Compiles and draws.
    pub fn run(self, global: &Global) -> Outcome {
        let topology = load::topology(global, &self.manifest)?;
        let text = match self.format {
            Language::Mermaid => mermaid(&topology),
            Language::Dot => dot(&topology),
        };
        ui::raw(text.as_bytes());
        Ok(Exit::Done)
    }
}

/// `worker x3`, and its kind where it is one of ours.
fn label(node: &Node) -> String {
    let mut label = node.name.to_string();
    if !node.is_single() {
        label.push_str(&format!(" x{}", node.instances.len()));
    }
    label
}

/// One edge a pair of nodes: from, to, and what is written at it.
fn edges(topology: &Topology) -> Vec<(usize, usize, String)> {
    let mut edges = Vec::new();
    for leg in &topology.legs {
        let link = &topology.links[leg.link];
        let gated = if link.decl.gate == Some(true) {
            ", gate"
        } else {
            ""
        };
        let label = format!("{} ({}{gated})", link.name, leg.pattern);
        if leg.pattern.is_symmetric() && is_among(leg) {
            // A mesh of one node is a loop; of several, each pair once.
            for (position, from) in leg.from.iter().enumerate() {
                let to = leg.to.iter().skip(position + usize::from(leg.to.len() > 1));
                edges.extend(to.map(|to| (from.node, to.node, label.clone())));
            }
            continue;
        }
        for from in &leg.from {
            for to in &leg.to {
                edges.push((from.node, to.node, label.clone()));
            }
        }
    }
    edges
}

fn is_among(leg: &Leg) -> bool {
    leg.from.len() == leg.to.len() && leg.from.iter().zip(&leg.to).all(|(a, b)| a.node == b.node)
}

fn mermaid(topology: &Topology) -> String {
    let mut text = String::from("flowchart LR\n");
    for (index, node) in topology.nodes.iter().enumerate() {
        let label = label(node);
        let kind = node.kind.as_str();
        let shape = if node.is_program() {
            format!("n{index}[\"{label}\"]")
        } else {
            format!("n{index}([\"{label}<br/>{kind}\"])")
        };
        writeln!(text, "    {shape}").expect("a text takes everything");
    }
    for (from, to, label) in edges(topology) {
        writeln!(text, "    n{from} -->|\"{label}\"| n{to}").expect("a text takes everything");
    }
    text
}

fn dot(topology: &Topology) -> String {
    let mut text = format!("digraph \"{}\" {{\n    rankdir=LR;\n", topology.name);
    for node in &topology.nodes {
        let shape = if node.is_program() { "box" } else { "ellipse" };
        let label = label(node);
        let (name, kind) = (&node.name, node.kind.as_str());
        let line = format!("    \"{name}\" [shape={shape}, label=\"{label}\\n{kind}\"];");
        writeln!(text, "{line}").expect("a text takes everything");
    }
    for (from, to, label) in edges(topology) {
        let (from, to) = (&topology.nodes[from].name, &topology.nodes[to].name);
        let line = format!("    \"{from}\" -> \"{to}\" [label=\"{label}\"];");
        writeln!(text, "{line}").expect("a text takes everything");
    }
    text.push_str("}\n");
    text
}
