//! One text that stands for a whole plan.

use sha2::{Digest, Sha256};

use super::Plan;

/// The SHA-256 of a plan's JSON without its digest, in hexadecimal digits. Mappings in a plan are
/// sorted and lists are in the order of the manifest, so the same plan has the same bytes.
pub fn digest(plan: &Plan) -> String {
    let bare = Plan {
        digest: String::new(),
        ..plan.clone()
    };
    let json = serde_json::to_vec(&bare).expect("a plan has only text keys");
    Sha256::digest(&json)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
