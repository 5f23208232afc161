//! What changed of the allow-lists of an instance, in words. The lists may change while it runs.

use std::collections::BTreeMap;

use super::Instance;
use crate::model::name::InstanceName;
use crate::model::security::Admitted;

/// Names in one cause.
const NAMED_MAX: usize = 3;

/// Why an instance is told anew whom it admits; nothing where that is the same, or where the socket
/// itself has changed.
pub(super) fn cause(was: &Instance, now: &Instance) -> Option<String> {
    let (before, after) = (admitted(was), admitted(now));
    if before == after || before.is_empty() || after.is_empty() {
        return None;
    }
    let differ = |one: &BTreeMap<&InstanceName, &Admitted>, other: &BTreeMap<_, _>| {
        let names = one
            .iter()
            .filter(|(name, it)| other.get(*name) != Some(*it));
        let names: Vec<String> = names.map(|(name, _)| format!("`{name}`")).collect();
        let more = names.len().saturating_sub(NAMED_MAX);
        let shown = names[..names.len() - more].join(", ");
        match more {
            0 => shown,
            more => format!("{shown} and {more} more"),
        }
    };
    let (come, gone) = (differ(&after, &before), differ(&before, &after));
    Some(match (come.is_empty(), gone.is_empty()) {
        (false, true) => format!("it admits {come} now"),
        (true, false) => format!("it admits {gone} no longer"),
        _ => format!("it admits {come} now, and {gone} no longer"),
    })
}

fn admitted(instance: &Instance) -> BTreeMap<&InstanceName, &Admitted> {
    let ports = instance.ports.iter().flat_map(|port| &port.guarded);
    ports
        .flat_map(|guarded| &guarded.allow)
        .map(|admitted| (&admitted.who, admitted))
        .collect()
}
