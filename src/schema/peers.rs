//! The JSON Schema of ZMQ Net's `peers.json`, for editors. `check` reads such files without it,
//! since there an unknown key is only a remark.

use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::model::name::NAME_PATTERN;

/// The schema of a peers file.
pub fn schema() -> &'static Value {
    static SCHEMA: OnceLock<Value> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": "ZMQ Net peers",
            "description": "The replicas of a ZMQ Net: one mesh among all of them.",
            "type": "object",
            "properties": {
                "info": {"description": "Free.", "type": "object"},
                "replicas": {
                    "description": "The members of the mesh.",
                    "type": "array",
                    "minItems": 1,
                    "items": replica(),
                },
            },
            "required": ["replicas"],
        })
    })
}

fn replica() -> Value {
    let text = |description: &str| json!({"description": description, "type": "string"});
    json!({
        "description": "A member of the mesh.",
        "type": "object",
        "properties": {
            "name": {
                "description": "Its name, which `-n` asks for.",
                "type": "string",
                "pattern": NAME_PATTERN,
            },
            "pid": {"description": "Precedence id, a tie-break.", "type": "integer", "minimum": 0},
            "host": text("A label."),
            "hostname": text("A label; the newer spelling of `host`."),
            "ipaddr": text("What it binds and others dial."),
            "ip_address": text("The newer spelling of `ipaddr`."),
            "port": {"description": "Its port.", "type": "integer", "minimum": 1, "maximum": 65535},
        },
        "required": ["name", "port"],
        "anyOf": [{"required": ["ipaddr"]}, {"required": ["ip_address"]}],
    })
}
