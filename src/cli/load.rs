//! From the command line to a compiled manifest, for every command that needs one.
//!
//! What is wrong with the manifest is drawn on standard error here, so that callers only go on or
//! end with the code.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::environment::Environment;
use super::exit::{Exit, Failure};
use super::given::Given;
use super::variables::VariableArgs;
use super::{Global, keys, look, manifest_file, ui};
use crate::compile::{self, Compiled, Entry, Inputs, Machine};
use crate::diagnostics::render::human;
use crate::diagnostics::sources::Sources;
use crate::diagnostics::{Diagnostic, Severity, codes, has_errors};
use crate::disk;
use crate::manifest::topology::CurveMode;
use crate::model::layout::Layout;
use crate::model::limits::source::FILE_BYTES_MAX;
use crate::model::name::TopologyName;
use crate::plan::Plan;
use crate::run::{facts, ledger};
use crate::topology::Topology;

/// The manifest, and what it is compiled with.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ManifestArgs {
    /// The manifest; `-` is standard input. Default: the manifest of this directory.
    #[arg(value_name = "FILE")]
    pub manifest: Option<PathBuf>,
    #[command(flatten)]
    settings: SettingArgs,
}

impl ManifestArgs {
    /// The manifest of this directory, compiled with these settings.
    pub fn here(settings: SettingArgs) -> Self {
        Self {
            manifest: None,
            settings,
        }
    }
}

/// What a manifest is compiled with.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct SettingArgs {
    #[command(flatten)]
    variables: VariableArgs,
    /// The entry of `hosts` to act for. Default: the one that is this machine.
    #[arg(long, value_name = "HOST", env = "ZMQNET_HOST")]
    host: Option<String>,
    /// Whether links are encrypted, whatever the manifest says.
    #[arg(long, value_name = "WHEN")]
    curve: Option<Curve>,
}

/// When links are encrypted.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Curve {
    /// When they leave a host.
    Auto,
    /// Always.
    Always,
    /// Never, even between hosts.
    Never,
}

/// What may be asked while compiling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Files only.
    Files,
    /// This machine too.
    Machine,
}

/// A manifest, compiled without a fault.
#[derive(Debug)]
pub struct Loaded {
    /// What is to be.
    pub plan: Plan,
    /// What the manifest means, for words about it.
    pub topology: Topology,
    /// Where the network keeps its files on this machine.
    pub layout: Layout,
    /// The plan that was applied last, while the network runs.
    pub applied: Option<Plan>,
    /// What it was compiled with.
    pub(super) given: Given,
    /// What hinders the plan on this machine, now.
    hindrances: Vec<Diagnostic>,
    sources: Sources,
}

impl Loaded {
    /// Ends with 1 where anything on this machine would keep the plan from being done.
    pub fn refuse_hindered(&self) -> Result<(), Failure> {
        report(&self.hindrances, &self.sources);
        match has_errors(&self.hindrances) {
            true => Err(Failure::said(Exit::Failed)),
            false => Ok(()),
        }
    }

    /// The same for who only wants to see the plan: a program may be made later, and a plan for no
    /// host still shows the network; of these it only warns.
    pub fn refuse_unplannable(&mut self) -> Result<(), Failure> {
        for hindrance in &mut self.hindrances {
            if [codes::NO_PROGRAM, codes::WHICH_HOST].contains(&hindrance.code) {
                hindrance.severity = Severity::Warning;
            }
        }
        self.refuse_hindered()
    }
}

/// What a manifest means, from files alone.
pub fn topology(global: &Global, args: &ManifestArgs) -> Result<Topology, Failure> {
    let (compiled, _) = sound(global, args, Ask::Files)?;
    compiled.topology.ok_or(Failure::said(Exit::Manifest))
}

/// A compiled manifest without errors; its diagnostics are printed.
fn sound(global: &Global, args: &ManifestArgs, ask: Ask) -> Result<(Compiled, Given), Failure> {
    let environment = Environment::load();
    let file = manifest_file::find(args.manifest.as_deref(), global, &environment)?;
    let mut before = Before::default();
    let mut given = before.given(&args.settings)?;
    let compiled = before.compile(&file, &given, &environment, ask)?;
    given.note(&compiled.sources, environment.values());
    Ok((without_errors(compiled)?, given))
}

fn without_errors(compiled: Compiled) -> Result<Compiled, Failure> {
    report(&compiled.diagnostics, &compiled.sources);
    match has_errors(&compiled.diagnostics) {
        true => Err(Failure::said(Exit::Manifest)),
        false => Ok(compiled),
    }
}

/// The plan of a manifest on this machine; ends with 65 where the manifest is wrong and 66 where
/// it cannot be read. What hinders it on this machine is kept.
pub fn plan(global: &Global, args: &ManifestArgs) -> Result<Loaded, Failure> {
    let (compiled, given) = sound(global, args, Ask::Machine)?;
    loaded(compiled, given)
}

/// The plan of a manifest that is compiled again with what it was compiled with before.
pub(super) fn again(file: &Path, given: &Given) -> Result<Loaded, Failure> {
    let environment = Environment::load().with(&given.env);
    let compiled = Before::default().compile(file, given, &environment, Ask::Machine)?;
    loaded(without_errors(compiled)?, given.clone())
}

fn loaded(compiled: Compiled, given: Given) -> Result<Loaded, Failure> {
    let (Some(plan), Some(topology)) = (compiled.plan, compiled.topology) else {
        return Err(Failure::said(Exit::Manifest));
    };
    let layout = topology.layout.clone();
    Ok(Loaded {
        applied: facts::applied(&layout).filter(|_| ledger::is_running(&layout)),
        plan,
        topology,
        layout,
        given,
        hindrances: compiled.hindrances,
        sources: compiled.sources,
    })
}

/// Compiles one file. Its diagnostics are not printed yet.
pub fn compile(
    file: &Path,
    settings: &SettingArgs,
    environment: &Environment,
    ask: Ask,
) -> Result<Compiled, Failure> {
    let mut before = Before::default();
    let given = before.given(settings)?;
    before.compile(file, &given, environment, ask)
}

/// What was read before the manifest: files with values for its variables, and what is wrong there.
#[derive(Default)]
struct Before {
    sources: Sources,
    found: Vec<Diagnostic>,
}

impl Before {
    /// What the command line gives.
    fn given(&mut self, settings: &SettingArgs) -> Result<Given, Failure> {
        let (assignments, found) = settings.variables.assignments(&mut self.sources)?;
        self.found = found;
        Ok(Given {
            assignments,
            host: settings.host.clone(),
            curve: settings.curve.map(Curve::mode),
            ..Given::default()
        })
    }

    fn compile(
        self,
        file: &Path,
        given: &Given,
        environment: &Environment,
        ask: Ask,
    ) -> Result<Compiled, Failure> {
        let bytes = manifest_file::read(file)?;
        let unknown = std::cell::RefCell::new(None);
        let gather = |name: &TopologyName| match facts::gather(name) {
            Ok(mut facts) => {
                facts.counts.extend(given.counts.clone());
                Some(facts)
            }
            Err(error) => {
                *unknown.borrow_mut() = Some(Failure::new(Exit::Failed, error.to_string()));
                None
            }
        };
        let mut compiled = compile::plan(Inputs {
            entry: Entry {
                name: manifest_file::shown(file),
                stem: manifest_file::stem(file),
                path: std::path::absolute(file).unwrap_or_else(|_| file.to_owned()),
                bytes,
                assignments: given.assignments.clone(),
            },
            sources: self.sources,
            read: &read,
            env: environment.values(),
            host: given.host.clone(),
            curve: given.curve,
            machine: (ask != Ask::Files).then_some(Machine {
                facts: &gather,
                holders: &facts::holders,
                find_program: &|program| facts::find_program(program, given.search.as_deref()),
                kind_of: &disk::kind_of,
            }),
        });
        compiled.diagnostics.splice(0..0, self.found);
        let misplaced = compiled
            .topology
            .as_ref()
            .and_then(keys::missing::misplaced);
        compiled.diagnostics.extend(misplaced);
        match unknown.into_inner() {
            Some(failure) if !has_errors(&compiled.diagnostics) => Err(failure),
            Some(_) | None => Ok(compiled),
        }
    }
}

impl Curve {
    fn mode(self) -> CurveMode {
        match self {
            Self::Auto => CurveMode::Auto,
            Self::Always => CurveMode::Always,
            Self::Never => CurveMode::Never,
        }
    }
}

/// At most one byte more than a manifest may have.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = FILE_BYTES_MAX as u64 + 1;
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn report(diagnostics: &[Diagnostic], sources: &Sources) {
    if !diagnostics.is_empty() {
        ui::talk(human(diagnostics, sources, look::of_stderr()));
    }
}
