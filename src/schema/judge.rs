//! Questions about one value or mapping that are answered yes or no.

use serde_json::Value;

use super::simplify::EXPRESSION_PATTERN;
use super::{foreign, words};
use crate::diagnostics::suggest::nearest;
use crate::source::tree::{Content, Item, Map};

/// Whether a condition holds, as far as conditions are written: properties, required, anyOf, not.
pub(super) fn holds(map: &Map, condition: &Value) -> bool {
    let keys = condition["required"].as_array().into_iter().flatten();
    let has_all = keys
        .filter_map(Value::as_str)
        .all(|key| map.get(key).is_some());
    let properties = condition["properties"].as_object().into_iter().flatten();
    let are_right = properties
        .filter_map(|(key, schema)| Some((map.get(key)?, schema)))
        .all(|(item, schema)| {
            let value = item.content.to_json();
            let is_const = schema.get("const").is_none_or(|c| *c == value);
            is_const && (schema.get("enum").is_none() || is_listed(item, schema))
        });
    let is_not = condition.get("not").is_some_and(|inner| holds(map, inner));
    let variants = condition["anyOf"].as_array();
    let is_any = variants.is_none_or(|variants| variants.iter().any(|inner| holds(map, inner)));
    has_all && are_right && !is_not && is_any
}

/// Whether another key of the mapping stands where this one was meant: it is reported, and naming
/// the missing one as well would be the same fault again.
pub(super) fn is_meant(missing: &str, map: &Map, schema: &Value) -> bool {
    let is_known = |key: &str| schema["properties"].get(key).is_some();
    map.iter()
        .map(|entry| entry.key.as_str())
        .filter(|key| !is_known(key))
        .any(|key| nearest(key, [missing]).is_some() || foreign::instead(key, &[missing]).is_some())
}

pub(super) fn is_listed(item: &Item, schema: &Value) -> bool {
    let value = item.content.to_json();
    schema["enum"]
        .as_array()
        .is_some_and(|values| values.contains(&value))
}

pub(super) fn is_of_type(content: &Content, schema: &Value) -> bool {
    let types = words::types(schema);
    let is_whole = |number: &serde_json::Number| {
        number.is_i64() || number.is_u64() || number.as_f64().is_some_and(|n| n.fract() == 0.0)
    };
    types.is_empty()
        || types.iter().any(|ty| match content {
            Content::Null => false,
            Content::Bool(_) => *ty == "boolean",
            Content::Number(number) => *ty == "number" || (*ty == "integer" && is_whole(number)),
            // A number takes `${...}` in editors; here it has been replaced by its value.
            Content::Text(_) => {
                *ty == "string" && schema["pattern"].as_str() != Some(EXPRESSION_PATTERN)
            }
            Content::List(_) => *ty == "array",
            Content::Map(_) => *ty == "object",
        })
}

/// Whether a value is a schema's constant; `1.0` is `1`.
pub(super) fn is_same(content: &Content, constant: &Value) -> bool {
    match (content, constant) {
        (Content::Number(own), Value::Number(other)) => own.as_f64() == other.as_f64(),
        _ => content.to_json() == *constant,
    }
}

/// Whether a number has a fraction of nothing where only whole ones stand.
pub(super) fn is_to_be_whole(content: &Content, schema: &Value) -> bool {
    let types = words::types(schema);
    let takes_only_whole = types.contains(&"integer") && !types.contains(&"number");
    matches!(content, Content::Number(number) if number.is_f64())
        && (takes_only_whole || schema.get("const").is_some())
}
