//! One connection: its ZMTP engine, its counters, and the task that reads it.
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
use omq_proto::Error as ZmtpError;
use omq_proto::Message;
use omq_proto::Payload;
use omq_proto::proto::{Connection, ConnectionConfig, Event, Role};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpStream, UnixStream, tcp, unix};
use tokio::sync::{Notify, mpsc};

use crate::model::limits::WireLimits;
use crate::model::socket::SocketType;

use super::{CloseReason, ConnId, ConnectionFacts, Drops, SendError, Told, Violation};

/// The first read of a connection asks for this much; reads that fill it ask for more.
const READ_BYTES_MIN: usize = 4 * 1024;
/// The most one read asks for.
const READ_BYTES_MAX: usize = 256 * 1024;
/// Slices handed to the kernel in one write.
const SLICES_MAX: usize = 64;

/// An accepted stream.
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// The writing half; it is written without waiting.
enum Writing {
    Tcp(tcp::OwnedWriteHalf),
    Unix(unix::OwnedWriteHalf),
}

/// The reading half.
pub(super) type Reading = Box<dyn AsyncRead + Send + Unpin>;

impl Writing {
    fn try_write(&self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(half) => half.try_write_vectored(slices),
            Self::Unix(half) => half.try_write_vectored(slices),
        }
    }

    async fn writable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(half) => half.writable().await,
            Self::Unix(half) => half.writable().await,
        }
    }
}

/// What a connection is made of.
pub(super) struct Config {
    pub(super) socket_type: SocketType,
    pub(super) announce: Bytes,
    pub(super) address: String,
    pub(super) limits: Arc<WireLimits>,
}

/// One connection.
pub(super) struct Peer {
    limits: Arc<WireLimits>,
    address: String,
    since: SystemTime,
    writing: Writing,
    /// Wakes the task when a send left something to write.
    behind: Notify,
    state: Mutex<State>,
}

struct State {
    engine: Connection,
    is_ready: bool,
    socket_type: Option<&'static str>,
    identity: Bytes,
    bytes_in: u64,
    bytes_out: u64,
    messages_in: u64,
    messages_out: u64,
    dropped: Drops,
}

fn engine_type(ours: SocketType) -> omq_proto::SocketType {
    omq_proto::SocketType::from_wire(ours.as_str().as_bytes())
        .expect("both name ZeroMQ's own socket types")
}

impl Peer {
    pub(super) fn new(config: Config, stream: Stream) -> (Arc<Self>, Reading) {
        let (reading, writing): (Reading, Writing) = match stream {
            Stream::Tcp(stream) => {
                let (reading, writing) = stream.into_split();
                (Box::new(reading), Writing::Tcp(writing))
            }
            Stream::Unix(stream) => {
                let (reading, writing) = stream.into_split();
                (Box::new(reading), Writing::Unix(writing))
            }
        };
        // The engine charges one slot a part; the limit here is about what the peer sent.
        let slots = config.limits.parts_max * size_of::<Payload>();
        let engine = Connection::new(
            ConnectionConfig::new(Role::Server, engine_type(config.socket_type))
                .identity(config.announce)
                .max_message_size(config.limits.message_bytes_max.saturating_add(slots)),
        );
        let peer = Self {
            limits: config.limits,
            address: config.address,
            since: SystemTime::now(),
            writing,
            behind: Notify::new(),
            state: Mutex::new(State {
                engine,
                is_ready: false,
                socket_type: None,
                identity: Bytes::new(),
                bytes_in: 0,
                bytes_out: 0,
                messages_in: 0,
                messages_out: 0,
                dropped: Drops::default(),
            }),
        };
        (Arc::new(peer), reading)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves counters behind, nothing that could be unsound.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn facts(&self, conn: ConnId, port: &str) -> ConnectionFacts {
        let state = self.state();
        let since = self.since.duration_since(SystemTime::UNIX_EPOCH);
        ConnectionFacts {
            conn,
            port: port.to_owned(),
            peer_address: self.address.clone(),
            socket_type: state.socket_type.map(str::to_owned),
            identity: String::from_utf8_lossy(&state.identity).into_owned(),
            mechanism: "NULL",
            handshake_done: state.is_ready,
            bytes_in: state.bytes_in,
            bytes_out: state.bytes_out,
            messages_in: state.messages_in,
            messages_out: state.messages_out,
            queued_bytes: state.engine.pending_transmit_size(),
            dropped: state.dropped,
            since_ms: u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX),
        }
    }

    pub(super) fn is_behind(&self) -> bool {
        self.state().engine.has_pending_transmit()
    }

    pub(super) fn send(&self, frames: Vec<Bytes>) -> Result<(), SendError> {
        let mut state = self.state();
        if !state.is_ready {
            return Err(SendError::Closed);
        }
        let bytes: usize = frames.iter().map(Bytes::len).sum();
        if state.engine.pending_transmit_size().saturating_add(bytes) > self.limits.peer_bytes_max {
            state.dropped.full += 1;
            return Err(SendError::Full);
        }
        let message = match <[Bytes; 1]>::try_from(frames) {
            Ok([frame]) => Message::single(frame),
            Err(frames) => Message::multipart(frames),
        };
        state
            .engine
            .send_message(&message)
            .map_err(|_| SendError::Closed)?;
        state.messages_out += 1;
        // An error here is the connection's end, which the reading task meets and reports.
        if !matches!(self.flush(&mut state), Ok(false)) {
            self.behind.notify_one();
        }
        Ok(())
    }

    /// Writes what the kernel takes now; says whether anything is left.
    fn flush(&self, state: &mut State) -> io::Result<bool> {
        while state.engine.has_pending_transmit() {
            let slices = state.engine.transmit_chunks_capped(SLICES_MAX);
            match self.writing.try_write(&slices) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    drop(slices);
                    state.bytes_out += written as u64;
                    state.engine.advance_transmit(written);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// Feeds bytes to the engine; whole messages come out in `messages`. True once ready.
    fn receive(&self, bytes: Bytes, messages: &mut VecDeque<Message>) -> Result<bool, CloseReason> {
        let mut state = self.state();
        state.bytes_in += bytes.len() as u64;
        let fed = state.engine.handle_input(bytes);
        while let Some(event) = state.engine.poll_event() {
            match event {
                Event::HandshakeSucceeded {
                    peer_properties, ..
                } => {
                    state.is_ready = true;
                    state.socket_type = peer_properties.socket_type.map(|ty| ty.as_str());
                    // Copied, so that a short name does not pin the buffer it arrived in.
                    state.identity = peer_properties
                        .identity
                        .as_ref()
                        .map(|id| Bytes::copy_from_slice(id))
                        .unwrap_or_default();
                }
                // Subscriptions and the like mean nothing to the socket types served so far.
                Event::Message(_) | Event::Command(_) => {}
            }
        }
        state.engine.swap_messages(messages);
        state.messages_in += messages.len() as u64;
        // An ERROR command that explains a refusal is worth one try.
        let flushed = self.flush(&mut state);
        fed.map_err(reason_of)?;
        flushed.map_err(|error| CloseReason::Io(error.kind()))?;
        Ok(state.is_ready)
    }

    /// Goes on parsing what waited for room in the outbound queue.
    fn resume(&self, messages: &mut VecDeque<Message>) -> Result<(), CloseReason> {
        let mut state = self.state();
        self.flush(&mut state)
            .map_err(|error| CloseReason::Io(error.kind()))?;
        if state.engine.has_pending_input() {
            state.engine.resume_input().map_err(reason_of)?;
            state.engine.swap_messages(messages);
            state.messages_in += messages.len() as u64;
        }
        Ok(())
    }

    /// Whether the engine takes more bytes, and whether it has bytes to write.
    fn wants(&self) -> (bool, bool) {
        let state = self.state();
        (
            state.engine.accepts_input(),
            state.engine.has_pending_transmit(),
        )
    }
}

fn reason_of(error: ZmtpError) -> CloseReason {
    match error {
        ZmtpError::MessageTooLarge { .. } => CloseReason::TooLarge,
        other => CloseReason::Protocol(Violation(other.to_string().into())),
    }
}

/// Reads one connection to its end and tells the hub.
pub(super) async fn run(conn: ConnId, peer: Arc<Peer>, reading: Reading, tell: mpsc::Sender<Told>) {
    let reason = match read(conn, &peer, reading, &tell).await {
        Ok(never) => match never {},
        Err(reason) => reason,
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
    let deadline = tokio::time::sleep(Duration::from_millis(peer.limits.handshake_ms));
    tokio::pin!(deadline);
    loop {
        let (reads, writes) = peer.wants();
        if buffer.capacity() - buffer.len() < read_bytes / 2 {
            buffer.reserve(read_bytes);
        }
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
                is_ready = peer.receive(buffer.split().freeze(), &mut messages)?;
                if is_ready && !was_ready && tell.send(Told::Ready(conn)).await.is_err() {
                    return Err(CloseReason::Peer);
                }
            }
            // Cancel safe: it only waits for readiness.
            ready = peer.writing.writable(), if writes => {
                ready.map_err(|error| CloseReason::Io(error.kind()))?;
                peer.resume(&mut messages)?;
            }
            // Cancel safe: a permit that is not taken stays.
            () = peer.behind.notified(), if !writes => {}
            () = &mut deadline, if !is_ready => return Err(CloseReason::HandshakeTimeout),
        }
        for message in messages.drain(..) {
            if message.len() > peer.limits.parts_max {
                return Err(CloseReason::TooManyParts);
            }
            let frames = message.iter().collect();
            if tell.send(Told::Message(conn, frames)).await.is_err() {
                return Err(CloseReason::Peer);
            }
        }
    }
}
