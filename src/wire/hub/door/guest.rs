//! One connection before it has said who it is: silent, in its greeting, or with a session under way.
//!
//! It must never keep more of a peer than its handshake, nor make a session for one that has not
//! shown a greeting, or what is none.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;

use crate::model::key::PublicKey;
use crate::wire::hub::event::CloseReason;
use crate::wire::hub::hold::GREETING_BYTES;
use crate::wire::hub::opening::GREETING_START;
use crate::wire::hub::session::Session;
use crate::wire::hub::stream::Fresh;

use super::ear::Ear;

/// Where a greeting names the mechanism, and the bytes of that name.
const MECHANISM_AT: usize = 12;
const MECHANISM_BYTES: usize = 20;

/// The most one read takes; a handshake has less.
pub(super) const READ_BYTES_MAX: usize = 8 * 1024;

/// What came of hearing a guest.
pub(super) enum Heard {
    /// It has not said who it is.
    Waits,
    /// It has.
    Claims,
}

/// One guest.
pub(super) struct Guest {
    /// The index of its port.
    pub(super) port: usize,
    pub(super) stream: Fresh,
    /// None on ipc.
    pub(super) address: Option<SocketAddr>,
    /// Once its greeting is whole, or is none.
    pub(super) session: Option<Session>,
    /// What it said before that.
    opening: Vec<u8>,
    /// Bytes of our greeting that were shown before that.
    shown: usize,
}

impl Guest {
    pub(super) fn new(port: usize, stream: Fresh, address: Option<SocketAddr>) -> Self {
        Self {
            port,
            stream,
            address,
            session: None,
            opening: Vec::new(),
            shown: 0,
        }
    }

    pub(super) fn ip(&self) -> Option<IpAddr> {
        self.address.map(|address| address.ip().to_canonical())
    }

    /// The key it showed.
    pub(super) fn key(&self) -> Option<PublicKey> {
        self.session.as_ref().and_then(|session| session.key)
    }

    /// What it means that it ends for this reason now.
    pub(super) fn ended(&self, reason: CloseReason) -> CloseReason {
        match &self.session {
            Some(session) => session.ended(reason),
            None => reason,
        }
    }

    /// Takes all that it said until it says who it is.
    pub(super) fn hear(&mut self, ear: &Ear, buffer: &mut [u8]) -> Result<Heard, CloseReason> {
        self.read(ear, buffer).map_err(|reason| self.ended(reason))
    }

    fn read(&mut self, ear: &Ear, buffer: &mut [u8]) -> Result<Heard, CloseReason> {
        loop {
            let count = match self.stream.read(buffer) {
                Ok(0) => return Err(CloseReason::Peer),
                Ok(count) => count,
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return Ok(Heard::Waits),
                    io::ErrorKind::Interrupted => continue,
                    kind => return Err(CloseReason::Io(kind)),
                },
            };
            if self.take(ear, &buffer[..count])? {
                return Ok(Heard::Claims);
            }
        }
    }

    /// Takes bytes; says whether it now has said who it is.
    fn take(&mut self, ear: &Ear, bytes: &[u8]) -> Result<bool, CloseReason> {
        let mut bytes = Bytes::copy_from_slice(bytes);
        let session = match &mut self.session {
            Some(session) => session,
            none => {
                if self.opening.len() + bytes.len() <= GREETING_BYTES {
                    self.opening.extend_from_slice(&bytes);
                    if is_greeting(&self.opening, ear.greeting()) {
                        return self.greet(ear).map(|()| false);
                    }
                    bytes = std::mem::take(&mut self.opening).into();
                } else if !self.opening.is_empty() {
                    bytes = [&std::mem::take(&mut self.opening), &bytes[..]]
                        .concat()
                        .into();
                }
                let mut session = ear.session(self.stream.is_near(self.address));
                if self.shown == GREETING_BYTES {
                    session.release();
                }
                session.wrote(self.shown);
                none.insert(session)
            }
        };
        let received = session.receive(bytes);
        // An ERROR command that explains a refusal is worth one try.
        let written = write(&mut self.stream, session);
        received?;
        written?;
        Ok(session.has_claim())
    }

    /// Answers a greeting: its start by the start of ours, as libzmq does, more by all of it.
    fn greet(&mut self, ear: &Ear) -> Result<(), CloseReason> {
        let is_start = self.opening.len() < GREETING_START.len();
        self.show(
            ear,
            if is_start {
                GREETING_START.len()
            } else {
                GREETING_BYTES
            },
        )
    }

    /// Shows so much of our greeting.
    fn show(&mut self, ear: &Ear, upto: usize) -> Result<(), CloseReason> {
        let rest = ear.greeting().get(self.shown..upto).unwrap_or_default();
        self.shown = self.shown.max(upto);
        match self.stream.write(rest) {
            Ok(count) if count == rest.len() => Ok(()),
            // No kernel takes less than a greeting at once.
            Ok(_) => Err(CloseReason::Io(io::ErrorKind::WriteZero)),
            Err(error) => Err(CloseReason::Io(error.kind())),
        }
    }

    /// Whether it has hung up and has left nothing to be handled.
    pub(super) fn is_of_no_use(&self) -> bool {
        let is_read = self
            .session
            .as_ref()
            .is_none_or(|it| it.unread_bytes() == 0);
        is_read && self.stream.is_at_its_end()
    }

    /// Shows our whole greeting to a peer that may wait for it.
    pub(super) fn release(&mut self, ear: &Ear) -> Result<(), CloseReason> {
        let Some(session) = &mut self.session else {
            return self.show(ear, GREETING_BYTES);
        };
        session.release();
        write(&mut self.stream, session)
    }
}

/// Whether bytes may become a greeting of our mechanism that is like any other. What may not is for a
/// session to judge.
fn is_greeting(bytes: &[u8], ours: &[u8]) -> bool {
    let is = |at: usize, wanted: u8| bytes.get(at).is_none_or(|byte| *byte == wanted);
    let rest = bytes.get(MECHANISM_AT..).unwrap_or_default();
    let is_usual = || rest[..MECHANISM_BYTES] == ours[MECHANISM_AT..][..MECHANISM_BYTES];
    let is_client = || rest[MECHANISM_BYTES..].iter().all(|byte| *byte == 0);
    let is_whole = bytes.len() == GREETING_BYTES;
    is(0, 0xff) && is(9, 0x7f) && is(10, 3) && (!is_whole || is_usual() && is_client())
}

/// Writes what a session has to say. A handshake is less than any kernel takes at once: a peer for
/// which it is too much is let go of.
fn write(stream: &mut Fresh, session: &mut Session) -> Result<(), CloseReason> {
    while session.is_behind() {
        let slices = session.outgoing();
        let result = stream.write_vectored(&slices);
        drop(slices);
        match result {
            Ok(0) => return Err(CloseReason::Io(io::ErrorKind::WriteZero)),
            Ok(written) => session.wrote(written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(CloseReason::Io(error.kind())),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_usual_waits_without_a_session() {
        let mut ours = vec![0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 1];
        ours.extend_from_slice(b"NULL");
        ours.resize(GREETING_BYTES, 0);
        for cut in 0..=GREETING_BYTES {
            assert!(is_greeting(&ours[..cut], &ours), "{cut}");
        }
        // Another signature, version, mechanism, side, or anything where nothing belongs.
        for (at, byte) in [
            (0, b'G'),
            (9, 0),
            (10, 2),
            (12, b'C'),
            (31, 1),
            (32, 1),
            (63, 1),
        ] {
            let mut other = ours.clone();
            other[at] = byte;
            assert!(!is_greeting(&other, &ours), "{at}");
        }
        ours[11] = 0;
        assert!(is_greeting(&ours, &ours), "3.0 is usual");
    }
}
