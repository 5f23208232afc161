//! Merge keys: what `<<` brings into a mapping.

use std::collections::HashSet;

use super::fault::{Fault, FaultKind};
use super::tree::{Content, Entry, Item};

/// The entries that `<<` brings: of one mapping, or of several, the first of which wins.
pub(super) fn entries_of(item: Item) -> Result<Vec<Entry>, Fault> {
    let span = item.span;
    let maps = match item.content {
        Content::Map(map) => vec![map],
        Content::List(items) => items
            .into_iter()
            .map(|item| match item.content {
                Content::Map(map) => Ok(map),
                _ => Err(Fault::new(FaultKind::MergeNotMapping, item.span)),
            })
            .collect::<Result<_, _>>()?,
        _ => return Err(Fault::new(FaultKind::MergeNotMapping, span)),
    };
    Ok(maps.iter().flat_map(|map| map.iter().cloned()).collect())
}

/// The entries of a mapping with what `<<` brought, at the place of `<<`. What is written wins over
/// what is merged, and the first of equal keys over later ones, which were reported.
pub(super) fn fill(entries: Vec<Entry>, merged: Vec<(usize, Vec<Entry>)>) -> Vec<Entry> {
    let written: HashSet<String> = entries.iter().map(|entry| entry.key.clone()).collect();
    let mut taken = HashSet::new();
    let mut result = Vec::with_capacity(entries.len());
    let mut merged = merged.into_iter().peekable();
    let brought = |list: Vec<Entry>, taken: &mut HashSet<String>| {
        list.into_iter()
            .filter(|entry| !written.contains(&entry.key) && taken.insert(entry.key.clone()))
            .collect::<Vec<_>>()
    };
    for (index, entry) in entries.into_iter().enumerate() {
        while let Some((_, list)) = merged.next_if(|(at, _)| *at <= index) {
            result.extend(brought(list, &mut taken));
        }
        if taken.insert(entry.key.clone()) {
            result.push(entry);
        }
    }
    for (_, list) in merged {
        result.extend(brought(list, &mut taken));
    }
    result
}
