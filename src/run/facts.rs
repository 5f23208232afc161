//! Asks this machine what the compiler wants to know: who listens where, which addresses are its
//! own, which ports networks had, where programs are.
//!
//! This only looks. What it finds is one [`Facts`] value; the compiler decides with it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::tag::NetworkId;
use super::{paths, procfs};
use crate::model::endpoint::Endpoint;
use crate::model::layout::Layout;
use crate::model::name::TopologyName;
use crate::plan::Plan;
use crate::topology::facts::{Facts, Held, Holder, Pins};

/// What is known of this machine, for a network of this name, but for the [`holders`] of ports.
pub fn gather(topology: &TopologyName) -> Result<Facts, paths::PathsError> {
    let layout = paths::layout_of(topology)?;
    let foreign_pins = paths::networks()?
        .into_iter()
        .filter(|(name, _)| name != topology)
        .flat_map(|(name, layout)| {
            let pins = pins(&layout).0.into_values();
            pins.map(move |port| (port, name.to_string()))
        })
        .collect();
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for instance in applied(&layout).iter().flat_map(|plan| &plan.instances) {
        *counts.entry(instance.node.to_string()).or_default() += 1;
    }
    Ok(Facts {
        addresses: addresses(),
        holders: Vec::new(),
        pins: pins(&layout),
        foreign_pins,
        counts,
        layout,
    })
}

/// The plan that was applied last; nothing where there is none that this version can read.
pub fn applied(layout: &Layout) -> Option<Plan> {
    serde_json::from_slice(&fs::read(layout.plan_file()).ok()?).ok()
}

/// The ports a network had; none where nothing can be read.
pub fn pins(layout: &Layout) -> Pins {
    fs::read(layout.pins_file())
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default()
}

/// Remembers the ports of an applied plan beside those of earlier ones, so that what went and comes
/// back has the port it had. An older pin gives way to a newer one of the same port.
pub fn write_pins(layout: &Layout, plan: &Plan) -> io::Result<()> {
    let mut kept = pins(layout);
    let mut fresh = Pins::default();
    for instance in plan.instances.iter().filter(|i| i.process.is_some()) {
        for port in &instance.ports {
            if let Endpoint::Tcp { port: number, .. } = &port.bind {
                fresh.set(instance.name.as_str(), &port.port, *number);
            }
        }
    }
    let given: BTreeSet<u16> = fresh.0.values().copied().collect();
    kept.0.retain(|_, number| !given.contains(number));
    kept.0.append(&mut fresh.0);
    let text = serde_json::to_vec_pretty(&kept).expect("pins have only text keys");
    let draft = layout.pins_file().with_extension("json.new");
    fs::write(&draft, text)?;
    fs::rename(draft, layout.pins_file())
}

/// Who listens on which TCP port, seen from a network. It takes milliseconds: the kernel goes
/// through all its connections, and every process of this machine is asked what it holds.
pub fn holders(layout: &Layout) -> Vec<Held> {
    let network = &NetworkId::of(layout);
    let listening = procfs::listening_tcp();
    let inodes = listening.iter().map(|socket| socket.inode).collect();
    let by_inode = procfs::holders(&inodes);
    listening
        .iter()
        .map(|socket| Held {
            address: unmapped(socket.address.ip()),
            port: socket.address.port(),
            by: match by_inode.get(&socket.inode) {
                None => Holder::Unknown,
                Some((pid, _)) if is_of(*pid, network) => Holder::Ours,
                Some((pid, name)) => Holder::Process {
                    pid: *pid,
                    name: name.clone(),
                },
            },
        })
        .collect()
}

fn is_of(pid: u32, network: &NetworkId) -> bool {
    procfs::tag(pid).is_some_and(|tag| tag.network == *network)
}

/// `::ffff:127.0.0.1` is `127.0.0.1`.
fn unmapped(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
    }
}

/// This machine's own addresses, as the kernel routes them to itself.
fn addresses() -> BTreeSet<IpAddr> {
    let v4 = fs::read_to_string("/proc/net/fib_trie").unwrap_or_default();
    let v6 = fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    local_v4(&v4).chain(local_v6(&v6)).collect()
}

/// An address is a line `|-- ADDRESS` followed by one that ends in `host LOCAL`.
fn local_v4(trie: &str) -> impl Iterator<Item = IpAddr> {
    let lines: Vec<&str> = trie.lines().map(str::trim).collect();
    let own: Vec<IpAddr> = lines
        .windows(2)
        .filter(|pair| pair[1].ends_with("host LOCAL"))
        .filter_map(|pair| pair[0].strip_prefix("|-- ")?.parse::<Ipv4Addr>().ok())
        .map(IpAddr::V4)
        .collect();
    own.into_iter()
}

/// The first word of each line is an address, 32 hexadecimal digits.
fn local_v6(lines: &str) -> impl Iterator<Item = IpAddr> {
    lines.lines().filter_map(|line| {
        let digits = line.split_ascii_whitespace().next()?;
        let bits = u128::from_str_radix(digits, 16).ok()?;
        Some(IpAddr::V6(Ipv6Addr::from_bits(bits)))
    })
}

/// Where a program is: one without `/` is the first of that name in `search`, or else in this process's
/// `PATH`; any other is looked at where it is.
pub fn find_program(program: &Path, search: Option<&OsStr>) -> Option<PathBuf> {
    if program.is_absolute() {
        return is_executable(program).then(|| program.to_owned());
    }
    let own = || std::env::var_os("PATH");
    let search = search.map(OsStr::to_owned).or_else(own)?;
    std::env::split_paths(&search)
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join(program))
        .find(|path| is_executable(path))
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_addresses_are_read_from_what_the_kernel_says() {
        let trie = "Local:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 10.0.0.4\n        /32 host LOCAL\n     |-- 10.0.0.255\n        /32 link BROADCAST\n";
        let own: Vec<IpAddr> = local_v4(trie).collect();
        assert_eq!(own, ["10.0.0.4".parse::<IpAddr>().unwrap()]);
        let v6: Vec<IpAddr> =
            local_v6("00000000000000000000000000000001 01 80 10 80       lo\n").collect();
        assert_eq!(v6, ["::1".parse::<IpAddr>().unwrap()]);
        assert!(addresses().contains(&IpAddr::from([127, 0, 0, 1])));
    }

    #[test]
    fn programs_are_found_and_directories_are_none() {
        let sh = find_program(Path::new("sh"), None).unwrap();
        assert!(sh.is_absolute());
        assert_eq!(find_program(&sh, None), Some(sh));
        assert_eq!(find_program(Path::new("/"), None), None);
        assert_eq!(find_program(Path::new("/proc/self/status"), None), None);
        assert_eq!(
            find_program(Path::new("no-such-program-anywhere"), None),
            None
        );
    }

    #[test]
    fn a_listening_socket_of_ours_is_a_hindrance_with_a_name() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let layout = Layout {
            state: "/nowhere".into(),
            runtime: "/nowhere".into(),
        };
        let held = holders(&layout);
        let held = held.iter().find(|held| held.port == port).unwrap();
        let Holder::Process { pid, .. } = &held.by else {
            panic!("{held:?}");
        };
        assert_eq!(*pid, std::process::id());
    }
}
