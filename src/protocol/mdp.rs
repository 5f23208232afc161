//! Majordomo 0.1 (RFC 7) with its management interface (RFC 8): what clients and workers say to a
//! broker and what it says to them.
//!
//! Bytes to values and back, within limits; it knows no sockets and no tasks. Bodies are passed on as
//! they are. The empty frame before each message is the envelope's; what goes to a worker has it.

use std::fmt;

use bytes::Bytes;

/// The first frame of everything between a client and the broker.
pub const CLIENT: &[u8] = b"MDPC01";
/// The first frame of everything between a worker and the broker.
pub const WORKER: &[u8] = b"MDPW01";
/// The longest name of a service, in bytes.
pub const SERVICE_BYTES_MAX: usize = 255;
/// How names begin that belong to the broker itself (RFC 8).
pub const MANAGEMENT: &[u8] = b"mmi.";

const READY: u8 = 1;
const REQUEST: u8 = 2;
const REPLY: u8 = 3;
const HEARTBEAT: u8 = 4;
const DISCONNECT: u8 = 5;

/// What a worker says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromWorker {
    /// It serves a service from now on.
    Ready {
        /// Which.
        service: Bytes,
    },
    /// The answer to a request.
    Reply {
        /// The address that the request came with.
        address: Bytes,
        /// The answer.
        body: Vec<Bytes>,
    },
    /// It lives.
    Heartbeat,
    /// It serves nothing any more.
    Disconnect,
}

/// Why frames are none of Majordomo's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// Frames are missing.
    Short,
    /// The name of the service is empty or too long.
    Service,
    /// No such command comes from a worker.
    Command,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Short => "frames are missing",
            Self::Service => "the service is not 1 to 255 bytes long",
            Self::Command => "no worker says that",
        })
    }
}

impl std::error::Error for Malformed {}

/// Whether a name may be a service's.
pub fn is_service(name: &[u8]) -> bool {
    (1..=SERVICE_BYTES_MAX).contains(&name.len())
}

/// Reads a client's request, `MDPC01` first: the service, and the body of at least one frame.
pub fn from_client(mut frames: Vec<Bytes>) -> Result<(Bytes, Vec<Bytes>), Malformed> {
    if frames.len() < 3 {
        return Err(Malformed::Short);
    }
    let body = frames.split_off(2);
    let service = frames.swap_remove(1);
    match is_service(&service) {
        true => Ok((service, body)),
        false => Err(Malformed::Service),
    }
}

/// Reads what a worker says, `MDPW01` first.
pub fn from_worker(mut frames: Vec<Bytes>) -> Result<FromWorker, Malformed> {
    let command = frames.get(1).ok_or(Malformed::Short)?;
    let [command] = **command else {
        return Err(Malformed::Command);
    };
    match command {
        READY => match frames.get(2) {
            None => Err(Malformed::Short),
            Some(service) if is_service(service) => Ok(FromWorker::Ready {
                service: service.clone(),
            }),
            Some(_) => Err(Malformed::Service),
        },
        // The address, an empty frame, the answer.
        REPLY if frames.len() > 4 && frames[3].is_empty() => {
            let body = frames.split_off(4);
            let address = frames.swap_remove(2);
            Ok(FromWorker::Reply { address, body })
        }
        REPLY => Err(Malformed::Short),
        HEARTBEAT => Ok(FromWorker::Heartbeat),
        DISCONNECT => Ok(FromWorker::Disconnect),
        _ => Err(Malformed::Command),
    }
}

/// What a client is answered, without the empty frame before it.
pub fn to_client(service: Bytes, body: Vec<Bytes>) -> impl Iterator<Item = Bytes> {
    [Bytes::from_static(CLIENT), service]
        .into_iter()
        .chain(body)
}

/// A request for a worker.
pub fn request(address: Bytes, body: &[Bytes]) -> Vec<Bytes> {
    let mut frames = command(REQUEST);
    frames.reserve_exact(2 + body.len());
    frames.extend([address, Bytes::new()]);
    frames.extend_from_slice(body);
    frames
}

/// A sign of life for a worker.
pub fn heartbeat() -> Vec<Bytes> {
    command(HEARTBEAT)
}

/// Tells a worker that it is not known, so that it says READY again.
pub fn disconnect() -> Vec<Bytes> {
    command(DISCONNECT)
}

fn command(code: u8) -> Vec<Bytes> {
    const CODES: [u8; 6] = [0, READY, REQUEST, REPLY, HEARTBEAT, DISCONNECT];
    let code = usize::from(code);
    vec![
        Bytes::new(),
        Bytes::from_static(WORKER),
        Bytes::from_static(&CODES[code..=code]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(texts: &[&'static [u8]]) -> Vec<Bytes> {
        texts.iter().map(|text| Bytes::from_static(text)).collect()
    }

    #[test]
    fn a_client_names_a_service_and_says_something() {
        let asked = from_client(frames(&[CLIENT, b"echo", b"a", b""]));
        let body = frames(&[b"a", b""]);
        assert_eq!(asked, Ok((Bytes::from_static(b"echo"), body.clone())));
        let answer: Vec<Bytes> = to_client(Bytes::from_static(b"echo"), body).collect();
        assert_eq!(answer, frames(&[CLIENT, b"echo", b"a", b""]));
        let short = from_client(frames(&[CLIENT, b"echo"]));
        assert_eq!(short, Err(Malformed::Short));
        let nameless = from_client(frames(&[CLIENT, b"", b"a"]));
        assert_eq!(nameless, Err(Malformed::Service));
    }

    #[test]
    fn workers_say_four_things_and_nothing_else() {
        let of = |texts: &[&'static [u8]]| from_worker(frames(texts));
        let service = Bytes::from_static(b"echo");
        assert_eq!(
            of(&[WORKER, b"\x01", b"echo"]),
            Ok(FromWorker::Ready { service })
        );
        let reply = FromWorker::Reply {
            address: Bytes::from_static(b"me"),
            body: frames(&[b"a", b""]),
        };
        assert_eq!(of(&[WORKER, b"\x03", b"me", b"", b"a", b""]), Ok(reply));
        assert_eq!(of(&[WORKER, b"\x04"]), Ok(FromWorker::Heartbeat));
        assert_eq!(of(&[WORKER, b"\x05"]), Ok(FromWorker::Disconnect));
        for (texts, fault) in [
            (&[WORKER][..], Malformed::Short),
            (&[WORKER, b"\x01"], Malformed::Short),
            (&[WORKER, b"\x01", b""], Malformed::Service),
            (&[WORKER, b"\x02", b"me", b"", b"a"], Malformed::Command),
            (&[WORKER, b"\x03", b"me", b""], Malformed::Short),
            (&[WORKER, b"\x03", b"me", b"a", b"b"], Malformed::Short),
            (&[WORKER, b"\x06"], Malformed::Command),
            (&[WORKER, b""], Malformed::Command),
            (&[WORKER, b"\x04\x04"], Malformed::Command),
        ] {
            assert_eq!(of(texts), Err(fault), "{texts:?}");
        }
    }

    #[test]
    fn what_a_worker_hears_is_the_rfcs() {
        let request = request(Bytes::from_static(b"me"), &frames(&[b"a"]));
        assert_eq!(request, frames(&[b"", WORKER, b"\x02", b"me", b"", b"a"]));
        assert_eq!(heartbeat(), frames(&[b"", WORKER, b"\x04"]));
        assert_eq!(disconnect(), frames(&[b"", WORKER, b"\x05"]));
    }

    #[test]
    fn a_service_is_at_most_as_long_as_its_limit() {
        assert!(is_service(&[b'a'; SERVICE_BYTES_MAX]));
        assert!(!is_service(&[b'a'; SERVICE_BYTES_MAX + 1]));
    }
}
