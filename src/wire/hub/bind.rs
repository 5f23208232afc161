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
use std::time::Duration;

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType as OsSocket};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::model::endpoint::{Endpoint, IPC_PATH_BYTES_MAX};

use super::Arrival;
use super::stream::{self, Stream};

/// Connections the kernel holds until we accept them.
const BACKLOG: i32 = 1_024;
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

/// A listener of either kind.
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
                stream::tune(&stream);
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
pub(super) fn bind(endpoint: &Endpoint) -> Result<(Bound, Listener), ListenError> {
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

fn bind_tcp(host: &str, port: u16) -> io::Result<(Bound, Listener)> {
    // Host names are for dialling: what a name resolves to here is a surprise waiting to happen.
    let ip: IpAddr = match host {
        "localhost" => Ipv4Addr::LOCALHOST.into(),
        host => host
            .parse()
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?,
    };
    let listener = std::net::TcpListener::bind(SocketAddr::new(ip, port))?;
    rustix::net::listen(&listener, BACKLOG)?;
    listener.set_nonblocking(true)?;
    Ok((Bound(None), Listener::Tcp(TcpListener::from_std(listener)?)))
}

fn bind_ipc(endpoint: &Endpoint, path: &Path) -> Result<(Bound, Listener), ListenError> {
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
    let listener = UnixListener::from_std(listener)
        .map_err(|error| ListenError::Io(endpoint.clone(), error))?;
    Ok((bound, Listener::Unix(listener)))
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

/// Accepts until it is aborted or the hub is gone; where there is a latch, only while that is open.
pub(super) async fn accept(
    listener: Listener,
    port: usize,
    arrive: mpsc::Sender<Arrival>,
    mut latch: Option<watch::Receiver<bool>>,
) {
    let mut said = None;
    loop {
        if let Some(latch) = &mut latch
            && latch.wait_for(|is_open| *is_open).await.is_err()
        {
            return;
        }
        let arrival = match listener.accept().await {
            Ok((stream, address)) => Arrival::Accepted {
                port,
                stream,
                address,
            },
            Err(error) => {
                say(&mut said, &error);
                tokio::time::sleep(ACCEPT_REST).await;
                match Errno::from_io_error(&error) {
                    Some(Errno::MFILE | Errno::NFILE) => Arrival::NoRoom,
                    _ => continue,
                }
            }
        };
        if arrive.send(arrival).await.is_err() {
            return;
        }
    }
}

/// Says that accepting failed, unless that was said a moment ago.
pub(super) fn say(said: &mut Option<Instant>, error: &io::Error) {
    if said.is_none_or(|said| said.elapsed() > SAID_AGAIN) {
        *said = Some(Instant::now());
        tracing::warn!(%error, "cannot accept; trying again");
    }
}
