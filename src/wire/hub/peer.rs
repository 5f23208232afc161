//! One connection: its session, its socket, and the task that reads it.
//!
//! Two hold a [`Peer`]: the hub, which sends, and the task, which reads and writes on when the
//! kernel takes more. Neither awaits while it holds the lock.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncReadExt;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use crate::model::key::PublicKey;

use super::session::{Session, SessionConfig};
use super::stream::{Reading, Stream, Writing};
use super::{CloseReason, ConnId, ConnectionFacts, SendError, Told};

/// The first read of a connection asks for this much; reads that fill it ask for more.
const READ_BYTES_MIN: usize = 4 * 1024;
/// The most one read asks for.
const READ_BYTES_MAX: usize = 256 * 1024;
/// How long the second part of our greeting waits for the peer's first.
const GREETING_HOLD: Duration = Duration::from_millis(100);

/// One connection.
pub(super) struct Peer {
    address: String,
    since: SystemTime,
    handshake: Duration,
    writing: Writing,
    /// Wakes the task when a send left something to write.
    behind: Notify,
    session: Mutex<Session>,
}

impl Peer {
    pub(super) fn new(
        config: SessionConfig,
        address: String,
        stream: Stream,
    ) -> (Arc<Self>, Reading) {
        let (reading, writing) = stream.split();
        let peer = Self {
            address,
            since: SystemTime::now(),
            handshake: Duration::from_millis(config.limits.handshake_ms),
            writing,
            behind: Notify::new(),
            session: Mutex::new(Session::new(config)),
        };
        (Arc::new(peer), reading)
    }

    fn session(&self) -> MutexGuard<'_, Session> {
        // A panic elsewhere leaves counters behind, nothing that could be unsound.
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn facts(&self, conn: ConnId, port: &str) -> ConnectionFacts {
        let session = self.session();
        let since = self.since.duration_since(SystemTime::UNIX_EPOCH);
        ConnectionFacts {
            conn,
            port: port.to_owned(),
            peer_address: self.address.clone(),
            socket_type: session.socket_type.map(str::to_owned),
            identity: String::from_utf8_lossy(&session.identity).into_owned(),
            mechanism: session.mechanism,
            key: session.key,
            who: session.who.clone(),
            zmtp_minor: session.zmtp_minor,
            handshake_done: session.is_ready(),
            bytes_in: session.bytes_in,
            bytes_out: session.bytes_out,
            messages_in: session.messages_in,
            messages_out: session.messages_out,
            queued_bytes: session.queued_bytes(),
            dropped: session.dropped,
            since_ms: u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX),
        }
    }

    pub(super) fn is_behind(&self) -> bool {
        self.session().is_behind()
    }

    pub(super) fn send(&self, frames: Vec<Bytes>) -> Result<(), SendError> {
        let mut session = self.session();
        session.send(frames)?;
        // An error here is the connection's end, which the reading task meets and reports.
        if !matches!(self.flush(&mut session), Ok(false)) {
            self.behind.notify_one();
        }
        Ok(())
    }

    /// Writes what the kernel takes now; says whether anything is left.
    fn flush(&self, session: &mut Session) -> io::Result<bool> {
        while session.is_behind() {
            let slices = session.outgoing();
            let result = self.writing.try_write(&slices);
            drop(slices);
            match result {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => session.wrote(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// Feeds bytes to the session. Gives whether the handshake is done, and why it has to end, if it
    /// has to; `messages` are whole in any case.
    fn receive(
        &self,
        bytes: Bytes,
        messages: &mut VecDeque<Vec<Bytes>>,
    ) -> (bool, Result<(), CloseReason>) {
        let mut session = self.session();
        let fed = session.receive(bytes, messages);
        // An ERROR command that explains a refusal is worth one try.
        let flushed = self.flush(&mut session);
        let result = fed.and(match flushed {
            Ok(_) => Ok(()),
            Err(error) => Err(CloseReason::Io(error.kind())),
        });
        (session.is_ready(), result)
    }

    /// Goes on parsing what waited for room in the outbound queue.
    fn resume(&self, messages: &mut VecDeque<Vec<Bytes>>) -> Result<(), CloseReason> {
        let mut session = self.session();
        self.flush(&mut session)
            .map_err(|error| CloseReason::Io(error.kind()))?;
        session.resume(messages)
    }

    /// Shows the whole greeting, if it was held back so far.
    fn release(&self) -> Result<(), CloseReason> {
        let mut session = self.session();
        if session.release() {
            self.flush(&mut session)
                .map_err(|error| CloseReason::Io(error.kind()))?;
        }
        Ok(())
    }

    /// The key that an admitted peer showed us.
    pub(super) fn key(&self) -> Option<PublicKey> {
        self.session().key
    }

    /// Whether the session takes more bytes, and whether it has bytes to write.
    fn wants(&self) -> (bool, bool) {
        let session = self.session();
        (session.takes_input(), session.is_behind())
    }
}

/// Reads one connection to its end and tells the hub.
pub(super) async fn run(conn: ConnId, peer: Arc<Peer>, reading: Reading, tell: mpsc::Sender<Told>) {
    let reason = match read(conn, &peer, reading, &tell).await {
        Ok(never) => match never {},
        Err(reason) => peer.session().ended(reason),
    };
    // The hub may be gone; then nobody asks.
    drop(tell.send(Told::Closed(conn, reason)).await);
}

async fn read(
    conn: ConnId,
    peer: &Peer,
    mut reading: Reading,
    tell: &mpsc::Sender<Told>,
) -> Result<std::convert::Infallible, CloseReason> {
    let mut buffer = BytesMut::new();
    let mut messages = VecDeque::new();
    let mut read_bytes = READ_BYTES_MIN;
    let mut is_ready = false;
    let deadline = Instant::now() + peer.handshake;
    let timer = tokio::time::sleep(GREETING_HOLD.min(peer.handshake));
    tokio::pin!(timer);
    loop {
        let (reads, writes) = peer.wants();
        if buffer.capacity() - buffer.len() < read_bytes / 2 {
            buffer.reserve(read_bytes);
        }
        let mut result = Ok(());
        tokio::select! {
            // Cancel safe: a read that is dropped has taken nothing.
            read = reading.read_buf(&mut buffer), if reads => {
                let bytes = read.map_err(|error| CloseReason::Io(error.kind()))?;
                if bytes == 0 {
                    return Err(CloseReason::Peer);
                }
                if bytes >= read_bytes / 2 {
                    read_bytes = (read_bytes * 2).min(READ_BYTES_MAX);
                }
                let was_ready = is_ready;
                (is_ready, result) = peer.receive(buffer.split().freeze(), &mut messages);
                if is_ready && !was_ready && tell.send(Told::Ready(conn)).await.is_err() {
                    return Err(CloseReason::Peer);
                }
            }
            // Cancel safe: it only waits for readiness.
            ready = peer.writing.writable(), if writes => {
                ready.map_err(|error| CloseReason::Io(error.kind()))?;
                result = peer.resume(&mut messages);
            }
            // Cancel safe: a permit that is not taken stays.
            () = peer.behind.notified(), if !writes => {}
            () = &mut timer, if !is_ready => {
                if Instant::now() >= deadline {
                    return Err(CloseReason::HandshakeTimeout);
                }
                result = peer.release();
                timer.as_mut().reset(deadline);
            }
        }
        // What came whole before the bytes that end a connection is delivered like in libzmq.
        for frames in messages.drain(..) {
            if tell.send(Told::Message(conn, frames)).await.is_err() {
                return Err(CloseReason::Peer);
            }
        }
        result?;
    }
}
