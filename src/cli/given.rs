//! What a manifest is compiled with beside its text: variables, host, encryption, counts. Kept beside
//! the plan that was applied, so that `scale` compiles again what runs, whatever the command line was.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::diagnostics::sources::Sources;
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
    /// The variables of the environment that its text names, `.env` included.
    pub(super) env: BTreeMap<String, String>,
    /// Where programs were looked for; nothing where that is this process's own `PATH`.
    pub(super) search: Option<OsString>,
    /// How many instances nodes have, instead of as many as they had.
    pub(super) counts: BTreeMap<String, u32>,
}

/// The same on disk. Counts are not in it: the plan has them.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    variables: Vec<(String, Value)>,
    host: Option<String>,
    curve: Option<CurveMode>,
    #[serde(default)]
    env: BTreeMap<String, String>,
}

impl Given {
    /// Notes what of the environment a manifest names: a network that is scaled is compiled again,
    /// where another environment may be.
    pub(super) fn note(&mut self, sources: &Sources, env: &BTreeMap<String, String>) {
        let named = sources
            .texts()
            .flat_map(|text| text.split("${env.").skip(1));
        for rest in named {
            let name = rest.split('}').next().unwrap_or_default();
            if let Some(value) = env.get(name) {
                self.env.insert(name.to_owned(), value.clone());
            }
        }
    }

    /// Keeps it beside the plan it led to.
    pub(super) fn keep(&self, layout: &Layout) -> io::Result<()> {
        let is_nothing = self.assignments.is_empty()
            && self.host.is_none()
            && self.curve.is_none()
            && self.env.is_empty();
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
            env: self.env.clone(),
        };
        let text = serde_json::to_vec(&kept).expect("it has only text keys");
        private::write(&layout.given_file(), &text)
    }

    /// What the plan of a network was made with; what cannot be read is as if nothing had been given.
    pub(super) fn of(layout: &Layout) -> Self {
        let text = std::fs::read(layout.given_file()).unwrap_or_default();
        let kept: Kept = serde_json::from_slice(&text).unwrap_or_default();
        let applied = std::fs::read(layout.base_env_file()).unwrap_or_default();
        let applied: BTreeMap<String, String> =
            serde_json::from_slice(&applied).unwrap_or_default();
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
            env: kept.env,
            search: applied.get("PATH").map(OsString::from),
            counts: BTreeMap::new(),
        }
    }
}
