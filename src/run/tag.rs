//! The tag that every process of a network carries in its environment, and by which it is found
//! again after its keeper died: `ZMQNET_TAG=NETWORK/INSTANCE/GENERATION`.
//!
//! The network's part is a digest of its state directory, so two networks of one name under two
//! state directories are strangers to each other.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use crate::model::layout::Layout;
use crate::model::name::InstanceName;

/// The environment variable that holds the tag.
pub const TAG_ENV: &str = "ZMQNET_TAG";

/// The instance name under which a keeper tags itself.
pub const KEEPER: &str = "@keeper";

/// The instance name under which a supervisor is tagged.
pub const SUPERVISOR: &str = "@supervisor";

/// Which network a process belongs to: sixteen hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkId(String);

impl NetworkId {
    /// The network whose state is in this directory.
    pub fn of(layout: &Layout) -> Self {
        Self::of_state(&layout.state)
    }

    /// The same, by the directory alone.
    pub fn of_state(state: &Path) -> Self {
        let digest = Sha256::digest(state.as_os_str().as_encoded_bytes());
        Self(
            digest
                .iter()
                .take(8)
                .map(|byte| format!("{byte:02x}"))
                .collect(),
        )
    }
}

impl fmt::Display for NetworkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whose process this is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag {
    /// The network.
    pub network: NetworkId,
    /// The instance, or [`KEEPER`] or [`SUPERVISOR`].
    pub instance: InstanceName,
    /// Which life of the instance.
    pub generation: u64,
}

impl Tag {
    /// Whether it marks the keeper or the supervisor and not an instance.
    pub fn is_runner(&self) -> bool {
        self.instance.as_str().starts_with('@')
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.network, self.instance, self.generation)
    }
}

/// The text is no tag of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoTag;

impl FromStr for Tag {
    type Err = NoTag;

    fn from_str(text: &str) -> Result<Self, NoTag> {
        let mut parts = text.split('/');
        let (Some(network), Some(instance), Some(generation), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(NoTag);
        };
        let is_id = network.len() == 16 && network.bytes().all(|b| b.is_ascii_hexdigit());
        if !is_id || instance.is_empty() {
            return Err(NoTag);
        }
        Ok(Self {
            network: NetworkId(network.to_owned()),
            instance: instance.into(),
            generation: generation.parse().map_err(|_| NoTag)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_reads_as_it_prints_and_nothing_else_is_one() {
        let tag = Tag {
            network: NetworkId::of_state(Path::new("/s")),
            instance: "a.b-1".into(),
            generation: 7,
        };
        assert_eq!(tag.to_string().parse(), Ok(tag.clone()));
        for text in ["", "x/y/1", "0123456789abcdef//1", "0123456789abcdef/a/-1"] {
            assert_eq!(text.parse::<Tag>(), Err(NoTag), "{text}");
        }
        assert_eq!(format!("{tag}/x").parse::<Tag>(), Err(NoTag));
    }

    #[test]
    fn networks_of_two_directories_are_strangers() {
        assert_ne!(
            NetworkId::of_state(Path::new("/a/demo")),
            NetworkId::of_state(Path::new("/b/demo"))
        );
    }
}
