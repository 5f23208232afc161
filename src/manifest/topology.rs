//! The top of a manifest.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::link::LinkDecl;
use super::node::NodeDecl;
use super::policy::Defaults;
use super::var::VarDecl;

/// A network of ZeroMQ sockets: what runs, who talks to whom, where, and what must survive.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "zmqnet topology")]
pub struct TopologyDecl {
    /// The version of this language. Always `1`.
    pub zmqnet: u32,
    /// The name under which the network runs on a machine. Default: the file's stem.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whole manifests whose nodes appear here as `PREFIX.NODE`. The same file twice is a template.
    #[serde(default, skip_serializing_if = "Ordered::is_empty")]
    pub include: Ordered<Include>,
    /// Variables, used as `${NAME}`, set by `--var NAME=VALUE` or `--var-file FILE`.
    #[serde(default, skip_serializing_if = "Ordered::is_empty")]
    pub vars: Ordered<VarDecl>,
    /// The machines. Without any, everything runs on this one.
    #[serde(default, skip_serializing_if = "Ordered::is_empty")]
    pub hosts: Ordered<HostDecl>,
    /// Encryption between hosts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security: Option<SecurityDecl>,
    /// Policies that every node inherits.
    #[serde(default)]
    pub defaults: Defaults,
    /// What runs.
    #[serde(default)]
    pub nodes: Ordered<NodeDecl>,
    /// Who may talk to whom, and by which pattern.
    #[serde(default, skip_serializing_if = "Ordered::is_empty")]
    pub links: Ordered<LinkDecl>,
}

/// A mapping that keeps the order in which it was written.
#[derive(Debug, Clone)]
pub struct Ordered<T>(pub Vec<(String, T)>);

impl<T> Default for Ordered<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Ordered<T> {
    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Keys and values, in written order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&T> {
        self.0
            .iter()
            .find(|(k, _)| k == key)
            .map(|(_, value)| value)
    }
}

impl<T: Serialize> Serialize for Ordered<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Ordered<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> serde::de::Visitor<'de> for Visitor<T> {
            type Value = Ordered<T>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a mapping")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<Ordered<T>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Ordered(entries))
            }
        }
        deserializer.deserialize_map(Visitor(std::marker::PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for Ordered<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("Map_of_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        BTreeMap::<String, T>::json_schema(generator)
    }
}

/// A whole manifest to include: its file, or its file and the values of its variables.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum Include {
    /// The file, relative to this one.
    File(String),
    /// The file and the values of its variables.
    With(IncludeWith),
}

/// A manifest to include and the values of its variables.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct IncludeWith {
    /// The file, relative to this one.
    pub file: String,
    /// Values for the variables that the file declares.
    #[serde(default)]
    pub vars: Ordered<Value>,
}

/// A machine.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct HostDecl {
    /// The address others dial, an IP address or a host name.
    pub address: String,
    /// The IP address or interface to listen on. Default: `address`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bind: Option<String>,
}

/// Encryption between hosts.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct SecurityDecl {
    /// `auto`: every link that leaves a host is encrypted. `always`: every link. `never`: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub curve: Option<CurveMode>,
    /// The directory of the key files, relative to this file. Default: `keys`. Of included files
    /// only what the including one says counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub keys: Option<String>,
}

/// When a link is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum CurveMode {
    /// When it leaves a host.
    Auto,
    /// Always.
    Always,
    /// Never, even between hosts; every plan then warns.
    Never,
}
