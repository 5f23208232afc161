//! Reading a connection: what came is taken where it was read, or copied into memory of its own size.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;

use bytes::Bytes;
use tokio::io::{AsyncRead, ReadBuf};

use crate::wire::hub::CloseReason;
use crate::wire::hub::stream::Reading;

use super::Peer;

/// The most one read takes.
const READ_BYTES_MAX: usize = 256 * 1024;

thread_local! {
    /// What every connection of a thread is read into. What came is copied out of it, so that a
    /// connection holds the bytes that arrived and nothing that waits for more of them.
    static READ_INTO: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES_MAX]);
}

/// What came of a read.
pub(super) enum Read {
    /// The peer closed it.
    Nothing,
    /// Bytes, in memory of their own size.
    Bytes(Bytes),
    /// Messages, which were fanned out where they were.
    Cut {
        result: Result<(), CloseReason>,
        /// There was as much as one read takes.
        fills: bool,
    },
}

impl Peer {
    /// Reads what is there.
    pub(super) async fn read(&self, reading: &mut Reading) -> io::Result<Read> {
        poll_fn(|cx| {
            READ_INTO.with_borrow_mut(|buffer| {
                let mut buffer = ReadBuf::new(buffer);
                Pin::new(&mut *reading)
                    .poll_read(cx, &mut buffer)
                    .map_ok(|()| {
                        let bytes = buffer.filled();
                        if bytes.is_empty() {
                            return Read::Nothing;
                        }
                        match self.cut(bytes) {
                            Some(result) => Read::Cut {
                                result,
                                fills: bytes.len() == READ_BYTES_MAX,
                            },
                            None => Read::Bytes(Bytes::copy_from_slice(bytes)),
                        }
                    })
            })
        })
        .await
    }
}
