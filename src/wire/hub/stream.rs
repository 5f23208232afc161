//! A connected stream of either kind, and its two halves.

use std::io;

use tokio::io::AsyncRead;
use tokio::net::{TcpStream, UnixStream, tcp, unix};

/// An accepted stream.
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// The writing half; it is written without waiting.
pub(super) enum Writing {
    Tcp(tcp::OwnedWriteHalf),
    Unix(unix::OwnedWriteHalf),
}

/// The reading half.
pub(super) type Reading = Box<dyn AsyncRead + Send + Unpin>;

impl Stream {
    /// The two halves: one is read by the connection's task, the other written by whoever sends.
    pub(super) fn split(self) -> (Reading, Writing) {
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
    pub(super) fn try_write(&self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(half) => half.try_write_vectored(slices),
            Self::Unix(half) => half.try_write_vectored(slices),
        }
    }

    pub(super) async fn writable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(half) => half.writable().await,
            Self::Unix(half) => half.writable().await,
        }
    }
}
