//! How a frame lies in bytes: a little-endian u32 with its length, then JSON.
//!
//! A frame over the bound ends the connection, since nothing after it can be found; one that is not
//! understood costs only itself.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::model::limits::runner::KEEPER_FRAME_BYTES_MAX;

/// Why bytes are no frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FrameError {
    /// Its length is over the bound: nothing after it can be read.
    TooLong {
        /// The length it declares.
        bytes: usize,
    },
    /// It is not the JSON that was expected; the next frame can be read.
    Malformed {
        /// The id, where it could be read.
        id: u64,
        /// What is wrong.
        message: String,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { bytes } => write!(
                f,
                "a frame of {bytes} bytes, {KEEPER_FRAME_BYTES_MAX} at most"
            ),
            Self::Malformed { message, .. } => write!(f, "not understood: {message}"),
        }
    }
}

/// Appends a frame to a buffer; an answer too long for one frame is an error.
pub fn encode<T: Serialize>(value: &T, out: &mut Vec<u8>) -> Result<(), FrameError> {
    let start = out.len();
    out.extend([0; 4]);
    serde_json::to_writer(&mut *out, value).expect("frames have only text keys");
    let bytes = out.len() - start - 4;
    if bytes > KEEPER_FRAME_BYTES_MAX {
        out.truncate(start);
        return Err(FrameError::TooLong { bytes });
    }
    let length = u32::try_from(bytes).expect("the bound is below 4 GiB");
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    Ok(())
}

/// How many bytes a frame took, and what is in it.
pub type Decoded<T> = (usize, Result<T, FrameError>);

/// Reads the first frame of a buffer and how many bytes it took; nothing when it is not whole yet.
pub fn decode<T: DeserializeOwned>(buffer: &[u8]) -> Result<Option<Decoded<T>>, FrameError> {
    let Some(head) = buffer.first_chunk::<4>() else {
        return Ok(None);
    };
    let bytes = u32::from_le_bytes(*head) as usize;
    if bytes > KEEPER_FRAME_BYTES_MAX {
        return Err(FrameError::TooLong { bytes });
    }
    let Some(body) = buffer.get(4..4 + bytes) else {
        return Ok(None);
    };
    let value = serde_json::from_slice(body).map_err(|error| FrameError::Malformed {
        id: id_of(body),
        message: error.to_string(),
    });
    Ok(Some((4 + bytes, value)))
}

/// The id of a request that cannot be read otherwise, so that its sender learns which one it was.
fn id_of(body: &[u8]) -> u64 {
    #[derive(Deserialize)]
    struct Id {
        id: u64,
    }
    serde_json::from_slice(body).map_or(0, |Id { id }| id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::keeper::protocol::{Ask, Request, Scope, VERSION};

    #[test]
    fn frames_read_as_they_were_written_one_after_another() {
        let first = Request {
            id: 7,
            ask: Ask::Hello { version: VERSION },
        };
        let second = Request {
            id: 8,
            ask: Ask::List,
        };
        let mut bytes = Vec::new();
        encode(&first, &mut bytes).unwrap();
        encode(&second, &mut bytes).unwrap();
        for cut in 0..4 {
            assert_eq!(decode::<Request>(&bytes[..cut]), Ok(None));
        }
        let (used, got) = decode::<Request>(&bytes).unwrap().unwrap();
        assert_eq!(got, Ok(first));
        let (rest, got) = decode::<Request>(&bytes[used..]).unwrap().unwrap();
        assert_eq!((got, used + rest), (Ok(second), bytes.len()));
    }

    #[test]
    fn the_frozen_text_of_a_request_is_still_read() {
        let text = br#"{"id":3,"ask":{"signal":{"targets":[{"instance":"a"}],"signal":"TERM","scope":"group"}},"new":1}"#;
        let mut bytes = (text.len() as u32).to_le_bytes().to_vec();
        bytes.extend(text);
        let (_, got) = decode::<Request>(&bytes).unwrap().unwrap();
        let Ask::Signal(send) = got.unwrap().ask else {
            panic!("another verb")
        };
        assert_eq!((send.signal.as_str(), send.scope), ("TERM", Scope::Group));
        assert_eq!(send.targets[0].generation, None);
    }

    #[test]
    fn an_unknown_verb_is_malformed_with_its_id_and_a_giant_is_refused_unread() {
        let text = br#"{"id":9,"ask":{"dance":{}}}"#;
        let mut bytes = (text.len() as u32).to_le_bytes().to_vec();
        bytes.extend(text);
        let (used, got) = decode::<Request>(&bytes).unwrap().unwrap();
        assert_eq!(used, bytes.len());
        assert!(matches!(got, Err(FrameError::Malformed { id: 9, .. })));
        let at = (KEEPER_FRAME_BYTES_MAX as u32).to_le_bytes();
        assert_eq!(decode::<Request>(&at), Ok(None));
        let over = (KEEPER_FRAME_BYTES_MAX as u32 + 1).to_le_bytes();
        assert!(matches!(
            decode::<Request>(&over),
            Err(FrameError::TooLong { .. })
        ));
    }
}
