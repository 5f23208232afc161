//! `zmqnet explain`: what a code means, and what a kind of node is.

use super::exit::{Exit, Failure, Outcome};
use super::ui;
use crate::diagnostics::codes::{self, CODES, Code};
use crate::diagnostics::suggest::did_you_mean;
use crate::model::socket::Side;
use crate::roles::{ROLES, Role};
use crate::schema::branches::keys_of;

/// Explain a code such as `ZN0201`, or a kind such as `queue`. Without either, list them.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A code or a kind.
    #[arg(value_name = "CODE|KIND")]
    word: Option<String>,
}

impl Args {
    /// Prints the explanation.
    pub fn run(self) -> Outcome {
        let Some(word) = self.word else {
            list();
            return Ok(Exit::Done);
        };
        if let Some(code) = codes::find(&word) {
            explain_code(code);
            return Ok(Exit::Done);
        }
        if let Some(role) = ROLES.iter().find(|role| role.name == word.to_lowercase()) {
            explain_role(role);
            return Ok(Exit::Done);
        }
        let known = CODES.iter().map(|row| row.code);
        let known = known.chain(ROLES.iter().map(|role| role.name));
        let failure = Failure::new(
            Exit::Usage,
            format!("`{word}` is neither a code nor a kind"),
        );
        Err(failure.help(
            did_you_mean(&word, known)
                .unwrap_or_else(|| "`zmqnet explain` lists the codes and the kinds".to_owned()),
        ))
    }
}

fn list() {
    ui::data("kinds:");
    for role in &ROLES {
        ui::data(format_args!("  {:<11} {}", role.name, role.summary));
    }
    ui::data("codes:");
    for row in CODES {
        ui::data(format_args!("  {:<11} {}", row.code, row.title));
    }
}

fn explain_code(row: &Code) {
    ui::data(format_args!("{}: {}\n\n{}", row.code, row.title, row.text));
}

fn explain_role(role: &Role) {
    ui::data(format_args!("{}: {}\n", role.name, role.summary));
    let mut keys = keys_of(role);
    keys.sort_unstable();
    ui::data(format_args!("keys:  {}", keys.join(", ")));
    if !role.ports.is_empty() {
        ui::data(format_args!("ports: {}", role.ports.join(", ")));
    }
    for (pattern, sides) in role.stands {
        let words = match sides {
            _ if pattern.is_symmetric() => "among",
            [Side::From] => "from",
            [Side::To] => "to",
            _ => "from, to",
        };
        ui::data(format_args!("links: {pattern} ({words})"));
    }
    if !role.is_built {
        ui::data("\nThis version checks and plans it, and cannot start it yet.");
    }
}
