//! How sockets are encrypted, in names: whose key a socket has and whose keys it admits.
//!
//! It is part of the Plan and of what roles and gates are told, so it never holds a secret, and no
//! key but the public ones that a person wrote into the manifest. Whoever uses a socket reads the
//! keys behind the names from the key directory itself, and goes on reading when they change.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::endpoint::Endpoint;
use super::key::PublicKey;
use super::name::{InstanceName, NodeName};

/// The name of the key that zmqnet's own talking commands present; no instance may have it.
pub const OPERATOR: &str = "operator";
/// The directory of the key files where the manifest does not name one, beside it.
pub const KEYS_DIR: &str = "keys";

/// An encrypted listening socket, or all of those of a role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guarded {
    /// The key directory, absolute.
    pub keys: PathBuf,
    /// Whose key it listens with, and dials with.
    pub name: InstanceName,
    /// The node of that instance: a client may be admitted to all instances of a node.
    pub node: NodeName,
    /// Who may connect: exactly the other sides of its wires.
    pub allow: Vec<Admitted>,
    /// Whether zmqnet's own commands may connect too, while there is an operator's key.
    pub admits_operator: bool,
}

/// Somebody whose key is admitted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Admitted {
    /// The instance; its keys are in the key directory.
    pub who: InstanceName,
    /// Its key where it is written in the manifest: then that one and no other.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub key: Option<PublicKey>,
}

/// Somebody who listens under CURVE and is dialled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// Where it is dialled.
    pub endpoint: Endpoint,
    /// Whose key it must have.
    #[serde(flatten)]
    pub is: Admitted,
}
