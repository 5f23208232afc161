//! One connection that somebody drives by hand: a request goes out, its answer is waited for.
//!
//! The hub is for many connections and events; this is for one, on the same sessions, with the same
//! limits and the same words for what went wrong. Every wait has a deadline. It never reconnects:
//! whoever holds it does, and it tells at once when the connection is lost.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, timeout_at};

use crate::model::endpoint::Endpoint;

use super::dial::DialError;
use super::hub::stream::{self, Reading, Writing};
use super::hub::{CloseReason, Received, Session, SessionConfig};

/// The most one read asks for.
const READ_BYTES: usize = 64 * 1024;
/// How long the second part of our greeting waits for the peer's.
const GREETING_HOLD: Duration = Duration::from_millis(100);

/// A connection whose handshake is done.
pub(super) struct Link {
    session: Session,
    reading: Reading,
    writing: Writing,
    buffer: BytesMut,
}

impl Link {
    /// Connects and finishes the handshake, or says in which way it could not.
    pub(super) async fn open(
        endpoint: &Endpoint,
        mut config: SessionConfig,
        deadline: Instant,
    ) -> Result<Self, DialError> {
        let connected = timeout_at(deadline, stream::connect(endpoint)).await;
        let (stream, _) = match connected {
            Ok(connected) => connected.map_err(|error| DialError::from(&error))?,
            Err(_) => return Err(DialError::Unreachable(io::ErrorKind::TimedOut)),
        };
        config.is_near = stream.is_near();
        let (reading, writing) = stream.split();
        let mut link = Self {
            session: Session::new(config),
            reading,
            writing,
            buffer: BytesMut::new(),
        };
        let opened = link.handshake(deadline).await;
        opened.map_err(|reason| DialError::from(&link.session.ended(reason)))?;
        Ok(link)
    }

    async fn handshake(&mut self, deadline: Instant) -> Result<(), CloseReason> {
        let hold = (Instant::now() + GREETING_HOLD).min(deadline);
        let shown = timeout_at(hold, self.shake()).await;
        if let Ok(done) = shown {
            return done;
        }
        // Cancel safe: what was read is with the session, what was written is counted there.
        self.session.release();
        match timeout_at(deadline, self.shake()).await {
            Ok(done) => done,
            Err(_) => Err(CloseReason::HandshakeTimeout),
        }
    }

    async fn shake(&mut self) -> Result<(), CloseReason> {
        while !self.session.is_ready() {
            self.flush().await?;
            self.read().await?;
        }
        self.flush().await
    }

    /// The name the other end gave itself.
    pub(super) fn announced(&self) -> &[u8] {
        &self.session.identity
    }

    /// Writes a message, all of it.
    pub(super) async fn send(&mut self, frames: Vec<Bytes>) -> Result<(), CloseReason> {
        let sent = self.session.send(frames);
        sent.map_err(|_| CloseReason::Io(io::ErrorKind::WriteZero))?;
        self.flush().await
    }

    /// The next message. Cancel safe: what was read stays.
    pub(super) async fn recv(&mut self) -> Result<Vec<Bytes>, CloseReason> {
        loop {
            if let Some(Received::Message(frames)) = self.session.take() {
                return Ok(frames);
            }
            self.read().await?;
            self.flush().await?;
        }
    }

    /// Answers heartbeats until the connection is lost; says why. Messages that come are dropped:
    /// nobody asked. Cancel safe.
    pub(super) async fn lost(&mut self) -> CloseReason {
        loop {
            if let Err(reason) = self.recv().await {
                return reason;
            }
        }
    }

    async fn read(&mut self) -> Result<(), CloseReason> {
        self.buffer.reserve(READ_BYTES);
        let read = self.reading.read_buf(&mut self.buffer).await;
        match read {
            Ok(0) => Err(CloseReason::Peer),
            Ok(_) => {
                let bytes = self.buffer.split().freeze();
                let fed = self.session.receive(bytes).and_then(|()| self.admit());
                if fed.is_err() {
                    // What explains the end to the peer is worth one try.
                    self.write().ok();
                }
                fed
            }
            Err(error) => Err(CloseReason::Io(error.kind())),
        }
    }

    /// Whom we dialled is who we dialled.
    fn admit(&mut self) -> Result<(), CloseReason> {
        match self.session.take_claim() {
            Some(_) => self.session.admit(),
            None => Ok(()),
        }
    }

    async fn flush(&mut self) -> Result<(), CloseReason> {
        let failed = |error: io::Error| CloseReason::Io(error.kind());
        while self.write().map_err(failed)? {
            self.writing.writable().await.map_err(failed)?;
        }
        self.session.parse()
    }

    /// Writes what the kernel takes now; says whether anything is left.
    fn write(&mut self) -> io::Result<bool> {
        while self.session.is_behind() {
            let slices = self.session.outgoing();
            let result = self.writing.try_write(&slices);
            drop(slices);
            match result {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => self.session.wrote(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }
}
