//! `zmqnet check`: everything that can be said of manifests by reading files.

use std::path::{Path, PathBuf};

use super::Global;
use super::environment::Environment;
use super::exit::{Exit, Failure, Outcome};
use super::load::{self, Ask, SettingArgs};
use super::ui::{self, Format, FormatArgs};
use super::{keys, look, manifest_file};
use crate::diagnostics::render::{Report, Row, human, rows, summary};
use crate::diagnostics::sources::Sources;
use crate::diagnostics::{Diagnostic, has_errors};
use crate::topology::Topology;

/// Check manifests, and show every fault at its place.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The manifests; `-` is standard input. Default: the manifest of this directory.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    settings: SettingArgs,
    #[command(flatten)]
    format: FormatArgs,
}

/// What was found in one file.
struct Checked {
    sources: Sources,
    found: Vec<Diagnostic>,
    /// What is wrong with the keys that are there already.
    keys: Option<String>,
    /// What each store promises.
    stores: Vec<String>,
    /// How many nodes and links it has, if it can be planned.
    counts: Option<(usize, usize)>,
}

impl Args {
    /// Checks each file; the exit code is that of the worst.
    pub fn run(self, global: &Global) -> Outcome {
        let environment = Environment::load();
        let mut files = self.files.clone();
        if files.is_empty() {
            files.push(manifest_file::find(None, global, &environment)?);
        }
        let mut exit = Exit::Done;
        let mut report: Vec<Row> = Vec::new();
        for file in &files {
            match self.check(file, &environment) {
                Ok(checked) => {
                    if has_errors(&checked.found) && exit == Exit::Done {
                        exit = Exit::Manifest;
                    }
                    report.extend(self.print(file, &checked));
                }
                Err(failure) if failure.exit == Exit::File => {
                    ui::failure(&failure);
                    exit = Exit::File;
                }
                Err(failure) => return Err(failure),
            }
        }
        if self.format.format != Format::Table {
            ui::document(self.format.format, &Report::new(report));
        }
        Ok(exit)
    }

    fn check(&self, file: &Path, environment: &Environment) -> Result<Checked, Failure> {
        let compiled = load::compile(file, &self.settings, environment, Ask::Files)?;
        let keys = compiled.topology.as_ref().and_then(keys::missing::fault);
        let stores = compiled.topology.as_ref().map(promises).unwrap_or_default();
        let counts = compiled.topology.map(|t| (t.nodes.len(), t.links.len()));
        Ok(Checked {
            keys,
            stores,
            sources: compiled.sources,
            found: compiled.diagnostics,
            counts,
        })
    }

    /// People read it now; machines get the rows at the end.
    fn print(&self, file: &Path, checked: &Checked) -> Vec<Row> {
        if self.format.format != Format::Table {
            return rows(&checked.found, &checked.sources);
        }
        if !checked.found.is_empty() {
            let drawn = human(&checked.found, &checked.sources, look::of_stderr());
            ui::talk(drawn);
        }
        let shown = manifest_file::shown(file);
        let summary = summary(&checked.found);
        match (checked.counts, summary) {
            (Some(counts), summary) if !has_errors(&checked.found) => {
                let extra = summary
                    .map(|words| format!(" ({words})"))
                    .unwrap_or_default();
                let (nodes, links) = (counted(counts.0, "node"), counted(counts.1, "link"));
                ui::data(format_args!("{shown}: ok, {nodes}, {links}{extra}"));
                for words in &checked.stores {
                    ui::data(format_args!("{shown}: {words}"));
                }
                if let Some(words) = &checked.keys {
                    ui::talk(format_args!("{shown}: {words}"));
                }
            }
            (_, summary) => {
                let words = summary.unwrap_or_else(|| "no manifest".to_owned());
                ui::talk(format_args!("{shown}: {words}"));
            }
        }
        Vec::new()
    }
}

/// What each store promises, in words.
fn promises(topology: &Topology) -> Vec<String> {
    let stores = topology
        .nodes
        .iter()
        .filter_map(|node| Some((&node.name, node.decl.store.as_ref()?)));
    let words = stores.map(|(name, store)| {
        let promise = store.durability.unwrap_or_default().promise();
        format!("`{name}`: {promise}")
    });
    words.collect()
}

fn counted(count: usize, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}
