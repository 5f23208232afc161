//! Notices that a connection is lost which a library keeps to itself.
//!
//! The `zeromq` crate looks at its socket only while it is asked something, so a dialler that is idle
//! would meet a loss at its next request. The socket is found among the descriptors of this process
//! by the address of its other end, a second descriptor of it is taken, and the kernel tells when the
//! other end is gone: no timer, nothing read, nothing sent. Where that is not possible, nothing is
//! noticed and the next request meets the loss as before. The kernel is also told to ask for a machine
//! that is silent.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;

use rustix::fd::OwnedFd;
use rustix::net::{SocketAddrUnix, getpeername};
#[cfg(target_os = "linux")]
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use tokio::io::unix::AsyncFd;

use crate::model::endpoint::Endpoint;

use super::hub::stream;

/// A second descriptor of a connected socket.
pub(super) struct Watch(AsyncFd<OwnedFd>);

impl Watch {
    /// The newest connection of this process to an endpoint.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn find(_endpoint: &Endpoint) -> Option<Self> {
        None
    }

    /// The newest connection of this process to an endpoint.
    #[cfg(target_os = "linux")]
    pub(super) fn find(endpoint: &Endpoint) -> Option<Self> {
        let mut open: Vec<i32> = fs::read_dir("/proc/self/fd")
            .ok()?
            .flatten()
            .filter(|entry| is_socket(&entry.path()))
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect();
        // A new socket mostly has the highest number.
        open.sort_unstable_by(|one, other| other.cmp(one));
        let own = pidfd_open(getpid(), PidfdFlags::empty()).ok()?;
        let taken = open.into_iter().find_map(|number| {
            let taken = pidfd_getfd(&own, number, PidfdGetfdFlags::empty()).ok()?;
            leads_to(&taken, endpoint).then_some(taken)
        })?;
        if let Endpoint::Tcp { .. } = endpoint {
            stream::keep_alive(&taken);
        }
        registered(taken).ok().map(Self)
    }

    /// Waits until the other end is gone. Cancel safe: nothing is taken from the socket.
    pub(super) async fn lost(&self) {
        loop {
            let Ok(mut ready) = self.0.readable().await else {
                return std::future::pending().await;
            };
            if ready.ready().is_read_closed() {
                return;
            }
            // Something nobody asked for; the library reads it in its time.
            ready.clear_ready();
        }
    }
}

#[expect(
    deprecated,
    reason = "what replaces it is unsafe, and nobody can close a descriptor that is owned here"
)]
fn registered(taken: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(taken)
}

fn is_socket(path: &Path) -> bool {
    fs::read_link(path).is_ok_and(|target| target.to_string_lossy().starts_with("socket:"))
}

fn leads_to(socket: &OwnedFd, endpoint: &Endpoint) -> bool {
    let Ok(Some(peer)) = getpeername(socket) else {
        return false;
    };
    match endpoint {
        Endpoint::Tcp { host, port } => SocketAddr::try_from(peer).is_ok_and(|peer| {
            let ip = peer.ip().to_canonical();
            // A name is known by its port alone.
            peer.port() == *port
                && host
                    .parse()
                    .map_or(true, |host: std::net::IpAddr| host == ip)
        }),
        Endpoint::Ipc { path } => SocketAddrUnix::try_from(peer)
            .is_ok_and(|peer| peer.path_bytes() == Some(path.as_os_str().as_encoded_bytes())),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_loss_is_noticed_and_what_comes_unasked_is_none() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let endpoint = Endpoint::tcp("127.0.0.1", address.port());
        assert!(Watch::find(&endpoint).is_none());
        let ours = TcpStream::connect(address).await.unwrap();
        let (theirs, _) = listener.accept().await.unwrap();
        let watch = Watch::find(&endpoint).unwrap();
        theirs.try_write(b"unasked").unwrap();
        let early = timeout(Duration::from_millis(100), watch.lost()).await;
        assert!(early.is_err());
        let mut bytes = [0; 16];
        ours.readable().await.unwrap();
        assert_eq!(ours.try_read(&mut bytes).unwrap(), 7, "nothing was taken");
        drop(theirs);
        let lost = timeout(Duration::from_secs(10), watch.lost()).await;
        assert!(lost.is_ok());
    }

    #[tokio::test]
    async fn a_socket_file_is_watched_too() {
        let path = std::env::temp_dir().join(format!("zw{}-watch.sock", std::process::id()));
        drop(fs::remove_file(&path));
        let listener = UnixListener::bind(&path).unwrap();
        let _ours = UnixStream::connect(&path).await.unwrap();
        let (theirs, _) = listener.accept().await.unwrap();
        let watch = Watch::find(&Endpoint::ipc(&path)).unwrap();
        drop(theirs);
        let lost = timeout(Duration::from_secs(10), watch.lost()).await;
        assert!(lost.is_ok());
        drop(fs::remove_file(&path));
    }
}
