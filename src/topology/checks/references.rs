//! A name leads to something.

use crate::diagnostics::suggest::did_you_mean;
use crate::diagnostics::{Diagnostic, codes};
use crate::model::limits::source::FAULTS_MAX;
use crate::topology::{Dangling, Named, Topology};

pub(super) fn check(topology: &Topology, found: &mut Vec<Diagnostic>) {
    for (position, dangling) in topology.dangling.iter().enumerate() {
        let what = dangling.of.as_str();
        let diagnostic = Diagnostic::error(
            codes::UNKNOWN_NAME,
            format!("unknown {what} `{}`", dangling.name),
        )
        .mark(dangling.at.clone(), format!("no {what} has this name"));
        // Looking for near names takes time, and nobody reads this many.
        if position >= FAULTS_MAX {
            found.push(diagnostic);
            continue;
        }
        let candidates = candidates(topology, dangling);
        let near = did_you_mean(&dangling.name, candidates.iter().map(String::as_str));
        let help = near.unwrap_or_else(|| match candidates.as_slice() {
            [] => format!("write it under `{what}s`"),
            few if few.len() <= 8 => format!("the {what}s are `{}`", few.join("`, `")),
            many => format!("write it under `{what}s`; there are {} others", many.len()),
        });
        found.push(diagnostic.help(help));
    }
}

/// The names that would have been right, as they are written in that file.
fn candidates(topology: &Topology, dangling: &Dangling) -> Vec<String> {
    let prefix = &topology.units[dangling.unit].prefix;
    let names: Vec<&str> = match dangling.of {
        Named::Node => topology
            .nodes
            .iter()
            .map(|node| node.name.as_str())
            .collect(),
        Named::Host => topology
            .places
            .iter()
            .filter_map(|place| place.host.as_deref())
            .collect(),
    };
    names
        .into_iter()
        .filter_map(|name| name.strip_prefix(prefix.as_str()))
        .map(str::to_owned)
        .collect()
}
