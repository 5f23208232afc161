//! How a schema and a value are said in words.

use serde_json::Value;

use super::simplify::EXPRESSION_PATTERN;
use crate::source::tree::{Content, Item};

/// The longest text shown whole in a message, in characters.
const SHOWN_CHARS_MAX: usize = 40;

/// The most choices that are listed.
const CHOICES_MAX: usize = 30;

/// The types a schema takes.
pub(super) fn types(schema: &Value) -> Vec<&str> {
    match &schema["type"] {
        Value::String(ty) => vec![ty],
        Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// What belongs where this schema stands.
pub(super) fn expected(schema: &Value) -> String {
    if let Some(choices) = choices(schema) {
        let own = format!("one of {}", listed(choices.iter().copied(), "or"));
        let others = schema["anyOf"].as_array().map(|variants| {
            let others = variants.iter().filter(|v| v.get("enum").is_none());
            others
                .filter_map(type_words)
                .collect::<Vec<_>>()
                .join(" or ")
        });
        return match others {
            Some(others) if !others.is_empty() => format!("{own}, or {others}"),
            _ => own,
        };
    }
    if let Some(value) = schema.get("const") {
        return format!("`{value}`");
    }
    type_words(schema).unwrap_or_else(|| "something else".into())
}

fn type_words(schema: &Value) -> Option<String> {
    let expected = schema["x-expected"].as_str();
    let pattern = schema["pattern"].as_str();
    let words: Vec<&str> = types(schema)
        .into_iter()
        .filter_map(|ty| match ty {
            "string" if expected.is_some() => expected,
            "string" if pattern == Some(EXPRESSION_PATTERN) => None,
            "string" => Some("a text"),
            "integer" => Some("a whole number"),
            "number" => Some("a number"),
            "boolean" => Some("`true` or `false`"),
            "array" => Some("a list"),
            "object" => Some("a mapping"),
            _ => None,
        })
        .collect();
    (!words.is_empty()).then(|| match words.as_slice() {
        [many @ .., last] if !many.is_empty() => format!("{} or {last}", many.join(", ")),
        _ => words.join(""),
    })
}

/// ``kinds `proxy` and `cache` ``, from ``kind `proxy` `` and ``kind `cache` ``.
pub(super) fn joined(labels: &[&str]) -> String {
    let kinds: Vec<&str> = labels
        .iter()
        .filter_map(|label| label.strip_prefix("kind "))
        .collect();
    let others = labels.iter().filter(|label| !label.starts_with("kind "));
    let mut words: Vec<String> = others.map(|label| (*label).to_owned()).collect();
    match kinds.as_slice() {
        [] => {}
        [only] => words.insert(0, format!("kind {only}")),
        [many @ .., last] => words.insert(0, format!("kinds {} and {last}", many.join(", "))),
    }
    words.join(", and with ")
}

/// The words a schema takes, if it takes words.
pub(super) fn choices(schema: &Value) -> Option<Vec<&str>> {
    let words = schema["enum"].as_array().or_else(|| {
        let variants = schema["anyOf"].as_array()?;
        variants
            .iter()
            .find_map(|variant| variant["enum"].as_array())
    })?;
    Some(words.iter().filter_map(Value::as_str).collect())
}

/// `` `a`, `b` or `c` ``
pub(super) fn listed<'a>(words: impl IntoIterator<Item = &'a str>, last: &str) -> String {
    let words: Vec<String> = words.into_iter().map(|word| format!("`{word}`")).collect();
    match words.as_slice() {
        [] => String::new(),
        [only] => only.clone(),
        many if many.len() > CHOICES_MAX => format!("{}, ...", many[..CHOICES_MAX].join(", ")),
        [many @ .., end] => format!("{} {last} {end}", many.join(", ")),
    }
}

/// What a value is, shown as far as it is short.
pub(super) fn found(item: &Item) -> String {
    match &item.content {
        Content::Text(text) if text.parse::<f64>().is_ok() => format!("the text `{text}`"),
        Content::Text(text) => format!("`{}`", shortened(text)),
        Content::Number(number) => format!("the number `{number}`"),
        Content::Bool(value) => format!("`{value}`"),
        other => other.in_words().to_owned(),
    }
}

/// A text cut to what fits into a message, on one line.
pub(super) fn shortened(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() <= SHOWN_CHARS_MAX && line.len() == text.trim_end().len() {
        return line.to_owned();
    }
    let cut: String = line.chars().take(SHOWN_CHARS_MAX).collect();
    format!("{cut}...")
}

/// What to type when a value has the wrong type but its meaning can be guessed.
pub(super) fn remedy(item: &Item, schema: &Value) -> Option<String> {
    let types = types(schema);
    let takes = |ty: &str| types.contains(&ty);
    let is_free_text = takes("string") && schema.get("pattern").is_none();
    match &item.content {
        Content::Number(number) if is_free_text => {
            // `0o17` and `1e3` are numbers that are written in other ways than they are printed.
            let is_as_written = item.span.end - item.span.start == number.to_string().len();
            Some(match is_as_written {
                true => format!("quote it: \"{number}\""),
                false => "write it in quotes, as it is".to_owned(),
            })
        }
        Content::Bool(value) if is_free_text => Some(format!("quote it: \"{value}\"")),
        Content::Number(number) => {
            let expected = schema["x-expected"].as_str()?;
            let unit = if expected.starts_with("a duration") {
                "s"
            } else if expected.starts_with("a size") {
                "KiB"
            } else {
                return None;
            };
            Some(format!("write the unit: `{number}{unit}`"))
        }
        Content::Text(text) if takes("boolean") => {
            let value = match text.to_lowercase().as_str() {
                "yes" | "on" | "y" | "true" => "true",
                "no" | "off" | "n" | "false" => "false",
                _ => return None,
            };
            Some(format!(
                "write `{value}`: here `{text}` is a text, as YAML 1.2 has it"
            ))
        }
        Content::Text(text) if text.parse::<u64>().is_ok_and(|n| schema["const"] == n) => {
            Some(format!("write it without quotes: {text}"))
        }
        Content::Text(text) if takes("integer") && text.parse::<i64>().is_ok() => {
            Some(format!("write it without quotes: {text}"))
        }
        Content::Text(text) if takes("array") && !takes("string") => {
            let words: Vec<&str> = text.split_whitespace().collect();
            Some(format!("write a list: [{}]", shortened(&words.join(", "))))
        }
        _ => None,
    }
}
