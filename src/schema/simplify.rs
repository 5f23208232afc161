//! What schemars derives, in the shape that gives one clean error per fault.
//!
//! An optional key is absent or right, never null. A choice between types is one schema with several
//! types, since a failed `anyOf` reports every branch. Constants with descriptions are one `enum`.

use serde_json::{Map, Value, json};

type Object = Map<String, Value>;

/// One `${...}` and nothing else.
pub(super) const EXPRESSION_PATTERN: &str = r"^\$\{[^{}]+\}$";

/// Simplifies a derived schema, its parts first.
pub(super) fn simplify(schema: Value) -> Value {
    let Value::Object(mut schema) = schema else {
        return schema;
    };
    // What holds where nothing is written is said in the description.
    schema.shift_remove("default");
    simplify_parts(&mut schema);
    strip_null(&mut schema);
    bound_integers(&mut schema);
    for key in ["anyOf", "oneOf"] {
        if let Some(Value::Array(variants)) = schema.shift_remove(key) {
            schema = unite(schema, flatten(variants));
        }
    }
    Value::Object(schema)
}

fn simplify_parts(schema: &mut Object) {
    for key in ["properties", "$defs"] {
        if let Some(Value::Object(parts)) = schema.get_mut(key) {
            for part in parts.values_mut() {
                *part = simplify(part.take());
            }
        }
    }
    for key in ["additionalProperties", "items"] {
        if let Some(part) = schema.get_mut(key) {
            *part = simplify(part.take());
        }
    }
    for key in ["anyOf", "oneOf"] {
        if let Some(Value::Array(variants)) = schema.get_mut(key) {
            for variant in variants {
                *variant = simplify(variant.take());
            }
        }
    }
}

fn strip_null(schema: &mut Object) {
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            schema.insert("type".into(), only);
        }
    }
    if let Some(Value::Array(values)) = schema.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
    if let Some(Value::Array(variants)) = schema.get_mut("anyOf") {
        variants.retain(|variant| variant.get("type") != Some(&json!("null")));
    }
}

/// Formats say nothing to an editor; their bounds do.
fn bound_integers(schema: &mut Object) {
    let max: u64 = match schema
        .shift_remove("format")
        .as_ref()
        .and_then(Value::as_str)
    {
        Some("uint16") => u16::MAX.into(),
        Some("uint32") => u32::MAX.into(),
        // The largest integer that every JSON reader agrees on.
        Some("uint64") => (1 << 53) - 1,
        _ => return,
    };
    schema.entry("maximum").or_insert_with(|| max.into());
}

fn flatten(variants: Vec<Value>) -> Vec<Value> {
    variants
        .into_iter()
        .flat_map(|mut variant| match variant.get_mut("anyOf") {
            Some(Value::Array(inner)) => std::mem::take(inner),
            _ => vec![variant],
        })
        .collect()
}

/// One schema for a choice; what is said outside wins over what the variants say.
fn unite(outer: Object, variants: Vec<Value>) -> Object {
    let mut variants: Vec<Object> = variants
        .into_iter()
        .filter_map(|variant| match variant {
            Value::Object(object) => Some(object),
            _ => None,
        })
        .collect();
    let mut united = if variants.iter().all(|v| v.contains_key("const")) {
        constants(&variants)
    } else if variants.iter().all(is_one_key) {
        one_key_of(variants)
    } else if variants.len() == 1 {
        variants.remove(0)
    } else if let Some(at) = variants.iter().position(|v| v.contains_key("enum")) {
        let words = variants.remove(at);
        let others = merge(variants);
        Object::from_iter([("anyOf".to_owned(), json!([words, others]))])
    } else {
        merge(variants)
    };
    for (key, value) in outer {
        united.insert(key, value);
    }
    // The description reads best at the top.
    if let Some(description) = united.shift_remove("description") {
        united.shift_insert(0, "description".into(), description);
    }
    united
}

fn constants(variants: &[Object]) -> Object {
    let values: Vec<&Value> = variants.iter().map(|v| &v["const"]).collect();
    let words = variants.iter().map(|v| v.get("description"));
    let words: Vec<&Value> = words.map(|v| v.unwrap_or(&Value::Null)).collect();
    let mut schema = Object::from_iter([
        ("type".to_owned(), json!("string")),
        ("enum".to_owned(), json!(values)),
    ]);
    if words.iter().all(|word| word.is_string()) {
        schema.insert("enumDescriptions".into(), json!(words));
    }
    schema
}

/// Whether a variant is a mapping with one key, as serde writes an enum with data.
fn is_one_key(variant: &Object) -> bool {
    let properties = variant.get("properties").and_then(Value::as_object);
    properties.is_some_and(|p| p.len() == 1)
        && variant.contains_key("required")
        && variant.get("additionalProperties") == Some(&json!(false))
}

fn one_key_of(variants: Vec<Object>) -> Object {
    let mut properties = Object::new();
    for mut variant in variants {
        let description = variant.shift_remove("description");
        let Some(Value::Object(own)) = variant.shift_remove("properties") else {
            continue;
        };
        for (key, mut schema) in own {
            if let (Some(object), Some(description)) = (schema.as_object_mut(), &description) {
                object.insert("description".into(), description.clone());
            }
            properties.insert(key, schema);
        }
    }
    Object::from_iter([
        ("type".to_owned(), json!("object")),
        ("properties".to_owned(), properties.into()),
        ("additionalProperties".to_owned(), json!(false)),
        ("minProperties".to_owned(), json!(1)),
        ("maxProperties".to_owned(), json!(1)),
    ])
}

/// One schema with the types of all variants: each keyword speaks to one type only.
fn merge(variants: Vec<Object>) -> Object {
    // A variant without a type takes anything, and so does the choice.
    if variants.iter().any(|v| !v.contains_key("type")) {
        return Object::new();
    }
    let mut merged = Object::new();
    let mut types: Vec<Value> = Vec::new();
    // What one form of a mapping can do without, the choice cannot ask for.
    let is_object = |v: &&Object| v.get("type") == Some(&json!("object"));
    let must = |v: &Object| v.contains_key("required");
    let is_required = variants.iter().filter(is_object).all(must);
    for mut variant in variants {
        variant.shift_remove("description");
        let ty = variant.shift_remove("type").unwrap_or_default();
        if !types.contains(&ty) {
            types.push(ty);
        }
        for (key, value) in variant {
            let united = match (key.as_str(), merged.get(&key)) {
                ("pattern", Some(Value::String(own))) => {
                    json!(either(own, value.as_str().unwrap_or_default()))
                }
                ("x-expected", Some(Value::String(own))) => {
                    json!(format!("{own}, or {}", value.as_str().unwrap_or_default()))
                }
                // `{import: FILE}` beside a mapping of names: the names stay open.
                ("additionalProperties", Some(Value::Bool(false))) => value,
                ("additionalProperties" | "required", Some(own)) => own.clone(),
                _ => value,
            };
            merged.insert(key, united);
        }
    }
    if !is_required {
        merged.shift_remove("required");
    }
    let ty = match types.as_slice() {
        [only] => only.clone(),
        _ => types.into(),
    };
    merged.shift_insert(0, "type".into(), ty);
    merged
}

/// A pattern that takes what either takes.
fn either(a: &str, b: &str) -> String {
    format!("(?:{a})|(?:{b})")
}

/// Lets every value that is not a free text also be one `${...}`, in all parts of a schema.
pub(super) fn accept_expressions(schema: &mut Value) {
    let Some(schema) = schema.as_object_mut() else {
        return;
    };
    for key in ["properties", "$defs"] {
        if let Some(Value::Object(parts)) = schema.get_mut(key) {
            parts.values_mut().for_each(accept_expressions);
        }
    }
    for key in ["additionalProperties", "items"] {
        if let Some(part) = schema.get_mut(key) {
            accept_expressions(part);
        }
    }
    let expression = json!({"type": "string", "pattern": EXPRESSION_PATTERN});
    if let Some(Value::Array(variants)) = schema.get_mut("anyOf") {
        for variant in variants.iter_mut().filter(|v| v.get("enum").is_none()) {
            accept_expressions(variant);
        }
        variants.push(expression);
    } else if schema.contains_key("enum") {
        let inner: Object = ["type", "enum", "enumDescriptions"]
            .into_iter()
            .filter_map(|key| Some((key.to_owned(), schema.shift_remove(key)?)))
            .collect();
        schema.insert("anyOf".into(), json!([inner, expression]));
    } else {
        accept_in_types(schema);
    }
}

fn accept_in_types(schema: &mut Object) {
    let types: Vec<Value> = match schema.get("type") {
        Some(Value::Array(types)) => types.clone(),
        Some(ty) => vec![ty.clone()],
        None => return,
    };
    let has = |name: &str| types.iter().any(|ty| ty == name);
    if has("string") {
        if let Some(Value::String(pattern)) = schema.get("pattern") {
            let pattern = either(EXPRESSION_PATTERN, pattern);
            schema.insert("pattern".into(), pattern.into());
        }
    } else if has("integer") || has("number") || has("boolean") {
        let types: Vec<Value> = types.into_iter().chain([json!("string")]).collect();
        schema.insert("type".into(), types.into());
        schema.insert("pattern".into(), EXPRESSION_PATTERN.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_between_types_become_one_schema() {
        let raw = json!({"description": "outer", "anyOf": [
            {"description": "inner", "anyOf": [
                {"type": "integer", "format": "uint16", "minimum": 1},
                {"type": "string", "pattern": "^a$", "x-expected": "an a"},
                {"type": "array", "items": {"type": "string"}},
            ]},
            {"type": "null"},
        ]});
        assert_eq!(
            simplify(raw),
            json!({"description": "outer", "type": ["integer", "string", "array"],
                   "minimum": 1, "maximum": 65535, "pattern": "^a$", "x-expected": "an a",
                   "items": {"type": "string"}})
        );
    }

    #[test]
    fn whatever_is_no_text_takes_one_expression() {
        let mut number = json!({"type": "integer", "minimum": 1});
        accept_expressions(&mut number);
        assert_eq!(
            number,
            json!({"type": ["integer", "string"], "minimum": 1, "pattern": EXPRESSION_PATTERN})
        );
        let mut text = json!({"type": "string"});
        accept_expressions(&mut text);
        assert_eq!(text, json!({"type": "string"}));
        let mut words = json!({"type": "string", "enum": ["a"]});
        accept_expressions(&mut words);
        assert_eq!(words["anyOf"][0], json!({"type": "string", "enum": ["a"]}));
    }
}
