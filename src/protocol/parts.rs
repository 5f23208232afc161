//! A message of several frames as one piece of data: how stores keep it.
//!
//! ```text
//! u32 number of frames, then each: u32 length, data; little-endian
//! ```
//!
//! It must never give a frame of what is not such data from its beginning to its end.

use bytes::Bytes;

/// Bytes in front of each frame, and in front of all.
const LENGTH_BYTES: usize = 4;

/// How many bytes a message takes.
pub fn bytes_of(frames: &[Bytes]) -> usize {
    let frames = frames.iter().map(|frame| LENGTH_BYTES + frame.len());
    LENGTH_BYTES + frames.sum::<usize>()
}

/// Adds a message to a buffer.
pub fn put(into: &mut Vec<u8>, frames: &[Bytes]) {
    let narrow = |length: usize| {
        let length = u32::try_from(length);
        length
            .expect("the wire takes no message of 4 GiB")
            .to_le_bytes()
    };
    into.extend_from_slice(&narrow(frames.len()));
    for frame in frames {
        into.extend_from_slice(&narrow(frame.len()));
        into.extend_from_slice(frame);
    }
}

/// The frames of such data, which share its memory. Nothing where it is none.
pub fn read(mut data: Bytes) -> Option<Vec<Bytes>> {
    let number = |data: &mut Bytes| -> Option<usize> {
        let word = data.get(..LENGTH_BYTES)?.try_into();
        let word = u32::from_le_bytes(word.expect("four bytes are four bytes"));
        drop(data.split_to(LENGTH_BYTES));
        usize::try_from(word).ok()
    };
    let count = number(&mut data)?;
    // Each takes its length at least: looked at before any memory is taken.
    if count == 0 || count > data.len() / LENGTH_BYTES {
        return None;
    }
    let mut frames = Vec::with_capacity(count);
    for _ in 0..count {
        let length = number(&mut data)?;
        if length > data.len() {
            return None;
        }
        frames.push(data.split_to(length));
    }
    data.is_empty().then_some(frames)
}

/// What the record of a message of several frames begins with.
const MAGIC: &[u8] = b"ZNM1";

/// What boasts of more is one frame: anybody may append it, and each frame costs memory of its own.
const FRAMES_MAX: u32 = 65_536;

/// A message as a record of a stream: its frame, where it has one, else a mark and all of them.
pub fn record(frames: &[Bytes]) -> Bytes {
    match frames {
        [frame] if !frame.starts_with(MAGIC) => frame.clone(),
        frames => {
            let mut data = Vec::with_capacity(MAGIC.len() + bytes_of(frames));
            data.extend_from_slice(MAGIC);
            put(&mut data, frames);
            data.into()
        }
    }
}

/// The message that a record of a stream is.
pub fn frames(record: Bytes) -> Vec<Bytes> {
    let count = record.strip_prefix(MAGIC).and_then(|it| it.first_chunk());
    let marked = count.is_some_and(|count| u32::from_le_bytes(*count) <= FRAMES_MAX);
    let several = marked.then(|| read(record.slice(MAGIC.len()..))).flatten();
    several.unwrap_or_else(|| vec![record])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(frames: &[&'static str]) -> Vec<Bytes> {
        let frames = frames.iter().map(|it| Bytes::from_static(it.as_bytes()));
        frames.collect()
    }

    #[test]
    fn a_message_is_read_as_it_was_put() {
        for frames in [&[""][..], &["one"], &["topic", "", "body"]] {
            let frames = message(frames);
            let mut data = Vec::new();
            put(&mut data, &frames);
            assert_eq!(data.len(), bytes_of(&frames));
            assert_eq!(read(data.into()), Some(frames));
        }
        let mut golden = Vec::new();
        put(&mut golden, &message(&["a", "bc"]));
        assert_eq!(golden, b"\x02\0\0\0\x01\0\0\0a\x02\0\0\0bc");
    }

    #[test]
    fn what_is_cut_longer_or_boasts_is_no_message() {
        let mut data = Vec::new();
        put(&mut data, &message(&["topic", "body"]));
        for end in 0..data.len() {
            assert_eq!(read(Bytes::copy_from_slice(&data[..end])), None, "{end}");
        }
        data.push(0);
        assert_eq!(read(data.into()), None);
        assert_eq!(read(Bytes::from_static(&[0; 4])), None);
        assert_eq!(read(Bytes::from_static(&[255; 64])), None);
    }

    #[test]
    fn a_record_is_the_message_that_it_was_made_of() {
        for texts in [
            &["plain"][..],
            &[""],
            &["topic", "body"],
            &["ZNM1"],
            &["ZNM1 x"],
        ] {
            let message = message(texts);
            assert_eq!(frames(record(&message)), message);
        }
        let mut boast = b"ZNM1\x01\0\x01\0".to_vec();
        boast.resize(8 + 4 * 65_537, 0);
        assert_eq!(frames(boast.into()).len(), 1);
        assert_eq!(record(&message(&["plain"])), "plain");
        let topic = record(&message(&["a", "bc"]));
        assert_eq!(topic, &b"ZNM1\x02\0\0\0\x01\0\0\0a\x02\0\0\0bc"[..]);
        assert_eq!(frames(topic.slice(..10)), [topic.slice(..10)]);
    }
}
