//! Where a socket listens or dials: `tcp://ADDRESS:PORT` or `ipc://PATH`.
//!
//! `*` is never an endpoint: what listens everywhere must say which address it means.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest unix socket path the kernel takes, in bytes, without its closing NUL.
pub const IPC_PATH_BYTES_MAX: usize = 107;

/// An address that a socket binds or connects to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Endpoint {
    /// A TCP address. The host is an IP address or, only for dialling, a host name.
    Tcp {
        /// IP address or host name, without brackets.
        host: String,
        /// The port, never 0 in a plan.
        port: u16,
    },
    /// A unix domain socket.
    Ipc {
        /// The absolute path of the socket file.
        path: PathBuf,
    },
}

/// Why a text is no endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndpointError {
    /// Neither `tcp://` nor `ipc://`.
    Scheme,
    /// No `:PORT`, or a port that is no number from 0 to 65535.
    Port,
    /// An empty host or path, or the wildcard `*`.
    Address,
}

impl fmt::Display for EndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scheme => "an endpoint starts with `tcp://` or `ipc://`",
            Self::Port => "a tcp endpoint ends with `:PORT`, a number from 1 to 65535",
            Self::Address => "an endpoint names an address: `*` and nothing are none",
        })
    }
}

impl std::error::Error for EndpointError {}

impl Endpoint {
    /// A TCP endpoint.
    pub fn tcp(host: impl Into<String>, port: u16) -> Self {
        Self::Tcp {
            host: host.into(),
            port,
        }
    }

    /// A unix socket endpoint.
    pub fn ipc(path: impl Into<PathBuf>) -> Self {
        Self::Ipc { path: path.into() }
    }

    /// The TCP port, if it has one.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Tcp { port, .. } => Some(*port),
            Self::Ipc { .. } => None,
        }
    }

    /// The socket file, if it has one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Tcp { .. } => None,
            Self::Ipc { path } => Some(path),
        }
    }

    /// Whether only this machine can reach it.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Ipc { .. } => true,
            Self::Tcp { host, .. } => is_loopback(host),
        }
    }
}

/// Whether `host` is `localhost` or an address of the loopback range.
pub fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "tcp://[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "tcp://{host}:{port}"),
            Self::Ipc { path } => write!(f, "ipc://{}", path.display()),
        }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        if let Some(path) = text.strip_prefix("ipc://") {
            return match path {
                "" | "*" => Err(EndpointError::Address),
                path => Ok(Self::ipc(path)),
            };
        }
        let rest = text.strip_prefix("tcp://").ok_or(EndpointError::Scheme)?;
        let (host, port) = rest.rsplit_once(':').ok_or(EndpointError::Port)?;
        let port = port.parse().map_err(|_| EndpointError::Port)?;
        let host = host
            .strip_prefix('[')
            .and_then(|h| h.strip_suffix(']'))
            .unwrap_or(host);
        if host.is_empty() || host == "*" || host.contains(['/', '[', ']']) {
            return Err(EndpointError::Address);
        }
        Ok(Self::tcp(host, port))
    }
}

impl Serialize for Endpoint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_read_as_they_print() {
        for text in [
            "tcp://127.0.0.1:7000",
            "tcp://[::1]:1",
            "tcp://apollo:65535",
            "ipc:///run/a",
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn bad_endpoints_say_what_is_wrong() {
        assert_eq!("udp://x:1".parse::<Endpoint>(), Err(EndpointError::Scheme));
        assert_eq!("tcp://x".parse::<Endpoint>(), Err(EndpointError::Port));
        assert_eq!(
            "tcp://x:65536".parse::<Endpoint>(),
            Err(EndpointError::Port)
        );
        assert_eq!("tcp://*:1".parse::<Endpoint>(), Err(EndpointError::Address));
        assert_eq!("ipc://".parse::<Endpoint>(), Err(EndpointError::Address));
    }

    #[test]
    fn loopback_is_a_range_and_a_name() {
        assert!(is_loopback("127.8.0.1") && is_loopback("::1") && is_loopback("localhost"));
        assert!(!is_loopback("10.0.0.1") && !is_loopback("apollo"));
    }
}
