//! The environment that every command sees: the process's own, and `.env` of the current directory
//! below it.
//!
//! `.env` goes into a map and never into the process environment, which cannot be changed safely.

use std::collections::BTreeMap;
use std::path::Path;

use super::exit::{Exit, Failure};
use super::ui;
use crate::run::facts;

/// Names and values; what is not UTF-8 is left out.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    values: BTreeMap<String, String>,
}

impl Environment {
    /// The environment of this process, and `.env` for what it does not set.
    pub fn load() -> Self {
        let own = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        let mut environment = Self {
            values: own.collect(),
        };
        environment.add_file(Path::new(".env"));
        environment
    }

    /// Adds what a file sets and the environment does not. A line that cannot be read ends the
    /// file, with a word of it: it must not stop a command that does not need it.
    fn add_file(&mut self, path: &Path) {
        let Ok(lines) = dotenvy::from_path_iter(path) else {
            return;
        };
        for line in lines {
            match line {
                Ok((name, value)) => {
                    self.values.entry(name).or_insert(value);
                }
                Err(error) => {
                    ui::talk(format_args!("zmqnet: {}: {error}", path.display()));
                    return;
                }
            }
        }
    }

    /// The same with other values for some.
    pub(super) fn with(mut self, values: &BTreeMap<String, String>) -> Self {
        self.values.extend(values.clone());
        self
    }

    /// The value of a variable that is set and not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        let value = self.values.get(name)?;
        (!value.is_empty()).then_some(value)
    }

    /// Every variable.
    pub fn values(&self) -> &BTreeMap<String, String> {
        &self.values
    }
}

/// Refuses a program that the system would not find: a name in `PATH`, anything else from here.
pub(super) fn refuse_absent(program: &str) -> Result<(), Failure> {
    let written = Path::new(program);
    let path = match program.contains('/') {
        true => std::path::absolute(written),
        false => Ok(written.to_owned()),
    };
    if path.is_ok_and(|path| facts::find_program(&path, None).is_some()) {
        return Ok(());
    }
    let words = format!("there is no program `{program}`");
    Err(Failure::new(Exit::File, words).help("a name without `/` is looked for in `PATH`"))
}
