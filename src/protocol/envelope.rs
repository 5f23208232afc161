//! The envelope of a request: what stands before its first empty frame, given back with the reply.
//!
//! REQ and every hop through a ROUTER put frames there; a DEALER may leave it out.

use bytes::Bytes;

/// Splits a message into its envelope, the empty frame included, and its body.
///
/// A message without an empty frame, or one whose body plainly starts at once, has no envelope.
pub fn split(mut frames: Vec<Bytes>) -> (Vec<Bytes>, Vec<Bytes>) {
    let starts_at_once =
        frames.len() == 1 || frames.first().is_some_and(|f| f == super::zn1::MAGIC);
    if starts_at_once {
        return (Vec::new(), frames);
    }
    match frames.iter().position(Bytes::is_empty) {
        Some(at) => {
            let body = frames.split_off(at + 1);
            (frames, body)
        }
        None => (Vec::new(), frames),
    }
}

/// What an envelope takes that is kept: its bytes, and the places of its frames.
pub fn bytes_of(envelope: &[Bytes]) -> usize {
    let frames = envelope.iter();
    frames.map(|frame| frame.len() + size_of::<Bytes>()).sum()
}

/// Puts an envelope into memory of its own: what waits does not pin what it came with.
pub fn own(envelope: &mut [Bytes]) {
    for frame in envelope.iter_mut().filter(|frame| !frame.is_empty()) {
        *frame = Bytes::copy_from_slice(frame);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(texts: &[&'static str]) -> Vec<Bytes> {
        texts
            .iter()
            .map(|t| Bytes::from_static(t.as_bytes()))
            .collect()
    }

    #[test]
    fn req_dealer_and_routed_requests_keep_their_envelopes() {
        for (message, envelope, body) in [
            (&["", "x"][..], &[""][..], &["x"][..]),
            (&["x"], &[], &["x"]),
            (&["id", "", "x"], &["id", ""], &["x"]),
            (&["", "ZN1", "ping", ""], &[""], &["ZN1", "ping", ""]),
            (&["ZN1", "ping", "", "{}"], &[], &["ZN1", "ping", "", "{}"]),
            (&["a", "b"], &[], &["a", "b"]),
            (&[""], &[], &[""]),
            (&["", ""], &[""], &[""]),
        ] {
            let split = split(frames(message));
            assert_eq!(split, (frames(envelope), frames(body)), "{message:?}");
        }
    }
}
