//! Binding and accepting: tcp and ipc, with every failure named.
//!
//! A stale socket file, left by a process that was killed, is removed only when nobody answers on
//! it; a file that is no socket never is. Socket files are readable by their owner alone.

use std::fmt;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mio::{Interest, Registry, Token};
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType as OsSocket};
use tokio::net::{TcpListener, UnixListener};

use crate::model::endpoint::{Endpoint, IPC_PATH_BYTES_MAX};

use super::door::BACKLOG;
use super::stream::{self, Fresh, Stream};

/// How long accepting rests after an error such as too many open files.
pub(super) const ACCEPT_REST: Duration = Duration::from_millis(50);
/// How long nothing more is said of that after it was.
const SAID_AGAIN: Duration = Duration::from_secs(10);

/// Why an endpoint could not be bound.
#[derive(Debug)]
pub enum ListenError {
    /// Somebody listens there already.
    AddrInUse(Endpoint),
    /// Not permitted.
    Permission(Endpoint),
    /// Not an address of this machine, or a host name where an address belongs.
    BadAddress(Endpoint),
    /// A file that is no socket is in the way.
    NotASocket(PathBuf),
    /// Anything else the operating system says.
    Io(Endpoint, io::Error),
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddrInUse(at) => write!(f, "cannot bind {at}: the address is in use"),
            Self::Permission(at) => write!(f, "cannot bind {at}: permission denied"),
            Self::BadAddress(at) => {
                write!(f, "cannot bind {at}: it is no address of this machine")
            }
            Self::NotASocket(path) => write!(
                f,
                "cannot bind ipc://{}: a file that is no socket is in the way",
                path.display()
            ),
            Self::Io(at, error) => write!(f, "cannot bind {at}: {error}"),
        }
    }
}

impl std::error::Error for ListenError {}

/// A listener of either kind, of no runtime.
pub(super) enum Listening {
    Tcp(mio::net::TcpListener),
    Unix(mio::net::UnixListener),
}

impl Listening {
    /// The next connection, and the address of its peer; none on ipc.
    pub(super) fn accept(&self) -> io::Result<(Fresh, Option<SocketAddr>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept()?;
                Ok((Fresh::Tcp(stream), Some(address)))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept()?;
                Ok((Fresh::Unix(stream), None))
            }
        }
    }

    /// Hears of newcomers, each time that there are some.
    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match self {
            Self::Tcp(listener) => registry.register(listener, token, Interest::READABLE),
            Self::Unix(listener) => registry.register(listener, token, Interest::READABLE),
        }
    }

    /// Hears of nobody any more; they wait in the kernel's backlog.
    pub(super) fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match self {
            Self::Tcp(listener) => registry.deregister(listener),
            Self::Unix(listener) => registry.deregister(listener),
        }
    }

    /// The same for the runtime of whoever calls.
    pub(super) fn into_listener(self) -> io::Result<Listener> {
        Ok(match self {
            Self::Tcp(listener) => Listener::Tcp(TcpListener::from_std(listener.into())?),
            Self::Unix(listener) => Listener::Unix(UnixListener::from_std(listener.into())?),
        })
    }
}

/// A listener of either kind, of a runtime.
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// The next connection, and the address of its peer.
    pub(super) async fn accept(&self) -> io::Result<(Stream, String)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                Ok((Stream::Tcp(stream), address.to_string()))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Stream::Unix(stream), String::new()))
            }
        }
    }
}

/// What has to be undone when listening ends: the socket file, if it is still ours.
pub(super) struct Bound(Option<(PathBuf, u64)>);

impl Bound {
    /// Removes the socket file, unless somebody else has put theirs in its place.
    pub(super) fn release(&mut self) {
        let Some((path, inode)) = self.0.take() else {
            return;
        };
        if fs::symlink_metadata(&path).is_ok_and(|file| file.ino() == inode) {
            drop(fs::remove_file(path));
        }
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        self.release();
    }
}

/// Binds an endpoint.
pub(super) fn bind(endpoint: &Endpoint) -> Result<(Bound, Listening), ListenError> {
    match endpoint {
        Endpoint::Tcp { host, port } => {
            bind_tcp(host, *port).map_err(|error| named(endpoint, error))
        }
        Endpoint::Ipc { path } => bind_ipc(endpoint, path),
    }
}

fn named(endpoint: &Endpoint, error: io::Error) -> ListenError {
    match error.kind() {
        io::ErrorKind::AddrInUse => ListenError::AddrInUse(endpoint.clone()),
        io::ErrorKind::PermissionDenied => ListenError::Permission(endpoint.clone()),
        io::ErrorKind::AddrNotAvailable | io::ErrorKind::InvalidInput => {
            ListenError::BadAddress(endpoint.clone())
        }
        _ => ListenError::Io(endpoint.clone(), error),
    }
}

fn bind_tcp(host: &str, port: u16) -> io::Result<(Bound, Listening)> {
    // Host names are for dialling: what a name resolves to here is a surprise waiting to happen.
    let ip: IpAddr = match host {
        "localhost" => Ipv4Addr::LOCALHOST.into(),
        host => host
            .parse()
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?,
    };
    let listener = std::net::TcpListener::bind(SocketAddr::new(ip, port))?;
    stream::tune(&listener);
    rustix::net::listen(&listener, BACKLOG)?;
    listener.set_nonblocking(true)?;
    let listener = mio::net::TcpListener::from_std(listener);
    Ok((Bound(None), Listening::Tcp(listener)))
}

fn bind_ipc(endpoint: &Endpoint, path: &Path) -> Result<(Bound, Listening), ListenError> {
    if path.as_os_str().len() > IPC_PATH_BYTES_MAX {
        return Err(ListenError::BadAddress(endpoint.clone()));
    }
    let listener = match bind_file(path) {
        Err(Errno::ADDRINUSE) => {
            remove_stale(endpoint, path)?;
            bind_file(path)
        }
        bound => bound,
    }
    .map_err(|errno| named(endpoint, errno.into()))?;
    let file = fs::symlink_metadata(path).map_err(|error| named(endpoint, error))?;
    let bound = Bound(Some((path.to_owned(), file.ino())));
    let listener = mio::net::UnixListener::from_std(listener);
    Ok((bound, Listening::Unix(listener)))
}

/// Binds a socket file that nobody but its owner can ever open.
fn bind_file(path: &Path) -> Result<std::os::unix::net::UnixListener, Errno> {
    let socket = unix_socket()?;
    // On Linux the file takes the mode the socket has when it is bound; elsewhere the directory,
    // which is 0700, covers the moment until the next line.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR).ok();
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).ok();
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

fn unix_socket() -> Result<rustix::fd::OwnedFd, Errno> {
    rustix::net::socket_with(
        AddressFamily::UNIX,
        OsSocket::STREAM,
        SocketFlags::NONBLOCK | SocketFlags::CLOEXEC,
        None,
    )
}

/// Removes a socket file on which nobody answers.
fn remove_stale(endpoint: &Endpoint, path: &Path) -> Result<(), ListenError> {
    match fs::symlink_metadata(path) {
        Ok(file) if !file.file_type().is_socket() => {
            return Err(ListenError::NotASocket(path.to_owned()));
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(named(endpoint, error)),
    }
    let answer =
        unix_socket().and_then(|socket| rustix::net::connect(&socket, &SocketAddrUnix::new(path)?));
    match answer {
        // A full backlog is somebody too.
        Ok(()) | Err(Errno::AGAIN | Errno::INPROGRESS) => {
            Err(ListenError::AddrInUse(endpoint.clone()))
        }
        Err(Errno::CONNREFUSED) => fs::remove_file(path).map_err(|error| named(endpoint, error)),
        Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(named(endpoint, errno.into())),
    }
}

/// Says that accepting failed, unless that was said a moment ago.
pub(super) fn say(said: &mut Option<Instant>, error: &io::Error) {
    if said.is_none_or(|said| said.elapsed() > SAID_AGAIN) {
        *said = Some(Instant::now());
        tracing::warn!(%error, "cannot accept; trying again");
    }
}

#[cfg(test)]
mod tests {
    use rustix::net::sockopt;

    use super::*;

    #[test]
    fn what_is_accepted_is_tuned_as_its_listener_is() {
        let endpoint = Endpoint::tcp("127.0.0.1", 0);
        let (_bound, listening) = bind(&endpoint).unwrap();
        let Listening::Tcp(listener) = &listening else {
            panic!("it is tcp");
        };
        let _peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert!(sockopt::tcp_nodelay(&accepted).unwrap());
        assert!(sockopt::socket_keepalive(&accepted).unwrap());
        assert_eq!(sockopt::tcp_keepcnt(&accepted).unwrap(), 2);
    }
}
