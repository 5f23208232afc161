//! Sockets of this machine from `/proc/net`: who listens where, who holds it, who is connected.
//!
//! Only this network namespace is seen, and only processes of our own user name their files, so a
//! holder may be unknown.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

/// A listening TCP socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listening {
    /// Where it listens.
    pub address: SocketAddr,
    /// The number by which processes hold it.
    pub inode: u64,
}

/// The near end of a connection.
pub type Local = SocketAddr;
/// The far end of a connection.
pub type Remote = SocketAddr;

const STATE_ESTABLISHED: &str = "01";
const STATE_LISTEN: &str = "0A";

/// Every listening TCP socket, IPv4 and IPv6.
pub fn listening_tcp() -> Vec<Listening> {
    let mut found = Vec::new();
    for file in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let text = fs::read_to_string(file).unwrap_or_default();
        found.extend(
            rows(&text)
                .filter(|row| row.state == STATE_LISTEN)
                .map(|row| Listening {
                    address: row.local,
                    inode: row.inode,
                }),
        );
    }
    found
}

/// Every established TCP connection of this machine, both ends where both are here.
pub fn established() -> BTreeSet<(Local, Remote)> {
    let mut found = BTreeSet::new();
    for file in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let text = fs::read_to_string(file).unwrap_or_default();
        found.extend(
            rows(&text)
                .filter(|row| row.state == STATE_ESTABLISHED)
                .map(|row| (row.local, row.remote)),
        );
    }
    found
}

/// An established TCP connection, seen from one of its ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection {
    /// The near end.
    pub local: Local,
    /// The far end.
    pub remote: Remote,
    /// The number by which processes hold the near end; 0 while nobody has accepted it.
    pub inode: u64,
    /// Bytes that have come and were not read.
    pub unread: u32,
}

/// Every established TCP connection, with the number by which it is held.
pub fn connections_tcp() -> Vec<Connection> {
    let mut found = Vec::new();
    for file in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let text = fs::read_to_string(file).unwrap_or_default();
        let established = rows(&text).filter(|row| row.state == STATE_ESTABLISHED);
        found.extend(established.map(|row| Connection {
            local: row.local,
            remote: row.remote,
            inode: row.inode,
            unread: row.unread,
        }));
    }
    found
}

/// How many connections were accepted on each unix socket with a path. Who made them, the kernel
/// does not say here.
pub fn accepted_unix() -> BTreeMap<PathBuf, usize> {
    let text = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let mut found = BTreeMap::new();
    for line in text.lines() {
        // `Num RefCount Protocol Flags Type St Inode Path`; state 03 is "connected".
        let mut fields = line.split_ascii_whitespace();
        let is_connected = fields.nth(5) == Some("03");
        if let (true, Some(path)) = (is_connected, fields.nth(1)) {
            *found.entry(PathBuf::from(path)).or_insert(0) += 1;
        }
    }
    found
}

/// The sockets that a process holds.
pub fn sockets_of(pid: u32) -> BTreeSet<u64> {
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return BTreeSet::new();
    };
    let targets = files
        .flatten()
        .filter_map(|file| fs::read_link(file.path()).ok());
    targets
        .filter_map(|target| socket_inode(target.to_str()?))
        .collect()
}

/// Every listening unix socket that has a path, with the number by which processes hold it.
pub fn listening_unix() -> BTreeMap<PathBuf, u64> {
    let text = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    text.lines().filter_map(unix_row).collect()
}

/// `Num RefCount Protocol Flags Type St Inode Path`; 0x10000 among the flags is "listens".
fn unix_row(line: &str) -> Option<(PathBuf, u64)> {
    let mut fields = line.split_ascii_whitespace();
    let flags = u32::from_str_radix(fields.nth(3)?, 16).ok()?;
    let inode = fields.nth(2)?.parse().ok()?;
    let path = fields.next()?;
    (flags & 0x1_0000 != 0 && path.starts_with('/')).then(|| {
        // The path is the rest of the line, blanks included.
        let start = path.as_ptr() as usize - line.as_ptr() as usize;
        (PathBuf::from(&line[start..]), inode)
    })
}

/// The process that holds a socket: its pid and its program's name.
pub fn holder(inode: u64) -> Option<(u32, String)> {
    holders(&BTreeSet::from([inode])).remove(&inode)
}

/// The processes that hold these sockets, in one pass; those we may not look into are absent.
pub fn holders(inodes: &BTreeSet<u64>) -> BTreeMap<u64, (u32, String)> {
    let mut found = BTreeMap::new();
    for pid in super::pids() {
        if found.len() == inodes.len() {
            break;
        }
        let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else {
            continue;
        };
        for file in files.flatten() {
            let Some(inode) = fs::read_link(file.path())
                .ok()
                .and_then(|target| socket_inode(target.to_str()?))
            else {
                continue;
            };
            if inodes.contains(&inode)
                && let Some(stat) = super::stat(pid)
            {
                found.entry(inode).or_insert((pid, stat.name));
            }
        }
    }
    found
}

fn socket_inode(target: &str) -> Option<u64> {
    target
        .strip_prefix("socket:[")?
        .strip_suffix(']')?
        .parse()
        .ok()
}

struct Row<'a> {
    local: SocketAddr,
    remote: SocketAddr,
    state: &'a str,
    inode: u64,
    unread: u32,
}

fn rows(text: &str) -> impl Iterator<Item = Row<'_>> {
    text.lines().skip(1).filter_map(row)
}

/// `sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode`.
fn row(line: &str) -> Option<Row<'_>> {
    let mut fields = line.split_ascii_whitespace();
    let local = address(fields.nth(1)?)?;
    let remote = address(fields.next()?)?;
    let state = fields.next()?;
    let (_, unread) = fields.next()?.split_once(':')?;
    let unread = u32::from_str_radix(unread, 16).ok()?;
    let inode = fields.nth(4)?.parse().ok()?;
    Some(Row {
        local,
        remote,
        state,
        inode,
        unread,
    })
}

/// The kernel prints addresses as 32-bit words in the machine's byte order, ports in plain
/// hexadecimal.
fn address(text: &str) -> Option<SocketAddr> {
    let (host, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut bytes = Vec::with_capacity(16);
    for at in (0..host.len()).step_by(8) {
        let word = u32::from_str_radix(host.get(at..at + 8)?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    let host = match bytes.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?),
        16 => {
            let wide = Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?);
            wide.to_ipv4_mapped().map_or(IpAddr::V6(wide), IpAddr::V4)
        }
        _ => return None,
    };
    Some(SocketAddr::new(host, port))
}

impl Listening {
    /// Whether binding `wanted` would clash with this socket, or dialling `wanted` reach it.
    pub fn covers(&self, wanted: SocketAddr) -> bool {
        let own = self.address.ip();
        let is_any =
            own == IpAddr::V4(Ipv4Addr::UNSPECIFIED) || own == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        self.address.port() == wanted.port()
            && (is_any || wanted.ip().is_unspecified() || own == wanted.ip())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixListener;

    #[test]
    fn a_listener_is_found_with_its_holder_and_its_connections() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let found = listening_tcp()
            .into_iter()
            .find(|l| l.address == address)
            .unwrap();
        assert!(found.covers(address));
        assert_eq!(holder(found.inode).unwrap().0, std::process::id());
        let near = TcpStream::connect(address).unwrap();
        let (_far, from) = listener.accept().unwrap();
        assert_eq!(near.local_addr().unwrap(), from);
        assert!(established().contains(&(from, address)));
        drop(listener);
        assert!(listening_tcp().iter().all(|l| l.address != address));
    }

    #[test]
    fn ipv6_and_mapped_addresses_are_read() {
        let listener = TcpListener::bind("[::1]:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert!(listening_tcp().iter().any(|l| l.address == address));
        let mapped = address_of("0000000000000000FFFF00000100007F:1F90");
        assert_eq!(mapped, Some("127.0.0.1:8080".parse().unwrap()));
        assert_eq!(address_of("0100007F"), None);
        assert_eq!(address_of("0100:1"), None);
    }

    fn address_of(text: &str) -> Option<SocketAddr> {
        // The examples are written for little-endian machines.
        if cfg!(target_endian = "big") {
            return address(text).map(|_| "127.0.0.1:8080".parse().unwrap());
        }
        address(text)
    }

    #[test]
    fn a_wildcard_covers_every_address_of_its_port_only() {
        let any = Listening {
            address: "0.0.0.0:80".parse().unwrap(),
            inode: 1,
        };
        assert!(any.covers("127.0.0.1:80".parse().unwrap()));
        assert!(!any.covers("127.0.0.1:81".parse().unwrap()));
        let one = Listening {
            address: "127.0.0.1:80".parse().unwrap(),
            inode: 1,
        };
        assert!(!one.covers("127.0.0.2:80".parse().unwrap()));
    }

    #[test]
    fn a_unix_listener_with_a_blank_in_its_path_is_found() {
        let path = std::env::temp_dir().join(format!("zn procfs {}", std::process::id()));
        let _listener = UnixListener::bind(&path).unwrap();
        let inode = listening_unix()[&path];
        assert_eq!(holder(inode).unwrap().0, std::process::id());
        std::fs::remove_file(&path).unwrap();
    }
}
