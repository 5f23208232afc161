//! `keys ls`: whose keys there are, whom they open, since when, and until when.

use std::collections::{BTreeMap, BTreeSet};

use comfy_table::{Table, presets};
use serde::Serialize;

use super::{KeyDir, Outcome, PlaceArgs, failure, written};
use crate::cli::Global;
use crate::cli::exit::{Exit, Failure};
use crate::cli::status::trimmed;
use crate::cli::ui::{self, Format, FormatArgs};
use crate::model::key::PublicKey;
use crate::model::name::InstanceName;
use crate::model::security::OPERATOR;
use crate::plan::Plan;
use crate::run::keys::{KeyDirError, Revoked};

/// List the public keys: whose they are, whom they may dial, since when and until when they are
/// good.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    format: FormatArgs,
}

/// What `-o json` prints.
#[derive(Debug, Serialize)]
struct Report {
    schema: u32,
    directory: String,
    keys: Vec<Row>,
}

/// One key.
#[derive(Debug, Default, Serialize)]
struct Row {
    name: String,
    /// Absent where it is not here.
    public_key: Option<PublicKey>,
    /// `here`, `public` where only the public key is here, `written` in the manifest, `allowed` by
    /// hand, `missing`.
    is: &'static str,
    /// Whom it may dial, and by which link; by none where a person allowed it.
    may_dial: Vec<MayDial>,
    created: Option<String>,
    rotated: Option<String>,
    overlap_until: Option<String>,
    revoked: Option<String>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct MayDial {
    link: Option<String>,
    to: String,
}

impl Args {
    pub(super) fn run(self, global: &Global) -> Outcome {
        let place = self.place.find(global)?;
        let dir = place.open()?;
        let keys = rows(&dir, place.plan.as_ref())?;
        match self.format.format {
            Format::Table => ui::data(table(&keys)),
            format => ui::document(
                format,
                &Report {
                    schema: 1,
                    directory: place.dir.display().to_string(),
                    keys,
                },
            ),
        }
        Ok(Exit::Done)
    }
}

fn rows(dir: &KeyDir, plan: Option<&Plan>) -> Result<Vec<Row>, Failure> {
    let revoked = dir.revoked().map_err(failure)?;
    let mut left: BTreeSet<String> = dir.names().map_err(failure)?;
    let mut rows = Vec::new();
    let used = used(plan);
    for instance in plan.iter().flat_map(|plan| &plan.instances) {
        let name = instance.name.as_str();
        if !left.remove(name) && !used.contains(&instance.name) {
            continue;
        }
        let may_dial = dials(plan, name);
        let written = plan.and_then(|plan| written(plan, name));
        rows.push(match written {
            Some(key) => Row {
                public_key: Some(key),
                is: "written",
                ..Row::named(name, may_dial)
            },
            None => kept(dir, name, may_dial)?,
        });
    }
    let has_operator = left.remove(OPERATOR);
    if has_operator {
        let to = guarded_roles(plan);
        rows.push(kept(dir, OPERATOR, to)?);
    }
    for name in left {
        rows.push(kept(dir, &name, Vec::new())?);
    }
    for allowed in dir.allowed().map_err(failure)? {
        let to = MayDial {
            link: None,
            to: allowed.node,
        };
        rows.push(Row {
            public_key: Some(allowed.key),
            is: "allowed",
            created: Some(allowed.since),
            ..Row::named(&allowed.who, vec![to])
        });
    }
    mark(&mut rows, revoked);
    Ok(rows)
}

/// Whose keys the plan uses, on whatever host.
fn used(plan: Option<&Plan>) -> BTreeSet<InstanceName> {
    let instances = plan.iter().flat_map(|plan| &plan.instances);
    let names = instances.flat_map(|instance| {
        let met = instance.met().into_iter().map(|admitted| &admitted.who);
        instance.keys_used().into_iter().chain(met)
    });
    names.cloned().collect()
}

impl Row {
    fn named(name: &str, may_dial: Vec<MayDial>) -> Self {
        Self {
            name: name.to_owned(),
            is: "missing",
            may_dial,
            ..Self::default()
        }
    }
}

/// A key of the directory; one that is not there is a row too.
fn kept(dir: &KeyDir, name: &str, may_dial: Vec<MayDial>) -> Result<Row, Failure> {
    let row = Row::named(name, may_dial);
    let facts = match dir.facts(name) {
        Err(KeyDirError::NoKey { .. }) => return Ok(row),
        facts => facts.map_err(failure)?,
    };
    Ok(Row {
        public_key: Some(facts.key),
        is: if facts.has_secret { "here" } else { "public" },
        created: facts.created,
        rotated: facts.rotated,
        overlap_until: facts.overlap_until,
        ..row
    })
}

/// Whom an instance dials under CURVE, by link.
fn dials(plan: Option<&Plan>, name: &str) -> Vec<MayDial> {
    let wires = plan.iter().flat_map(|plan| &plan.wires);
    let own = wires.filter(|wire| wire.dialler.as_str() == name && wire.mechanism == "CURVE");
    own.map(|wire| MayDial {
        link: Some(wire.link.to_string()),
        to: match wire.dialler == wire.from {
            true => wire.to.to_string(),
            false => wire.from.to_string(),
        },
    })
    .collect()
}

/// Everybody who admits zmqnet's own commands.
fn guarded_roles(plan: Option<&Plan>) -> Vec<MayDial> {
    let instances = plan.iter().flat_map(|plan| &plan.instances);
    let admits = instances.filter(|instance| {
        let mut guarded = instance.ports.iter().flat_map(|port| &port.guarded);
        guarded.any(|guarded| guarded.admits_operator)
    });
    admits
        .map(|instance| MayDial {
            link: None,
            to: instance.name.to_string(),
        })
        .collect()
}

/// Marks what is revoked, and adds revoked keys that nobody has any more.
fn mark(rows: &mut Vec<Row>, revoked: Vec<Revoked>) {
    for gone in revoked {
        let mut own = rows
            .iter_mut()
            .filter(|row| row.public_key == Some(gone.key))
            .peekable();
        if own.peek().is_none() {
            rows.push(Row {
                public_key: Some(gone.key),
                is: "replaced",
                revoked: Some(gone.since),
                ..Row::named(&gone.who, Vec::new())
            });
            continue;
        }
        for row in own {
            row.revoked = Some(gone.since.clone());
        }
    }
}

fn table(rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "NAME",
        "PUBLIC KEY",
        "IS",
        "MAY DIAL",
        "CREATED",
        "ROTATED",
        "NOTE",
    ]);
    for row in rows {
        let note = match (&row.revoked, &row.overlap_until) {
            (Some(since), _) => format!("revoked {since}"),
            (None, Some(until)) => format!("the key before is good until {until}"),
            (None, None) => String::new(),
        };
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let key = row.public_key.map(|key| key.to_string());
        table.add_row([
            row.name.clone(),
            or_dash(&key),
            row.is.to_owned(),
            may_dial(&row.may_dial),
            or_dash(&row.created),
            or_dash(&row.rotated),
            note,
        ]);
    }
    trimmed(&table)
}

/// The first few whom a key may dial, by link.
fn may_dial(all: &[MayDial]) -> String {
    const SHOWN: usize = 3;
    let mut by_link: BTreeMap<Option<&str>, Vec<&str>> = BTreeMap::new();
    for one in all {
        by_link
            .entry(one.link.as_deref())
            .or_default()
            .push(&one.to);
    }
    let words = by_link.into_iter().map(|(link, to)| {
        let shown = to[..to.len().min(SHOWN)].join(" ");
        let more = match to.len().saturating_sub(SHOWN) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        match link {
            Some(link) => format!("{link}: {shown}{more}"),
            None => format!("{shown}{more}"),
        }
    });
    let words: Vec<String> = words.collect();
    match words.is_empty() {
        true => "-".to_owned(),
        false => words.join(", "),
    }
}
