//! ZN1: our own verbs, on the same ports as the standard dialects.
//!
//! `["ZN1", verb, id, params (JSON), body...]` is answered by
//! `["ZN1", status, id, result (JSON), body...]`, status three digits as text. The id is the
//! caller's: it comes back with the answer, and a retry carries it again. `docs/protocol.md` shows
//! the verbs by hand.

use std::fmt;

use bytes::Bytes;
use serde_json::Value;

use super::envelope;

/// The first frame of every request and reply.
pub const MAGIC: &[u8] = b"ZN1";
/// The longest verb, in bytes.
pub const VERB_BYTES_MAX: usize = 32;
/// The longest request id, in bytes.
pub const ID_BYTES_MAX: usize = 64;
/// The largest params or result, in bytes.
pub const JSON_BYTES_MAX: usize = 1024 * 1024;

/// Done.
pub const OK: u16 = 200;
/// Done in part; the result says what was not.
pub const PARTIAL: u16 = 207;
/// The request is malformed.
pub const BAD_REQUEST: u16 = 400;
/// No such thing.
pub const NOT_FOUND: u16 = 404;
/// It contradicts what is.
pub const CONFLICT: u16 = 409;
/// The request is larger than its limit.
pub const TOO_LARGE: u16 = 413;
/// Too much is waiting already; try later.
pub const BACK_PRESSURE: u16 = 429;
/// It was tried, and failed; the result says how.
pub const FAILED: u16 = 500;
/// No such verb here.
pub const NOT_BUILT: u16 = 501;
/// Not now: it is starting, draining or read-only.
pub const UNAVAILABLE: u16 = 503;
/// Somebody it depends on did not answer in time.
pub const TIMEOUT: u16 = 504;

/// A request.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// What is asked.
    pub verb: String,
    /// The caller's id; may be empty.
    pub id: Bytes,
    /// The arguments: any JSON value, `null` where the frame is empty or absent.
    pub params: Value,
    /// Bytes that are no JSON.
    pub body: Vec<Bytes>,
}

/// A reply.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// How it went: 200 to 504.
    pub status: u16,
    /// The id of the request.
    pub id: Bytes,
    /// What came of it.
    pub result: Value,
    /// Bytes that are no JSON.
    pub body: Vec<Bytes>,
}

/// Why frames are no ZN1 request or reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// The first frame is not `ZN1`.
    Magic,
    /// Fewer frames than a verb, or a status, and an id.
    Short,
    /// A verb that is empty, too long or not lower-case letters, digits, `.`, `_` and `-`.
    Verb,
    /// An id that is too long.
    Id,
    /// A status that is not three digits.
    Status,
    /// Params or a result that are too large.
    Large,
    /// Params or a result that are not JSON.
    Json,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Magic => "the first frame is not `ZN1`",
            Self::Short => "fewer than three frames",
            Self::Verb => "the verb is not up to 32 of a-z 0-9 . _ -",
            Self::Id => "the id is longer than 64 bytes",
            Self::Status => "the status is not three digits",
            Self::Large => "the JSON frame is larger than 1 MiB",
            Self::Json => "the fourth frame is not JSON",
        })
    }
}

impl std::error::Error for Malformed {}

/// Whether a body, without its envelope, means to be ZN1.
pub fn is_zn1(body: &[Bytes]) -> bool {
    body.first().is_some_and(|frame| frame == MAGIC)
}

fn is_verb(frame: &[u8]) -> bool {
    (1..=VERB_BYTES_MAX).contains(&frame.len())
        && frame.iter().all(|b| {
            b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-')
        })
}

fn json(frame: Option<&Bytes>) -> Result<Value, Malformed> {
    match frame {
        None => Ok(Value::Null),
        Some(frame) if frame.is_empty() => Ok(Value::Null),
        Some(frame) if frame.len() > JSON_BYTES_MAX => Err(Malformed::Large),
        Some(frame) => serde_json::from_slice(frame).map_err(|_| Malformed::Json),
    }
}

fn id(frame: &Bytes) -> Result<Bytes, Malformed> {
    if frame.len() > ID_BYTES_MAX {
        return Err(Malformed::Id);
    }
    // Copied, so that a remembered id does not pin the buffer it arrived in.
    Ok(Bytes::copy_from_slice(frame))
}

fn frames(second: String, id: &Bytes, value: &Value, body: &[Bytes]) -> Vec<Bytes> {
    let json = match value {
        Value::Null => Bytes::new(),
        value => value.to_string().into(),
    };
    let mut frames = Vec::with_capacity(4 + body.len());
    frames.extend([Bytes::from_static(MAGIC), second.into(), id.clone(), json]);
    frames.extend_from_slice(body);
    frames
}

impl Request {
    /// A request without a body.
    pub fn new(verb: &str, id: impl Into<Bytes>, params: Value) -> Self {
        Self {
            verb: verb.to_owned(),
            id: id.into(),
            params,
            body: Vec::new(),
        }
    }

    /// Its frames, without an envelope.
    pub fn encode(&self) -> Vec<Bytes> {
        frames(self.verb.clone(), &self.id, &self.params, &self.body)
    }

    /// Reads a request; a leading empty frame is optional.
    pub fn decode(frames: Vec<Bytes>) -> Result<Self, Malformed> {
        let (_, body) = envelope::split(frames);
        let [magic, verb, raw_id, rest @ ..] = body.as_slice() else {
            return Err(match is_zn1(&body) {
                true => Malformed::Short,
                false => Malformed::Magic,
            });
        };
        if magic != MAGIC {
            return Err(Malformed::Magic);
        }
        if !is_verb(verb) {
            return Err(Malformed::Verb);
        }
        Ok(Self {
            verb: String::from_utf8_lossy(verb).into_owned(),
            id: id(raw_id)?,
            params: json(rest.first())?,
            body: rest.get(1..).unwrap_or_default().to_vec(),
        })
    }
}

impl Reply {
    /// A reply without a body.
    pub fn new(status: u16, id: Bytes, result: Value) -> Self {
        Self {
            status,
            id,
            result,
            body: Vec::new(),
        }
    }

    /// A failure, with a sentence about it.
    pub fn failure(status: u16, id: Bytes, error: impl fmt::Display) -> Self {
        Self::new(status, id, serde_json::json!({"error": error.to_string()}))
    }

    /// What answers frames that mean to be ZN1 and are malformed; their id where it can be read.
    pub fn malformed(frames: &[Bytes], fault: Malformed) -> Self {
        let id = frames.get(2).and_then(|frame| id(frame).ok());
        let status = match fault {
            Malformed::Large => TOO_LARGE,
            _ => BAD_REQUEST,
        };
        Self::failure(status, id.unwrap_or_default(), fault)
    }

    /// Its frames, without an envelope.
    pub fn encode(&self) -> Vec<Bytes> {
        frames(
            format!("{:03}", self.status),
            &self.id,
            &self.result,
            &self.body,
        )
    }

    /// Reads a reply; a leading empty frame is optional.
    pub fn decode(frames: Vec<Bytes>) -> Result<Self, Malformed> {
        let (_, body) = envelope::split(frames);
        let [magic, status, raw_id, rest @ ..] = body.as_slice() else {
            return Err(match is_zn1(&body) {
                true => Malformed::Short,
                false => Malformed::Magic,
            });
        };
        if magic != MAGIC {
            return Err(Malformed::Magic);
        }
        let digits = std::str::from_utf8(status).map_err(|_| Malformed::Status)?;
        if digits.len() != 3 || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(Malformed::Status);
        }
        Ok(Self {
            status: digits.parse().map_err(|_| Malformed::Status)?,
            id: id(raw_id)?,
            result: json(rest.first())?,
            body: rest.get(1..).unwrap_or_default().to_vec(),
        })
    }

    /// Whether the request was done, wholly or in part.
    pub fn is_ok(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn raw(texts: &[&'static str]) -> Vec<Bytes> {
        texts
            .iter()
            .map(|t| Bytes::from_static(t.as_bytes()))
            .collect()
    }

    #[test]
    fn requests_and_replies_have_golden_frames() {
        let mut request = Request::new("ping", "7", Value::Null);
        assert_eq!(request.encode(), raw(&["ZN1", "ping", "7", ""]));
        request.params = json!({"a": 1});
        request.body = raw(&["x", ""]);
        assert_eq!(
            request.encode(),
            raw(&["ZN1", "ping", "7", "{\"a\":1}", "x", ""])
        );
        assert_eq!(Request::decode(request.encode()), Ok(request));
        let reply = Reply::new(OK, Bytes::from_static(b"7"), json!([true]));
        assert_eq!(reply.encode(), raw(&["ZN1", "200", "7", "[true]"]));
        assert_eq!(Reply::decode(reply.encode()), Ok(reply));
    }

    #[test]
    fn the_leading_empty_frame_and_the_params_are_optional() {
        let bare = Request::new("ping", "", Value::Null);
        for frames in [
            &["ZN1", "ping", ""][..],
            &["", "ZN1", "ping", ""],
            &["ZN1", "ping", "", ""],
            &["id", "", "ZN1", "ping", ""],
        ] {
            assert_eq!(
                Request::decode(raw(frames)).as_ref(),
                Ok(&bare),
                "{frames:?}"
            );
        }
    }

    #[test]
    fn malformed_frames_say_what_is_wrong() {
        for (frames, fault) in [
            (&[][..], Malformed::Magic),
            (&["zn1", "ping", ""], Malformed::Magic),
            (&["ZN1", "ping"], Malformed::Short),
            (&["ZN1", "", "x"], Malformed::Verb),
            (&["ZN1", "Ping", ""], Malformed::Verb),
            (&["ZN1", "ping", "1", "{"], Malformed::Json),
        ] {
            assert_eq!(Request::decode(raw(frames)), Err(fault), "{frames:?}");
        }
        assert_eq!(
            Reply::decode(raw(&["ZN1", "20", "x"])),
            Err(Malformed::Status)
        );
        let answer = Reply::malformed(&raw(&["ZN1", "PING", "9"]), Malformed::Verb);
        assert_eq!((answer.status, &answer.id[..]), (400, &b"9"[..]));
    }

    #[test]
    fn limits_hold_at_them_and_one_over() {
        let at = |verb: usize, id: usize, json: usize| {
            Request::decode(vec![
                Bytes::from_static(MAGIC),
                "v".repeat(verb).into(),
                "i".repeat(id).into(),
                format!("\"{}\"", "j".repeat(json - 2)).into(),
            ])
        };
        assert!(at(VERB_BYTES_MAX, ID_BYTES_MAX, JSON_BYTES_MAX).is_ok());
        assert_eq!(at(VERB_BYTES_MAX + 1, 1, 2), Err(Malformed::Verb));
        assert_eq!(at(1, ID_BYTES_MAX + 1, 2), Err(Malformed::Id));
        assert_eq!(at(1, 1, JSON_BYTES_MAX + 1), Err(Malformed::Large));
        // Nesting is bounded by the JSON reader, not by our stack.
        let deep = vec![
            Bytes::from_static(MAGIC),
            Bytes::from_static(b"v"),
            Bytes::new(),
            "[".repeat(100_000).into(),
        ];
        assert_eq!(Request::decode(deep), Err(Malformed::Json));
    }
}
