//! The values of one file, in written order, each with the place it stands in.
//!
//! Anchors, aliases and merge keys are resolved already: what an alias brings in keeps the places
//! of its anchor, the value itself stands where the alias is.

use serde_json::Number;

use super::path::{FileId, Path, Step};
use super::span::Span;

/// The values of one file.
#[derive(Debug, Clone, PartialEq)]
pub struct Tree {
    /// Which file.
    pub file: FileId,
    /// Its top value.
    pub top: Item,
}

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// Where it stands.
    pub span: Span,
    /// What it is.
    pub content: Content,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// Nothing was written, or `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(Number),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Item>),
    /// A mapping.
    Map(Map),
}

/// One key of a mapping and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key stands.
    pub key_span: Span,
    /// Its value.
    pub item: Item,
}

/// A mapping in written order, found by key in logarithmic time.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Map {
    entries: Vec<Entry>,
    by_key: Vec<u32>,
}

impl Map {
    /// A mapping of entries with different keys.
    pub fn new(entries: Vec<Entry>) -> Self {
        let count = u32::try_from(entries.len()).expect("a file of 8 MiB has fewer keys");
        let mut by_key: Vec<u32> = (0..count).collect();
        by_key.sort_by(|a, b| entries[*a as usize].key.cmp(&entries[*b as usize].key));
        Self { entries, by_key }
    }

    /// The entries, in written order.
    pub fn iter(&self) -> std::slice::Iter<'_, Entry> {
        self.entries.iter()
    }

    /// The values, in written order, to be changed in place.
    pub fn items_mut(&mut self) -> impl Iterator<Item = (&str, &mut Item)> {
        self.entries
            .iter_mut()
            .map(|entry| (entry.key.as_str(), &mut entry.item))
    }

    /// The entry of a key.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.at(key).map(|at| &self.entries[at])
    }

    fn at(&self, key: &str) -> Option<usize> {
        let at = self
            .by_key
            .binary_search_by(|index| self.entries[*index as usize].key.as_str().cmp(key))
            .ok()?;
        Some(self.by_key[at] as usize)
    }

    /// The value of a key, to be changed in place.
    fn get_mut(&mut self, key: &str) -> Option<&mut Item> {
        let at = self.at(key)?;
        Some(&mut self.entries[at].item)
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Item> {
        self.entry(key).map(|entry| &entry.item)
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl Item {
    /// The mapping, if it is one.
    pub fn as_map(&self) -> Option<&Map> {
        match &self.content {
            Content::Map(map) => Some(map),
            _ => None,
        }
    }

    /// The items, if it is a list.
    pub fn as_list(&self) -> Option<&[Item]> {
        match &self.content {
            Content::List(items) => Some(items),
            _ => None,
        }
    }

    /// The text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match &self.content {
            Content::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The value of a key, if this is a mapping that has it.
    pub fn get(&self, key: &str) -> Option<&Item> {
        self.as_map()?.get(key)
    }
}

impl Content {
    /// The value without its places.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Null => serde_json::Value::Null,
            Self::Bool(value) => (*value).into(),
            Self::Number(number) => number.clone().into(),
            Self::Text(text) => text.as_str().into(),
            Self::List(items) => items.iter().map(|item| item.content.to_json()).collect(),
            Self::Map(map) => map
                .iter()
                .map(|entry| (entry.key.clone(), entry.item.content.to_json()))
                .collect::<serde_json::Map<_, _>>()
                .into(),
        }
    }

    /// What it is, in words: `a text`, `a list`.
    pub fn in_words(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "a truth value",
            Self::Number(_) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

impl Tree {
    /// The value a path leads to.
    pub fn find(&self, path: &Path) -> Option<&Item> {
        path.steps.iter().try_fold(&self.top, child)
    }

    /// The same, to be changed in place.
    pub fn find_mut(&mut self, path: &Path) -> Option<&mut Item> {
        path.steps.iter().try_fold(&mut self.top, child_mut)
    }

    /// Where the value of a path stands; of the nearest value above it where there is none.
    pub fn value_span(&self, path: &Path) -> Span {
        let mut item = &self.top;
        for step in &path.steps {
            match child(item, step) {
                Some(below) => item = below,
                None => break,
            }
        }
        item.span
    }

    /// Where the key at the end of a path stands; the value where the path does not end in a key.
    pub fn key_span(&self, path: &Path) -> Span {
        let mut item = &self.top;
        let mut span = item.span;
        for step in &path.steps {
            let Some(below) = child(item, step) else {
                break;
            };
            span = match (step, item.as_map()) {
                (Step::Key(key), Some(map)) => {
                    map.entry(key).map_or(below.span, |entry| entry.key_span)
                }
                _ => below.span,
            };
            item = below;
        }
        span
    }
}

fn child<'a>(item: &'a Item, step: &Step) -> Option<&'a Item> {
    match step {
        Step::Key(key) => item.get(key),
        Step::Index(index) => item.as_list()?.get(*index),
    }
}

fn child_mut<'a>(item: &'a mut Item, step: &Step) -> Option<&'a mut Item> {
    match (step, &mut item.content) {
        (Step::Key(key), Content::Map(map)) => map.get_mut(key),
        (Step::Index(index), Content::List(items)) => items.get_mut(*index),
        _ => None,
    }
}
