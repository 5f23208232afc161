//! A connected stream of either kind, and its two halves.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rustix::fd::AsFd;
use rustix::net::sockopt;
use tokio::io::AsyncRead;
use tokio::net::{TcpStream, UnixStream, tcp, unix};

use crate::model::endpoint::Endpoint;

/// How long a connection is silent before the kernel asks whether its peer's machine is there, how
/// often it asks, and after how many unanswered questions the connection is gone: a machine that
/// vanished is noticed within three seconds, at no cost to us. A process that is stopped or stuck
/// answers, since its kernel does.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(1);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);
const KEEPALIVE_COUNT: u32 = 2;

/// Latency is the point, and a peer whose machine is gone must not stay for ever. A socket that
/// refuses an option still works. Never TCP_USER_TIMEOUT: it also cuts a peer that acknowledges and
/// merely does not read.
pub(super) fn tune(stream: &TcpStream) {
    stream.set_nodelay(true).ok();
    keep_alive(stream);
}

/// Has the kernel ask for a machine that is silent.
pub(in crate::wire) fn keep_alive(stream: impl AsFd) {
    let stream = stream.as_fd();
    if sockopt::set_socket_keepalive(stream, true).is_ok() {
        sockopt::set_tcp_keepidle(stream, KEEPALIVE_IDLE).ok();
        sockopt::set_tcp_keepintvl(stream, KEEPALIVE_INTERVAL).ok();
        sockopt::set_tcp_keepcnt(stream, KEEPALIVE_COUNT).ok();
    }
}

/// A connected stream.
pub(in crate::wire) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// The writing half; it is written without waiting.
pub(in crate::wire) enum Writing {
    Tcp(tcp::OwnedWriteHalf),
    Unix(unix::OwnedWriteHalf),
}

/// The reading half.
pub(in crate::wire) type Reading = Box<dyn AsyncRead + Send + Unpin>;

impl Stream {
    /// `ADDRESS:PORT` of this end; empty where it has none.
    pub(super) fn local(&self) -> String {
        match self {
            Self::Tcp(stream) => stream
                .local_addr()
                .map(|address| address.to_string())
                .unwrap_or_default(),
            Self::Unix(_) => String::new(),
        }
    }

    pub(super) async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.readable().await,
            Self::Unix(stream) => stream.readable().await,
        }
    }

    pub(super) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_read(buffer),
            Self::Unix(stream) => stream.try_read(buffer),
        }
    }

    pub(super) async fn writable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.writable().await,
            Self::Unix(stream) => stream.writable().await,
        }
    }

    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_write(bytes),
            Self::Unix(stream) => stream.try_write(bytes),
        }
    }

    /// The address of the other end without its port; none on ipc.
    pub(in crate::wire) fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Tcp(stream) => stream.peer_addr().ok().map(|it| it.ip().to_canonical()),
            Self::Unix(_) => None,
        }
    }

    /// Whether the other end is on this machine.
    pub(in crate::wire) fn is_near(&self) -> bool {
        match self {
            Self::Tcp(stream) => self.ip().is_some_and(|ip| {
                // Whoever has an address of ours is here.
                let own = stream.local_addr().ok().map(|it| it.ip().to_canonical());
                ip.is_loopback() || own == Some(ip)
            }),
            Self::Unix(_) => true,
        }
    }

    /// Both ends of a tcp connection, ours first.
    pub(super) fn ends(&self) -> Option<(SocketAddr, SocketAddr)> {
        match self {
            Self::Tcp(stream) => Some((stream.local_addr().ok()?, stream.peer_addr().ok()?)),
            Self::Unix(_) => None,
        }
    }

    /// The two halves: one is read by the connection's task, the other written by whoever sends.
    pub(in crate::wire) fn split(self) -> (Reading, Writing) {
        match self {
            Self::Tcp(stream) => {
                let (reading, writing) = stream.into_split();
                (Box::new(reading), Writing::Tcp(writing))
            }
            Self::Unix(stream) => {
                let (reading, writing) = stream.into_split();
                (Box::new(reading), Writing::Unix(writing))
            }
        }
    }
}

impl Writing {
    pub(in crate::wire) fn try_write(&self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(half) => half.try_write_vectored(slices),
            Self::Unix(half) => half.try_write_vectored(slices),
        }
    }

    pub(in crate::wire) async fn writable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(half) => half.writable().await,
            Self::Unix(half) => half.writable().await,
        }
    }
}

/// Connects; gives the stream and the address of the other end, which ipc does not have.
pub(in crate::wire) async fn connect(endpoint: &Endpoint) -> io::Result<(Stream, String)> {
    match endpoint {
        Endpoint::Tcp { host, port } => {
            let stream = TcpStream::connect((host.as_str(), *port)).await?;
            tune(&stream);
            let address = stream.peer_addr()?.to_string();
            Ok((Stream::Tcp(stream), address))
        }
        Endpoint::Ipc { path } => {
            let stream = UnixStream::connect(path).await?;
            Ok((Stream::Unix(stream), String::new()))
        }
    }
}
