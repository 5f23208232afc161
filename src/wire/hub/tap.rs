//! Looking on: copies of messages that pass, for whoever asks to see them.
//!
//! The ring is off unless somebody looked a moment ago, then costs one load a message. It is bounded
//! in messages and bytes; what finds it full is counted and not shown, and what is long is cut. It
//! must never wait, and never change what is delivered.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;

use crate::model::limits::hub::{TAP_BYTES_MAX, TAP_FRAME_BYTES_MAX, TAP_MESSAGES_MAX};

use super::event::ConnId;

/// A message that passed.
#[derive(Debug, Clone)]
pub struct Seen {
    /// When.
    pub at: SystemTime,
    /// Where: the number that its tap was given.
    pub place: usize,
    /// Its frames, each at most [`TAP_FRAME_BYTES_MAX`] bytes of it.
    pub frames: Vec<Bytes>,
    /// The whole sizes of its frames.
    pub sizes: Vec<usize>,
}

/// What was seen and not looked at yet.
#[derive(Debug, Default)]
pub struct Ring {
    is_on: AtomicBool,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    seen: VecDeque<Seen>,
    bytes: usize,
    missed: u64,
}

impl Ring {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins or ends seeing; what was not looked at is forgotten.
    pub fn turn(&self, is_on: bool) {
        if self.is_on.swap(is_on, Ordering::Relaxed) != is_on {
            *self.held() = Held::default();
        }
    }

    /// What was seen since the last time, and how many messages found no room.
    pub fn take(&self) -> (VecDeque<Seen>, u64) {
        let held = std::mem::take(&mut *self.held());
        (held.seen, held.missed)
    }
}

/// The numbers of the two places of a connection at which messages are seen. Its own number is never
/// used again, so its doubles are free too.
pub fn places(conn: ConnId) -> [usize; 2] {
    let number = usize::try_from(conn.0).unwrap_or(usize::MAX / 4);
    [number * 2, number * 2 + 1]
}

/// One place that can be looked at.
#[derive(Debug, Clone)]
pub struct Tap {
    ring: Arc<Ring>,
    place: usize,
}

impl Tap {
    /// A place, by its number.
    pub fn new(ring: &Arc<Ring>, place: usize) -> Self {
        let ring = ring.clone();
        Self { ring, place }
    }

    /// Nobody's.
    pub fn none() -> Self {
        Self::new(&Arc::default(), 0)
    }

    /// Whether somebody looks.
    pub(super) fn is_on(&self) -> bool {
        self.ring.is_on.load(Ordering::Relaxed)
    }

    /// Notes a message that passes, if somebody looks.
    pub fn see(&self, frames: &[Bytes]) {
        if !self.is_on() {
            return;
        }
        let shown = |frame: &Bytes| frame.len().min(TAP_FRAME_BYTES_MAX);
        let bytes: usize = frames.iter().map(shown).sum();
        let mut held = self.ring.held();
        if held.seen.len() >= TAP_MESSAGES_MAX || held.bytes + bytes > TAP_BYTES_MAX {
            held.missed += 1;
            return;
        }
        held.bytes += bytes;
        held.seen.push_back(Seen {
            at: SystemTime::now(),
            place: self.place,
            // Copied: what is looked at must not keep the buffer it was read into.
            frames: frames
                .iter()
                .map(|frame| Bytes::copy_from_slice(&frame[..shown(frame)]))
                .collect(),
            sizes: frames.iter().map(Bytes::len).collect(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_sees_only_while_somebody_looks_and_never_more_than_fits() {
        let ring = Arc::new(Ring::default());
        let tap = Tap::new(&ring, 7);
        let message = [
            Bytes::from_static(b"topic"),
            Bytes::from(vec![0; TAP_FRAME_BYTES_MAX + 1]),
        ];
        tap.see(&message);
        assert!(ring.take().0.is_empty(), "nobody looks");
        ring.turn(true);
        tap.see(&message);
        let (seen, missed) = ring.take();
        assert_eq!((seen.len(), missed), (1, 0));
        assert_eq!(seen[0].sizes, [5, TAP_FRAME_BYTES_MAX + 1]);
        assert_eq!(seen[0].frames[1].len(), TAP_FRAME_BYTES_MAX, "it is cut");
        let small = [Bytes::from_static(b"x")];
        for _ in 0..TAP_MESSAGES_MAX + 3 {
            tap.see(&small);
        }
        let (seen, missed) = ring.take();
        assert_eq!((seen.len(), missed), (TAP_MESSAGES_MAX, 3));
        tap.see(&small);
        ring.turn(false);
        assert!(
            ring.take().0.is_empty(),
            "what nobody looked at is forgotten"
        );
    }
}
