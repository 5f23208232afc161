//! What changed of the mesh around a role, in words: who joined, who left, who is somewhere else. It
//! says nothing of what only a restart can change.

use std::collections::BTreeMap;

use crate::model::endpoint::Endpoint;
use crate::model::name::InstanceName;
use crate::roles::Config;

/// Names in one cause; a mesh of hundreds is not listed.
const NAMED_MAX: usize = 3;

/// Why a running role is told anew; nothing when its configuration is the same.
pub(super) fn causes(was: &Config, now: &Config) -> Vec<String> {
    let (Config::Replica(was), Config::Replica(now)) = (was, now) else {
        return Vec::new();
    };
    if was.peers == now.peers {
        return Vec::new();
    }
    let (before, after) = (by_name(&was.peers), by_name(&now.peers));
    let gained = now.peers.iter().map(|(name, _)| name);
    let gained: Vec<&InstanceName> = gained.filter(|name| !before.contains_key(*name)).collect();
    let lost = was.peers.iter().map(|(name, _)| name);
    let lost: Vec<&InstanceName> = lost.filter(|name| !after.contains_key(*name)).collect();
    let mut moved = now
        .peers
        .iter()
        .filter(|(name, endpoint)| before.get(name).is_some_and(|earlier| *earlier != endpoint));
    let mut causes = Vec::new();
    if !gained.is_empty() {
        causes.push(format!("its mesh gains {}", named(&gained)));
    }
    if !lost.is_empty() {
        causes.push(format!("its mesh loses {}", named(&lost)));
    }
    if let Some((name, endpoint)) = moved.next() {
        let more = match moved.count() {
            0 => String::new(),
            more => format!(", {more} more have moved"),
        };
        causes.push(format!("in its mesh `{name}` is at {endpoint} now{more}"));
    }
    if causes.is_empty() {
        causes.push("its mesh is in another order".to_owned());
    }
    causes
}

fn by_name(peers: &[(InstanceName, Endpoint)]) -> BTreeMap<&InstanceName, &Endpoint> {
    peers
        .iter()
        .map(|(name, endpoint)| (name, endpoint))
        .collect()
}

/// The first few names, and how many more there are.
fn named(names: &[&InstanceName]) -> String {
    let shown = &names[..names.len().min(NAMED_MAX)];
    let shown: Vec<String> = shown.iter().map(|name| format!("`{name}`")).collect();
    match names.len() - shown.len() {
        0 => shown.join(" and "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::limits::WireLimits;
    use crate::roles::replica;

    fn config(peers: &[&str]) -> Config {
        let peer = |name: &&str| ((*name).into(), Endpoint::tcp("127.0.0.1", 1));
        Config::Replica(replica::Config {
            name: "bravo".into(),
            listen: Vec::new(),
            peers: peers.iter().map(peer).collect(),
            health: Endpoint::ipc("/none"),
            broadcast_ms: 1_000,
            guarded: None,
            limits: Box::new(WireLimits::default()),
        })
    }

    #[test]
    fn joined_and_left_are_named_and_many_are_counted() {
        let same = config(&["a", "b"]);
        assert!(causes(&same, &same).is_empty());
        assert_eq!(
            causes(&same, &config(&["b", "c", "d"])),
            ["its mesh gains `c` and `d`", "its mesh loses `a`"]
        );
        assert_eq!(
            causes(&config(&[]), &config(&["a", "b", "c", "d", "e"])),
            ["its mesh gains `a`, `b`, `c` and 2 more"]
        );
        assert_eq!(
            causes(&same, &config(&["b", "a"])),
            ["its mesh is in another order"]
        );
    }
}
