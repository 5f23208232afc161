//! The mesh message of ZMQ Net: one frame, protobuf
//! `Message{1: enum type SINGLE|BOUNCE|ERROR, 2: string sender, 3: string message}`.
//!
//! By hand, since it is three fields: encoding is byte-identical to what the Go program sends
//! (fields in order, default values left out), decoding skips fields it does not know, as protobuf
//! asks, and refuses everything else.

use std::fmt;

use bytes::Bytes;

/// The largest message, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageType {
    /// From a client, or the answer to one.
    Single,
    /// From one replica to another, or its acknowledgement.
    Bounce,
    /// The answer to what could not be understood.
    Error,
    /// A number that no version of the protocol names.
    Unknown(u64),
}

/// A message of the mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What it is.
    pub ty: MessageType,
    /// Who says it.
    pub sender: String,
    /// What is said.
    pub message: String,
}

/// Why a frame is no mesh message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecodeError {
    /// Larger than the limit.
    TooLarge,
    /// It ends inside a field.
    Truncated,
    /// A number of more than 64 bits.
    Overlong,
    /// A field number of 0, or a wire type that does not exist or does not fit the field.
    Field,
    /// A text that is not UTF-8.
    Utf8,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "the message is larger than its limit",
            Self::Truncated => "the message ends inside a field",
            Self::Overlong => "a number has more than 64 bits",
            Self::Field => "a field has no known number or wire type",
            Self::Utf8 => "a text is not UTF-8",
        })
    }
}

impl std::error::Error for DecodeError {}

impl MessageType {
    fn number(self) -> u64 {
        match self {
            Self::Single => 0,
            Self::Bounce => 1,
            Self::Error => 2,
            Self::Unknown(number) => number,
        }
    }

    fn of(number: u64) -> Self {
        match number {
            0 => Self::Single,
            1 => Self::Bounce,
            2 => Self::Error,
            number => Self::Unknown(number),
        }
    }
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_text(out: &mut Vec<u8>, key: u8, text: &str) {
    if !text.is_empty() {
        out.push(key);
        put_varint(out, text.len() as u64);
        out.extend_from_slice(text.as_bytes());
    }
}

fn varint(input: &mut &[u8]) -> Result<u64, DecodeError> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = input.split_first().ok_or(DecodeError::Truncated)?;
        *input = rest;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return Err(DecodeError::Overlong);
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(DecodeError::Overlong)
}

fn take<'a>(input: &mut &'a [u8], bytes: u64) -> Result<&'a [u8], DecodeError> {
    let bytes = usize::try_from(bytes).map_err(|_| DecodeError::Truncated)?;
    let (taken, rest) = input
        .split_at_checked(bytes)
        .ok_or(DecodeError::Truncated)?;
    *input = rest;
    Ok(taken)
}

fn text(input: &mut &[u8]) -> Result<String, DecodeError> {
    let length = varint(input)?;
    let bytes = take(input, length)?;
    let text = std::str::from_utf8(bytes).map_err(|_| DecodeError::Utf8)?;
    Ok(text.to_owned())
}

/// Steps over a field of a later version.
fn skip(input: &mut &[u8], wire_type: u64) -> Result<(), DecodeError> {
    match wire_type {
        0 => varint(input).map(drop),
        1 => take(input, 8).map(drop),
        2 => {
            let length = varint(input)?;
            take(input, length).map(drop)
        }
        5 => take(input, 4).map(drop),
        _ => Err(DecodeError::Field),
    }
}

impl Message {
    /// A message.
    pub fn new(ty: MessageType, sender: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            ty,
            sender: sender.into(),
            message: message.into(),
        }
    }

    /// Its frame.
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(16 + self.sender.len() + self.message.len());
        let number = self.ty.number();
        if number != 0 {
            out.push(0x08);
            put_varint(&mut out, number);
        }
        put_text(&mut out, 0x12, &self.sender);
        put_text(&mut out, 0x1a, &self.message);
        out.into()
    }

    /// Reads a frame.
    pub fn decode(frame: &[u8]) -> Result<Self, DecodeError> {
        if frame.len() > MESSAGE_BYTES_MAX {
            return Err(DecodeError::TooLarge);
        }
        let mut input = frame;
        let mut message = Self::new(MessageType::Single, "", "");
        while !input.is_empty() {
            let key = varint(&mut input)?;
            match (key >> 3, key & 7) {
                (1, 0) => message.ty = MessageType::of(varint(&mut input)?),
                (2, 2) => message.sender = text(&mut input)?,
                (3, 2) => message.message = text(&mut input)?,
                (0..=3, _) => return Err(DecodeError::Field),
                (_, wire_type) => skip(&mut input, wire_type)?,
            }
        }
        Ok(message)
    }
}

/// `type:BOUNCE sender:"bravo" message:"hi"`, as ZMQ Net prints messages: SINGLE is not said.
impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut gap = "";
        match self.ty {
            MessageType::Single => {}
            MessageType::Bounce => {
                f.write_str("type:BOUNCE")?;
                gap = " ";
            }
            MessageType::Error => {
                f.write_str("type:ERROR")?;
                gap = " ";
            }
            MessageType::Unknown(number) => {
                write!(f, "type:{number}")?;
                gap = " ";
            }
        }
        for (name, value) in [("sender", &self.sender), ("message", &self.message)] {
            if !value.is_empty() {
                write!(f, "{gap}{name}:{value:?}")?;
                gap = " ";
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: [(&str, MessageType, &str, &str); 4] = [
        (
            "1205627261766f1a167468697320697320612074657374206d657373616765",
            MessageType::Single,
            "bravo",
            "this is a test message",
        ),
        (
            "08011205616c7068611a026869",
            MessageType::Bounce,
            "alpha",
            "hi",
        ),
        (
            "08011205616c7068611a0341434b",
            MessageType::Bounce,
            "alpha",
            "ACK",
        ),
        (
            "1205627261766f1a0c7265706c79206d7367202331",
            MessageType::Single,
            "bravo",
            "reply msg #1",
        ),
    ];

    fn unhex(text: &str) -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
            .collect()
    }

    #[test]
    fn golden_bytes_both_ways() {
        for (hex, ty, sender, message) in GOLDEN {
            let made = Message::new(ty, sender, message);
            assert_eq!(made.encode(), unhex(hex), "{made}");
            assert_eq!(Message::decode(&unhex(hex)), Ok(made));
        }
    }

    #[test]
    fn fields_of_later_versions_are_skipped_and_the_last_value_wins() {
        // Field 15: a varint, 8 bytes, a text, 4 bytes; then the sender twice.
        let frame = unhex("7801790102030405060708" /* 15: varint and 64 bits */);
        let mut frame = frame;
        frame.extend(unhex("7a0161" /* 15: text */));
        frame.extend(unhex("7d01020304" /* 15: 32 bits */));
        frame.extend(unhex("120161120162"));
        assert_eq!(
            Message::decode(&frame),
            Ok(Message::new(MessageType::Single, "b", ""))
        );
        assert_eq!(
            Message::decode(&unhex("0809")).map(|m| m.ty),
            Ok(MessageType::Unknown(9))
        );
        assert_eq!(
            Message::decode(b""),
            Ok(Message::new(MessageType::Single, "", ""))
        );
    }

    #[test]
    fn junk_is_an_error() {
        for (hex, fault) in [
            ("ffff", DecodeError::Truncated),
            ("12056272", DecodeError::Truncated),
            ("0a0161", DecodeError::Field),
            ("00", DecodeError::Field),
            ("7b", DecodeError::Field),
            ("1a01ff", DecodeError::Utf8),
            ("08ffffffffffffffffff7f", DecodeError::Overlong),
            ("12ffffffffffffffffff01", DecodeError::Truncated),
        ] {
            assert_eq!(Message::decode(&unhex(hex)), Err(fault), "{hex}");
        }
        assert!(Message::decode(&vec![0; MESSAGE_BYTES_MAX + 1]).is_err());
    }

    #[test]
    fn messages_print_as_zmq_net_prints_them() {
        let shown = |ty, sender, message| Message::new(ty, sender, message).to_string();
        assert_eq!(
            shown(MessageType::Single, "bravo", "reply msg #1"),
            r#"sender:"bravo" message:"reply msg #1""#
        );
        assert_eq!(
            shown(MessageType::Bounce, "alpha", "x"),
            r#"type:BOUNCE sender:"alpha" message:"x""#
        );
    }
}
