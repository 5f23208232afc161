//! The closed branches: which keys go with which kind of node and which pattern of link.

use serde_json::{Map, Value, json};

use crate::model::name::NAME_PATTERN;
use crate::model::socket::{Pattern, Side};
use crate::roles::{Kind, ROLES, Role};

type Object = Map<String, Value>;

/// Keys of every node that zmqnet or a program runs.
const RUN_KEYS: &[&str] = &[
    "image", "replicas", "host", "port", "after", "when", "late", "run", "probe", "restart",
    "stop", "logs", "limits", "update",
];
/// Keys of programs beside those.
const PROGRAM_KEYS: &[&str] = &["command", "sockets", "env", "cwd"];
/// Keys of nodes that somebody else starts.
const EXTERNAL_KEYS: &[&str] = &[
    "replicas", "host", "port", "sockets", "when", "key", "probe",
];

/// Keys of every link.
const LINK_KEYS: &[&str] = &["hwm", "overflow", "transport", "types", "curve", "gate"];

/// The keys that a kind of node carries, `kind` apart.
pub fn keys_of(role: &Role) -> Vec<&'static str> {
    let mut keys = match role.kind {
        Kind::Command => [PROGRAM_KEYS, RUN_KEYS].concat(),
        Kind::External => EXTERNAL_KEYS.to_vec(),
        _ => RUN_KEYS.to_vec(),
    };
    keys.extend(role.keys);
    if role.has_store {
        keys.push("store");
    }
    if role.kind == Kind::Spool {
        keys.push("filters");
    }
    keys
}

/// The keys that a pattern of link carries, those it needs first.
fn keys_of_pattern(pattern: Pattern) -> (&'static [&'static str], &'static [&'static str]) {
    match pattern {
        Pattern::Request => (&["from", "to"], &["via", "listen", "timeout", "retries"]),
        Pattern::Pubsub => (
            &["from", "to"],
            &["via", "listen", "topics", "filters", "pace"],
        ),
        Pattern::Pipeline => (&["from", "to"], &["listen"]),
        Pattern::Mesh => (&["among"], &["timeout", "retries"]),
        Pattern::Gossip => (&["among"], &["via", "shape", "every"]),
    }
}

const PATTERNS: [Pattern; 5] = [
    Pattern::Request,
    Pattern::Pubsub,
    Pattern::Pipeline,
    Pattern::Mesh,
    Pattern::Gossip,
];

/// The schema of a node; the schemas of its keys go to `defs`.
pub(super) fn node(mut schema: Object, defs: &mut Object) -> Value {
    let mut properties = take_properties(&mut schema, defs, "node");
    let kind = properties
        .shift_remove("kind")
        .expect("a node has a kind key");
    let mut all_of: Vec<Value> = ROLES
        .iter()
        .filter(|role| role.is_written())
        .map(|role| {
            let branch = closed(&properties, "kind", &keys_of(role), &[]);
            then_branch("kind", role.name, format!("kind `{}`", role.name), branch)
        })
        .collect();
    let command = closed(
        &properties,
        "kind",
        &keys_of(Kind::Command.role()),
        &["command"],
    );
    let mut command = labelled("`command` nodes".into(), command);
    command["x-missing"] = json!("a node has a `kind` or a `command`");
    all_of.push(json!({"if": {"not": {"required": ["kind"]}}, "then": command}));
    schema.shift_remove("additionalProperties");
    schema.insert("properties".into(), json!({"kind": kind}));
    schema.insert("allOf".into(), all_of.into());
    schema.into()
}

/// The schema of a link; the schemas of its keys go to `defs`.
pub(super) fn link(mut schema: Object, defs: &mut Object) -> Value {
    let mut properties = take_properties(&mut schema, defs, "link");
    let pattern = properties
        .shift_remove("pattern")
        .expect("a link has a pattern key");
    // Topics for each subscriber are for `pubsub` alone.
    let mut to_nodes = defs["link-from"].clone();
    to_nodes["description"] = defs["link-to"]["description"].clone();
    defs.insert("link-to-nodes".into(), to_nodes);
    let all_of: Vec<Value> = PATTERNS
        .into_iter()
        .map(|pattern| {
            let (needs, may) = keys_of_pattern(pattern);
            let keys = [needs, may, LINK_KEYS].concat();
            let mut branch = closed(&properties, "pattern", &keys, &[]);
            branch["allOf"] = json!([ends(&properties, pattern, needs)]);
            let own = &mut branch["properties"];
            own["types"] = types(&defs["link-types"], pattern);
            if !pattern.is_symmetric() && pattern != Pattern::Pubsub {
                own["to"] = json!({"$ref": "#/$defs/link-to-nodes"});
            }
            let label = format!("pattern `{pattern}`");
            then_branch("pattern", pattern.as_str(), label, branch)
        })
        .collect();
    schema.shift_remove("additionalProperties");
    schema.insert("properties".into(), json!({"pattern": pattern}));
    schema.insert("required".into(), json!(["pattern"]));
    schema.insert("allOf".into(), all_of.into());
    schema.into()
}

/// The ends that a link needs. Where the ends of the other form are written, those are the fault, and
/// what is missing is not a second one.
fn ends(properties: &Object, pattern: Pattern, needs: &[&str]) -> Value {
    let of_other_form: &[&str] = if pattern.is_symmetric() {
        &["from", "to"]
    } else {
        &["among"]
    };
    let written: Vec<Value> = of_other_form
        .iter()
        .map(|key| json!({"required": [key]}))
        .collect();
    let own: Object = needs
        .iter()
        .map(|key| ((*key).to_owned(), properties[*key].clone()))
        .collect();
    json!({
        "if": {"anyOf": written},
        "else": {"properties": own, "required": needs},
    })
}

/// Moves the keys' schemas to `defs` and leaves references.
fn take_properties(schema: &mut Object, defs: &mut Object, of: &str) -> Object {
    let Some(Value::Object(properties)) = schema.shift_remove("properties") else {
        return Object::new();
    };
    let is_decider = |key: &str| key == "kind" || key == "pattern";
    properties
        .into_iter()
        .map(|(key, value)| {
            if is_decider(&key) {
                return (key, value);
            }
            let name = format!("{of}-{key}");
            let reference = json!({"$ref": format!("#/$defs/{name}")});
            defs.insert(name, value);
            (key, reference)
        })
        .collect()
}

fn closed(properties: &Object, decider: &str, keys: &[&str], required: &[&str]) -> Value {
    let mut own = Object::from_iter([(decider.to_owned(), json!({}))]);
    for key in keys {
        own.insert((*key).to_owned(), properties[*key].clone());
    }
    let mut branch = json!({"properties": own, "additionalProperties": false});
    if !required.is_empty() {
        branch["required"] = json!(required);
    }
    branch
}

fn then_branch(decider: &str, value: &str, label: String, branch: Value) -> Value {
    json!({
        "if": {"properties": {decider: {"const": value}}, "required": [decider]},
        "then": labelled(label, branch),
    })
}

/// A branch that says in words what it is for.
fn labelled(label: String, mut branch: Value) -> Value {
    branch["x-for"] = label.into();
    branch
}

/// Gives each kind the summary of its row.
pub(super) fn describe_kinds(kind: &mut Value) {
    let rows = || ROLES.iter().filter(|role| role.is_written());
    let names: Vec<&str> = rows().map(|role| role.name).collect();
    let summaries: Vec<&str> = rows().map(|role| role.summary).collect();
    kind["enum"] = json!(names);
    kind["enumDescriptions"] = json!(summaries);
}

/// The socket types that a pattern's sides may have.
fn types(schema: &Value, pattern: Pattern) -> Value {
    let mut schema = schema.clone();
    for (side, name) in [(Side::From, "from"), (Side::To, "to")] {
        let names: Vec<&str> = pattern.types(side).iter().map(|ty| ty.as_str()).collect();
        // Its first variant lists the types, its second takes `${...}`.
        schema["properties"][name]["anyOf"][0]["enum"] = json!(names);
    }
    schema
}

/// The most one probe may ask: each way excludes those behind it, so two of them are one fault.
pub(super) fn one_way_to_probe(probe: &mut Value) {
    const WAYS: [&str; 6] = ["request", "exec", "tcp", "http", "notify", "log"];
    let mut rules: Vec<Value> = (0..WAYS.len() - 1)
        .map(|at| {
            let none: Object = WAYS[at + 1..]
                .iter()
                .map(|way| ((*way).to_owned(), json!(false)))
                .collect();
            json!({
                "if": {"required": [WAYS[at]]},
                "then": {"properties": none, "x-says": "a probe asks in one way only"},
            })
        })
        .collect();
    for key in ["send", "expect"] {
        rules.push(json!({"if": {"required": [key]}, "then": {"required": ["request"]}}));
    }
    probe["allOf"] = rules.into();
}

/// A variable's type decides which of its keys mean something.
pub(super) fn variable(var: &mut Value) {
    var["allOf"] = json!([
        {
            "if": {"properties": {"type": {"const": "enum"}}, "required": ["type"]},
            "then": {"required": ["values"]},
            "else": {"properties": {"values": false}, "x-says": "only type `enum` has values"},
        },
        {
            "if": {"properties": {"type": {"enum": ["int", "duration", "size"]}}},
            "else": {
                "properties": {"min": false, "max": false},
                "x-says": "only types `int`, `duration` and `size` have bounds",
            },
        },
    ]);
}

/// What a mapping's keys must be: names, or the user's own `x-` keys.
pub(super) fn named_by(schema: &mut Value, pattern: &str, expected: &str) {
    let inner = pattern.trim_start_matches('^').trim_end_matches('$');
    schema["propertyNames"] = json!({
        "pattern": format!("^(?:x-.*|{inner})$"),
        "x-expected": expected,
    });
}

/// The pattern of names as a value's schema.
pub(super) fn a_name(schema: &mut Value) {
    schema["pattern"] = NAME_PATTERN.into();
    schema["x-expected"] = NAME_EXPECTED.into();
}

/// A name, in words.
pub(super) const NAME_EXPECTED: &str =
    "a name: a letter, then at most 39 letters, digits, `_` or `-`";
