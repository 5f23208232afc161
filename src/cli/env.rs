//! `zmqnet env NODE`: the environment that an instance is given.

use super::Global;
use super::exit::{Exit, Failure, Outcome};
use super::load::{self, ManifestArgs};
use super::ui::{self, Format, FormatArgs};
use crate::diagnostics::suggest::did_you_mean;
use crate::plan::{Instance, Plan};

/// Print the variables that an instance is given, one `KEY=VALUE` a line.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The instance, or its node where there is only one.
    #[arg(value_name = "NODE")]
    node: String,
    #[command(flatten)]
    manifest: ManifestArgs,
    #[command(flatten)]
    format: FormatArgs,
}

impl Args {
    /// Compiles, finds the instance, prints.
    pub fn run(self, global: &Global) -> Outcome {
        let loaded = load::plan(global, &self.manifest)?;
        let instance = find(&loaded.plan, &self.node)?;
        let Some(process) = &instance.process else {
            let message = format!("`{}` is not started by zmqnet here", instance.name);
            return Err(Failure::new(Exit::Failed, message));
        };
        if self.format.format != Format::Table {
            ui::document(self.format.format, &process.env);
            return Ok(Exit::Done);
        }
        for (key, value) in &process.env {
            ui::data(format_args!("{key}={value}"));
        }
        if process.env.is_empty() && process.env_files.is_empty() {
            let kind = instance.kind.as_str();
            ui::talk(format_args!(
                "`{}` is a `{kind}`: it is given no variables",
                instance.name
            ));
        }
        for (key, path) in &process.env_files {
            ui::talk(format_args!(
                "{key} is read from {} at start",
                path.display()
            ));
        }
        Ok(Exit::Done)
    }
}

/// More instances than this are not listed to who misspelt one.
const NAMED_MAX: usize = 8;

fn find<'a>(plan: &'a Plan, name: &str) -> Result<&'a Instance, Failure> {
    if let Some(instance) = plan.instance(name) {
        return Ok(instance);
    }
    let is_of = |instance: &&Instance| instance.node.as_str() == name;
    let of_node: Vec<&Instance> = plan.instances.iter().filter(is_of).collect();
    match of_node.as_slice() {
        [one] => Ok(one),
        [] => {
            let names = plan.instances.iter().map(|instance| instance.name.as_str());
            let help = did_you_mean(name, names.clone()).or_else(|| {
                let few: Vec<&str> = names.take(NAMED_MAX + 1).collect();
                (1..=NAMED_MAX)
                    .contains(&few.len())
                    .then(|| format!("the instances are `{}`", few.join("`, `")))
            });
            let failure = Failure::new(Exit::Failed, format!("no instance or node `{name}`"));
            Err(help.map_or(failure.clone(), |help| failure.help(help)))
        }
        [first, ..] => {
            let count = of_node.len();
            let failure = Failure::new(Exit::Failed, format!("`{name}` has {count} instances"));
            Err(failure.help(format!("say which, for example `{}`", first.name)))
        }
    }
}
