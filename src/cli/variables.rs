//! `--var` and `--var-file`, for every command that compiles a manifest.

use std::path::PathBuf;

use serde_json::Value;

use super::exit::{Exit, Failure};
use super::manifest_file;
use crate::diagnostics::Diagnostic;
use crate::diagnostics::sources::Sources;
use crate::schema::front;
use crate::schema::variables::{Assignment, Giver};

/// Values for the manifest's variables.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct VariableArgs {
    /// Set a variable of the manifest; it beats `--var-file`.
    #[arg(long = "var", value_name = "NAME=VALUE")]
    pub vars: Vec<String>,
    /// Set variables from a YAML or JSON mapping.
    #[arg(long = "var-file", value_name = "FILE")]
    pub var_files: Vec<PathBuf>,
}

impl VariableArgs {
    /// The values in the order in which they count: files first, the command line last.
    pub fn assignments(
        &self,
        sources: &mut Sources,
    ) -> Result<(Vec<Assignment>, Vec<Diagnostic>), Failure> {
        let mut all = (Vec::new(), Vec::new());
        for path in &self.var_files {
            let bytes = manifest_file::read(path)?;
            let name = manifest_file::shown(path);
            let (assignments, found) = front::assignments(sources, &name, bytes);
            all.0.extend(assignments);
            all.1.extend(found);
        }
        for written in &self.vars {
            let Some((name, value)) = written.split_once('=') else {
                let message = format!("`--var {written}` sets nothing");
                return Err(Failure::new(Exit::Usage, message).help("write `--var NAME=VALUE`"));
            };
            all.0.push(Assignment {
                name: name.to_owned(),
                value: Value::String(value.to_owned()),
                from: Giver::CommandLine,
            });
        }
        Ok(all)
    }
}
