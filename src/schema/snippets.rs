//! What an editor offers where a node or a link is about to be written.

use serde_json::{Value, json};

/// Snippets for `nodes`.
pub(super) fn nodes() -> Value {
    json!([
        {
            "label": "command node",
            "description": "a program of yours, in any language",
            "body": {"${1:worker}": {"command": ["${2:./worker}"]}},
        },
        {
            "label": "replica node",
            "description": "members of a mesh that answer requests",
            "body": {"${1:quorum}": {"kind": "replica", "replicas": ["${2:alpha}", "${3:bravo}"]}},
        },
        {
            "label": "queue node",
            "description": "a task queue with leases and retries",
            "body": {"${1:jobs}": {"kind": "queue", "lease": "${2:30s}"}},
        },
        {
            "label": "bus node",
            "description": "a message bus between publishers and subscribers",
            "body": {"${1:bus}": {"kind": "bus"}},
        },
    ])
}

/// Snippets for `links`.
pub(super) fn links() -> Value {
    json!([
        {
            "label": "request link",
            "description": "a request gets one reply",
            "body": {"${1:tasks}": {"pattern": "request", "from": "${2:client}", "to": "${3:worker}"}},
        },
        {
            "label": "pubsub link",
            "description": "one-to-many messages by topic prefix",
            "body": {"${1:news}": {"pattern": "pubsub", "from": "${2:source}", "to": "${3:reader}"}},
        },
        {
            "label": "pipeline link",
            "description": "work handed down a line",
            "body": {"${1:work}": {"pattern": "pipeline", "from": "${2:source}", "to": "${3:sink}"}},
        },
        {
            "label": "mesh link",
            "description": "everybody asks everybody",
            "body": {"${1:votes}": {"pattern": "mesh", "among": "${2:quorum}"}},
        },
    ])
}
