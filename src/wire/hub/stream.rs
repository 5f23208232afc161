//! A connected stream of either kind, and its two halves.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use mio::{Interest, Registry, Token};
use rustix::fd::AsFd;
use rustix::io::Errno;
use rustix::net::{RecvFlags, sockopt};
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
/// A listener hands them on to what it accepts.
pub(super) fn tune(stream: impl AsFd) {
    sockopt::set_tcp_nodelay(&stream, true).ok();
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

/// A stream that was accepted and belongs to no runtime.
pub(super) enum Fresh {
    Tcp(mio::net::TcpStream),
    Unix(mio::net::UnixStream),
}

impl Fresh {
    /// Hears of what comes, each time that something did.
    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => registry.register(stream, token, Interest::READABLE),
            Self::Unix(stream) => registry.register(stream, token, Interest::READABLE),
        }
    }

    /// Hears of nothing any more; what is not closed yet is somebody else's to hear of.
    pub(super) fn deregister(&mut self, registry: &Registry) {
        let done = match self {
            Self::Tcp(stream) => registry.deregister(stream),
            Self::Unix(stream) => registry.deregister(stream),
        };
        // It fails for what is not registered only; then there is nothing to undo.
        drop(done);
    }

    /// Whether the other end, whose address is known, is on this machine.
    pub(super) fn is_near(&self, peer: Option<SocketAddr>) -> bool {
        match self {
            Self::Tcp(stream) => peer.is_some_and(|peer| {
                let ip = peer.ip().to_canonical();
                // Whoever has an address of ours is here.
                let own = || stream.local_addr().ok().map(|it| it.ip().to_canonical());
                ip.is_loopback() || own() == Some(ip)
            }),
            Self::Unix(_) => true,
        }
    }

    /// Whether nothing more will come: all that was sent is read, and the other end is gone.
    pub(super) fn is_at_its_end(&self) -> bool {
        let mut byte = [0; 1];
        let peeked = match self {
            Self::Tcp(stream) => rustix::net::recv(stream, &mut byte, RecvFlags::PEEK),
            Self::Unix(stream) => rustix::net::recv(stream, &mut byte, RecvFlags::PEEK),
        };
        match peeked {
            Ok((count, _)) => count == 0,
            Err(errno) => !matches!(errno, Errno::AGAIN | Errno::INTR),
        }
    }

    /// The same stream for the runtime of whoever calls.
    pub(super) fn into_stream(self) -> io::Result<Stream> {
        Ok(match self {
            Self::Tcp(stream) => Stream::Tcp(TcpStream::from_std(stream.into())?),
            Self::Unix(stream) => Stream::Unix(UnixStream::from_std(stream.into())?),
        })
    }
}

impl Read for Fresh {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Fresh {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }

    fn write_vectored(&mut self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write_vectored(slices),
            Self::Unix(stream) => stream.write_vectored(slices),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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
