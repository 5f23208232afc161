//! `zmqnet completions` and `zmqnet man`: what a shell and `man` want to know, made from the same
//! declarations as the command line itself, so that they cannot fall behind it.

use clap_complete::Shell;

use super::exit::{Exit, Outcome};
use super::ui;

/// Print the completions of a shell: `source <(zmqnet completions bash)`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The shell.
    shell: Shell,
}

/// Print a manual page: `zmqnet man | man -l -`
#[derive(Debug, clap::Args)]
pub(super) struct ManArgs {
    /// The command the page is about. Default: zmqnet itself.
    command: Option<String>,
}

impl Args {
    pub(super) fn run(self, mut command: clap::Command) -> Outcome {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut command, "zmqnet", &mut text);
        ui::raw(&text);
        Ok(Exit::Done)
    }
}

impl ManArgs {
    pub(super) fn run(self, mut command: clap::Command) -> Outcome {
        command.build();
        let Some(name) = self.command else {
            return page(command);
        };
        match command.find_subcommand(&name) {
            Some(found) => {
                let title = format!("zmqnet-{name}");
                page(found.clone().name(title))
            }
            None => Err(super::exit::Failure::new(
                Exit::Usage,
                format!("there is no command `{name}`"),
            )
            .help("`zmqnet --help` lists the commands")),
        }
    }
}

fn page(command: clap::Command) -> Outcome {
    let mut text = Vec::new();
    clap_mangen::Man::new(command)
        .render(&mut text)
        .expect("a vector takes all that is written to it");
    ui::raw(&text);
    Ok(Exit::Done)
}
