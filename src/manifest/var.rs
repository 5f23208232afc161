//! Variables: declared under `vars`, used as `${NAME}`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A variable: its type, and what values it may take.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct VarDecl {
    /// The type of its value.
    #[serde(rename = "type")]
    pub ty: VarType,
    /// The values an `enum` may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<Vec<String>>,
    /// Its value when nothing sets it. Without one, it must be set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// The smallest value of an `int`, `duration` or `size`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<Value>,
    /// The largest value of an `int`, `duration` or `size`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<Value>,
}

/// The type of a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum VarType {
    /// Any text.
    String,
    /// A whole number.
    Int,
    /// `true` or `false`.
    Bool,
    /// One of `values`.
    Enum,
    /// A path, relative to the manifest.
    Path,
    /// A duration such as `500ms`.
    Duration,
    /// A size such as `10MiB`.
    Size,
}
