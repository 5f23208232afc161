//! The JSON Schema of manifests, made from the manifest types and the rows of `ROLES`.
//!
//! `schemas/topology.schema.json` is this, printed; a test fails while it is stale. Making it takes
//! four times as long as reading it, so manifests are held against what is printed there.

use std::sync::OnceLock;

use serde_json::{Map, Value, json};

use super::branches;
use super::simplify;
use super::snippets;
use super::words;
use crate::manifest::topology::TopologyDecl;
use crate::model::name::NAME_PATTERN;
use crate::model::quantity::Duration;

type Object = Map<String, Value>;

/// The keys of `env`, as shells take them.
const ENV_NAME_PATTERN: &str = "^[A-Za-z_][A-Za-z0-9_]*$";

/// What can be listened on and dialled.
const ADDRESS_PATTERN: &str = r"^[^*/\s]+$";

/// The schema of a topology, as it is printed.
pub fn topology() -> &'static Value {
    static SCHEMA: OnceLock<Value> = OnceLock::new();
    let printed = include_str!("../../schemas/topology.schema.json");
    SCHEMA.get_or_init(|| serde_json::from_str(printed).expect("it was printed by us"))
}

/// Makes the schema of a topology.
pub fn generate() -> Value {
    let derived = schemars::schema_for!(TopologyDecl).to_value();
    let mut schema = simplify::simplify(derived);
    name_keys(&mut schema);
    check_texts(&mut schema);
    refuse_no_time(&mut schema);
    branches::describe_kinds(
        &mut schema["properties"]["nodes"]["additionalProperties"]["properties"]["kind"],
    );
    // Declarations are read before there are variables to replace.
    let vars = schema["properties"]["vars"].clone();
    simplify::accept_expressions(&mut schema);
    schema["properties"]["vars"] = vars;
    let mut defs = Object::new();
    let properties = schema["properties"]
        .as_object_mut()
        .expect("a topology has keys");
    properties["zmqnet"] = json!({
        "description": "The version of this language. Always `1`.",
        "const": 1,
    });
    let node = branches::node(object(properties, "nodes"), &mut defs);
    let link = branches::link(object(properties, "links"), &mut defs);
    branches::one_way_to_probe(&mut defs["node-probe"]);
    defs.insert("node".into(), node);
    defs.insert("link".into(), link);
    for (block, def, offered) in [
        ("nodes", "node", snippets::nodes()),
        ("links", "link", snippets::links()),
    ] {
        properties[block]["additionalProperties"] = json!({"$ref": format!("#/$defs/{def}")});
        properties[block]["defaultSnippets"] = offered;
    }
    schema["required"] = json!(["zmqnet", "nodes"]);
    schema["$defs"] = defs.into();
    open_for_users(&mut schema);
    explain_patterns(&mut schema);
    let draft = json!("https://json-schema.org/draft/2020-12/schema");
    let mut named = Object::from_iter([("$schema".to_owned(), draft)]);
    if let Value::Object(mut schema) = schema {
        for key in ["title", "description"] {
            named.extend(schema.shift_remove_entry(key));
        }
        named.extend(schema.into_iter().filter(|(key, _)| key != "$schema"));
    }
    named.into()
}

/// The schema of one entry of a block.
fn object(properties: &Object, block: &str) -> Object {
    properties[block]["additionalProperties"]
        .as_object()
        .expect("the entries of a block are mappings")
        .clone()
}

/// Says where keys and values are names.
fn name_keys(schema: &mut Value) {
    let name =
        |schema: &mut Value| branches::named_by(schema, NAME_PATTERN, branches::NAME_EXPECTED);
    let top = &mut schema["properties"];
    for block in ["nodes", "links", "hosts", "vars", "include"] {
        name(&mut top[block]);
    }
    branches::a_name(&mut top["name"]);
    branches::variable(&mut top["vars"]["additionalProperties"]);
    let node = &mut top["nodes"]["additionalProperties"]["properties"];
    name(&mut node["sockets"]);
    let replicas = &mut node["replicas"];
    name(replicas);
    branches::a_name(&mut replicas["items"]);
    replicas["items"]["type"] = json!("string");
    replicas["minProperties"] = json!(1);
    replicas["allOf"] = json!([{
        "if": {"required": ["import"]},
        "then": {"maxProperties": 1},
    }]);
    env_keys(&mut node["env"]);
    env_keys(&mut node["replicas"]["additionalProperties"]["properties"]["env"]);
}

fn env_keys(env: &mut Value) {
    branches::named_by(
        env,
        ENV_NAME_PATTERN,
        "the name of an environment variable: letters, digits and `_`",
    );
}

/// Texts that must be more than texts: addresses that can be dialled, regular expressions.
fn check_texts(schema: &mut Value) {
    let top = &mut schema["properties"];
    let host = &mut top["hosts"]["additionalProperties"]["properties"];
    for key in ["address", "bind"] {
        host[key]["pattern"] = ADDRESS_PATTERN.into();
        host[key]["x-expected"] = "an IP address or a host name".into();
    }
    let node = &mut top["nodes"]["additionalProperties"]["properties"];
    node["probe"]["properties"]["log"]["format"] = "regex".into();
    node["filters"]["items"]["properties"]["regex"]["format"] = "regex".into();
    let link = &mut top["links"]["additionalProperties"]["properties"];
    link["filters"]["items"]["properties"]["regex"]["format"] = "regex".into();
}

/// Durations that are none when they are nothing.
fn refuse_no_time(schema: &mut Value) {
    let top = &mut schema["properties"];
    let mut positive = |at: &str, keys: &[&str]| {
        for key in keys {
            let duration = &mut top.pointer_mut(at).expect("it is written")[*key];
            assert_eq!(
                duration["pattern"],
                Duration::PATTERN,
                "`{key}` is a duration"
            );
            duration["pattern"] = Duration::POSITIVE_PATTERN.into();
        }
    };
    let node = "/nodes/additionalProperties/properties";
    positive(
        "/defaults/properties/probe/properties",
        &["every", "timeout"],
    );
    positive(&format!("{node}/probe/properties"), &["every", "timeout"]);
    positive(node, &["lease", "every", "ttl"]);
    positive("/links/additionalProperties/properties", &["timeout"]);
}

/// What editors show instead of a pattern.
fn explain_patterns(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(explain_patterns),
        Value::Object(object) => {
            object.values_mut().for_each(explain_patterns);
            if object.get("pattern").is_some_and(Value::is_string) {
                let expected = match object.get("x-expected") {
                    Some(Value::String(expected)) if !object.contains_key("type") => {
                        expected.clone()
                    }
                    _ => words::expected(&Value::Object(object.clone())),
                };
                let message = format!("expected {expected}");
                object.insert("patternErrorMessage".into(), message.into());
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// `x-` keys and `$schema` may stand in every mapping whose keys are ours.
fn open_for_users(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(open_for_users),
        Value::Object(object) => {
            object.values_mut().for_each(open_for_users);
            let is_closed = object.get("additionalProperties") == Some(&Value::Bool(false));
            let is_named = object.contains_key("propertyNames");
            if is_closed {
                object.insert("patternProperties".into(), json!({"^(x-|\\$schema$)": {}}));
            } else if is_named {
                object.insert("patternProperties".into(), json!({"^x-": {}}));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_what_the_types_say() {
        let help = "`UPDATE=1 cargo test` prints it anew";
        assert!(*topology() == generate(), "the schema is stale: {help}");
    }

    #[test]
    fn every_kind_has_a_closed_branch_and_every_reference_a_definition() {
        let text = topology().to_string();
        let is_seen = |role: &&crate::roles::Role| role.kind != crate::roles::Kind::Gate;
        for role in crate::roles::ROLES.iter().filter(is_seen) {
            let label = match role.kind {
                crate::roles::Kind::Command => "`command` nodes".to_owned(),
                _ => format!("kind `{}`", role.name),
            };
            assert!(text.contains(&label), "{label}");
        }
        for part in text.split("\"#/$defs/").skip(1) {
            let name = part.split('"').next().unwrap();
            assert!(topology()["$defs"].get(name).is_some(), "{name}");
        }
        assert!(!text.contains("\"null\"") && !text.contains("uint"));
    }
}
