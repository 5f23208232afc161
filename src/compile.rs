//! Floor 7: the pipeline on one screen. A manifest's text goes in, a Plan or every fault comes out.
//!
//! Nothing here touches the machine: files, environment and facts come in as [`Inputs`], so that
//! the same inputs give the same plan. `check` compiles without a [`Machine`]; `plan` and `apply`
//! with one, and what hinders them there (a taken port, a missing program) is kept apart from what
//! is wrong with the manifest.

#[cfg(test)]
mod mutation_tests;
mod units;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use crate::diagnostics::sources::Sources;
use crate::diagnostics::{At, Diagnostic, has_errors};
use crate::manifest::peers::name_of;
use crate::manifest::topology::CurveMode;
use crate::model::layout::Layout;
use crate::model::name::TopologyName;
use crate::plan::make::make;
use crate::plan::{Origin, Plan};
use crate::schema::variables::Assignment;
use crate::source::path::Path as TreePath;
use crate::topology::facts::{Facts, Held};
use crate::topology::ports::number;
use crate::topology::resolve::{Given, resolve};
use crate::topology::{Topology, checks};

/// Everything a compilation depends on.
pub struct Inputs<'a> {
    /// The manifest itself.
    pub entry: Entry,
    /// Files that were read before it, such as those of `--var-file`.
    pub sources: Sources,
    /// Reads what it includes and imports, by absolute path.
    pub read: &'a dyn Fn(&Path) -> io::Result<Vec<u8>>,
    /// The environment, for `${env.X}`.
    pub env: &'a BTreeMap<String, String>,
    /// `--host` or `$ZMQNET_HOST`.
    pub host: Option<String>,
    /// `--curve`.
    pub curve: Option<CurveMode>,
    /// What may be asked of the machine; `check` asks nothing.
    pub machine: Option<Machine<'a>>,
}

/// A manifest to be read.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its name in messages.
    pub name: String,
    /// What the network is called where the manifest does not say it.
    pub stem: String,
    /// Where it is, absolute.
    pub path: PathBuf,
    /// What is in it.
    pub bytes: Vec<u8>,
    /// Values for its variables; of two for one variable the later one counts.
    pub assignments: Vec<Assignment>,
}

/// What may be asked of the machine.
#[derive(Clone, Copy)]
pub struct Machine<'a> {
    /// What is known of it, for a network of this name; nothing where that cannot be had, and
    /// then there is no plan. Nobody holds a port in it yet.
    pub facts: &'a dyn Fn(&TopologyName) -> Option<Facts>,
    /// Who holds which TCP port, for the network with these files. That takes longest of all to
    /// find, so it is asked only where a port is needed.
    pub holders: &'a dyn Fn(&Layout) -> Vec<Held>,
    /// Where a program is: one without `/` is searched, any other is looked at.
    pub find_program: &'a dyn Fn(&Path) -> Option<PathBuf>,
    /// Of which kind of node the store in a directory is, where there is one that says so.
    pub kind_of: &'a dyn Fn(&Path) -> Option<String>,
}

/// What comes of a compilation.
pub struct Compiled {
    /// The resolved manifest, where it could be read.
    pub topology: Option<Topology>,
    /// The plan, where nothing is wrong and the machine may be asked; there may be hindrances all
    /// the same.
    pub plan: Option<Plan>,
    /// What is wrong with the manifest, and remarks.
    pub diagnostics: Vec<Diagnostic>,
    /// What hinders it on this machine, now.
    pub hindrances: Vec<Diagnostic>,
    /// The files, for rendering.
    pub sources: Sources,
}

/// Compiles a manifest.
pub fn plan(inputs: Inputs<'_>) -> Compiled {
    let mut files = units::Files::new(inputs.sources, inputs.env, inputs.read);
    let (path, stem) = (inputs.entry.path.clone(), inputs.entry.stem.clone());
    let units = files.read(inputs.entry);
    let mut compiled = Compiled {
        topology: None,
        plan: None,
        diagnostics: std::mem::take(&mut files.diagnostics),
        hindrances: Vec::new(),
        sources: Sources::new(),
    };
    if let Some(units) = units {
        let name = units[0].decl.name.clone();
        let name = TopologyName::new(name.unwrap_or_else(|| name_of(&stem)));
        let facts = inputs.machine.map(|machine| (machine.facts)(&name));
        let is_known = !matches!(facts, Some(None));
        let mut facts = facts.flatten();
        let mut topology = resolve(Given {
            name,
            manifest: path,
            units,
            host: inputs.host,
            curve: inputs.curve,
            facts: facts.as_ref(),
        });
        if let (Some(machine), Some(facts)) = (inputs.machine, &mut facts)
            && topology.needs_ports_here()
        {
            facts.holders = (machine.holders)(&facts.layout);
        }
        number(&mut topology, facts.as_ref());
        let mut found = checks::all(&topology);
        // Whoever names what was left out is not to blame.
        found.retain(|diagnostic| !files.lost.iter().any(|name| diagnostic.names(name)));
        compiled.diagnostics.extend(found);
        if let Some(machine) = inputs.machine.filter(|_| is_known)
            && !has_errors(&compiled.diagnostics)
        {
            topology.programs = programs(&topology, machine);
            topology.kept = kept(&topology, machine);
            compiled.hindrances = checks::hindrances(&topology);
            compiled.plan = Some(make(&topology, &|path| files.origin(path)));
        }
        compiled.topology = Some(topology);
    }
    compiled.sources = files.sources;
    compiled
}

/// Where each program of this host is; one that is nowhere is absent.
fn programs(topology: &Topology, machine: Machine<'_>) -> BTreeMap<PathBuf, PathBuf> {
    let wanted: BTreeSet<PathBuf> = topology
        .instances
        .iter()
        .filter(|instance| topology.place_of(instance).is_here)
        .filter_map(|instance| Some(topology.wanted_program(instance)?.0))
        .collect();
    wanted
        .into_iter()
        .filter_map(|wanted| {
            let found = (machine.find_program)(&wanted)?;
            Some((wanted, found))
        })
        .collect()
}

/// Whose the stores of this host are that there are.
fn kept(topology: &Topology, machine: Machine<'_>) -> BTreeMap<PathBuf, String> {
    let here = topology.instances.iter();
    here.filter(|instance| topology.place_of(instance).is_here)
        .filter_map(|instance| {
            let path = topology.wanted_store(instance)?;
            let kind = (machine.kind_of)(&path)?;
            Some((path, kind))
        })
        .collect()
}

impl units::Files<'_> {
    /// Where a path is written, for faults that are found while running.
    fn origin(&self, path: &TreePath) -> Origin {
        let position = self.sources.position(&At::Key(path.clone()));
        let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Origin {
            file: self.path(path.file).to_owned(),
            line: number(position.line),
            column: number(position.column),
            path: path.to_string(),
        }
    }
}
