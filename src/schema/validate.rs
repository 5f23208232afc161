//! Walks a tree along the schema and reports every fault at once, each where it stands.
//!
//! It knows the keywords that [`super::generate`] writes and no others. It must never accept what
//! the schema refuses: a test holds it against another validator.

mod faults;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::collections::HashSet;

use regex::Regex;
use regex::bytes;
use serde_json::Value;

use super::substitute::Substituted;
use super::{foreign, judge, quantities, words};
use crate::diagnostics::Diagnostic;
use crate::diagnostics::codes;
use crate::diagnostics::suggest::{did_you_mean, nearest};
use crate::model::limits::source::FAULTS_KEPT_MAX;
use crate::source::path::{Path, Step};
use crate::source::scalar;
use crate::source::tree::{Content, Entry, Item, Map, Tree};

/// Every fault of a tree, in written order. A fault that an alias repeats is reported once. A whole
/// number that is written as `3.0` is one like any other from then on.
pub fn validate(tree: &mut Tree, schema: &Value, replaced: &Substituted) -> Vec<Diagnostic> {
    let top = Path::top(tree.file);
    let (found, whole) = walk(tree, top, (schema, schema), replaced);
    for path in whole {
        if let Some(item) = tree.find_mut(&path)
            && let Content::Number(number) = &item.content
            && let Some(number) = scalar::whole(number)
        {
            item.content = Content::Number(number);
        }
    }
    found
}

/// Every fault of the value a path leads to, for a schema whose references are in `root`.
pub fn part(tree: &Tree, path: Path, schema: &Value, root: &Value) -> Vec<Diagnostic> {
    walk(tree, path, (schema, root), &Substituted::default()).0
}

/// Every fault, and where whole numbers are written with a fraction. Values that could not be replaced
/// are judged by nobody: what is wrong with them was reported before.
fn walk(
    tree: &Tree,
    path: Path,
    (schema, root): (&Value, &Value),
    replaced: &Substituted,
) -> (Vec<Diagnostic>, Vec<Path>) {
    let Some(item) = tree.find(&path) else {
        return Default::default();
    };
    let mut walk = Walk {
        root,
        tree,
        replaced,
        path,
        found: Vec::new(),
        whole: Vec::new(),
        patterns: HashMap::new(),
    };
    walk.item(item, schema);
    let mut seen = HashSet::new();
    walk.found.retain(|diagnostic| {
        let place = diagnostic.marks.first().map(|mark| match &mark.at {
            crate::diagnostics::At::Key(path) => tree.key_span(path),
            crate::diagnostics::At::Value(path) => tree.value_span(path),
            crate::diagnostics::At::Span(_, span) => *span,
        });
        seen.insert((diagnostic.code, diagnostic.message.clone(), place))
    });
    (walk.found, walk.whole)
}

/// A pattern of the schema. Most name no class of letters that Unicode would widen and mean the same
/// byte by byte: these do without its tables, each of which costs a third of a millisecond.
fn pattern_of(pattern: &str) -> bytes::Regex {
    let widened = [
        "\\s", "\\S", "\\d", "\\D", "\\w", "\\W", "\\b", "\\B", "\\p", "\\P",
    ];
    let is_wide = !pattern.is_ascii() || widened.iter().any(|class| pattern.contains(class));
    bytes::RegexBuilder::new(pattern)
        .unicode(is_wide)
        .build()
        .expect("the schema's patterns are regexes")
}

struct Walk<'a> {
    root: &'a Value,
    tree: &'a Tree,
    replaced: &'a Substituted,
    path: Path,
    found: Vec<Diagnostic>,
    /// Whole numbers that are written as `3.0`.
    whole: Vec<Path>,
    patterns: HashMap<&'a str, bytes::Regex>,
}

impl<'a> Walk<'a> {
    fn item(&mut self, item: &Item, schema: &'a Value) {
        let replaced = self.replaced;
        let is_enough = self.found.len() >= FAULTS_KEPT_MAX;
        if is_enough
            || (!replaced.unreplaced.is_empty() && replaced.unreplaced.contains(&self.path))
        {
            return;
        }
        if !replaced.mixed.is_empty()
            && let Some(written) = replaced.mixed.get(&self.path)
            && !self.takes_as_written(written, item, schema)
        {
            return;
        }
        self.judged(item, schema);
    }

    /// Whether the schema takes a text as it is written, its expressions in it: what is no text takes
    /// one `${...}` and nothing beside it.
    fn takes_as_written(&mut self, written: &str, item: &Item, schema: &'a Value) -> bool {
        let (found, whole) = (self.found.len(), self.whole.len());
        let as_written = Item {
            span: item.span,
            content: Content::Text(written.to_owned()),
        };
        self.judged(&as_written, schema);
        let takes = self.found.len() == found;
        self.found.truncate(found);
        self.whole.truncate(whole);
        if !takes {
            let message = format!(
                "{} takes one `${{...}}`, and no text beside it",
                self.place()
            );
            let help = "write the whole value into a variable, and `${NAME}` here".to_owned();
            let label = "is put together from pieces".to_owned();
            self.fault_with(codes::MISPLACED_EXPRESSION, message, label, Some(help));
        }
        takes
    }

    fn judged(&mut self, item: &Item, schema: &'a Value) {
        let schema = self.resolved(schema);
        if let Some(variants) = schema["anyOf"].as_array() {
            return self.choice(item, schema, variants);
        }
        if !judge::is_of_type(&item.content, schema) {
            return self.wrong_type(item, schema);
        }
        if let Some(value) = schema.get("const")
            && !judge::is_same(&item.content, value)
        {
            return self.wrong_value(item, schema);
        }
        if judge::is_to_be_whole(&item.content, schema) {
            self.whole.push(self.path.clone());
        }
        match &item.content {
            Content::Text(text) => self.text(text, item, schema),
            Content::Number(number) => {
                self.number(number.as_f64().unwrap_or(f64::NAN), item, schema);
            }
            Content::List(items) => self.list(items, item, schema),
            Content::Map(map) => self.map(map, schema, None),
            Content::Null | Content::Bool(_) => {}
        }
    }

    fn resolved(&self, schema: &'a Value) -> &'a Value {
        let Some(reference) = schema["$ref"].as_str() else {
            return schema;
        };
        let name = reference.trim_start_matches("#/$defs/");
        &self.root["$defs"][name]
    }

    /// Words, or else the variant that takes this type; the variant for `${...}` is for editors.
    fn choice(&mut self, item: &Item, schema: &'a Value, variants: &'a [Value]) {
        let own = variants
            .iter()
            .filter(|v| v["pattern"].as_str() != Some(super::simplify::EXPRESSION_PATTERN))
            .find(|v| judge::is_of_type(&item.content, v));
        match own {
            Some(variant) if variant.get("enum").is_none() => self.item(item, variant),
            Some(variant) if judge::is_listed(item, variant) => {}
            Some(_) => self.wrong_value(item, schema),
            None => self.wrong_type(item, schema),
        }
    }

    fn text(&mut self, text: &str, item: &Item, schema: &'a Value) {
        if schema.get("enum").is_some() && !judge::is_listed(item, schema) {
            return self.wrong_value(item, schema);
        }
        if schema["format"] == "regex" && !text.contains("${") {
            return self.regex(text);
        }
        let Some(pattern) = schema["pattern"].as_str() else {
            return;
        };
        if text.contains("${") && !self.matches(pattern, text) {
            let what = words::shortened(text);
            let help = "`${node.*}` and `${link.*}` stand in texts of a node; use a variable here";
            let diagnostic = Diagnostic::error(
                codes::MISPLACED_EXPRESSION,
                format!("`{what}` is not known here"),
            );
            let path = self.path.clone();
            self.found.push(
                diagnostic
                    .at_value(path, "known only for each instance")
                    .help(help),
            );
        } else if !self.matches(pattern, text) || !quantities::is_valid(schema, text) {
            self.wrong_value(item, schema);
        }
    }

    fn regex(&mut self, text: &str) {
        if let Err(error) = Regex::new(text) {
            let message = format!("{} is no regular expression", self.place());
            let why = error.to_string();
            let why = why.lines().last().unwrap_or_default();
            let why = why.trim_start_matches("error: ").to_owned();
            self.fault_with(codes::WRONG_VALUE, message, why, None);
        }
    }

    fn matches(&mut self, pattern: &'a str, text: &str) -> bool {
        self.patterns
            .entry(pattern)
            .or_insert_with(|| pattern_of(pattern))
            .is_match(text.as_bytes())
    }

    fn number(&mut self, number: f64, item: &Item, schema: &Value) {
        let min = schema["minimum"].as_f64().filter(|min| number < *min);
        let max = schema["maximum"].as_f64().filter(|max| number > *max);
        let Some(bound) = min
            .map(|min| format!("at least {min}"))
            .or_else(|| max.map(|max| format!("at most {max}")))
        else {
            return;
        };
        let found = item.content.to_json();
        let message = format!("{} must be {bound}, not `{found}`", self.place());
        self.fault(codes::OUT_OF_BOUNDS, message, format!("must be {bound}"));
    }

    fn list(&mut self, items: &[Item], item: &Item, schema: &'a Value) {
        if schema["minItems"]
            .as_u64()
            .is_some_and(|min| (items.len() as u64) < min)
        {
            let message = format!("{} is empty", self.place());
            self.fault(
                codes::OUT_OF_BOUNDS,
                message,
                "at least one item belongs here",
            );
        }
        debug_assert!(item.as_list().is_some());
        if let Some(schema) = schema.get("items") {
            for (index, item) in items.iter().enumerate() {
                self.path.steps.push(Step::Index(index));
                self.item(item, schema);
                self.path.steps.pop();
            }
        }
    }

    /// `rules` are the conditional branches beside this one, where this is one.
    fn map(&mut self, map: &Map, schema: &'a Value, rules: Option<&'a Value>) {
        self.sizes(map, schema);
        self.required(map, schema);
        for entry in map.iter() {
            self.entry(entry, schema, rules);
        }
        for rule in schema["allOf"].as_array().into_iter().flatten() {
            let branch = if judge::holds(map, &rule["if"]) {
                "then"
            } else {
                "else"
            };
            if let Some(branch) = rule.get(branch) {
                self.map(map, branch, Some(&schema["allOf"]));
            }
        }
    }

    fn sizes(&mut self, map: &Map, schema: &Value) {
        let count = map.len() as u64;
        if schema["minProperties"]
            .as_u64()
            .is_some_and(|min| count < min)
        {
            let message = format!("{} is empty", self.place());
            self.fault(codes::OUT_OF_BOUNDS, message, "one key belongs here");
        }
        if schema["maxProperties"]
            .as_u64()
            .is_some_and(|max| count > max)
        {
            let message = format!("{} has more than one key", self.place());
            self.fault(codes::OUT_OF_BOUNDS, message, "only one key belongs here");
        }
    }

    fn required(&mut self, map: &Map, schema: &'a Value) {
        for key in schema["required"].as_array().into_iter().flatten() {
            let key = key.as_str().unwrap_or_default();
            if map.get(key).is_none() && !judge::is_meant(key, map, schema) {
                self.missing(key, map, schema);
            }
        }
    }

    fn missing(&mut self, key: &str, map: &Map, schema: &'a Value) {
        let property = self.resolved(&schema["properties"][key]);
        let says = schema["x-missing"].as_str().map(str::to_owned);
        let help = says.or_else(|| {
            let description = property["description"].as_str()?.replace('\n', " ");
            let sentence = description
                .split(". ")
                .next()?
                .trim_end_matches('.')
                .to_owned();
            Some(format!("`{key}`: {sentence}"))
        });
        let mut diagnostic = Diagnostic::error(
            codes::MISSING_KEY,
            format!("{} has no `{key}`", self.place()),
        );
        diagnostic.help = help;
        // The top of a file has no key of its own: its first key stands for it.
        let path = match map.iter().next() {
            Some(first) if self.path.steps.is_empty() => self.path.key(&first.key),
            _ => self.path.clone(),
        };
        let label = format!("`{key}` is missing");
        self.found.push(diagnostic.at_key(path, label));
    }

    fn entry(&mut self, entry: &Entry, schema: &'a Value, rules: Option<&'a Value>) {
        let key = entry.key.as_str();
        self.path.steps.push(Step::Key(key.to_owned()));
        if let Some(pattern) = schema["propertyNames"]["pattern"].as_str()
            && !self.matches(pattern, key)
        {
            let expected = schema["propertyNames"]["x-expected"].as_str();
            let message = format!("`{}` is no name", words::shortened(key));
            let label = format!("expected {}", expected.unwrap_or("a name"));
            let path = self.path.clone();
            self.found
                .push(Diagnostic::error(codes::BAD_NAME, message).at_key(path, label));
        }
        let property = schema["properties"].get(key);
        let is_users = schema["patternProperties"]
            .as_object()
            .is_some_and(|_| crate::manifest::decode::is_ignored(key));
        match (property, schema.get("additionalProperties")) {
            (Some(Value::Bool(false)), _) => self.excluded(key, schema),
            (Some(property), _) => self.item(&entry.item, property),
            (None, _) if is_users => {}
            (None, Some(Value::Bool(false))) => self.unknown_key(key, schema, rules),
            (None, Some(value)) => self.item(&entry.item, value),
            (None, None) => {}
        }
        self.path.steps.pop();
    }

    fn excluded(&mut self, key: &str, schema: &Value) {
        let says = schema["x-says"]
            .as_str()
            .unwrap_or("it does not go with the others");
        let message = format!("`{key}` does not belong here: {says}");
        let path = self.path.clone();
        self.found
            .push(Diagnostic::error(codes::MISPLACED_KEY, message).at_key(path, "remove this"));
    }

    fn unknown_key(&mut self, key: &str, schema: &'a Value, rules: Option<&'a Value>) {
        let path = self.path.clone();
        let carriers: Vec<&str> = rules
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .map(|rule| &rule["then"])
            .filter(|then| then["properties"].get(key).is_some())
            .filter_map(|then| then["x-for"].as_str())
            .collect();
        if let (Some(own), false) = (schema["x-for"].as_str(), carriers.is_empty()) {
            let help = match key {
                "from" | "to" => "its members stand in one list: `among: [...]`".to_owned(),
                "among" => "it has two sides: `from` and `to`".to_owned(),
                "command" => "a node has a `kind` or a `command`, not both".to_owned(),
                _ => format!("it goes with {}", words::joined(&carriers)),
            };
            let message = format!("`{key}` does not go with {own}");
            let diagnostic = Diagnostic::error(codes::MISPLACED_KEY, message);
            self.found
                .push(diagnostic.at_key(path, "not a key of this").help(help));
            return;
        }
        let known: Vec<&str> = schema["properties"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, _)| key.as_str())
            .collect();
        let help = foreign::instead(key, &known)
            .map(|own| format!("here it is written {own}"))
            .or_else(|| did_you_mean(key, known.iter().copied()))
            .unwrap_or_else(|| format!("known here: {}", words::listed(known, "and")));
        let message = format!("unknown key `{}`", words::shortened(key));
        self.found.push(
            Diagnostic::error(codes::UNKNOWN_KEY, message)
                .at_key(path, "nothing reads this key")
                .help(help),
        );
    }

    fn wrong_type(&mut self, item: &Item, schema: &Value) {
        let expected = words::expected(schema);
        let place = self.place();
        let message = match item.content {
            Content::Null => format!("{place} has no value"),
            _ => format!("{place} takes {expected}, not {}", words::found(item)),
        };
        let help = words::remedy(item, schema);
        self.fault_with(
            codes::WRONG_VALUE,
            message,
            format!("expected {expected}"),
            help,
        );
    }

    fn wrong_value(&mut self, item: &Item, schema: &Value) {
        if quantities::is_no_time(schema, item) {
            let message = format!("{} must be longer than nothing", self.place());
            return self.fault(codes::OUT_OF_BOUNDS, message, "no time at all");
        }
        let expected = words::expected(schema);
        let message = format!(
            "{} takes {expected}, not {}",
            self.place(),
            words::found(item)
        );
        let help = words::choices(schema)
            .and_then(|choices| {
                let near = nearest(item.as_text()?, choices)?;
                Some(format!("did you mean `{near}`?"))
            })
            .or_else(|| quantities::why(schema, item.as_text()?))
            .or_else(|| words::remedy(item, schema));
        let label = match words::choices(schema) {
            Some(_) => "none of these".to_owned(),
            None => format!("expected {expected}"),
        };
        let code = if self.is_socket_type() {
            codes::PAIRING
        } else {
            codes::WRONG_VALUE
        };
        self.fault_with(code, message, label, help);
    }
}
