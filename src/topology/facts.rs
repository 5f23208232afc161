//! What is known of this machine while a manifest is resolved.
//!
//! `run::facts` gathers it for `plan` and `apply`; `check` reads files only and goes without. Plain
//! data: the same facts give the same plan.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::model::layout::Layout;

/// What is known of this machine.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Where the network keeps its files and sockets.
    pub layout: Layout,
    /// This machine's own addresses.
    pub addresses: BTreeSet<IpAddr>,
    /// The TCP ports that are listened on now; empty where no port is needed.
    pub holders: Vec<Held>,
    /// The ports this network had.
    pub pins: Pins,
    /// The ports other networks of this machine had or have, and which.
    pub foreign_pins: BTreeMap<u16, String>,
    /// How many instances of each node the applied plan has: `scale` moves inside a range, and the
    /// next `apply` keeps the count.
    pub counts: BTreeMap<String, u32>,
}

/// A TCP port that is listened on now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The address it is listened on.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
    /// By whom.
    pub by: Holder,
}

/// Who listens on a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// A process of this very network.
    Ours,
    /// A process that the system lets us see.
    Process {
        /// Its id.
        pid: u32,
        /// Its name.
        name: String,
    },
    /// Somebody the system does not let us see.
    Unknown,
}

/// The ports of a network, kept for its next start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pins(pub BTreeMap<String, u16>);

impl Pins {
    /// The port that an instance's socket had.
    pub fn get(&self, instance: &str, port: &str) -> Option<u16> {
        self.0.get(&key(instance, port)).copied()
    }

    /// Remembers the port of an instance's socket.
    pub fn set(&mut self, instance: &str, port: &str, number: u16) {
        self.0.insert(key(instance, port), number);
    }
}

fn key(instance: &str, port: &str) -> String {
    format!("{instance}/{port}")
}

impl Facts {
    /// Who listens on a port such that `bind` cannot; nobody and ourselves are no hindrance.
    pub fn hindrance(&self, bind: &str, port: u16) -> Option<&Holder> {
        let wanted: Option<IpAddr> = match bind {
            "localhost" => Some(IpAddr::from([127, 0, 0, 1])),
            other => other.parse().ok(),
        };
        self.holders
            .iter()
            .filter(|held| held.port == port && held.by != Holder::Ours)
            .find(|held| {
                held.address.is_unspecified()
                    || wanted.is_none_or(|ip| ip.is_unspecified() || ip == held.address)
            })
            .map(|held| &held.by)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(address: &str, port: u16, by: Holder) -> Held {
        Held {
            address: address.parse().unwrap(),
            port,
            by,
        }
    }

    #[test]
    fn a_port_is_taken_only_where_the_addresses_meet() {
        let facts = Facts {
            layout: Layout {
                state: "/s".into(),
                runtime: "/r".into(),
            },
            addresses: BTreeSet::new(),
            holders: vec![
                held("127.0.0.1", 7000, Holder::Unknown),
                held("0.0.0.0", 7001, Holder::Unknown),
                held("127.0.0.1", 7002, Holder::Ours),
                held("10.0.0.4", 7003, Holder::Unknown),
            ],
            pins: Pins::default(),
            foreign_pins: BTreeMap::new(),
            counts: BTreeMap::new(),
        };
        assert!(facts.hindrance("127.0.0.1", 7000).is_some());
        assert!(facts.hindrance("localhost", 7000).is_some());
        assert!(facts.hindrance("10.0.0.4", 7000).is_none());
        assert!(facts.hindrance("10.0.0.4", 7001).is_some());
        assert!(facts.hindrance("127.0.0.1", 7002).is_none());
        assert!(facts.hindrance("0.0.0.0", 7003).is_some());
        assert!(facts.hindrance("127.0.0.1", 7003).is_none());
    }
}
