//! What a manifest is compiled with beside its text: variables, host, encryption, counts. Kept beside
//! the plan that was applied, so that `scale` compiles again what runs, whatever the command line was.

use std::collections::BTreeMap;
use std::io;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::manifest::topology::CurveMode;
use crate::model::layout::Layout;
use crate::run::private;
use crate::schema::variables::{Assignment, Giver};

/// What a manifest is compiled with.
#[derive(Debug, Clone, Default)]
pub(super) struct Given {
    /// Values for its variables; of two for one variable the later one counts.
    pub(super) assignments: Vec<Assignment>,
    /// The entry of `hosts` to act for.
    pub(super) host: Option<String>,
    /// Whether links are encrypted, whatever the manifest says.
    pub(super) curve: Option<CurveMode>,
    /// How many instances nodes have, instead of as many as they had.
    pub(super) counts: BTreeMap<String, u32>,
}

/// The same on disk. Counts are not in it: the plan has them.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    variables: Vec<(String, Value)>,
    host: Option<String>,
    curve: Option<CurveMode>,
}

impl Given {
    /// Keeps it beside the plan it led to.
    pub(super) fn keep(&self, layout: &Layout) -> io::Result<()> {
        let is_nothing = self.assignments.is_empty() && self.host.is_none() && self.curve.is_none();
        if is_nothing && !layout.given_file().exists() {
            return Ok(());
        }
        let assignments = self.assignments.iter();
        let kept = Kept {
            variables: assignments
                .map(|it| (it.name.clone(), it.value.clone()))
                .collect(),
            host: self.host.clone(),
            curve: self.curve,
        };
        let text = serde_json::to_vec(&kept).expect("it has only text keys");
        private::write(&layout.given_file(), &text)
    }

    /// What the plan of a network was made with; what cannot be read is as if nothing had been given.
    pub(super) fn of(layout: &Layout) -> Self {
        let text = std::fs::read(layout.given_file()).unwrap_or_default();
        let kept: Kept = serde_json::from_slice(&text).unwrap_or_default();
        let variables = kept.variables.into_iter();
        Self {
            assignments: variables
                .map(|(name, value)| Assignment {
                    name,
                    value,
                    from: Giver::CommandLine,
                })
                .collect(),
            host: kept.host,
            curve: kept.curve,
            counts: BTreeMap::new(),
        }
    }
}
