//! A plain connection whose handshake waits for somebody else's.
//!
//! A gate shows to each side the socket type and the identity of the other, so it must know both
//! before it says READY to either. Here one side is met: greetings are exchanged, its READY is read
//! and ours is kept back. Its socket library takes it for a connection that is not there yet: it
//! sends nothing, and counts it for no peer.
//!
//! It must never keep more of a peer than a greeting and one command within its limit, and never
//! hold one for which nobody waits: whoever drops a [`Held`] closes it.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::timeout;

use crate::model::endpoint::Endpoint;
use crate::model::limits::WireLimits;
use crate::model::socket::SocketType;

use super::opening::Side;
use super::session::{Session, SessionConfig};
use super::stream::{self, Stream};

/// The bytes of a greeting.
pub(super) const GREETING_BYTES: usize = 64;
/// The bytes of a frame's header, of a short and of a long frame.
const SHORT_HEADER_BYTES: usize = 2;
const LONG_HEADER_BYTES: usize = 9;
/// The name of the command, with its length before it.
const READY: &[u8] = b"\x05READY";
/// A command frame, short or long.
const COMMAND: u8 = 4;
const LONG_COMMAND: u8 = 6;

/// What a socket shows of itself in a handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Face {
    /// Its type.
    pub socket_type: SocketType,
    /// What it calls itself; empty where it does not.
    pub identity: Bytes,
}

/// Why a connection could not be met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HoldError {
    /// The operating system's error.
    Io(io::ErrorKind),
    /// The peer closed it.
    Closed,
    /// It took longer than its limit.
    Late,
    /// The peer's bytes are no plain handshake of ZMTP 3.
    NotZmtp,
    /// It has more to say of itself than it may.
    TooLong,
}

impl fmt::Display for HoldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(kind) => kind.fmt(f),
            Self::Closed => f.write_str("it closed the connection"),
            Self::Late => f.write_str("no handshake in time"),
            Self::NotZmtp => f.write_str("it does not speak plain ZMTP 3"),
            Self::TooLong => f.write_str("its handshake has too many bytes"),
        }
    }
}

impl std::error::Error for HoldError {}

impl From<io::Error> for HoldError {
    fn from(error: io::Error) -> Self {
        Self::Io(error.kind())
    }
}

/// A connection that was met and waits.
pub struct Held {
    pub(super) stream: Stream,
    pub(super) address: String,
    /// What the peer has sent: its greeting and its READY.
    pub(super) opening: BytesMut,
    face: Face,
}

impl Held {
    /// Meets the peer of a fresh stream.
    pub(super) async fn meet(
        stream: Stream,
        address: String,
        limits: &WireLimits,
    ) -> Result<Self, HoldError> {
        let wait = Duration::from_millis(limits.handshake_ms);
        let opening_bytes_max = GREETING_BYTES + LONG_HEADER_BYTES + limits.metadata_bytes_max;
        let meeting = exchange(&stream, opening_bytes_max);
        let (opening, face) = timeout(wait, meeting)
            .await
            .map_err(|_| HoldError::Late)??;
        judge(&opening, &face, limits)?;
        Ok(Self {
            stream,
            address,
            opening,
            face,
        })
    }

    /// Dials and meets who listens there, plain.
    pub async fn dial(endpoint: &Endpoint, limits: &WireLimits) -> Result<Self, HoldError> {
        let wait = Duration::from_millis(limits.handshake_ms);
        let (stream, address) = timeout(wait, stream::connect(endpoint))
            .await
            .map_err(|_| HoldError::Late)??;
        Self::meet(stream, address, limits).await
    }

    /// What the peer showed of itself.
    pub fn face(&self) -> &Face {
        &self.face
    }

    /// Waits until the peer gives up, or says something before it may: either way it is of no use
    /// any more. Cancel safe.
    pub async fn gone(&self) {
        // A wake-up without cause finds nothing to read and waits on.
        loop {
            if self.stream.readable().await.is_err() {
                return;
            }
            let mut byte = [0; 1];
            match self.stream.try_read(&mut byte) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(_) | Err(_) => return,
            }
        }
    }
}

/// Sends our greeting and reads the peer's, and its READY.
async fn exchange(stream: &Stream, bytes_max: usize) -> Result<(BytesMut, Face), HoldError> {
    let greeting = greeting();
    let mut sent = 0;
    while sent < greeting.len() {
        stream.writable().await?;
        match stream.try_write(&greeting[sent..]) {
            Ok(written) => sent += written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
    let mut opening = BytesMut::with_capacity(256);
    loop {
        if let Some(face) = face_of(&opening, bytes_max)? {
            return Ok((opening, face));
        }
        stream.readable().await?;
        // Never more than is missing: what follows is the engine's to read.
        let missing = missing(&opening);
        let mut piece = [0; 256];
        let room = missing.min(piece.len());
        match stream.try_read(&mut piece[..room]) {
            Ok(0) => return Err(HoldError::Closed),
            Ok(bytes) => opening.extend_from_slice(&piece[..bytes]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Refuses an opening that would be refused once the other side is there: nobody is dialled for it.
fn judge(opening: &[u8], face: &Face, limits: &WireLimits) -> Result<(), HoldError> {
    let mut session = Session::new(SessionConfig {
        socket_type: face.socket_type.peers()[0],
        announce: Bytes::new(),
        limits: Arc::new(limits.clone()),
        side: Side::Dialling(None),
        is_near: true,
    });
    session.wrote(GREETING_BYTES);
    let received = session.receive(Bytes::copy_from_slice(opening));
    received.map_err(|_| HoldError::NotZmtp)?;
    session.take_claim().map(drop).ok_or(HoldError::NotZmtp)
}

/// A greeting of ZMTP 3.1 with the mechanism NULL, as the engine's own is.
fn greeting() -> [u8; GREETING_BYTES] {
    let mut greeting = [0; GREETING_BYTES];
    greeting[0] = 0xff;
    greeting[8] = 1;
    greeting[9] = 0x7f;
    greeting[10] = 3;
    greeting[11] = 1;
    greeting[12..16].copy_from_slice(b"NULL");
    greeting
}

/// How many bytes the next piece of an opening has at most.
fn missing(opening: &[u8]) -> usize {
    let Some(frame) = opening.get(GREETING_BYTES..) else {
        return GREETING_BYTES - opening.len();
    };
    match body_of(frame) {
        Some((header, body)) => header + body - frame.len(),
        None => match frame.first() {
            Some(&LONG_COMMAND) => LONG_HEADER_BYTES - frame.len(),
            _ => SHORT_HEADER_BYTES - frame.len(),
        },
    }
}

/// The lengths of a frame's header and of its body, once the header is whole.
fn body_of(frame: &[u8]) -> Option<(usize, usize)> {
    match frame.first()? {
        &LONG_COMMAND => {
            let len = frame.get(1..LONG_HEADER_BYTES)?;
            let len = u64::from_be_bytes(len.try_into().expect("eight bytes"));
            Some((
                LONG_HEADER_BYTES,
                usize::try_from(len).unwrap_or(usize::MAX),
            ))
        }
        _ => Some((SHORT_HEADER_BYTES, usize::from(*frame.get(1)?))),
    }
}

/// What an opening shows, once it is whole; an error as soon as it cannot become one.
fn face_of(opening: &[u8], bytes_max: usize) -> Result<Option<Face>, HoldError> {
    let is_start = |at: usize, wanted: u8| opening.get(at).is_none_or(|byte| *byte == wanted);
    let mechanism = opening.get(12..32);
    let is_plain = mechanism.is_none_or(|name| name.starts_with(b"NULL\0"));
    let is_three = opening.get(10).is_none_or(|major| *major >= 3);
    if !is_start(0, 0xff) || !is_start(9, 0x7f) || !is_three || !is_plain {
        return Err(HoldError::NotZmtp);
    }
    let Some(frame) = opening.get(GREETING_BYTES..) else {
        return Ok(None);
    };
    if !matches!(frame.first(), None | Some(&COMMAND | &LONG_COMMAND)) {
        return Err(HoldError::NotZmtp);
    }
    let Some((header, body)) = body_of(frame) else {
        return Ok(None);
    };
    // Judged by what is declared, before a byte of it is kept.
    if body > bytes_max.saturating_sub(GREETING_BYTES + header) {
        return Err(HoldError::TooLong);
    }
    let Some(body) = frame.get(header..header + body) else {
        return Ok(None);
    };
    let properties = body.strip_prefix(READY).ok_or(HoldError::NotZmtp)?;
    face(properties).map(Some)
}

/// What the properties of a READY say of type and identity.
fn face(mut properties: &[u8]) -> Result<Face, HoldError> {
    let mut socket_type = None;
    let mut identity = Bytes::new();
    while !properties.is_empty() {
        let name = take(&mut properties, 1)?[0];
        let name = take(&mut properties, usize::from(name))?;
        let len = take(&mut properties, 4)?;
        let len = u32::from_be_bytes(len.try_into().expect("four bytes"));
        let len = usize::try_from(len).map_err(|_| HoldError::NotZmtp)?;
        let value = take(&mut properties, len)?;
        if name.eq_ignore_ascii_case(b"Socket-Type") {
            socket_type = SocketType::from_name(value);
        } else if name.eq_ignore_ascii_case(b"Identity") {
            identity = Bytes::copy_from_slice(value);
        }
    }
    Ok(Face {
        socket_type: socket_type.ok_or(HoldError::NotZmtp)?,
        identity,
    })
}

fn take<'a>(from: &mut &'a [u8], count: usize) -> Result<&'a [u8], HoldError> {
    let (taken, rest) = from.split_at_checked(count).ok_or(HoldError::NotZmtp)?;
    *from = rest;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    const READY_OF_A_DEALER: &[u8] =
        b"\x04\x2a\x05READY\x0bSocket-Type\0\0\0\x06DEALER\x08Identity\0\0\0\x02me";

    fn opening() -> Vec<u8> {
        let mut opening = greeting().to_vec();
        opening.extend_from_slice(READY_OF_A_DEALER);
        opening[GREETING_BYTES + 1] = u8::try_from(READY_OF_A_DEALER.len() - 2).unwrap();
        opening
    }

    #[test]
    fn an_opening_is_read_from_pieces_and_to_its_end_only() {
        let whole = opening();
        for cut in 0..whole.len() {
            assert_eq!(face_of(&whole[..cut], 4096), Ok(None), "{cut}");
            let missing = missing(&whole[..cut]);
            assert!(missing > 0 && cut + missing <= whole.len(), "{cut}");
        }
        let face = face_of(&whole, 4096).unwrap().unwrap();
        assert_eq!(face.socket_type, SocketType::Dealer);
        assert_eq!(face.identity, "me");
    }

    #[test]
    fn an_opening_that_would_be_refused_later_is_refused_at_once() {
        let limits = WireLimits::default();
        let judged = |name: &[u8]| {
            let mut ready = READY_OF_A_DEALER[2..].to_vec();
            let at = ready.len() - 2;
            ready.splice(at.., name.iter().copied());
            ready[at - 4..at].copy_from_slice(&u32::try_from(name.len()).unwrap().to_be_bytes());
            let mut bytes = greeting().to_vec();
            bytes.push(LONG_COMMAND);
            bytes.extend_from_slice(&(ready.len() as u64).to_be_bytes());
            bytes.extend_from_slice(&ready);
            let face = face_of(&bytes, 4096).unwrap().unwrap();
            judge(&bytes, &face, &limits)
        };
        assert_eq!(judged(&[b'i'; 255]), Ok(()));
        assert_eq!(judged(&[b'i'; 256]), Err(HoldError::NotZmtp));
        assert_eq!(judged(b"\0ours"), Err(HoldError::NotZmtp));
    }

    #[test]
    fn what_is_no_plain_ready_is_refused_before_it_is_kept() {
        let refused = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = opening();
            change(&mut bytes);
            assert_eq!(face_of(&bytes, 4096), Err(HoldError::NotZmtp));
        };
        refused(&|bytes| bytes[0] = b'G');
        refused(&|bytes| bytes[10] = 1);
        refused(&|bytes| bytes[12..17].copy_from_slice(b"CURVE"));
        refused(&|bytes| bytes[GREETING_BYTES] = 0);
        refused(&|bytes| bytes[GREETING_BYTES + 3] = b'X');
        // A property that runs over the end, and a frame of nothing.
        refused(&|bytes| bytes[GREETING_BYTES + 24] = 0xff);
        refused(&|bytes| {
            bytes.truncate(GREETING_BYTES);
            bytes.push(LONG_COMMAND);
            bytes.extend_from_slice(&[0; 8]);
        });
        let at = opening().len();
        assert!(face_of(&opening(), at).is_ok());
        let mut long = greeting().to_vec();
        long.extend_from_slice(&[LONG_COMMAND, 0, 0, 0, 0, 0, 0, 1, 0]);
        assert_eq!(
            face_of(&long, GREETING_BYTES + LONG_HEADER_BYTES + 256),
            Ok(None)
        );
        assert_eq!(
            face_of(&long, GREETING_BYTES + LONG_HEADER_BYTES + 255),
            Err(HoldError::TooLong)
        );
        let vast = long.len() - 8;
        long[vast..].copy_from_slice(&(1_u64 << 62).to_be_bytes());
        assert_eq!(face_of(&long, at), Err(HoldError::TooLong));
    }
}
