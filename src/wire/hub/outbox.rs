//! Bytes on their way to one peer, so kept that a queue costs the memory it counts: small frames are
//! written together, large ones are shared.
//!
//! It must never hold a small slice of a large buffer, nor a piece of memory for each small frame.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{BufMut, Bytes, BytesMut};

/// A body of at least this many bytes is shared; smaller ones are copied.
const SHARED_BYTES_MIN: usize = 16 * 1024;
/// The memory that copies are put together in.
const BLOCK_BYTES: usize = 16 * 1024;
/// The most bytes of a frame's header.
pub(super) const HEADER_BYTES_MAX: usize = 9;

/// Whether bytes are shared rather than copied.
pub(super) fn is_shared(bytes: &[u8]) -> bool {
    bytes.len() >= SHARED_BYTES_MIN
}

/// The bytes, first to last.
#[derive(Default)]
pub(super) struct Outbox {
    chunks: VecDeque<Bytes>,
    /// The end of the queue: where copies go.
    tail: BytesMut,
    /// Bytes of the first chunk, or of the tail where there is none, that were written.
    written: usize,
    bytes: usize,
}

impl Outbox {
    /// Bytes waiting.
    pub(super) fn len(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Queues one frame of a message.
    pub(super) fn frame(&mut self, body: &Bytes, has_more: bool) {
        let more = u8::from(has_more);
        let mut header = [more; HEADER_BYTES_MAX];
        let header = if let Ok(len) = u8::try_from(body.len()) {
            header[1] = len;
            &header[..2]
        } else {
            header[0] = 2 | more;
            header[1..].copy_from_slice(&(body.len() as u64).to_be_bytes());
            &header[..]
        };
        self.copy(header);
        self.push(body.clone());
    }

    /// Queues a command frame.
    pub(super) fn command(&mut self, name: &str, body: &[u8]) {
        let mut frame = BytesMut::with_capacity(HEADER_BYTES_MAX + 1 + name.len() + body.len());
        let len = 1 + name.len() + body.len();
        if let Ok(len) = u8::try_from(len) {
            frame.put_slice(&[4, len]);
        } else {
            frame.put_u8(4 | 2);
            frame.put_u64(len as u64);
        }
        frame.put_u8(u8::try_from(name.len()).expect("commands have short names"));
        frame.put_slice(name.as_bytes());
        frame.put_slice(body);
        self.push(frame.freeze());
    }

    /// Queues bytes as they are.
    pub(super) fn push(&mut self, bytes: Bytes) {
        if !is_shared(&bytes) {
            return self.copy(&bytes);
        }
        self.seal();
        self.bytes += bytes.len();
        self.chunks.push_back(bytes);
    }

    /// Queues bytes that are not worth sharing.
    pub(super) fn copy(&mut self, bytes: &[u8]) {
        if self.tail.capacity() - self.tail.len() < bytes.len() {
            self.seal();
            self.tail = BytesMut::with_capacity(BLOCK_BYTES.max(bytes.len()));
        }
        self.tail.put_slice(bytes);
        self.bytes += bytes.len();
    }

    /// Makes what is in the tail a chunk; the rest of its memory stays the tail's.
    fn seal(&mut self) {
        if self.tail.is_empty() {
            return;
        }
        self.chunks.push_back(self.tail.split().freeze());
    }

    /// The first bytes, as at most `max` slices.
    pub(super) fn slices(&self, max: usize) -> Vec<IoSlice<'_>> {
        let tail = (!self.tail.is_empty()).then_some(&self.tail[..]);
        let mut skip = self.written;
        self.chunks
            .iter()
            .map(|chunk| &chunk[..])
            .chain(tail)
            .take(max)
            .map(|chunk| IoSlice::new(&chunk[std::mem::take(&mut skip)..]))
            .collect()
    }

    /// Forgets the first bytes, which were written.
    pub(super) fn advance(&mut self, count: usize) {
        self.bytes -= count;
        self.written += count;
        while let Some(first) = self.chunks.front() {
            if self.written < first.len() {
                return;
            }
            self.written -= first.len();
            self.chunks.pop_front();
        }
        if self.bytes == 0 {
            // What is idle holds no memory.
            self.written = 0;
            self.tail = BytesMut::new();
            self.chunks = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(outbox: &Outbox) -> Vec<u8> {
        let slices = outbox.slices(usize::MAX);
        slices.iter().flat_map(|it| it.iter().copied()).collect()
    }

    #[test]
    fn frames_are_framed_and_keep_their_order_whatever_their_size() {
        let mut outbox = Outbox::default();
        let sizes = [0, 1, 255, 256, 20_000, 3, SHARED_BYTES_MIN, 7];
        let mut expected = Vec::new();
        for (n, size) in sizes.into_iter().enumerate() {
            let has_more = n % 2 == 0;
            let more = u8::from(has_more);
            outbox.frame(&Bytes::from(vec![n as u8; size]), has_more);
            match u8::try_from(size) {
                Ok(size) => expected.extend([more, size]),
                Err(_) => {
                    expected.push(2 | more);
                    expected.extend((size as u64).to_be_bytes());
                }
            }
            expected.extend(vec![n as u8; size]);
        }
        assert_eq!(all(&outbox), expected);
        assert_eq!(outbox.len(), expected.len());
        // Written in pieces of every size, from the front.
        let mut rest = &expected[..];
        for step in (1..).map(|n| n * 7) {
            let step = step.min(rest.len());
            outbox.advance(step);
            rest = &rest[step..];
            assert_eq!(all(&outbox), rest);
            if rest.is_empty() {
                break;
            }
        }
        assert!(outbox.is_empty());
    }

    #[test]
    fn a_queue_of_small_frames_costs_what_it_counts() {
        let mut outbox = Outbox::default();
        for _ in 0..100_000 {
            outbox.frame(&Bytes::from_static(b"x"), false);
        }
        assert_eq!(outbox.len(), 300_000);
        assert!(outbox.chunks.len() <= 300_000 / BLOCK_BYTES + 1);
    }

    #[test]
    fn what_is_queued_while_the_tail_is_partly_written_follows_it() {
        let mut outbox = Outbox::default();
        outbox.push(Bytes::from_static(b"abcdef"));
        outbox.advance(2);
        outbox.push(Bytes::from(vec![b'x'; SHARED_BYTES_MIN]));
        outbox.push(Bytes::from_static(b"g"));
        let bytes = all(&outbox);
        assert_eq!(&bytes[..5], b"cdefx");
        assert_eq!(bytes.last(), Some(&b'g'));
        assert_eq!(bytes.len(), outbox.len());
        outbox.advance(bytes.len());
        assert!(outbox.is_empty() && all(&outbox).is_empty());
    }

    #[test]
    fn a_long_command_has_a_long_header() {
        let mut outbox = Outbox::default();
        outbox.command("ERROR", b"\x02no");
        assert_eq!(all(&outbox), b"\x04\x09\x05ERROR\x02no");
        let mut outbox = Outbox::default();
        outbox.command("SUBSCRIBE", &[b'x'; 300]);
        assert_eq!(&all(&outbox)[..9], b"\x06\0\0\0\0\0\0\x01\x36");
    }
}
