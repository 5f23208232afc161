//! `${node.*}` and `${link.NAME.*}` in the texts of a node, different for each instance.
//!
//! Variables and `${env.X}` are gone by now; `$$` becomes `$` here and nowhere before.

use super::sockets::{self, Socket};
use super::{Instance, Topology};
use crate::model::name::env_form;
use crate::model::socket::{Mode, SocketType};
use crate::source::expression::{Piece, pieces};

/// Why an expression has no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExpandError {
    /// `${` without a name and `}`.
    Malformed,
    /// Nothing of this name.
    Unknown {
        /// The expression.
        expression: String,
        /// What would have been there.
        candidates: Vec<String>,
    },
    /// `${link.X.endpoint}` where there are several.
    Several {
        /// The link.
        link: String,
        /// How many.
        count: usize,
    },
    /// A link that the node does not stand on.
    NoLink {
        /// The link.
        link: String,
        /// The links it stands on.
        candidates: Vec<String>,
    },
}

/// An instance, and what its expressions may name.
pub struct Scope<'a> {
    topology: &'a Topology,
    instance: &'a Instance,
    sockets: Vec<Socket>,
}

/// What `${node.*}` may name.
const NODE: [&str; 4] = ["name", "node", "index", "host"];
/// What `${link.X.*}` may name.
const LINK: [&str; 5] = ["endpoint", "endpoints", "mode", "type", "topics"];

impl<'a> Scope<'a> {
    /// The scope of an instance.
    pub fn new(topology: &'a Topology, instance: &'a Instance) -> Self {
        let sockets = if topology.nodes[instance.node].is_program() {
            sockets::of(topology, instance)
        } else {
            Vec::new()
        };
        Self {
            topology,
            instance,
            sockets,
        }
    }

    /// A text with its expressions replaced.
    pub fn text(&self, text: &str) -> Result<String, ExpandError> {
        let mut out = String::with_capacity(text.len());
        for piece in pieces(text).map_err(|_| ExpandError::Malformed)? {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Dollar => out.push('$'),
                Piece::Expression(name) => out.push_str(&self.value(name)?),
            }
        }
        Ok(out)
    }

    fn value(&self, expression: &str) -> Result<String, ExpandError> {
        let parts: Vec<&str> = expression.split('.').collect();
        match parts.as_slice() {
            ["node", fact] => self.node(fact).ok_or_else(|| ExpandError::Unknown {
                expression: expression.to_owned(),
                candidates: NODE.iter().map(|fact| format!("node.{fact}")).collect(),
            }),
            ["link", name @ .., fact] if !name.is_empty() => self.link(&name.join("."), fact),
            _ => Err(ExpandError::Unknown {
                expression: expression.to_owned(),
                candidates: Vec::new(),
            }),
        }
    }

    fn node(&self, fact: &str) -> Option<String> {
        let node = &self.topology.nodes[self.instance.node];
        match fact {
            "name" => Some(self.instance.name.to_string()),
            "node" => Some(node.name.to_string()),
            "index" => Some(self.instance.index.to_string()),
            "host" => {
                let place = self.topology.place_of(self.instance);
                Some(place.host.as_ref().unwrap_or(&place.address).clone())
            }
            _ => None,
        }
    }

    /// The socket a link's facts are about. On both sides of a link, `endpoints` are those that are
    /// dialled and everything else is of the socket that listens.
    fn link(&self, name: &str, fact: &str) -> Result<String, ExpandError> {
        let prefix = &self.topology.units[self.topology.nodes[self.instance.node].unit].prefix;
        let full = format!("{prefix}{name}");
        let of_link = |socket: &&Socket| socket.links.iter().any(|link| link.as_str() == full);
        let wanted = if fact == "endpoints" {
            Mode::Connect
        } else {
            Mode::Bind
        };
        let socket = self
            .sockets
            .iter()
            .filter(of_link)
            .min_by_key(|socket| socket.mode != wanted)
            .ok_or_else(|| self.no_link(name, prefix))?;
        let endpoints: Vec<String> = socket.endpoints.iter().map(ToString::to_string).collect();
        match fact {
            "endpoint" => match endpoints.as_slice() {
                [one] => Ok(one.clone()),
                several => Err(ExpandError::Several {
                    link: name.to_owned(),
                    count: several.len(),
                }),
            },
            "endpoints" => Ok(endpoints.join(" ")),
            "mode" => Ok(socket.mode.as_str().to_owned()),
            "type" => Ok(socket.ty.as_str().to_owned()),
            "topics" => Ok(socket.topics.join(" ")),
            _ => Err(ExpandError::Unknown {
                expression: format!("link.{name}.{fact}"),
                candidates: LINK
                    .iter()
                    .map(|fact| format!("link.{name}.{fact}"))
                    .collect(),
            }),
        }
    }

    fn no_link(&self, name: &str, prefix: &str) -> ExpandError {
        let links = self.sockets.iter().flat_map(|socket| &socket.links);
        ExpandError::NoLink {
            link: name.to_owned(),
            candidates: links
                .map(|link| {
                    link.as_str()
                        .strip_prefix(prefix)
                        .unwrap_or(link.as_str())
                        .to_owned()
                })
                .collect(),
        }
    }

    /// The sockets of the instance.
    pub fn sockets(&self) -> &[Socket] {
        &self.sockets
    }

    /// The variables that a program is given for its sockets and for itself.
    pub fn env(&self) -> Vec<(String, String)> {
        let node = &self.topology.nodes[self.instance.node];
        let mut env = vec![
            ("ZMQNET_TOPOLOGY".to_owned(), self.topology.name.to_string()),
            ("ZMQNET_NODE".to_owned(), node.name.to_string()),
            ("ZMQNET_NAME".to_owned(), self.instance.name.to_string()),
            ("ZMQNET_INDEX".to_owned(), self.instance.index.to_string()),
        ];
        for socket in &self.sockets {
            let mut set = |fact: &str, value: String| {
                env.push((format!("ZMQNET_{}_{fact}", socket.env), value));
            };
            let endpoints: Vec<String> = socket.endpoints.iter().map(ToString::to_string).collect();
            set("TYPE", socket.ty.as_str().to_owned());
            set("MODE", socket.mode.as_str().to_owned());
            set("ENDPOINT", endpoints.join(" "));
            if matches!(socket.ty, SocketType::Sub | SocketType::Xsub) {
                set("TOPICS", socket.topics.join(" "));
            }
            if !socket.peers.is_empty() {
                let peers = socket.peers.iter().map(|(name, at)| format!("{name}={at}"));
                let peers = peers.collect::<Vec<_>>().join(" ");
                let link = socket.links.first().map(|link| env_form(link.as_str()));
                let name = link.unwrap_or_else(|| socket.env.clone());
                env.push((format!("ZMQNET_{name}_PEERS"), peers));
            }
        }
        env
    }
}
