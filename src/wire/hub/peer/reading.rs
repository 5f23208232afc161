//! Reading a connection: what came is taken where it was read, or copied into memory of its own size
//! by whoever keeps it.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncReadExt;

use crate::wire::hub::CloseReason;
use crate::wire::hub::stream::Reading;

use super::Peer;

/// The most one read takes.
const READ_BYTES_MAX: usize = 256 * 1024;

thread_local! {
    /// What every connection of a thread is read into. A session keeps nothing of it, so that a
    /// connection holds the bytes that arrived and nothing that waits for more of them.
    static READ_INTO: RefCell<BytesMut> = RefCell::new(BytesMut::with_capacity(READ_BYTES_MAX));
}

/// What came of a read.
pub(super) enum Read {
    /// The peer closed it.
    Nothing,
    /// Bytes, in memory that is read into again once nobody holds any of it.
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
            READ_INTO.with_borrow_mut(|memory| {
                memory.reserve(READ_BYTES_MAX);
                let read = pin!(reading.read_buf(&mut *memory)).poll(cx);
                read.map_ok(|count| {
                    if count == 0 {
                        return Read::Nothing;
                    }
                    match self.cut(memory) {
                        Some(result) => {
                            memory.clear();
                            Read::Cut {
                                result,
                                fills: count >= READ_BYTES_MAX,
                            }
                        }
                        None => Read::Bytes(memory.split().freeze()),
                    }
                })
            })
        })
        .await
    }
}
