//! Names of topologies, hosts, nodes, links and instances.
//!
//! One grammar for all of them, so that a name can be a file name, an environment name and a
//! command-line argument without quoting. Includes join prefixes with `.`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The longest name a person may write, in characters.
pub const NAME_CHARS_MAX: usize = 40;

/// The pattern of one written name: a letter, then at most 39 letters, digits, `_` or `-`.
pub const NAME_PATTERN: &str = "^[A-Za-z][A-Za-z0-9_-]{0,39}$";

/// Whether `text` is a name a person may write.
pub fn is_name(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic())
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
        && text.len() <= NAME_CHARS_MAX
}

/// The form a name takes in environment variable names: upper case, with `-` and `.` as `_`.
pub fn env_form(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '-' | '.' => '_',
            other => other.to_ascii_uppercase(),
        })
        .collect()
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Wraps a name that a caller has already checked, or derived from checked ones.
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// The name as written.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The name as it stands in environment variable names.
            pub fn env_form(&self) -> String {
                env_form(&self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self::new(text)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    )+};
}

names! {
    /// The identity of a running network on a machine.
    TopologyName,
    /// A machine that instances run on.
    HostName,
    /// What a manifest declares under `nodes`.
    NodeName,
    /// One process of a node: the node's own name, or `NODE-INDEX`, or a listed name.
    InstanceName,
    /// What a manifest declares under `links`.
    LinkName,
    /// A socket that several links share, declared under a node's `sockets`.
    SocketName,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_on_both_sides_of_the_length_limit() {
        assert!(is_name("a"));
        assert!(is_name(&"a".repeat(NAME_CHARS_MAX)));
        assert!(!is_name(&"a".repeat(NAME_CHARS_MAX + 1)));
        assert!(!is_name(""));
        assert!(!is_name("0a"));
        assert!(!is_name("a.b"));
        assert!(!is_name("ä"));
    }

    #[test]
    fn environment_names_lose_dash_and_dot() {
        assert_eq!(env_form("east-coast.a1"), "EAST_COAST_A1");
    }
}
